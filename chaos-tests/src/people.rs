//! Customers and agents. Each has a connection that moves from node to node, and writes everything into one [`Diary`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use node::auth::Role;
use node::client::{Client, ClientError, ClientEvent, ClientEvents, PendingAck};
use node::gateway::protocol::{EntryContent, EntryFrame, Party, ServerFrame};
use routing::event::{OfferOutcome, Phase};
use routing::ids::{ConversationId, Epoch, Millis, Seq};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use crate::world::World;

/// What one reader saw of one conversation: (seq, prev, text of a message).
pub type Seen = Vec<(Seq, Seq, Option<String>)>;

/// An offer, as its agent was told.
#[derive(Clone, Debug)]
pub struct OfferNote {
    /// When it should expire.
    pub deadline_ms: Millis,
    /// How it ended, and when.
    pub ended: Option<(Millis, OfferOutcome)>,
}

/// Everything that people were told.
#[derive(Default)]
pub struct Diary {
    /// Every text that was sent.
    pub sent: BTreeSet<String>,
    /// Acknowledged messages: text → (conversation, seq).
    pub acknowledged: BTreeMap<String, (ConversationId, Seq)>,
    /// Refused messages: text → code.
    pub refused: BTreeMap<String, String>,
    /// Conversations, by their customer's number.
    pub conversations: BTreeMap<ConversationId, usize>,
    /// What customers saw.
    pub customers: BTreeMap<ConversationId, Seen>,
    /// What agents saw.
    pub agents: BTreeMap<(String, ConversationId), Seen>,
    /// Offers, by conversation and epoch.
    pub offers: BTreeMap<(ConversationId, Epoch), OfferNote>,
    /// What each agent owns, by what they were told.
    pub owned: BTreeMap<String, BTreeMap<ConversationId, Epoch>>,
    /// Gaps that a client saw: a fault of ours, even though the client mends it.
    pub gaps: Vec<String>,
    /// When the last acknowledgement came.
    pub last_acknowledged: Option<Instant>,
    /// The longest time without any acknowledgement since [`Diary::watch_pause`].
    pub longest_pause: Duration,
    /// Wrap-ups that ended.
    pub wrap_ups: u64,
}

impl Diary {
    /// Begins to measure the longest pause anew.
    pub fn watch_pause(&mut self) {
        self.last_acknowledged = Some(Instant::now());
        self.longest_pause = Duration::ZERO;
    }

    fn acknowledged_now(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_acknowledged.replace(now) {
            self.longest_pause = self.longest_pause.max(now.duration_since(last));
        }
    }
}

/// A diary that all share.
pub type SharedDiary = Arc<AsyncMutex<Diary>>;

/// All people of a run.
pub struct People {
    /// What they were told.
    pub diary: SharedDiary,
    writing: Arc<AtomicBool>,
    clients: Vec<Client>,
    tasks: Vec<JoinHandle<()>>,
}

impl People {
    /// Signs the agents in and lets the customers come. They write until [`People::fall_silent`].
    pub fn start(world: &World, customers: usize) -> Self {
        let diary = SharedDiary::default();
        let writing = Arc::new(AtomicBool::new(true));
        let mut people = Self {
            diary,
            writing,
            clients: Vec::new(),
            tasks: Vec::new(),
        };
        let urls = world.cluster.api_urls();
        for (number, name) in world.agents.iter().enumerate() {
            let (client, events) = Client::connect(turned(&urls, number), world.token(Role::Agent, name), 1);
            people.clients.push(client.clone());
            let agent = Agent {
                name: name.clone(),
                number,
                client,
                diary: people.diary.clone(),
                writing: people.writing.clone(),
            };
            people.tasks.push(tokio::spawn(agent.live(events)));
        }
        for number in 0..customers {
            let token = world.token(Role::Customer, &format!("customer-{number}"));
            let (client, events) = Client::connect(turned(&urls, number), token, 1);
            people.clients.push(client.clone());
            let customer = Customer {
                number,
                client,
                diary: people.diary.clone(),
                writing: people.writing.clone(),
                texts: AtomicU64::new(0),
            };
            let customer = Arc::new(customer);
            people.tasks.push(tokio::spawn(customer.clone().read(events)));
            people.tasks.push(tokio::spawn(customer.write()));
        }
        people
    }

    /// Waits until so many conversations have their agent.
    pub async fn wait_until_owned(&self, conversations: usize) -> Result<()> {
        let owned = async {
            loop {
                let owned: usize = self.diary.lock().await.owned.values().map(BTreeMap::len).sum();
                if owned >= conversations {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let within = Duration::from_secs(60);
        tokio::time::timeout(within, owned)
            .await
            .context("conversations did not get going")
    }

    /// Silent people accept what is offered or let it run out: waits until no offer is open.
    pub async fn wait_until_offers_ended(&self) -> Result<()> {
        let ended = async {
            while self
                .diary
                .lock()
                .await
                .offers
                .values()
                .any(|offer| offer.ended.is_none())
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended)
            .await
            .context("an offer never ended")
    }

    /// Nobody writes any more; everybody stays and reads. Waits until every command is settled.
    pub async fn fall_silent(&self, within: Duration) -> bool {
        self.writing.store(false, Ordering::Relaxed);
        let until = Instant::now() + within;
        while self.clients.iter().any(|client| client.waiting() > 0) {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

impl Drop for People {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.clients.iter().for_each(Client::close);
    }
}

/// The nodes in another order for each, so that all nodes have sockets.
fn turned(urls: &[String], by: usize) -> Vec<String> {
    let mut urls = urls.to_vec();
    let by = by % urls.len();
    urls.rotate_left(by);
    urls
}

fn text_of(frame: &EntryFrame) -> Option<String> {
    match &frame.content {
        EntryContent::Message { body, .. } => Some(body.text.clone()),
        _ => None,
    }
}

/// Writes down what becomes of a message.
async fn note(diary: &SharedDiary, text: String, conversation: ConversationId, ack: PendingAck) {
    let result = ack.await;
    let mut diary = diary.lock().await;
    match result {
        Ok(ack) => {
            diary.acknowledged_now();
            diary.acknowledged.insert(text, (conversation, ack.seq.unwrap_or(0)));
        }
        Err(ClientError::Refused { code, .. }) => {
            diary.refused.insert(text, code);
        }
        Err(ClientError::Ended | ClientError::TooMany) => {}
    }
}

struct Customer {
    number: usize,
    client: Client,
    diary: SharedDiary,
    writing: Arc<AtomicBool>,
    texts: AtomicU64,
}

impl Customer {
    async fn read(self: Arc<Self>, mut events: ClientEvents) {
        while let Some(event) = events.recv().await {
            match event {
                ClientEvent::Frame(ServerFrame::Entry(entry)) => {
                    let mut diary = self.diary.lock().await;
                    diary.customers.entry(entry.conversation).or_default().push((
                        entry.seq,
                        entry.prev,
                        text_of(&entry),
                    ));
                }
                ClientEvent::Gap {
                    conversation,
                    have,
                    prev,
                } => {
                    let gap = format!("customer {}: {conversation}: have {have}, prev {prev}", self.number);
                    self.diary.lock().await.gaps.push(gap);
                }
                ClientEvent::Refused { code, detail } => {
                    panic!("customer {} was refused: {code}: {detail}", self.number)
                }
                _ => {}
            }
        }
    }

    fn next_text(&self) -> String {
        let n = self.texts.fetch_add(1, Ordering::Relaxed);
        format!("customer {} says {n}", self.number)
    }

    /// One conversation after another, twelve messages each.
    async fn write(self: Arc<Self>) {
        tokio::time::sleep(Duration::from_millis(10 * self.number as u64)).await;
        while self.writing.load(Ordering::Relaxed) {
            let text = self.next_text();
            self.diary.lock().await.sent.insert(text.clone());
            let Ok(ack) = self.client.start(BTreeMap::new(), Some(&text)).await else {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            };
            let Some(conversation) = ack.conversation else { continue };
            {
                let mut diary = self.diary.lock().await;
                diary.conversations.insert(conversation, self.number);
                diary.acknowledged.insert(text, (conversation, ack.seq.unwrap_or(0)));
                diary.acknowledged_now();
            }
            self.chat(conversation).await;
        }
    }

    async fn chat(&self, conversation: ConversationId) {
        for turn in 0..12u64 {
            tokio::time::sleep(Duration::from_millis(
                700 + (self.number as u64 * 37 + turn * 131) % 600,
            ))
            .await;
            if !self.writing.load(Ordering::Relaxed) {
                return;
            }
            let text = self.next_text();
            self.diary.lock().await.sent.insert(text.clone());
            let ack = self.client.message(conversation, text.clone());
            let diary = self.diary.clone();
            if turn % 3 == 0 {
                note(&diary, text, conversation, ack).await;
            } else {
                tokio::spawn(async move { note(&diary, text, conversation, ack).await });
            }
        }
        // An agent may have closed it before.
        let _ = self.client.close_conversation(conversation).await;
    }
}

struct Agent {
    name: String,
    number: usize,
    client: Client,
    diary: SharedDiary,
    writing: Arc<AtomicBool>,
}

impl Agent {
    async fn live(self, mut events: ClientEvents) {
        let client = self.client.clone();
        tokio::spawn(async move { client.sign_in().await });
        let mut replies = 0u64;
        while let Some(event) = events.recv().await {
            match event {
                ClientEvent::Frame(ServerFrame::Entry(entry)) => self.entry(entry, &mut replies).await,
                ClientEvent::Frame(ServerFrame::Offered {
                    conversation,
                    epoch,
                    deadline_ms,
                    ..
                }) => {
                    self.offered(conversation, epoch, deadline_ms).await;
                }
                ClientEvent::Frame(ServerFrame::OfferEnded {
                    conversation,
                    epoch,
                    outcome,
                    at_ms,
                    ..
                }) => {
                    let mut diary = self.diary.lock().await;
                    if let Some(offer) = diary.offers.get_mut(&(conversation, epoch)) {
                        offer.ended = Some((at_ms, outcome));
                    }
                }
                ClientEvent::Frame(frame) => self.ownership(frame).await,
                ClientEvent::Gap {
                    conversation,
                    have,
                    prev,
                } => {
                    let gap = format!("{}: {conversation}: have {have}, prev {prev}", self.name);
                    self.diary.lock().await.gaps.push(gap);
                }
                ClientEvent::Refused { code, detail } => panic!("{} was refused: {code}: {detail}", self.name),
                _ => {}
            }
        }
    }

    /// Most are accepted, some declined, some left to their deadline.
    async fn offered(&self, conversation: ConversationId, epoch: Epoch, deadline_ms: Millis) {
        let note = OfferNote {
            deadline_ms,
            ended: None,
        };
        self.diary.lock().await.offers.insert((conversation, epoch), note);
        let client = self.client.clone();
        let thought = (epoch.0 * 7 + self.number as u64 * 3 + conversation.0 as u64) % 20;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50 + thought * 20)).await;
            match thought {
                0 => {}
                1 => drop(client.decline(conversation, epoch, "busy").await),
                _ => drop(client.accept(conversation, epoch).await),
            }
        });
    }

    async fn ownership(&self, frame: ServerFrame) {
        let mut diary = self.diary.lock().await;
        let owned = diary.owned.entry(self.name.clone()).or_default();
        match frame {
            ServerFrame::Assigned {
                conversation, epoch, ..
            } => {
                owned.insert(conversation, epoch);
            }
            ServerFrame::Unassigned { conversation, .. } | ServerFrame::WrapUp { conversation, .. } => {
                owned.remove(&conversation);
            }
            ServerFrame::WrapUpEnded { conversation, .. } => {
                owned.remove(&conversation);
                diary.wrap_ups += 1;
            }
            ServerFrame::Desk { conversations, .. } => {
                *owned = conversations
                    .into_iter()
                    .filter(|c| matches!(c.phase, Phase::Assigned | Phase::Paused))
                    .map(|c| (c.conversation, c.epoch.unwrap_or_default()))
                    .collect();
            }
            _ => {}
        }
    }

    /// Answers every second message of a customer.
    async fn entry(&self, entry: EntryFrame, replies: &mut u64) {
        let mut diary = self.diary.lock().await;
        let seen = diary.agents.entry((self.name.clone(), entry.conversation)).or_default();
        seen.push((entry.seq, entry.prev, text_of(&entry)));
        let of_customer = matches!(
            &entry.content,
            EntryContent::Message {
                author: Party::Customer,
                ..
            }
        );
        let mine = diary
            .owned
            .get(&self.name)
            .is_some_and(|owned| owned.contains_key(&entry.conversation));
        if !of_customer || !mine || entry.seq.is_multiple_of(2) || !self.writing.load(Ordering::Relaxed) {
            return;
        }
        *replies += 1;
        let text = format!("{} replies {replies}", self.name);
        diary.sent.insert(text.clone());
        drop(diary);
        let ack = self.client.message(entry.conversation, text.clone());
        let (diary, conversation) = (self.diary.clone(), entry.conversation);
        tokio::spawn(async move { note(&diary, text, conversation, ack).await });
    }
}
