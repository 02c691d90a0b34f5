//! kill -9: of one, of the leader, of one after the other, of all; with a torn write at the end of the log.

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
        make: || Box::new(Kill::one()),
    },
    Kind {
        name: "kill-rolling",
        about: "kill -9 of every node, one soon after the other",
        holds: "ABCDEFGHIJ",
        takes: Takes::Service,
        lasts_ms: (50, 400),
        alone: false,
        make: || Box::new(Kill::rolling()),
    },
    Kind {
        name: "kill-all",
        about: "kill -9 of all nodes at once",
        holds: "ABCDEFGHIJ",
        takes: Takes::Service,
        lasts_ms: (300, 5_000),
        alone: false,
        make: || Box::new(Kill::all()),
    },
    Kind {
        name: "torn-write",
        about: "kill -9, and half a record at the end of the log",
        holds: "AGK",
        takes: Takes::Node,
        lasts_ms: (300, 3000),
        alone: false,
        make: || Box::new(Kill::torn()),
    },
];

/// Who is killed, and how.
struct Kill {
    all: bool,
    rolling: bool,
    torn: bool,
    killed: Vec<u64>,
}

impl Kill {
    fn one() -> Self {
        Self {
            all: false,
            rolling: false,
            torn: false,
            killed: Vec::new(),
        }
    }

    fn rolling() -> Self {
        Self {
            rolling: true,
            ..Self::one()
        }
    }

    fn all() -> Self {
        Self {
            all: true,
            ..Self::one()
        }
    }

    fn torn() -> Self {
        Self {
            torn: true,
            ..Self::one()
        }
    }
}

#[async_trait(?Send)]
impl Fault for Kill {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        self.killed = match victim(arena, dice).await {
            None => return Ok(None),
            Some(_) if self.all || self.rolling => arena.awake(),
            Some(node) => vec![node],
        };
        self.killed.shuffle(dice);
        if self.rolling {
            // Each is back before the next goes, but nobody waits until it has caught up.
            for node in self.killed.clone() {
                arena.kill(node)?;
                tokio::time::sleep(std::time::Duration::from_millis(dice.random_range(20..800))).await;
                arena.start_node(node)?;
                tokio::time::sleep(std::time::Duration::from_millis(dice.random_range(100..1_500))).await;
            }
        } else if self.all {
            arena.world.cluster.kill_all()?;
            arena.look_around();
        } else {
            self.killed.iter().try_for_each(|node| arena.kill(*node))?;
        }
        let mut what = format!("killed {:?}", self.killed);
        if self.torn {
            let data = arena.data(self.killed[0]);
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
        if self.torn {
            // It cuts the torn end off and takes part; what it must not have lost is A.
            let node = self.killed[0];
            let ready = async |arena: &mut Arena| arena.is_ready(node).await;
            arena.until("a node with a torn log is ready", PATIENCE, ready).await?;
            arena.distrust.looked += 1;
        }
        Ok(Met::new(self.killed.len() as u64, "processes"))
    }
}
