//! A node that missed more than the logs keep is sent a snapshot, and is cut off, or killed, in the middle of it.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, PATIENCE, SHARD, host};
use crate::lab::net::{Host, Partition};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "snapshot-cut",
    about: "a node that needs a snapshot is killed, or cut off, while it receives it",
    holds: "AGHI",
    takes: Takes::Node,
    lasts_ms: (500, 3000),
    alone: true,
    make: || Box::new(SnapshotCut::default()),
}];

#[derive(Default)]
struct SnapshotCut {
    node: Option<u64>,
    cut: u64,
}

impl SnapshotCut {
    /// What the leader's log no longer has.
    async fn purged(arena: &mut Arena) -> u64 {
        let mut purged = 0;
        for id in arena.awake() {
            let Ok(status) = arena.world.cluster.status(id).await else {
                continue;
            };
            purged = purged.max(status.replica(SHARD).map_or(0, |shard| shard.purged_index));
        }
        purged
    }
}

#[async_trait(?Send)]
impl Fault for SnapshotCut {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let awake = arena.awake();
        let Some(node) = any(&awake, dice) else { return Ok(None) };
        self.node = Some(node);
        let status = arena.world.cluster.status(node).await?;
        let has = status.replica(SHARD).map_or(0, |shard| shard.last_index);
        arena.kill(node)?;
        // The others go on until their logs no longer reach back to it.
        arena
            .until("the logs are purged", PATIENCE, async |arena: &mut Arena| {
                Self::purged(arena).await > has
            })
            .await?;
        for _ in 0..dice.random_range(1..4) {
            arena.start_node(node)?;
            let lives = async |arena: &mut Arena| arena.answers(node, "/livez").await;
            arena.until("the node lives", PATIENCE, lives).await?;
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..250))).await;
            if dice.random_bool(0.5) {
                arena.kill(node)?;
            } else {
                let members: Vec<Host> = arena.members().into_iter().map(host).collect();
                arena.net.partition_among(&Partition::Lonely(host(node)), &members)?;
                tokio::time::sleep(Duration::from_millis(dice.random_range(100..2_000))).await;
                arena.net.heal()?;
            }
            self.cut += 1;
        }
        Ok(Some(format!(
            "{node} had {has} entries, and was cut off {} times while it caught up",
            self.cut
        )))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let Some(node) = self.node else {
            return Ok(Met::new(0, "nothing"));
        };
        arena.start_node(node)?;
        Ok(Met::new(self.cut, "transfers disturbed"))
    }
}
