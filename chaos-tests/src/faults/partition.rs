//! Nodes that do not see each other, or not all, or not both ways; nodes that clients do not see.

use anyhow::Result;
use async_trait::async_trait;

use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, victim};
use crate::arena::{Arena, host};
use crate::lab::net::{Host, Met as NetMet, Partition};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "partition-lonely",
        about: "one node is cut off from the others, and clients still see it",
        holds: "ABCDEFGHIJ",
        takes: Takes::Node,
        lasts_ms: (800, 6000),
        alone: false,
        make: || Box::new(Cut::new(lonely)),
    },
    Kind {
        name: "partition-gone",
        about: "one node is cut off from everybody",
        holds: "ABCDEFGHIJ",
        takes: Takes::Node,
        lasts_ms: (800, 6000),
        alone: false,
        make: || Box::new(Cut::new(gone)),
    },
    Kind {
        name: "partition-one-way",
        about: "one node hears the others and is not heard, or the other way round",
        holds: "ABCDEFGHIJ",
        takes: Takes::Node,
        lasts_ms: (800, 6000),
        alone: false,
        make: || Box::new(Cut::new(one_way)),
    },
    Kind {
        name: "partition-bridge",
        about: "one node sees the others, who do not see each other",
        holds: "ABCDEFGHIJ",
        takes: Takes::Nothing,
        lasts_ms: (800, 6000),
        alone: false,
        make: || Box::new(Cut::new(bridge)),
    },
    Kind {
        name: "partition-ring",
        about: "each node sees its two neighbours (from four nodes on)",
        holds: "ABCDEFGHIJ",
        takes: Takes::Nothing,
        lasts_ms: (800, 6000),
        alone: false,
        make: || Box::new(Cut::new(ring)),
    },
    Kind {
        name: "partition-clients",
        about: "clients do not see one node",
        holds: "ABCDEFGHIJ",
        takes: Takes::Nothing,
        lasts_ms: (800, 6000),
        alone: false,
        make: || Box::new(Cut::new(hidden)),
    },
];

struct Cut {
    how: fn(Host, &[Host], &mut Dice) -> Option<Partition>,
    before: NetMet,
}

impl Cut {
    fn new(how: fn(Host, &[Host], &mut Dice) -> Option<Partition>) -> Self {
        Self {
            how,
            before: NetMet::default(),
        }
    }
}

fn lonely(node: Host, _: &[Host], _: &mut Dice) -> Option<Partition> {
    Some(Partition::Lonely(node))
}

fn gone(node: Host, _: &[Host], _: &mut Dice) -> Option<Partition> {
    Some(Partition::Gone(node))
}

fn one_way(node: Host, _: &[Host], dice: &mut Dice) -> Option<Partition> {
    let hears_nobody = dice.random_bool(0.5);
    Some(Partition::Deaf { node, hears_nobody })
}

fn bridge(node: Host, nodes: &[Host], _: &mut Dice) -> Option<Partition> {
    (nodes.len() > 2).then_some(Partition::Bridge(node))
}

fn ring(_: Host, nodes: &[Host], _: &mut Dice) -> Option<Partition> {
    (nodes.len() > 3).then_some(Partition::Ring)
}

fn hidden(node: Host, _: &[Host], _: &mut Dice) -> Option<Partition> {
    Some(Partition::Hidden(node))
}

#[async_trait(?Send)]
impl Fault for Cut {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let Some(node) = victim(arena, dice).await else {
            return Ok(None);
        };
        let members: Vec<Host> = arena.members().into_iter().map(host).collect();
        let Some(partition) = (self.how)(host(node), &members, dice) else {
            return Ok(None);
        };
        self.before = arena.net.met()?;
        arena.net.partition_among(&partition, &members)?;
        Ok(Some(format!("{partition:?}")))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let met = arena.net.met()?.since(&self.before);
        arena.net.heal()?;
        Ok(Met::new(met.total(), "packets thrown away"))
    }
}
