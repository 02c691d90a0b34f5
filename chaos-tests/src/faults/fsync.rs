//! A sync that fails, and with it the bytes that it should have kept. The node acknowledges nothing more by that log, and syncs it never
//! again; somebody looks after the disk and starts it anew.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, Disk, SHARD};
use crate::lab::disk::faulty_fs::{self, ArmedFault, PathMatch, Times};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "fsync-fails-log",
        about: "a sync of the log fails with EIO, and its bytes are gone",
        holds: "AHK",
        takes: Takes::Node,
        lasts_ms: (1500, 5000),
        alone: false,
        make: || Box::new(Broken::new(Place::Log)),
    },
    Kind {
        name: "fsync-fails-rows",
        about: "a sync of the rows fails with EIO, and its bytes are gone",
        holds: "AHK",
        takes: Takes::Node,
        lasts_ms: (8_000, 14_000),
        alone: false,
        make: || Box::new(Broken::new(Place::Rows)),
    },
];

#[derive(Clone, Copy)]
enum Place {
    Log,
    Rows,
}

struct Broken {
    place: Place,
    armed: Option<(u64, ArmedFault, Duration)>,
}

impl Broken {
    const fn new(place: Place) -> Self {
        Self { place, armed: None }
    }

    fn paths(&self) -> (PathBuf, PathMatch) {
        let folder = PathBuf::from(match self.place {
            Place::Log => format!("data/shards/{SHARD}/log"),
            Place::Rows => "data/rows".to_owned(),
        });
        (folder.clone(), faulty_fs::under(folder))
    }
}

#[async_trait(?Send)]
impl Fault for Broken {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let faulty = arena.with_disk(|disk| matches!(disk, Disk::Faulty(_)));
        let can = arena.awake_among(faulty);
        let Some(node) = any(&can, dice) else { return Ok(None) };
        let (folder, paths) = self.paths();
        let Disk::Faulty(layer) = arena.disk(node) else {
            return Ok(None);
        };
        let times = if dice.random_bool(0.5) {
            Times::First(1)
        } else {
            Times::Always
        };
        let faults = layer.faults();
        let armed = faults.arm(faulty_fs::Fault::SyncFails, times, paths);
        self.armed = Some((node, armed, faults.now()));
        Ok(Some(format!(
            "syncs of {node} under {} fail: {times:?}",
            folder.display()
        )))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let Some((node, armed, since)) = self.armed.take() else {
            return Ok(Met::new(0, "nothing"));
        };
        let (folder, _) = self.paths();
        let Disk::Faulty(layer) = arena.disk(node) else {
            return Ok(Met::new(0, "nothing"));
        };
        let faults = layer.faults();
        let fired = faults.fired(armed);
        // A failed sync is never tried again: by a log that was told so there is no later one that succeeds.
        let syncs = faults.syncs();
        let of_this = syncs
            .iter()
            .filter(|sync| sync.at >= since && sync.path.starts_with(&folder));
        let mut failed_at = None;
        let mut retried = None;
        for sync in of_this {
            match (&sync.result, failed_at) {
                (Err(_), None) => failed_at = Some(sync.at + sync.took),
                (Ok(()), Some(failed)) if sync.at > failed => retried = Some(sync.clone()),
                _ => {}
            }
        }
        // What a process started anew does with its disk is another matter.
        arena.kill(node)?;
        let Disk::Faulty(layer) = arena.disk(node) else {
            return Ok(Met::new(0, "nothing"));
        };
        layer.faults().disarm(armed);
        arena.distrust.looked += u64::from(fired > 0);
        if let Some(retried) = retried {
            arena.distrust.violations.push(format!(
                "node {node} synced {} again at {:?}, after a sync of it had failed",
                retried.path.display(),
                retried.at
            ));
        }
        arena.start_node(node)?;
        Ok(Met::new(fired, "syncs failed"))
    }
}
