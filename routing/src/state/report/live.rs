//! What may be asked of the KPIs that the state has.

use std::collections::BTreeMap;

use super::Report;
use crate::ids::{AgentId, Millis, QueueId};
use crate::report::{AgentTime, Figures, RowKey, Subject};
use crate::state::tenant::Tenant;
use crate::view::QueueRates;

/// Who waits in a queue with one priority: how many, and since when the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingClass {
    /// Waiting and offered.
    pub waiting: u32,
    /// Began to wait, the one who did so first.
    pub oldest_since_ms: Millis,
}

impl Tenant {
    /// The KPIs that the state still has, by quarter hour: the current one, the last [`crate::limits::REPORT_QUARTERS_KEPT`],
    /// and late news of older ones. Agents' time is counted up to their last change, or the quarter hour's beginning.
    pub fn report(&self) -> impl Iterator<Item = (&RowKey, &Figures)> {
        self.kept.report.rows.iter().map(|(key, row)| (key, &**row))
    }

    /// Agents' time in the quarter hours from `from_ms` that the state has, up to `at_ms`: also what has not been booked yet.
    pub fn agents_time(&self, from_ms: Millis, at_ms: Millis) -> BTreeMap<AgentId, AgentTime> {
        let Report { rows, meters, .. } = &self.kept.report;
        let mut times: BTreeMap<AgentId, AgentTime> = BTreeMap::new();
        for (key, row) in rows.iter().filter(|(key, _)| key.quarter_ms >= from_ms) {
            if let Subject::Time { agent } = key.subject {
                times.entry(agent).or_default().add(&row.time);
            }
        }
        for (agent, meter) in meters.iter() {
            let span_ms = at_ms.saturating_sub(meter.at_ms.max(from_ms));
            meter.time(span_ms, times.entry(*agent).or_default());
        }
        times
    }

    /// R42: who waits, by queue and priority, in this order. Looks at no conversation.
    pub fn waiting_classes(&self) -> impl Iterator<Item = ((QueueId, u8), WaitingClass)> {
        self.index.queues.iter().flat_map(|(queue, now)| {
            now.classes.iter().filter_map(|(priority, class)| {
                let &(oldest_since_ms, ..) = class.first()?;
                let waiting = u32::try_from(class.len()).unwrap_or(u32::MAX);
                let class = WaitingClass {
                    waiting,
                    oldest_since_ms,
                };
                Some(((*queue, *priority), class))
            })
        })
    }

    /// R35: what has been observed of a queue.
    pub fn rates(&self, queue: QueueId) -> Option<QueueRates> {
        self.kept.queues.get(&queue).map(|row| row.rates)
    }
}
