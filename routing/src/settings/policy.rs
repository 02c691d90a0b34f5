//! A policy: all that decides routing but the agents, changed as a whole at one index of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::classification::{Classification, Rule};
use super::queue::QueueSettings;
use crate::command::Principal;
use crate::ids::{CalendarId, Millis, QueueId, SkillName};
use crate::state::Rules;

/// R15: which queue an agent serves who is free for several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossQueue {
    /// The first of each queue: the higher priority first, then the older.
    #[default]
    PriorityThenAge,
    /// The queue of the lowest rank; within a rank, priority and age.
    StrictRank,
    /// Queues are served in proportion to their weights while they have somebody waiting (stride scheduling: Waldspurger and
    /// Weihl 1995).
    Weighted,
    /// The one who has waited longest, whatever the queue and priority.
    LongestWait,
    /// The one whose target is closest: began to wait + the queue's `answer_target_ms`.
    EarliestDeadline,
    /// The queue that is furthest above its share of all that wait (Gurvich and Whitt 2009).
    FixedQueueRatio,
    /// The queue where serving now saves most: derivative of the cost of waiting × the observed speed of service
    /// (Mandelbaum and Stolyar 2004).
    GeneralisedCmu,
}

/// What holds for the whole tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingSettings {
    /// R15.
    pub cross_queue: CrossQueue,
    /// R41: up to so many conversations and free agents that meet at once are matched together (0 and 1: one by one).
    pub batch_max: u8,
    /// IANA name of the zone of the tenant's day; empty: UTC.
    pub zone: String,
    /// First moments of the tenant's days, ascending; made from `zone` before the log. After the last one, days of 24 hours.
    pub day_starts_ms: Vec<Millis>,
    /// First contact resolution: who does not come back within so long was helped (0: seven days).
    pub repeat_window_ms: u64,
}

impl RoutingSettings {
    /// First moment of the tenant's day that `at_ms` is in.
    pub fn day_start_ms(&self, at_ms: Millis) -> Millis {
        let begun = self.day_starts_ms.partition_point(|start| *start <= at_ms);
        let start_ms = begun.checked_sub(1).map_or(0, |last| self.day_starts_ms[last]);
        // Days that the settings name are as long as they are (23 and 25 hours, too).
        let named = begun > 0 && begun < self.day_starts_ms.len();
        if named {
            start_ms
        } else {
            at_ms - (at_ms - start_ms) % DAY_MS
        }
    }
}

const DAY_MS: Millis = 24 * 3_600_000;

/// R34: a calendar as people write it, and as the log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// As written.
    pub settings: CalendarSettings,
    /// When it is open; made from the settings before the log, so that replicas cannot disagree. Ascending, apart.
    pub hours: Vec<OpenHours>,
    /// Up to when `hours` says anything. Later it counts as open.
    pub covered_until_ms: Millis,
}

/// R34: weekly hours in a time zone, and days that are different.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarSettings {
    /// Name, unique within the tenant.
    pub name: String,
    /// IANA name of the time zone (`Asia/Tokyo`).
    pub zone: String,
    /// Every week.
    pub weekly: Vec<WeeklyHours>,
    /// Holidays and other exceptions; they stand in the place of the weekly hours of their day.
    pub exceptions: Vec<CalendarException>,
}

/// Open on one day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WeeklyHours {
    /// 1 (Monday) – 7 (Sunday).
    pub weekday: u8,
    /// From this minute of the local day.
    pub from_minute: u16,
    /// To this one (1440: midnight).
    pub to_minute: u16,
}

/// A day that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CalendarException {
    /// `YYYY-MM-DD`, or `MM-DD` for every year.
    pub date: String,
    /// What for.
    pub name: String,
    /// Open in these (minutes from, to); none: closed all day.
    pub hours: Vec<(u16, u16)>,
}

/// Open from, and closed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpenHours {
    /// First open moment.
    pub from_ms: Millis,
    /// First closed moment.
    pub to_ms: Millis,
}

/// All that decides routing but the agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Known skills and what they mean.
    pub skills: BTreeMap<SkillName, String>,
    /// Queues.
    pub queues: BTreeMap<QueueId, QueueSettings>,
    /// R1, in order.
    pub rules: Vec<Rule>,
    /// R1: what no rule matches.
    pub fallback: Option<Classification>,
    /// R34.
    pub calendars: BTreeMap<CalendarId, Calendar>,
    /// For all.
    pub routing: RoutingSettings,
}

/// A policy that was in force, or is. Each change, of the whole or of a part, is one; it keeps what it replaced, so that one
/// queue of thousands costs one queue: see [`crate::state::Tenant::policy_of`] for the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// From 1; grows by one with each change of the policy, whole or in part.
    pub version: u64,
    /// Index of the log at which it came into force.
    pub index: u64,
    /// When.
    pub at_ms: Millis,
    /// Who changed it, when the command said so.
    pub by: Option<Principal>,
    /// Why, in their words.
    pub note: String,
    /// What was there before.
    pub(crate) replaced: Arc<Replaced>,
}

/// Which parts a version of the policy changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedParts {
    /// Skills, made, described anew or forgotten.
    pub skills: Vec<SkillName>,
    /// Queues, made, changed or removed.
    pub queues: Vec<QueueId>,
    /// Rules or the fallback.
    pub rules: bool,
    /// Calendars, made, changed or removed.
    pub calendars: Vec<CalendarId>,
    /// What holds for all.
    pub routing: bool,
}

impl PolicyVersion {
    /// Which parts it changed.
    pub fn changed(&self) -> ChangedParts {
        let replaced = &self.replaced;
        ChangedParts {
            skills: replaced.skills.keys().cloned().collect(),
            queues: replaced.queues.keys().copied().collect(),
            rules: replaced.rules.is_some(),
            calendars: replaced.calendars.keys().copied().collect(),
            routing: replaced.routing.is_some(),
        }
    }
}

/// What a change of the policy replaced. In a map, `None`: it was not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replaced {
    pub skills: BTreeMap<SkillName, Option<String>>,
    pub queues: BTreeMap<QueueId, Option<Arc<QueueSettings>>>,
    pub rules: Option<Arc<Rules>>,
    /// As people wrote them: open hours are made anew when an old version comes back.
    pub calendars: BTreeMap<CalendarId, Option<CalendarSettings>>,
    /// Without the starts of days.
    pub routing: Option<RoutingSettings>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_named_and_then_of_24_hours() {
        let hour = 3_600_000;
        let settings = RoutingSettings {
            day_starts_ms: vec![30 * hour, 55 * hour, 78 * hour],
            ..RoutingSettings::default()
        };
        let starts = [
            (3, 0),
            (29, 24),
            (30, 30),
            (54, 30),
            (55, 55),
            (77, 55),
            (78, 78),
            (101, 78),
            (102, 102),
            (130, 126),
        ];
        for (at, start) in starts {
            assert_eq!(settings.day_start_ms(at * hour + 5), start * hour);
        }
        assert_eq!(RoutingSettings::default().day_start_ms(25 * hour), 24 * hour);
    }
}
