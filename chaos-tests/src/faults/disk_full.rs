//! A disk without room. The node stops taking what it cannot keep, and goes on by itself when there is room again.

use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;

use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, Disk};
use crate::lab::disk::faulty_fs::{self, ArmedFault, Times};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "disk-full",
    about: "the disk of one node has no room; later it has",
    holds: "AKL",
    takes: Takes::Node,
    lasts_ms: (2000, 8000),
    alone: false,
    make: || Box::new(Full::default()),
}];

/// A closed replica looks for room at growing intervals.
const BACK_WITHIN: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Full {
    node: Option<u64>,
    pid: Option<u32>,
    armed: Option<ArmedFault>,
}

#[async_trait(?Send)]
impl Fault for Full {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let bounded = arena.with_disk(|disk| !matches!(disk, Disk::Plain));
        let can = arena.awake_among(bounded);
        let Some(node) = any(&can, dice) else { return Ok(None) };
        self.node = Some(node);
        self.pid = arena.world.cluster.pid(node);
        let leave: u64 = dice.random_range(0..256 << 10);
        match arena.disk(node) {
            Disk::Loop(disk) => disk.fill(leave)?,
            Disk::Faulty(layer) => {
                self.armed = Some(
                    layer
                        .faults()
                        .arm(faulty_fs::Fault::NoSpace, Times::Always, faulty_fs::any_path()),
                );
            }
            Disk::Plain => return Ok(None),
        }
        Ok(Some(format!(
            "no room on {node}, beyond {leave} bytes where it is a real disk"
        )))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let Some(node) = self.node else {
            return Ok(Met::new(0, "nothing"));
        };
        let armed = self.armed;
        let met = match arena.disk(node) {
            Disk::Loop(disk) => {
                let free = disk.free_bytes()?;
                disk.make_room()?;
                Met::new(u64::from(free < 1 << 20), format!("disk with {free} bytes left"))
            }
            Disk::Faulty(layer) => {
                let faults = layer.faults();
                let fired = armed.map_or(0, |armed| faults.fired(armed));
                faults.disarm_all();
                Met::new(fired, "writes refused")
            }
            Disk::Plain => Met::new(0, "nothing"),
        };
        // Without help: the same process takes part again.
        let ready = async |arena: &mut Arena| arena.is_ready(node).await;
        let back = arena
            .until("a node that has room again is ready", BACK_WITHIN, ready)
            .await?;
        ensure!(
            arena.world.cluster.pid(node) == self.pid,
            "node {node} did not live through a full disk"
        );
        Ok(Met::new(
            met.count,
            format!("{}; ready again {back:?} after there was room", met.what),
        ))
    }
}
