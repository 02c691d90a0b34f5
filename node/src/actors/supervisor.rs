//! One per shard on every node: starts the shard's actors when leadership comes, stops them when it goes.

mod court;
mod reign;
mod restarts;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::shards::Shards;
use cluster::state_machine::ShardId;
use cluster::status::Leadership;
use cluster::transport::NodeId;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use routing::ids::{AgentId, ConversationId, TenantId};
use routing::invariants;
use routing::queue_manager::WhyNot;
use routing::view::Presence;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::court::{Child, Court, ListeningNode};
pub use self::reign::Reign;
use self::restarts::Restarts;
use super::agent::Agent;
use super::conversation::{Conversation, ConversationMessage};
use super::fan_out::FanOut;
use super::feed::{EventBatch, EventFeed, Fed};
use super::mailbox::{Mailbox, Posted};
use super::measure::{ActorFigures, Measures};
use super::queue_manager::{QueueManager, QueueManagerMessage};
use crate::calls::{Followed, ListenCall, ListenReply, Listeners, TypingFrame};
use crate::directory::SharedDirectory;
use crate::limits::LISTENER_SILENCE;
use crate::query::WaitingPlace;
use crate::shard_host::SharedState;

/// Name in metrics.
pub const ACTOR_TYPE: &str = "supervisor";
/// Between looks for silent nodes.
const TICK: Duration = Duration::from_millis(500);
/// Conversations per tenant that one sample of the invariants looks at.
const INVARIANT_ROWS: usize = 64;

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

/// State of the actor.
pub struct Supervising {
    myself: Mailbox<SupervisorMessage>,
    court: Option<Court>,
    restarts: Restarts,
}

impl ShardSupervisor {
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
        state.court = Some(Court::new(reign, measures));
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
