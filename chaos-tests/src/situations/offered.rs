//! Offers to several agents at once.

use anyhow::{Context, Result, ensure};
use node::client::{ClientError, PendingAck};
use routing::event::OfferOutcome;
use routing::ids::{ConversationId, Epoch, Millis};

use super::Tally;
use crate::cast::{Desk, Visitor, until};
use crate::stage::Stage;

/// Whoever was asked, under which epoch, until when.
struct Asked<'a> {
    desks: Vec<&'a Desk>,
    epoch: Epoch,
    deadline_ms: Millis,
}

async fn asked<'a>(desks: &[&'a Desk], of: ConversationId, many: usize) -> Result<Asked<'a>> {
    until(&format!("{of} is offered to {many}"), || {
        let asked: Vec<_> = desks
            .iter()
            .filter_map(|desk| Some((*desk, *desk.offers(of).first()?)))
            .collect();
        let first = asked.first()?.1;
        (asked.len() == many).then(|| Asked {
            desks: asked.iter().map(|(desk, _)| *desk).collect(),
            epoch: first.epoch,
            deadline_ms: first.deadline_ms,
        })
    })
    .await
}

/// One took it, and every other was told so, once.
async fn one_has_it(desks: &[&Desk], of: ConversationId, epoch: Epoch) -> Result<()> {
    let mut accepted = 0;
    for desk in desks {
        let what = format!("{} is told how the offer of {of} ended", desk.name);
        until(&what, || desk.offer_ends(of, epoch).first().cloned()).await?;
        let ends = desk.offer_ends(of, epoch);
        match &ends[..] {
            [(_, OfferOutcome::Accepted)] => {
                accepted += 1;
                let (_, under) = desk.until_assigned(of).await?;
                ensure!(under == epoch, "{of}: given under {under:?}, taken under {epoch:?}");
            }
            [(_, OfferOutcome::TakenByAnother)] => {
                ensure!(desk.assignments(of).is_empty(), "{} was given {of}, too", desk.name);
            }
            _ => anyhow::bail!("{of}: {} was told {ends:?}", desk.name),
        }
    }
    ensure!(accepted == 1, "{of}: {accepted} took it");
    Ok(())
}

/// Three agents are asked at once, and have time.
pub struct Parallel {
    visitors: Vec<Visitor>,
    taken_before: u64,
    accepts: Vec<(ConversationId, PendingAck)>,
}

const SEVERAL: [&str; 4] = ["parallel-1", "parallel-2", "parallel-3", "parallel-4"];

impl Parallel {
    /// Eight, each with three offers open.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let taken_before = stage.figures().await?.of("parallel", "offers_taken");
        let visitors = stage.visitors("parallel", 8).await?;
        for visitor in &visitors {
            asked(&SEVERAL.map(|name| stage.desk(name)), visitor.conversation, 3).await?;
        }
        Ok(Self {
            visitors,
            taken_before,
            accepts: Vec::new(),
        })
    }

    /// All who are asked take half of them, at this very moment.
    pub async fn reach_for_half(&mut self, stage: &Stage) -> Result<()> {
        for visitor in &self.visitors[..4] {
            let asked = asked(&SEVERAL.map(|name| stage.desk(name)), visitor.conversation, 3).await?;
            for desk in asked.desks {
                let ack = desk.client.accept(visitor.conversation, asked.epoch);
                self.accepts.push((visitor.conversation, ack));
            }
        }
        Ok(())
    }

    /// The other half is still open and is reached for now; each is one agent's.
    pub async fn check(mut self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let desks = SEVERAL.map(|name| stage.desk(name));
        for visitor in &self.visitors[4..] {
            let (id, asked) = (visitor.conversation, asked(&desks, visitor.conversation, 3).await?);
            let view = stage.view(id).await?;
            let beside = view["staff"]["also_offered"].as_array().map_or(0, Vec::len);
            ensure!(view["phase"] == "offered" && beside == 2, "{id}: {view}");
            for desk in asked.desks {
                self.accepts.push((id, desk.client.accept(id, asked.epoch)));
            }
        }
        let mut won: Vec<ConversationId> = Vec::new();
        for (id, ack) in self.accepts {
            match ack.await {
                Ok(_) => won.push(id),
                Err(ClientError::Refused { code, .. }) if code == "offer_taken" => {}
                Err(error) => anyhow::bail!("{id}: {error}"),
            }
        }
        won.sort_unstable();
        let mut all: Vec<_> = self.visitors.iter().map(|visitor| visitor.conversation).collect();
        all.sort_unstable();
        ensure!(won == all, "one accept wins each: {won:?} of {all:?}");
        for id in all {
            let asked = asked(&desks, id, 3).await?;
            one_has_it(&asked.desks, id, asked.epoch).await?;
            stage.once(id, "joined").await?;
        }
        let taken = stage.figures().await?.of("parallel", "offers_taken") - self.taken_before;
        ensure!(taken == 16, "{taken} were told that another was first");
        tally.add("parallel offers", self.visitors.len());
        Ok(())
    }
}

/// Two agents are asked, who do not answer in time.
pub struct Expiring {
    visitors: Vec<Visitor>,
}

const SLOW: [&str; 2] = ["expiring-1", "expiring-2"];

impl Expiring {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        SLOW.iter().for_each(|name| stage.desk(name).accepts(false));
        let visitors = stage.visitors("expiring", 8).await?;
        for visitor in &visitors {
            asked(&SLOW.map(|name| stage.desk(name)), visitor.conversation, 2).await?;
        }
        Ok(Self { visitors })
    }

    /// Both offers expired, once and in time; both were asked again, and one has it.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let desks = SLOW.map(|name| stage.desk(name));
        for visitor in &self.visitors {
            let first = asked(&desks, visitor.conversation, 2).await?;
            for desk in desks {
                let of = (visitor.conversation, first.epoch);
                until("an offer expires", || desk.offer_ends(of.0, of.1).first().cloned()).await?;
                let ends = desk.offer_ends(of.0, of.1);
                let [(at_ms, OfferOutcome::Expired)] = ends[..] else {
                    anyhow::bail!("{}: {} was told {ends:?}", visitor.name, desk.name);
                };
                stage.in_time(&format!("{}, expiry", visitor.name), first.deadline_ms, at_ms)?;
            }
        }
        desks.iter().for_each(|desk| desk.accepts(true));
        for visitor in &self.visitors {
            let id = visitor.conversation;
            until(&format!("{} is given to somebody", visitor.name), || {
                let given = desks.iter().map(|desk| desk.assignments(id).len()).sum::<usize>();
                (given == 1).then_some(())
            })
            .await?;
            let winner = desks.iter().find(|desk| !desk.assignments(id).is_empty());
            let (_, epoch) = winner.context("somebody")?.assignments(id)[0];
            let asked_last: Vec<_> = desks
                .into_iter()
                .filter(|desk| desk.offers(id).iter().any(|offer| offer.epoch == epoch))
                .collect();
            one_has_it(&asked_last, id, epoch).await?;
        }
        tally.add("expired offers", 2 * self.visitors.len());
        Ok(())
    }
}
