//! Leadership that is handed over while everybody works.

use anyhow::Result;
use async_trait::async_trait;

use std::time::Duration;

use serde_json::json;

use super::{Dice, Fault, Kind, Met, Takes, any};
use crate::arena::{Arena, SHARD};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "leader-transfer",
    about: "leadership of the shards is handed to another node, again and again",
    holds: "ACDEFGHI",
    takes: Takes::Nothing,
    lasts_ms: (50, 500),
    alone: false,
    make: || Box::new(Transfer::default()),
}];

#[derive(Default)]
struct Transfer {
    done: u64,
}

#[async_trait(?Send)]
impl Fault for Transfer {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let awake = arena.awake();
        let (Some(asked), Some(to)) = (any(&awake, dice), any(&awake, dice)) else {
            return Ok(None);
        };
        for shard in [0, SHARD] {
            let path = format!("/v1/admin/cluster/shards/{shard}/leader");
            let body = json!({ "node": to });
            let call = arena
                .world
                .cluster
                .admin(asked, reqwest::Method::POST, &path, Some(&body));
            // It may be refused while another fault is on.
            let answered = tokio::time::timeout(Duration::from_secs(5), call).await;
            self.done += u64::from(matches!(answered, Ok(Ok(_))));
        }
        Ok(Some(format!(
            "asked {asked} that {to} shall lead; {} of 2 did",
            self.done
        )))
    }

    async fn heal(&mut self, _: &mut Arena, _: &mut Dice) -> Result<Met> {
        Ok(Met::new(self.done, "transfers"))
    }
}
