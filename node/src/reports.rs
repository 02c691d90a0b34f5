//! KPIs of a period: rows that have left the state ([`crate::shard_host::REPORTS`]) and those that are still in it, added up into
//! the groups that were asked for.

use std::collections::BTreeMap;

use cluster::state_machine::ShardId;
use cluster::storage::RowStore;
use routing::ids::{AgentId, Channel, Millis, QueueId, TenantId};
use routing::rejection::Rejection;
use routing::report::{Figures, QUARTER_HOUR_MS, Ratio, RowKey, Subject, jain_index, quarter_hour_of};
use routing::state::Tenant;
use routing::view::{Presence, QueueRates};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::limits::{REPORT_LINES_MAX, REPORT_PAGE, REPORT_ROWS_READ_MAX};
use crate::shard_host::{REPORTS, SharedState, open_report, report_index, report_key};

/// By what lines are told apart. None: one line for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grouping {
    /// A line per quarter hour.
    pub quarter: bool,
    /// Per queue.
    pub queue: bool,
    /// Per agent.
    pub agent: bool,
    /// Per channel.
    pub channel: bool,
}

/// A question for KPIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportQuestion {
    /// First quarter hour: the one that this moment is in.
    pub from_ms: Millis,
    /// Quarter hours that begin before it.
    pub until_ms: Millis,
    /// Lines.
    pub by: Grouping,
    /// Of this queue only.
    pub queue: Option<QueueId>,
    /// Of this agent only.
    pub agent: Option<AgentId>,
    /// Of this channel only.
    pub channel: Option<Channel>,
}

/// Which line: `None` where lines are not told apart by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LineKey {
    /// First moment of the quarter hour.
    pub quarter_ms: Option<Millis>,
    /// Queue; `Some(None)`: never admitted to one.
    pub queue: Option<Option<QueueId>>,
    /// Agent.
    pub agent: Option<AgentId>,
    /// Channel.
    pub channel: Option<Channel>,
}

/// A line of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportLine {
    /// Which.
    pub key: LineKey,
    /// Name of the queue or agent, while it is there.
    pub name: Option<String>,
    /// What.
    pub figures: Figures,
}

impl ReportQuestion {
    /// Agents' rows, not queues'.
    pub fn is_of_agents(&self) -> bool {
        self.by.agent || self.agent.is_some()
    }

    /// Queues' rows: the same conversations are in agents' rows, by what the agents did.
    pub fn is_of_queues(&self) -> bool {
        self.by.queue || self.queue.is_some()
    }

    /// The line that a row belongs to, if to any.
    fn line_of(&self, key: &RowKey) -> Option<LineKey> {
        if key.quarter_ms < quarter_hour_of(self.from_ms) || key.quarter_ms >= self.until_ms {
            return None;
        }
        let channels = self.by.channel || self.channel.is_some();
        let mut line = LineKey {
            quarter_ms: self.by.quarter.then_some(key.quarter_ms),
            ..LineKey::default()
        };
        let (agent, channel) = match &key.subject {
            Subject::Queue { queue, channel } if !self.is_of_agents() => {
                if self.queue.is_some_and(|wanted| Some(wanted) != *queue) {
                    return None;
                }
                line.queue = self.by.queue.then_some(*queue);
                (None, Some(channel))
            }
            Subject::Agent { agent, channel } if self.is_of_agents() => (Some(*agent), Some(channel)),
            // Time has neither queue nor channel.
            Subject::Time { agent } if !self.is_of_queues() && !channels => (Some(*agent), None),
            _ => return None,
        };
        if self.agent.is_some() && self.agent != agent {
            return None;
        }
        if let (Some(wanted), Some(channel)) = (&self.channel, channel)
            && *wanted != **channel
        {
            return None;
        }
        line.agent = agent.filter(|_| self.by.agent);
        line.channel = channel
            .filter(|_| self.by.channel)
            .map(|channel| Channel::clone(channel));
        Some(line)
    }
}

/// Lines being added up.
struct Sheet<'a> {
    question: &'a ReportQuestion,
    lines: BTreeMap<LineKey, Figures>,
}

impl<'a> Sheet<'a> {
    /// With all that the state has.
    fn of(tenant: &Tenant, question: &'a ReportQuestion) -> Result<Self, EngineError> {
        let mut sheet = Self {
            question,
            lines: BTreeMap::new(),
        };
        for (key, figures) in tenant.report() {
            sheet.add(key, figures)?;
        }
        Ok(sheet)
    }

    fn lines(self, names: &Names) -> Vec<ReportLine> {
        let line = |(key, figures): (LineKey, Figures)| ReportLine {
            name: names.get(&key),
            key,
            figures,
        };
        self.lines.into_iter().map(line).collect()
    }

    fn add(&mut self, key: &RowKey, figures: &Figures) -> Result<(), EngineError> {
        let Some(line) = self.question.line_of(key) else {
            return Ok(());
        };
        self.lines.entry(line).or_default().add(figures);
        within(
            "lines of a report (ask for a shorter period)",
            self.lines.len(),
            REPORT_LINES_MAX,
        )
    }
}

fn within(what: &str, is: usize, max: usize) -> Result<(), EngineError> {
    if is <= max {
        return Ok(());
    }
    Err(EngineError::Rejected(Rejection::TooLarge {
        what: what.to_owned(),
        is: is as u64,
        max: max as u64,
    }))
}

/// Answers a question. The state is read first: rows that leave it afterwards carry a later index and are passed over.
pub fn read(
    state: &SharedState,
    rows: &dyn RowStore,
    shard: ShardId,
    tenant_id: TenantId,
    question: &ReportQuestion,
) -> Result<Vec<ReportLine>, EngineError> {
    let (index, names, mut sheet) = {
        let state = state.read();
        let tenant = state.tenant(tenant_id).ok_or(EngineError::UnknownTenant)?;
        (state.index(), Names::of(tenant), Sheet::of(tenant, question)?)
    };
    let until = report_key(tenant_id, question.until_ms, 0, 0);
    let mut from = report_key(tenant_id, quarter_hour_of(question.from_ms), 0, 0);
    let mut looked_at = 0;
    loop {
        let found = rows
            .scan(shard, REPORTS, &from, &until, REPORT_PAGE)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        for (key, row) in &found {
            if report_index(key).is_none_or(|left_at| left_at > index) {
                continue;
            }
            let (key, figures) = open_report(row).map_err(|error| EngineError::Internal(error.to_string()))?;
            sheet.add(&key, &figures)?;
        }
        looked_at += found.len();
        within(
            "rows of a report (ask for a shorter period)",
            looked_at,
            REPORT_ROWS_READ_MAX,
        )?;
        match found.last() {
            Some((last, _)) if found.len() == REPORT_PAGE => {
                from = last.to_vec();
                from.push(0);
            }
            _ => break,
        }
    }
    Ok(sheet.lines(&names))
}

/// Of what the state alone has.
pub fn kept(tenant: &Tenant, question: &ReportQuestion) -> Result<Vec<ReportLine>, EngineError> {
    Ok(Sheet::of(tenant, question)?.lines(&Names::of(tenant)))
}

/// What things are called now.
struct Names {
    queues: BTreeMap<QueueId, String>,
    agents: BTreeMap<AgentId, String>,
}

impl Names {
    fn of(tenant: &Tenant) -> Self {
        let queues = tenant.queues().map(|view| (view.queue, view.settings.name.clone()));
        let agents = tenant.agents().map(|view| (view.agent, view.settings.name.clone()));
        Self {
            queues: queues.collect(),
            agents: agents.collect(),
        }
    }

    fn get(&self, key: &LineKey) -> Option<String> {
        match (key.queue.flatten(), key.agent) {
            (Some(queue), _) => self.queues.get(&queue).cloned(),
            (None, Some(agent)) => self.agents.get(&agent).cloned(),
            (None, None) => None,
        }
    }
}

/// The tenant now: the quarter hours that the state has, and who waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveReport {
    /// As of this moment of the log.
    pub at_ms: Millis,
    /// From the first quarter hour that is told of.
    pub from_ms: Millis,
    /// All queues together, with everybody's time.
    pub all: Figures,
    /// R42: Jain's index of the agents' occupancy, in thousandths.
    pub occupancy_jain_per_mille: Option<u64>,
    /// Agents by presence: available, away, draining, suspect, offline.
    pub agents: [u32; 5],
    /// By id.
    pub queues: Vec<LiveQueue>,
}

/// A queue now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveQueue {
    /// Which.
    pub queue: QueueId,
    /// What it is called.
    pub name: String,
    /// Of the quarter hours that are told of, with the time of its agents.
    pub figures: Figures,
    /// R42: Jain's index of its agents' occupancy, in thousandths.
    pub occupancy_jain_per_mille: Option<u64>,
    /// R35: observed of its service.
    pub rates: QueueRates,
    /// R42: (priority, who waits, milliseconds that the first has waited), by priority.
    pub waiting: Vec<(u8, u32, u64)>,
}

/// Of a tenant's state.
pub fn live(tenant: &Tenant, at_ms: Millis) -> LiveReport {
    let from_ms = quarter_hour_of(at_ms).saturating_sub(routing::limits::REPORT_QUARTERS_KEPT * QUARTER_HOUR_MS);
    let mut all = Figures::default();
    let mut by_queue: BTreeMap<QueueId, Figures> = BTreeMap::new();
    for (key, row) in tenant.report().filter(|(key, _)| key.quarter_ms >= from_ms) {
        if let Subject::Queue { queue, .. } = key.subject {
            all.add(row);
            if let Some(queue) = queue {
                by_queue.entry(queue).or_default().add(row);
            }
        }
    }
    let times: BTreeMap<AgentId, Figures> = tenant
        .agents_time(from_ms, at_ms)
        .into_iter()
        .map(|(agent, time)| {
            let figures = Figures {
                time,
                ..Figures::default()
            };
            (agent, figures)
        })
        .collect();
    times.values().for_each(|figures| all.add(figures));
    let fairness = |ratios: Vec<Ratio>| jain_index(ratios).per_mille();
    let mut agents = [0; 5];
    let mut occupancies: BTreeMap<QueueId, Vec<Ratio>> = BTreeMap::new();
    for view in tenant.agents() {
        agents[place(&view.presence)] += 1;
        let Some(figures) = times.get(&view.agent) else {
            continue;
        };
        for queue in view.settings.queues.keys() {
            by_queue.entry(*queue).or_default().add(figures);
            occupancies.entry(*queue).or_default().push(figures.occupancy());
        }
    }
    let mut waiting: BTreeMap<QueueId, Vec<(u8, u32, u64)>> = BTreeMap::new();
    for ((queue, priority), class) in tenant.waiting_classes() {
        let waited_ms = at_ms.saturating_sub(class.oldest_since_ms);
        waiting
            .entry(queue)
            .or_default()
            .push((priority, class.waiting, waited_ms));
    }
    let queues = tenant.queues().map(|view| LiveQueue {
        queue: view.queue,
        name: view.settings.name.clone(),
        figures: by_queue.remove(&view.queue).unwrap_or_default(),
        occupancy_jain_per_mille: fairness(occupancies.remove(&view.queue).unwrap_or_default()),
        rates: tenant.rates(view.queue).unwrap_or_default(),
        waiting: waiting.remove(&view.queue).unwrap_or_default(),
    });
    LiveReport {
        at_ms,
        from_ms,
        occupancy_jain_per_mille: fairness(times.values().map(Figures::occupancy).collect()),
        agents,
        queues: queues.collect(),
        all,
    }
}

fn place(presence: &Presence) -> usize {
    match presence {
        Presence::Available => 0,
        Presence::Away(_) => 1,
        Presence::Draining => 2,
        Presence::Suspect { .. } => 3,
        Presence::Offline => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn row(subject: Subject) -> RowKey {
        RowKey {
            quarter_ms: QUARTER_HOUR_MS,
            subject,
        }
    }

    fn asking(change: impl FnOnce(&mut ReportQuestion)) -> ReportQuestion {
        let mut question = ReportQuestion {
            from_ms: QUARTER_HOUR_MS + 5,
            until_ms: 2 * QUARTER_HOUR_MS,
            ..ReportQuestion::default()
        };
        change(&mut question);
        question
    }

    #[test]
    fn queues_and_agents_are_never_added_up() {
        let channel = Arc::new(Channel("chat".to_owned()));
        let queue = row(Subject::Queue {
            queue: Some(QueueId(1)),
            channel: channel.clone(),
        });
        let agent = row(Subject::Agent {
            agent: AgentId(1),
            channel,
        });
        let time = row(Subject::Time { agent: AgentId(1) });
        let taken = |question: &ReportQuestion| [&queue, &agent, &time].map(|key| question.line_of(key).is_some());
        assert_eq!(taken(&asking(|_| {})), [true, false, true]);
        assert_eq!(taken(&asking(|q| q.by.queue = true)), [true, false, false]);
        assert_eq!(taken(&asking(|q| q.by.channel = true)), [true, false, false]);
        assert_eq!(taken(&asking(|q| q.by.agent = true)), [false, true, true]);
        assert_eq!(taken(&asking(|q| q.agent = Some(AgentId(1)))), [false, true, true]);
        assert_eq!(taken(&asking(|q| q.agent = Some(AgentId(2)))), [false, false, false]);
        assert_eq!(taken(&asking(|q| q.queue = Some(QueueId(2)))), [false, false, false]);
        assert_eq!(taken(&asking(|q| q.until_ms = QUARTER_HOUR_MS)), [false, false, false]);
        assert_eq!(
            taken(&asking(|q| q.channel = Some(Channel("voice".to_owned())))),
            [false; 3]
        );
    }
}
