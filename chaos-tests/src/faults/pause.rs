//! SIGSTOP for longer than a lease, then SIGCONT: the node goes on as if no time had passed.

use anyhow::Result;
use async_trait::async_trait;

use super::{Dice, Fault, Kind, Met, Takes, victim};
use crate::arena::Arena;

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "pause",
    about: "SIGSTOP of one node past the lease, then SIGCONT",
    holds: "BCDEFGHI",
    takes: Takes::Node,
    lasts_ms: (500, 6000),
    alone: false,
    make: || Box::new(Pause::default()),
}];

#[derive(Default)]
struct Pause(Option<u64>);

#[async_trait(?Send)]
impl Fault for Pause {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        self.0 = victim(arena, dice).await;
        let Some(node) = self.0 else { return Ok(None) };
        arena.pause(node)?;
        Ok(Some(format!("stopped {node}")))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        if let Some(node) = self.0 {
            arena.resume(node)?;
        }
        Ok(Met::new(1, "process"))
    }
}
