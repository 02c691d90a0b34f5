//! Actors that panic in the middle of a message, by failpoints.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::json;

use super::{Dice, Fault, Kind, Met, Takes};
use crate::arena::Arena;

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "actor-panic",
    about: "actors of the leader panic while they handle a message",
    holds: "ACI",
    takes: Takes::Nothing,
    lasts_ms: (500, 4000),
    alone: false,
    make: || Box::new(Panics::default()),
}];

/// The actors that have a failpoint where they take a message.
const ACTORS: [&str; 4] = ["queue_manager", "conversation", "agent", "supervisor"];

/// For a node to hear of it.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Panics {
    armed: Vec<(u64, String)>,
    restarts_before: u64,
}

/// Restarts of actors that the nodes counted so far.
async fn restarts(arena: &mut Arena) -> u64 {
    arena.metric("kaiwa_actor_restarts_total").await as u64
}

#[async_trait(?Send)]
impl Fault for Panics {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        self.restarts_before = restarts(arena).await;
        let Some(actor) = ACTORS.choose(dice) else {
            return Ok(None);
        };
        let times = dice.random_range(1..4);
        for node in arena.awake() {
            let path = format!("/v1/admin/failpoints/actors::{actor}");
            let body = json!({ "actions": format!("{times}*panic") });
            let call = arena
                .world
                .cluster
                .admin(node, reqwest::Method::PUT, &path, Some(&body));
            // Another fault may keep it from hearing.
            if let Ok(Ok(_)) = tokio::time::timeout(PATIENCE, call).await {
                self.armed.push((node, path));
            }
        }
        let nodes: Vec<u64> = self.armed.iter().map(|(node, _)| *node).collect();
        Ok((!nodes.is_empty()).then(|| format!("the next {times} messages to a {actor} panic, on {nodes:?}")))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        for (node, path) in &self.armed {
            let body = json!({ "actions": "off" });
            // A node that ended meanwhile has forgotten it.
            let call = arena
                .world
                .cluster
                .admin(*node, reqwest::Method::PUT, path, Some(&body));
            let _ = tokio::time::timeout(PATIENCE, call).await;
        }
        let restarts = restarts(arena).await.saturating_sub(self.restarts_before);
        Ok(Met::new(restarts, "actors restarted"))
    }
}
