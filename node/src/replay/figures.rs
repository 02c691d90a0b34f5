//! What is compared: waits, service level, occupancy, fairness.

use std::collections::BTreeMap;

use routing::ids::{AgentId, Millis, QueueId};
use routing::simulation::{End, Outcome, Sink};
use routing::state::Tenant;
use serde::Serialize;

use super::people::{Fate, wait_ms};
use super::trace::Trace;

/// Length of a bar of the curves over time.
pub const QUARTER_MS: u64 = 15 * 60_000;

/// One run, or what was recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// What it is.
    pub name: String,
    /// All queues together.
    pub all: Numbers,
    /// By name of the queue where it was answered or ended; those that were never admitted under `-`.
    pub queues: BTreeMap<String, Numbers>,
    /// Mean share of their time with work, of agents who were available; `None` where it is not known.
    pub occupancy: Option<f64>,
    /// Jain's index of the agents' occupancy: 1 is equal, 1/n is one for all.
    pub fairness: Option<f64>,
    /// Occupancy of each agent who was there, ascending.
    pub agents: Vec<f64>,
    /// By quarter hour of arrival: (start, offered, within target, abandoned).
    pub quarters: Vec<(Millis, u64, u64, u64)>,
    /// Waits of the answered in milliseconds, ascending.
    #[serde(skip)]
    pub waits_ms: Vec<u64>,
    /// Conversations that waited longer than is known that their customers would have.
    pub beyond_known_patience: u64,
}

/// The numbers of a queue, or of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Numbers {
    /// Came.
    pub offered: u64,
    /// Met an agent.
    pub answered: u64,
    /// Met one within the target.
    pub within_target: u64,
    /// Left before.
    pub abandoned: u64,
    /// Of these within the target.
    pub abandoned_within: u64,
    /// Closed, refused or taken offline before.
    pub turned_away: u64,
    /// Mean wait of the answered.
    pub asa_ms: u64,
    /// Of the answered.
    pub p50_ms: u64,
    /// Of the answered.
    pub p90_ms: u64,
    /// Of the answered.
    pub p99_ms: u64,
    /// Longest wait of all.
    pub longest_ms: u64,
}

impl Numbers {
    /// Answered within the target of all but those who left before it (abandon ignored); `None` without anybody.
    pub fn service_level(&self) -> Option<f64> {
        let of = self.answered + self.abandoned - self.abandoned_within;
        (of > 0).then(|| self.within_target as f64 / of as f64)
    }

    /// Left, of all who came.
    pub fn abandonment(&self) -> Option<f64> {
        (self.offered > 0).then(|| self.abandoned as f64 / self.offered as f64)
    }
}

/// Names and targets of queues.
#[derive(Clone, Debug, Default)]
pub struct Queues(pub BTreeMap<QueueId, (String, u64)>);

impl Queues {
    fn name(&self, queue: Option<QueueId>) -> String {
        let known = queue.and_then(|queue| self.0.get(&queue));
        known.map_or_else(|| "-".to_owned(), |(name, _)| name.clone())
    }

    fn target_ms(&self, queue: Option<QueueId>) -> u64 {
        queue
            .and_then(|queue| self.0.get(&queue))
            .map_or(0, |(_, target_ms)| *target_ms)
    }
}

#[derive(Default)]
struct Tally {
    numbers: Numbers,
    waits_ms: Vec<u64>,
}

impl Tally {
    fn add(&mut self, waited_ms: u64, fate: Fate, target_ms: u64) {
        let n = &mut self.numbers;
        let within = u64::from(waited_ms <= target_ms);
        n.offered += 1;
        n.longest_ms = n.longest_ms.max(waited_ms);
        match fate {
            Fate::Answered => {
                n.answered += 1;
                n.within_target += within;
                self.waits_ms.push(waited_ms);
            }
            Fate::Left => {
                n.abandoned += 1;
                n.abandoned_within += within;
            }
            Fate::TurnedAway => n.turned_away += 1,
        }
    }

    fn finish(mut self) -> (Numbers, Vec<u64>) {
        self.waits_ms.sort_unstable();
        let waits = &self.waits_ms;
        let at = |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)));
        let n = &mut self.numbers;
        n.asa_ms = waits.iter().sum::<u64>().checked_div(waits.len() as u64).unwrap_or(0);
        n.p50_ms = at(50).copied().unwrap_or(0);
        n.p90_ms = at(90).copied().unwrap_or(0);
        n.p99_ms = at(99).copied().unwrap_or(0);
        (self.numbers, self.waits_ms)
    }
}

/// Gathers the figures of a run.
pub struct Gatherer {
    queues: Queues,
    from_ms: Millis,
    until_ms: Millis,
    all: Tally,
    by_queue: BTreeMap<String, Tally>,
    quarters: BTreeMap<Millis, (u64, u64, u64)>,
    /// (available, with work) in milliseconds.
    agents: BTreeMap<AgentId, (u64, u64)>,
    beyond: u64,
}

impl Gatherer {
    /// For a period.
    pub fn new(queues: Queues, from_ms: Millis, until_ms: Millis) -> Self {
        Self {
            queues,
            from_ms,
            until_ms,
            all: Tally::default(),
            by_queue: BTreeMap::new(),
            quarters: BTreeMap::new(),
            agents: BTreeMap::new(),
            beyond: 0,
        }
    }

    fn add(&mut self, arrived_at_ms: Millis, queue: Option<QueueId>, waited_ms: u64, fate: Fate) {
        let target_ms = self.queues.target_ms(queue);
        self.all.add(waited_ms, fate, target_ms);
        let tally = self.by_queue.entry(self.queues.name(queue)).or_default();
        tally.add(waited_ms, fate, target_ms);
        let quarter = self
            .quarters
            .entry(arrived_at_ms / QUARTER_MS * QUARTER_MS)
            .or_default();
        quarter.0 += 1;
        quarter.1 += u64::from(fate == Fate::Answered && waited_ms <= target_ms);
        quarter.2 += u64::from(fate == Fate::Left);
    }

    /// All of it.
    pub fn finish(self, name: String) -> Figures {
        let (all, waits_ms) = self.all.finish();
        let agents: Vec<(u64, u64)> = self.agents.into_values().filter(|(there, _)| *there > 0).collect();
        let mut shares: Vec<f64> = agents
            .iter()
            .map(|(there, busy)| *busy as f64 / *there as f64)
            .collect();
        shares.sort_by(f64::total_cmp);
        let (there, busy) = agents.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let (sum, squares) = shares.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        Figures {
            name,
            all,
            queues: self
                .by_queue
                .into_iter()
                .map(|(name, tally)| (name, tally.finish().0))
                .collect(),
            occupancy: (there > 0).then(|| busy as f64 / there as f64),
            fairness: (squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares)),
            agents: shares,
            quarters: self
                .quarters
                .into_iter()
                .map(|(at, (n, within, left))| (at, n, within, left))
                .collect(),
            waits_ms,
            beyond_known_patience: self.beyond,
        }
    }
}

impl Sink for Gatherer {
    fn ended(&mut self, outcome: &Outcome) {
        self.beyond += u64::from(outcome.beyond_known_patience);
        let closed = match outcome.end {
            End::Closed(how) => Some(how),
            End::Refused(_) | End::LeftOver => None,
        };
        let fate = Fate::of(outcome.answered_at_ms, closed);
        self.add(outcome.arrived_at_ms, outcome.queue, outcome.waited_ms, fate);
    }

    fn stood(&mut self, from_ms: Millis, until_ms: Millis, tenant: &Tenant) {
        let (from_ms, until_ms) = (from_ms.max(self.from_ms), until_ms.min(self.until_ms));
        let lasted_ms = until_ms.saturating_sub(from_ms);
        if lasted_ms == 0 {
            return;
        }
        for (agent, has_work) in tenant.agents_available() {
            let (there, busy) = self.agents.entry(agent).or_default();
            *there += lasted_ms;
            *busy += if has_work { lasted_ms } else { 0 };
        }
    }
}

/// What the trace itself says; occupancy is not in it.
pub fn recorded(trace: &Trace) -> Figures {
    let queues = Queues::of(&trace.setting.policy);
    let mut gatherer = Gatherer::new(queues, trace.from_ms, trace.until_ms);
    for conversation in &trace.conversations {
        let fate = Fate::of(conversation.answered_at_ms, conversation.outcome);
        let waited_ms = wait_ms(conversation).unwrap_or(0);
        gatherer.add(conversation.started_at_ms, conversation.entered, waited_ms, fate);
    }
    gatherer.finish("recorded".to_owned())
}

impl Queues {
    /// Of a policy.
    pub fn of(policy: &routing::settings::Policy) -> Self {
        let rows = policy.queues.iter();
        Self(
            rows.map(|(id, s)| (*id, (s.name.clone(), s.answer_target_ms)))
                .collect(),
        )
    }
}
