//! A node whose wall clock jumps, or goes too fast or too slow. Its monotonic clock goes on.

use anyhow::Result;
use async_trait::async_trait;

use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::Arena;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "clock-jump",
        about: "the wall clock of one node jumps by up to two minutes, there and back",
        holds: "BCI",
        takes: Takes::Nothing,
        lasts_ms: (1500, 6000),
        alone: false,
        make: || Box::new(Wrong::new(false)),
    },
    Kind {
        name: "clock-drift",
        about: "the wall clock of one node goes up to ten percent too fast or too slow",
        holds: "BCI",
        takes: Takes::Nothing,
        lasts_ms: (3000, 8000),
        alone: false,
        make: || Box::new(Wrong::new(true)),
    },
];

struct Wrong {
    drifts: bool,
    node: Option<u64>,
}

impl Wrong {
    const fn new(drifts: bool) -> Self {
        Self { drifts, node: None }
    }
}

#[async_trait(?Send)]
impl Fault for Wrong {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let with_clocks = arena.with_clock();
        let can = arena.awake_among(with_clocks);
        self.node = any(&can, dice);
        let Some(clock) = self.node.and_then(|node| arena.clock(node)) else {
            return Ok(None);
        };
        let what = match self.drifts {
            true => {
                let ppm = dice.random_range(-100_000..100_000);
                clock.drift(ppm)?;
                format!("drifts by {ppm} ppm")
            }
            false => {
                let by_ms = dice.random_range(-120_000..120_000);
                clock.jump(by_ms)?;
                format!("jumps by {by_ms} ms")
            }
        };
        Ok(Some(format!("the clock of {:?} {what}", self.node)))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let Some(clock) = self.node.and_then(|node| arena.clock(node)) else {
            return Ok(Met::new(0, "nothing"));
        };
        let off_ms = clock.error_ms();
        clock.heal()?;
        Ok(Met::new(off_ms.unsigned_abs(), "ms off in the end"))
    }
}
