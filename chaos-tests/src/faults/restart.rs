//! Orderly restarts of every node in turn, by the same build or by another.

use anyhow::Result;
use async_trait::async_trait;

use std::path::PathBuf;

use super::{Dice, Fault, Kind, Met, Takes};
use crate::arena::{Arena, PATIENCE};
use crate::world;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "restart-rolling",
        about: "every node is drained, stopped and started again, one after the other",
        holds: "ACDEFGHI",
        takes: Takes::Nothing,
        lasts_ms: (50, 200),
        alone: true,
        make: || {
            Box::new(Rolling {
                upgrade: false,
                restarted: 0,
            })
        },
    },
    Kind {
        name: "upgrade-rolling",
        about: "every node is stopped and started by the newer build, one after the other; old and new serve together meanwhile",
        holds: "ABCDEFGH",
        takes: Takes::Nothing,
        lasts_ms: (50, 200),
        alone: true,
        make: || {
            Box::new(Rolling {
                upgrade: true,
                restarted: 0,
            })
        },
    },
];

struct Rolling {
    upgrade: bool,
    restarted: u64,
}

#[async_trait(?Send)]
impl Fault for Rolling {
    async fn strike(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Option<String>> {
        if self.upgrade && arena.options.old_binary.is_none() {
            return Ok(None);
        }
        let newer: PathBuf = world::kaiwa().clone();
        for node in arena.members() {
            if self.upgrade {
                let place = arena.world.cluster.place_mut(node)?;
                if place.binary.is_none() {
                    continue;
                }
                place.binary = None;
            }
            arena.stop(node).await?;
            arena.start_node(node)?;
            let ready = async |arena: &mut Arena| arena.is_ready(node).await;
            arena
                .until(&format!("node {node} is ready again"), PATIENCE, ready)
                .await?;
            self.restarted += 1;
        }
        let by = if self.upgrade {
            newer.display().to_string()
        } else {
            "the same build".into()
        };
        Ok((self.restarted > 0).then(|| format!("{} nodes restarted, by {by}", self.restarted)))
    }

    async fn heal(&mut self, _: &mut Arena, _: &mut Dice) -> Result<Met> {
        Ok(Met::new(self.restarted, "nodes restarted"))
    }
}
