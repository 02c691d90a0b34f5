//! Calendars, what holds for all, whole policies.

use std::collections::BTreeMap;

use routing::ids::{CalendarId, QueueId, SkillName};
use routing::settings::{
    Calendar, CalendarException, CalendarSettings, CrossQueue, Policy, RoutingSettings, WeeklyHours,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ClassificationBody, QueueBody, RuleBody};

/// R15: which queue an agent serves who is free for several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CrossQueuePolicyBody {
    #[default]
    PriorityThenAge,
    StrictRank,
    Weighted,
    LongestWait,
    EarliestDeadline,
    FixedQueueRatio,
    GeneralisedCmu,
}

/// What holds for the whole tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingBody {
    /// R15.
    pub cross_queue: CrossQueuePolicyBody,
    /// R41: so many conversations and agents that meet at once are matched together (0 and 1: one by one).
    pub batch_max: u8,
    /// IANA zone of the tenant's day; empty: UTC.
    #[schema(example = "Asia/Tokyo")]
    pub zone: String,
    /// First contact resolution: who does not come back within so long was helped (0: seven days).
    pub repeat_window_ms: u64,
}

/// R34: weekly hours in a time zone, and days that are different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarBody {
    /// Unique within the tenant.
    pub name: String,
    /// IANA name of the time zone.
    #[schema(example = "Asia/Tokyo")]
    pub zone: String,
    /// Every week.
    #[serde(default)]
    pub weekly: Vec<WeeklyBody>,
    /// Days that stand in the place of the weekly hours.
    #[serde(default)]
    pub exceptions: Vec<ExceptionBody>,
}

/// Open on one day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WeeklyBody {
    /// 1 (Monday) – 7 (Sunday).
    pub weekday: u8,
    /// From this minute of the local day.
    pub from_minute: u16,
    /// To this one (1440: midnight).
    pub to_minute: u16,
}

/// A day that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExceptionBody {
    /// `YYYY-MM-DD`, or `MM-DD` for every year.
    #[schema(example = "2026-11-23")]
    pub date: String,
    /// What for.
    #[serde(default)]
    pub name: String,
    /// Open in these; none: closed all day.
    #[serde(default)]
    pub hours: Vec<HoursBody>,
}

/// Hours of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoursBody {
    /// From this minute of the local day.
    pub from_minute: u16,
    /// To this one (1440: midnight).
    pub to_minute: u16,
}

impl From<&CalendarSettings> for CalendarBody {
    fn from(from: &CalendarSettings) -> Self {
        let weekly = from.weekly.iter().map(|hours| WeeklyBody {
            weekday: hours.weekday,
            from_minute: hours.from_minute,
            to_minute: hours.to_minute,
        });
        let hours = |(from_minute, to_minute): &(u16, u16)| HoursBody {
            from_minute: *from_minute,
            to_minute: *to_minute,
        };
        let exceptions = from.exceptions.iter().map(|exception| ExceptionBody {
            date: exception.date.clone(),
            name: exception.name.clone(),
            hours: exception.hours.iter().map(hours).collect(),
        });
        Self {
            name: from.name.clone(),
            zone: from.zone.clone(),
            weekly: weekly.collect(),
            exceptions: exceptions.collect(),
        }
    }
}

impl From<CalendarBody> for CalendarSettings {
    fn from(from: CalendarBody) -> Self {
        let weekly = from.weekly.into_iter().map(|hours| WeeklyHours {
            weekday: hours.weekday,
            from_minute: hours.from_minute,
            to_minute: hours.to_minute,
        });
        let exceptions = from.exceptions.into_iter().map(|exception| CalendarException {
            date: exception.date,
            name: exception.name,
            hours: exception
                .hours
                .iter()
                .map(|hours| (hours.from_minute, hours.to_minute))
                .collect(),
        });
        Self {
            name: from.name,
            zone: from.zone,
            weekly: weekly.collect(),
            exceptions: exceptions.collect(),
        }
    }
}

/// All that decides routing but the agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyBody {
    /// Known skills and what they mean.
    pub skills: BTreeMap<String, String>,
    /// Queues, by their ids: `que_…`, of the caller's choice for new ones.
    #[schema(value_type = std::collections::BTreeMap<String, QueueBody>)]
    pub queues: BTreeMap<QueueId, QueueBody>,
    /// R1, in order.
    pub rules: Vec<RuleBody>,
    /// R1: what no rule matches.
    pub fallback: Option<ClassificationBody>,
    /// R34, by their ids: `cal_…`, of the caller's choice for new ones.
    #[schema(value_type = std::collections::BTreeMap<String, CalendarBody>)]
    pub calendars: BTreeMap<CalendarId, CalendarBody>,
    /// For all.
    pub routing: RoutingBody,
}

impl From<&RoutingSettings> for RoutingBody {
    fn from(from: &RoutingSettings) -> Self {
        Self {
            cross_queue: match from.cross_queue {
                CrossQueue::PriorityThenAge => CrossQueuePolicyBody::PriorityThenAge,
                CrossQueue::StrictRank => CrossQueuePolicyBody::StrictRank,
                CrossQueue::Weighted => CrossQueuePolicyBody::Weighted,
                CrossQueue::LongestWait => CrossQueuePolicyBody::LongestWait,
                CrossQueue::EarliestDeadline => CrossQueuePolicyBody::EarliestDeadline,
                CrossQueue::FixedQueueRatio => CrossQueuePolicyBody::FixedQueueRatio,
                CrossQueue::GeneralisedCmu => CrossQueuePolicyBody::GeneralisedCmu,
            },
            batch_max: from.batch_max,
            zone: from.zone.clone(),
            repeat_window_ms: from.repeat_window_ms,
        }
    }
}

impl From<RoutingBody> for RoutingSettings {
    /// Without the starts of days.
    fn from(from: RoutingBody) -> Self {
        Self {
            cross_queue: match from.cross_queue {
                CrossQueuePolicyBody::PriorityThenAge => CrossQueue::PriorityThenAge,
                CrossQueuePolicyBody::StrictRank => CrossQueue::StrictRank,
                CrossQueuePolicyBody::Weighted => CrossQueue::Weighted,
                CrossQueuePolicyBody::LongestWait => CrossQueue::LongestWait,
                CrossQueuePolicyBody::EarliestDeadline => CrossQueue::EarliestDeadline,
                CrossQueuePolicyBody::FixedQueueRatio => CrossQueue::FixedQueueRatio,
                CrossQueuePolicyBody::GeneralisedCmu => CrossQueue::GeneralisedCmu,
            },
            batch_max: from.batch_max,
            zone: from.zone,
            day_starts_ms: Vec::new(),
            repeat_window_ms: from.repeat_window_ms,
        }
    }
}

impl From<&Policy> for PolicyBody {
    fn from(from: &Policy) -> Self {
        let skills = from.skills.iter().map(|(skill, text)| (skill.0.clone(), text.clone()));
        let calendars = from
            .calendars
            .iter()
            .map(|(id, calendar)| (*id, (&calendar.settings).into()));
        Self {
            skills: skills.collect(),
            queues: from.queues.iter().map(|(id, queue)| (*id, queue.into())).collect(),
            rules: from.rules.iter().map(Into::into).collect(),
            fallback: from.fallback.as_ref().map(Into::into),
            calendars: calendars.collect(),
            routing: (&from.routing).into(),
        }
    }
}

impl From<PolicyBody> for Policy {
    /// Without open hours and days: see [`crate::calendars::prepare`].
    fn from(from: PolicyBody) -> Self {
        let skills = from.skills.into_iter().map(|(skill, text)| (SkillName(skill), text));
        let calendar = |body: CalendarBody| Calendar {
            settings: body.into(),
            ..Calendar::default()
        };
        Self {
            skills: skills.collect(),
            queues: from.queues.into_iter().map(|(id, queue)| (id, queue.into())).collect(),
            rules: from.rules.into_iter().map(Into::into).collect(),
            fallback: from.fallback.map(Into::into),
            calendars: from
                .calendars
                .into_iter()
                .map(|(id, body)| (id, calendar(body)))
                .collect(),
            routing: from.routing.into(),
        }
    }
}
