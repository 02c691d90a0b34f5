//! Escalation (R27): what happens to who waits for long, or joins a long queue. Age and place are kept.
//!
//! - A step is what the settings say when it is taken, whatever they said when its deadline was set.
//! - Closing says the words to the customer; who had an agent before counts as answered, everybody else as cancelled.
//! - Other skills stand in the place of those asked for; relaxations (R4) begin anew with them, by the same stay in the queue.
//! - When the steps of a queue change, those who are in it begin anew with the new ones, by the stay that they are in: what should
//!   have been done by then is done at once. So do relaxations and rings. This goes for the oldest [`limits::REARM_MAX`] of
//!   them, so that one command is never long; what is behind them keeps its deadlines until it waits anew.

use super::conversation::{Alarm, Stage};
use super::draft::Draft;
use super::{admission, arrive, end, relax, timers};
use crate::command::{Author, Body};
use crate::event::{CloseOutcome, EntryKind, Receipt};
use crate::ids::{ConversationId, Millis, QueueId};
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{EscalateAction, EscalateWhen, QueueSettings, Requirement};

/// Steps by length, of a conversation that joins the queue now: to which queue it goes on, if to another.
pub(crate) fn by_length(d: &mut Draft<'_>, id: ConversationId, queue: QueueId) -> Result<Option<QueueId>, Rejection> {
    let length = d.base().queue_counts(queue).in_queue();
    for (step, escalation) in d.queue(queue)?.settings.escalations.iter().enumerate() {
        let EscalateWhen::LongerThan(longest) = escalation.when else {
            continue;
        };
        if length <= longest {
            continue;
        }
        d.conversation_mut(id)?.escalated |= 1 << step;
        match &escalation.action {
            EscalateAction::RaisePriority(to) => raise(d, id, *to)?,
            EscalateAction::MoveQueue(to) if *to != queue && admission::admits(d, *to) => return Ok(Some(*to)),
            EscalateAction::MoveQueue(_) => {}
            EscalateAction::Close { text } => {
                close(d, id, text)?;
                return Ok(None);
            }
            EscalateAction::Reclassify { required, preferred } => reclassify(d, id, required, preferred)?,
        }
    }
    Ok(None)
}

/// A step by time. Steps that were due before it are taken first, so that they compose in the order of their deadlines whatever the
/// order in which those were noticed: after an outage many are noticed at once.
pub(crate) fn by_time(d: &mut Draft<'_>, id: ConversationId, step: u8) -> Result<Receipt, Rejection> {
    let due_ms = timers::must_ring(d, id, None, Alarm::Escalation(step))?;
    let row = d.conversation(id)?;
    let queue = row.queue.ok_or(Rejection::NothingOutstanding)?;
    let mut due: Vec<(Millis, u8)> = row
        .alarms
        .iter()
        .filter_map(|(alarm, at_ms)| match alarm {
            Alarm::Escalation(earlier) if (*at_ms, *earlier) <= (due_ms, step) => Some((*at_ms, *earlier)),
            _ => None,
        })
        .collect();
    due.sort_unstable();
    for (_, step) in due {
        let row = d.conversation_mut(id)?;
        // Moved or closed: what is left was for who still waits here.
        if row.stage != Stage::Waiting || row.queue != Some(queue) {
            break;
        }
        row.escalated |= 1 << step;
        row.clear_alarm(Alarm::Escalation(step));
        take(d, id, queue, step)?;
    }
    Ok(d.receipt_for(id))
}

fn take(d: &mut Draft<'_>, id: ConversationId, queue: QueueId, step: u8) -> Result<(), Rejection> {
    let settings = d.queue(queue)?.settings.clone();
    match settings.escalations.get(usize::from(step)).map(|e| &e.action) {
        Some(EscalateAction::RaisePriority(to)) => raise(d, id, *to),
        Some(EscalateAction::MoveQueue(to)) if *to != queue && admission::admits(d, *to) => {
            d.entry(id, EntryKind::Moved { queue: *to })?;
            arrive::join(d, id, *to)?;
            arrive::wait(d, id)
        }
        Some(EscalateAction::Close { text }) => close(d, id, text),
        Some(EscalateAction::Reclassify { required, preferred }) => {
            reclassify(d, id, required, preferred)?;
            relax::set_alarms(d.conversation_mut(id)?, &settings);
            Ok(())
        }
        Some(EscalateAction::MoveQueue(_)) | None => Ok(()),
    }
}

fn raise(d: &mut Draft<'_>, id: ConversationId, to: u8) -> Result<(), Rejection> {
    let row = d.conversation_mut(id)?;
    row.priority = row.priority.max(to);
    Ok(())
}

fn close(d: &mut Draft<'_>, id: ConversationId, text: &str) -> Result<(), Rejection> {
    let body = Body {
        media_type: "text/plain".to_owned(),
        text: text.to_owned(),
    };
    let author = Author::System;
    d.entry(id, EntryKind::Message { author, body })?;
    let outcome = match d.conversation(id)?.answered {
        true => CloseOutcome::Answered,
        false => CloseOutcome::Cancelled,
    };
    end::end(d, id, outcome)
}

fn reclassify(
    d: &mut Draft<'_>,
    id: ConversationId,
    required: &[Requirement],
    preferred: &[Requirement],
) -> Result<(), Rejection> {
    let index = &d.base().index;
    let (required, preferred) = (index.asks(required), index.asks(preferred));
    let row = d.conversation_mut(id)?;
    row.asked_required = required.clone();
    row.asked_preferred = preferred.clone();
    (row.required, row.preferred) = (required, preferred);
    row.relaxed = 0;
    Ok(())
}

/// The deadlines of the steps by time that have not been taken, of a conversation that waits.
pub(crate) fn set_alarms(row: &mut super::conversation::Conversation, settings: &QueueSettings) {
    row.alarms.retain(|(alarm, _)| !matches!(alarm, Alarm::Escalation(_)));
    let (since_ms, done) = (row.queue_since_ms, row.escalated);
    for (step, escalation) in settings.escalations.iter().enumerate() {
        if let EscalateWhen::WaitedMs(after_ms) = escalation.when
            && done & (1 << step) == 0
        {
            row.set_alarm(Alarm::Escalation(step as u8), since_ms.saturating_add(after_ms));
        }
    }
}

/// The settings of a queue changed: what has to do with waiting in it begins anew, for those who are there.
pub(crate) fn rearm(d: &mut Draft<'_>, queue: QueueId, before: &QueueSettings) -> Result<(), Rejection> {
    let settings = d.queue(queue)?.settings.clone();
    let escalates = settings.escalations != before.escalations;
    let relaxes = settings.relaxations != before.relaxations || settings.rings != before.rings;
    if !escalates && !relaxes {
        return Ok(());
    }
    let there = d.base().index.queues.get(&queue);
    let oldest = there.map(|now| now.oldest_of_all(limits::REARM_MAX));
    for (_, _, id) in oldest.into_iter().flatten() {
        let row = d.conversation_mut(id)?;
        if escalates {
            row.escalated = 0;
        }
        if relaxes {
            relax::start_over(row);
        }
        // Offered: when it waits again.
        if row.stage == Stage::Waiting && row.queue == Some(queue) {
            set_alarms(row, &settings);
            relax::set_alarms(row, &settings);
        }
    }
    Ok(())
}
