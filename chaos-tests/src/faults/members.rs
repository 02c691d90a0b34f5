//! Nodes that join and leave while everybody works.

use anyhow::Result;
use async_trait::async_trait;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::Arena;

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "membership",
    about: "a new node joins, catches up and votes; an old one, the leader perhaps, leaves for good",
    holds: "AEFGHI",
    takes: Takes::Nothing,
    lasts_ms: (500, 3000),
    alone: true,
    make: || Box::new(Change::default()),
}];

#[derive(Default)]
struct Change {
    changed: u64,
}

#[async_trait(?Send)]
impl Fault for Change {
    async fn strike(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Option<String>> {
        let added = arena.add_node().await?;
        self.changed += 1;
        Ok(Some(format!("{added} joined")))
    }

    async fn heal(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Met> {
        // Those that can be hurt otherwise stay, so that later faults find them.
        let plain = arena.with_plain_disk();
        let leaving = any(&plain, dice);
        if let Some(node) = leaving {
            arena.remove_node(node).await?;
            self.changed += 1;
        }
        Ok(Met::new(self.changed, format!("changes; {leaving:?} left")))
    }
}
