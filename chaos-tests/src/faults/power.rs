//! Power loss: what was not synced is gone. On a loop device whose file system is shut down without flushing, or behind a layer that
//! forgets what was not synced, all of it or some pages.

use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, Disk};
use crate::lab::disk::faulty_fs::{self, Survivors, Times};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "power-one",
        about: "one node loses power: unsynced bytes are gone, or some of their pages",
        holds: "ACEGH",
        takes: Takes::Node,
        lasts_ms: (300, 4000),
        alone: false,
        make: || {
            Box::new(Power {
                all: false,
                off: Vec::new(),
                lost: 0,
            })
        },
    },
    Kind {
        name: "power-all",
        about: "all nodes lose power at once",
        holds: "ACEGH",
        takes: Takes::Service,
        lasts_ms: (200, 2000),
        alone: false,
        make: || {
            Box::new(Power {
                all: true,
                off: Vec::new(),
                lost: 0,
            })
        },
    },
];

/// How slow syncs are, and for how long, before the power goes.
const BEFORE_THE_CUT: Duration = Duration::from_millis(150);

struct Power {
    all: bool,
    off: Vec<u64>,
    /// Bytes, where they can be counted.
    lost: u64,
}

#[async_trait(?Send)]
impl Fault for Power {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let powered = arena.with_disk(|disk| !matches!(disk, Disk::Plain));
        let can = arena.awake_among(powered);
        let mut hit = can.clone();
        if !self.all {
            let Some(node) = any(&can, dice) else { return Ok(None) };
            hit = vec![node];
        }
        if hit.is_empty() {
            return Ok(None);
        }
        // A disk that is about to fail is slow where it can be: what was acknowledged too early shows itself.
        for node in &hit {
            if let Disk::Faulty(layer) = arena.disk(*node) {
                let slow = faulty_fs::Fault::SlowSync(BEFORE_THE_CUT);
                layer.faults().arm(slow, Times::Always, faulty_fs::any_path());
            }
        }
        tokio::time::sleep(BEFORE_THE_CUT).await;
        let mut how = Vec::new();
        // The disks first, all at once: a process must not be able to sync what it still wanted to.
        for node in &hit {
            match arena.disk(*node) {
                Disk::Loop(disk) => {
                    disk.lose_power()?;
                    how.push(format!("{node}: device shut down"));
                }
                Disk::Faulty(layer) => {
                    self.lost += layer.unsynced_bytes();
                    let survivors = match dice.random_bool(0.6) {
                        true => Survivors::None,
                        false => Survivors::Some { seed: dice.random() },
                    };
                    layer.lose_power(survivors)?;
                    how.push(format!("{node}: {survivors:?} of {} bytes survive", self.lost));
                }
                Disk::Plain => {}
            }
        }
        for node in &hit {
            arena.kill(*node)?;
        }
        self.off = hit;
        Ok(Some(how.join(", ")))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        for node in self.off.clone() {
            ensure!(
                !arena.world.cluster.running().contains(&node),
                "node {node} came back without power"
            );
            match arena.disk(node) {
                Disk::Loop(disk) => {
                    disk.unmount()?;
                    disk.remount()?;
                }
                Disk::Faulty(layer) => {
                    layer.faults().disarm_all();
                    layer.return_power();
                }
                Disk::Plain => {}
            }
            arena.start_node(node)?;
        }
        Ok(Met::new(
            self.off.len() as u64,
            format!("disks; {} bytes counted as lost", self.lost),
        ))
    }
}
