//! R43: what is wrong with a policy although every part of it is well-formed: rules that nobody can satisfy, loops, settings that
//! never come to pass.
//!
//! An **error** is what would strand conversations or cannot have been meant: a policy with one is refused when it is saved. A
//! **warning** is what may be meant. Codes are stable. Pure: the same policy, agents and moment give the same findings, sorted.
//!
//! Without agents (a policy file, a tenant that has none yet) what depends on them is left out.

mod agents;
mod calendars;
mod moves;
mod queues;
mod rules;

use std::collections::BTreeMap;
use std::fmt;

use routing::ids::{AgentId, CalendarId, Millis, QueueId, SkillName};
use routing::settings::{AgentSettings, Membership, Policy, QueueSettings, Requirement, SkillChange};
use serde::Serialize;
use utoipa::ToSchema;

use crate::tenant_file::Places;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Refused when the policy is saved.
    Error,
    /// May be meant.
    Warning,
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// What holds for all.
    Routing,
    /// A calendar.
    Calendar(CalendarId),
    /// A skill.
    Skill(SkillName),
    /// A queue.
    Queue(QueueId),
    /// An agent.
    Agent(AgentId),
    /// A rule, by its place, and one of its parts.
    Rule(usize, Option<usize>),
    /// What no rule matches.
    Fallback,
}

/// Where a finding is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// In what.
    pub thing: Thing,
    /// Which setting of it, as a tenant file calls it; empty: all of it.
    pub key: &'static str,
    /// Which step of that setting.
    pub step: Option<usize>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Stable, snake_case.
    pub code: &'static str,
    /// Where.
    pub spot: Spot,
    /// The thing by its name: ``queue `support` ``.
    pub of: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A finding as files and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Shown {
    /// How bad.
    pub severity: Severity,
    /// Stable, snake_case.
    #[schema(value_type = String, example = "rule_unsatisfiable")]
    pub code: &'static str,
    /// The thing by its name.
    #[schema(example = "queue `support`")]
    pub of: String,
    /// JSON pointer into the policy.
    #[schema(example = "/queues/que_0192e4a5b6c77d8e9f00112233445566/escalations/0")]
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Line of the file, if it is from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{severity}[{}]: {}: {}", self.code, self.of, self.message)
    }
}

impl Finding {
    /// For those who have the policy from the API.
    pub fn shown(&self) -> Shown {
        Shown {
            severity: self.severity,
            code: self.code,
            of: self.of.clone(),
            pointer: self.spot.pointer(),
            message: self.message.clone(),
            line: None,
        }
    }

    /// For those who have it from a file, whose ids are positions ([`crate::tenant_file::TenantFile::as_it_stands`]).
    pub fn shown_in(&self, places: &Places) -> Shown {
        Shown {
            line: places.line(&self.spot.path()),
            ..self.shown()
        }
    }
}

impl Spot {
    /// JSON pointer into the policy as the API has it.
    pub fn pointer(&self) -> String {
        let thing = match &self.thing {
            Thing::Routing => "/routing".to_owned(),
            Thing::Calendar(id) => format!("/calendars/{id}"),
            Thing::Skill(skill) => format!("/skills/{}", skill.0.replace('~', "~0").replace('/', "~1")),
            Thing::Queue(id) => format!("/queues/{id}"),
            Thing::Agent(id) => format!("/agents/{id}"),
            Thing::Rule(at, None) => format!("/rules/{at}"),
            Thing::Rule(at, Some(part)) => format!("/rules/{at}/parts/{part}/classification"),
            Thing::Fallback => "/fallback".to_owned(),
        };
        let key = match self.key {
            "" => return thing,
            "closed_move_to" => "when_closed",
            "offer_timeout" => "offer_timeout_ms",
            "return_wait" => "return_when_full",
            "channels" => "capacity/channels",
            key => key,
        };
        let step = self.step.map_or_else(String::new, |step| format!("/{step}"));
        format!("{thing}/{key}{step}")
    }

    /// Path in a tenant file.
    fn path(&self) -> String {
        let thing = match &self.thing {
            Thing::Routing => "routing".to_owned(),
            Thing::Calendar(id) => format!("calendar[{}]", id.0.saturating_sub(1)),
            Thing::Skill(_) => "skill".to_owned(),
            Thing::Queue(id) => format!("queue[{}]", id.0.saturating_sub(1)),
            Thing::Agent(id) => format!("agent[{}]", id.0.saturating_sub(1)),
            Thing::Rule(at, None) => format!("rule[{at}]"),
            Thing::Rule(at, Some(part)) => format!("rule[{at}].parts[{part}]"),
            Thing::Fallback => "fallback".to_owned(),
        };
        let key = if self.key.is_empty() {
            String::new()
        } else {
            format!(".{}", self.key)
        };
        let step = self.step.map_or_else(String::new, |step| format!("[{step}]"));
        format!("{thing}{key}{step}")
    }
}

/// Agents as the linter wants them.
pub type Agents = BTreeMap<AgentId, AgentSettings>;

/// Looks at everything. `now_ms` is for holidays that are over.
pub fn lint(policy: &Policy, agents: &Agents, now_ms: Millis) -> Vec<Finding> {
    let mut members: BTreeMap<QueueId, Vec<(&AgentSettings, Membership)>> = BTreeMap::new();
    for agent in agents.values() {
        for (queue, how) in &agent.queues {
            members.entry(*queue).or_default().push((agent, *how));
        }
    }
    let mut look = Look {
        policy,
        agents,
        members,
        found: Vec::new(),
    };
    look.rules();
    look.queues();
    look.moves();
    look.calendars(now_ms);
    if !agents.is_empty() {
        look.people();
    }
    look.found
        .sort_by(|a, b| (a.severity, &a.spot, a.code).cmp(&(b.severity, &b.spot, b.code)));
    look.found.dedup();
    look.found
}

/// Whether there is an error among them.
pub fn refused(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// A look at a policy.
struct Look<'a> {
    policy: &'a Policy,
    agents: &'a Agents,
    members: BTreeMap<QueueId, Vec<(&'a AgentSettings, Membership)>>,
    found: Vec<Finding>,
}

/// The spot of a whole thing, or of a setting of it.
fn spot(thing: Thing, key: &'static str) -> Spot {
    Spot { thing, key, step: None }
}

fn step(thing: Thing, key: &'static str, step: usize) -> Spot {
    Spot {
        thing,
        key,
        step: Some(step),
    }
}

impl<'a> Look<'a> {
    fn error(&mut self, code: &'static str, spot: Spot, message: impl Into<String>) {
        self.find(Severity::Error, code, spot, message.into());
    }

    fn warning(&mut self, code: &'static str, spot: Spot, message: impl Into<String>) {
        self.find(Severity::Warning, code, spot, message.into());
    }

    fn find(&mut self, severity: Severity, code: &'static str, spot: Spot, message: String) {
        let of = self.name_of(&spot.thing);
        self.found.push(Finding {
            severity,
            code,
            spot,
            of,
            message,
        });
    }

    fn name_of(&self, thing: &Thing) -> String {
        match thing {
            Thing::Routing => "routing".to_owned(),
            Thing::Calendar(id) => {
                let calendar = self.policy.calendars.get(id);
                format!(
                    "calendar `{}`",
                    calendar.map_or("?", |calendar| &calendar.settings.name)
                )
            }
            Thing::Skill(skill) => format!("skill `{}`", skill.0),
            Thing::Queue(id) => format!("queue {}", self.queue_name(*id)),
            Thing::Agent(id) => format!("agent `{}`", self.agents.get(id).map_or("?", |agent| &agent.name)),
            Thing::Rule(at, part) => {
                let name = self.policy.rules.get(*at).map_or("?", |rule| &rule.name);
                match part {
                    Some(part) => format!("rule `{name}`, part {}", part + 1),
                    None => format!("rule `{name}`"),
                }
            }
            Thing::Fallback => "fallback".to_owned(),
        }
    }

    /// `` `support` ``
    fn queue_name(&self, id: QueueId) -> String {
        match self.policy.queues.get(&id) {
            Some(queue) => format!("`{}`", queue.name),
            None => id.to_string(),
        }
    }

    fn members(&self, queue: QueueId) -> &[(&'a AgentSettings, Membership)] {
        self.members.get(&queue).map_or(&[], Vec::as_slice)
    }

    /// Whether somebody of the queue may serve who asks for this, at the latest when everything has been relaxed and every ring
    /// is open.
    fn can_serve(&self, queue: QueueId, settings: &QueueSettings, required: &[Requirement]) -> bool {
        let relaxed = relaxed(settings, required);
        self.members(queue).iter().any(|(agent, how)| {
            usize::from(how.tier) <= settings.rings.len()
                && relaxed
                    .iter()
                    .all(|asked| agent.skills.get(&asked.skill).is_some_and(|has| *has >= asked.level))
        })
    }
}

/// What is left of the required skills after the last step of relaxation.
fn relaxed(settings: &QueueSettings, required: &[Requirement]) -> Vec<Requirement> {
    let mut left = required.to_vec();
    for step in &settings.relaxations {
        let meant = |one: &Requirement| step.skill.as_ref().is_none_or(|skill| *skill == one.skill);
        match step.change {
            SkillChange::LowerBy(levels) => {
                for one in left.iter_mut().filter(|one| meant(one)) {
                    one.level = one.level.saturating_sub(levels).max(1);
                }
            }
            SkillChange::Prefer | SkillChange::Drop => left.retain(|one| !meant(one)),
        }
    }
    left
}

#[cfg(test)]
mod tests;
