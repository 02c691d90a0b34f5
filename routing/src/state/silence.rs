//! What silence means while a conversation has an agent: it is paused (R21), or its customer had gone (R32).
//!
//! - Idle: nobody has said anything for the queue's `idle_pause_ms`: it is paused, as by its agent. Each message of customer,
//!   owner, participant or supervisor begins the time anew; notes, whispers and the system's words do not. The customer's next
//!   message lets it go on.
//! - Silent abandonment (Castellanos, Yom-Tov, Goldberg: "Silent abandonment in text-based contact centers", arXiv
//!   2501.08869): who left while waiting without a sign is assigned like anybody, and keeps an agent busy until somebody notices.
//!   The sign that they had gone is that they never answer. So: from the first word that an agent says to a customer who has
//!   not said anything since it had its first agent, the customer has `silent_abandon_ms` to answer. Their first message ends
//!   the matter for good (until it is reopened); who has had no word from an agent yet is not to blame for their silence (R26 is
//!   for that). Then it is closed as `silent_abandoned`, unresolved, and the agent has the queue's wrap-up.

use super::conversation::{Alarm, Stage};
use super::draft::Draft;
use super::{end, hand_over, timers};
use crate::event::{CloseOutcome, Receipt};
use crate::ids::{ConversationId, Epoch};
use crate::rejection::Rejection;

/// Something was said, or it was assigned just now: the time until it is idle begins anew.
pub(crate) fn broken(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let (Stage::Assigned { .. }, Some(queue)) = (row.stage, row.queue) else {
        return Ok(());
    };
    let (idle_ms, due_ms) = (d.queue(queue)?.settings.idle_pause_ms, d.at_ms);
    if idle_ms > 0 {
        let due_ms = due_ms.saturating_add(idle_ms);
        d.conversation_mut(id)?.set_alarm(Alarm::IdlePause, due_ms);
    } else if row.alarm(Alarm::IdlePause).is_some() {
        d.conversation_mut(id)?.clear_alarm(Alarm::IdlePause);
    }
    Ok(())
}

/// An agent has said something to the customer.
pub(crate) fn asked(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let row = d.conversation(id)?;
    let (Stage::Assigned { .. }, Some(queue)) = (row.stage, row.queue) else {
        return Ok(());
    };
    let silent_ms = d.queue(queue)?.settings.silent_abandon_ms;
    if silent_ms > 0 && !row.customer_spoke && row.alarm(Alarm::SilentAbandon).is_none() {
        let due_ms = d.at_ms.saturating_add(silent_ms);
        d.conversation_mut(id)?.set_alarm(Alarm::SilentAbandon, due_ms);
    }
    Ok(())
}

/// The customer has said something.
pub(crate) fn answered(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let row = d.conversation_mut(id)?;
    if matches!(row.stage, Stage::Assigned { .. } | Stage::Paused { .. }) {
        row.customer_spoke = true;
        row.clear_alarm(Alarm::SilentAbandon);
    }
    Ok(())
}

/// R21: nobody has said anything for long.
pub(crate) fn idle(d: &mut Draft<'_>, id: ConversationId, epoch: Epoch) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, Some(epoch), Alarm::IdlePause)?;
    hand_over::rests(d, id)?;
    Ok(d.receipt_for(id))
}

/// R32: the customer has not answered.
pub(crate) fn abandoned(d: &mut Draft<'_>, id: ConversationId, epoch: Epoch) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, Some(epoch), Alarm::SilentAbandon)?;
    d.conversation_mut(id)?.resolved = false;
    end::end(d, id, CloseOutcome::SilentAbandoned)?;
    Ok(d.receipt_for(id))
}
