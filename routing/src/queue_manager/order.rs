//! The order of a queue (R11–R14, R16).
//!
//! Strict priority, linear ageing and deadlines give a key that never changes while a conversation waits: the smaller goes first.
//! Accumulated priority does change, but only between priorities: within one, the older has more credit for ever. So classes of
//! such a queue are of one priority each ([`band`]), are kept by age, and only their heads are compared at the moment of a decision
//! ([`OrderKey::standing`]).

use crate::ids::Millis;
use crate::known_bugs;
use crate::limits::{PRIORITIES, PRIORITY_MAX};
use crate::settings::{Order, QueueSettings};

/// What of a conversation decides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) expedited: bool,
    pub(super) priority: u8,
    pub(super) since_ms: Millis,
    pub(super) arrival: u64,
}

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OrderKey {
    rank: u64,
    since_ms: Millis,
    arrival: u64,
}

/// Expedited ones (R16, R30) have rank 0, so that among them only age counts; all others are above this.
const ORDINARY: u64 = 1 << 63;

impl OrderKey {
    /// After everything.
    pub(super) const LAST: Self = Self {
        rank: u64::MAX,
        since_ms: u64::MAX,
        arrival: u64::MAX,
    };

    /// The place in a class of a queue of this order, targets [resolved].
    pub(super) fn within(order: &Order, place: &Place) -> Self {
        let below = u64::from(PRIORITY_MAX.saturating_sub(place.priority));
        let rank = match order {
            _ if place.expedited => 0,
            Order::StrictPriority | Order::AccumulatingPriority { .. } => ORDINARY | below,
            Order::EarliestDeadline { targets_ms } => {
                let target_ms = targets_ms[usize::from(place.priority.min(PRIORITY_MAX))];
                ORDINARY | place.since_ms.saturating_add(target_ms).min(ORDINARY - 1)
            }
            // since − priority × step, shifted by the highest priority so that it stays positive.
            Order::LinearAgeing { step_ms } => {
                ORDINARY
                    | place
                        .since_ms
                        .saturating_add(below.saturating_mul(*step_ms))
                        .min(ORDINARY - 1)
            }
        };
        // A known bug, for the tests of the tests.
        let newest_first = known_bugs::put_in("queue_manager::newest_first");
        Self {
            rank,
            since_ms: if newest_first {
                Millis::MAX - place.since_ms
            } else {
                place.since_ms
            },
            arrival: place.arrival,
        }
    }

    /// The place among the heads of several queues that one agent serves, whatever their orders: expedited, priority, age.
    pub(super) fn across(place: &Place) -> Self {
        Self::within(&Order::StrictPriority, place)
    }

    /// The place in the whole queue, now.
    pub(super) fn standing(self, order: &Order, now_ms: Millis) -> Standing {
        let rank = match order {
            Order::AccumulatingPriority { rates } if self.rank != 0 => {
                // Its classes' keys are those of strict priority.
                let priority = u64::from(PRIORITY_MAX).saturating_sub(self.rank & (ORDINARY - 1));
                let rate = rates.get(priority as usize).copied().unwrap_or(0);
                let credit = u128::from(rate) * u128::from(now_ms.saturating_sub(self.since_ms));
                u128::MAX - 1 - credit
            }
            _ => u128::from(self.rank),
        };
        Standing {
            rank,
            since_ms: self.since_ms,
            arrival: self.arrival,
        }
    }
}

/// A place in the whole queue at one moment: the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    rank: u128,
    since_ms: Millis,
    arrival: u64,
}

impl Standing {
    /// After everything.
    pub(super) const LAST: Self = Self {
        rank: u128::MAX,
        since_ms: u64::MAX,
        arrival: u64::MAX,
    };
}

/// The queue's order with its target in place of those that it leaves out.
pub(super) fn resolved(settings: &QueueSettings) -> Order {
    match &settings.order {
        Order::EarliestDeadline { targets_ms } => {
            let mut targets_ms: [u64; PRIORITIES] = *targets_ms;
            for target_ms in targets_ms.iter_mut().filter(|target_ms| **target_ms == 0) {
                *target_ms = settings.answer_target_ms;
            }
            Order::EarliestDeadline { targets_ms }
        }
        other => other.clone(),
    }
}

/// What of a conversation's place decides its class: its priority, where that decides how its place changes.
pub(super) fn band(order: &Order, priority: u8) -> Option<u8> {
    matches!(order, Order::AccumulatingPriority { .. }).then_some(priority)
}

/// Whether keys of classes in a queue of this order are comparable with those of other queues.
pub(super) fn is_common(order: &Order) -> bool {
    matches!(order, Order::StrictPriority)
}

/// What the order says in an explanation, when it is not the usual.
pub(super) fn words(order: &Order) -> Option<&'static str> {
    match order {
        Order::StrictPriority | Order::LinearAgeing { .. } => None,
        Order::AccumulatingPriority { .. } => Some("most credit"),
        Order::EarliestDeadline { .. } => Some("closest deadline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(expedited: bool, priority: u8, since_ms: u64, arrival: u64) -> Place {
        Place {
            expedited,
            priority,
            since_ms,
            arrival,
        }
    }

    fn sorted(order: &Order, mut places: Vec<Place>) -> Vec<u64> {
        places.sort_by_key(|p| OrderKey::within(order, p));
        places.iter().map(|p| p.arrival).collect()
    }

    #[test]
    fn strict_priority_beats_any_age_and_expedited_beats_any_priority() {
        let places = vec![
            place(false, 9, 900, 1),
            place(false, 5, 1, 2),
            place(true, 0, 950, 3),
            place(false, 9, 800, 4),
        ];
        assert_eq!(sorted(&Order::StrictPriority, places), [3, 4, 1, 2]);
    }

    #[test]
    fn a_step_of_priority_is_worth_its_age_and_ties_go_to_the_older() {
        let order = Order::LinearAgeing { step_ms: 100 };
        assert_eq!(
            sorted(&order, vec![place(false, 6, 1_101, 1), place(false, 5, 1_000, 2)]),
            [2, 1]
        );
        assert_eq!(
            sorted(&order, vec![place(false, 6, 1_099, 1), place(false, 5, 1_000, 2)]),
            [1, 2]
        );
        assert_eq!(
            sorted(&order, vec![place(false, 6, 1_100, 1), place(false, 5, 1_000, 2)]),
            [2, 1]
        );
    }

    #[test]
    fn credit_grows_with_age_by_the_rate_of_the_priority() {
        let mut rates = [1; PRIORITIES];
        rates[9] = 3;
        let order = Order::AccumulatingPriority { rates };
        let standing = |p: Place, now_ms| OrderKey::within(&order, &p).standing(&order, now_ms);
        let (low, high) = (place(false, 2, 1_000, 1), place(false, 9, 1_200, 2));
        // 3 × (now − 1200) exceeds now − 1000 from 1300 on; ties go to the older.
        assert!(standing(low, 1_299) < standing(high, 1_299));
        assert!(standing(low, 1_300) < standing(high, 1_300));
        assert!(standing(low, 1_301) > standing(high, 1_301));
        assert!(standing(place(true, 0, 1_301, 3), 1_301) < standing(high, 1_301));
        // A moment before it began to wait, and at the end of time.
        assert!(standing(high, 0) < Standing::LAST);
        assert!(standing(high, u64::MAX) < standing(low, u64::MAX));
    }

    #[test]
    fn deadlines_are_those_of_the_priority_or_else_the_queues() {
        let mut settings = QueueSettings::named("q");
        settings.answer_target_ms = 500;
        let mut targets_ms = [0; PRIORITIES];
        targets_ms[9] = 100;
        settings.order = Order::EarliestDeadline { targets_ms };
        let order = resolved(&settings);
        let places = vec![
            place(false, 9, 1_399, 1),
            place(false, 5, 1_000, 2),
            place(false, 9, 1_401, 3),
            place(false, 0, 998, 4),
        ];
        assert_eq!(sorted(&order, places), [4, 1, 2, 3]);
    }

    #[test]
    fn a_huge_step_does_not_wrap() {
        let order = Order::LinearAgeing { step_ms: u64::MAX };
        assert_eq!(
            sorted(
                &order,
                vec![place(false, 0, 1, 1), place(false, 9, 2, 2), place(true, 0, 3, 3)]
            ),
            [3, 2, 1]
        );
    }
}
