//! The order of a queue (R11, R12, R16) as a key that never changes while a conversation waits: the smaller goes first.

use crate::ids::Millis;
use crate::limits::PRIORITY_MAX;
use crate::settings::Order;

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

    /// The place in a queue of this order.
    pub(super) fn within(order: &Order, place: &Place) -> Self {
        let below = u64::from(PRIORITY_MAX.saturating_sub(place.priority));
        let rank = match order {
            _ if place.expedited => 0,
            Order::StrictPriority | Order::AccumulatingPriority { .. } | Order::EarliestDeadline { .. } => {
                ORDINARY | below
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
        Self {
            rank,
            since_ms: place.since_ms,
            arrival: place.arrival,
        }
    }

    /// The place among the heads of several queues that one agent serves, whatever their orders: expedited, priority, age.
    pub(super) fn across(place: &Place) -> Self {
        Self::within(&Order::StrictPriority, place)
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
