//! A tenant in one TOML file: skills, queues, agents, rules, keys, by name. `ops/demo-tenant.toml` is an example of
//! everything.
//!
//! A file is complete: whatever it names, it declares. Every mistake is reported at once, with its line. Names become
//! ids only in [`TenantFile::plan`]: those that exist keep theirs, new ones get a UUIDv7.
//!
//! A file without agents and keys is a **policy file**: all that decides routing, for agents that are there already. Its rules
//! may prefer agents that it does not declare.

mod agents;
mod calendars;
mod keys;
mod plan;
mod queues;
mod rules;
mod show;
mod write;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use routing::ids::{AgentId, CalendarId, QueueId, SkillName};
use routing::limits::{AGENTS_MAX, CALENDARS_MAX, NAME_MAX_BYTES, QUEUES_MAX, SKILLS_MAX};
use routing::settings::{AgentSettings, CalendarSettings, Classification, QueueSettings, RoutingSettings, Rule};

pub use plan::{Existing, Plan, PlanError};
pub use write::Named;

use crate::directory::TenantKey;
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
    /// R34.
    pub calendars: Vec<CalendarSettings>,
    /// What holds for all. The starts of its days are made when the file is loaded.
    pub routing: RoutingSettings,
    /// Agents that a policy file names and does not declare; their positions follow those of [`TenantFile::agents`].
    pub agents_elsewhere: Vec<String>,
    /// Where everything is.
    pub places: Places,
}

/// Lines of a file by the path of what is there: `queue[3].rings[0].after`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<String, usize>);

impl Places {
    fn of(table: &toml_input::Table) -> Self {
        let mut places = Self::default();
        places.take("", table);
        places
    }

    fn take(&mut self, path: &str, table: &toml_input::Table) {
        for (key, (line, item)) in table {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            self.item(path, *line, item);
        }
    }

    fn item(&mut self, path: String, line: usize, item: &toml_input::Item) {
        match &item.value {
            toml_input::Raw::Table(inner) => self.take(&path, inner),
            toml_input::Raw::List(list) => {
                for (at, item) in list.iter().enumerate() {
                    self.item(format!("{path}[{at}]"), item.line, item);
                }
            }
            _ => {}
        }
        self.0.insert(path, line);
    }

    /// The line of a path, or of the nearest thing around it that the file has.
    pub fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
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
        let mut file = read(&mut root, &environment, &mut mistakes);
        file.places = Places::of(&table);
        root.finish(&mut mistakes);
        if mistakes.is_empty() {
            return Ok(file);
        }
        Err(TenantFileErrors {
            source: source.to_owned(),
            mistakes: mistakes.into_sorted(),
        })
    }
}

/// Names that a file declares; what refers to them gets their position.
struct Names {
    skills: Vec<String>,
    queues: Vec<String>,
    calendars: Vec<String>,
    agents: Vec<String>,
    /// Of a policy file: agents that it names.
    elsewhere: Option<RefCell<Vec<String>>>,
}

impl Names {
    fn queue(&self, name: &str, place: Place, path: &str, mistakes: &mut Mistakes) -> Option<QueueId> {
        position(&self.queues, "queue", name, place, path, mistakes).map(QueueId)
    }

    fn agent(&self, name: &str, place: Place, path: &str, mistakes: &mut Mistakes) -> Option<AgentId> {
        if let Some(elsewhere) = &self.elsewhere {
            let mut elsewhere = elsewhere.borrow_mut();
            let known = elsewhere.iter().position(|known| known == name);
            let at = known.unwrap_or_else(|| {
                elsewhere.push(name.to_owned());
                elsewhere.len() - 1
            });
            return Some(AgentId(at as u128 + 1));
        }
        position(&self.agents, "agent", name, place, path, mistakes).map(AgentId)
    }

    fn calendar(&self, name: &str, place: Place, path: &str, mistakes: &mut Mistakes) -> Option<CalendarId> {
        position(&self.calendars, "calendar", name, place, path, mistakes).map(CalendarId)
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
    let mut calendars = root.tables("calendar", mistakes);
    let mut agents = root.tables("agent", mistakes);
    let keys = root.tables("key", mistakes);
    // Names first: whatever follows may refer to any of them, earlier or later.
    let names = Names {
        skills: declared(&mut skills, "skill", SKILLS_MAX, mistakes),
        queues: declared(&mut queues, "queue", QUEUES_MAX, mistakes),
        calendars: declared(&mut calendars, "calendar", CALENDARS_MAX, mistakes),
        agents: declared(&mut agents, "agent", AGENTS_MAX, mistakes),
        elsewhere: (agents.is_empty() && keys.is_empty()).then(RefCell::default),
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
    let routing = root.table("routing", mistakes);
    let routing = routing.map_or_else(RoutingSettings::default, |reader| calendars::routing(reader, mistakes));
    let calendars = calendars.into_iter().zip(&names.calendars);
    let calendars = calendars
        .map(|(reader, name)| calendars::read(reader, name, mistakes))
        .collect();
    let keys = keys
        .into_iter()
        .filter_map(|reader| keys::read(reader, environment, mistakes))
        .collect();
    TenantFile {
        name,
        skills,
        queues,
        agents,
        rules,
        fallback,
        keys,
        calendars,
        routing,
        agents_elsewhere: names.elsewhere.map(RefCell::into_inner).unwrap_or_default(),
        places: Places::default(),
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

#[cfg(test)]
mod tests;
