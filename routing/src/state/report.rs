//! KPIs and what is learned, folded from what each command changes. See [`crate::report`] for what the figures mean.
//!
//! [`fold`] runs on a command's certain changes before they become rows: it sees each conversation and agent as it was and as
//! it will be, and the events between. So no command has to think of being measured, and none can forget it.

mod learned;
mod leg;
mod live;
mod meter;
mod repeats;
mod tally;
mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use leg::Leg;
pub use live::WaitingClass;
pub(crate) use meter::Meter;
pub(crate) use repeats::Resolutions;

use super::agent::Agent;
use super::conversation::{Conversation, Stage};
use super::draft::{Changes, Draft};
use super::queue::Queue;
use super::rows::Rows;
use super::tenant::Kept;
use super::timers;
use crate::command::{Due, Timer};
use crate::event::{Event, Receipt};
use crate::ids::{AgentId, ConversationId, Millis, QueueId};
use crate::limits;
use crate::rejection::Rejection;
use crate::report::{Figures, QUARTER_HOUR_MS, RowKey, Subject, quarter_hour_of};
use crate::settings::RoutingSettings;

/// What the state keeps of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// End of the current quarter hour, while there is something to tell.
    pub due_ms: Option<Millis>,
    /// The current quarter hour and the last ones, and late news of older ones.
    pub rows: Rows<RowKey, Figures>,
    /// Of everybody who is signed in.
    pub meters: Rows<AgentId, Meter>,
    /// Who was helped, and may come back.
    pub resolutions: Resolutions,
    /// R35: waiting time of all in a queue since the last who abandoned it.
    pub waited_ms: BTreeMap<QueueId, u64>,
}

impl Report {
    fn is_empty(&self) -> bool {
        self.rows.len() == 0 && self.meters.len() == 0
    }

    /// The deadline of the current quarter hour.
    pub fn timer(&self) -> Option<Due> {
        self.due_ms.map(|at_ms| Due {
            at_ms,
            timer: Timer::QuarterHour,
        })
    }
}

/// A quarter hour is over: what follows is [`fold`]'s.
pub(crate) fn quarter_hour(d: &mut Draft<'_>) -> Result<Receipt, Rejection> {
    timers::must_be_due(d.kept().report.due_ms, d.at_ms)?;
    d.quarter_is_over();
    Ok(d.receipt())
}

/// One command's changes, being folded.
struct Fold<'a> {
    at_ms: Millis,
    report: &'a mut Report,
    /// As they were.
    agents: &'a Rows<AgentId, Agent>,
    queues: &'a BTreeMap<QueueId, Arc<Queue>>,
    routing: &'a RoutingSettings,
    changes: &'a mut Changes,
    events: &'a [Event],
    /// Whose meters are at `at_ms`.
    met: BTreeSet<AgentId>,
}

/// Books what a command changes. May change rows of queues and agents (what is learned) and of conversations (their legs), and
/// appends the rows that leave.
pub(crate) fn fold(kept: &mut Kept, changes: &mut Changes, events: &mut Vec<Event>) {
    let Kept {
        report,
        conversations,
        agents,
        queues,
        routing,
        ..
    } = kept;
    let moved: Vec<ConversationId> = changes
        .conversations
        .iter()
        .filter(|(id, after)| moves(conversations.get(id).map(|row| &**row), after.as_deref()))
        .map(|(id, _)| *id)
        .collect();
    let told = events.iter().any(tally::counts);
    if moved.is_empty() && changes.agents.is_empty() && !told && !changes.quarter_over {
        return;
    }
    let mut after = std::mem::take(&mut changes.conversations);
    let mut fold = Fold {
        at_ms: changes.at_ms,
        report,
        agents,
        queues,
        routing,
        changes,
        events,
        met: BTreeSet::new(),
    };
    fold.meet_changed_agents();
    for id in &moved {
        for row in [
            conversations.get(id).map(|row| &**row),
            after.get(id).and_then(Option::as_deref),
        ] {
            working(row).into_iter().for_each(|agent| fold.meet(agent));
        }
    }
    for id in moved {
        let before = conversations.get(&id).map(|row| &**row);
        let row = after.get_mut(&id).and_then(Option::as_mut).map(Arc::make_mut);
        fold.visit(before, row.as_deref());
        fold.leg(before, row);
        fold.hold(before, after.get(&id).and_then(Option::as_deref));
    }
    for event in events.iter() {
        let row = |id: &ConversationId| match after.get(id) {
            Some(row) => row.as_deref(),
            None => conversations.get(id).map(|row| &**row),
        };
        fold.tally(event, row);
    }
    fold.set_meters();
    if fold.changes.quarter_over {
        fold.quarter_is_over();
    }
    for (queue, row) in &fold.changes.queues {
        if row.is_none() {
            fold.report.waited_ms.remove(queue);
        }
    }
    let leaving = fold.leaving();
    let (at_ms, over) = (fold.at_ms, fold.changes.quarter_over);
    if over || report.due_ms.is_none() {
        report.due_ms = (!report.is_empty()).then(|| quarter_hour_of(at_ms).saturating_add(QUARTER_HOUR_MS));
    }
    changes.conversations = after;
    events.extend(leaving);
}

/// Whether there is anything to measure: the usual command, a message, moves nothing.
fn moves(before: Option<&Conversation>, after: Option<&Conversation>) -> bool {
    let (Some(a), Some(b)) = (before, after) else {
        return true;
    };
    a.stage != b.stage || a.queue != b.queue || a.answered != b.answered || a.since_ms != b.since_ms || a.rare != b.rare
}

/// Whose attention it has: its owner, unless it is paused, and who consults or confers.
pub(crate) fn working(row: Option<&Conversation>) -> Vec<AgentId> {
    let Some(row) = row else { return Vec::new() };
    let owner = match row.stage {
        Stage::Assigned { agent, .. } | Stage::WrapUp { agent, .. } => Some(agent),
        _ => None,
    };
    let beside = row.rare.iter().flat_map(|rare| &rare.participants);
    let beside = beside.filter(|(_, role)| !role.supervises()).map(|(agent, _)| *agent);
    owner.into_iter().chain(beside).collect()
}

impl Fold<'_> {
    /// Adds to a row, which is made when it is not there.
    fn book(&mut self, quarter_ms: Millis, subject: Subject, add: impl FnOnce(&mut Figures)) {
        self.report.rows.change(RowKey { quarter_ms, subject }, add);
    }

    /// In the current quarter hour: of the queue of a conversation, and of an agent.
    fn book_work(&mut self, row: &Conversation, agent: Option<AgentId>, add: impl Fn(&mut Figures)) {
        let quarter_ms = quarter_hour_of(self.at_ms);
        self.book_both(quarter_ms, row, agent, add);
    }

    fn book_both(
        &mut self,
        quarter_ms: Millis,
        row: &Conversation,
        agent: Option<AgentId>,
        add: impl Fn(&mut Figures),
    ) {
        let (queue, channel) = (row.queue, row.channel.clone());
        self.book(quarter_ms, Subject::Queue { queue, channel }, &add);
        if let Some(agent) = agent {
            let channel = row.channel.clone();
            self.book(quarter_ms, Subject::Agent { agent, channel }, &add);
        }
    }

    /// As the command leaves it.
    fn queue(&self, id: QueueId) -> Option<&Arc<Queue>> {
        match self.changes.queues.get(&id) {
            Some(changed) => changed.as_ref(),
            None => self.queues.get(&id),
        }
    }

    /// As the command leaves it.
    fn agent(&self, id: AgentId) -> Option<&Agent> {
        match self.changes.agents.get(&id) {
            Some(changed) => changed.as_deref(),
            None => self.agents.get(&id).map(|row| &**row),
        }
    }

    /// To be changed further.
    fn agent_mut(&mut self, id: AgentId) -> Option<&mut Agent> {
        let agents = self.agents;
        let row = self.changes.agents.entry(id);
        row.or_insert_with(|| agents.get(&id).cloned())
            .as_mut()
            .map(Arc::make_mut)
    }

    /// The service-level target.
    fn target_ms(&self, queue: Option<QueueId>) -> u64 {
        let queue = queue.and_then(|queue| self.queue(queue));
        queue.map_or(0, |queue| queue.settings.answer_target_ms)
    }

    /// Everybody's time up to now, a new day, and the service levels that time has changed.
    fn quarter_is_over(&mut self) {
        let everybody: Vec<AgentId> = self.report.meters.iter().map(|(id, _)| *id).collect();
        everybody.into_iter().for_each(|agent| self.meet(agent));
        self.forget_resolutions();
        let known: Vec<AgentId> = self.agents.iter().map(|(id, _)| *id).collect();
        known.into_iter().for_each(|agent| self.begin_day(agent));
        let served: Vec<QueueId> = self.queues.keys().copied().collect();
        served.into_iter().for_each(|queue| self.recent(queue));
    }

    /// Rows of quarter hours that are old, and the oldest of too many.
    fn leaving(&mut self) -> Vec<Event> {
        let mut leaving = Vec::new();
        let rows = &mut self.report.rows;
        let kept_ms = (limits::REPORT_QUARTERS_KEPT + 1) * QUARTER_HOUR_MS;
        let old = |key: &RowKey| key.quarter_ms.saturating_add(kept_ms) <= self.at_ms;
        loop {
            let first = rows.iter().next().map(|(key, _)| key.clone());
            let too_many = rows.len() > limits::REPORT_ROWS_MAX;
            let Some(key) = first.filter(|key| too_many || (self.changes.quarter_over && old(key))) else {
                return leaving;
            };
            if let Some(figures) = rows.remove(&key) {
                leaving.push(Event::ReportClosed { key, figures });
            }
        }
    }
}
