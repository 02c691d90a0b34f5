//! Bits that flip in the files of a stopped node. It must notice and stop, or set the file aside and fill it again; a node whose log is
//! damaged is replaced by a new one.

use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, Disk, PATIENCE, SHARD};
use crate::lab::disk::damage::{self, Target};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "rot-log",
        about: "a bit flips inside the log of a stopped node, which is then replaced",
        holds: "AHK",
        takes: Takes::Node,
        lasts_ms: (200, 1500),
        alone: true,
        make: || Box::new(Rot::of(Target::LogRecords { shard: SHARD })),
    },
    Kind {
        name: "rot-snapshot",
        about: "a bit flips in the newest snapshot of a stopped node",
        holds: "AHK",
        takes: Takes::Node,
        lasts_ms: (200, 1500),
        alone: true,
        make: || Box::new(Rot::of(Target::Snapshot { shard: SHARD })),
    },
    Kind {
        name: "rot-rows",
        about: "a bit flips in the rows of a stopped node",
        holds: "AHK",
        takes: Takes::Node,
        lasts_ms: (200, 1500),
        alone: true,
        make: || Box::new(Rot::of(Target::Rows)),
    },
];

/// A node that must notice is given so long to stop, or to be ready.
const NOTICES_WITHIN: Duration = Duration::from_secs(60);

struct Rot {
    target: Target,
    node: Option<u64>,
}

impl Rot {
    const fn of(target: Target) -> Self {
        Self { target, node: None }
    }
}

#[async_trait(?Send)]
impl Fault for Rot {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let awake = arena.awake();
        if awake.len() < arena.members().len() {
            return Ok(None);
        }
        let Some(node) = any(&awake, dice) else { return Ok(None) };
        arena.kill(node)?;
        self.node = Some(node);
        match damage::flip_bit(&arena.data(node), self.target, dice.random()) {
            Ok(done) => Ok(Some(format!(
                "{node}: {}, byte {}: {:02x?} became {:02x?}",
                done.path.display(),
                done.offset,
                done.before,
                done.after
            ))),
            // No snapshot yet.
            Err(error) => {
                tracing::info!("nothing to damage: {error:#}");
                arena.start_node(node)?;
                self.node = None;
                Ok(None)
            }
        }
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let Some(node) = self.node else {
            return Ok(Met::new(0, "nothing"));
        };
        arena.start_node(node)?;
        // It says so and ends, or it is ready: nothing between.
        let decided = async |arena: &mut Arena| arena.is_ready(node).await || !arena.awake().contains(&node);
        arena
            .until("a node with a damaged file stops or is ready", NOTICES_WITHIN, decided)
            .await?;
        arena.distrust.looked += 1;
        if arena.awake().contains(&node) {
            let in_log = matches!(self.target, Target::LogRecords { .. });
            if in_log {
                arena
                    .distrust
                    .violations
                    .push(format!("node {node} runs with a log of which a bit was flipped"));
            }
            return Ok(Met::new(1, "file; the node set it aside, or read around it"));
        }
        let said = arena.world.cluster.log_tail(node);
        ensure!(
            said.contains("damaged") || said.contains("remove this node"),
            "node {node} ended, and does not say that its files are damaged:\n{said}"
        );
        // Replaced: under a new number, by an empty disk.
        let added = arena.add_node().await?;
        arena.remove_node(node).await?;
        *arena.disk(node) = Disk::Plain;
        let ready = async |arena: &mut Arena| arena.is_ready(added).await;
        arena.until("the new node is ready", PATIENCE, ready).await?;
        Ok(Met::new(1, format!("file; {node} stopped and was replaced by {added}")))
    }
}
