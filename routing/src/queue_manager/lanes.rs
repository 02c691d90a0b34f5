//! How many wait in a queue, who has waited longest, and how many are before somebody, without a look at them all (R35, R6).
//!
//! Whatever a queue's order, among the expedited, and among those of one priority, the older goes first. So a queue is kept in lanes,
//! each by age; those of a lane that go before somebody are a prefix of it, which a search finds. A lane is a list of short sorted
//! chunks: a search looks at O(log n) entries and adds up one length per [`CHUNK`] of those before.

use super::order::{OrderKey, Place};
use crate::ids::Millis;
use crate::limits::PRIORITIES;
use crate::settings::Order;

/// Entries of a chunk, at most: a chunk is moved in a few cache lines.
const CHUNK: usize = 256;

/// Age and its tie.
type Entry = (Millis, u64);

/// Everybody in one queue who may be offered.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_priority: [Lane; PRIORITIES],
    expedited: Lane,
}

impl Lanes {
    pub(super) fn insert(&mut self, place: &Place) {
        self.lane(place).insert((place.since_ms, place.arrival));
    }

    pub(super) fn remove(&mut self, place: &Place) {
        self.lane(place).remove((place.since_ms, place.arrival));
    }

    pub(super) fn len(&self) -> u64 {
        self.all().map(|(lane, _)| lane.len as u64).sum()
    }

    pub(super) fn oldest_since_ms(&self) -> Option<Millis> {
        self.all()
            .filter_map(|(lane, _)| lane.first())
            .map(|(since_ms, _)| since_ms)
            .min()
    }

    /// How many go before this place, now.
    pub(super) fn ahead(&self, order: &Order, place: &Place, now_ms: Millis) -> u64 {
        let standing = |place: &Place| OrderKey::within(order, place).standing(order, now_ms);
        let mine = standing(place);
        let before = |(lane, of): (&Lane, Place)| {
            lane.prefix(|&(since_ms, arrival)| {
                standing(&Place {
                    since_ms,
                    arrival,
                    ..of
                }) < mine
            })
        };
        self.all().map(before).sum()
    }

    fn lane(&mut self, place: &Place) -> &mut Lane {
        match place.expedited {
            true => &mut self.expedited,
            false => &mut self.by_priority[usize::from(place.priority).min(PRIORITIES - 1)],
        }
    }

    /// Each with what its entries have in common.
    fn all(&self) -> impl Iterator<Item = (&Lane, Place)> {
        let place = |expedited, priority| Place {
            expedited,
            priority,
            since_ms: 0,
            arrival: 0,
        };
        let ordinary = (self.by_priority.iter().zip(0..)).map(move |(lane, priority)| (lane, place(false, priority)));
        ordinary.chain(std::iter::once((&self.expedited, place(true, 0))))
    }
}

/// Sorted chunks, none empty.
#[derive(Debug, Default)]
struct Lane {
    chunks: Vec<Vec<Entry>>,
    len: usize,
}

impl Lane {
    fn insert(&mut self, entry: Entry) {
        self.len += 1;
        // The newest comes last, as a rule.
        let at = self.chunk_of(&entry).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![entry]);
            return;
        };
        let place = chunk.partition_point(|other| *other < entry);
        if chunk.len() == CHUNK {
            let from = if place == CHUNK { CHUNK } else { CHUNK / 2 };
            let mut rest = chunk.split_off(from);
            match place.checked_sub(from) {
                Some(place) => rest.insert(place, entry),
                None => chunk.insert(place, entry),
            }
            self.chunks.insert(at + 1, rest);
        } else {
            chunk.insert(place, entry);
        }
    }

    fn remove(&mut self, entry: Entry) {
        let at = self.chunk_of(&entry);
        if let Some(chunk) = self.chunks.get_mut(at)
            && let Ok(place) = chunk.binary_search(&entry)
        {
            chunk.remove(place);
            self.len -= 1;
            if chunk.is_empty() {
                self.chunks.remove(at);
            }
        }
    }

    fn first(&self) -> Option<Entry> {
        self.chunks.first()?.first().copied()
    }

    /// The first chunk that may hold it.
    fn chunk_of(&self, entry: &Entry) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < entry))
    }

    /// How many, from the oldest on, `before` holds for.
    fn prefix(&self, before: impl Fn(&Entry) -> bool) -> u64 {
        let at = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&before));
        let whole: usize = self.chunks[..at].iter().map(Vec::len).sum();
        let part = self.chunks.get(at).map_or(0, |chunk| chunk.partition_point(&before));
        (whole + part) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order() -> impl Strategy<Value = Order> {
        prop_oneof![
            Just(Order::StrictPriority),
            (0..200u64).prop_map(|step_ms| Order::LinearAgeing { step_ms }),
            prop::collection::vec(0..5u32, PRIORITIES).prop_map(|mut rates| {
                rates.sort_unstable();
                Order::AccumulatingPriority {
                    rates: std::array::from_fn(|at| rates[at]),
                }
            }),
            prop::collection::vec(0..300u64, PRIORITIES).prop_map(|targets| Order::EarliestDeadline {
                targets_ms: std::array::from_fn(|at| targets[at]),
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

        /// Against a scan of everybody.
        #[test]
        fn positions_are_those_of_a_scan(
            order in order(),
            coming in prop::collection::vec((prop::bool::weighted(0.1), 0..10u8, 0..1_000u64), 1..1_500),
            going in prop::collection::vec(any::<prop::sample::Index>(), 0..900),
        ) {
            let mut lanes = Lanes::default();
            let mut all = Vec::new();
            for ((expedited, priority, since_ms), arrival) in coming.into_iter().zip(0..) {
                let place = Place { expedited, priority, since_ms, arrival };
                lanes.insert(&place);
                all.push(place);
            }
            for at in going {
                if !all.is_empty() {
                    let gone = all.swap_remove(at.index(all.len()));
                    lanes.remove(&gone);
                    lanes.remove(&gone);
                }
            }
            prop_assert_eq!(lanes.len(), all.len() as u64);
            prop_assert_eq!(lanes.oldest_since_ms(), all.iter().map(|place| place.since_ms).min());
            let now_ms = 1_200;
            let standing = |place: &Place| OrderKey::within(&order, place).standing(&order, now_ms);
            for place in all.iter().step_by(37) {
                let scanned = all.iter().filter(|other| standing(other) < standing(place)).count() as u64;
                prop_assert_eq!(lanes.ahead(&order, place, now_ms), scanned);
            }
        }
    }

    #[test]
    fn a_lane_in_order_of_time_fills_its_chunks() {
        let mut lane = Lane::default();
        (0..10 * CHUNK as u64).for_each(|n| lane.insert((n, n)));
        assert_eq!(lane.chunks.len(), 10);
        (0..5 * CHUNK as u64).for_each(|n| lane.remove((n, n)));
        assert_eq!(
            (lane.chunks.len(), lane.first()),
            (5, Some((5 * CHUNK as u64, 5 * CHUNK as u64)))
        );
    }
}
