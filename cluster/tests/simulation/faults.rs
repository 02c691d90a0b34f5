//! What goes wrong, and when.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::world::{NODES, World, disk_behaviour};
use cluster::state_machine::ShardId;
use cluster::transport::NodeId;

/// Puts in faults for as long as the settings say, with quiet periods between them.
pub(super) async fn run(world: &World, mut random: SmallRng) {
    let end = Instant::now() + world.settings.faults_for;
    while Instant::now() < end && !world.oracle.is_violated() {
        pause(&mut random, 50..500).await;
        match random.random_range(0..100) {
            0..40 => crash_one(world, &mut random).await,
            40..55 => crash_several(world, &mut random).await,
            55..75 => partition(world, &mut random).await,
            75..85 => slow_disk(world, &mut random),
            85..92 => bad_links(world, &mut random).await,
            92..96 => broken_links(world, &mut random),
            _ => hand_over(world, &mut random),
        }
    }
}

async fn pause(random: &mut SmallRng, ms: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(ms))).await;
}

fn any_node(random: &mut SmallRng) -> u64 {
    NODES[random.random_range(0..NODES.len())]
}

/// Crashes a node, the leader more often than not, and starts it again after a while, often a very short one.
async fn crash_one(world: &World, random: &mut SmallRng) {
    let leader = world.leader().filter(|_| random.random_bool(0.7));
    let node = leader.unwrap_or_else(|| any_node(random));
    world.crash(node, random.random_bool(0.5), random.random_bool(0.5));
    match random.random_bool(0.6) {
        true => pause(random, 1..30).await,
        false => pause(random, 30..1_500).await,
    }
    bring_back(world, node, random).await;
}

/// Starts a node; the others notice at once, or when their own timers fire.
async fn bring_back(world: &World, node: u64, random: &mut SmallRng) {
    if world.shards(node).is_none() {
        world.start(node).await;
    }
    let (net, notice_ms) = (world.net.clone(), random.random_range(0..600));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(notice_ms)).await;
        net.announce(NodeId(node));
    });
}

/// Two or all three lose power, together or one soon after the other.
async fn crash_several(world: &World, random: &mut SmallRng) {
    let spared = if random.random_bool(0.5) { 0 } else { any_node(random) };
    for node in NODES.into_iter().filter(|&node| node != spared) {
        world.crash(node, random.random_bool(0.5), random.random_bool(0.5));
        if random.random_bool(0.3) {
            pause(random, 1..20).await;
        }
    }
    for node in NODES {
        pause(random, 1..300).await;
        bring_back(world, node, random).await;
    }
}

/// Cuts one node off: both ways, or one way only; or cuts a single link.
async fn partition(world: &World, random: &mut SmallRng) {
    world.oracle.partitioned();
    let leader = world.leader().filter(|_| random.random_bool(0.6));
    let node = leader.unwrap_or_else(|| any_node(random));
    let (out, into) = match random.random_range(0..4) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let single = random.random_bool(0.25).then(|| any_node(random));
    for other in NODES
        .into_iter()
        .filter(|&other| other != node && single.is_none_or(|single| single == other))
    {
        if out {
            world.net.cut(NodeId(node), NodeId(other));
        }
        if into {
            world.net.cut(NodeId(other), NodeId(node));
        }
    }
    pause(random, 50..1_500).await;
    world.net.heal();
}

/// One disk becomes slow, or fast again.
fn slow_disk(world: &World, random: &mut SmallRng) {
    let node = any_node(random);
    let fsync_max_us = [2_000, 20_000, 60_000][random.random_range(0..3)];
    world.with_node(node, |node| {
        node.disk.set_behaviour(disk_behaviour(&world.settings, fsync_max_us))
    });
}

/// Links that are slow and lose frames, for a while.
async fn bad_links(world: &World, random: &mut SmallRng) {
    world
        .net
        .disturb(random.random_range(3_000..60_000), random.random_range(0.0..0.1));
    pause(random, 100..1_500).await;
    world.net.heal();
}

/// Links that break while both ends live: nobody is to be deposed for it.
fn broken_links(world: &World, random: &mut SmallRng) {
    let (one, other) = (any_node(random), any_node(random));
    if one != other {
        world.net.reset(NodeId(one), NodeId(other));
    }
}

/// An orderly change of leader.
fn hand_over(world: &World, random: &mut SmallRng) {
    let (asked, to) = (any_node(random), NodeId(any_node(random)));
    if let Some(shards) = world.shards(asked) {
        tokio::spawn(async move {
            let changed = tokio::time::timeout(Duration::from_secs(2), shards.transfer_leader(ShardId(0), to)).await;
            tracing::debug!(?changed, "leadership handed over");
        });
    }
}
