//! What a generator among several writes down for the merge: what can only be judged when all that happened is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::roll::Layout;

/// Something that makes somebody free, or somebody wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Places of a group of agents became free, or were taken.
    Free(u32, i32),
    /// More or fewer wait in a queue.
    Wait(u32, i32),
    /// A customer of a class starts: number of the conversation, class.
    Start(u32, u32),
}

/// What one generator wrote down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Books {
    /// With their times, µs from the start.
    pub steps: Vec<(u64, Step)>,
    /// When an agent first heard of a conversation.
    pub offered: BTreeMap<u32, u64>,
    /// When somebody first closed a conversation, or passed it on.
    pub moved: BTreeMap<u32, u64>,
    /// Messages that were refused although the conversation was served, for all that was known: conversation, code, when.
    pub refused: Vec<(u32, String, u64)>,
}

/// A customer who found somebody free and nobody before them: conversation, start.
pub type HadRoom = (u32, u64);

/// Goes through what all generators wrote down, in order of time.
pub fn had_room(layout: &Layout, books: &[Books]) -> Vec<HadRoom> {
    let mut steps: Vec<(u64, Step)> = books.iter().flat_map(|books| &books.steps).copied().collect();
    // Stable: what one generator did at one time stays in its order.
    steps.sort_by_key(|(at_us, _)| *at_us);
    let mut free = layout.places.clone();
    let mut waiting = vec![0; layout.queues];
    let mut found = Vec::new();
    for (at_us, step) in steps {
        match step {
            Step::Free(group, change) => free[group as usize] += i64::from(change),
            Step::Wait(queue, change) => waiting[queue as usize] += i64::from(change),
            Step::Start(number, class) => {
                let class = &layout.classes[class as usize];
                if waiting[class.queue] <= 0 && class.groups.iter().any(|group| free[*group] > 0) {
                    found.push((number, at_us));
                }
            }
        }
    }
    found
}

/// Messages that were refused, by code, and how many of them because the conversation had ended or moved on: wherever that was done.
pub fn refusals(books: &[Books]) -> (BTreeMap<String, u64>, u64) {
    let (mut refused, mut overtaken) = (BTreeMap::new(), 0);
    for (number, code, at_us) in books.iter().flat_map(|books| &books.refused) {
        let moved = books.iter().filter_map(|books| books.moved.get(number)).min();
        if moved.is_some_and(|moved_us| moved_us <= at_us) {
            overtaken += 1;
        } else {
            *refused.entry(code.clone()).or_default() += 1;
        }
    }
    (refused, overtaken)
}

#[cfg(test)]
mod tests {
    use super::super::roll::ClassPlan;
    use super::*;

    #[test]
    fn who_found_somebody_free_is_known_from_all_generators_together() {
        let layout = Layout {
            classes: vec![ClassPlan {
                plan: 0,
                tenant: 0,
                groups: vec![0],
                queue: 0,
            }],
            places: vec![1],
            queues: 1,
        };
        let customers = Books {
            steps: vec![
                (10, Step::Start(0, 0)),
                (10, Step::Wait(0, 1)),
                (20, Step::Wait(0, -1)),
                (30, Step::Start(1, 0)), // the one place is taken
                (30, Step::Wait(0, 1)),
                (45, Step::Start(2, 0)), // it is free, but somebody waits
                (45, Step::Wait(0, 1)),
                (50, Step::Wait(0, -1)),
                (55, Step::Wait(0, -1)),
                (70, Step::Start(3, 0)),
            ],
            ..Books::default()
        };
        let agents = Books {
            steps: vec![(15, Step::Free(0, -1)), (40, Step::Free(0, 1))],
            ..Books::default()
        };
        let found = had_room(&layout, &[customers, agents]);
        assert_eq!(found, [(0, 10), (3, 70)]);
    }

    #[test]
    fn what_another_generator_closed_before_is_overtaken() {
        let customers = Books {
            refused: vec![
                (7, "conversation_closed".to_owned(), 100),
                (8, "rate_limited".to_owned(), 100),
                (9, "rate_limited".to_owned(), 100),
            ],
            ..Books::default()
        };
        let agents = Books {
            moved: BTreeMap::from([(7, 90), (9, 110)]),
            ..Books::default()
        };
        let (refused, overtaken) = refusals(&[customers, agents]);
        assert_eq!(
            (refused, overtaken),
            (BTreeMap::from([("rate_limited".to_owned(), 2)]), 1)
        );
    }
}
