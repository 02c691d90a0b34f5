//! A disk that takes its time: each sync some tens or hundreds of milliseconds longer, or a device that takes only so many writes
//! in a second.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, Disk};
use crate::lab::disk::faulty_fs::{self, ArmedFault, Times};
use crate::lab::disk::throttle::{self, Limits, Throttle};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "slow-disk",
        about: "each sync of one node takes 20 to 400 ms longer",
        holds: "AIL",
        takes: Takes::Nothing,
        lasts_ms: (2000, 8000),
        alone: false,
        make: || Box::new(SlowSyncs(None)),
    },
    Kind {
        name: "slow-device",
        about: "the device of one node takes 8 to 40 writes in a second",
        holds: "AIL",
        takes: Takes::Nothing,
        lasts_ms: (3000, 8000),
        alone: false,
        make: || Box::new(SlowDevice(None)),
    },
];

struct SlowSyncs(Option<(u64, ArmedFault)>);

#[async_trait(?Send)]
impl Fault for SlowSyncs {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let can = arena.with_disk(|disk| matches!(disk, Disk::Faulty(_)));
        let Some(node) = any(&can, dice) else { return Ok(None) };
        let Disk::Faulty(layer) = arena.disk(node) else {
            return Ok(None);
        };
        let by = Duration::from_millis(dice.random_range(20..400));
        let armed = layer
            .faults()
            .arm(faulty_fs::Fault::SlowSync(by), Times::Always, faulty_fs::any_path());
        self.0 = Some((node, armed));
        Ok(Some(format!("syncs of {node} take {by:?} longer")))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let Some((node, armed)) = self.0 else {
            return Ok(Met::new(0, "nothing"));
        };
        let Disk::Faulty(layer) = arena.disk(node) else {
            return Ok(Met::new(0, "nothing"));
        };
        let faults = layer.faults();
        faults.disarm(armed);
        Ok(Met::new(faults.fired(armed), "syncs"))
    }
}

/// With how many writes it had taken before.
struct SlowDevice(Option<(Throttle, u64)>);

#[async_trait(?Send)]
impl Fault for SlowDevice {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        if let Some(why) = throttle::why_not_possible() {
            tracing::warn!("no device can be made slow here: {why}");
            return Ok(None);
        }
        let on_devices = arena.with_disk(|disk| matches!(disk, Disk::Loop(_)));
        let can = arena.awake_among(on_devices);
        let Some(node) = any(&can, dice) else { return Ok(None) };
        let pid = arena.world.cluster.pid(node);
        let Disk::Loop(disk) = arena.disk(node) else {
            return Ok(None);
        };
        let (Some(device), Some(pid)) = (disk.device(), pid) else {
            return Ok(None);
        };
        let writes = dice.random_range(8..40);
        let limits = Limits {
            writes_per_s: Some(writes),
            ..Limits::default()
        };
        let throttle = Throttle::start(device, limits)?;
        throttle.add_process(pid)?;
        let before = taken(&throttle)?;
        self.0 = Some((throttle, before));
        Ok(Some(format!("the device of {node} takes {writes} writes in a second")))
    }

    async fn heal(&mut self, _: &mut Arena, _: &mut Dice) -> Result<Met> {
        let Some((throttle, before)) = self.0.take() else {
            return Ok(Met::new(0, "nothing"));
        };
        Ok(Met::new(
            taken(&throttle)?.saturating_sub(before),
            "writes that had to wait their turn",
        ))
    }
}

/// Writes of the node and of its journal's threads.
fn taken(throttle: &Throttle) -> Result<u64> {
    let (own, journal) = throttle.writes_done()?;
    Ok(own + journal)
}
