//! Two tenants in one state behind both routers, and tokens for everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use cluster::error::{InitError, MembershipError};
use cluster::state_machine::ShardId;
use cluster::status::{ClusterId, ClusterStatus};
use cluster::transport::{NodeId, PeerAddress};
use parking_lot::Mutex;
use routing::command::{Command, Envelope, Explanation, IdempotencyKey, WaitEstimate};
use routing::event::{Entry, Event, Receipt};
use routing::ids::{AgentId, Channel, ConversationId, Epoch, QueueId, TenantId};
use routing::settings::{AgentSettings, Capacity, ChannelCapacity, Classification, QueueSettings};
use routing::state::{AgentView, State, Tenant};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::api::seams::{Authority, Backend, Readiness};
use crate::api::{ApiState, admin_router, public_router};
use crate::auth::{AdminKeys, AuthError, Grant, Role, SigningKey, Verified, Verifier, issue_token, unix_now_s};
use crate::config::{AdminKey, AuthSettings};
use crate::directory::{DirectoryState, KeyAlgorithm, TenantKey, TenantPlace};
use crate::engine::{answer, encoded};
use crate::error::EngineError;
use crate::query::{AgentRecord, AgentStream, Answer, ConversationFilter, Query, QueueRecord, WaitingPlace, Why};

pub const OURS: TenantId = TenantId(1);
pub const THEIRS: TenantId = TenantId(2);
/// Of both tenants: ids say nothing of whose they are.
pub const QUEUE: QueueId = QueueId(7);
pub const AIKO: AgentId = AgentId(11);
pub const BERT: AgentId = AgentId(12);
pub const SUE: AgentId = AgentId(13);
pub const API_KEY: &str = "an-api-key-of-the-tests-only-0001";

fn secret(tenant: TenantId) -> String {
    format!("secret-of-a-tenant-in-tests-only-{}", tenant.0)
}

fn kid(tenant: TenantId) -> String {
    format!("key-{}", tenant.0)
}

pub fn token_until(tenant: TenantId, role: Role, subject: &str, expires_at_s: u64) -> String {
    let grant = Grant {
        tenant,
        role,
        subject: subject.to_owned(),
        audience: "kaiwa".to_owned(),
        issuer: None,
        not_before_s: unix_now_s() - 3_600,
        expires_at_s,
    };
    issue_token(&kid(tenant), &SigningKey::Hs256(secret(tenant)), &grant).unwrap()
}

pub fn token(tenant: TenantId, role: Role, subject: &str) -> String {
    token_until(tenant, role, subject, unix_now_s() + 600)
}

pub fn customer(name: &str) -> String {
    token(OURS, Role::Customer, name)
}

pub fn agent(name: &str) -> String {
    token(OURS, Role::Agent, name)
}

pub fn supervisor() -> String {
    token(OURS, Role::Supervisor, "sue")
}

/// The state, as if it were replicated.
pub struct OneNode {
    state: Mutex<(State, Vec<Entry>)>,
    directory: Mutex<DirectoryState>,
    /// Keys that this node has not heard of yet.
    known_elsewhere: Mutex<BTreeMap<String, (TenantId, TenantKey)>>,
    pub fails_with: Mutex<Option<EngineError>>,
}

impl OneNode {
    fn apply(&self, tenant: TenantId, key: Option<IdempotencyKey>, command: Command) -> Result<Receipt, EngineError> {
        if let Some(error) = self.fails_with.lock().clone() {
            return Err(error);
        }
        encoded(tenant, key.clone(), command.clone())?;
        let (state, entries) = &mut *self.state.lock();
        let envelope = Envelope {
            schema: routing::command::COMMAND_SCHEMA,
            tenant,
            key,
            command,
        };
        let (index, mut events) = (state.index() + 1, Vec::new());
        let result = state.apply(index, 1_000 + index, &envelope, &mut events);
        entries.extend(events.into_iter().filter_map(|event| match event.event {
            Event::Entry(entry) => Some(entry),
            _ => None,
        }));
        result.map_err(EngineError::Rejected)
    }

    /// The node has just started: others know every key, and it none.
    pub fn forget_keys(&self) {
        *self.known_elsewhere.lock() = std::mem::take(&mut self.directory.lock().keys);
    }

    /// Over all that the commands so far have left behind.
    pub fn rows_hash(&self) -> (u64, DirectoryState) {
        (self.state.lock().0.rows_hash(), self.directory.lock().clone())
    }
}

fn record(view: AgentView) -> AgentRecord {
    AgentRecord {
        agent: view.agent,
        settings: view.settings,
        presence: view.presence,
        load: view.load,
        used: view.used,
        agent_seq: view.agent_seq,
    }
}

fn answer(tenant: &Tenant, entries: &[Entry], query: Query) -> Answer {
    match query {
        Query::Conversation(id) => Answer::Conversation(tenant.conversation(id)),
        Query::Conversations { filter, after, limit } => {
            let views = tenant.conversations(after).filter(|view| match &filter {
                ConversationFilter::All => true,
                ConversationFilter::Customer(customer) => view.customer == *customer,
                ConversationFilter::Agent(agent) => view.agent == Some(*agent),
                ConversationFilter::Queue(queue) => view.queue == Some(*queue),
            });
            Answer::Conversations(views.take(limit).collect())
        }
        Query::Entries {
            conversation,
            after,
            limit,
        } => {
            let found = entries
                .iter()
                .filter(|entry| entry.conversation == conversation && entry.seq > after);
            Answer::Entries(found.take(limit).cloned().collect())
        }
        Query::Agent(agent) => Answer::Agent(tenant.agent(agent).map(record)),
        Query::AgentNamed(name) => Answer::Agent(
            tenant
                .agent_named(&name)
                .and_then(|agent| tenant.agent(agent))
                .map(record),
        ),
        Query::Agents { after, limit } => {
            let views = tenant.agents().filter(|view| Some(view.agent) > after);
            Answer::Agents(views.take(limit).map(record).collect())
        }
        Query::AgentStream { agent, .. } => Answer::AgentStream(AgentStream {
            items: Vec::new(),
            gap: true,
            agent_seq: 0,
            presence: tenant.agent(agent).map(|view| view.presence).unwrap_or_default(),
            desk: tenant
                .conversations_of_agent(agent)
                .filter_map(|id| tenant.conversation(id))
                .collect(),
        }),
        Query::Queues => {
            let record = |view: routing::view::QueueView| QueueRecord {
                queue: view.queue,
                settings: view.settings,
                waiting: u64::from(tenant.queue_counts(view.queue).waiting),
                oldest_since_ms: tenant.oldest_in_queue(view.queue),
            };
            Answer::Queues(tenant.queues().map(record).collect())
        }
        Query::Skills => Answer::Skills(tenant.skills().clone()),
        Query::Rules => {
            let (rules, fallback) = tenant.rules();
            Answer::Rules {
                rules: rules.to_vec(),
                fallback: fallback.cloned(),
            }
        }
        Query::Closed { after, limit, .. } => {
            let closed = tenant.conversations(after).filter(|view| view.ended_at_ms.is_some());
            Answer::Conversations(closed.take(limit).collect())
        }
        Query::Report(question) => Answer::Report(crate::reports::kept(tenant, &question).unwrap_or_default()),
        Query::ReportLive => Answer::ReportLive(Box::new(crate::reports::live(tenant, 0))),
        Query::Presences { .. } => Answer::Presences(Vec::new()),
        Query::Policy { version } => answer::policy(tenant, version),
        Query::PolicyVersions => Answer::PolicyVersions(answer::policy_versions(tenant)),
        Query::Setting => Answer::Setting {
            policy: Box::new(tenant.policy()),
            agents: tenant.agents().map(|view| (view.agent, view.settings)).collect(),
        },
        Query::Waiting { .. } => Answer::Waiting(Some(WaitingPlace {
            position: 3,
            estimate: Some(WaitEstimate {
                p50_ms: 40_000,
                p90_ms: 90_000,
            }),
        })),
        Query::Why { .. } => Answer::Why(Why {
            position: Some(1),
            removed: vec![("presence".to_owned(), 2)],
            summary: "nobody is here".to_owned(),
            ..Why::default()
        }),
    }
}

#[async_trait]
impl Backend for OneNode {
    async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError> {
        if !self.directory.lock().tenants.contains_key(&tenant) {
            return Err(EngineError::UnknownTenant);
        }
        self.apply(tenant, key, command)
    }

    async fn query(&self, tenant: TenantId, query: Query) -> Result<Answer, EngineError> {
        if let Some(error) = self.fails_with.lock().clone() {
            return Err(error);
        }
        let (state, entries) = &*self.state.lock();
        let tenant = state.tenant(tenant).ok_or(EngineError::UnknownTenant)?;
        Ok(answer(tenant, entries, query))
    }

    fn directory(&self) -> Arc<DirectoryState> {
        Arc::new(self.directory.lock().clone())
    }

    async fn refresh_directory(&self) -> Result<(), EngineError> {
        if let Some(error) = self.fails_with.lock().clone() {
            return Err(error);
        }
        let known_elsewhere = std::mem::take(&mut *self.known_elsewhere.lock());
        self.directory.lock().keys.extend(known_elsewhere);
        Ok(())
    }

    async fn put_tenant(&self, tenant: TenantId, name: String) -> Result<(), EngineError> {
        self.apply(tenant, None, Command::PutTenant { name: name.clone() })?;
        let place = TenantPlace {
            tenant,
            name,
            shard: 1,
            epoch: 1,
        };
        self.directory.lock().tenants.insert(tenant, place);
        Ok(())
    }

    async fn put_key(&self, tenant: TenantId, key: TenantKey) -> Result<(), EngineError> {
        self.directory.lock().keys.insert(key.kid.clone(), (tenant, key));
        Ok(())
    }

    async fn remove_key(&self, _: TenantId, kid: String) -> Result<(), EngineError> {
        self.directory.lock().keys.remove(&kid);
        Ok(())
    }

    async fn init(&self, nodes: BTreeMap<NodeId, PeerAddress>, _: u32) -> Result<ClusterId, InitError> {
        match nodes.contains_key(&NodeId(1)) {
            true => Ok(ClusterId(0xc1)),
            false => Err(InitError::NotAmongNodes(NodeId(1))),
        }
    }

    fn status(&self) -> ClusterStatus {
        ClusterStatus {
            node: NodeId(1),
            cluster: Some(ClusterId(0xc1)),
            nodes: BTreeMap::new(),
            shards: Vec::new(),
        }
    }

    async fn add_node(&self, node: NodeId, _: PeerAddress) -> Result<(), MembershipError> {
        Err(MembershipError::Unreachable(node, "refused".to_owned()))
    }

    async fn remove_node(&self, node: NodeId) -> Result<(), MembershipError> {
        Err(MembershipError::UnknownNode(node))
    }

    async fn transfer_leader(&self, shard: ShardId, _: NodeId) -> Result<(), MembershipError> {
        Err(MembershipError::NoLeader(shard))
    }
}

struct Keys {
    verifier: Verifier,
    admin_keys: AdminKeys,
    node: Arc<OneNode>,
}

impl Authority for Keys {
    fn token(&self, bearer: &str) -> Result<Verified, AuthError> {
        self.verifier
            .verify(bearer, |kid| self.node.directory.lock().keys.get(kid).cloned())
    }

    fn api_key(&self, key: &str) -> Result<String, AuthError> {
        self.admin_keys.check(key).map(str::to_owned)
    }
}

/// An answer.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Got {
    /// Status and code of a problem document, whose form is checked on the way.
    #[track_caller]
    pub fn problem(&self) -> (u16, &str) {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let code = self.json["code"].as_str().expect("a code");
        assert_eq!(self.json["type"], format!("urn:kaiwa:problem:{code}"));
        assert_eq!(self.json["status"], self.status.as_u16());
        assert!(self.json["title"].is_string() && self.json["detail"].as_str().is_some_and(|d| !d.is_empty()));
        (self.status.as_u16(), code)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json
    }
}

/// Both routers over one state.
pub struct Rig {
    pub node: Arc<OneNode>,
    pub public: Router,
    pub admin: Router,
    pub ready: Arc<AtomicBool>,
    pub drained: Arc<AtomicBool>,
}

impl Rig {
    /// Two tenants, each with a queue, a fallback rule, two agents (only aiko serves the queue) and a supervisor.
    pub async fn new() -> Self {
        let node = Arc::new(OneNode {
            state: Mutex::new((State::new(), Vec::new())),
            directory: Mutex::default(),
            known_elsewhere: Mutex::default(),
            fails_with: Mutex::new(None),
        });
        let auth = AuthSettings {
            admin_keys: Vec::new(),
            audience: "kaiwa".to_owned(),
            issuers: Vec::new(),
            leeway_s: 0,
            allowed_origins: Vec::new(),
        };
        let authority = Keys {
            verifier: Verifier::new(&auth),
            admin_keys: AdminKeys::new(&[AdminKey {
                name: "ops".to_owned(),
                key: API_KEY.to_owned(),
            }]),
            node: Arc::clone(&node),
        };
        let (ready, drained) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (probed, switch) = (Arc::clone(&ready), Arc::clone(&drained));
        let state = ApiState {
            backend: Arc::clone(&node) as Arc<dyn Backend>,
            authority: Arc::new(authority),
            classifier: Arc::default(),
            readiness: Arc::new(move || {
                let reasons = match probed.load(Ordering::Relaxed) {
                    true => Vec::new(),
                    false => vec!["shard 1: no leader".to_owned()],
                };
                Box::pin(async move { Readiness { reasons } })
            }),
            metrics: Arc::new(|| "kaiwa_ready 1\n".to_owned()),
            drain: Arc::new(move || switch.store(true, Ordering::Relaxed)),
        };
        let rig = Self {
            node,
            public: public_router(state.clone()),
            admin: admin_router(state),
            ready,
            drained,
        };
        for tenant in [OURS, THEIRS] {
            rig.settle(tenant).await;
        }
        rig
    }

    async fn settle(&self, tenant: TenantId) {
        self.node.put_tenant(tenant, "a tenant".to_owned()).await.unwrap();
        let key = TenantKey {
            kid: kid(tenant),
            algorithm: KeyAlgorithm::Hs256,
            material: secret(tenant),
        };
        self.node.put_key(tenant, key).await.unwrap();
        self.run(
            tenant,
            Command::PutQueue {
                queue: QUEUE,
                settings: QueueSettings::named("support"),
            },
        );
        let people = [(AIKO, "aiko", true), (BERT, "bert", false), (SUE, "sue", false)];
        for (agent, name, serves) in people {
            let chat = ChannelCapacity {
                concurrent_max: 5,
                cost: 1,
                exclusive: false,
                interruptible: false,
            };
            let settings = AgentSettings {
                name: name.to_owned(),
                queues: routing::settings::Membership::plain(serves.then_some(QUEUE)),
                capacity: Capacity {
                    total: 5,
                    channels: BTreeMap::from([(Channel("web_chat".to_owned()), chat)]),
                    interruptible: 0,
                },
                supervisor: agent == SUE,
                lease_hold_ms: 30_000,
                ..AgentSettings::default()
            };
            self.run(tenant, Command::PutAgent { agent, settings });
        }
        let fallback = Some(Classification {
            queues: vec![QUEUE],
            priority: 5,
            ..Classification::default()
        });
        let rules = Vec::new();
        self.run(tenant, Command::PutRules { rules, fallback });
    }

    /// A command past the API: what an actor or the queue manager would do.
    #[track_caller]
    pub fn run(&self, tenant: TenantId, command: Command) -> Receipt {
        self.node.apply(tenant, None, command).unwrap()
    }

    /// Offers as the queue manager would; gives the epoch.
    #[track_caller]
    pub fn offer(&self, conversation: &str, agent: AgentId) -> Epoch {
        let offer = Command::Offer {
            conversation: conversation.parse::<ConversationId>().unwrap(),
            agent,
            explanation: Explanation::default(),
        };
        self.run(OURS, offer).epoch.unwrap()
    }

    /// Ann's conversation, waiting; its id.
    pub async fn anns(&self) -> String {
        let started = self
            .post("/v1/conversations", &customer("ann"), json!({"channel": "web_chat"}))
            .await
            .ok();
        started["receipt"]["conversation"].as_str().unwrap().to_owned()
    }

    /// Ann's conversation, assigned to aiko; its id and epoch.
    pub async fn anns_with_aiko(&self) -> (String, u64) {
        let id = self.anns().await;
        self.post("/v1/me/sign-in", &agent("aiko"), json!({})).await.ok();
        let Epoch(epoch) = self.offer(&id, AIKO);
        let path = format!("/v1/conversations/{id}/offer/accept");
        let receipt = self.post(&path, &agent("aiko"), json!({"epoch": epoch})).await.ok();
        (id, receipt["epoch"].as_u64().unwrap())
    }

    pub async fn send(router: &Router, request: Request<Body>) -> Got {
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 4 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Got {
            status: parts.status,
            headers: parts.headers,
            json: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }

    pub fn request(method: &str, path: &str, token: Option<&str>, body: Option<String>) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        request.body(body.map_or_else(Body::empty, Body::from)).unwrap()
    }

    pub async fn get(&self, path: &str, token: &str) -> Got {
        Self::send(&self.public, Self::request("GET", path, Some(token), None)).await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Got {
        self.call("POST", path, token, body).await
    }

    pub async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Got {
        Self::send(
            &self.public,
            Self::request(method, path, Some(token), Some(body.to_string())),
        )
        .await
    }

    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Got {
        let body = body.map(|body| body.to_string());
        Self::send(&self.admin, Self::request(method, path, Some(API_KEY), body)).await
    }
}
