//! Several people in one conversation: warm transfers at every stage, conferences with supervisors, invitations that expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use node::auth;
use node::client::{ClientError, PendingAck};
use node::gateway::protocol::{Ack, ServerFrame};
use routing::command::Role;
use routing::event::{OfferOutcome, UnassignReason};
use routing::ids::{ConversationId, Epoch, Millis};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Tally;
use crate::cast::{Desk, Visitor, until};
use crate::oracle;
use crate::rest::Rest;
use crate::stage::Stage;

/// Customers who write on, whatever happens, until they are told to stop.
struct Chatter {
    visitors: Vec<Arc<Visitor>>,
    writing: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<u32>>>,
}

impl Chatter {
    fn begin(visitors: Vec<Visitor>) -> Self {
        let visitors: Vec<_> = visitors.into_iter().map(Arc::new).collect();
        let writing = Arc::new(AtomicBool::new(true));
        let write = |visitor: &Arc<Visitor>| {
            let (visitor, writing) = (Arc::clone(visitor), Arc::clone(&writing));
            tokio::spawn(async move {
                let mut said = 0;
                while writing.load(Ordering::Relaxed) {
                    visitor.say(format!("{} says {said}", visitor.name)).await?;
                    said += 1;
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                Ok(said)
            })
        };
        let tasks = visitors.iter().map(write).collect();
        Self {
            visitors,
            writing,
            tasks,
        }
    }

    /// Everything that they said, acknowledged.
    async fn end(&mut self) -> Result<u32> {
        self.writing.store(false, Ordering::Relaxed);
        let mut said = 0;
        for task in self.tasks.drain(..) {
            said += task.await.context("a customer writes")??;
        }
        Ok(said)
    }
}

/// Refused, with this code.
fn refused(what: &str, ack: Result<Ack, ClientError>, codes: &[&str]) -> Result<()> {
    match ack {
        Err(ClientError::Refused { code, .. }) if codes.contains(&code.as_str()) => Ok(()),
        other => anyhow::bail!("{what}: to be refused with one of {codes:?}, was {other:?}"),
    }
}

/// What a role forbids.
const NOT_WITH_THIS_ROLE: [&str; 2] = ["not_permitted", "forbidden"];

async fn whispered(desk: &Desk, of: ConversationId, text: String) -> Result<()> {
    let ack = desk.client.whisper(of, text).await;
    ack.with_context(|| format!("{} whispers in {of}", desk.name))?;
    Ok(())
}

async fn until_invited(desk: &Desk, of: ConversationId) -> Result<Millis> {
    let what = format!("{} is asked into {of}", desk.name);
    let invitation = |frame: &ServerFrame| match frame {
        ServerFrame::Invited {
            conversation,
            deadline_ms,
            ..
        } if *conversation == of => Some(*deadline_ms),
        _ => None,
    };
    until(&what, || desk.heard(invitation).first().copied()).await
}

fn roles(view: &Value, desks: &[(&Desk, &str)]) -> Result<()> {
    let expected: Vec<Value> = desks
        .iter()
        .map(|(desk, role)| json!({"agent": desk.id().to_string(), "role": role}))
        .collect();
    let participants = view["participants"].as_array().context("participants")?;
    let all = participants.len() == expected.len() && expected.iter().all(|one| participants.contains(one));
    ensure!(all, "to take part: {expected:?}; it is {view}");
    Ok(())
}

/// Conversations on their way to a consulted agent: asked in, joined, and handed over at the very moment when nodes die.
pub struct Warm {
    chatter: Chatter,
    epochs: Vec<Epoch>,
    warm_before: u64,
    flying: Vec<PendingAck>,
}

/// By place: these are asked in and answer afterwards; answer at the moment; have joined; are handed over at the moment.
const STAGES: usize = 4;

impl Warm {
    /// Four of each stage; their customers write all the time.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let (owner, consultant) = (stage.desk("owner"), stage.desk("consultant"));
        let warm_before = stage.figures().await?.of("warm", "transferred_warm");
        let visitors = stage.visitors("warm", 16).await?;
        let mut epochs = Vec::new();
        for (number, visitor) in visitors.iter().enumerate() {
            let id = visitor.conversation;
            epochs.push(owner.until_assigned(id).await?.1);
            owner.client.invite(id, consultant.id(), Role::Consult).await?;
            until_invited(consultant, id).await?;
            if number % STAGES >= 2 {
                consultant.client.answer_invitation(id, true).await?;
                whispered(consultant, id, format!("Of {}: only for us", visitor.name)).await?;
            }
        }
        Ok(Self {
            chatter: Chatter::begin(visitors),
            epochs,
            warm_before,
            flying: Vec::new(),
        })
    }

    /// Sent now; what comes of it is waited for later.
    pub fn reach_for_some(&mut self, stage: &Stage) {
        let (owner, consultant) = (stage.desk("owner"), stage.desk("consultant"));
        for (number, visitor) in self.chatter.visitors.iter().enumerate() {
            match number % STAGES {
                1 => self
                    .flying
                    .push(consultant.client.answer_invitation(visitor.conversation, true)),
                3 => self
                    .flying
                    .push(owner.client.complete_transfer(visitor.conversation, consultant.id())),
                _ => {}
            }
        }
    }

    /// Each completes, has one owner, and until then the consultant has had a consultant's rights.
    pub async fn check(mut self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let (owner, consultant) = (stage.desk("owner"), stage.desk("consultant"));
        for ack in self.flying.drain(..) {
            ack.await.context("sent when the node died")?;
        }
        for (number, visitor) in self.chatter.visitors.iter().enumerate() {
            let (id, name) = (visitor.conversation, &visitor.name);
            if number % STAGES == 0 {
                let view = stage.view(id).await?;
                ensure!(
                    view["staff"]["invited"][0]["agent"] == consultant.id().to_string(),
                    "still asked in: {view}"
                );
                consultant.client.answer_invitation(id, true).await?;
            }
            if number % STAGES != 3 {
                roles(&stage.view(id).await?, &[(consultant, "consult")])?;
                let said = consultant.client.message(id, "not to be heard").await;
                refused("who consults writes to the customer", said, &NOT_WITH_THIS_ROLE)?;
                whispered(consultant, id, format!("Of {name}: I take it")).await?;
                owner.client.complete_transfer(id, consultant.id()).await?;
            }
        }
        let said = self.chatter.end().await?;
        for (visitor, before) in self.chatter.visitors.iter().zip(&self.epochs) {
            Self::handed_over(stage, visitor, *before).await?;
        }
        let warm = stage.figures().await?.of("warm", "transferred_warm") - self.warm_before;
        ensure!(warm == 16, "{warm} warm transfers are reported");
        tally.add("warm transfers", self.chatter.visitors.len());
        tally.add("messages meanwhile", said as usize);
        Ok(())
    }

    async fn handed_over(stage: &Stage, visitor: &Visitor, before: Epoch) -> Result<()> {
        let (owner, consultant, id) = (stage.desk("owner"), stage.desk("consultant"), visitor.conversation);
        let (_, epoch) = consultant.until_assigned(id).await?;
        ensure!(
            epoch > before && consultant.assignments(id).len() == 1,
            "{id}: given once, under a new epoch"
        );
        let lost = |frame: &ServerFrame| match frame {
            ServerFrame::Unassigned {
                conversation, reason, ..
            } if *conversation == id => Some(reason.clone()),
            _ => None,
        };
        until("the owner is told", || owner.heard(lost).first().cloned()).await?;
        let lost = owner.heard(lost);
        ensure!(lost == [UnassignReason::Transferred], "{id}: {lost:?}");
        let view = stage.view(id).await?;
        ensure!(
            view["phase"] == "assigned" && view["agent"] == consultant.id().to_string(),
            "{view}"
        );
        roles(&view, &[])?;
        let late = owner.client.message_under(id, before, "too late").await;
        refused(
            "the old owner writes",
            late,
            &["stale_epoch", "forbidden", "unknown_conversation"],
        )?;
        consultant.say(id, format!("It is mine now, {}", visitor.name)).await;
        let transcript = stage.transcript(id).await?;
        let joined = transcript.iter().filter(|line| line.is("joined"));
        let agents: Vec<_> = joined.map(|line| line.kind["joined"]["agent"].clone()).collect();
        ensure!(
            agents == [json!(owner.id().to_string()), json!(consultant.id().to_string())],
            "{id}: {transcript:?}"
        );
        Ok(())
    }
}

/// Owner, a conferring agent, and three supervisors: one listens, one whispers, one barges in.
pub struct Conference {
    chatter: Chatter,
}

impl Conference {
    /// Four.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let (owner, conferrer) = (stage.desk("owner"), stage.desk("conferrer"));
        let visitors = futures::future::try_join_all((100..104).map(|n| stage.visitor("warm", n))).await?;
        for visitor in &visitors {
            let id = visitor.conversation;
            owner.until_assigned(id).await?;
            owner.client.invite(id, conferrer.id(), Role::Conference).await?;
            until_invited(conferrer, id).await?;
            conferrer.client.answer_invitation(id, true).await?;
            for (name, role) in [
                ("monitor", Role::Monitor),
                ("whisperer", Role::Whisper),
                ("barger", Role::Barge),
            ] {
                stage.desk(name).client.join_as(id, role).await?;
            }
            rights(stage, visitor, "before").await?;
        }
        Ok(Self {
            chatter: Chatter::begin(visitors),
        })
    }

    /// Everybody is still what they were.
    pub async fn check(mut self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        for visitor in &self.chatter.visitors {
            rights(stage, visitor, "after").await?;
        }
        let said = self.chatter.end().await?;
        tally.add("conferences", self.chatter.visitors.len());
        tally.add("messages meanwhile", said as usize);
        Ok(())
    }
}

/// What each may do, tried; and what the customer learns of it.
async fn rights(stage: &Stage, visitor: &Visitor, when: &str) -> Result<()> {
    let (id, name) = (visitor.conversation, &visitor.name);
    let (monitor, whisperer) = (stage.desk("monitor"), stage.desk("whisperer"));
    let (conferrer, barger) = (stage.desk("conferrer"), stage.desk("barger"));
    let seen = [(conferrer, "conference"), (barger, "barge")];
    let unseen = [(monitor, "monitor"), (whisperer, "whisper")];
    roles(&stage.view(id).await?, &[seen, unseen].concat())?;
    for (desk, _) in unseen {
        let said = desk.client.message(id, "not to be heard").await;
        refused(&format!("{} writes", desk.name), said, &NOT_WITH_THIS_ROLE)?;
    }
    let said = monitor.client.whisper(id, "not to be heard").await;
    refused("who monitors whispers", said, &NOT_WITH_THIS_ROLE)?;
    whispered(whisperer, id, format!("Of {name}, {when}: only for us")).await?;
    for (desk, _) in seen {
        desk.say(id, format!("{} to {name}, {when}", desk.name)).await;
    }
    let theirs = Rest::new(&stage.world, stage.world.cluster.api_urls(), auth::Role::Customer, name);
    roles(&theirs.get(&format!("/v1/conversations/{id}")).await?, &seen)?;
    let (all, shown) = (stage.transcript(id).await?, oracle::transcript(&theirs, id).await?);
    ensure!(all.iter().any(|line| line.is("whisper")), "{id}: a whisper is kept");
    let hidden = shown.iter().find(|line| !line.for_customer);
    ensure!(hidden.is_none(), "the customer of {id} is shown {hidden:?}");
    for (desk, _) in seen {
        let text = format!("{} to {name}, {when}", desk.name);
        let heard = shown.iter().any(|line| line.text.as_ref() == Some(&text));
        ensure!(heard, "the customer of {id} is not shown what {} said", desk.name);
    }
    Ok(())
}

/// Asked in, and does not answer.
pub struct Unanswered {
    visitors: Vec<(Visitor, Millis)>,
}

impl Unanswered {
    /// Eight.
    pub async fn begin(stage: &Stage) -> Result<Self> {
        let (host, guest) = (stage.desk("host"), stage.desk("absent-minded"));
        let mut visitors = Vec::new();
        for visitor in stage.visitors("brief", 8).await? {
            host.until_assigned(visitor.conversation).await?;
            let asked = host.client.invite(visitor.conversation, guest.id(), Role::Conference);
            asked.await?;
            let deadline_ms = until_invited(guest, visitor.conversation).await?;
            visitors.push((visitor, deadline_ms));
        }
        Ok(Self { visitors })
    }

    /// Told once that it has expired, in time; and then it has.
    pub async fn check(&self, stage: &Stage, tally: &mut Tally) -> Result<()> {
        let guest = stage.desk("absent-minded");
        for (visitor, deadline_ms) in &self.visitors {
            let id = visitor.conversation;
            let ended = |frame: &ServerFrame| match frame {
                ServerFrame::InvitationEnded {
                    conversation,
                    outcome,
                    at_ms,
                    ..
                } if *conversation == id => Some((*at_ms, outcome.clone())),
                _ => None,
            };
            until("an invitation expires", || guest.heard(ended).first().cloned()).await?;
            let ends = guest.heard(ended);
            let [(at_ms, OfferOutcome::Expired)] = ends[..] else {
                anyhow::bail!("{id}: {ends:?}");
            };
            stage.in_time(&format!("{}, invitation", visitor.name), *deadline_ms, at_ms)?;
            let late = guest.client.answer_invitation(id, true).await;
            refused("a late answer", late, &["offer_over"])?;
            let view = stage.view(id).await?;
            ensure!(
                view["phase"] == "assigned" && view["staff"]["invited"] == json!([]),
                "{view}"
            );
            roles(&view, &[])?;
        }
        tally.add("expired invitations", self.visitors.len());
        Ok(())
    }
}
