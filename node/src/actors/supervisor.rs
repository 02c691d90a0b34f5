//! One per shard on every node: starts the shard's actors when leadership comes, stops them when it goes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cluster::codec;
use cluster::error::ProposeError;
use cluster::shards::{Lane, Shards};
use cluster::state_machine::ShardId;
use cluster::status::Leadership;
use cluster::transport::NodeId;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use routing::command::{COMMAND_SCHEMA, Command, Envelope};
use routing::event::{Event, Receipt, TenantEvent};
use routing::ids::{AgentId, ConversationId, TenantId};
use routing::invariants;
use routing::queue_manager::WhyNot;
use routing::rejection::Rejection;
use routing::view::Presence;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, AgentMessage};
use super::conversation::{Conversation, ConversationMessage};
use super::fan_out::{FanOut, Gathering};
use super::feed::{EventBatch, EventFeed, Fed};
use super::mailbox::{Mailbox, Posted};
use super::measure::{ActorFigures, Measures};
use super::queue_manager::{QueueManager, QueueManagerMessage};
use crate::calls::{Followed, ListenCall, ListenReply, Listeners, TypingFrame, WirePushKind, WirePushRef};
use crate::directory::SharedDirectory;
use crate::limits::LISTENER_SILENCE;
use crate::query::WaitingPlace;
use crate::shard_host::SharedState;

/// Name in metrics.
pub const ACTOR_TYPE: &str = "supervisor";
/// Restarts of children within [`RESTART_WINDOW`] before the shard is handed over.
const RESTARTS_MAX: usize = 10;
/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Past [`RESTARTS_MAX`], and after a child that did not even start, so long goes by before the next start.
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// Between looks for silent nodes.
const TICK: Duration = Duration::from_millis(500);
/// Conversations per tenant that one sample of the invariants looks at.
const INVARIANT_ROWS: usize = 64;

/// What a shard's actors need while this node leads it.
pub struct Reign {
    /// The cluster.
    pub shards: Shards,
    /// Which shard.
    pub shard: ShardId,
    /// In which term.
    pub term: u64,
    /// Its state.
    pub state: SharedState,
    /// Its events.
    pub feed: EventFeed,
    /// Pushes to listening nodes.
    pub fan_out: FanOut,
    /// Cancelled when leadership is lost.
    pub ended: CancellationToken,
    directory: SharedDirectory,
}

impl Reign {
    /// Proposes one command.
    pub async fn try_propose(
        &self,
        tenant: TenantId,
        lane: Lane,
        command: &Command,
        deadline: Duration,
    ) -> Result<Result<Receipt, Rejection>, ProposeError> {
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant,
            key: None,
            command: command.clone(),
        };
        let proposed = self
            .shards
            .propose(self.shard, tenant.0 as u64, lane, codec::encode(&envelope), deadline)
            .await?;
        codec::decode(&proposed.reply, cluster::limits::FRAME_MAX_BYTES).map_err(|_| ProposeError::OutcomeUnknown)
    }

    /// Proposes a command that an actor's knowledge calls for, until it is applied or refused or the reign ends.
    pub fn propose(self: &Arc<Self>, tenant: TenantId, command: Command) {
        let reign = self.clone();
        tokio::spawn(async move {
            while !reign.ended.is_cancelled() {
                match reign
                    .try_propose(tenant, Lane::Decision, &command, Duration::from_secs(5))
                    .await
                {
                    Ok(Ok(_)) => return,
                    Ok(Err(why)) => {
                        tracing::debug!(shard = %reign.shard, code = why.code(), "an actor's command was refused");
                        return;
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
    }

    /// The tenant's name, for labels.
    pub fn tenant_name(&self, tenant: TenantId) -> String {
        let directory = self.directory.read();
        directory
            .tenants
            .get(&tenant)
            .map_or_else(|| tenant.to_string(), |place| place.name.clone())
    }
}

/// Messages of the actor.
pub enum SupervisorMessage {
    /// Leadership changed.
    Leadership(Leadership),
    /// Events, or a reason to start again.
    Fed(Fed),
    /// What a node listens to.
    Listen(NodeId, ListenCall, oneshot::Sender<ListenReply>),
    /// Somebody types.
    Typing(TypingFrame),
    /// Nobody listens to a conversation and its actor drives nothing.
    ConversationIdle(TenantId, ConversationId),
    /// An agent has no connection.
    AgentIdle(TenantId, AgentId),
    /// R39.
    Why(
        TenantId,
        ConversationId,
        Option<AgentId>,
        oneshot::Sender<Option<WhyNot>>,
    ),
    /// R35.
    Waiting(TenantId, ConversationId, oneshot::Sender<Option<WaitingPlace>>),
    /// Look for silent nodes.
    Tick,
}

/// What the supervisor is made of.
#[derive(Clone)]
pub struct ShardSupervisor {
    /// The cluster.
    pub shards: Shards,
    /// Which shard.
    pub shard: ShardId,
    /// Its state.
    pub state: SharedState,
    /// Its events.
    pub feed: EventFeed,
    /// Names of tenants.
    pub directory: SharedDirectory,
    /// Figures of all shards together.
    pub figures: ActorFigures,
}

/// A child that can be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    QueueManager(TenantId),
    Followed(TenantId, Followed),
}

struct ListeningNode {
    incarnation: u64,
    heard_at: Instant,
    /// Something told by it, or for it, was lost: it must tell all again.
    stale: bool,
    counts: HashMap<(TenantId, Followed), Listeners>,
}

/// The children of one reign.
struct Court {
    reign: Arc<Reign>,
    queue_managers: BTreeMap<TenantId, Mailbox<QueueManagerMessage>>,
    conversations: HashMap<(TenantId, ConversationId), Mailbox<ConversationMessage>>,
    /// Of conversations with an actor: see [`Conversation`].
    customers_seen: HashMap<(TenantId, ConversationId), Arc<AtomicBool>>,
    agents: HashMap<(TenantId, AgentId), Mailbox<AgentMessage>>,
    children: HashMap<ActorId, Child>,
    nodes: BTreeMap<NodeId, ListeningNode>,
    /// Which of the nodes listen to what.
    listening: HashMap<(TenantId, Followed), Vec<NodeId>>,
    measures: Measures,
}

impl Drop for Court {
    /// Also when the supervisor fails: nobody must go on for a reign that has ended.
    fn drop(&mut self) {
        self.reign.feed.close();
        self.reign.ended.cancel();
        let cells = (self.queue_managers.values().map(|m| m.actor().get_cell()))
            .chain(self.conversations.values().map(|m| m.actor().get_cell()))
            .chain(self.agents.values().map(|m| m.actor().get_cell()));
        cells.for_each(|cell| cell.stop(None));
    }
}

/// State of the actor.
pub struct Supervising {
    myself: Mailbox<SupervisorMessage>,
    court: Option<Court>,
    restarts: Restarts,
}

/// Failures within [`RESTART_WINDOW`].
#[derive(Default)]
struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Notes a failure; false as long as there were too many of them.
    fn may_restart(&mut self) -> bool {
        let now = Instant::now();
        self.0.retain(|at| now.duration_since(*at) < RESTART_WINDOW);
        self.0.push_back(now);
        self.0.len() <= RESTARTS_MAX
    }
}

impl ShardSupervisor {
    /// Runs the supervisor, the watch of leadership and the pump of events, as long as the node lives; `started` gets each
    /// way in. A supervisor that fails takes its children with it and is started again, from the state; when it fails
    /// again and again, another node shall lead.
    pub async fn run(self, started: impl Fn(Mailbox<SupervisorMessage>)) {
        let mut restarts = Restarts::default();
        loop {
            match Actor::spawn(None, self.clone(), ()).await {
                Ok((actor, ended)) => {
                    let mailbox = Mailbox::new(actor, ACTOR_TYPE);
                    started(mailbox.clone());
                    let pumps = [
                        tokio::spawn(pump_events(self.feed.clone(), mailbox.clone())),
                        tokio::spawn(pump_leadership(self.shards.clone(), self.shard, mailbox)),
                    ];
                    // How it ended the actor has told.
                    let _ = ended.await;
                    pumps.iter().for_each(JoinHandle::abort);
                }
                Err(error) => tracing::error!(shard = %self.shard, %error, "the supervisor of a shard did not start"),
            }
            tracing::error!(shard = %self.shard, "the supervisor of a shard failed: it starts again, from the state");
            crate::metrics::actor_restart(ACTOR_TYPE, "failed");
            if !restarts.may_restart() {
                tracing::error!(shard = %self.shard, "the supervisor fails again and again: another node shall lead");
                self.hand_over();
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        }
    }

    async fn leadership(&self, now: Leadership, state: &mut Supervising) {
        let reigns = state.court.as_ref().map(|court| court.reign.term);
        match (now.ready, reigns) {
            (true, Some(term)) if term == now.term => {}
            (true, _) => {
                self.end_reign(state);
                self.begin_reign(now.term, state).await;
            }
            (false, Some(_)) => self.end_reign(state),
            (false, None) => {}
        }
    }

    async fn begin_reign(&self, term: u64, state: &mut Supervising) {
        tracing::info!(shard = %self.shard, term, "leading: actors start");
        self.feed.open();
        let reign = Arc::new(Reign {
            shards: self.shards.clone(),
            shard: self.shard,
            term,
            state: self.state.clone(),
            feed: self.feed.clone(),
            fan_out: FanOut::new(self.shards.clone(), self.shard, term),
            ended: CancellationToken::new(),
            directory: self.directory.clone(),
        });
        let (tenants, signed_in, measures) = {
            let shared = self.state.read();
            let tenants: Vec<TenantId> = shared.tenants().map(|(id, _)| id).collect();
            let signed_in: Vec<(TenantId, AgentId)> = shared
                .tenants()
                .flat_map(|(id, tenant)| {
                    tenant
                        .agents()
                        .filter(|a| a.presence != Presence::Offline)
                        .map(move |a| (id, a.agent))
                })
                .collect();
            (tenants, signed_in, Measures::of(&shared))
        };
        super::calendar_keeper::keep(reign.clone());
        state.court = Some(Court {
            reign,
            queue_managers: BTreeMap::new(),
            conversations: HashMap::new(),
            customers_seen: HashMap::new(),
            agents: HashMap::new(),
            children: HashMap::new(),
            nodes: BTreeMap::new(),
            listening: HashMap::new(),
            measures,
        });
        for tenant in tenants {
            self.start_queue_manager(tenant, state).await;
        }
        for (tenant, agent) in signed_in {
            self.start_followed(tenant, Followed::Agent(agent), state).await;
        }
    }

    fn end_reign(&self, state: &mut Supervising) {
        let Some(court) = state.court.take() else { return };
        tracing::info!(shard = %self.shard, term = court.reign.term, "no longer leading: actors stop");
        drop(court);
        self.report(None);
    }

    async fn start_queue_manager(&self, tenant: TenantId, state: &mut Supervising) {
        let supervisor = state.myself.actor().get_cell();
        let Some(court) = &mut state.court else { return };
        match Actor::spawn_linked(None, QueueManager::new(court.reign.clone(), tenant), (), supervisor).await {
            Ok((actor, _)) => {
                court.children.insert(actor.get_id(), Child::QueueManager(tenant));
                court
                    .queue_managers
                    .insert(tenant, Mailbox::new(actor, super::queue_manager::ACTOR_TYPE));
            }
            Err(error) => {
                tracing::error!(shard = %self.shard, %error, "a queue manager did not start");
                self.start_again_later(&state.myself);
            }
        }
    }

    /// Starts the actor of something followed, and tells it who listens.
    async fn start_followed(&self, tenant: TenantId, followed: Followed, state: &mut Supervising) {
        let (supervisor, myself) = (state.myself.actor().get_cell(), state.myself.clone());
        let Some(court) = &mut state.court else { return };
        let reign = court.reign.clone();
        let started = match followed {
            Followed::Conversation(id) => {
                let seen = court.customers_seen.entry((tenant, id)).or_default().clone();
                Actor::spawn_linked(None, Conversation::new(reign, tenant, id, myself, seen), (), supervisor)
                    .await
                    .map(|(actor, _)| {
                        court.children.insert(actor.get_id(), Child::Followed(tenant, followed));
                        court
                            .conversations
                            .insert((tenant, id), Mailbox::new(actor, super::conversation::ACTOR_TYPE));
                    })
            }
            Followed::Agent(id) => Actor::spawn_linked(None, Agent::new(reign, tenant, id, myself), (), supervisor)
                .await
                .map(|(actor, _)| {
                    court.children.insert(actor.get_id(), Child::Followed(tenant, followed));
                    court
                        .agents
                        .insert((tenant, id), Mailbox::new(actor, super::agent::ACTOR_TYPE));
                }),
        };
        if let Err(error) = started {
            tracing::error!(shard = %self.shard, %error, "an actor did not start");
            self.start_again_later(&state.myself);
        }
        let listeners: Vec<_> = court
            .nodes
            .iter()
            .filter_map(|(node, listening)| Some((*node, *listening.counts.get(&(tenant, followed))?)))
            .collect();
        for (node, listeners) in listeners {
            court.tell_listeners(tenant, followed, node, listeners);
        }
    }

    async fn fed(&self, fed: Fed, state: &mut Supervising) {
        match fed {
            Fed::StartAgain => {
                let Some(term) = state.court.as_ref().map(|court| court.reign.term) else {
                    return;
                };
                tracing::warn!(shard = %self.shard, "events were lost between the state and its actors: starting again");
                self.end_reign(state);
                self.begin_reign(term, state).await;
            }
            Fed::Batches(batches) => {
                if let Some(court) = &state.court {
                    // All that there is goes out together.
                    let mut gathering = court.reign.fan_out.gather();
                    for event in batches.iter().flat_map(|batch| &batch.events) {
                        court.push(event, &mut gathering);
                    }
                }
                for batch in batches {
                    self.batch(batch, state).await;
                }
            }
        }
    }

    async fn batch(&self, batch: Arc<EventBatch>, state: &mut Supervising) {
        let Some(court) = &mut state.court else { return };
        let mut tenants: Vec<TenantId> = batch.events.iter().map(|e| e.tenant).chain(batch.mark).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let mut lost = false;
        let mut unknown = Vec::new();
        for tenant in tenants {
            match court.queue_managers.get(&tenant) {
                Some(manager) => lost |= manager.post(QueueManagerMessage::Events(batch.clone())).is_err(),
                None => unknown.push(tenant),
            }
        }
        for event in &batch.events {
            court.measures.count(event, || court.reign.tenant_name(event.tenant));
        }
        for tenant in unknown {
            self.start_queue_manager(tenant, state).await;
        }
        if lost {
            // A queue manager that missed an event must not go on: it begins again from the state.
            Box::pin(self.fed(Fed::StartAgain, state)).await;
        }
    }

    async fn listen(&self, node: NodeId, call: ListenCall, state: &mut Supervising) -> ListenReply {
        let Some(court) = &mut state.court else {
            return ListenReply::NotLeader;
        };
        if call.reset {
            court.forget(node);
            court.nodes.insert(
                node,
                ListeningNode {
                    incarnation: call.incarnation,
                    heard_at: Instant::now(),
                    stale: false,
                    counts: HashMap::new(),
                },
            );
        }
        let (sent, lost) = court.reign.fan_out.sent_to(node);
        let term = court.reign.term;
        match court.nodes.get_mut(&node) {
            Some(listening)
                if listening.incarnation == call.incarnation && !listening.stale && (!lost || call.reset) =>
            {
                listening.heard_at = Instant::now();
            }
            _ => return ListenReply::Unknown,
        }
        for (tenant, followed, listeners) in call.changes {
            self.changed(node, tenant, followed, listeners, state).await;
        }
        ListenReply::Noted { term, sent }
    }

    async fn changed(
        &self,
        node: NodeId,
        tenant: TenantId,
        followed: Followed,
        listeners: Listeners,
        state: &mut Supervising,
    ) {
        let Some(court) = &mut state.court else { return };
        let Some(listening) = court.nodes.get_mut(&node) else {
            return;
        };
        let listens = !listeners.none();
        let listened = if listens {
            listening.counts.insert((tenant, followed), listeners)
        } else {
            listening.counts.remove(&(tenant, followed))
        };
        if listened.is_some() != listens {
            court.note_listening(tenant, followed, node, listens);
        }
        if court.has_actor(tenant, followed) {
            court.tell_listeners(tenant, followed, node, listeners);
        } else if !listeners.none() {
            self.start_followed(tenant, followed, state).await;
        }
    }

    fn tick(&self, state: &mut Supervising) {
        let Some(court) = &mut state.court else { return };
        let silent: Vec<NodeId> = court
            .nodes
            .iter()
            .filter(|(_, listening)| listening.heard_at.elapsed() > LISTENER_SILENCE)
            .map(|(node, _)| *node)
            .collect();
        for node in silent {
            tracing::info!(shard = %self.shard, %node, "a listening node is silent: its connections count as gone");
            court.forget(node);
        }
        self.report(state.court.as_ref());
        self.sample_invariants();
    }

    /// What the tests check after every command, a running leader checks on a few rows now and then.
    fn sample_invariants(&self) {
        let from = ConversationId(rand::random());
        if let Err(violation) = invariants::check_some(&self.state.read(), from, INVARIANT_ROWS) {
            tracing::error!(shard = %self.shard, %violation, "an invariant does not hold");
            crate::metrics::invariant_violation(violation.letter);
        }
    }

    fn report(&self, court: Option<&Court>) {
        let count = |n: Option<usize>| n.unwrap_or(0);
        let managers = court.map(|c| {
            (
                c.queue_managers.len(),
                c.queue_managers.values().map(Mailbox::depth).sum(),
            )
        });
        let conversations = court.map(|c| {
            (
                c.conversations.len(),
                c.conversations.values().map(Mailbox::depth).sum(),
            )
        });
        let agents = court.map(|c| (c.agents.len(), c.agents.values().map(Mailbox::depth).sum()));
        for (actor_type, figures) in [
            (super::queue_manager::ACTOR_TYPE, managers),
            (super::conversation::ACTOR_TYPE, conversations),
            (super::agent::ACTOR_TYPE, agents),
        ] {
            self.figures.report(
                self.shard,
                actor_type,
                count(figures.map(|f| f.0)),
                count(figures.map(|f| f.1)),
            );
        }
    }

    async fn child_failed(&self, cell: &ActorCell, error: &ActorProcessingErr, state: &mut Supervising) {
        let Some(court) = &mut state.court else { return };
        // One of a reign before counts as well: what fails at every start must not be started without end.
        let child = court.children.remove(&cell.get_id());
        let actor_type = match child {
            Some(Child::QueueManager(_)) => super::queue_manager::ACTOR_TYPE,
            Some(Child::Followed(_, Followed::Conversation(_))) => super::conversation::ACTOR_TYPE,
            Some(Child::Followed(_, Followed::Agent(_))) => super::agent::ACTOR_TYPE,
            None => "former",
        };
        tracing::error!(shard = %self.shard, actor_type, %error, "an actor failed");
        crate::metrics::actor_restart(actor_type, "failed");
        if !state.restarts.may_restart() {
            tracing::error!(shard = %self.shard, "actors fail again and again: another node shall lead");
            self.hand_over();
            // In case that nobody takes over.
            self.start_again_later(&state.myself);
            return;
        }
        match child {
            Some(Child::QueueManager(tenant)) => self.start_queue_manager(tenant, state).await,
            Some(Child::Followed(tenant, followed)) => {
                court.forget_actor(tenant, followed);
                self.start_followed(tenant, followed, state).await;
            }
            None => {}
        }
    }

    /// Begins the reign anew after a pause, if it still lasts.
    fn start_again_later(&self, myself: &Mailbox<SupervisorMessage>) {
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTART_PAUSE).await;
            post_when_room(&myself, SupervisorMessage::Fed(Fed::StartAgain)).await;
        });
    }

    fn hand_over(&self) {
        let (shards, shard) = (self.shards.clone(), self.shard);
        tokio::spawn(async move {
            let status = shards.status();
            let others = status
                .shards
                .iter()
                .find(|s| s.shard == shard)
                .map(|s| s.voters.clone())
                .unwrap_or_default();
            if let Some(to) = others.into_iter().find(|n| *n != shards.node())
                && let Err(error) = shards.transfer_leader(shard, to).await
            {
                tracing::warn!(%shard, %error, "leadership was not handed over");
            }
        });
    }
}

impl Court {
    fn has_actor(&self, tenant: TenantId, followed: Followed) -> bool {
        match followed {
            Followed::Conversation(id) => self.conversations.contains_key(&(tenant, id)),
            Followed::Agent(id) => self.agents.contains_key(&(tenant, id)),
        }
    }

    /// The actor is not needed any more.
    fn remove_actor(&mut self, tenant: TenantId, followed: Followed) {
        if let Followed::Conversation(id) = followed {
            self.customers_seen.remove(&(tenant, id));
        }
        self.forget_actor(tenant, followed);
    }

    fn forget_actor(&mut self, tenant: TenantId, followed: Followed) {
        let cell = match followed {
            Followed::Conversation(id) => self.conversations.remove(&(tenant, id)).map(|m| m.actor().get_cell()),
            Followed::Agent(id) => self.agents.remove(&(tenant, id)).map(|m| m.actor().get_cell()),
        };
        if let Some(cell) = cell {
            self.children.remove(&cell.get_id());
            cell.stop(None);
        }
    }

    /// A full mailbox loses the count; the node's next full report mends it, so it is asked for.
    fn tell_listeners(&mut self, tenant: TenantId, followed: Followed, node: NodeId, listeners: Listeners) {
        let told = match followed {
            Followed::Conversation(id) => self
                .conversations
                .get(&(tenant, id))
                .map(|m| m.post(ConversationMessage::Listeners(node, listeners))),
            Followed::Agent(id) => self
                .agents
                .get(&(tenant, id))
                .map(|m| m.post(AgentMessage::Connections(node, listeners.staff))),
        };
        if matches!(told, Some(Err(_)))
            && let Some(listening) = self.nodes.get_mut(&node)
        {
            listening.stale = true;
        }
    }

    /// A node's sockets are gone, or will be told again.
    fn forget(&mut self, node: NodeId) {
        let Some(listening) = self.nodes.remove(&node) else {
            return;
        };
        for (tenant, followed) in listening.counts.into_keys() {
            self.note_listening(tenant, followed, node, false);
            self.tell_listeners(tenant, followed, node, Listeners::default());
        }
    }

    fn listened_to(&self, tenant: TenantId, followed: Followed) -> bool {
        self.listening.contains_key(&(tenant, followed))
    }

    fn note_listening(&mut self, tenant: TenantId, followed: Followed, node: NodeId, listens: bool) {
        let nodes = self.listening.entry((tenant, followed)).or_default();
        nodes.retain(|other| *other != node);
        if listens {
            nodes.push(node);
        } else if nodes.is_empty() {
            self.listening.remove(&(tenant, followed));
        }
    }

    /// Gives what the log recorded to the nodes that listen to it.
    fn push(&self, TenantEvent { tenant, event }: &TenantEvent, gathering: &mut Gathering<'_>) {
        let what = match event {
            Event::Entry(entry) => WirePushKind::Entry(entry),
            Event::Conversation(view) => WirePushKind::Conversation(view.as_ref()),
            Event::Read {
                conversation,
                reader,
                seq,
            } => WirePushKind::Read(*conversation, *reader, *seq),
            Event::Agent(item) => WirePushKind::AgentItem(item),
            _ => return,
        };
        if let Some(nodes) = self.listening.get(&(*tenant, what.followed())) {
            let tenant = *tenant;
            gathering.push(nodes.iter().copied(), &WirePushRef { tenant, what });
        }
    }
}

async fn pump_events(feed: EventFeed, to: Mailbox<SupervisorMessage>) {
    loop {
        let fed = feed.take().await;
        post_when_room(&to, SupervisorMessage::Fed(fed)).await;
    }
}

async fn pump_leadership(shards: Shards, shard: ShardId, to: Mailbox<SupervisorMessage>) {
    let mut leadership = loop {
        match shards.leadership(shard) {
            Some(leadership) => break leadership,
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    loop {
        let now = *leadership.borrow_and_update();
        post_when_room(&to, SupervisorMessage::Leadership(now)).await;
        if leadership.changed().await.is_err() {
            post_when_room(&to, SupervisorMessage::Leadership(Leadership::default())).await;
            return;
        }
    }
}

async fn post_when_room(to: &Mailbox<SupervisorMessage>, message: SupervisorMessage) {
    while to.depth() >= crate::limits::MAILBOX_MAX / 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // To one that failed there is nothing to say: its successor begins from the state.
    let _ = to.post(message);
}

impl Actor for ShardSupervisor {
    type Msg = Posted<SupervisorMessage>;
    type State = Supervising;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, (): ()) -> Result<Supervising, ActorProcessingErr> {
        let mailbox = Mailbox::new(myself, ACTOR_TYPE);
        let tick = mailbox.clone();
        tokio::spawn(async move {
            while tick.post(SupervisorMessage::Tick) != Err(super::mailbox::NotPosted::Ended) {
                tokio::time::sleep(TICK).await;
            }
        });
        Ok(Supervising {
            myself: mailbox,
            court: None,
            restarts: Restarts::default(),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        fail::fail_point!("actors::supervisor");
        match message.open(ACTOR_TYPE) {
            SupervisorMessage::Leadership(now) => self.leadership(now, state).await,
            SupervisorMessage::Fed(fed) => self.fed(fed, state).await,
            SupervisorMessage::Listen(node, call, reply) => {
                let answer = self.listen(node, call, state).await;
                // A node that stopped waiting asks again.
                let _ = reply.send(answer);
            }
            SupervisorMessage::Typing(frame) => {
                if let Some(actor) = state
                    .court
                    .as_ref()
                    .and_then(|c| c.conversations.get(&(frame.tenant, frame.conversation)))
                {
                    // Typing may be lost.
                    let _ = actor.post(ConversationMessage::Typing(frame.who, frame.typing));
                }
            }
            SupervisorMessage::ConversationIdle(tenant, id) => {
                if let Some(court) = &mut state.court
                    && !court.listened_to(tenant, Followed::Conversation(id))
                {
                    court.remove_actor(tenant, Followed::Conversation(id));
                }
            }
            SupervisorMessage::AgentIdle(tenant, id) => {
                if let Some(court) = &mut state.court
                    && !court.listened_to(tenant, Followed::Agent(id))
                {
                    court.remove_actor(tenant, Followed::Agent(id));
                }
            }
            SupervisorMessage::Why(tenant, conversation, agent, reply) => {
                if let Some(manager) = state.court.as_ref().and_then(|c| c.queue_managers.get(&tenant)) {
                    // A full mailbox drops the reply, and the asker hears of it.
                    let _ = manager.post(QueueManagerMessage::Why(conversation, agent, reply));
                }
            }
            SupervisorMessage::Waiting(tenant, conversation, reply) => {
                if let Some(manager) = state.court.as_ref().and_then(|c| c.queue_managers.get(&tenant)) {
                    // A full mailbox drops the reply, and the asker hears of it.
                    let _ = manager.post(QueueManagerMessage::Waiting(conversation, reply));
                }
            }
            SupervisorMessage::Tick => self.tick(state),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Supervising,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, error) => self.child_failed(&cell, &error, state).await,
            SupervisionEvent::ActorTerminated(cell, _, _) => {
                if let Some(court) = &mut state.court {
                    court.children.remove(&cell.get_id());
                }
            }
            _ => {}
        }
        Ok(())
    }
}
