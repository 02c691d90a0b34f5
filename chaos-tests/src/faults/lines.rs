//! Lines that lose, delay, reorder or repeat packets, by a router in user space.

use anyhow::Result;
use async_trait::async_trait;

use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, victim};
use crate::arena::{Arena, host};
use crate::lab::net::{Disturbance, Host, Line, Tally};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "line-loss",
        about: "a share of the packets of a node is lost",
        holds: "BEFG",
        takes: Takes::Nothing,
        lasts_ms: (1500, 7000),
        alone: false,
        make: || Box::new(Bad::new(LOSS)),
    },
    Kind {
        name: "line-delay",
        about: "packets of a node take long, some longer",
        holds: "BEFG",
        takes: Takes::Nothing,
        lasts_ms: (1500, 7000),
        alone: false,
        make: || Box::new(Bad::new(DELAY)),
    },
    Kind {
        name: "line-reorder",
        about: "packets of a node overtake each other",
        holds: "BEFG",
        takes: Takes::Nothing,
        lasts_ms: (1500, 7000),
        alone: false,
        make: || Box::new(Bad::new(REORDER)),
    },
    Kind {
        name: "line-duplicate",
        about: "packets of a node arrive twice",
        holds: "BEFG",
        takes: Takes::Nothing,
        lasts_ms: (1500, 7000),
        alone: false,
        make: || Box::new(Bad::new(DUPLICATE)),
    },
];

struct Bad {
    how: fn(&mut Dice) -> Disturbance,
    count: fn(&Tally) -> u64,
    lines: Vec<Line>,
    /// What the lines had met before.
    before: u64,
}

impl Bad {
    fn new((how, count): Way) -> Self {
        Self {
            how,
            count,
            lines: Vec::new(),
            before: 0,
        }
    }

    fn met(&self, arena: &Arena) -> u64 {
        let lines = self.lines.iter();
        lines
            .map(|(from, to)| (self.count)(&arena.router.tally(*from, *to)))
            .sum()
    }
}

/// How a line is disturbed, and what of its tally that shows.
type Way = (fn(&mut Dice) -> Disturbance, fn(&Tally) -> u64);

const LOSS: Way = (
    |dice| Disturbance {
        loss_permille: dice.random_range(10..150),
        ..Disturbance::default()
    },
    |tally| tally.lost,
);
const DELAY: Way = (
    |dice| Disturbance {
        delay_ms: dice.random_range(5..80),
        jitter_ms: dice.random_range(0..40),
        ..Disturbance::default()
    },
    |tally| tally.delayed,
);
const REORDER: Way = (
    |dice| Disturbance {
        reorder_permille: dice.random_range(50..300),
        reorder_ms: dice.random_range(2..30),
        delay_ms: 1,
        ..Disturbance::default()
    },
    |tally| tally.reordered,
);
const DUPLICATE: Way = (
    |dice| Disturbance {
        duplicate_permille: dice.random_range(50..500),
        ..Disturbance::default()
    },
    |tally| tally.duplicated,
);

#[async_trait(?Send)]
impl Fault for Bad {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let Some(node) = victim(arena, dice).await else {
            return Ok(None);
        };
        let how = (self.how)(dice);
        let mut others: Vec<Host> = arena
            .members()
            .into_iter()
            .filter(|other| *other != node)
            .map(host)
            .collect();
        others.push(Host::Clients);
        for other in &others {
            self.lines.extend([(host(node), *other), (*other, host(node))]);
        }
        self.before = self.met(arena);
        for other in others {
            arena.router.disturb_between(host(node), other, &how)?;
        }
        Ok(Some(format!("all lines of {node}: {how:?}")))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let met = self.met(arena) - self.before;
        arena.router.heal_all()?;
        Ok(Met::new(met, "packets"))
    }
}
