//! What goes wrong, and when: three courses at the same time, each with quiet periods.

mod machines;
mod network;
mod transfers;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::world::{World, pause};

/// Everything that must have happened in enough runs.
pub const FAULTS: [&str; 27] = [
    "bridge",
    "clock drifts",
    "clock jumps",
    "connection reset",
    "crash",
    "cut off",
    "disk full",
    "disk slow",
    "frame repeated",
    "fsync fails",
    "frames lost",
    "leader handed over",
    "link cut",
    "link held",
    "log rotten",
    "node added",
    "node held",
    "node removed",
    "node replaced",
    "one-way cut",
    "power lost",
    "replica stopped",
    "ring",
    "rows rotten",
    "snapshot rotten",
    "torn write",
    "transfer interrupted",
];

/// Puts in faults for as long as the settings say. The change of members that is under way then may go on.
pub(super) async fn run(world: &World) -> JoinHandle<()> {
    let seed = world.settings.seed;
    let seeded = |course: u64| SmallRng::seed_from_u64(seed ^ (0xfa_17 + course));
    let end = Instant::now() + world.settings.faults_for;
    let changes = tokio::spawn(transfers::run(world.clone(), seeded(2), end));
    tokio::join!(
        machines::run(world, seeded(0), end),
        network::run(world, seeded(1), end)
    );
    let (world, mut random) = (world.clone(), seeded(3));
    tokio::spawn(async move {
        let ended = changes.await;
        ended.expect("the course of members ends well");
        // The other courses may have destroyed a disk after that.
        world.replace_destroyed(&mut random).await;
    })
}

/// Another fault is due; or the faults have ended.
async fn next(world: &World, random: &mut SmallRng, end: Instant) -> Option<u32> {
    pause(random, 50..600).await;
    (Instant::now() < end && !world.oracle.is_violated()).then(|| random.random_range(0..100))
}
