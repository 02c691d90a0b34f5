//! A cluster without a cluster: the real state and queue manager behind a mutex, pushes that may get lost or doubled, nodes
//! that share it, and wires that can be cut.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::Rng;
use routing::command::{COMMAND_SCHEMA, Command, Envelope, IdempotencyKey, Reader, Value};
use routing::event::{Entry, Event, Receipt};
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Millis, QueueId, TenantId};
use routing::queue_manager::{QueueManager, Settled};
use routing::settings::{AgentSettings, Capacity, ChannelCapacity, Classification, QueueSettings, WrapUp};
use routing::state::State;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::access::{Identity, Who};
use crate::error::EngineError;
use crate::gateway::backend::{Backend, Caller, Failure, Guard};
use crate::gateway::hub::{ListenAs, Push};
use crate::gateway::{GatewaySettings, router};
use crate::query::{AgentStream, Answer, ConversationFilter, Query, QueueRecord, WaitingPlace};
use crate::wall_clock::now_ms;

pub const TENANT: TenantId = TenantId(7);
pub const QUEUE: QueueId = QueueId(1);
/// Serves no queue.
pub const SUPERVISOR: AgentId = AgentId(99);

/// What the nodes share.
pub struct World {
    inner: Mutex<Inner>,
    /// Of 100 pushes so many are lost (and owned up to), and as many doubled.
    pub faults_percent: AtomicU64,
    /// Queries and commands fail as if there were no leader.
    pub leaderless: AtomicBool,
    numbers: AtomicU64,
}

struct Inner {
    state: State,
    manager: QueueManager,
    index: u64,
    transcripts: HashMap<ConversationId, Vec<Entry>>,
    followers: Vec<Follower>,
}

struct Follower {
    number: u64,
    what: What,
    reader: Option<Reader>,
    to: mpsc::Sender<Push>,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Conversation(ConversationId),
    Agent(AgentId),
    Drain(u64),
}

struct Following {
    world: Arc<World>,
    number: u64,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.world
            .inner
            .lock()
            .followers
            .retain(|follower| follower.number != self.number);
    }
}

impl World {
    /// A tenant with a queue, and agents 1 to `agents`, who are signed out.
    pub fn new(agents: u128) -> Arc<Self> {
        let mut inner = Inner {
            state: State::new(),
            manager: QueueManager::new(Default::default()),
            index: 0,
            transcripts: HashMap::new(),
            followers: Vec::new(),
        };
        let mut settings = QueueSettings::named("help");
        settings.wrap_up = WrapUp::Timed {
            length_ms: 60_000,
            extension_max_ms: 60_000,
        };
        let channel = ChannelCapacity {
            concurrent_max: 100,
            cost: 1,
            exclusive: false,
            interruptible: false,
        };
        let mut commands = vec![
            Command::PutTenant { name: "test".into() },
            Command::PutQueue { queue: QUEUE, settings },
        ];
        commands.extend((1..=agents).map(|number| Command::PutAgent {
            agent: AgentId(number),
            settings: AgentSettings {
                name: format!("agent{number}"),
                queues: routing::settings::Membership::plain([QUEUE]),
                capacity: Capacity {
                    total: 100,
                    channels: [(Channel("web_chat".into()), channel.clone())].into(),
                    interruptible: 0,
                },
                lease_hold_ms: 30_000,
                ..AgentSettings::default()
            },
        }));
        commands.push(Command::PutAgent {
            agent: SUPERVISOR,
            settings: AgentSettings {
                name: "boss".to_owned(),
                supervisor: true,
                lease_hold_ms: 30_000,
                ..AgentSettings::default()
            },
        });
        for command in commands {
            inner.apply(None, command, 0).expect("set up");
        }
        let world = Arc::new(Self {
            inner: Mutex::new(inner),
            faults_percent: AtomicU64::new(0),
            leaderless: AtomicBool::new(false),
            numbers: AtomicU64::new(1),
        });
        let weak = Arc::downgrade(&world);
        tokio::spawn(async move {
            while let Some(world) = weak.upgrade() {
                world.decide();
                drop(world);
                tokio::time::sleep(Duration::from_millis(10)).await; // timers of the state
            }
        });
        world
    }

    fn decide(&self) {
        let faults = self.faults_percent.load(Ordering::Relaxed);
        let mut inner = self.inner.lock();
        loop {
            let decisions = inner.manager.decide(now_ms(), 64);
            if decisions.is_empty() {
                return;
            }
            for decision in decisions {
                let settled = match inner.apply(None, decision.command, faults) {
                    Ok(_) => Settled::Applied,
                    Err(why) => Settled::Rejected(why),
                };
                inner.manager.settle(decision.id, settled);
            }
        }
    }

    /// All entries of a conversation.
    pub fn transcript(&self, conversation: ConversationId) -> Vec<Entry> {
        self.inner
            .lock()
            .transcripts
            .get(&conversation)
            .cloned()
            .unwrap_or_default()
    }

    fn follow(self: &Arc<Self>, what: What, reader: Option<Reader>, to: mpsc::Sender<Push>) -> Guard {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.inner.lock().followers.push(Follower {
            number,
            what,
            reader,
            to,
        });
        Box::new(Following {
            world: Arc::clone(self),
            number,
        })
    }

    /// A node drains.
    pub fn drain(&self, node: u64, url: Option<String>) {
        for follower in self
            .inner
            .lock()
            .followers
            .iter()
            .filter(|f| f.what == What::Drain(node))
        {
            let _ = follower.to.try_send(Push::Drain(url.clone()));
        }
    }

    fn answer(&self, query: Query) -> Answer {
        let inner = self.inner.lock();
        let tenant = inner.state.tenant(TENANT).expect("the tenant");
        match query {
            Query::Conversation(id) => Answer::Conversation(tenant.conversation(id)),
            Query::Conversations {
                filter: ConversationFilter::Customer(customer),
                after,
                limit,
            } => {
                let ids = tenant
                    .conversations_of_customer(&customer)
                    .filter(|id| Some(*id) > after)
                    .take(limit);
                Answer::Conversations(ids.filter_map(|id| tenant.conversation(id)).collect())
            }
            Query::Entries {
                conversation,
                after,
                limit,
            } => {
                let entries = inner
                    .transcripts
                    .get(&conversation)
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                Answer::Entries(entries.iter().filter(|e| e.seq > after).take(limit).cloned().collect())
            }
            Query::AgentStream { agent, after } => {
                let record = tenant.agent(agent).expect("the agent");
                let items = tenant.agent_stream(agent, after);
                Answer::AgentStream(AgentStream {
                    gap: items.is_err(),
                    items: items.unwrap_or_default(),
                    agent_seq: record.agent_seq,
                    presence: record.presence,
                    desk: tenant
                        .conversations_of_agent(agent)
                        .filter_map(|id| tenant.conversation(id))
                        .collect(),
                })
            }
            Query::Queues => Answer::Queues(
                tenant
                    .queues()
                    .map(|view| QueueRecord {
                        queue: view.queue,
                        settings: view.settings,
                        waiting: 0,
                        oldest_since_ms: None,
                    })
                    .collect(),
            ),
            Query::Waiting { conversation } => {
                Answer::Waiting(inner.manager.explain(conversation, None).map(|why| WaitingPlace {
                    position: why.ahead + 1,
                    estimate: inner.manager.estimate(conversation),
                }))
            }
            Query::Agents { .. } => Answer::Agents(Vec::new()),
            other => panic!("the gateway does not ask {other:?}"),
        }
    }
}

impl Inner {
    fn apply(
        &mut self,
        key: Option<IdempotencyKey>,
        command: Command,
        faults_percent: u64,
    ) -> Result<Receipt, routing::rejection::Rejection> {
        self.index += 1;
        let mut events = Vec::new();
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key,
            command,
        };
        let receipt = self.state.apply(self.index, now_ms(), &envelope, &mut events)?;
        for event in events {
            self.manager.observe(self.index, &event.event);
            self.push(event.event, faults_percent);
        }
        Ok(receipt)
    }

    fn push(&mut self, event: Event, faults_percent: u64) {
        let (what, push) = match event {
            Event::Entry(entry) => {
                self.transcripts
                    .entry(entry.conversation)
                    .or_default()
                    .push(entry.clone());
                (What::Conversation(entry.conversation), Push::Entry(Arc::new(entry)))
            }
            Event::Conversation(view) => (
                What::Conversation(view.conversation),
                Push::Conversation(Arc::from(view)),
            ),
            Event::Read {
                conversation,
                reader,
                seq,
            } => (What::Conversation(conversation), Push::Read(conversation, reader, seq)),
            Event::Agent(item) => (What::Agent(item.agent), Push::AgentItem(Arc::new(item))),
            _ => return,
        };
        let mut rng = rand::rng();
        for follower in self.followers.iter().filter(|follower| follower.what == what) {
            let dice = rng.random_range(0..100);
            if dice < faults_percent {
                // Lost; the hub owns up to it a little later.
                let (to, what) = (follower.to.clone(), what);
                let after = Duration::from_millis(rng.random_range(0..20));
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    let _ = to.try_send(match what {
                        What::Agent(agent) => Push::ResyncAgent(agent),
                        What::Conversation(conversation) => Push::Resync(conversation),
                        What::Drain(_) => return,
                    });
                });
                continue;
            }
            let _ = follower.to.try_send(push.clone());
            if dice < 2 * faults_percent {
                let _ = follower.to.try_send(push.clone());
            }
        }
    }
}

/// One node of the world.
pub struct Node {
    world: Arc<World>,
    number: u64,
    urls: Vec<String>,
}

#[async_trait]
impl Backend for Node {
    /// Tokens of this world: `customer:<name>`, `agent:<number>`, `supervisor:<number>`, and `…@<when it ends>`.
    async fn identify(&self, token: &str) -> Result<Caller, Failure> {
        let (token, expires_at_ms) = match token.split_once('@') {
            Some((token, ends)) => (token, ends.parse().unwrap()),
            None => (token, now_ms() + 3_600_000),
        };
        let (name, who) = match token.split_once(':') {
            Some(("customer", name)) => (name, Who::Customer(CustomerId(name.to_owned()))),
            Some((role @ ("agent" | "supervisor"), number)) => {
                let agent = AgentId(number.parse().unwrap());
                let settings = self
                    .world
                    .inner
                    .lock()
                    .state
                    .tenant(TENANT)
                    .unwrap()
                    .agent(agent)
                    .unwrap()
                    .settings;
                match role {
                    "supervisor" => (number, Who::Supervisor { agent, settings }),
                    _ => (number, Who::Agent { agent, settings }),
                }
            }
            _ => return Err(Failure::new("token_invalid", "no such token")),
        };
        Ok(Caller {
            identity: Identity { tenant: TENANT, who },
            name: name.to_owned(),
            expires_at_ms,
        })
    }

    async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError> {
        assert_eq!(tenant, TENANT);
        if self.world.leaderless.load(Ordering::Relaxed) {
            return Err(EngineError::NoLeader);
        }
        let faults = self.world.faults_percent.load(Ordering::Relaxed);
        let result = self.world.inner.lock().apply(key, command, faults);
        self.world.decide();
        tokio::task::yield_now().await;
        // Sometimes nobody hears of it.
        if faults > 0 && rand::rng().random_range(0..100) < faults {
            return Err(EngineError::OutcomeUnknown);
        }
        result.map_err(EngineError::Rejected)
    }

    async fn query(&self, _: TenantId, query: Query) -> Result<Answer, EngineError> {
        if self.world.leaderless.load(Ordering::Relaxed) {
            return Err(EngineError::NoLeader);
        }
        let answer = self.world.answer(query);
        if self.world.faults_percent.load(Ordering::Relaxed) > 0 {
            let late = rand::rng().random_range(0..5);
            tokio::time::sleep(Duration::from_millis(late)).await;
        }
        Ok(answer)
    }

    async fn classify(
        &self,
        _: TenantId,
        _: ConversationId,
        _: &CustomerId,
        _: &Channel,
        _: &BTreeMap<String, Value>,
    ) -> Result<Classification, Failure> {
        Ok(Classification {
            queues: vec![QUEUE],
            priority: 5,
            ..Classification::default()
        })
    }

    fn follow_conversation(
        &self,
        _: TenantId,
        conversation: ConversationId,
        listen_as: ListenAs,
        to: mpsc::Sender<Push>,
    ) -> Guard {
        let reader = (listen_as == ListenAs::Customer).then_some(Reader::Customer);
        self.world.follow(What::Conversation(conversation), reader, to)
    }

    fn follow_agent(&self, _: TenantId, agent: AgentId, to: mpsc::Sender<Push>) -> Guard {
        self.world.follow(What::Agent(agent), None, to)
    }

    fn watch_drain(&self, to: mpsc::Sender<Push>) -> Guard {
        self.world.follow(What::Drain(self.number), None, to)
    }

    fn typing(&self, _: TenantId, conversation: ConversationId, who: Reader, typing: bool) {
        let inner = self.world.inner.lock();
        let others = inner
            .followers
            .iter()
            .filter(|f| f.what == What::Conversation(conversation));
        for follower in others.filter(|f| f.reader != Some(who)) {
            let _ = follower.to.try_send(Push::Typing(conversation, who, typing));
        }
    }

    fn draining(&self) -> bool {
        false
    }

    fn node(&self) -> u64 {
        self.number
    }

    fn nodes(&self) -> Vec<String> {
        self.urls.clone()
    }

    fn now_ms(&self) -> Millis {
        now_ms()
    }
}

/// A node on a port of its own.
pub async fn serve(world: &Arc<World>, number: u64, settings: GatewaySettings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let node = Node {
        world: Arc::clone(world),
        number,
        urls: Vec::new(),
    };
    let app = router(Arc::new(node), settings);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A wire to an address that can be cut: all connections through it end at once.
pub struct Wire {
    pub url: String,
    cut: mpsc::UnboundedSender<()>,
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (cut, mut cuts) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (mut near, _) = accepted.unwrap();
                        connections.spawn(async move {
                            let mut far = TcpStream::connect(address).await.unwrap();
                            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        });
                    }
                    cut = cuts.recv() => match cut {
                        Some(()) => connections.abort_all(),
                        None => return,
                    },
                }
            }
        });
        Self { url, cut }
    }

    pub fn cut(&self) {
        let _ = self.cut.send(());
    }
}
