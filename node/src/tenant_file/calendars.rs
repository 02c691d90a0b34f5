//! `[[calendar]]` and `[routing]`.

use routing::limits::{BATCH_MAX, DURATION_MAX_MS};
use routing::settings::{CalendarException, CalendarSettings, CrossQueue, RoutingSettings, WeeklyHours};

use crate::calendars::{CalendarError, DAY_MINUTES, ExceptionDate, check, zone};
use crate::toml_input::{Item, Mistakes, Place, Raw, Reader, suggestion};

/// Days of the week, 1–7.
pub(super) const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Cross-queue policies by their names.
pub(super) const CROSS_QUEUE: [(&str, CrossQueue); 7] = [
    ("priority_then_age", CrossQueue::PriorityThenAge),
    ("strict_rank", CrossQueue::StrictRank),
    ("weighted", CrossQueue::Weighted),
    ("longest_wait", CrossQueue::LongestWait),
    ("earliest_deadline", CrossQueue::EarliestDeadline),
    ("fixed_queue_ratio", CrossQueue::FixedQueueRatio),
    ("generalised_cmu", CrossQueue::GeneralisedCmu),
];

pub(super) fn routing(mut reader: Reader<'_>, mistakes: &mut Mistakes) -> RoutingSettings {
    let mut settings = RoutingSettings::default();
    if let Some(text) = reader.text("cross_queue", mistakes) {
        match CROSS_QUEUE.iter().find(|(name, _)| *name == text) {
            Some((_, cross_queue)) => settings.cross_queue = *cross_queue,
            None => {
                let right = suggestion(text, CROSS_QUEUE.map(|(name, _)| name));
                reader.wrong(
                    "cross_queue",
                    mistakes,
                    format!("{text:?} is no cross-queue policy"),
                    right,
                );
            }
        }
    }
    if let Some(most) = reader.integer("batch_max", 0..=u64::from(BATCH_MAX), mistakes) {
        settings.batch_max = most as u8;
    }
    settings.zone = known_zone(&mut reader, mistakes);
    if let Some(ms) = reader.duration_ms("repeat_window", DURATION_MAX_MS, mistakes) {
        settings.repeat_window_ms = ms;
    }
    reader.finish(mistakes);
    settings
}

fn known_zone(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> String {
    let name = reader.text("zone", mistakes).unwrap_or_default();
    if let Err(error) = zone(name) {
        reader.wrong("zone", mistakes, error.to_string(), "");
    }
    name.to_owned()
}

pub(super) fn read(mut reader: Reader<'_>, name: &str, mistakes: &mut Mistakes) -> CalendarSettings {
    if !reader.entries().any(|(key, _, _)| key == "zone") {
        reader.wrong("zone", mistakes, "missing", "write `zone = \"Asia/Tokyo\"`, or \"UTC\"");
    }
    let settings = CalendarSettings {
        name: name.to_owned(),
        zone: known_zone(&mut reader, mistakes),
        weekly: weekly(&mut reader, mistakes),
        exceptions: reader
            .tables("exceptions", mistakes)
            .into_iter()
            .filter_map(|table| exception(table, mistakes))
            .collect(),
    };
    for error in check(&settings) {
        let key = match error {
            CalendarError::Overlap(_) => "weekly",
            CalendarError::DateTwice(_) | CalendarError::TooMany { .. } => "exceptions",
            // Said already, in its own line.
            _ => continue,
        };
        reader.wrong(key, mistakes, error.to_string(), "");
    }
    reader.finish(mistakes);
    settings
}

/// `{ mon-fri = "09:00-18:00", sat = ["10:00-12:00", "13:00-15:00"] }`.
fn weekly(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Vec<WeeklyHours> {
    let Some(mut table) = reader.table("weekly", mistakes) else {
        return Vec::new();
    };
    let mut weekly = Vec::new();
    for (days, line, item) in table.entries() {
        let path = table.path_of(days);
        let place = |day: &str| WEEKDAYS.iter().position(|known| *known == day);
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (Some(first), Some(last)) = (place(first), place(last)) else {
            let right = format!("a day is one of {}, or a range like mon-fri", WEEKDAYS.join(", "));
            mistakes.add(Place::Line(line), &path, "no day of the week", right);
            continue;
        };
        if first > last {
            mistakes.add(
                Place::Line(line),
                &path,
                "the range goes backwards",
                "a week begins on Monday",
            );
        }
        let hours = hours(item, &path, mistakes);
        for day in first..=last {
            weekly.extend(hours.iter().map(|(from_minute, to_minute)| WeeklyHours {
                weekday: day as u8 + 1,
                from_minute: *from_minute,
                to_minute: *to_minute,
            }));
        }
    }
    weekly.sort_unstable();
    weekly
}

fn exception(mut table: Reader<'_>, mistakes: &mut Mistakes) -> Option<CalendarException> {
    let date = match table.item("date").map(|item| &item.value) {
        Some(Raw::Text(date) | Raw::Moment(date)) => Some(date.clone()),
        _ => None,
    };
    let parsed = date.as_deref().map(ExceptionDate::parse);
    if !matches!(parsed, Some(Ok(_))) {
        let wrong = match parsed {
            Some(Err(error)) => error.to_string(),
            _ => "missing, or no date".to_owned(),
        };
        table.wrong(
            "date",
            mistakes,
            wrong,
            "write \"2026-12-31\", or \"12-31\" for every year",
        );
    }
    let name = table.text("name", mistakes).unwrap_or_default().to_owned();
    let path = table.path_of("hours");
    let hours = table.item("hours").map(|item| hours(item, &path, mistakes));
    table.finish(mistakes);
    Some(CalendarException {
        date: date?,
        name,
        hours: hours.unwrap_or_default(),
    })
}

/// `"09:00-18:00"`, or a list of such.
fn hours(item: &Item, path: &str, mistakes: &mut Mistakes) -> Vec<(u16, u16)> {
    let list = match &item.value {
        Raw::List(list) => list.as_slice(),
        _ => std::slice::from_ref(item),
    };
    let mut hours = Vec::new();
    for item in list {
        let read = match &item.value {
            Raw::Text(text) => text.split_once('-').and_then(|(from, to)| minute(from).zip(minute(to))),
            _ => None,
        };
        match read {
            Some((from, to)) if from < to => hours.push((from, to)),
            _ => {
                let wrong = format!("{} are no hours of a day", item.value.describe());
                let right =
                    "write \"09:00-18:00\"; midnight at the end is 24:00; what goes beyond midnight is of two days";
                mistakes.add(Place::Line(item.line), path, wrong, right);
            }
        }
    }
    hours
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute).filter(|minute| *minute < 60)?);
    Some(hour * 60 + minute).filter(|minute| *minute <= DAY_MINUTES)
}
