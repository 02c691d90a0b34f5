//! Deadlines that have passed: the state checks that they have, and does what they call for.

use super::conversation::Alarm;
use super::draft::Draft;
use super::window::WindowKey;
use super::{
    arrive, calendar, end, escalate, hand_over, offers, participants, presence, relax, report, schedule, silence,
};
use crate::command::Timer;
use crate::event::Receipt;
use crate::ids::{ConversationId, Epoch, Millis};
use crate::known_bugs;
use crate::rejection::Rejection;

pub(crate) fn fire(d: &mut Draft<'_>, timer: Timer) -> Result<Receipt, Rejection> {
    match timer {
        Timer::OfferDeadline { conversation, epoch } => offers::expire(d, conversation, epoch),
        Timer::WrapUpEnd { conversation, epoch } => end::wrap_up_end(d, conversation, epoch),
        Timer::Escalation { conversation, step } => escalate::by_time(d, conversation, step),
        Timer::NoReply { conversation, epoch } => hand_over::no_reply(d, conversation, epoch),
        Timer::AbandonHold { conversation } => arrive::abandon(d, conversation),
        Timer::PreferenceEnd { conversation } => arrive::preference_end(d, conversation),
        Timer::ExclusionEnd { conversation } => arrive::exclusion_end(d, conversation),
        Timer::Archive { conversation } => end::archive(d, conversation),
        Timer::LeaseEnd { agent } => presence::lease_end(d, agent),
        Timer::ForgetWindows => forget_windows(d),
        Timer::Relaxation { conversation, step } => relax::relax(d, conversation, step),
        Timer::RingOpens { conversation, ring } => relax::ring_opens(d, conversation, ring),
        Timer::IdlePause { conversation, epoch } => silence::idle(d, conversation, epoch),
        Timer::SilentAbandon { conversation, epoch } => silence::abandoned(d, conversation, epoch),
        Timer::QuarterHour => report::quarter_hour(d),
        Timer::Scheduled { conversation } => schedule::due(d, conversation),
        Timer::InvitationEnd { conversation, agent } => participants::invitation_end(d, conversation, agent),
        Timer::CalendarEdge { calendar } => calendar::edge(d, calendar),
    }
}

/// Refused while the deadline is ahead, or when there is none.
pub(crate) fn must_be_due(due_ms: Option<Millis>, at_ms: Millis) -> Result<Millis, Rejection> {
    match due_ms {
        None => Err(Rejection::NothingOutstanding),
        // A known bug, for the tests of the tests.
        Some(due_ms) if known_bugs::put_in("routing::deadline_unchecked") => Ok(due_ms),
        Some(due_ms) if due_ms > at_ms => Err(Rejection::NotDue { due_ms, at_ms }),
        Some(due_ms) => Ok(due_ms),
    }
}

/// The same for a conversation's alarm, and for the epoch that it was set in.
pub(crate) fn must_ring(
    d: &Draft<'_>,
    id: ConversationId,
    epoch: Option<Epoch>,
    alarm: Alarm,
) -> Result<Millis, Rejection> {
    let row = d.conversation(id).map_err(|_| Rejection::NothingOutstanding)?;
    let current = epoch.is_none_or(|epoch| epoch == row.epoch);
    must_be_due(row.alarm(alarm).filter(|_| current), d.at_ms)
}

fn forget_windows(d: &mut Draft<'_>) -> Result<Receipt, Rejection> {
    must_be_due(d.kept().forget_at_ms, d.at_ms)?;
    let windows = d.kept().windows.iter();
    let unused: Vec<WindowKey> = windows
        .filter(|(_, window)| window.unused_at(d.at_ms))
        .map(|(key, _)| key.clone())
        .collect();
    d.forget_windows(unused);
    Ok(d.receipt())
}
