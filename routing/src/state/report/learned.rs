//! What is learned: speeds of agents (R44), rates of queues (R35), work of the day (R8).

use super::{Fold, Leg};
use crate::ids::{AgentId, Channel, Millis, QueueId};
use crate::report::{QUARTER_HOUR_MS, RowKey, Subject, quarter_hour_of};
use crate::settings::RoutingSettings;
use crate::state::conversation::Conversation;
use crate::view::{QueueRates, SPEED_LEVELS, Speeds};
use std::sync::Arc;

/// The mean moves by 1/`weight` of the way; rounded to the nearest.
fn smoothed(mean: u64, sample: u64, weight: u64) -> u64 {
    let sum = u128::from(mean) * u128::from(weight - 1) + u128::from(sample) + u128::from(weight / 2);
    u64::try_from(sum / u128::from(weight)).unwrap_or(u64::MAX)
}

/// First moment of the tenant's day that `at_ms` is in: by the days that the settings name, after the last of them, and where
/// there are none, by 24 hours.
pub(super) fn day_of(routing: &RoutingSettings, at_ms: Millis) -> Millis {
    routing.day_start_ms(at_ms)
}

/// R44: one more observation.
fn observe(speeds: &mut Speeds, at_once: u64, took_ms: u64) {
    let level = usize::try_from(at_once.max(1) - 1).map_or(SPEED_LEVELS - 1, |level| level.min(SPEED_LEVELS - 1));
    speeds.handle_ms[level] = match speeds.seen[level] {
        0 => took_ms,
        _ => smoothed(speeds.handle_ms[level], took_ms, 8),
    };
    speeds.seen[level] = speeds.seen[level].saturating_add(1);
}

impl Fold<'_> {
    /// A leg was handled to its end.
    pub(super) fn learn_from(&mut self, row: &Conversation, agent: AgentId, leg: &Leg) {
        if let Some(queue) = row.queue {
            let took_ms = leg.all_ms();
            self.rates(queue, |rates| {
                rates.handle_ms = match rates.handled {
                    0 => took_ms,
                    _ => smoothed(rates.handle_ms, took_ms, 16),
                };
                rates.handled = rates.handled.saturating_add(1);
            });
        }
        let working_ms = leg.talk_ms + leg.wrap_ms;
        if working_ms == 0 {
            return;
        }
        // The mean of the conversations that they had at once, rounded to the nearest.
        let at_once = (leg.crowd_ms + working_ms / 2) / working_ms;
        if let Some(row) = self.agent_mut(agent) {
            let mut speeds = *row.speeds;
            observe(&mut speeds, at_once, working_ms);
            row.speeds = Arc::new(speeds);
        }
    }

    /// Somebody's wait for the first answer is over. Patience is the waiting time of all per abandonment, the mean of an
    /// exponential patience when the waits of the answered are cut short (Brown et al. 2005, §5): between one abandonment and the next all waits
    /// are added up, and each such sum is one observation.
    pub(super) fn learn_wait(&mut self, queue: Option<QueueId>, waited_ms: u64, abandoned: bool) {
        let Some(queue) = queue.filter(|queue| self.queue(*queue).is_some()) else {
            return;
        };
        let waited = self.report.waited_ms.entry(queue).or_default();
        *waited = waited.saturating_add(waited_ms);
        if abandoned {
            let sample = self.report.waited_ms.remove(&queue).unwrap_or_default().max(1);
            self.rates(queue, |rates| {
                rates.patience_ms = match rates.patience_ms {
                    0 => sample,
                    mean => smoothed(mean, sample, 16),
                };
            });
        }
        self.recent(queue);
    }

    /// Service level of this and the last quarter hour, abandonment ignored.
    pub(super) fn recent(&mut self, queue: QueueId) {
        let quarter_ms = quarter_hour_of(self.at_ms);
        let (mut offered, mut within) = (0u64, 0u64);
        let first = Arc::new(Channel(String::new()));
        for quarter_ms in [Some(quarter_ms), quarter_ms.checked_sub(QUARTER_HOUR_MS)]
            .into_iter()
            .flatten()
        {
            let of_queue =
                |subject: &Subject| matches!(subject, Subject::Queue { queue: Some(of), .. } if *of == queue);
            let from = RowKey {
                quarter_ms,
                subject: Subject::Queue {
                    queue: Some(queue),
                    channel: first.clone(),
                },
            };
            let rows = self.report.rows.iter_from(from);
            let rows = rows.take_while(|(key, _)| key.quarter_ms == quarter_ms && of_queue(&key.subject));
            for (_, row) in rows {
                let visits = &row.visits;
                offered += visits.answered + visits.abandoned.saturating_sub(visits.abandoned_within);
                within += visits.answered_within;
            }
        }
        let as_u32 = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.rates(queue, |rates| {
            rates.recent_offered = as_u32(offered);
            rates.recent_within = as_u32(within);
        });
    }

    /// Changes what is known of a queue, if the queue still is.
    fn rates(&mut self, queue: QueueId, change: impl FnOnce(&mut QueueRates)) {
        let Some(row) = self.queue(queue) else { return };
        let mut rates = row.rates;
        change(&mut rates);
        if rates != row.rates {
            let mut row = row.clone();
            Arc::make_mut(&mut row).rates = rates;
            self.changes.queues.insert(queue, Some(row));
        }
    }

    /// R8: one more today.
    pub(super) fn given_to(&mut self, agent: AgentId) {
        let today_ms = day_of(self.routing, self.at_ms);
        if let Some(row) = self.agent_mut(agent) {
            if row.today_since_ms != today_ms {
                row.today_since_ms = today_ms;
                row.handled_today = 0;
            }
            row.handled_today = row.handled_today.saturating_add(1);
        }
    }

    /// R8: what was done on another day does not count today.
    pub(super) fn begin_day(&mut self, agent: AgentId) {
        let today_ms = day_of(self.routing, self.at_ms);
        let stale = self.agent(agent);
        if stale.is_some_and(|row| row.handled_today > 0 && row.today_since_ms != today_ms)
            && let Some(row) = self.agent_mut(agent)
        {
            row.today_since_ms = today_ms;
            row.handled_today = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;

    #[test]
    fn a_day_begins_where_the_settings_say_and_every_24_hours_after_the_last() {
        let utc = RoutingSettings::default();
        assert_eq!(day_of(&utc, 0), 0);
        assert_eq!(day_of(&utc, DAY_MS * 3 + 5), DAY_MS * 3);
        let (first, short) = (15 * 3_600_000, 15 * 3_600_000 + 23 * 3_600_000);
        let zoned = RoutingSettings {
            day_starts_ms: vec![first, short],
            ..RoutingSettings::default()
        };
        assert_eq!(day_of(&zoned, first - 1), 0, "before the first: UTC");
        assert_eq!(day_of(&zoned, first), first);
        assert_eq!(day_of(&zoned, short - 1), first);
        assert_eq!(day_of(&zoned, short), short);
        assert_eq!(day_of(&zoned, short + DAY_MS), short + DAY_MS);
    }

    #[test]
    fn speeds_are_kept_by_concurrency() {
        let mut speeds = Speeds::default();
        observe(&mut speeds, 0, 1);
        observe(&mut speeds, 2, 80);
        observe(&mut speeds, 2, 160);
        observe(&mut speeds, 99, 7);
        assert_eq!(speeds.handle_ms, [1, 90, 0, 0, 0, 0, 0, 7]);
        assert_eq!(speeds.seen, [1, 2, 0, 0, 0, 0, 0, 1]);
    }
}
