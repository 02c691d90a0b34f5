//! Deadlines that the state has set, and which of them have been proposed.

use std::collections::{BTreeMap, BTreeSet};

use super::DecisionId;
use crate::command::{Due, Timer};
use crate::ids::Millis;

/// How long a fired timer rests that was refused for a cause that time alone does not cure.
const REFUSED_REST_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// As the state set it.
    due_ms: Millis,
    /// When it is proposed: the same, or later after a refusal.
    next_ms: Millis,
    proposed: Option<DecisionId>,
}

/// All deadlines of a tenant.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeMap<Timer, Entry>,
    /// Those that are not proposed.
    ready: BTreeSet<(Millis, Timer)>,
}

impl Timers {
    /// Set, or set anew; a proposal that is under way for the old one decides nothing any more.
    pub(super) fn set(&mut self, due: Due) {
        self.clear(due.timer);
        self.entries.insert(
            due.timer,
            Entry {
                due_ms: due.at_ms,
                next_ms: due.at_ms,
                proposed: None,
            },
        );
        self.ready.insert((due.at_ms, due.timer));
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(entry) = self.entries.remove(&timer) {
            self.ready.remove(&(entry.next_ms, timer));
        }
    }

    /// The first that is due and not proposed; from now on it is proposed under `id`.
    pub(super) fn propose_due(&mut self, now_ms: Millis, id: DecisionId) -> Option<Timer> {
        let &(next_ms, timer) = self.ready.first().filter(|(next_ms, _)| *next_ms <= now_ms)?;
        self.ready.remove(&(next_ms, timer));
        if let Some(entry) = self.entries.get_mut(&timer) {
            entry.proposed = Some(id);
        }
        Some(timer)
    }

    pub(super) fn next_ms(&self) -> Option<Millis> {
        self.ready.first().map(|(next_ms, _)| *next_ms)
    }

    /// The state knows of no such deadline.
    pub(super) fn forget(&mut self, timer: Timer, id: DecisionId) {
        if self.entries.get(&timer).is_some_and(|entry| entry.proposed == Some(id)) {
            self.clear(timer);
        }
    }

    /// The proposal came to nothing: again, at once or later.
    pub(super) fn again(&mut self, timer: Timer, id: DecisionId, at_ms: Millis) {
        if let Some(entry) = self.entries.get_mut(&timer).filter(|entry| entry.proposed == Some(id)) {
            entry.proposed = None;
            entry.next_ms = at_ms;
            self.ready.insert((at_ms, timer));
        }
    }

    /// Refused for an unforeseen cause.
    pub(super) fn rest(&mut self, timer: Timer, id: DecisionId, now_ms: Millis) {
        self.again(timer, id, now_ms.saturating_add(REFUSED_REST_MS));
    }

    /// When it is due, as the state set it.
    pub(super) fn due_ms(&self, timer: Timer) -> Option<Millis> {
        self.entries.get(&timer).map(|entry| entry.due_ms)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Due> + '_ {
        self.entries.iter().map(|(&timer, entry)| Due {
            at_ms: entry.due_ms,
            timer,
        })
    }
}
