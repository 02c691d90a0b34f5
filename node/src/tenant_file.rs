//! A tenant in one TOML file: skills, queues, agents, rules, keys, by name. `ops/demo-tenant.toml` is an example of
//! everything.
//!
//! A file is complete: whatever it names, it declares. Every mistake is reported at once, with its line. Names become
//! ids only in [`TenantFile::plan`]: those that exist keep theirs, new ones get a UUIDv7.

mod agents;
mod queues;
mod rules;
mod show;

use std::collections::BTreeMap;
use std::fmt;

use routing::command::Command;
use routing::ids::{AgentId, QueueId, SkillName};
use routing::limits::{AGENTS_MAX, NAME_MAX_BYTES, QUEUES_MAX, SKILLS_MAX};
use routing::settings::{AgentSettings, Classification, EscalateAction, QueueSettings, Rule};

use crate::auth::check_key;
use crate::directory::{KeyAlgorithm, TenantKey};
use crate::toml_input::{self, Mistake, Mistakes, Place, Reader, suggestion};

/// A tenant as a file describes it. Ids in it are provisional: the position of the name in its list, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantFile {
    /// Name of the tenant.
    pub name: String,
    /// Skills with their descriptions.
    pub skills: Vec<(SkillName, String)>,
    /// Queues.
    pub queues: Vec<QueueSettings>,
    /// Agents.
    pub agents: Vec<AgentSettings>,
    /// Rules, in order.
    pub rules: Vec<Rule>,
    /// What no rule matches.
    pub fallback: Option<Classification>,
    /// Keys of the tenant's tokens.
    pub keys: Vec<TenantKey>,
}

/// Everything that is wrong with a file.
#[derive(Clone, Debug)]
pub struct TenantFileErrors {
    /// The file.
    pub source: String,
    /// Every mistake.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for TenantFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.mistakes.len() == 1 {
            "mistake"
        } else {
            "mistakes"
        };
        write!(f, "{}: {} {noun}", self.source, self.mistakes.len())?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for TenantFileErrors {}

/// Ids that exist already, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Existing {
    /// Queues.
    pub queues: BTreeMap<String, QueueId>,
    /// Agents.
    pub agents: BTreeMap<String, AgentId>,
}

/// What to do to make a tenant what its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In this order: tenant, skills, queues, agents, rules.
    pub commands: Vec<Command>,
    /// Keys, for the directory.
    pub keys: Vec<TenantKey>,
}

impl TenantFile {
    /// Reads a file's text. `environment` is looked at for `secret_env` alone.
    pub fn parse(
        source: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, TenantFileErrors> {
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        let mut mistakes = Mistakes::default();
        let table = toml_input::parse(text, &mut mistakes);
        let mut root = Reader::new("", 1, &table);
        let file = read(&mut root, &environment, &mut mistakes);
        root.finish(&mut mistakes);
        if mistakes.is_empty() {
            return Ok(file);
        }
        Err(TenantFileErrors {
            source: source.to_owned(),
            mistakes: mistakes.into_sorted(),
        })
    }

    /// The commands that make the tenant, with names resolved to ids.
    pub fn plan(&self, existing: &Existing) -> Plan {
        let queue_ids: Vec<QueueId> = self
            .queues
            .iter()
            .map(|queue| {
                existing
                    .queues
                    .get(&queue.name)
                    .copied()
                    .unwrap_or_else(|| QueueId(fresh()))
            })
            .collect();
        let agent_ids: Vec<AgentId> = self
            .agents
            .iter()
            .map(|agent| {
                existing
                    .agents
                    .get(&agent.name)
                    .copied()
                    .unwrap_or_else(|| AgentId(fresh()))
            })
            .collect();
        let ids = Ids {
            queues: &queue_ids,
            agents: &agent_ids,
        };

        let mut commands = vec![Command::PutTenant {
            name: self.name.clone(),
        }];
        let skill = |(skill, description): &(SkillName, String)| Command::PutSkill {
            skill: skill.clone(),
            description: description.clone(),
        };
        commands.extend(self.skills.iter().map(skill));
        self.plan_queues(existing, ids, &mut commands);
        commands.extend(self.agents.iter().zip(&agent_ids).map(|(agent, id)| {
            Command::PutAgent {
                agent: *id,
                settings: AgentSettings {
                    queues: agent
                        .queues
                        .iter()
                        .map(|(queue, place)| (ids.queue(*queue), *place))
                        .collect(),
                    ..agent.clone()
                },
            }
        }));
        let part = |(weight, part): &(u32, Classification)| (*weight, ids.classification(part));
        let rule = |rule: &Rule| Rule {
            parts: rule.parts.iter().map(part).collect(),
            ..rule.clone()
        };
        commands.push(Command::PutRules {
            rules: self.rules.iter().map(rule).collect(),
            fallback: self.fallback.as_ref().map(|fallback| ids.classification(fallback)),
        });
        Plan {
            commands,
            keys: self.keys.clone(),
        }
    }

    /// A queue may escalate to one that is not there yet: it is put without its escalations first, and again at the end.
    fn plan_queues(&self, existing: &Existing, ids: Ids<'_>, commands: &mut Vec<Command>) {
        let mut again = Vec::new();
        let mut there: Vec<QueueId> = existing.queues.values().copied().collect();
        for (queue, id) in self.queues.iter().zip(ids.queues) {
            let mut settings = queue.clone();
            for step in &mut settings.escalations {
                if let EscalateAction::MoveQueue(to) = &mut step.action {
                    *to = ids.queue(*to);
                }
            }
            let waits = settings.escalations.iter().any(|step| match &step.action {
                EscalateAction::MoveQueue(to) => to != id && !there.contains(to),
                EscalateAction::RaisePriority(_) | EscalateAction::Close { .. } | EscalateAction::Reclassify { .. } => {
                    false
                }
            });
            if waits {
                again.push(Command::PutQueue {
                    queue: *id,
                    settings: settings.clone(),
                });
                settings.escalations.clear();
            }
            commands.push(Command::PutQueue { queue: *id, settings });
            there.push(*id);
        }
        commands.extend(again);
    }
}

#[derive(Clone, Copy)]
struct Ids<'a> {
    queues: &'a [QueueId],
    agents: &'a [AgentId],
}

impl Ids<'_> {
    /// A provisional id is a position, from 1; `read` made it, so it is in the list.
    fn queue(&self, provisional: QueueId) -> QueueId {
        self.queues[provisional.0 as usize - 1]
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

fn fresh() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}

/// Names that a file declares; what refers to them gets their position.
struct Names {
    skills: Vec<String>,
    queues: Vec<String>,
    agents: Vec<String>,
}

impl Names {
    fn queue(&self, name: &str, place: Place, path: &str, mistakes: &mut Mistakes) -> Option<QueueId> {
        position(&self.queues, "queue", name, place, path, mistakes).map(QueueId)
    }

    fn agent(&self, name: &str, place: Place, path: &str, mistakes: &mut Mistakes) -> Option<AgentId> {
        position(&self.agents, "agent", name, place, path, mistakes).map(AgentId)
    }

    fn skill(&self, name: &str, place: Place, path: &str, mistakes: &mut Mistakes) -> Option<SkillName> {
        position(&self.skills, "skill", name, place, path, mistakes).map(|_| SkillName(name.to_owned()))
    }
}

fn position(
    names: &[String],
    kind: &str,
    name: &str,
    place: Place,
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<u128> {
    let at = names.iter().position(|known| known == name);
    if at.is_none() {
        let right = format!(
            "declare it as [[{kind}]]; {}",
            suggestion(name, names.iter().map(String::as_str))
        );
        mistakes.add(place, path, format!("there is no {kind} {name:?} in this file"), right);
    }
    at.map(|at| at as u128 + 1)
}

fn read(root: &mut Reader<'_>, environment: &BTreeMap<String, String>, mistakes: &mut Mistakes) -> TenantFile {
    let name = match root.table("tenant", mistakes) {
        Some(mut tenant) => {
            let name = name_of(&mut tenant, mistakes);
            tenant.finish(mistakes);
            name
        }
        None => {
            root.wrong("tenant", mistakes, "missing", "write [tenant] with a name");
            String::new()
        }
    };
    let mut skills = root.tables("skill", mistakes);
    let mut queues = root.tables("queue", mistakes);
    let mut agents = root.tables("agent", mistakes);
    // Names first: whatever follows may refer to any of them, earlier or later.
    let names = Names {
        skills: declared(&mut skills, "skill", SKILLS_MAX, mistakes),
        queues: declared(&mut queues, "queue", QUEUES_MAX, mistakes),
        agents: declared(&mut agents, "agent", AGENTS_MAX, mistakes),
    };
    let skills = skills.into_iter().zip(&names.skills).map(|(mut reader, name)| {
        let description = reader.text("description", mistakes).unwrap_or_default().to_owned();
        reader.finish(mistakes);
        (SkillName(name.clone()), description)
    });
    let skills = skills.collect();
    let queues = queues.into_iter().zip(&names.queues);
    let queues = queues
        .map(|(reader, name)| queues::read(reader, name, &names, mistakes))
        .collect();
    let agents = agents.into_iter().zip(&names.agents);
    let agents = agents
        .map(|(reader, name)| agents::read(reader, name, &names, mistakes))
        .collect();
    let (rules, fallback) = rules::read(root, &names, mistakes);
    let keys = root.tables("key", mistakes);
    let keys = keys
        .into_iter()
        .filter_map(|reader| key(reader, environment, mistakes))
        .collect();
    TenantFile {
        name,
        skills,
        queues,
        agents,
        rules,
        fallback,
        keys,
    }
}

fn name_of(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> String {
    let name = reader.needed_text("name", mistakes).unwrap_or_default();
    if name.len() > NAME_MAX_BYTES {
        let right = format!("at most {NAME_MAX_BYTES} are allowed");
        reader.wrong("name", mistakes, format!("{} bytes are too many", name.len()), right);
    }
    name.to_owned()
}

fn declared(readers: &mut [Reader<'_>], kind: &str, most: usize, mistakes: &mut Mistakes) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    if let Some(first_beyond) = readers.get(most) {
        let place = Place::Line(first_beyond.line());
        mistakes.add(
            place,
            kind,
            format!("there are {}", readers.len()),
            format!("at most {most} are allowed"),
        );
    }
    for reader in readers {
        let name = name_of(reader, mistakes);
        if !name.is_empty() && names.contains(&name) {
            reader.wrong(
                "name",
                mistakes,
                format!("there is another {kind} {name:?}"),
                "names must differ",
            );
        }
        names.push(name);
    }
    names
}

fn key(mut reader: Reader<'_>, environment: &BTreeMap<String, String>, mistakes: &mut Mistakes) -> Option<TenantKey> {
    let kid = reader.needed_text("kid", mistakes);
    let algorithm = match reader.needed_text("algorithm", mistakes) {
        Some("HS256") => Some(KeyAlgorithm::Hs256),
        Some("EdDSA") => Some(KeyAlgorithm::EdDsa),
        Some(other) => {
            let wrong = format!("{other:?} is no algorithm");
            reader.wrong("algorithm", mistakes, wrong, suggestion(other, ["HS256", "EdDSA"]));
            None
        }
        None => None,
    };
    let given = [
        reader.text("secret", mistakes).map(str::to_owned),
        reader.text("public_key", mistakes).map(str::to_owned),
        reader.text("secret_env", mistakes).and_then(|variable| {
            let value = environment.get(variable).cloned();
            if value.is_none() {
                reader.wrong(
                    "secret_env",
                    mistakes,
                    format!("the variable {variable} is not set"),
                    "set it",
                );
            }
            value
        }),
    ];
    let line = reader.line();
    let key = kid.zip(algorithm).and_then(|(kid, algorithm)| {
        let mut materials = given.into_iter().flatten();
        match (materials.next(), materials.next()) {
            (Some(material), None) => Some(TenantKey {
                kid: kid.to_owned(),
                algorithm,
                material,
            }),
            _ => {
                let right = "HS256 needs `secret` or `secret_env`, EdDSA `public_key` (PEM)";
                mistakes.add(Place::Line(line), "key", "a key has exactly one material", right);
                None
            }
        }
    });
    if let Some(Err(error)) = key.as_ref().map(check_key) {
        mistakes.add(Place::Line(line), "key", error.to_string(), "");
    }
    reader.finish(mistakes);
    key
}

#[cfg(test)]
mod tests;
