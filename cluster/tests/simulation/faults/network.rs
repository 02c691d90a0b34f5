//! Links, clocks, and processes that stand still.

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::super::links::{Net, Weather};
use super::super::world::{World, pause};
use cluster::transport::NodeId;

type Way = (NodeId, NodeId);

pub(super) async fn run(world: &World, mut random: SmallRng, end: Instant) {
    let random = &mut random;
    while let Some(choice) = super::next(world, random, end).await {
        match choice {
            0..26 => cut_off(world, random).await,
            26..32 => bridge(world, random).await,
            32..38 => ring(world, random).await,
            38..46 => hold_link(world, random).await,
            46..62 => hold_node(world, random).await,
            62..74 => bad_weather(world, random).await,
            74..84 => break_links(world, random),
            _ => wrong_clock(world, random).await,
        }
    }
}

/// Cuts these for a while.
async fn cut_for(net: &Net, ways: Vec<Way>, random: &mut SmallRng) {
    ways.iter().for_each(|&(from, to)| net.cut(from, to));
    pause(random, 50..1_500).await;
    ways.iter().for_each(|&(from, to)| net.mend(from, to));
}

/// Cuts one node off: both ways, or one way only; or cuts a single link.
async fn cut_off(world: &World, random: &mut SmallRng) {
    let node = world.any_node(random, 0.6);
    let (out, into) = match random.random_range(0..4) {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let single = random.random_bool(0.25).then(|| world.another_node(random, node));
    world.oracle.fired(match (single, out && into) {
        (Some(_), _) => "link cut",
        (None, true) => "cut off",
        (None, false) => "one-way cut",
    });
    let others = world.members.all().into_iter();
    let others = others.filter(|&other| other != node && single.is_none_or(|single| single == other));
    let mut ways = Vec::new();
    for other in others {
        let (node, other) = (NodeId(node), NodeId(other));
        ways.extend(out.then_some((node, other)));
        ways.extend(into.then_some((other, node)));
    }
    cut_for(&world.net, ways, random).await;
}

/// Of the ways between all members, those that `stays` does not want.
fn ways_except(world: &World, stays: impl Fn(usize, usize, usize) -> bool) -> Vec<Way> {
    let all: Vec<u64> = world.members.all().into_iter().collect();
    let places = 0..all.len();
    let pairs = places
        .clone()
        .flat_map(|one| places.clone().map(move |other| (one, other)));
    pairs
        .filter(|&(one, other)| one != other && !stays(one, other, all.len()))
        .map(|(one, other)| (NodeId(all[one]), NodeId(all[other])))
        .collect()
}

/// Two halves that one node alone connects.
async fn bridge(world: &World, random: &mut SmallRng) {
    world.oracle.fired("bridge");
    let ways = ways_except(world, |one, other, count| {
        let middle = count / 2;
        one == middle || other == middle || (one < middle) == (other < middle)
    });
    cut_for(&world.net, ways, random).await;
}

/// Every node reaches its neighbours alone. With three nodes one link is cut as well, or it would be no fault.
async fn ring(world: &World, random: &mut SmallRng) {
    world.oracle.fired("ring");
    let ways = ways_except(world, |one, other, count| {
        let apart = one.abs_diff(other);
        apart == 1 || (count > 3 && apart == count - 1)
    });
    cut_for(&world.net, ways, random).await;
}

/// A link stalls, and everything on it comes at once in the end.
async fn hold_link(world: &World, random: &mut SmallRng) {
    world.oracle.fired("link held");
    let one = world.any_node(random, 0.6);
    let (one, other) = (NodeId(one), NodeId(world.another_node(random, one)));
    let ways = match random.random_bool(0.5) {
        true => vec![(one, other), (other, one)],
        false => vec![(one, other)],
    };
    hold_for(&world.net, ways, random).await;
}

async fn hold_for(net: &Net, ways: Vec<Way>, random: &mut SmallRng) {
    ways.iter().for_each(|&(from, to)| net.hold(from, to));
    pause(random, 200..2_500).await;
    ways.iter().for_each(|&(from, to)| net.let_go(from, to));
}

/// Nothing runs on a node for a while, past its lease; its peers see no link end. Then it goes on as if nothing had been.
async fn hold_node(world: &World, random: &mut SmallRng) {
    let node = world.any_node(random, 0.8);
    let Some(life) = world.life(node) else {
        return;
    };
    world.oracle.fired("node held");
    let others = world.members.all().into_iter().filter(|&other| other != node);
    let ways = others.flat_map(|other| [(NodeId(node), NodeId(other)), (NodeId(other), NodeId(node))]);
    life.gate.shut();
    hold_for(&world.net, ways.collect(), random).await;
    life.gate.open();
}

/// Links that are slow, lose frames and repeat them, for a while.
async fn bad_weather(world: &World, random: &mut SmallRng) {
    world.oracle.fired("frames lost");
    world.net.set_weather(Weather {
        delay_max_us: random.random_range(3_000..60_000),
        loss: random.random_range(0.0..0.1),
        copies: random.random_range(0.0..0.2),
    });
    pause(random, 100..1_500).await;
    world.net.clear_up();
}

/// Connections that break while both ends live: nobody is to be deposed for it.
fn break_links(world: &World, random: &mut SmallRng) {
    world.oracle.fired("connection reset");
    let one = world.any_node(random, 0.6);
    let other = world.another_node(random, one);
    world.net.reset(NodeId(one), NodeId(other), random.random_bool(0.5));
}

/// A wall clock jumps, for a while or for good, or goes too fast or too slow for a while.
async fn wrong_clock(world: &World, random: &mut SmallRng) {
    let node = world.any_node(random, 0.5);
    let clock = world.with_node(node, |node| node.clock.clone());
    if random.random_bool(0.5) {
        world.oracle.fired("clock drifts");
        clock.drift(random.random_range(-60..60));
        pause(random, 200..2_000).await;
        clock.drift(0);
        return;
    }
    world.oracle.fired("clock jumps");
    let by_ms = random.random_range(-20_000..20_000);
    clock.jump(by_ms);
    if random.random_bool(0.7) {
        pause(random, 200..2_000).await;
        clock.jump(-by_ms);
    }
}
