//! One conversation's row: the header that the state keeps; bodies are elsewhere, covered by a chained digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::report::Leg;
use crate::command::{Due, Explanation, Reader, Role, Schedule, ScheduleUntil, Timer, Value};
use crate::event::{CloseOutcome, ConversationView, Phase};
use crate::ids::{AgentId, Channel, ConversationId, CustomerId, Epoch, Millis, QueueId, Seq};
use crate::settings::{Requirement, Selector};
use crate::view::Demand;

/// Where in its life, with what only this part of it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Waiting,
    Offered {
        agent: AgentId,
        offered_at_ms: Millis,
        deadline_ms: Millis,
    },
    Assigned {
        agent: AgentId,
        assigned_at_ms: Millis,
    },
    Paused {
        agent: AgentId,
        assigned_at_ms: Millis,
    },
    WrapUp {
        agent: AgentId,
        assigned_at_ms: Millis,
        deadline_ms: Millis,
        extended_ms: u64,
        until_ms: Millis,
    },
    Closed {
        until_ms: Millis,
    },
    /// R33.
    Scheduled,
}

/// A deadline of a conversation; with its id and epoch it is a [`Timer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Alarm {
    OfferDeadline,
    WrapUpEnd,
    Escalation(u8),
    NoReply,
    AbandonHold,
    PreferenceEnd,
    ExclusionEnd,
    Archive,
    Relaxation(u8),
    RingOpens(u8),
    IdlePause,
    SilentAbandon,
    Scheduled,
    InvitationEnd(AgentId),
}

/// What the policy said when an offer was made: it finishes under that, whatever changes meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferTerms {
    pub policy_version: u64,
    pub exclude_ms: u64,
    pub timeouts_until_away: u8,
}

/// What few conversations have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rare {
    /// R31; in order of joining in their present role.
    pub participants: Vec<(AgentId, Role)>,
    /// R31: with the deadline; sorted by agent.
    pub invited: Vec<(AgentId, Role, Millis)>,
    /// R33.
    pub schedule: Option<Schedule>,
    /// R33.
    pub callback: Option<Arc<str>>,
    /// CSAT.
    pub rating: Option<u8>,
    /// R33: was put off, and its time has come.
    pub promised: bool,
}

impl Stage {
    pub fn phase(&self) -> Phase {
        match self {
            Self::Waiting => Phase::Waiting,
            Self::Offered { .. } => Phase::Offered,
            Self::Assigned { .. } => Phase::Assigned,
            Self::Paused { .. } => Phase::Paused,
            Self::WrapUp { .. } => Phase::WrapUp,
            Self::Closed { .. } => Phase::Closed,
            Self::Scheduled => Phase::Scheduled,
        }
    }

    /// Who owns it, or to whom it is offered.
    pub fn agent(&self) -> Option<AgentId> {
        match *self {
            Self::Waiting | Self::Closed { .. } | Self::Scheduled => None,
            Self::Offered { agent, .. }
            | Self::Assigned { agent, .. }
            | Self::Paused { agent, .. }
            | Self::WrapUp { agent, .. } => Some(agent),
        }
    }

    /// Whose capacity it takes.
    pub fn occupies(&self) -> Option<AgentId> {
        match self {
            Self::Paused { .. } => None,
            other => other.agent(),
        }
    }

    /// When its present assignment began.
    pub fn assigned_at_ms(&self) -> Option<Millis> {
        match *self {
            Self::Assigned { assigned_at_ms, .. }
            | Self::Paused { assigned_at_ms, .. }
            | Self::WrapUp { assigned_at_ms, .. } => Some(assigned_at_ms),
            _ => None,
        }
    }

    pub fn deadline_ms(&self) -> Option<Millis> {
        match *self {
            Self::Offered { deadline_ms, .. } | Self::WrapUp { deadline_ms, .. } => Some(deadline_ms),
            _ => None,
        }
    }

    /// Which alarms may run here; entering a stage clears all others.
    pub fn keeps(&self, alarm: Alarm) -> bool {
        use Alarm::*;
        match self {
            Self::Waiting => matches!(
                alarm,
                Escalation(_) | AbandonHold | PreferenceEnd | ExclusionEnd | Relaxation(_) | RingOpens(_)
            ),
            Self::Offered { .. } => matches!(alarm, OfferDeadline | PreferenceEnd | ExclusionEnd),
            Self::Assigned { .. } => matches!(
                alarm,
                NoReply | ExclusionEnd | IdlePause | SilentAbandon | InvitationEnd(_)
            ),
            Self::Paused { .. } => matches!(alarm, ExclusionEnd | InvitationEnd(_)),
            Self::Scheduled => matches!(alarm, Alarm::Scheduled | ExclusionEnd),
            Self::WrapUp { .. } => matches!(alarm, WrapUpEnd),
            Self::Closed { .. } => matches!(alarm, Archive),
        }
    }

    /// Its name in refusals.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered { .. } => "offered",
            Self::Assigned { .. } => "assigned",
            Self::Paused { .. } => "paused",
            Self::WrapUp { .. } => "in wrap-up",
            Self::Closed { .. } => "closed",
            Self::Scheduled => "scheduled",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    pub id: ConversationId,
    pub customer: Arc<CustomerId>,
    pub channel: Arc<Channel>,
    pub queue: Option<QueueId>,
    pub stage: Stage,
    pub epoch: Epoch,
    pub priority: u8,
    pub expedited: bool,
    /// Since when the customer's connections are gone.
    pub left_at_ms: Option<Millis>,
    /// The customer's last word has had no answer yet (R26).
    pub awaiting_reply: bool,
    /// An agent has had it since it started, or was reopened.
    pub answered: bool,
    /// An agent has written.
    pub replied: bool,
    /// Steps of the queue's escalations that have been done during this stay in the queue, as bits.
    pub escalated: u8,
    pub started_at_ms: Millis,
    /// Original age.
    pub since_ms: Millis,
    /// Tie after age.
    pub arrival: u64,
    /// Began to wait for the agent it has or will have.
    pub waiting_since_ms: Millis,
    /// Joined its queue.
    pub queue_since_ms: Millis,
    /// As asked for; `required` and `preferred` are what relaxation (R4) has left of it in this queue.
    pub asked_required: Arc<[Requirement]>,
    pub asked_preferred: Arc<[Requirement]>,
    pub required: Arc<[Requirement]>,
    pub preferred: Arc<[Requirement]>,
    /// R3; sorted.
    pub selectors: Arc<[Selector]>,
    /// R4: steps taken during this stay in the queue, as bits.
    pub relaxed: u8,
    /// R5: rings that have opened during this stay in the queue, as bits.
    pub rings: u8,
    /// R9: to whom it is offered beside the agent of the stage; sorted.
    pub also_offered: Vec<AgentId>,
    pub terms: OfferTerms,
    pub only: Option<AgentId>,
    pub last_agent: Option<AgentId>,
    /// Sorted by agent.
    pub excluded: Vec<(AgentId, Millis)>,
    /// Sorted; at most one of each.
    pub alarms: Vec<(Alarm, Millis)>,
    pub last_seq: Seq,
    pub last_seq_for_customer: Seq,
    /// Chained over every entry, so that the state's hash covers the transcript.
    pub entries_digest: u64,
    pub attributes: Arc<BTreeMap<String, Value>>,
    /// Sorted by reader.
    pub read: Vec<(Reader, Seq)>,
    pub explanation: Option<Arc<Explanation>>,
    pub disposition: Option<Arc<str>>,
    pub rule: Option<Arc<str>>,
    /// Whether the customer was helped, once it is closed.
    pub resolved: bool,
    /// The customer has said something since it had its first agent (R32).
    pub customer_spoke: bool,
    /// First queue that admitted it.
    pub entered: Option<QueueId>,
    /// First assignment since it started, or was reopened.
    pub answered_at_ms: Option<Millis>,
    pub ended_at_ms: Option<Millis>,
    pub outcome: Option<CloseOutcome>,
    /// With agents, all assignments together, wrap-up too.
    pub served_ms: u64,
    pub rare: Option<Box<Rare>>,
    /// R21: paused, and goes on by itself once its owner has room.
    pub returns: bool,
    /// What has been measured of its current agent's having it; while it has one.
    pub leg: Option<Box<Leg>>,
}

impl Conversation {
    pub fn set_alarm(&mut self, alarm: Alarm, due_ms: Millis) {
        match self.alarms.binary_search_by_key(&alarm, |(a, _)| *a) {
            Ok(at) => self.alarms[at].1 = due_ms,
            Err(at) => self.alarms.insert(at, (alarm, due_ms)),
        }
    }

    pub fn clear_alarm(&mut self, alarm: Alarm) {
        self.alarms.retain(|(a, _)| *a != alarm);
    }

    pub fn alarm(&self, alarm: Alarm) -> Option<Millis> {
        self.alarms
            .binary_search_by_key(&alarm, |(a, _)| *a)
            .ok()
            .map(|at| self.alarms[at].1)
    }

    pub fn timer(&self, alarm: Alarm) -> Timer {
        let (conversation, epoch) = (self.id, self.epoch);
        match alarm {
            Alarm::OfferDeadline => Timer::OfferDeadline { conversation, epoch },
            Alarm::WrapUpEnd => Timer::WrapUpEnd { conversation, epoch },
            Alarm::Escalation(step) => Timer::Escalation { conversation, step },
            Alarm::NoReply => Timer::NoReply { conversation, epoch },
            Alarm::AbandonHold => Timer::AbandonHold { conversation },
            Alarm::PreferenceEnd => Timer::PreferenceEnd { conversation },
            Alarm::ExclusionEnd => Timer::ExclusionEnd { conversation },
            Alarm::Archive => Timer::Archive { conversation },
            Alarm::Relaxation(step) => Timer::Relaxation { conversation, step },
            Alarm::RingOpens(ring) => Timer::RingOpens { conversation, ring },
            Alarm::IdlePause => Timer::IdlePause { conversation, epoch },
            Alarm::SilentAbandon => Timer::SilentAbandon { conversation, epoch },
            Alarm::Scheduled => Timer::Scheduled { conversation },
            Alarm::InvitationEnd(agent) => Timer::InvitationEnd { conversation, agent },
        }
    }

    pub fn timers(&self) -> impl Iterator<Item = Due> {
        self.alarms.iter().map(|&(alarm, at_ms)| Due {
            at_ms,
            timer: self.timer(alarm),
        })
    }

    /// Not offered to `agent` before `until_ms`; the alarm follows the earliest.
    pub fn exclude(&mut self, agent: AgentId, until_ms: Millis) {
        match self.excluded.binary_search_by_key(&agent, |(a, _)| *a) {
            Ok(at) => self.excluded[at].1 = self.excluded[at].1.max(until_ms),
            Err(at) => self.excluded.insert(at, (agent, until_ms)),
        }
        if self.excluded.len() > crate::limits::DECLINES_MAX {
            let soonest = self
                .excluded
                .iter()
                .enumerate()
                .min_by_key(|(_, (_, until))| *until)
                .map(|(at, _)| at);
            soonest.map(|at| self.excluded.remove(at));
        }
        self.follow_exclusions();
    }

    /// Ends an exclusion before its time.
    pub fn readmit(&mut self, agent: AgentId) {
        self.excluded.retain(|(excluded, _)| *excluded != agent);
        self.follow_exclusions();
    }

    /// Forgets exclusions that have ended.
    pub fn end_exclusions(&mut self, at_ms: Millis) {
        self.excluded.retain(|(_, until)| *until > at_ms);
        self.follow_exclusions();
    }

    fn follow_exclusions(&mut self) {
        match self.excluded.iter().map(|(_, until)| *until).min() {
            Some(until) => self.set_alarm(Alarm::ExclusionEnd, until),
            None => self.clear_alarm(Alarm::ExclusionEnd),
        }
    }

    pub fn excludes(&self, agent: AgentId) -> bool {
        self.excluded.binary_search_by_key(&agent, |(a, _)| *a).is_ok()
    }

    /// Waiting or offered: it is in its queue, and counts towards its length (R23).
    pub fn in_queue(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Offered { .. })
    }

    pub fn customer_present(&self) -> bool {
        self.left_at_ms.is_none()
    }

    pub fn open(&self) -> bool {
        !matches!(self.stage, Stage::Closed { .. } | Stage::WrapUp { .. })
    }

    /// What the queue manager sees, while it waits.
    pub fn demand(&self) -> Option<Demand> {
        let (Stage::Waiting, Some(queue)) = (self.stage, self.queue) else {
            return None;
        };
        Some(Demand {
            conversation: self.id,
            queue,
            channel: Channel::clone(&self.channel),
            priority: self.priority,
            expedited: self.expedited,
            since_ms: self.since_ms,
            arrival: self.arrival,
            required: self.required.clone(),
            preferred: self.preferred.clone(),
            only: self.only,
            excluded: self.excluded.iter().map(|(agent, _)| *agent).collect(),
            held: self.held(),
            rings: self.rings,
            selectors: self.selectors.clone(),
            offers: self.epoch.0,
        })
    }

    pub fn view(&self) -> ConversationView {
        ConversationView {
            conversation: self.id,
            channel: Channel::clone(&self.channel),
            customer: CustomerId::clone(&self.customer),
            phase: self.stage.phase(),
            queue: self.queue,
            priority: self.priority,
            agent: self.stage.agent(),
            epoch: self.epoch,
            deadline_ms: self.stage.deadline_ms(),
            last_seq: self.last_seq,
            last_seq_for_customer: self.last_seq_for_customer,
            started_at_ms: self.started_at_ms,
            since_ms: self.since_ms,
            customer_present: self.customer_present(),
            attributes: self.attributes.clone(),
            read: self.read.clone(),
            explanation: self.explanation.clone(),
            disposition: self.disposition.as_deref().map(str::to_owned),
            also_offered: self.also_offered.clone(),
            participants: self
                .rare
                .as_ref()
                .map(|rare| rare.participants.clone())
                .unwrap_or_default(),
            invited: self.rare.as_ref().map(|rare| rare.invited.clone()).unwrap_or_default(),
            schedule: self.rare.as_ref().and_then(|rare| rare.schedule),
            callback: self.callback().map(str::to_owned),
            rule: self.rule.as_deref().map(str::to_owned),
            relaxed: self.relaxed,
            rating: self.rare.as_ref().and_then(|rare| rare.rating),
            entered: self.entered,
            required: self.asked_required.to_vec(),
            preferred: self.asked_preferred.to_vec(),
            selectors: self.selectors.to_vec(),
            answered_at_ms: self.answered_at_ms,
            ended_at_ms: self.ended_at_ms,
            outcome: self.outcome,
            served_ms: self.served_ms,
        }
    }

    /// Whoever has to do with it: offered, owner, participants, invited, waited for until they return. Some may come twice.
    pub fn involved(&self) -> impl Iterator<Item = AgentId> + '_ {
        let rare = self.rare.iter();
        let beside = rare.flat_map(|rare| {
            let taking_part = rare.participants.iter().map(|(agent, _)| *agent);
            let returning = rare.schedule.and_then(|schedule| match schedule.until {
                ScheduleUntil::AgentReturns { agent, .. } => Some(agent),
                ScheduleUntil::At { .. } => None,
            });
            let invited = rare.invited.iter().map(|(agent, _, _)| *agent);
            taking_part.chain(invited).chain(returning)
        });
        self.stage
            .agent()
            .into_iter()
            .chain(self.also_offered.iter().copied())
            .chain(beside)
    }

    /// R21: its place among those that go on once their owner has room.
    pub fn returning(&self) -> Option<(AgentId, Millis, u64, ConversationId)> {
        let owner = self.stage.agent().filter(|_| self.returns)?;
        Some((owner, self.since_ms, self.arrival, self.id))
    }

    /// To whom it is offered, the agent of the stage first (R9).
    pub fn offered_to(&self) -> Vec<AgentId> {
        match self.stage {
            Stage::Offered { agent, .. } => std::iter::once(agent)
                .chain(self.also_offered.iter().copied())
                .collect(),
            _ => Vec::new(),
        }
    }

    pub fn is_offered_to(&self, agent: AgentId) -> bool {
        let first = matches!(self.stage, Stage::Offered { agent: first, .. } if first == agent);
        first || self.also_offered.binary_search(&agent).is_ok()
    }

    /// Whose capacity it takes, each once: the offered or the owner, and who consults or confers.
    pub fn occupants(&self) -> Vec<AgentId> {
        let mut all: Vec<AgentId> = self.stage.occupies().into_iter().collect();
        all.extend(self.also_offered.iter().copied());
        if let Some(rare) = &self.rare {
            all.extend(
                rare.participants
                    .iter()
                    .filter(|(_, role)| !role.supervises())
                    .map(|(agent, _)| *agent),
            );
        }
        all
    }

    /// All that it asks or asked for.
    pub fn requirements(&self) -> impl Iterator<Item = &Arc<[Requirement]>> {
        [
            &self.asked_required,
            &self.asked_preferred,
            &self.required,
            &self.preferred,
        ]
        .into_iter()
    }

    /// R33: where the customer can be called back.
    pub fn callback(&self) -> Option<&str> {
        self.rare.as_ref().and_then(|rare| rare.callback.as_deref())
    }

    /// What few have, to be changed; [`Self::tidy`] takes it away again when it says nothing.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// An empty [`Rare`] and none are the same: only none is kept, so that equal histories give equal bytes.
    pub fn tidy(&mut self) {
        if self.rare.as_deref() == Some(&Rare::default()) {
            self.rare = None;
        }
    }

    /// Whether a desk or a widget would show it otherwise than `before` (entries and cursors have events of their own).
    pub fn shows_change(&self, before: &Self) -> bool {
        self.stage.phase() != before.stage.phase()
            || self.stage.agent() != before.stage.agent()
            || self.stage.deadline_ms() != before.stage.deadline_ms()
            || self.queue != before.queue
            || self.priority != before.priority
            || self.epoch != before.epoch
            || self.left_at_ms != before.left_at_ms
            || self.since_ms != before.since_ms
            || self.disposition != before.disposition
            || self.also_offered != before.also_offered
            || self.relaxed != before.relaxed
            || self.rare != before.rare
            || !Arc::ptr_eq(&self.attributes, &before.attributes)
    }
}
