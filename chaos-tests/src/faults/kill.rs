//! kill -9: of one, of the leader, of one after the other, of all; with a torn write at the end of the log.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use rand::Rng;
use rand::seq::SliceRandom;

use super::{Dice, Fault, Kind, Met, Takes, victim};
use crate::arena::{Arena, PATIENCE, SHARD};
use crate::lab::disk::damage;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "kill-one",
        about: "kill -9 of one node, the leader more often than not",
        holds: "ABCDEFGHIJ",
        takes: Takes::Node,
        lasts_ms: (300, 5000),
        alone: false,
        make: || Box::new(Kill::new(Which::One)),
    },
    Kind {
        name: "kill-rolling",
        about: "kill -9 of every node, one soon after the other",
        holds: "ABCDEFGHIJ",
        takes: Takes::Service,
        lasts_ms: (50, 400),
        alone: false,
        make: || Box::new(Kill::new(Which::Rolling)),
    },
    Kind {
        name: "kill-all",
        about: "kill -9 of all nodes at once",
        holds: "ABCDEFGHIJ",
        takes: Takes::Service,
        lasts_ms: (300, 5_000),
        alone: false,
        make: || Box::new(Kill::new(Which::All)),
    },
    Kind {
        name: "torn-write",
        about: "kill -9, and half a record at the end of the log",
        holds: "AGK",
        takes: Takes::Node,
        lasts_ms: (300, 3000),
        alone: false,
        make: || Box::new(Kill::new(Which::Torn)),
    },
];

#[derive(Clone, Copy, PartialEq)]
enum Which {
    One,
    /// One, and its log ends with half a record.
    Torn,
    /// All, one soon after the other.
    Rolling,
    All,
}

struct Kill {
    which: Which,
    killed: Vec<u64>,
}

impl Kill {
    const fn new(which: Which) -> Self {
        Self {
            which,
            killed: Vec::new(),
        }
    }
}

#[async_trait(?Send)]
impl Fault for Kill {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let Some(node) = victim(arena, dice).await else {
            return Ok(None);
        };
        self.killed = match self.which {
            Which::One | Which::Torn => vec![node],
            Which::Rolling | Which::All => arena.awake(),
        };
        self.killed.shuffle(dice);
        match self.which {
            Which::One | Which::Torn => arena.kill(node)?,
            Which::All => {
                arena.world.cluster.kill_all()?;
                arena.look_around();
            }
            // Each is back before the next goes, but nobody waits until it has caught up.
            Which::Rolling => {
                for node in self.killed.clone() {
                    arena.kill(node)?;
                    tokio::time::sleep(Duration::from_millis(dice.random_range(20..800))).await;
                    arena.start_node(node)?;
                    tokio::time::sleep(Duration::from_millis(dice.random_range(100..1_500))).await;
                }
            }
        }
        let mut what = format!("killed {:?}", self.killed);
        if self.which == Which::Torn {
            let data = arena.data(node);
            let torn = match dice.random_bool(0.7) {
                true => damage::torn_write(&data, SHARD, dice.random())?,
                false => damage::torn_zeros(&data, SHARD, dice.random())?,
            };
            what.push_str(&format!(
                "; {} bytes behind the end of {}",
                torn.after.len(),
                torn.path.display()
            ));
        }
        Ok(Some(what))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        self.killed.iter().try_for_each(|node| arena.start_node(*node))?;
        if self.which == Which::Torn {
            // It cuts the torn end off and takes part; what it must not have lost is A.
            let node = self.killed[0];
            let ready = async |arena: &mut Arena| arena.is_ready(node).await;
            arena.until("a node with a torn log is ready", PATIENCE, ready).await?;
            arena.distrust.looked += 1;
        }
        Ok(Met::new(self.killed.len() as u64, "processes"))
    }
}
