//! TCP connections that are reset in the middle of what they carry: between nodes, and of clients.

use anyhow::Result;
use async_trait::async_trait;

use rand::Rng;

use super::{Dice, Fault, Kind, Met, Takes, any, victim};
use crate::arena::{Arena, host};
use crate::lab::net::{Host, Met as NetMet, Resets};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "reset-links",
        about: "segments between two nodes are answered with resets now and then",
        holds: "BEFGHI",
        takes: Takes::Nothing,
        lasts_ms: (800, 5000),
        alone: false,
        make: || Box::new(Reset::of(false)),
    },
    Kind {
        name: "reset-clients",
        about: "segments between clients and a node are answered with resets now and then",
        holds: "BEFI",
        takes: Takes::Nothing,
        lasts_ms: (800, 5000),
        alone: false,
        make: || Box::new(Reset::of(true)),
    },
];

struct Reset {
    clients: bool,
    severed: u64,
    before: NetMet,
}

impl Reset {
    fn of(clients: bool) -> Self {
        Self {
            clients,
            severed: 0,
            before: NetMet::default(),
        }
    }
}

#[async_trait(?Send)]
impl Fault for Reset {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let Some(node) = victim(arena, dice).await else {
            return Ok(None);
        };
        let others: Vec<u64> = arena.awake().into_iter().filter(|other| *other != node).collect();
        let peer = match self.clients {
            true => Host::Clients,
            false => match any(&others, dice) {
                Some(other) => host(other),
                None => return Ok(None),
            },
        };
        let one_in = dice.random_range(40..200);
        self.before = arena.net.met()?;
        self.severed = arena.net.sever(host(node), peer)? as u64;
        arena.net.reset(host(node), peer, Resets::OneIn(one_in))?;
        arena.net.reset(peer, host(node), Resets::OneIn(one_in))?;
        Ok(Some(format!(
            "ended {} connections between {node} and {peer}, and one segment in {one_in} from then on",
            self.severed
        )))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let met = arena.net.met()?.since(&self.before);
        arena.net.heal()?;
        Ok(Met::new(met.total() + self.severed, "segments and connections reset"))
    }
}
