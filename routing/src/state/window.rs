//! Idempotency: per (principal, instance) the answers to the last commands, so that a retry on any node gets the first one.

use serde::{Deserialize, Serialize};

use crate::command::{Due, Principal, Timer};
use crate::event::Receipt;
use crate::ids::Millis;
use crate::limits;
use crate::rejection::Rejection;

pub(crate) type WindowKey = (Principal, u64);

/// Answers by number, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    answers: Vec<(u64, Receipt)>,
    /// Whatever has this number or a lower one may have been forgotten.
    floor: Option<u64>,
    pub last_used_ms: Millis,
}

impl Window {
    /// The first answer, if the number has had one. Refused when nobody can say any more.
    pub fn answer(&self, number: u64) -> Result<Option<Receipt>, Rejection> {
        match self.answers.binary_search_by_key(&number, |(n, _)| *n) {
            Ok(at) => Ok(Some(Receipt {
                repeated: true,
                ..self.answers[at].1.clone()
            })),
            Err(_) if self.floor.is_some_and(|floor| number <= floor) => Err(Rejection::TooOld { number }),
            Err(_) => Ok(None),
        }
    }

    pub fn remember(&mut self, number: u64, receipt: &Receipt, at_ms: Millis) {
        self.last_used_ms = at_ms;
        let Err(at) = self.answers.binary_search_by_key(&number, |(n, _)| *n) else {
            return;
        };
        self.answers.insert(at, (number, receipt.clone()));
        if self.answers.len() > limits::IDEMPOTENCY_WINDOW {
            self.floor = Some(self.answers.remove(0).0);
        }
    }

    pub fn len(&self) -> usize {
        self.answers.len()
    }

    pub fn unused_at(&self, at_ms: Millis) -> bool {
        self.last_used_ms.saturating_add(limits::IDEMPOTENCY_KEPT_MS) <= at_ms
    }
}

/// The tenant's timer for looking through its windows.
pub(crate) fn forget_timer(forget_at_ms: Option<Millis>) -> Option<Due> {
    forget_at_ms.map(|at_ms| Due {
        at_ms,
        timer: Timer::ForgetWindows,
    })
}

/// When a window last used then is to be looked at.
pub(crate) fn forget_at_ms(last_used_ms: Millis) -> Millis {
    // The look is coarse, so that a tenant with many windows does not look through them all for each.
    last_used_ms
        .saturating_add(limits::IDEMPOTENCY_KEPT_MS)
        .saturating_add(3_600_000)
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
