//! `[[queue]]`.

mod order;
mod passing;

use routing::limits::{DURATION_MAX_MS, OFFERS_AT_ONCE_MAX};
use routing::settings::{AtCap, CrossQueueTerms, NoReply, QueueSettings, ReturnWhenFull, WhenClosed, WrapUp};

use super::Names;
use crate::toml_input::{Mistakes, Place, Raw, Reader, suggestion};

pub(super) use order::{CHOICES, ORDERS, credit, targets};

pub(super) fn read(mut reader: Reader<'_>, name: &str, names: &Names, mistakes: &mut Mistakes) -> QueueSettings {
    let mut queue = QueueSettings::named(name);
    queue.order = order::order(&mut reader, mistakes);
    if let Some(choice) = order::choice(&mut reader, mistakes) {
        queue.choice = choice;
    }
    durations(&mut reader, &mut queue, mistakes);
    if let Some(auto) = reader.flag("auto_accept", mistakes) {
        queue.auto_accept = auto;
    }
    if let Some(times) = reader.integer("timeouts_until_away", 0..=255, mistakes) {
        queue.timeouts_until_away = times as u8;
    }
    if let Some(length) = reader.integer("length_max", 0..=u64::from(u32::MAX), mistakes) {
        queue.length_max = length as u32;
    }
    if let Some(many) = reader.integer("offers_at_once", 1..=OFFERS_AT_ONCE_MAX as u64, mistakes) {
        queue.offers_at_once = many as u8;
    }
    if queue.auto_accept && queue.offers_at_once > 1 {
        let right = "remove one of `auto_accept` and `offers_at_once`";
        reader.wrong(
            "offers_at_once",
            mistakes,
            "who is assigned without asking is one",
            right,
        );
    }
    queue.at_cap = at_cap(&mut reader, mistakes);
    queue.no_reply = reader
        .table("no_reply", mistakes)
        .and_then(|table| no_reply(table, mistakes));
    queue.escalations = passing::escalations(&mut reader, names, mistakes);
    queue.relaxations = passing::relaxations(&mut reader, names, mistakes);
    queue.rings = passing::rings(&mut reader, mistakes);
    if let Some(full) = return_when_full(&mut reader, mistakes) {
        queue.return_when_full = full;
    }
    let (place, path) = (Place::Line(reader.line_of("calendar")), reader.path_of("calendar"));
    let calendar = reader.text("calendar", mistakes);
    queue.calendar = calendar.and_then(|name| names.calendar(name, place, &path, mistakes));
    queue.when_closed = when_closed(&mut reader, names, mistakes);
    queue.cross_queue = cross_queue(&mut reader, mistakes);
    queue.wrap_up = reader
        .table("wrap_up", mistakes)
        .map_or(WrapUp::None, |table| wrap_up(table, mistakes));
    reader.finish(mistakes);
    queue
}

fn durations(reader: &mut Reader<'_>, queue: &mut QueueSettings, mistakes: &mut Mistakes) {
    let durations: [(&'static str, &mut u64); 9] = [
        ("offer_timeout", &mut queue.offer_timeout_ms),
        ("decline_exclude", &mut queue.decline_exclude_ms),
        ("wait_max", &mut queue.wait_max_ms),
        ("abandon_hold", &mut queue.abandon_hold_ms),
        ("short_abandon", &mut queue.short_abandon_ms),
        ("reopen_window", &mut queue.reopen_window_ms),
        ("answer_target", &mut queue.answer_target_ms),
        ("idle_pause", &mut queue.idle_pause_ms),
        ("silent_abandon", &mut queue.silent_abandon_ms),
    ];
    for (key, place) in durations {
        if let Some(ms) = reader.duration_ms(key, DURATION_MAX_MS, mistakes) {
            *place = ms;
        }
    }
    if queue.offer_timeout_ms == 0 {
        reader.wrong("offer_timeout", mistakes, "an offer needs some time", "20s is usual");
    }
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

pub(super) fn needed_duration(reader: &mut Reader<'_>, key: &'static str, mistakes: &mut Mistakes) -> Option<u64> {
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

fn return_when_full(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Option<ReturnWhenFull> {
    let wait_ms = reader.duration_ms("return_wait", DURATION_MAX_MS, mistakes);
    let full = match reader.text("return_when_full", mistakes) {
        None | Some("wait_for_owner") => return wait_ms.map(ReturnWhenFull::WaitForOwnerMs),
        Some("anybody") => ReturnWhenFull::Anybody,
        Some("stay_paused") => ReturnWhenFull::StayPaused,
        Some(other) => {
            let right = suggestion(other, ["wait_for_owner", "anybody", "stay_paused"]);
            let wrong = format!("{other:?} is nothing that happens when the owner is full");
            reader.wrong("return_when_full", mistakes, wrong, right);
            return None;
        }
    };
    if wait_ms.is_some() {
        let right = "remove it, or write `return_when_full = \"wait_for_owner\"`";
        reader.wrong("return_wait", mistakes, "nobody is waited for", right);
    }
    Some(full)
}

fn when_closed(reader: &mut Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> WhenClosed {
    let text = reader.text("closed_text", mistakes).filter(|text| !text.is_empty());
    let (place, path) = (
        Place::Line(reader.line_of("closed_move_to")),
        reader.path_of("closed_move_to"),
    );
    let named = reader.text("closed_move_to", mistakes);
    let to = named.and_then(|name| names.queue(name, place, &path, mistakes));
    let (closed, beside) = match (reader.text("when_closed", mistakes), text, to) {
        (None | Some("refuse"), text, to) => (WhenClosed::Refuse, text.is_some() || to.is_some()),
        (Some("wait"), text, to) => (WhenClosed::Wait, text.is_some() || to.is_some()),
        (Some("offline"), Some(text), to) => (WhenClosed::Offline { text: text.to_owned() }, to.is_some()),
        (Some("move"), text, Some(to)) => (WhenClosed::MoveQueue(to), text.is_some()),
        (Some("offline"), None, _) => {
            let right = "write `closed_text = \"…\"`: what the customer is told";
            reader.wrong(
                "when_closed",
                mistakes,
                "a closed queue that takes messages needs a text",
                right,
            );
            return WhenClosed::Refuse;
        }
        (Some("move"), _, None) => {
            if named.is_none() {
                let right = "write `closed_move_to = \"…\"`";
                reader.wrong("when_closed", mistakes, "to which queue?", right);
            }
            return WhenClosed::Refuse;
        }
        (Some(other), ..) => {
            let right = suggestion(other, ["refuse", "wait", "offline", "move"]);
            let wrong = format!("{other:?} is nothing that happens when a queue is closed");
            reader.wrong("when_closed", mistakes, wrong, right);
            return WhenClosed::Refuse;
        }
    };
    if beside {
        let right = "`closed_text` goes with \"offline\", `closed_move_to` with \"move\"";
        reader.wrong("when_closed", mistakes, "what is said beside it does not fit", right);
    }
    closed
}

fn cross_queue(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> CrossQueueTerms {
    const MOST: u64 = 1_000_000;
    let mut terms = CrossQueueTerms::default();
    if let Some(weight) = reader.integer("weight", 1..=MOST, mistakes) {
        terms.weight = weight as u32;
    }
    if let Some(rank) = reader.integer("rank", 0..=255, mistakes) {
        terms.rank = rank as u8;
    }
    if let Some(ratio) = reader.integer("ratio", 0..=MOST, mistakes) {
        terms.ratio = ratio as u32;
    }
    if let Some(cost) = reader.integer("cost", 1..=MOST, mistakes) {
        terms.cost = cost as u32;
    }
    terms
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
