//! A disk that takes its time: syncs of tens or hundreds of milliseconds.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, Disk};
use crate::lab::disk::faulty_fs::{self, ArmedFault, Times};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "slow-disk",
    about: "each sync of one node takes 20 to 400 ms longer",
    holds: "AIL",
    takes: Takes::Nothing,
    lasts_ms: (2000, 8000),
    alone: false,
    make: || Box::new(Slow::default()),
}];

#[derive(Default)]
struct Slow(Option<(u64, ArmedFault)>);

#[async_trait(?Send)]
impl Fault for Slow {
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
