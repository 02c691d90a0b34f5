//! Who is admitted where: caps (R23), business hours (R34). Exact, because the state counts and the log orders.
//!
//! A queue that is closed, or at its cap, admits no newcomer. The first of a command's queues that is neither takes it; when
//! there is none, the first that has an answer other than a refusal gives it: `when_closed` of a closed one, `at_cap` of a full
//! one. Who is moved because a queue is closed meets the other queue's hours and caps in the same way, at most
//! [`limits::ADMISSION_QUEUES_MAX`] times.

use super::calendar;
use super::draft::Draft;
use crate::ids::QueueId;
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{AtCap, WhenClosed};

/// What becomes of who comes.
pub(crate) enum Place {
    /// Waits there.
    Queue(QueueId),
    /// Is told this, and kept for so long.
    Offline { text: String, kept_ms: u64 },
}

/// Whether the queue takes one more newcomer now.
pub(crate) fn admits(d: &Draft<'_>, queue: QueueId) -> bool {
    d.queue(queue).is_ok_and(|row| row.open) && has_room(d, queue)
}

fn has_room(d: &Draft<'_>, queue: QueueId) -> bool {
    d.queue(queue)
        .is_ok_and(|row| row.admits(d.base().index.queues.get(&queue), d.at_ms))
}

/// For a newcomer with these queues to go to.
pub(crate) fn place(d: &Draft<'_>, queues: &[QueueId]) -> Result<Place, Rejection> {
    if let Some(queue) = queues.iter().find(|queue| admits(d, **queue)) {
        return Ok(Place::Queue(*queue));
    }
    for queue in queues {
        if let Some(place) = at(d, *queue, limits::ADMISSION_QUEUES_MAX)? {
            return Ok(place);
        }
    }
    match queues.first() {
        Some(first) => Err(refusal(d, *first)),
        None => Err(super::valid::invalid("queues", "none is named")),
    }
}

/// For who has been somewhere, and is to go there: the queue itself, or the one that stands in while it is closed.
pub(crate) fn instead(d: &Draft<'_>, queue: QueueId) -> Result<QueueId, Rejection> {
    match at(d, queue, limits::ADMISSION_QUEUES_MAX)? {
        Some(Place::Queue(queue)) => Ok(queue),
        Some(Place::Offline { .. }) | None => Err(refusal(d, queue)),
    }
}

/// What one queue has to say; nothing when it refuses, or when queues send each other in circles.
fn at(d: &Draft<'_>, queue: QueueId, hops: usize) -> Result<Option<Place>, Rejection> {
    let row = d.queue(queue)?;
    let offline = |text: &str| {
        Some(Place::Offline {
            text: text.to_owned(),
            kept_ms: row.settings.reopen_window_ms,
        })
    };
    let may_wait = row.open || row.settings.when_closed == WhenClosed::Wait;
    Ok(match (&row.settings.when_closed, &row.settings.at_cap) {
        _ if may_wait && has_room(d, queue) => Some(Place::Queue(queue)),
        (_, AtCap::Offline { text }) if may_wait => offline(text),
        _ if may_wait => None,
        (WhenClosed::Offline { text }, _) => offline(text),
        (WhenClosed::MoveQueue(to), _) if hops > 0 => at(d, *to, hops - 1)?,
        _ => None,
    })
}

fn refusal(d: &Draft<'_>, queue: QueueId) -> Rejection {
    match d.queue(queue) {
        Ok(row) if !row.open && row.settings.when_closed != WhenClosed::Wait => Rejection::QueueClosed {
            queue,
            opens_ms: calendar::opens_ms(d, row.settings.calendar),
        },
        _ => Rejection::QueueFull(queue),
    }
}
