//! Silence: paused by itself, given up, and going on when the owner has no room.

use anyhow::{Context, Result, ensure};
use node::gateway::protocol::ClientFrame;
use routing::ids::{Epoch, Millis};

use super::Tally;
use crate::cast::Visitor;
use crate::stage::{STEP_MS, Stage};

/// With an agent, and nobody says anything.
pub struct Idle {
    visitors: Vec<(Visitor, Millis, Epoch)>,
}

impl Idle {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let mut visitors = Vec::new();
        for visitor in stage.visitors("idle", 8).await? {
            let (at_ms, epoch) = stage.desk("idle").until_assigned(visitor.conversation).await?;
            visitors.push((visitor, at_ms, epoch));
        }
        Ok(Self { visitors })
    }

    /// Paused once; a word of the customer, and it is with its owner again, under the same epoch.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let desk = stage.desk("idle");
        for (visitor, assigned_ms, epoch) in &self.visitors {
            let id = visitor.conversation;
            let view = stage.until_view(id, "paused", |view| view["phase"] == "paused").await?;
            let (paused_ms, _) = stage.once(id, "paused").await?;
            stage.in_time(&format!("{}, paused", visitor.name), assigned_ms + STEP_MS, paused_ms)?;
            let spoke_ms = visitor.say(format!("{} is back", visitor.name)).await?;
            let (resumed_ms, _) = stage.once(id, "resumed").await?;
            let after = stage.view(id).await?;
            ensure!(
                resumed_ms == spoke_ms && after["phase"] == "assigned" && after["agent"] == view["agent"],
                "{after}"
            );
            ensure!(
                desk.assignments(id).iter().all(|(_, under)| under == epoch),
                "{id}: the same epoch"
            );
        }
        tally.add("idle pauses", self.visitors.len());
        Ok(())
    }
}

/// The agent asks, and the customer, who has gone without a sign, does not answer.
pub struct Silent {
    visitors: Vec<Visitor>,
}

impl Silent {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let asker = stage.desk("asker");
        let visitors = stage.visitors("silent", 8).await?;
        for visitor in &visitors {
            asker.until_assigned(visitor.conversation).await?;
            asker
                .say(visitor.conversation, format!("Are you there, {}?", visitor.name))
                .await;
        }
        Ok(Self { visitors })
    }

    /// Closed once, as what it was.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        for visitor in &self.visitors {
            let id = visitor.conversation;
            stage.until_view(id, "closed", |view| view["phase"] == "closed").await?;
            let question = format!("Are you there, {}?", visitor.name);
            let transcript = stage.transcript(id).await?;
            let asked = transcript
                .iter()
                .find(|line| line.text.as_ref() == Some(&question))
                .context("asked")?;
            let (closed_ms, closed) = stage.once(id, "closed").await?;
            ensure!(closed["outcome"] == "silent_abandoned", "{id}: {closed}");
            stage.in_time(&format!("{}, given up", visitor.name), asked.at_ms + STEP_MS, closed_ms)?;
        }
        tally.add("silent abandonments", self.visitors.len());
        Ok(())
    }
}

/// Paused, and their owner has filled up meanwhile: they go on, wait for the owner alone, and then for anybody.
pub struct Returning {
    visitors: Vec<Visitor>,
    _fillers: Vec<Visitor>,
    spoke_ms: Vec<Millis>,
}

impl Returning {
    /// Eight paused ones, and their owner full.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let (full, anybody) = (stage.desk("full"), stage.desk("anybody"));
        anybody.is(false).await?;
        let visitors = stage.visitors("returning", 8).await?;
        for visitor in &visitors {
            let conversation = visitor.conversation;
            let (_, epoch) = full.until_assigned(conversation).await?;
            let pause = ClientFrame::Pause {
                number: 0,
                conversation,
                epoch: Some(epoch),
            };
            full.client.command(pause).await?;
        }
        let fillers = stage.visitors("filler", 8).await?;
        for filler in &fillers {
            full.until_assigned(filler.conversation).await?;
        }
        anybody.is(true).await?;
        Ok(Self {
            visitors,
            _fillers: fillers,
            spoke_ms: Vec::new(),
        })
    }

    /// Their customers say something: the wait for the owner begins.
    pub async fn go_on(&mut self) -> Result<()> {
        for visitor in &self.visitors {
            self.spoke_ms
                .push(visitor.say(format!("{} goes on", visitor.name)).await?);
        }
        Ok(())
    }

    /// Offered to the other agent once, after the owner's time, in its old age.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let (full, anybody) = (stage.desk("full"), stage.desk("anybody"));
        for (visitor, spoke_ms) in self.visitors.iter().zip(&self.spoke_ms) {
            let id = visitor.conversation;
            anybody.until_assigned(id).await?;
            let offers = anybody.offers(id);
            ensure!(
                offers.len() == 1 && full.offers(id).len() == 1,
                "{id}: offered once to each: {offers:?}"
            );
            stage.in_time(
                &format!("{}, for anybody", visitor.name),
                spoke_ms + STEP_MS,
                offers[0].at_ms,
            )?;
            let (left_ms, left) = stage.once(id, "left").await?;
            ensure!(left_ms == *spoke_ms && left["reason"] == "owner_full", "{id}: {left}");
            ensure!(
                stage.view(id).await?["staff"]["since_ms"] == visitor.started_ms,
                "{id}: its old age"
            );
        }
        tally.add("returns", self.visitors.len());
        Ok(())
    }
}
