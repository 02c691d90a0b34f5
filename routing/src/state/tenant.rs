//! A tenant: its rows and what may be asked of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::agent::{Agent, AgentStream, AgentView, StreamGap};
use super::conversation::Conversation;
use super::index::{Index, PhaseCounts};
use super::queue::Queue;
use super::report::Report;
use super::rows::Rows;
use super::window::{Window, WindowKey};
use crate::event::{AgentItem, ConversationView};
use crate::ids::{AgentId, CalendarId, ConversationId, CustomerId, Millis, QueueId, SkillName};
use crate::known_bugs;
use crate::settings::{Calendar, Classification, Policy, PolicyVersion, RoutingSettings, Rule};
use crate::view::{Presence, QueueRates, QueueView, Views};

/// Rules and fallback, replaced together.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Rules {
    pub rules: Vec<Rule>,
    pub fallback: Option<Classification>,
}

/// R34: a calendar, and whether it is open as of its last edge.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct CalendarRow {
    pub given: Calendar,
    /// Index of the last change of its settings.
    pub version: u64,
    pub open: bool,
    /// When it opens or closes next.
    pub edge_ms: Option<Millis>,
}

/// The rows: all that a snapshot holds. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub name: Arc<str>,
    pub conversations: Rows<ConversationId, Conversation>,
    pub agents: Rows<AgentId, Agent>,
    pub streams: Rows<AgentId, AgentStream>,
    pub windows: Rows<WindowKey, Window>,
    pub queues: BTreeMap<QueueId, Arc<Queue>>,
    pub skills: Arc<BTreeMap<SkillName, String>>,
    pub rules: Arc<Rules>,
    pub routing: Arc<RoutingSettings>,
    pub calendars: BTreeMap<CalendarId, Arc<CalendarRow>>,
    /// The last versions of the policy, oldest first; each change, whole or in part, is one.
    pub policies: Arc<Vec<PolicyVersion>>,
    /// KPIs, and what is learned.
    pub report: Report,
    /// Arrivals given so far.
    pub arrivals: u64,
    /// When unused idempotency windows are looked through next.
    pub forget_at_ms: Option<Millis>,
}

impl Kept {
    /// Its rows, shared.
    pub fn as_captured(&self) -> Self {
        let mut kept = self.clone();
        // Known bugs, for the tests of the tests.
        if known_bugs::put_in("routing::windows_lost_in_snapshot") {
            kept.windows = Rows::default();
        }
        if known_bugs::put_in("routing::snapshot_without_side_tables") {
            (kept.calendars, kept.streams) = (BTreeMap::new(), Rows::default());
        }
        if known_bugs::put_in("routing::timers_only_in_memory") {
            for (id, row) in self.conversations.iter() {
                let alarms = Vec::new();
                kept.conversations.put(
                    *id,
                    Arc::new(Conversation {
                        alarms,
                        ..Conversation::clone(row)
                    }),
                );
            }
        }
        kept
    }
}

/// A tenant, with queues, agents and conversations of its own.
#[derive(Debug, Default)]
pub struct Tenant {
    pub(crate) kept: Kept,
    pub(crate) index: Index,
}

impl Tenant {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.kept.name
    }

    /// All that a queue manager starts from; equal to what the events so far fold to.
    pub fn views(&self) -> Views {
        let kept = &self.kept;
        let mut timers: Vec<_> = kept.conversations.iter().flat_map(|(_, row)| row.timers()).collect();
        timers.extend(
            kept.agents
                .iter()
                .filter_map(|(id, agent)| super::presence::lease_timer(*id, agent)),
        );
        timers.extend(super::window::forget_timer(kept.forget_at_ms));
        timers.extend(kept.report.timer());
        timers.extend(kept.calendars.iter().filter_map(|(id, row)| row.timer(*id)));
        timers.sort_unstable();
        Views {
            queues: self.queues().collect(),
            supplies: kept.agents.iter().map(|(id, agent)| agent.supply(*id)).collect(),
            demands: kept.conversations.iter().filter_map(|(_, row)| row.demand()).collect(),
            timers,
            routing: kept.routing.clone(),
            rates: kept
                .queues
                .values()
                .map(|queue| queue.rates)
                .filter(QueueRates::observed)
                .collect(),
            policy_version: self.policy_version(),
        }
    }

    /// One conversation, until it is archived.
    pub fn conversation(&self, id: ConversationId) -> Option<ConversationView> {
        self.kept.conversations.get(&id).map(|row| row.view())
    }

    /// In order of their ids, from the one after `after`.
    pub fn conversations(&self, after: Option<ConversationId>) -> impl Iterator<Item = ConversationView> {
        let rows = &self.kept.conversations;
        let after = after.unwrap_or(ConversationId(0));
        rows.iter_after(after).map(|(_, row)| row.view())
    }

    /// Those of a customer, oldest id first.
    pub fn conversations_of_customer(&self, customer: &CustomerId) -> impl Iterator<Item = ConversationId> {
        let customer = Arc::new(customer.clone());
        let range = (customer.clone(), ConversationId(0))..=(customer, ConversationId(u128::MAX));
        self.index.customers.range(range).map(|(_, id)| *id)
    }

    /// Those that an agent has to do with: offered to them, theirs (assigned, paused, in wrap-up), where they take part or are asked
    /// in, and those that are put off until they return.
    pub fn conversations_of_agent(&self, agent: AgentId) -> impl Iterator<Item = ConversationId> {
        let range = (agent, ConversationId(0))..=(agent, ConversationId(u128::MAX));
        self.index.owners.range(range).map(|(_, id)| *id)
    }

    /// One agent.
    pub fn agent(&self, id: AgentId) -> Option<AgentView> {
        self.kept.agents.get(&id).map(|agent| agent.view(id))
    }

    /// All agents, by id.
    pub fn agents(&self) -> impl Iterator<Item = AgentView> {
        self.kept.agents.iter().map(|(id, agent)| agent.view(*id))
    }

    /// Agents who are available, by id, and whether they have work: for those who look at every step.
    pub fn agents_available(&self) -> impl Iterator<Item = (AgentId, bool)> {
        let available = self.kept.agents.iter();
        let available = available.filter(|(_, agent)| agent.presence == Presence::Available);
        available.map(|(id, agent)| (*id, !agent.load.is_empty()))
    }

    /// The agent of that name.
    pub fn agent_named(&self, name: &str) -> Option<AgentId> {
        self.index.agent_names.get(name).copied()
    }

    /// The items of an agent's own stream after position `after` (0: from the start).
    ///
    /// # Errors
    /// The stream does not reach back so far, or has not come so far; for an agent who is not known, `first` is 1 and `last` 0.
    pub fn agent_stream(&self, agent: AgentId, after: u64) -> Result<Vec<AgentItem>, StreamGap> {
        let Some(row) = self.kept.agents.get(&agent) else {
            return Err(StreamGap { first: 1, last: 0 });
        };
        match self.kept.streams.get(&agent) {
            Some(stream) => stream.after(after, row.agent_seq),
            None => AgentStream::default().after(after, row.agent_seq),
        }
    }

    /// One queue.
    pub fn queue(&self, id: QueueId) -> Option<QueueView> {
        self.kept.queues.get(&id).map(|queue| queue.view(id))
    }

    /// All queues, by id.
    pub fn queues(&self) -> impl Iterator<Item = QueueView> {
        self.kept.queues.iter().map(|(id, queue)| queue.view(*id))
    }

    /// The queue of that name.
    pub fn queue_named(&self, name: &str) -> Option<QueueId> {
        self.index.queue_names.get(name).copied()
    }

    /// Conversations of a queue per phase; waiting and offered make its length.
    pub fn queue_counts(&self, queue: QueueId) -> PhaseCounts {
        self.index.queues.get(&queue).map(|now| now.counts).unwrap_or_default()
    }

    /// Since when the oldest in a queue (waiting or offered) waits.
    pub fn oldest_in_queue(&self, queue: QueueId) -> Option<Millis> {
        let (since_ms, ..) = self.index.queues.get(&queue)?.oldest()?;
        Some(since_ms)
    }

    /// All conversations per phase.
    pub fn counts(&self) -> PhaseCounts {
        self.index.counts
    }

    /// Known skills and what they mean.
    pub fn skills(&self) -> &BTreeMap<SkillName, String> {
        &self.kept.skills
    }

    /// What holds for the whole tenant.
    pub fn routing(&self) -> &RoutingSettings {
        &self.kept.routing
    }

    /// R34: when a calendar opens or closes next, as far as is known.
    pub fn calendar_edge(&self, id: CalendarId) -> Option<Millis> {
        self.kept.calendars.get(&id)?.edge_ms
    }

    /// R34: all calendars, by id: as set, the version, and whether it is open.
    pub fn calendars(&self) -> impl Iterator<Item = (CalendarId, &Calendar, u64, bool)> {
        let rows = self.kept.calendars.iter();
        rows.map(|(id, row)| (*id, &row.given, row.version, row.open))
    }

    /// The last versions of the policy, oldest first.
    pub fn policies(&self) -> &[PolicyVersion] {
        &self.kept.policies
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        super::policy::in_force(&self.kept)
    }

    /// The version of the policy that is in force; 0: none was ever given.
    pub fn policy_version(&self) -> u64 {
        self.kept.policies.last().map_or(0, |last| last.version)
    }

    /// A version of the policy whole, if it is one of [`Tenant::policies`]. Calendars that have changed since have no open hours.
    pub fn policy_of(&self, version: u64) -> Option<Policy> {
        super::policy::of_version(&self.kept, version)
    }

    /// R1: the ordered rules, and what holds when none matches.
    pub fn rules(&self) -> (&[Rule], Option<&Classification>) {
        (&self.kept.rules.rules, self.kept.rules.fallback.as_ref())
    }
}
