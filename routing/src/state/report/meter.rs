//! An agent's time: advanced by what was true until now, before anything changes.

use serde::{Deserialize, Serialize};

use super::{Fold, working};
use crate::ids::{AgentId, Millis};
use crate::limits;
use crate::report::{ATTENTION_ONE, AgentTime, QUARTER_HOUR_MS, Subject, quarter_hour_of};
use crate::settings::Capacity;
use crate::state::agent::Agent;
use crate::state::conversation::Conversation;
use crate::view::Presence;

/// What an agent is, and has been since `at_ms`; and two clocks that run with their work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meter {
    /// Everything before is booked.
    pub at_ms: Millis,
    pub signed_in: bool,
    pub available: bool,
    /// Conversations that have their attention.
    pub held: u32,
    /// Units of capacity in use.
    pub used: u32,
    /// Units offered.
    pub offered: u32,
    /// ∫dt/k(t) while there are any, in 1/[`ATTENTION_ONE`] ms.
    pub attention: u64,
    /// ∫k(t)dt, in milliseconds.
    pub crowd_ms: u64,
}

impl Meter {
    /// What the agent is from now on; what is held and the clocks go on.
    fn reading(row: &Agent) -> impl FnOnce(&mut Self) + use<> {
        let (signed_in, available) = (row.presence != Presence::Offline, row.presence == Presence::Available);
        let used = row.used();
        let offered = if available {
            usable(&row.settings.capacity).max(used)
        } else {
            used
        };
        move |meter| {
            (meter.signed_in, meter.available) = (signed_in, available);
            (meter.used, meter.offered) = (used, offered);
        }
    }

    /// What a span of it adds.
    pub fn time(&self, span_ms: u64, time: &mut AgentTime) {
        let if_so = |so: bool| if so { span_ms } else { 0 };
        time.signed_in_ms += if_so(self.signed_in);
        time.available_ms += if_so(self.available);
        time.handling_ms += if_so(self.held > 0);
        time.idle_ms += if_so(self.held == 0 && self.available);
        time.concurrency_ms += span_ms * u64::from(self.held);
        time.used_unit_ms += span_ms * u64::from(self.used);
        time.offered_unit_ms += span_ms * u64::from(self.offered);
    }

    fn over(&self) -> bool {
        !self.signed_in && self.held == 0
    }
}

/// Units that can be in use at once: a total beyond what the channels allow is never used.
fn usable(capacity: &Capacity) -> u32 {
    let channels = capacity.channels.values();
    let all = channels.map(|channel| channel.cost.saturating_mul(u32::from(channel.concurrent_max)));
    all.fold(0, u32::saturating_add).min(capacity.total)
}

impl Fold<'_> {
    pub(super) fn meet_changed_agents(&mut self) {
        let changed: Vec<AgentId> = self.changes.agents.keys().copied().collect();
        changed.into_iter().for_each(|agent| self.meet(agent));
    }

    /// Books an agent's time up to now, by quarter hours.
    pub(super) fn meet(&mut self, agent: AgentId) {
        if !self.met.insert(agent) {
            return;
        }
        let Some(meter) = self.report.meters.get(&agent) else {
            return;
        };
        let mut meter = Meter::clone(meter);
        // A shard that stood still for long had nobody at work meanwhile: the span is cut.
        let longest_ms = limits::REPORT_SPAN_MAX_MS;
        let mut from_ms = meter.at_ms.max(self.at_ms.saturating_sub(longest_ms));
        while from_ms < self.at_ms {
            let quarter_ms = quarter_hour_of(from_ms);
            let to_ms = quarter_ms.saturating_add(QUARTER_HOUR_MS).min(self.at_ms);
            self.book_time(quarter_ms, agent, &meter, to_ms - from_ms);
            from_ms = to_ms;
        }
        let span_ms = self.at_ms.saturating_sub(meter.at_ms).min(longest_ms);
        if let Some(share) = (span_ms.saturating_mul(ATTENTION_ONE)).checked_div(u64::from(meter.held)) {
            meter.attention = meter.attention.saturating_add(share);
            meter.crowd_ms = (meter.crowd_ms).saturating_add(span_ms.saturating_mul(u64::from(meter.held)));
        }
        meter.at_ms = self.at_ms;
        if let Some(row) = self.report.meters.get_mut(&agent) {
            *row = meter;
        }
    }

    fn book_time(&mut self, quarter_ms: Millis, agent: AgentId, meter: &Meter, span_ms: u64) {
        if meter.over() {
            return;
        }
        self.book(quarter_ms, Subject::Time { agent }, |row| {
            meter.time(span_ms, &mut row.time)
        });
    }

    /// Clocks of an agent, now.
    pub(super) fn clocks(&self, agent: AgentId) -> (u64, u64) {
        let meter = self.report.meters.get(&agent);
        meter.map_or((0, 0), |meter| (meter.attention, meter.crowd_ms))
    }

    /// Whose attention a conversation had, and has.
    pub(super) fn hold(&mut self, before: Option<&Conversation>, after: Option<&Conversation>) {
        let (was, is) = (working(before), working(after));
        for agent in was.iter().filter(|agent| !is.contains(agent)) {
            self.meter(*agent, |meter| meter.held = meter.held.saturating_sub(1));
        }
        for agent in is.iter().filter(|agent| !was.contains(agent)) {
            self.meter(*agent, |meter| meter.held += 1);
        }
    }

    /// Changes an agent's meter, which is at this moment; it is made when it is not there.
    fn meter(&mut self, agent: AgentId, change: impl FnOnce(&mut Meter)) {
        if !self.report.meters.contains(&agent) {
            let new = Meter {
                at_ms: self.at_ms,
                ..Meter::default()
            };
            self.report.meters.put(agent, new.into());
        }
        if let Some(meter) = self.report.meters.get_mut(&agent) {
            change(meter);
        }
    }

    /// What everybody who was touched is from now on. Who is gone and has nothing is not measured.
    pub(super) fn set_meters(&mut self) {
        for agent in self.met.clone() {
            let Some(row) = self.agent(agent) else {
                self.report.meters.remove(&agent);
                continue;
            };
            if row.presence != Presence::Offline || self.report.meters.contains(&agent) {
                let set = Meter::reading(row);
                self.meter(agent, set);
            }
            if self.report.meters.get(&agent).is_some_and(|meter| meter.over()) {
                self.report.meters.remove(&agent);
            }
        }
    }
}
