//! `[[queue]]`.

use routing::limits::{DURATION_MAX_MS, ESCALATIONS_MAX, PRIORITY_MAX};
use routing::settings::{
    AgentChoice, AtCap, EscalateAction, EscalateWhen, Escalation, NoReply, Order, QueueSettings, WrapUp,
};

use super::Names;
use crate::toml_input::{Mistakes, Place, Raw, Reader, suggestion};

pub(super) fn read(mut reader: Reader<'_>, name: &str, names: &Names, mistakes: &mut Mistakes) -> QueueSettings {
    let mut queue = QueueSettings::named(name);
    queue.order = order(&mut reader, mistakes);
    if let Some(choice) = choice(&mut reader, mistakes) {
        queue.choice = choice;
    }
    let durations: [(&'static str, &mut u64); 7] = [
        ("offer_timeout", &mut queue.offer_timeout_ms),
        ("decline_exclude", &mut queue.decline_exclude_ms),
        ("wait_max", &mut queue.wait_max_ms),
        ("abandon_hold", &mut queue.abandon_hold_ms),
        ("short_abandon", &mut queue.short_abandon_ms),
        ("reopen_window", &mut queue.reopen_window_ms),
        ("answer_target", &mut queue.answer_target_ms),
    ];
    for (key, place) in durations {
        if let Some(ms) = reader.duration_ms(key, DURATION_MAX_MS, mistakes) {
            *place = ms;
        }
    }
    if queue.offer_timeout_ms == 0 {
        reader.wrong("offer_timeout", mistakes, "an offer needs some time", "20s is usual");
    }
    if let Some(auto) = reader.flag("auto_accept", mistakes) {
        queue.auto_accept = auto;
    }
    if let Some(times) = reader.integer("timeouts_until_away", 0..=255, mistakes) {
        queue.timeouts_until_away = times as u8;
    }
    if let Some(length) = reader.integer("length_max", 0..=u64::from(u32::MAX), mistakes) {
        queue.length_max = length as u32;
    }
    queue.at_cap = at_cap(&mut reader, mistakes);
    queue.no_reply = reader
        .table("no_reply", mistakes)
        .and_then(|table| no_reply(table, mistakes));
    queue.escalations = escalations(&mut reader, names, mistakes);
    queue.wrap_up = reader
        .table("wrap_up", mistakes)
        .map_or(WrapUp::None, |table| wrap_up(table, mistakes));
    reader.finish(mistakes);
    queue
}

fn order(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Order {
    let step = reader.duration_ms("ageing_step", DURATION_MAX_MS, mistakes);
    let order = match reader.text("order", mistakes) {
        None | Some("strict_priority") => Order::StrictPriority,
        Some("linear_ageing") => {
            if step.is_none_or(|step| step == 0) {
                let right = "write `ageing_step = \"30s\"`: the age that one step of priority outweighs";
                reader.wrong("ageing_step", mistakes, "linear ageing needs a step", right);
            }
            return Order::LinearAgeing {
                step_ms: step.unwrap_or(1),
            };
        }
        Some(other) => {
            let right = suggestion(other, ["strict_priority", "linear_ageing"]);
            reader.wrong("order", mistakes, format!("{other:?} is no order"), right);
            return Order::StrictPriority;
        }
    };
    if step.is_some() {
        let right = "remove it, or write `order = \"linear_ageing\"`";
        reader.wrong("ageing_step", mistakes, "strict priority has no ageing", right);
    }
    order
}

fn choice(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Option<AgentChoice> {
    const CHOICES: [(&str, AgentChoice); 4] = [
        ("longest_idle", AgentChoice::LongestIdle),
        ("least_loaded", AgentChoice::LeastLoaded),
        ("most_skilled", AgentChoice::MostSkilled),
        ("round_robin", AgentChoice::RoundRobin),
    ];
    let text = reader.text("choice", mistakes)?;
    let found = CHOICES.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let right = suggestion(text, CHOICES.map(|(name, _)| name));
        reader.wrong("choice", mistakes, format!("{text:?} is no choice of agent"), right);
    }
    found.map(|(_, choice)| *choice)
}

fn at_cap(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> AtCap {
    let text = reader.text("offline_text", mistakes);
    match (reader.text("at_cap", mistakes), text) {
        (None | Some("refuse"), None) => AtCap::Refuse,
        (None | Some("refuse"), Some(_)) => {
            let right = "remove it, or write `at_cap = \"offline\"`";
            reader.wrong("offline_text", mistakes, "who is refused is told nothing", right);
            AtCap::Refuse
        }
        (Some("offline"), Some(text)) if !text.is_empty() => AtCap::Offline { text: text.to_owned() },
        (Some("offline"), _) => {
            let right = "write `offline_text = \"…\"`: what the customer is told";
            reader.wrong("at_cap", mistakes, "an offline queue needs a text", right);
            AtCap::Refuse
        }
        (Some(other), _) => {
            let right = suggestion(other, ["refuse", "offline"]);
            reader.wrong(
                "at_cap",
                mistakes,
                format!("{other:?} is nothing that happens at a cap"),
                right,
            );
            AtCap::Refuse
        }
    }
}

fn needed_duration(reader: &mut Reader<'_>, key: &'static str, mistakes: &mut Mistakes) -> Option<u64> {
    if !reader.entries().any(|(name, _, _)| name == key) {
        reader.wrong(key, mistakes, "missing", "a duration is needed, like \"2m\"");
    }
    reader.duration_ms(key, DURATION_MAX_MS, mistakes)
}

fn no_reply(mut table: Reader<'_>, mistakes: &mut Mistakes) -> Option<NoReply> {
    let after = needed_duration(&mut table, "after", mistakes);
    let exclude = table.duration_ms("exclude", DURATION_MAX_MS, mistakes);
    table.finish(mistakes);
    Some(NoReply {
        after_ms: after?,
        exclude_ms: exclude.unwrap_or(0),
    })
}

fn wrap_up(mut table: Reader<'_>, mistakes: &mut Mistakes) -> WrapUp {
    let timed = table.duration_ms("timed", DURATION_MAX_MS, mistakes);
    let extension = table.duration_ms("extension_max", DURATION_MAX_MS, mistakes);
    let manual = table.duration_ms("manual_longest", DURATION_MAX_MS, mistakes);
    let wrap_up = match (timed, manual) {
        (Some(length_ms), None) => WrapUp::Timed {
            length_ms,
            extension_max_ms: extension.unwrap_or(0),
        },
        (None, Some(longest_ms)) if extension.is_none() => WrapUp::Manual { longest_ms },
        _ => {
            let right = "write { timed = \"30s\", extension_max = \"1m\" } or { manual_longest = \"5m\" }";
            mistakes.add(
                Place::Line(table.line()),
                &table.path_of("timed"),
                "wrap-up is timed or manual",
                right,
            );
            WrapUp::None
        }
    };
    table.finish(mistakes);
    wrap_up
}

fn escalations(reader: &mut Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Vec<Escalation> {
    let steps = reader.tables("escalations", mistakes);
    if steps.len() > ESCALATIONS_MAX {
        let right = format!("at most {ESCALATIONS_MAX} are allowed");
        reader.wrong(
            "escalations",
            mistakes,
            format!("there are {} steps", steps.len()),
            right,
        );
    }
    steps
        .into_iter()
        .filter_map(|step| escalation(step, names, mistakes))
        .collect()
}

fn escalation(mut step: Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Option<Escalation> {
    let waited = step
        .duration_ms("waited", DURATION_MAX_MS, mistakes)
        .map(EscalateWhen::WaitedMs);
    let longer = step.integer("longer_than", 0..=u64::from(u32::MAX), mistakes);
    let longer = longer.map(|longer| EscalateWhen::LongerThan(longer as u32));
    let raise = step.integer("raise_priority", 0..=u64::from(PRIORITY_MAX), mistakes);
    let raise = raise.map(|priority| EscalateAction::RaisePriority(priority as u8));
    let (place, path) = (Place::Line(step.line_of("move_to")), step.path_of("move_to"));
    let named = step.text("move_to", mistakes);
    let moved = named.and_then(|name| names.queue(name, place, &path, mistakes));
    let whens = step
        .entries()
        .filter(|(key, _, _)| ["waited", "longer_than"].contains(key))
        .count();
    let actions = step
        .entries()
        .filter(|(key, _, _)| ["raise_priority", "move_to"].contains(key))
        .count();
    if whens != 1 || actions != 1 {
        let right = "one of `waited`, `longer_than`, and one of `raise_priority`, `move_to`";
        mistakes.add(
            Place::Line(step.line()),
            &step.path_of("waited"),
            "a step has one condition and one action",
            right,
        );
    }
    step.finish(mistakes);
    Some(Escalation {
        when: waited.or(longer)?,
        action: raise.or(moved.map(EscalateAction::MoveQueue))?,
    })
}

/// A level of a skill, out of a table's entry.
pub(super) fn level(name: &str, line: usize, path: &str, value: &Raw, mistakes: &mut Mistakes) -> Option<u8> {
    let levels = routing::limits::SKILL_LEVELS;
    if let Raw::Integer(number) = value
        && let Ok(level) = u8::try_from(*number)
        && levels.contains(&level)
    {
        return Some(level);
    }
    let right = format!("a level is a whole number from {} to {}", levels.start(), levels.end());
    mistakes.add(
        Place::Line(line),
        &format!("{path}.{name}"),
        format!("{} is no level", value.describe()),
        right,
    );
    None
}
