//! From names to ids: what to do to make a tenant what its file says.

use std::collections::BTreeMap;

use routing::ids::{AgentId, CalendarId, QueueId};
use routing::settings::{
    AgentSettings, Calendar, Classification, EscalateAction, Policy, QueueSettings, Rule, WhenClosed,
};

use super::TenantFile;
use crate::directory::TenantKey;

/// Ids that exist already, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Existing {
    /// Queues.
    pub queues: BTreeMap<String, QueueId>,
    /// Agents.
    pub agents: BTreeMap<String, AgentId>,
    /// Calendars.
    pub calendars: BTreeMap<String, CalendarId>,
}

/// A file with ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the tenant.
    pub name: String,
    /// All that decides routing. Calendars and days are as written: [`crate::calendars::prepare`] makes their hours.
    pub policy: Policy,
    /// Agents, in the order of the file.
    pub agents: Vec<(AgentId, AgentSettings)>,
    /// Keys, for the directory.
    pub keys: Vec<TenantKey>,
}

/// A policy file names what it does not declare, and it is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file prefers the agent {0:?}, who is neither in it nor in the tenant")]
pub struct PlanError(pub String);

#[derive(Clone, Copy)]
struct Ids<'a> {
    queues: &'a [QueueId],
    calendars: &'a [CalendarId],
    agents: &'a [AgentId],
}

fn known_or_fresh<Id: Copy>(known: &BTreeMap<String, Id>, name: &str, made: fn(u128) -> Id) -> Id {
    let known = known.get(name).copied();
    known.unwrap_or_else(|| made(uuid::Uuid::now_v7().as_u128()))
}

impl TenantFile {
    /// With names resolved to ids: those that exist keep theirs.
    pub fn plan(&self, existing: &Existing) -> Result<Plan, PlanError> {
        let queues = self.queues.iter();
        let queues: Vec<QueueId> = queues
            .map(|queue| known_or_fresh(&existing.queues, &queue.name, QueueId))
            .collect();
        let calendars = self.calendars.iter();
        let calendars: Vec<CalendarId> = calendars
            .map(|calendar| known_or_fresh(&existing.calendars, &calendar.name, CalendarId))
            .collect();
        let agents = self.agents.iter();
        let mut agents: Vec<AgentId> = agents
            .map(|agent| known_or_fresh(&existing.agents, &agent.name, AgentId))
            .collect();
        for name in &self.agents_elsewhere {
            agents.push(*existing.agents.get(name).ok_or_else(|| PlanError(name.clone()))?);
        }
        Ok(self.with_ids(Ids {
            queues: &queues,
            calendars: &calendars,
            agents: &agents,
        }))
    }

    /// As a plan whose ids are the positions in the file, from 1: for looking at it alone.
    pub fn as_it_stands(&self) -> Plan {
        fn positions<Id>(count: usize, made: fn(u128) -> Id) -> Vec<Id> {
            (1..=count as u128).map(made).collect()
        }
        self.with_ids(Ids {
            queues: &positions(self.queues.len(), QueueId),
            calendars: &positions(self.calendars.len(), CalendarId),
            agents: &positions(self.agents.len() + self.agents_elsewhere.len(), AgentId),
        })
    }

    fn with_ids(&self, ids: Ids<'_>) -> Plan {
        let calendar = |settings: &_| Calendar {
            settings: Clone::clone(settings),
            ..Calendar::default()
        };
        let part = |(weight, part): &(u32, Classification)| (*weight, ids.classification(part));
        let rule = |rule: &Rule| Rule {
            parts: rule.parts.iter().map(part).collect(),
            ..rule.clone()
        };
        let agent = |agent: &AgentSettings| AgentSettings {
            queues: agent
                .queues
                .iter()
                .map(|(queue, how)| (ids.queue(*queue), *how))
                .collect(),
            ..agent.clone()
        };
        Plan {
            name: self.name.clone(),
            policy: Policy {
                skills: self.skills.iter().cloned().collect(),
                queues: ids
                    .queues
                    .iter()
                    .copied()
                    .zip(self.queues.iter().map(|queue| ids.settings(queue)))
                    .collect(),
                rules: self.rules.iter().map(rule).collect(),
                fallback: self.fallback.as_ref().map(|fallback| ids.classification(fallback)),
                calendars: ids
                    .calendars
                    .iter()
                    .copied()
                    .zip(self.calendars.iter().map(calendar))
                    .collect(),
                routing: self.routing.clone(),
            },
            agents: ids.agents.iter().copied().zip(self.agents.iter().map(agent)).collect(),
            keys: self.keys.clone(),
        }
    }
}

impl Ids<'_> {
    /// A provisional id is a position, from 1; reading made it, so it is in the list.
    fn queue(&self, provisional: QueueId) -> QueueId {
        self.queues[provisional.0 as usize - 1]
    }

    fn settings(&self, provisional: &QueueSettings) -> QueueSettings {
        let mut settings = provisional.clone();
        for step in &mut settings.escalations {
            if let EscalateAction::MoveQueue(to) = &mut step.action {
                *to = self.queue(*to);
            }
        }
        if let WhenClosed::MoveQueue(to) = &mut settings.when_closed {
            *to = self.queue(*to);
        }
        settings.calendar = settings
            .calendar
            .map(|provisional| self.calendars[provisional.0 as usize - 1]);
        settings
    }

    fn classification(&self, provisional: &Classification) -> Classification {
        let mut classification = provisional.clone();
        for queue in &mut classification.queues {
            *queue = self.queue(*queue);
        }
        if let Some(preference) = &mut classification.preferred_agent {
            preference.agent = self.agents[preference.agent.0 as usize - 1];
        }
        classification
    }
}
