//! Who waits for a step in time: relaxations, rings, escalations, and a queue that is closed.

use anyhow::{Context, Result, ensure};
use routing::event::OfferOutcome;
use routing::ids::ConversationId;

use super::Tally;
use crate::cast::{Desk, Visitor, until};
use crate::stage::{SECOND_STEP_MS, STEP_MS, Stage};

/// The one offer that a conversation had, by the desks that it may have been made to. Offers that were taken back are set aside,
/// each told to have ended once: that is due to a customer or an agent whose way back to the cluster took longer than their grace.
fn only_offer<'a>(desks: &[&'a Desk], of: ConversationId) -> Result<(&'a Desk, crate::cast::Offer)> {
    let offers: Vec<_> = desks
        .iter()
        .flat_map(|desk| desk.offers(of).into_iter().map(|offer| (*desk, offer)))
        .filter(|(desk, offer)| {
            let ends = desk.offer_ends(of, offer.epoch);
            !matches!(&ends[..], [(_, OfferOutcome::Withdrawn { .. })])
        })
        .collect();
    match offers[..] {
        [(desk, offer)] => Ok((desk, offer)),
        _ => {
            let told: Vec<_> = offers
                .iter()
                .map(|(desk, offer)| (&desk.name, offer, desk.offer_ends(of, offer.epoch)))
                .collect();
            anyhow::bail!("{of} is to be offered once: {told:?}");
        }
    }
}

async fn still_waiting(stage: &Stage, visitors: &[Visitor]) -> Result<()> {
    for visitor in visitors {
        let view = stage.view(visitor.conversation).await?;
        ensure!(
            view["phase"] == "waiting" && view["staff"]["relaxed"] == 0,
            "{}: {view}",
            visitor.name
        );
    }
    Ok(())
}

/// Gold 5 is asked for; one agent has 3, enough after the first step, but not for all; another has none.
pub struct Relaxed {
    visitors: Vec<Visitor>,
    steps_before: u64,
}

impl Relaxed {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let steps_before = stage.figures().await?.of("relaxed", "relaxed");
        let visitors = stage.visitors("relaxed", 8).await?;
        still_waiting(stage, &visitors).await?;
        Ok(Self { visitors, steps_before })
    }

    /// Offered once, after the step that the agent needed; the reports count as many steps as were taken.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let (silver, bronze) = (stage.desk("silver"), stage.desk("bronze"));
        let mut steps = 0;
        for visitor in &self.visitors {
            let id = visitor.conversation;
            until("relaxed and assigned", || {
                let of_either = [silver, bronze].map(|desk| desk.assignments(id));
                of_either.concat().first().copied()
            })
            .await?;
            let (desk, offer) = only_offer(&[silver, bronze], id)?;
            let (step_ms, needed) = match desk.name == "silver" {
                true => (STEP_MS, 1),
                false => (SECOND_STEP_MS, 2),
            };
            stage.in_time(
                &format!("{}, relaxed", visitor.name),
                visitor.started_ms + step_ms,
                offer.at_ms,
            )?;
            let view = stage.view(id).await?;
            let taken = view["staff"]["relaxed"].as_u64().context("steps taken")?;
            ensure!(
                (needed..=2).contains(&taken) && view["staff"]["since_ms"] == visitor.started_ms,
                "{view}"
            );
            ensure!(
                stage.why(id).await?["decided"]["considered"] == 2,
                "both members were considered"
            );
            steps += taken;
        }
        let counted = stage.figures().await?.of("relaxed", "relaxed") - self.steps_before;
        ensure!(counted == steps, "{steps} steps were taken, the reports have {counted}");
        let of_bronze = self
            .visitors
            .iter()
            .filter(|v| !bronze.offers(v.conversation).is_empty());
        ensure!(of_bronze.count() == 4, "silver has room for four");
        tally.add("relaxed", self.visitors.len());
        Ok(())
    }
}

/// Four who need a relaxation came before four who do not; their only agent is busy meanwhile.
pub struct Placed {
    blocker: Visitor,
    visitors: Vec<Visitor>,
}

impl Placed {
    /// One after the other, so that the order is known.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let blocker = stage.visitor("placed_plain", 100).await?;
        stage.desk("single").until_assigned(blocker.conversation).await?;
        let mut visitors = Vec::new();
        for number in 0..8 {
            let kind = if number < 4 { "placed_gold" } else { "placed_plain" };
            visitors.push(stage.visitor(kind, number).await?);
        }
        still_waiting(stage, &visitors).await?;
        Ok(Self { blocker, visitors })
    }

    /// The steps are taken, the places stay, and all are served in the order in which they came.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let single = stage.desk("single");
        for visitor in &self.visitors[..4] {
            let id = visitor.conversation;
            stage
                .until_view(id, "relaxed", |view| view["staff"]["relaxed"] == 1)
                .await?;
        }
        for (visitor, position) in self.visitors.iter().zip(1..) {
            let what = format!("at place {position}");
            let at = |view: &serde_json::Value| view["waiting"]["position"] == position;
            stage.until_view(visitor.conversation, &what, at).await?;
            ensure!(single.offers(visitor.conversation).is_empty(), "nobody has room");
        }
        let mut before = self.blocker.conversation;
        for visitor in &self.visitors {
            single.client.close_conversation(before).await.context("it is closed")?;
            before = visitor.conversation;
            single.until_assigned(before).await.context("out of turn")?;
        }
        let served = single.all_offers().into_iter().map(|(id, _)| id);
        let served: Vec<_> = served
            .filter(|id| self.visitors.iter().any(|v| v.conversation == *id))
            .collect();
        let came: Vec<_> = self.visitors.iter().map(|visitor| visitor.conversation).collect();
        ensure!(served == came, "served as {served:?}, came as {came:?}");
        tally.add("kept their place", self.visitors.len());
        Ok(())
    }
}

/// Only somebody of the second ring is here.
pub struct Ringed {
    visitors: Vec<Visitor>,
    opened_before: u64,
}

impl Ringed {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let opened_before = stage.figures().await?.of("ringed", "rings_opened");
        let visitors = stage.visitors("ringed", 8).await?;
        still_waiting(stage, &visitors).await?;
        Ok(Self {
            visitors,
            opened_before,
        })
    }

    /// Offered once, after the ring opened; each opened once.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let desk = stage.desk("second-ring");
        for visitor in &self.visitors {
            desk.until_assigned(visitor.conversation).await?;
            let (_, offer) = only_offer(&[desk], visitor.conversation)?;
            stage.in_time(
                &format!("{}, ring", visitor.name),
                visitor.started_ms + STEP_MS,
                offer.at_ms,
            )?;
        }
        let opened = stage.figures().await?.of("ringed", "rings_opened") - self.opened_before;
        ensure!(opened == self.visitors.len() as u64, "{opened} rings opened");
        tally.add("rings", self.visitors.len());
        Ok(())
    }
}

/// Raised, and then moved to a queue that somebody serves.
pub struct Escalating {
    visitors: Vec<Visitor>,
}

impl Escalating {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let visitors = stage.visitors("escalating", 8).await?;
        still_waiting(stage, &visitors).await?;
        Ok(Self { visitors })
    }

    /// Moved once, in its age, and offered after that.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let desk = stage.desk("escalated");
        for visitor in &self.visitors {
            let id = visitor.conversation;
            desk.until_assigned(id).await?;
            let (moved_ms, _) = stage.once(id, "moved").await?;
            stage.in_time(
                &format!("{}, moved", visitor.name),
                visitor.started_ms + SECOND_STEP_MS,
                moved_ms,
            )?;
            let (_, offer) = only_offer(&[desk], id)?;
            stage.in_time(&format!("{}, offered", visitor.name), moved_ms, offer.at_ms)?;
            let staff = &stage.view(id).await?["staff"];
            ensure!(
                staff["priority"] == 8 && staff["since_ms"] == visitor.started_ms,
                "{staff}"
            );
        }
        tally.add("escalations", self.visitors.len());
        Ok(())
    }
}

/// The queue is closed: they go to another one, which says good night after a while.
pub struct Night {
    visitors: Vec<Visitor>,
}

impl Night {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let visitors = stage.visitors("night", 8).await?;
        still_waiting(stage, &visitors).await?;
        Ok(Self { visitors })
    }

    /// Said once and closed once; and the queue is still closed.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        for visitor in &self.visitors {
            let id = visitor.conversation;
            stage.until_view(id, "closed", |view| view["phase"] == "closed").await?;
            let (closed_ms, closed) = stage.once(id, "closed").await?;
            ensure!(closed["outcome"] == "cancelled", "{id}: {closed}");
            stage.in_time(
                &format!("{}, closed", visitor.name),
                visitor.started_ms + STEP_MS,
                closed_ms,
            )?;
            let transcript = stage.transcript(id).await?;
            let said = transcript
                .iter()
                .filter(|line| line.text.as_deref() == Some("Good night."));
            ensure!(
                said.map(|line| line.at_ms).eq([closed_ms]),
                "{id}: said once: {transcript:?}"
            );
        }
        let first = stage.view(self.visitors[0].conversation).await?;
        let next = stage.visitor("night", 200).await?;
        let view = stage.view(next.conversation).await?;
        ensure!(
            view["phase"] == "waiting" && view["staff"]["queue"] == first["staff"]["queue"],
            "the calendar is still closed: {view}"
        );
        tally.add("closed hours", self.visitors.len());
        Ok(())
    }
}
