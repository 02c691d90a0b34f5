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
    /// Offers, by agent, conversation and epoch: several agents may be asked under one epoch (R9).
    pub offers: BTreeMap<(String, ConversationId, Epoch), OfferNote>,
    /// Customers who went for good: what they were given is only the beginning of what there is to see.
    pub gone: BTreeSet<ConversationId>,
    /// What each agent owns, by what they were told.
    pub owned: BTreeMap<String, BTreeMap<ConversationId, Epoch>>,
    /// Gaps that a client saw: a fault of ours, even though the client mends it.
    pub gaps: Vec<String>,
    /// What an agent's stream said twice, and whose token was refused.
    pub muddles: Vec<String>,
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

    pub(crate) fn acknowledged_now(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_acknowledged.replace(now) {
            self.longest_pause = self.longest_pause.max(now.duration_since(last));
        }
    }
}

impl Diary {
    /// What a customer was told.
    pub(crate) fn customer_told(&mut self, customer: &str, event: &ClientEvent) {
        match event {
            ClientEvent::Frame(ServerFrame::Entry(entry)) => {
                let seen = self.customers.entry(entry.conversation).or_default();
                seen.push((entry.seq, entry.prev, text_of(entry)));
            }
            ClientEvent::Gap {
                conversation,
                have,
                prev,
            } => self
                .gaps
                .push(format!("{customer}: {conversation}: have {have}, prev {prev}")),
            ClientEvent::Refused { code, detail } => self
                .muddles
                .push(format!("{customer} was sent away for good: {code}: {detail}")),
            _ => {}
        }
    }

    /// What an agent was told; `subject`: their id, as the welcome has it.
    pub(crate) fn agent_told(&mut self, name: &str, subject: &str, event: &ClientEvent) {
        match event {
            ClientEvent::Frame(ServerFrame::Entry(entry)) => {
                let seen = self.agents.entry((name.to_owned(), entry.conversation)).or_default();
                seen.push((entry.seq, entry.prev, text_of(entry)));
            }
            ClientEvent::Frame(frame) => {
                self.offer_told(name, frame);
                self.ownership_told(name, subject, frame);
            }
            ClientEvent::Gap {
                conversation,
                have,
                prev,
            } => self
                .gaps
                .push(format!("{name}: {conversation}: have {have}, prev {prev}")),
            ClientEvent::Refused { code, detail } => self
                .muddles
                .push(format!("{name} was sent away for good: {code}: {detail}")),
            _ => {}
        }
    }

    fn offer_told(&mut self, name: &str, frame: &ServerFrame) {
        match frame {
            ServerFrame::Offered {
                conversation,
                epoch,
                deadline_ms,
                ..
            } => {
                let note = OfferNote {
                    deadline_ms: *deadline_ms,
                    ended: None,
                };
                let key = (name.to_owned(), *conversation, *epoch);
                if self.offers.insert(key, note).is_some() {
                    let muddle = format!("{name}: {conversation} was offered twice under {epoch:?}");
                    self.muddles.push(muddle);
                }
            }
            ServerFrame::OfferEnded {
                conversation,
                epoch,
                outcome,
                at_ms,
                ..
            } => {
                let key = (name.to_owned(), *conversation, *epoch);
                let ended = match self.offers.get_mut(&key) {
                    // A desk stood in the place of the items.
                    None => return,
                    Some(offer) => offer.ended.replace((*at_ms, outcome.clone())),
                };
                if let Some(before) = ended {
                    let muddle = format!("{name}: the offer of {conversation}, {epoch:?}, ended before: {before:?}");
                    self.muddles.push(muddle);
                }
            }
            _ => {}
        }
    }

    fn ownership_told(&mut self, name: &str, subject: &str, frame: &ServerFrame) {
        let owned = self.owned.entry(name.to_owned()).or_default();
        match frame {
            ServerFrame::Assigned {
                conversation, epoch, ..
            } => {
                owned.insert(*conversation, *epoch);
            }
            ServerFrame::Unassigned { conversation, .. } | ServerFrame::WrapUp { conversation, .. } => {
                owned.remove(conversation);
            }
            ServerFrame::WrapUpEnded { conversation, .. } => {
                owned.remove(conversation);
                self.wrap_ups += 1;
            }
            ServerFrame::Desk { conversations, .. } => {
                *owned = conversations
                    .iter()
                    .filter(|c| matches!(c.phase, Phase::Assigned | Phase::Paused))
                    // In some of the desk's conversations they only take part.
                    .filter(|c| c.agent.is_some_and(|owner| owner.to_string() == subject))
                    .map(|c| (c.conversation, c.epoch.unwrap_or_default()))
                    .collect();
            }
            _ => {}
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
pub(crate) fn turned(urls: &[String], by: usize) -> Vec<String> {
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
pub(crate) async fn note(diary: &SharedDiary, text: String, conversation: ConversationId, ack: PendingAck) {
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
        let name = format!("customer {}", self.number);
        while let Some(event) = events.recv().await {
            self.diary.lock().await.customer_told(&name, &event);
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
        let (mut replies, mut subject) = (0u64, String::new());
        while let Some(event) = events.recv().await {
            if let ClientEvent::Connected { welcome, .. } = &event {
                subject.clone_from(&welcome.subject);
            }
            self.diary.lock().await.agent_told(&self.name, &subject, &event);
            match event {
                ClientEvent::Frame(ServerFrame::Entry(entry)) => self.entry(entry, &mut replies).await,
                ClientEvent::Frame(ServerFrame::Offered {
                    conversation, epoch, ..
                }) => self.offered(conversation, epoch),
                _ => {}
            }
        }
    }

    /// Most are accepted, some declined, some left to their deadline.
    fn offered(&self, conversation: ConversationId, epoch: Epoch) {
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

    /// Answers every second message of a customer.
    async fn entry(&self, entry: EntryFrame, replies: &mut u64) {
        let mut diary = self.diary.lock().await;
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
