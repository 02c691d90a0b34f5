//! Business hours (R34): intervals that were made before the log, and their edges.
//!
//! A calendar's row says whether it is open as of its last edge, and each queue says what its calendar says: only the timer of the
//! edge changes that, so that all who read the log agree on which command met an open queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::Draft;
use super::queue::Queue;
use super::tenant::CalendarRow;
use super::{timers, valid};
use crate::command::{Due, Timer};
use crate::event::{Event, Receipt};
use crate::ids::{CalendarId, Millis};
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{Calendar, CalendarException, OpenHours, WeeklyHours};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

impl CalendarRow {
    fn at(given: Calendar, version: u64, at_ms: Millis) -> Self {
        let open = open_at(&given, at_ms);
        let edge_ms = next_edge(&given, at_ms);
        Self {
            given,
            version,
            open,
            edge_ms,
        }
    }

    /// When it opens or closes next.
    pub fn timer(&self, calendar: CalendarId) -> Option<Due> {
        self.edge_ms.map(|at_ms| Due {
            at_ms,
            timer: Timer::CalendarEdge { calendar },
        })
    }
}

/// The first hours that have not ended at `at_ms`.
fn not_ended(given: &Calendar, at_ms: Millis) -> Option<&OpenHours> {
    given
        .hours
        .get(given.hours.partition_point(|hours| hours.to_ms <= at_ms))
}

fn open_at(given: &Calendar, at_ms: Millis) -> bool {
    at_ms >= given.covered_until_ms || not_ended(given, at_ms).is_some_and(|hours| hours.from_ms <= at_ms)
}

/// The first moment after `at_ms` at which it is what it is not then.
fn next_edge(given: &Calendar, at_ms: Millis) -> Option<Millis> {
    let covered_ms = given.covered_until_ms;
    if at_ms >= covered_ms {
        return None;
    }
    match not_ended(given, at_ms) {
        // Hours are apart: what ends is closed then, unless nothing is known of that moment.
        Some(hours) if hours.from_ms <= at_ms => Some(hours.to_ms).filter(|to_ms| *to_ms < covered_ms),
        Some(hours) => Some(hours.from_ms.min(covered_ms)),
        None => Some(covered_ms),
    }
}

/// What a queue that has it is now.
pub(crate) fn is_open(d: &Draft<'_>, calendar: Option<CalendarId>) -> bool {
    calendar.is_none_or(|id| d.calendar(id).is_ok_and(|row| row.open))
}

/// When a closed queue opens, as far as is known.
pub(crate) fn opens_ms(d: &Draft<'_>, calendar: Option<CalendarId>) -> Option<Millis> {
    let row = d.calendar(calendar?).ok()?;
    row.edge_ms.filter(|_| !row.open)
}

pub(crate) fn put(d: &mut Draft<'_>, id: CalendarId, given: &Calendar) -> Result<Receipt, Rejection> {
    place(d, id, given)?;
    names_differ(d)?;
    Ok(d.receipt())
}

/// Makes or replaces it; whether its name is taken is asked by the caller, once all are placed.
pub(crate) fn place(d: &mut Draft<'_>, id: CalendarId, given: &Calendar) -> Result<(), Rejection> {
    check(given)?;
    let before = d.calendar(id).ok();
    let version = match &before {
        Some(row) if row.given == *given => return Ok(()),
        Some(row) if row.given.settings == given.settings => row.version,
        Some(row) => d.index.max(row.version + 1),
        None => d.index,
    };
    if before.is_none() {
        valid::at_most("number of calendars", d.calendars().len() + 1, limits::CALENDARS_MAX)?;
    }
    put_row(d, id, CalendarRow::at(given.clone(), version, d.at_ms));
    Ok(())
}

/// Names are unique within the tenant.
pub(crate) fn names_differ(d: &Draft<'_>) -> Result<(), Rejection> {
    let mut names = BTreeSet::new();
    for (_, row) in d.calendars() {
        if !names.insert(row.given.settings.name.clone()) {
            let what = format!("calendar `{}`", row.given.settings.name);
            return Err(Rejection::AlreadyExists { what });
        }
    }
    Ok(())
}

pub(crate) fn remove(d: &mut Draft<'_>, id: CalendarId) -> Result<Receipt, Rejection> {
    let row = d.calendar(id)?;
    if let Some((_, queue)) = d.queues().iter().find(|(_, row)| row.settings.calendar == Some(id)) {
        return Err(Rejection::InUse {
            what: format!("calendar `{}`", row.given.settings.name),
            by: format!("queue `{}`", queue.settings.name),
        });
    }
    d.put_calendar(id, None);
    d.tell(Event::SettingsChanged);
    Ok(d.receipt())
}

/// More of the future; what is over is forgotten.
pub(crate) fn extend(
    d: &mut Draft<'_>,
    id: CalendarId,
    version: u64,
    hours: &[OpenHours],
    covered_until_ms: Millis,
) -> Result<Receipt, Rejection> {
    let row = d.calendar(id)?;
    if row.version != version {
        return Err(Rejection::StaleVersion {
            expected: version,
            current: row.version,
        });
    }
    let known_ms = row.given.covered_until_ms;
    if covered_until_ms <= known_ms {
        let why = format!("{covered_until_ms}: the hours are known until {known_ms} already");
        return Err(valid::invalid("covered_until_ms", why));
    }
    if let Some(first) = hours.first().filter(|first| first.from_ms < known_ms) {
        let why = format!("{} is before {known_ms}, until when they are known", first.from_ms);
        return Err(valid::invalid("hours", why));
    }
    let mut given = row.given.clone();
    given.covered_until_ms = covered_until_ms;
    given.hours.retain(|hours| hours.to_ms > d.at_ms);
    let mut more = hours.iter();
    // What was cut off where the knowledge ended goes on.
    if let (Some(last), Some(first)) = (given.hours.last_mut(), hours.first())
        && last.to_ms == first.from_ms
    {
        last.to_ms = first.to_ms;
        more.next();
    }
    given.hours.extend(more);
    check(&given)?;
    put_row(d, id, CalendarRow::at(given, version, d.at_ms));
    Ok(d.receipt())
}

/// It opens or closes.
pub(crate) fn edge(d: &mut Draft<'_>, id: CalendarId) -> Result<Receipt, Rejection> {
    let row = d.calendar(id).map_err(|_| Rejection::NothingOutstanding)?;
    timers::must_be_due(row.edge_ms, d.at_ms)?;
    put_row(d, id, CalendarRow::at(row.given.clone(), row.version, d.at_ms));
    Ok(d.receipt())
}

/// The calendar, and what its queues are by it.
fn put_row(d: &mut Draft<'_>, id: CalendarId, row: CalendarRow) {
    let open = row.open;
    d.put_calendar(id, Some(row));
    d.tell(Event::CalendarChanged { calendar: id, open });
    for (queue, row) in d.queues() {
        if row.settings.calendar == Some(id) && row.open != open {
            let row = Queue {
                open,
                ..Queue::clone(&row)
            };
            d.put_queue(queue, Some(Arc::new(row)));
        }
    }
}

fn check(given: &Calendar) -> Result<(), Rejection> {
    let s = &given.settings;
    valid::name("name", &s.name)?;
    valid::name("zone", &s.zone)?;
    valid::at_most("number of weekly hours", s.weekly.len(), limits::WEEKLY_HOURS_MAX)?;
    s.weekly.iter().try_for_each(weekly)?;
    valid::at_most("number of exceptions", s.exceptions.len(), limits::EXCEPTIONS_MAX)?;
    s.exceptions.iter().try_for_each(exception)?;
    valid::at_most("number of open hours", given.hours.len(), limits::OPEN_HOURS_MAX)?;
    let mut last_ms = None;
    for OpenHours { from_ms, to_ms } in &given.hours {
        if from_ms >= to_ms {
            return Err(valid::invalid(
                "hours",
                format!("{from_ms}–{to_ms} end before they begin"),
            ));
        }
        if last_ms.is_some_and(|last_ms| last_ms >= *from_ms) {
            let why =
                format!("{from_ms}–{to_ms} begin before those ahead of them have ended: they ascend, and are apart");
            return Err(valid::invalid("hours", why));
        }
        last_ms = Some(*to_ms);
    }
    match last_ms.filter(|last_ms| *last_ms > given.covered_until_ms) {
        None => Ok(()),
        Some(last_ms) => {
            let why = format!(
                "{} is before {last_ms}, when the last hours end",
                given.covered_until_ms
            );
            Err(valid::invalid("covered_until_ms", why))
        }
    }
}

fn weekly(hours: &WeeklyHours) -> Result<(), Rejection> {
    if !(1..=7).contains(&hours.weekday) {
        let why = format!("{} is not from 1 (Monday) to 7 (Sunday)", hours.weekday);
        return Err(valid::invalid("weekday", why));
    }
    minutes("weekly hours", hours.from_minute, hours.to_minute)
}

fn minutes(what: &str, from: u16, to: u16) -> Result<(), Rejection> {
    if from < to && to <= DAY_MINUTES {
        return Ok(());
    }
    let why = format!("{from}–{to} are not minutes of one day, 0–{DAY_MINUTES}");
    Err(valid::invalid(what, why))
}

fn exception(day: &CalendarException) -> Result<(), Rejection> {
    valid::text("name of an exception", &day.name)?;
    valid::at_most("hours of an exception", day.hours.len(), limits::WEEKLY_HOURS_MAX)?;
    let parts: Vec<&str> = day.date.split('-').collect();
    let number = |text: &str, digits: usize| {
        let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| plain)
    };
    let (year, month_day) = match parts[..] {
        [year, month, date] => (number(year, 4).is_some(), (number(month, 2), number(date, 2))),
        [month, date] => (true, (number(month, 2), number(date, 2))),
        _ => (false, (None, None)),
    };
    let is_date = matches!(month_day, (Some(1..=12), Some(1..=31)));
    if !(year && is_date) {
        let date: String = day.date.chars().take(limits::NAME_MAX_BYTES).collect();
        let why = format!("`{date}` is neither YYYY-MM-DD nor MM-DD");
        return Err(valid::invalid("exception", why));
    }
    day.hours
        .iter()
        .try_for_each(|(from, to)| minutes("hours of an exception", *from, *to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(hours: &[(Millis, Millis)], covered_until_ms: Millis) -> Calendar {
        Calendar {
            hours: hours
                .iter()
                .map(|&(from_ms, to_ms)| OpenHours { from_ms, to_ms })
                .collect(),
            covered_until_ms,
            ..Calendar::default()
        }
    }

    /// The next edge is where a walk over every millisecond finds it.
    #[test]
    fn edges_are_where_it_changes() {
        let some = [
            calendar(&[], 0),
            calendar(&[], 10),
            calendar(&[(3, 5), (7, 9)], 12),
            calendar(&[(0, 4), (6, 12)], 12),
            calendar(&[(3, 12)], 12),
        ];
        for given in &some {
            for at_ms in 0..20 {
                let now = open_at(given, at_ms);
                let walked = (at_ms + 1..40).find(|later| open_at(given, *later) != now);
                assert_eq!(next_edge(given, at_ms), walked, "{given:?} at {at_ms}");
            }
        }
        assert!(!open_at(&some[2], 2) && open_at(&some[2], 3) && !open_at(&some[2], 5) && open_at(&some[2], 12));
    }

    #[test]
    fn dates_are_days() {
        let on = |date: &str| {
            exception(&CalendarException {
                date: date.to_owned(),
                name: String::new(),
                hours: vec![(540, 720)],
            })
        };
        assert!(on("2026-12-25").is_ok() && on("01-01").is_ok());
        for wrong in ["", "25.12.2026", "2026-13-01", "2026-1-1", "12-32", "26-12-25", "+1-01"] {
            assert!(on(wrong).is_err(), "{wrong}");
        }
    }
}
