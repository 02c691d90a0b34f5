//! People who do as they are told: agents and customers of a staged situation. What they are told goes into the diary that
//! the oracle reads, and is kept frame by frame, so that a test can wait for it and count it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use node::auth::Role;
use node::client::{Client, ClientEvent, ClientEvents};
use node::gateway::protocol::{Attribute, ClientFrame, Later, ServerFrame, Text, WantedPresence, web_chat};
use routing::event::OfferOutcome;
use routing::ids::{AgentId, ConversationId, Epoch, Millis};
use tokio::task::JoinHandle;

use crate::diary::SharedDiary;
use crate::people::{note, turned};
use crate::world::World;

/// How long anything that must come may take to come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until this gives something.
pub async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return Ok(found);
        }
        if Instant::now() > until {
            bail!("not within {PATIENCE:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An agent or a supervisor.
pub struct Desk {
    /// Their name.
    pub name: String,
    /// Their connection.
    pub client: Client,
    heard: Arc<Heard>,
    diary: SharedDiary,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    id: OnceLock<AgentId>,
    subject: OnceLock<String>,
    accepts: AtomicBool,
    frames: Mutex<Vec<ServerFrame>>,
}

impl Desk {
    /// Connects and signs in. `accepts`: whether they take whatever is offered.
    pub fn open(world: &World, diary: &SharedDiary, number: usize, name: &str, role: Role, accepts: bool) -> Self {
        let urls = turned(&world.cluster.api_urls(), number);
        let (client, events) = Client::connect(urls, world.token(role, name), 1);
        let heard = Arc::new(Heard::default());
        heard.accepts.store(accepts, Ordering::Relaxed);
        let task = tokio::spawn(listen(
            name.to_owned(),
            client.clone(),
            Arc::clone(&heard),
            diary.clone(),
            events,
        ));
        Self {
            name: name.to_owned(),
            client,
            heard,
            diary: diary.clone(),
            task,
        }
    }

    /// Signs in.
    pub async fn sign_in(&self) -> Result<()> {
        self.client
            .sign_in()
            .await
            .with_context(|| format!("{} signs in", self.name))?;
        until("a welcome", || self.heard.id.get().copied()).await?;
        Ok(())
    }

    /// Their id, once they have signed in.
    pub fn id(&self) -> AgentId {
        *self.heard.id.get().expect("they have signed in")
    }

    /// Available, or away.
    pub async fn is(&self, available: bool) -> Result<()> {
        let presence = match available {
            true => WantedPresence::Available,
            false => WantedPresence::Away {
                reason: "lunch".to_owned(),
            },
        };
        let change = self.client.command(ClientFrame::Presence { number: 0, presence });
        change.await.with_context(|| format!("{}: presence", self.name))?;
        Ok(())
    }

    /// From now on takes every offer, those that are open too; or none.
    pub fn accepts(&self, every: bool) {
        self.heard.accepts.store(every, Ordering::Relaxed);
        if every {
            for (conversation, offer) in self.all_offers() {
                if self.offer_ends(conversation, offer.epoch).is_empty() {
                    drop(self.client.accept(conversation, offer.epoch));
                }
            }
        }
    }

    /// What this gives of all that they were told.
    pub fn heard<T>(&self, of: impl FnMut(&ServerFrame) -> Option<T>) -> Vec<T> {
        let frames = self.heard.frames.lock().expect("nobody panicked");
        frames.iter().filter_map(of).collect()
    }

    /// All offers, in order.
    pub fn all_offers(&self) -> Vec<(ConversationId, Offer)> {
        self.heard(|frame| match frame {
            ServerFrame::Offered {
                conversation,
                epoch,
                at_ms,
                deadline_ms,
                ..
            } => Some((
                *conversation,
                Offer {
                    epoch: *epoch,
                    at_ms: *at_ms,
                    deadline_ms: *deadline_ms,
                },
            )),
            _ => None,
        })
    }

    /// Offers of a conversation.
    pub fn offers(&self, of: ConversationId) -> Vec<Offer> {
        let all = self.all_offers().into_iter().filter(|(id, _)| *id == of);
        all.map(|(_, offer)| offer).collect()
    }

    /// How an offer ended: once, if all is well.
    pub fn offer_ends(&self, of: ConversationId, under: Epoch) -> Vec<(Millis, OfferOutcome)> {
        self.heard(|frame| match frame {
            ServerFrame::OfferEnded {
                conversation,
                epoch,
                outcome,
                at_ms,
                ..
            } if *conversation == of && *epoch == under => Some((*at_ms, outcome.clone())),
            _ => None,
        })
    }

    /// When they were given a conversation, and under which epochs.
    pub fn assignments(&self, of: ConversationId) -> Vec<(Millis, Epoch)> {
        self.heard(|frame| match frame {
            ServerFrame::Assigned {
                conversation,
                epoch,
                at_ms,
                ..
            } if *conversation == of => Some((*at_ms, *epoch)),
            _ => None,
        })
    }

    /// Waits until they are given a conversation.
    pub async fn until_assigned(&self, of: ConversationId) -> Result<(Millis, Epoch)> {
        let what = format!("{} is given {of}", self.name);
        until(&what, || self.assignments(of).first().copied()).await
    }

    /// Says something, and writes down what becomes of it.
    pub async fn say(&self, conversation: ConversationId, text: String) {
        self.diary.lock().await.sent.insert(text.clone());
        let ack = self.client.message(conversation, text.clone());
        note(&self.diary, text, conversation, ack).await;
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
        self.client.close();
    }
}

/// An offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Under which epoch.
    pub epoch: Epoch,
    /// When.
    pub at_ms: Millis,
    /// Until when.
    pub deadline_ms: Millis,
}

async fn listen(name: String, client: Client, heard: Arc<Heard>, diary: SharedDiary, mut events: ClientEvents) {
    while let Some(event) = events.recv().await {
        if let ClientEvent::Connected { welcome, .. } = &event {
            heard.subject.get_or_init(|| welcome.subject.clone());
            if let Ok(id) = welcome.subject.parse() {
                heard.id.get_or_init(|| id);
            }
        }
        let subject = heard.subject.get().map(String::as_str).unwrap_or_default();
        diary.lock().await.agent_told(&name, subject, &event);
        let ClientEvent::Frame(frame) = event else { continue };
        if let ServerFrame::Offered {
            conversation, epoch, ..
        } = &frame
            && heard.accepts.load(Ordering::Relaxed)
        {
            drop(client.accept(*conversation, *epoch));
        }
        heard.frames.lock().expect("nobody panicked").push(frame);
    }
}

/// A customer with one conversation.
pub struct Visitor {
    /// Their name.
    pub name: String,
    /// The conversation.
    pub conversation: ConversationId,
    /// When it began.
    pub started_ms: Millis,
    /// Their connection.
    pub client: Client,
    diary: SharedDiary,
}

/// How a customer comes.
#[derive(Default)]
pub struct Coming {
    /// What the rules look at.
    pub kind: &'static str,
    /// Begins to wait later.
    pub schedule: Option<Later>,
}

impl Visitor {
    /// Comes, with a first word.
    pub async fn come(world: &World, diary: &SharedDiary, name: String, coming: Coming) -> Result<Self> {
        let number = name.bytes().map(usize::from).sum();
        let urls = turned(&world.cluster.api_urls(), number);
        let (client, mut events) = Client::connect(urls, world.token(Role::Customer, &name), 1);
        let (theirs, who, stays) = (diary.clone(), name.clone(), client.clone());
        // Holds on to the connection: who has come stays to the end of the run, unless they go.
        tokio::spawn(async move {
            let _stays = stays;
            while let Some(event) = events.recv().await {
                theirs.lock().await.customer_told(&who, &event);
            }
        });
        let text = format!("{name} says hello");
        diary.lock().await.sent.insert(text.clone());
        let kind = Attribute::Text(coming.kind.to_owned());
        let ack = client.command(ClientFrame::Start {
            number: 0,
            channel: web_chat(),
            attributes: BTreeMap::from([("kind".to_owned(), kind)]),
            message: Some(Text::plain(text.clone())),
            schedule: coming.schedule,
            callback: None,
        });
        let ack = ack.await.with_context(|| format!("{name} comes"))?;
        let conversation = ack.conversation.context("a start names its conversation")?;
        let mut noted = diary.lock().await;
        noted.conversations.insert(conversation, number);
        // Moved by a closed queue, say, it has entries before the first word.
        noted
            .acknowledged
            .insert(text, (conversation, ack.seq.context("a first word has its seq")?));
        drop(noted);
        Ok(Self {
            name,
            conversation,
            started_ms: ack.at_ms,
            client,
            diary: diary.clone(),
        })
    }

    /// Says something; when the log has it, if it has.
    pub async fn say(&self, text: String) -> Result<Millis> {
        self.diary.lock().await.sent.insert(text.clone());
        let ack = self.client.message(self.conversation, text.clone());
        let ack = ack.await.with_context(|| format!("{} says {text}", self.name))?;
        let at = (self.conversation, ack.seq.context("a message has its seq")?);
        self.diary.lock().await.acknowledged.insert(text, at);
        Ok(ack.at_ms)
    }

    /// Goes for good.
    pub async fn go(&self) {
        self.diary.lock().await.gone.insert(self.conversation);
        self.client.close();
    }
}
