//! Processes and disks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::super::world::{SHARD, World, disk_behaviour, pause};
use cluster::shards::Shards;
use cluster::status::Role;
use cluster::transport::NodeId;

pub(super) async fn run(world: &World, mut random: SmallRng, end: Instant) {
    let random = &mut random;
    while let Some(choice) = super::next(world, random, end).await {
        match choice {
            0..38 => crash_one(world, random).await,
            38..53 => crash_several(world, random).await,
            53..63 => slow_disk(world, random),
            63..72 => trouble(world, random, "disk full").await,
            72..80 => trouble(world, random, "fsync fails").await,
            80..92 => rot(world, random).await,
            _ => hand_over(world, random),
        }
    }
}

/// Crashes a node, the leader more often than not, and starts it again after a while, often a very short one.
async fn crash_one(world: &World, random: &mut SmallRng) {
    let node = world.any_node(random, 0.7);
    world.crash(node, random.random_bool(0.5), random.random_bool(0.5));
    match random.random_bool(0.6) {
        true => pause(random, 1..30).await,
        false => pause(random, 30..1_500).await,
    }
    bring_back(world, node, random).await;
}

/// Starts a node; the others notice at once, or when their own timers fire.
pub(super) async fn bring_back(world: &World, node: u64, random: &mut SmallRng) {
    if world.members.all().contains(&node) {
        world.start_or_blame(node).await;
        announce_later(world, node, random);
    }
}

fn announce_later(world: &World, node: u64, random: &mut SmallRng) {
    let (net, notice_ms) = (world.net.clone(), random.random_range(0..600));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(notice_ms)).await;
        net.announce(NodeId(node));
    });
}

/// Two or all lose power, together or one soon after the other.
async fn crash_several(world: &World, random: &mut SmallRng) {
    let spared = if random.random_bool(0.5) {
        0
    } else {
        world.any_node(random, 0.0)
    };
    for node in world.members.all().into_iter().filter(|&node| node != spared) {
        world.crash(node, random.random_bool(0.5), random.random_bool(0.5));
        if random.random_bool(0.3) {
            pause(random, 1..20).await;
        }
    }
    for node in world.members.all() {
        pause(random, 1..300).await;
        bring_back(world, node, random).await;
    }
}

/// One disk becomes slow, or fast again.
fn slow_disk(world: &World, random: &mut SmallRng) {
    let node = world.any_node(random, 0.5);
    let fsync_max_us = [2_000, 20_000, 60_000][random.random_range(0..3)];
    world.with_node(node, |node| node.disk.set_behaviour(disk_behaviour(fsync_max_us)));
    world.oracle.fired("disk slow");
}

/// A disk has no room, or its flushes fail, for a while. Its replica stops, and is started again when that is over.
async fn trouble(world: &World, random: &mut SmallRng, kind: &'static str) {
    let node = world.any_node(random, 0.6);
    let Some(life) = world.life(node) else {
        return;
    };
    let set = |on| {
        world.with_node(node, |node| match kind {
            "disk full" => node.disk.fill(on),
            _ => node.disk.fail_flushes(on),
        });
    };
    life.troubled.store(true, Ordering::Relaxed);
    set(true);
    // Of an idle replica nothing may come; of one that works it comes soon.
    let until = Instant::now() + Duration::from_millis(random.random_range(100..1_200));
    while Instant::now() < until && !has_stopped(&life.shards) && life.lives.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if has_stopped(&life.shards) {
        world.oracle.fired(kind);
    }
    pause(random, 1..500).await;
    set(false);
    if life.lives.load(Ordering::Relaxed) {
        world.crash(node, random.random_bool(0.5), false);
    }
    pause(random, 1..200).await;
    bring_back(world, node, random).await;
}

fn has_stopped(shards: &Shards) -> bool {
    shards.status().shards.iter().any(|shard| shard.role == Role::Stopped)
}

/// Bits of a node that is down rot. It refuses to start, and is lost; or it goes on without what was damaged.
async fn rot(world: &World, random: &mut SmallRng) {
    if !world.members.may_lose_one() {
        return;
    }
    let node = world.any_node(random, 0.3);
    if world.life(node).is_none() {
        return;
    }
    world.crash(node, random.random_bool(0.5), random.random_bool(0.5));
    let kind = ["log rotten", "snapshot rotten", "rows rotten"][random.random_range(0..3)];
    let fired = world.with_node(node, |node| {
        node.rots = true;
        match kind {
            "log rotten" => node.disk.damage_log(SHARD),
            "rows rotten" => node.disk.damage_rows(),
            _ => return node.files.damage_newest_snapshot(SHARD),
        }
        true
    });
    if fired {
        world.oracle.fired(kind);
    }
    pause(random, 1..300).await;
    world.with_node(node, |node| node.rots = false);
    match world.start(node).await {
        Ok(()) => {
            if kind == "log rotten" {
                world
                    .oracle
                    .violated(format!("K: node {node} started on a damaged log"));
            }
            announce_later(world, node, random);
        }
        Err(error) => {
            tracing::debug!(node, %error, kind, "refuses to start");
            world.members.destroy(node);
        }
    }
}

/// An orderly change of leader.
fn hand_over(world: &World, random: &mut SmallRng) {
    let (asked, to) = (world.any_node(random, 0.3), NodeId(world.any_node(random, 0.0)));
    if let Some(shards) = world.shards(asked) {
        let oracle = world.oracle.clone();
        tokio::spawn(async move {
            let changed = tokio::time::timeout(Duration::from_secs(2), shards.transfer_leader(SHARD, to)).await;
            if matches!(changed, Ok(Ok(()))) {
                oracle.fired("leader handed over");
            }
        });
    }
}
