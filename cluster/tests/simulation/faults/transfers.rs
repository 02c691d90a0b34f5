//! Members that change, and snapshots that are interrupted on their way.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::{Instant, timeout};

use super::super::links::Pieces;
use super::super::world::{World, pause};
use super::machines::bring_back;
use cluster::transport::NodeId;

/// For a snapshot to begin to arrive, or to go on.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn run(world: World, mut random: SmallRng, end: Instant) {
    let random = &mut random;
    while let Some(choice) = super::next(&world, random, end).await {
        world.replace_destroyed(random).await;
        match choice {
            0..60 => interrupt_transfer(&world, random).await,
            60..85 => world.grow_or_shrink(random).await,
            _ => {}
        }
    }
}

/// Takes a node away until it needs a snapshot, and disturbs that at a random piece: the receiver crashes, or its link
/// to the sender is cut for a while.
async fn interrupt_transfer(world: &World, random: &mut SmallRng) {
    let node = world.any_node(random, 0.0);
    world.crash(node, true, random.random_bool(0.5));
    pause(random, 800..2_200).await;
    bring_back(world, node, random).await;
    let receiver = NodeId(node);
    let mut pieces = world.net.pieces.subscribe();
    let arrived = pieces.borrow_and_update().count;
    let wanted = random.random_range(1..6);
    let enough = pieces.wait_for(|pieces| pieces.count >= arrived + wanted && pieces.to == receiver);
    let Ok(Ok(piece)) = timeout(PATIENCE, enough).await.map(|piece| piece.map(|piece| *piece)) else {
        return;
    };
    world.oracle.fired("transfer interrupted");
    let Pieces { from, to, .. } = piece;
    if random.random_bool(0.5) {
        world.crash(node, random.random_bool(0.5), random.random_bool(0.5));
        pause(random, 1..300).await;
        bring_back(world, node, random).await;
    } else {
        world.net.cut(from, to);
        world.net.cut(to, from);
        pause(random, 50..800).await;
        world.net.mend(from, to);
        world.net.mend(to, from);
    }
}
