//! Schedules, callbacks, and customers who left.

use std::time::Duration;

use anyhow::{Result, ensure};
use node::gateway::protocol::Later;
use routing::ids::Millis;

use super::Tally;
use crate::cast::{Coming, Visitor};
use crate::stage::{STEP_MS, Stage, now_ms};

/// Put off to a time that comes while nodes are away.
pub struct Scheduled {
    visitors: Vec<(Visitor, Millis)>,
    arrived_before: u64,
}

impl Scheduled {
    /// Eight, an instant apart.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let arrived_before = stage.figures().await?.of("later", "arrived");
        let mut visitors = Vec::new();
        for number in 0..8 {
            let due_ms = now_ms() + STEP_MS;
            let coming = Coming {
                kind: "later",
                schedule: Some(Later {
                    at_ms: due_ms,
                    agent: None,
                    keep_age: false,
                }),
            };
            let visitor = stage
                .visitor_who(format!("later-{}-{number}", stage.round), coming)
                .await?;
            let view = stage.view(visitor.conversation).await?;
            ensure!(
                view["phase"] == "scheduled" && view["schedule"]["at_ms"] == due_ms,
                "{view}"
            );
            visitors.push((visitor, due_ms));
        }
        Ok(Self {
            visitors,
            arrived_before,
        })
    }

    /// Came into the queue at its time, once, and was offered once.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let desk = stage.desk("later");
        for (visitor, due_ms) in &self.visitors {
            let id = visitor.conversation;
            desk.until_assigned(id).await?;
            let since_ms = stage.view(id).await?["staff"]["since_ms"].as_u64().unwrap_or(0);
            stage.in_time(&format!("{}, its time", visitor.name), *due_ms, since_ms)?;
            let offers = desk.offers(id);
            ensure!(
                offers.len() == 1 && offers[0].at_ms >= since_ms,
                "{id}: offered once: {offers:?}"
            );
            stage.once(id, "scheduled").await?;
        }
        let arrived = stage.figures().await?.of("later", "arrived") - self.arrived_before;
        ensure!(
            arrived == self.visitors.len() as u64,
            "{arrived} arrived of {}",
            self.visitors.len()
        );
        tally.add("schedules", self.visitors.len());
        Ok(())
    }
}

/// Asked to be called back and went; beside them others who only went.
pub struct Callbacks {
    asked: Vec<Visitor>,
    left: Vec<(Visitor, Millis, Millis)>,
}

impl Callbacks {
    /// Eight of each. Their agent is away. The last to be seen gone was seen just now.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        stage.desk("caller").is(false).await?;
        let asked = stage.visitors("callback", 8).await?;
        for visitor in &asked {
            let contact = format!("+81 3 {}", visitor.name);
            visitor.client.request_callback(visitor.conversation, contact).await?;
            visitor.go().await;
        }
        let left = stage.visitors("left", 8).await?;
        let went_ms = now_ms();
        for visitor in &left {
            visitor.go().await;
        }
        let gone = |view: &serde_json::Value| view["customer_present"] == false;
        for visitor in &asked {
            stage.until_view(visitor.conversation, "gone", gone).await?;
        }
        let mut seen = Vec::new();
        for visitor in left {
            stage.until_view(visitor.conversation, "gone", gone).await?;
            seen.push((visitor, went_ms, now_ms()));
        }
        Ok(Self { asked, left: seen })
    }

    /// Who asked is still there, and is offered once an agent comes; who only left has left, once, and is offered to nobody.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let caller = stage.desk("caller");
        for (visitor, went_ms, seen_ms) in &self.left {
            let id = visitor.conversation;
            stage.until_view(id, "closed", |view| view["phase"] == "closed").await?;
            let (closed_ms, closed) = stage.once(id, "closed").await?;
            ensure!(closed["outcome"] == "abandoned", "{id}: {closed}");
            ensure!(
                closed_ms >= went_ms + STEP_MS,
                "{id} left at {went_ms} and was given up at {closed_ms}"
            );
            if closed_ms > seen_ms + STEP_MS {
                stage.in_time(&format!("{}, given up", visitor.name), seen_ms + STEP_MS, closed_ms)?;
            }
        }
        for visitor in &self.asked {
            let view = stage.view(visitor.conversation).await?;
            ensure!(view["phase"] == "waiting", "{}: {view}", visitor.name);
        }
        caller.is(true).await?;
        for visitor in &self.asked {
            let id = visitor.conversation;
            caller.until_assigned(id).await?;
            ensure!(caller.offers(id).len() == 1, "{id} is offered once");
            let (_, asked) = stage.once(id, "callback_requested").await?;
            let view = stage.view(id).await?;
            ensure!(
                view["callback"] == asked["contact"] && view["staff"]["since_ms"] == visitor.started_ms,
                "{view}"
            );
        }
        // What left must not be offered after that either.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for (visitor, _, _) in &self.left {
            ensure!(
                caller.offers(visitor.conversation).is_empty(),
                "{} had left",
                visitor.name
            );
        }
        tally.add("callbacks", self.asked.len());
        tally.add("abandoned", self.left.len());
        Ok(())
    }
}
