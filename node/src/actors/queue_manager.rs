//! The queue manager of one tenant: drives [`routing::queue_manager::QueueManager`] and proposes what it decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use cluster::error::ProposeError;
use cluster::shards::Lane;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use routing::command::Command;
use routing::ids::{AgentId, ConversationId, QueueId, TenantId};
use routing::queue_manager::{Decision, DecisionId, QueueManager as Decider, Settled, WhyNot};
use routing::rejection::Rejection;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::feed::EventBatch;
use super::mailbox::{Mailbox, Posted};
use super::supervisor::Reign;
use crate::limits::DECISIONS_IN_FLIGHT;
use crate::query::WaitingPlace;

/// Name in metrics.
pub const ACTOR_TYPE: &str = "queue_manager";

/// How long a decision may take before its outcome counts as unknown.
const DECISION_DEADLINE: Duration = Duration::from_secs(5);
/// How long the read barrier may take that tells what became of an unknown decision, before it is tried again.
const BARRIER_DEADLINE: Duration = Duration::from_secs(2);
/// Between two reports of the queues' figures.
const FIGURES_EVERY: Duration = Duration::from_secs(2);
/// Every so many of them, the KPIs are reported too: they take a look at every conversation.
const KPIS_EVERY: u32 = 5;

/// Messages of the actor.
#[derive(Debug)]
pub enum QueueManagerMessage {
    /// What the log recorded.
    Events(Arc<EventBatch>),
    /// What became of a decision.
    Settled(DecisionId, Settled),
    /// A deadline has come.
    Wake,
    /// Report the figures.
    Figures,
    /// R39.
    Why(ConversationId, Option<AgentId>, oneshot::Sender<Option<WhyNot>>),
    /// R35.
    Waiting(ConversationId, oneshot::Sender<Option<WaitingPlace>>),
}

/// The actor of one tenant's queue manager.
pub struct QueueManager {
    reign: Arc<Reign>,
    tenant: TenantId,
}

/// State of the actor.
pub struct Deciding {
    decider: Decider,
    started_at_index: u64,
    in_flight: usize,
    /// Decisions whose outcome is unknown and for which no barrier has begun yet.
    unknown: Vec<DecisionId>,
    barrier_runs: bool,
    wake: Option<(u64, JoinHandle<()>)>,
    figures: JoinHandle<()>,
    /// Tenant's name and queues' names as last reported.
    reported: (String, BTreeMap<QueueId, String>),
    /// Reports so far.
    reports: u32,
}

impl Drop for Deciding {
    fn drop(&mut self) {
        self.figures.abort();
        if let Some((_, wake)) = &self.wake {
            wake.abort();
        }
        let (tenant, queues) = &self.reported;
        for queue in queues.values() {
            super::measure::report_queue_gone(tenant, queue);
        }
        super::measure::report_kpis_gone(tenant, queues.values().map(String::as_str));
    }
}

impl QueueManager {
    /// The actor of one tenant under a reign.
    pub fn new(reign: Arc<Reign>, tenant: TenantId) -> Self {
        Self { reign, tenant }
    }

    /// Proposes what should be proposed now, and sleeps until the next deadline.
    fn pump(&self, myself: &ActorRef<Posted<QueueManagerMessage>>, state: &mut Deciding) {
        let now_ms = self.reign.shards.now_ms(self.reign.shard);
        let room = DECISIONS_IN_FLIGHT.saturating_sub(state.in_flight);
        if room > 0 {
            let began = Instant::now();
            let decisions = state.decider.decide(now_ms, room);
            if !decisions.is_empty() {
                crate::metrics::assign_duration("queue", began.elapsed() / decisions.len() as u32);
            }
            for decision in decisions {
                state.in_flight += 1;
                self.propose(decision, myself);
            }
        }
        self.sleep_until_next(now_ms, myself, state);
    }

    fn propose(&self, decision: Decision, myself: &ActorRef<Posted<QueueManagerMessage>>) {
        let (reign, tenant, myself) = (self.reign.clone(), self.tenant, myself.clone());
        let mut settling = Box::pin(async move {
            let kind = match &decision.command {
                Command::Offer { .. } | Command::OfferToMany { .. } => "offer",
                Command::ShareRing { .. } => "sharing",
                _ => "timer",
            };
            let settled = match reign
                .try_propose(tenant, Lane::Decision, &decision.command, DECISION_DEADLINE)
                .await
            {
                Ok(Ok(_)) => Settled::Applied,
                Ok(Err(rejection)) => Settled::Rejected(rejection),
                Err(ProposeError::OutcomeUnknown) => Settled::Unknown,
                Err(_) => {
                    // Certainly not proposed; a moment, so that a shard without a leader is not hammered.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Settled::NotProposed
                }
            };
            if let Settled::Rejected(why) = &settled
                && matches!(why, Rejection::TooLarge { .. } | Rejection::Invalid { .. })
            {
                // Others are races that were lost; this one would be lost for ever.
                tracing::error!(%tenant, kind, code = why.code(), error = %why, "a decision is malformed: a fault of this program");
            }
            crate::metrics::assign_decision(
                kind,
                match &settled {
                    Settled::Applied => "applied",
                    Settled::Rejected(_) => "rejected",
                    Settled::NotProposed => "not_proposed",
                    Settled::Unknown => "unknown",
                },
            );
            // Settlements are as many as decisions in flight, which are bounded: they go in past the mailbox's count.
            let _ = Mailbox::new(myself, ACTOR_TYPE).post(QueueManagerMessage::Settled(decision.id, settled));
        });
        // A first look here, so that decisions stand before the proposer in their order: tasks would overtake each other.
        let mut nobody_wakes = Context::from_waker(Waker::noop());
        if settling.as_mut().poll(&mut nobody_wakes).is_pending() {
            tokio::spawn(settling);
        }
    }

    fn settled(&self, id: DecisionId, settled: Settled, state: &mut Deciding) {
        state.in_flight = state.in_flight.saturating_sub(1);
        if settled == Settled::Unknown {
            state.unknown.push(id);
            self.begin_barrier(state);
        } else {
            state.decider.settle(id, settled);
        }
    }

    /// A read barrier tells what became of unknown decisions; its mark comes back through the feed, behind every event.
    fn begin_barrier(&self, state: &mut Deciding) {
        if state.barrier_runs || state.unknown.is_empty() {
            return;
        }
        state.barrier_runs = true;
        for id in state.unknown.drain(..) {
            state.decider.settle(id, Settled::Unknown);
        }
        let (reign, tenant) = (self.reign.clone(), self.tenant);
        tokio::spawn(async move {
            while !reign.ended.is_cancelled() {
                if reign.shards.read_barrier(reign.shard, BARRIER_DEADLINE).await.is_ok() {
                    reign.feed.mark(tenant);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }

    fn events(&self, batch: &EventBatch, state: &mut Deciding) {
        if batch.mark == Some(self.tenant) {
            state.decider.barrier_passed();
            state.barrier_runs = false;
            self.begin_barrier(state);
        }
        if batch.index > state.started_at_index {
            for event in batch.events.iter().filter(|e| e.tenant == self.tenant) {
                state.decider.observe(batch.index, &event.event);
            }
        }
    }

    fn sleep_until_next(&self, now_ms: u64, myself: &ActorRef<Posted<QueueManagerMessage>>, state: &mut Deciding) {
        let next = state.decider.next_wakeup();
        if let Some((at_ms, task)) = &state.wake {
            if Some(*at_ms) == next && !task.is_finished() {
                return;
            }
            task.abort();
            state.wake = None;
        }
        let Some(at_ms) = next else { return };
        let wait = Duration::from_millis(at_ms.saturating_sub(now_ms).max(1));
        let mailbox = Mailbox::new(myself.clone(), ACTOR_TYPE);
        let task = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = mailbox.post(QueueManagerMessage::Wake);
        });
        state.wake = Some((at_ms, task));
    }

    fn report(&self, state: &mut Deciding) {
        let now_ms = self.reign.shards.now_ms(self.reign.shard);
        let with_kpis = state.reports.is_multiple_of(KPIS_EVERY);
        state.reports = state.reports.wrapping_add(1);
        let (names, kpis): (BTreeMap<QueueId, String>, _) = {
            let shared = self.reign.state.read();
            let Some(tenant) = shared.tenant(self.tenant) else {
                return;
            };
            let names = tenant.queues().map(|queue| (queue.queue, queue.settings.name.clone()));
            let kpis = with_kpis.then(|| crate::reports::live(tenant, now_ms.max(shared.at_ms())));
            (names.collect(), kpis)
        };
        let tenant = self.reign.tenant_name(self.tenant);
        if let Some(kpis) = &kpis {
            super::measure::report_kpis(&tenant, kpis);
        }
        for figures in state.decider.queue_figures() {
            if let Some(name) = names.get(&figures.queue) {
                super::measure::report_queue(&tenant, name, &figures, now_ms);
            }
        }
        state.reported = (tenant, names);
    }
}

/// R35: where a waiting conversation stands.
fn place(decider: &Decider, conversation: ConversationId) -> Option<WaitingPlace> {
    Some(WaitingPlace {
        position: decider.position(conversation)?,
        estimate: decider.estimate(conversation),
    })
}

impl Actor for QueueManager {
    type Msg = Posted<QueueManagerMessage>;
    type State = Deciding;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, (): ()) -> Result<Deciding, ActorProcessingErr> {
        let (started_at_index, decider) = {
            // Both under the lock: every later event is still to come.
            let shared = self.reign.state.read();
            let index = self.reign.feed.last_index();
            let views = shared.tenant(self.tenant).map(|t| t.views()).unwrap_or_default();
            (index, Decider::starting_at(index, views))
        };
        let mailbox = Mailbox::new(myself.clone(), ACTOR_TYPE);
        let figures = tokio::spawn(async move {
            loop {
                let _ = mailbox.post(QueueManagerMessage::Figures);
                tokio::time::sleep(FIGURES_EVERY).await;
            }
        });
        let mut state = Deciding {
            decider,
            started_at_index,
            in_flight: 0,
            unknown: Vec::new(),
            barrier_runs: false,
            wake: None,
            figures,
            reported: Default::default(),
            reports: 0,
        };
        self.pump(&myself, &mut state);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Deciding,
    ) -> Result<(), ActorProcessingErr> {
        fail::fail_point!("actors::queue_manager");
        match message.open(ACTOR_TYPE) {
            QueueManagerMessage::Events(batch) => self.events(&batch, state),
            QueueManagerMessage::Settled(id, settled) => self.settled(id, settled, state),
            QueueManagerMessage::Wake => state.wake = None,
            QueueManagerMessage::Figures => {
                self.report(state);
                return Ok(());
            }
            QueueManagerMessage::Why(conversation, agent, reply) => {
                // Who asked may have gone.
                let _ = reply.send(state.decider.explain(conversation, agent));
                return Ok(());
            }
            QueueManagerMessage::Waiting(conversation, reply) => {
                let _ = reply.send(place(&state.decider, conversation));
                return Ok(());
            }
        }
        self.pump(&myself, state);
        Ok(())
    }
}
