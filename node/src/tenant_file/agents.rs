//! `[[agent]]`.

use std::collections::BTreeMap;

use routing::ids::{Channel, SkillName};
use routing::limits::{AGENT_QUEUES_MAX, AGENT_SKILLS_MAX, CHANNELS_MAX, DURATION_MAX_MS, NAME_MAX_BYTES};
use routing::settings::{AgentSettings, Capacity, ChannelCapacity, Membership};

use super::{Names, queues};
use crate::toml_input::{Mistakes, Place, Raw, Reader};

/// Held for so long when nothing else is said.
const LEASE_HOLD_MS: u64 = 30_000;

pub(super) fn read(mut reader: Reader<'_>, name: &str, names: &Names, mistakes: &mut Mistakes) -> AgentSettings {
    let skills = match reader.table("skills", mistakes) {
        Some(table) => skills(table, names, mistakes),
        None => BTreeMap::new(),
    };
    let path = reader.path_of("queues");
    let named = reader.texts("queues", mistakes).unwrap_or_default();
    if named.len() > AGENT_QUEUES_MAX {
        let right = format!("at most {AGENT_QUEUES_MAX} are allowed");
        reader.wrong(
            "queues",
            mistakes,
            format!("{} queues are too many", named.len()),
            right,
        );
    }
    let queues = named
        .into_iter()
        .filter_map(|(line, queue)| names.queue(queue, Place::Line(line), &path, mistakes));
    let queues = Membership::plain(queues);
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
        ..AgentSettings::default()
    };
    reader.finish(mistakes);
    settings
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
    // Without a total, it is what all channels together can take.
    let all = channels
        .values()
        .map(|channel: &ChannelCapacity| u32::from(channel.concurrent_max) * channel.cost);
    let total = total.map_or_else(|| all.fold(0, u32::saturating_add), |total| total as u32);
    Capacity {
        total,
        channels,
        interruptible: 0,
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
        interruptible: false,
    };
    table.finish(mistakes);
    capacity
}
