//! `[[agent]]`.

use std::collections::BTreeMap;

use routing::command::Value;
use routing::ids::{Channel, QueueId, SkillName};
use routing::limits::{
    AGENT_QUEUES_MAX, AGENT_SKILLS_MAX, CHANNELS_MAX, DURATION_MAX_MS, NAME_MAX_BYTES, RATE_MAX, RINGS_MAX,
};
use routing::settings::{AgentSettings, AssignmentRate, Capacity, ChannelCapacity, Membership};

use super::{Names, queues};
use crate::toml_input::{Mistakes, Place, Raw, Reader};

/// Held for so long when nothing else is said.
const LEASE_HOLD_MS: u64 = 30_000;

pub(super) fn read(mut reader: Reader<'_>, name: &str, names: &Names, mistakes: &mut Mistakes) -> AgentSettings {
    let skills = match reader.table("skills", mistakes) {
        Some(table) => skills(table, names, mistakes),
        None => BTreeMap::new(),
    };
    let queues = memberships(&mut reader, names, mistakes);
    let capacity = capacity(&mut reader, mistakes);
    let settings = AgentSettings {
        name: name.to_owned(),
        skills,
        queues,
        capacity,
        may_pull: reader.flag("may_pull", mistakes).unwrap_or(false),
        supervisor: reader.flag("supervisor", mistakes).unwrap_or(false),
        lease_hold_ms: reader
            .duration_ms("lease_hold", DURATION_MAX_MS, mistakes)
            .unwrap_or(LEASE_HOLD_MS),
        rate: reader.table("rate", mistakes).and_then(|table| rate(table, mistakes)),
        warm_up_ms: reader.duration_ms("warm_up", DURATION_MAX_MS, mistakes).unwrap_or(0),
        attributes: reader
            .table("attributes", mistakes)
            .map(|table| attributes(table, mistakes))
            .unwrap_or_default(),
    };
    reader.finish(mistakes);
    settings
}

/// R3: `{ site = "osaka", years = 5, licensed = true }`.
fn attributes(mut table: Reader<'_>, mistakes: &mut Mistakes) -> BTreeMap<String, Value> {
    let mut attributes = BTreeMap::new();
    for (key, line, item) in table.entries() {
        match attribute(&item.value) {
            Some(value) => _ = attributes.insert(key.to_owned(), value),
            None => {
                let wrong = format!("{} is no attribute", item.value.describe());
                mistakes.add(Place::Line(line), &table.path_of(key), wrong, ATTRIBUTE);
            }
        }
    }
    attributes
}

/// What an attribute may be.
pub(super) const ATTRIBUTE: &str = "write a text, a whole number, true or false";

pub(super) fn attribute(raw: &Raw) -> Option<Value> {
    match raw {
        Raw::Text(text) => Some(Value::Text(text.clone())),
        Raw::Integer(number) => Some(Value::Number(*number)),
        Raw::Flag(truth) => Some(Value::Bool(*truth)),
        _ => None,
    }
}

/// `["support", "sales"]`, or `{ support = {}, sales = { tier = 1, position = 2, weight = 3 } }`.
fn memberships(reader: &mut Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> BTreeMap<QueueId, Membership> {
    let path = reader.path_of("queues");
    let is_table = reader
        .entries()
        .any(|(key, _, item)| key == "queues" && matches!(item.value, Raw::Table(_)));
    let mut queues = BTreeMap::new();
    if is_table {
        let Some(mut table) = reader.table("queues", mistakes) else {
            return queues;
        };
        for (name, line, item) in table.entries() {
            let queue = names.queue(name, Place::Line(line), &path, mistakes);
            let Raw::Table(inner) = &item.value else {
                let wrong = format!("{} is no membership", item.value.describe());
                let right = "write { tier = 1, position = 2, weight = 3 }, or {} for the usual";
                mistakes.add(Place::Line(line), &table.path_of(name), wrong, right);
                continue;
            };
            let membership = membership(Reader::new(table.path_of(name), line, inner), mistakes);
            queues.extend(queue.map(|queue| (queue, membership)));
        }
    } else {
        let named = reader.texts("queues", mistakes).unwrap_or_default();
        let known = named
            .into_iter()
            .filter_map(|(line, queue)| names.queue(queue, Place::Line(line), &path, mistakes));
        queues = Membership::plain(known);
    }
    if queues.len() > AGENT_QUEUES_MAX {
        let right = format!("at most {AGENT_QUEUES_MAX} are allowed");
        reader.wrong(
            "queues",
            mistakes,
            format!("{} queues are too many", queues.len()),
            right,
        );
    }
    queues
}

fn membership(mut table: Reader<'_>, mistakes: &mut Mistakes) -> Membership {
    let mut membership = Membership::default();
    if let Some(tier) = table.integer("tier", 0..=RINGS_MAX as u64, mistakes) {
        membership.tier = tier as u8;
    }
    if let Some(position) = table.integer("position", 0..=u64::from(u16::MAX), mistakes) {
        membership.position = position as u16;
    }
    if let Some(weight) = table.integer("weight", 1..=u64::from(u16::MAX), mistakes) {
        membership.weight = weight as u16;
    }
    table.finish(mistakes);
    membership
}

/// `{ max = 3, window = "1m" }`.
fn rate(mut table: Reader<'_>, mistakes: &mut Mistakes) -> Option<AssignmentRate> {
    let max = table.integer("max", 1..=u64::from(RATE_MAX), mistakes);
    let window_ms = queues::needed_duration(&mut table, "window", mistakes);
    if max.is_none() && !table.entries().any(|(key, _, _)| key == "max") {
        table.wrong("max", mistakes, "missing", "how many new ones within the window?");
    }
    table.finish(mistakes);
    Some(AssignmentRate {
        max: max? as u8,
        window_ms: window_ms?,
    })
}

/// `{ billing = 5, "language.ja" = 10 }`.
pub(super) fn skills(mut table: Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> BTreeMap<SkillName, u8> {
    let path = table.path_of("");
    let path = path.trim_end_matches('.');
    let mut skills = BTreeMap::new();
    for (name, line, item) in table.entries() {
        // `language.ja = 10` without quotation marks is a table in a table.
        if let Raw::Table(_) = item.value {
            let right = format!("a name with a dot is written in quotation marks: \"{name}.…\" = 5");
            mistakes.add(
                Place::Line(line),
                &format!("{path}.{name}"),
                "a table is no level",
                right,
            );
            continue;
        }
        let skill = names.skill(name, Place::Line(line), path, mistakes);
        let level = queues::level(name, line, path, &item.value, mistakes);
        skills.extend(skill.zip(level));
    }
    if skills.len() > AGENT_SKILLS_MAX {
        let right = format!("at most {AGENT_SKILLS_MAX} are allowed");
        mistakes.add(
            Place::Line(table.line()),
            path,
            format!("{} skills are too many", skills.len()),
            right,
        );
    }
    skills
}

fn capacity(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Capacity {
    let total = reader.integer("capacity", 0..=u64::from(u32::MAX), mistakes);
    let interruptible = reader.integer("interruptible", 0..=u64::from(u32::MAX), mistakes);
    let mut channels = BTreeMap::new();
    match reader.table("channels", mistakes) {
        Some(mut table) => {
            for (name, line, item) in table.entries() {
                let path = table.path_of(name);
                match &item.value {
                    Raw::Table(inner) if name.len() <= NAME_MAX_BYTES => {
                        let channel = channel(Reader::new(path, line, inner), mistakes);
                        channels.insert(Channel(name.to_owned()), channel);
                    }
                    other => {
                        let right = "write { concurrent_max = 3, cost = 1 }";
                        mistakes.add(
                            Place::Line(line),
                            &path,
                            format!("{} is no capacity", other.describe()),
                            right,
                        );
                    }
                }
            }
            if channels.len() > CHANNELS_MAX {
                let right = format!("at most {CHANNELS_MAX} are allowed");
                mistakes.add(
                    Place::Line(table.line()),
                    &table.path_of(""),
                    "too many channels",
                    right,
                );
            }
        }
        None => {
            let right =
                "write channels = { web_chat = { concurrent_max = 3 } }: a channel that is not named is not served";
            if !reader.entries().any(|(key, _, _)| key == "channels") {
                reader.wrong("channels", mistakes, "missing", right);
            }
        }
    }
    // Without a total, it is what all channels of its pool together can take.
    let all = |soft: bool| {
        let pool = channels
            .values()
            .filter(|channel: &&ChannelCapacity| channel.interruptible == soft);
        let units = pool.map(|channel| u32::from(channel.concurrent_max) * channel.cost);
        units.fold(0, u32::saturating_add)
    };
    Capacity {
        total: total.map_or_else(|| all(false), |total| total as u32),
        interruptible: interruptible.map_or_else(|| all(true), |total| total as u32),
        channels,
    }
}

fn channel(mut table: Reader<'_>, mistakes: &mut Mistakes) -> ChannelCapacity {
    let most = table.integer("concurrent_max", 1..=1_000, mistakes);
    if most.is_none() && !table.entries().any(|(key, _, _)| key == "concurrent_max") {
        table.wrong("concurrent_max", mistakes, "missing", "how many at once?");
    }
    let capacity = ChannelCapacity {
        concurrent_max: most.unwrap_or(1) as u16,
        cost: table.integer("cost", 0..=1_000, mistakes).unwrap_or(1) as u32,
        exclusive: table.flag("exclusive", mistakes).unwrap_or(false),
        interruptible: table.flag("interruptible", mistakes).unwrap_or(false),
    };
    if capacity.exclusive && capacity.interruptible {
        let right = "exclusive work interrupts what is interruptible; it cannot be both";
        table.wrong(
            "interruptible",
            mistakes,
            "nothing comes beside what is exclusive",
            right,
        );
    }
    table.finish(mistakes);
    capacity
}
