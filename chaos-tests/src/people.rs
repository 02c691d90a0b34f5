//! Customers and agents. Each has a connection that moves from node to node, and writes everything into one [`Diary`]. Among them go
//! readers, who ask any node for what is there, and strangers to the protocol, who post by REST and wait for no second answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use node::auth::Role;
use node::client::{Client, ClientError, PendingAck};
use node::gateway::protocol::Ack;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use routing::ids::ConversationId;
use tokio::task::JoinHandle;

use crate::diary::SharedDiary;
use crate::history::{Input, Name, Output, Pending, Presence, Recorder};
use crate::world::World;

mod agent;
mod customer;
mod reader;

use agent::Agent;
use customer::Customer;
use reader::Reader;

/// How busy everybody is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two messages of a customer, at least; up to twice as much.
    pub between: Duration,
    /// Readers.
    pub readers: usize,
    /// One message in so many is posted by REST and given up on when it takes long; 0: none.
    pub rest_one_in: u64,
}

impl Pace {
    /// As people chat, and nobody reads beside them.
    const CHAT: Self = Self {
        between: Duration::from_millis(700),
        readers: 0,
        rest_one_in: 0,
    };
}

impl Default for Pace {
    /// With readers, and with some who post by REST.
    fn default() -> Self {
        Self {
            between: Duration::from_millis(700),
            readers: 3,
            rest_one_in: 5,
        }
    }
}

/// All people of a run.
pub struct People {
    /// What they were told.
    pub diary: SharedDiary,
    writing: Arc<AtomicBool>,
    flapping: Arc<AtomicBool>,
    agents: Vec<(String, Client)>,
    subjects: Subjects,
    /// What people asked for, and when it was answered.
    pub recorder: Recorder,
    clients: Vec<Client>,
    tasks: Vec<JoinHandle<()>>,
}

impl People {
    /// Signs the agents in and lets the customers come. They write until [`People::fall_silent`].
    pub fn start(world: &World, customers: usize) -> Self {
        Self::start_at(world, customers, Pace::CHAT)
    }

    /// The same, at a pace.
    pub fn start_at(world: &World, customers: usize, pace: Pace) -> Self {
        let diary = SharedDiary::default();
        let recorder = diary.try_lock().expect("nobody else has it yet").recorder.clone();
        let writing = Arc::new(AtomicBool::new(true));
        let subjects = Subjects::default();
        let mut people = Self {
            diary: diary.clone(),
            writing: writing.clone(),
            flapping: Arc::default(),
            agents: Vec::new(),
            subjects: subjects.clone(),
            recorder: recorder.clone(),
            clients: Vec::new(),
            tasks: Vec::new(),
        };
        let urls = world.urls.clone();
        for (number, name) in world.agents.iter().enumerate() {
            let (client, events) = Client::connect(turned(&urls, number), world.token(Role::Agent, name), 1);
            people.agents.push((name.clone(), client.clone()));
            people.clients.push(client.clone());
            let agent = Agent {
                name: name.clone(),
                number,
                client,
                diary: diary.clone(),
                recorder: recorder.clone(),
                writing: writing.clone(),
                subjects: subjects.clone(),
            };
            people.tasks.push(tokio::spawn(agent.live(events)));
        }
        for number in 0..customers {
            let token = world.token(Role::Customer, &customer::subject(number));
            let (client, events) = Client::connect(turned(&urls, number), token.clone(), 1);
            people.clients.push(client.clone());
            let customer = Arc::new(Customer {
                number,
                client,
                diary: diary.clone(),
                recorder: recorder.clone(),
                writing: writing.clone(),
                texts: AtomicU64::new(0),
                pace,
                rest: customer::Rest::new(turned(&urls, number), token),
            });
            people.tasks.push(tokio::spawn(customer.clone().read(events)));
            people.tasks.push(tokio::spawn(customer.write()));
        }
        for number in 0..pace.readers {
            let reader = Reader::new(world, number, &diary, &recorder, &subjects);
            people.tasks.push(tokio::spawn(reader.look(writing.clone())));
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
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let diary = self.diary.lock().await;
            let open = diary.offers.iter().find(|(_, offer)| offer.ended.is_none());
            let Some(((name, conversation, epoch), _)) = open else {
                return Ok(());
            };
            // Who was sent away does not hear of an end.
            ensure!(
                Instant::now() < until,
                "an offer never ended, {conversation} under {epoch:?} to {name}; {:?}",
                diary.muddles
            );
            drop(diary);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Nobody writes any more; everybody stays and reads. Waits until every command is settled.
    pub async fn fall_silent(&self, within: Duration) -> bool {
        self.writing.store(false, Ordering::Relaxed);
        self.stop_flapping();
        let settled = async {
            while self.clients.iter().any(|client| client.waiting() > 0) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(within, settled).await.is_ok()
    }

    /// Acknowledgements so far.
    pub async fn acknowledged(&self) -> usize {
        self.diary.lock().await.acknowledged.len()
    }

    /// The latest conversations, as their ids are written.
    pub async fn newest_conversations(&self, most: usize) -> Vec<String> {
        let diary = self.diary.lock().await;
        let newest = diary.conversations.keys().rev().take(most);
        newest.map(ToString::to_string).collect()
    }

    /// Breaks every client's connection; each comes back by itself. How many there are.
    pub fn break_all(&self) -> u64 {
        self.clients.iter().for_each(Client::break_connection);
        self.clients.len() as u64
    }

    /// Lets a share (of 100) of the agents sign out and in, and lose their connections, until [`People::stop_flapping`]; the task tells how often.
    pub fn let_agents_flap(&self, share: usize, seed: u64) -> JoinHandle<u64> {
        self.flapping.store(true, Ordering::Relaxed);
        let flapping = self.flapping.clone();
        let some = (self.agents.len() * share).div_ceil(100);
        let agents: Vec<(String, Client)> = self.agents.iter().take(some).cloned().collect();
        let (subjects, recorder) = (self.subjects.clone(), self.recorder.clone());
        tokio::spawn(async move {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let mut flaps = 0;
            while flapping.load(Ordering::Relaxed) && !agents.is_empty() {
                let (name, client) = &agents[dice.random_range(0..agents.len())];
                let subject = subjects.lock().get(name).cloned();
                match (dice.random_range(0..3), subject) {
                    // Whether it is done may not be known before the next fault ends.
                    (1.., Some(agent)) => come_and_go(&recorder, client, &agent),
                    _ => client.break_connection(),
                }
                flaps += 1;
                tokio::time::sleep(Duration::from_millis(dice.random_range(20..300))).await;
            }
            flaps
        })
    }

    /// Agents stay from now on.
    pub fn stop_flapping(&self) {
        self.flapping.store(false, Ordering::Relaxed);
    }
}

impl Drop for People {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.clients.iter().for_each(Client::close);
    }
}

/// Signs an agent out and in again, and writes it down.
fn come_and_go(recorder: &Recorder, client: &Client, agent: &str) {
    let name = Name::from(agent);
    let out = recorder.call(name.clone(), Input::SignOut { agent: name.clone() });
    tokio::spawn(record(out, client.sign_out()));
    tokio::spawn(record(sign_in(recorder, name), client.sign_in()));
}

fn sign_in(recorder: &Recorder, agent: Name) -> Pending {
    let presence = Presence::Available;
    recorder.call(agent.clone(), Input::SignIn { agent, presence })
}

/// Ids of the agents, by their names: histories tell of ids, as the API does.
type Subjects = Arc<Mutex<BTreeMap<String, String>>>;

/// Asks the first of these nodes that listens; `None` when nobody was reached, and so nothing asked.
async fn ask<'a>(
    urls: impl Iterator<Item = &'a String>,
    request: impl Fn(&str) -> reqwest::RequestBuilder,
) -> Option<reqwest::Result<reqwest::Response>> {
    for url in urls {
        match request(url).send().await {
            Err(error) if error.is_connect() => {}
            answer => return Some(answer),
        }
    }
    None
}

/// The nodes in another order for each, so that all nodes have sockets.
pub(crate) fn turned(urls: &[String], by: usize) -> Vec<String> {
    let mut urls = urls.to_vec();
    let by = by % urls.len();
    urls.rotate_left(by);
    urls
}

/// Writes down what becomes of a message.
pub(crate) async fn note(diary: &SharedDiary, text: String, conversation: ConversationId, ack: PendingAck) {
    let answer = ack.await;
    diary.lock().await.answered(text, conversation, answer);
}

/// Follows a command to its end, for the history. One that is never answered stays unknown.
async fn record(pending: Pending, ack: PendingAck) -> Result<Ack, ClientError> {
    let result = ack.await;
    match &result {
        Ok(ack) => pending.done(Output::Ack {
            seq: ack.seq,
            epoch: ack.epoch.map(|epoch| epoch.0),
        }),
        Err(ClientError::Refused { code, .. }) => pending.refused(code.clone()),
        // It was not sent at all.
        Err(ClientError::TooMany) => pending.refused("not_sent"),
        Err(ClientError::Ended) => pending.unknown(),
    }
    result
}

fn post(conversation: ConversationId, text: &str, by: crate::history::By) -> Input {
    Input::Post {
        conversation: conversation.to_string().into(),
        text: text.into(),
        by,
    }
}
