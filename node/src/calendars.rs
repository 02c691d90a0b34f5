//! R34: weekly hours in a time zone and their exceptions become open intervals, before the log, so that replicas cannot disagree
//! however old their time zone data. The data is in the binary (jiff's bundle): what a node makes does not depend on its host.
//!
//! Of clocks that are set forward or back:
//!
//! - An edge that the clock skips is the moment of the skip: open from 02:30 on a day without 02:00–03:00 is open from the skip.
//! - An edge that the clock shows twice opens at the first and closes at the second: never an interval in two pieces.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use routing::ids::Millis;
use routing::limits::{EXCEPTIONS_MAX, NAME_MAX_BYTES, OPEN_HOURS_MAX, WEEKLY_HOURS_MAX};
use routing::settings::{Calendar, CalendarException, CalendarSettings, OpenHours, Policy};

use crate::limits::{CALENDAR_DAYS, CALENDAR_DAYS_LEFT};

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;
const DAY_MS: u64 = 24 * 3_600_000;

/// Why a calendar cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// IANA does not know it.
    #[error("there is no time zone {0:?}; a name of the IANA data base is wanted, like \"Asia/Tokyo\"")]
    UnknownZone(String),
    /// Not of the calendar that people use, or not written as it must be.
    #[error("{0:?} is no date; it is written like \"2026-12-31\", or \"12-31\" for every year")]
    NoDate(String),
    /// Twice the same exception.
    #[error("there are two exceptions for {0}")]
    DateTwice(String),
    /// Not 1–7.
    #[error("{0} is no day of the week; 1 is Monday, 7 is Sunday")]
    NoWeekday(u8),
    /// Ends before it begins, or after midnight.
    #[error("{} to {} is no part of a day", clock(*.0), clock(*.1))]
    NoHours(u16, u16),
    /// Two parts of one day that overlap.
    #[error("{0} has hours that overlap")]
    Overlap(String),
    /// More than a limit.
    #[error("there are {is} {what}; at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// So many.
        is: usize,
        /// At most so many.
        max: usize,
    },
    /// A time that no clock can show.
    #[error("{0} ms is beyond the calendar")]
    OutOfRange(Millis),
}

/// `9:05` of a minute of the day.
pub fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// The IANA time zone of that name; the empty name is UTC.
pub fn zone(name: &str) -> Result<TimeZone, CalendarError> {
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    let unknown = || CalendarError::UnknownZone(name.chars().take(NAME_MAX_BYTES).collect());
    TimeZone::get(name).map_err(|_| unknown())
}

/// When an exception is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExceptionDate {
    /// `YYYY-MM-DD`.
    Once(Date),
    /// `MM-DD`: month and day of every year.
    Yearly(i8, i8),
}

impl ExceptionDate {
    /// Reads what people write.
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        let wrong = || CalendarError::NoDate(text.chars().take(NAME_MAX_BYTES).collect());
        let number = |part: &str, digits: usize| {
            let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| part.parse::<i16>().ok()).flatten()
        };
        let parts: Vec<&str> = text.split('-').collect();
        let date = match parts[..] {
            [year, month, day] => number(year, 4)
                .zip(number(month, 2))
                .zip(number(day, 2))
                .and_then(|((year, month), day)| Date::new(year, month as i8, day as i8).ok())
                .map(Self::Once),
            [month, day] => number(month, 2)
                .zip(number(day, 2))
                // A leap year, so that 02-29 is one.
                .and_then(|(month, day)| Date::new(2028, month as i8, day as i8).ok())
                .map(|date| Self::Yearly(date.month(), date.day())),
            _ => None,
        };
        date.ok_or_else(wrong)
    }
}

/// Whether it could be made; every reason why not that is found.
pub fn check(settings: &CalendarSettings) -> Vec<CalendarError> {
    let mut wrong = Vec::new();
    wrong.extend(zone(&settings.zone).err());
    let counts = [
        ("weekly hours", settings.weekly.len(), WEEKLY_HOURS_MAX),
        ("exceptions", settings.exceptions.len(), EXCEPTIONS_MAX),
    ];
    for (what, is, max) in counts {
        wrong.extend((is > max).then_some(CalendarError::TooMany { what, is, max }));
    }
    for weekday in 1..=7 {
        let day = settings.weekly.iter().filter(|hours| hours.weekday == weekday);
        let hours: Vec<(u16, u16)> = day.map(|hours| (hours.from_minute, hours.to_minute)).collect();
        wrong.extend(check_day(&hours, || format!("day {weekday} of the week")));
    }
    let strange = settings.weekly.iter().filter(|hours| !(1..=7).contains(&hours.weekday));
    wrong.extend(strange.map(|hours| CalendarError::NoWeekday(hours.weekday)));
    let mut dates = std::collections::BTreeSet::new();
    for exception in &settings.exceptions {
        match ExceptionDate::parse(&exception.date) {
            Ok(date) if !dates.insert(date) => wrong.push(CalendarError::DateTwice(exception.date.clone())),
            Ok(_) => {}
            Err(error) => wrong.push(error),
        }
        wrong.extend(check_day(&exception.hours, || exception.date.clone()));
    }
    wrong
}

fn check_day(hours: &[(u16, u16)], day: impl Fn() -> String) -> Vec<CalendarError> {
    let strange = hours.iter().filter(|(from, to)| from >= to || *to > DAY_MINUTES);
    let mut wrong: Vec<CalendarError> = strange.map(|(from, to)| CalendarError::NoHours(*from, *to)).collect();
    let mut sorted = hours.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        wrong.push(CalendarError::Overlap(day()));
    }
    wrong
}

/// A calendar with the hours of a bit more than a year from `now_ms` on.
pub fn made(settings: &CalendarSettings, now_ms: Millis) -> Result<Calendar, CalendarError> {
    let (hours, covered_until_ms) = hours(settings, now_ms, now_ms)?;
    Ok(Calendar {
        settings: settings.clone(),
        hours,
        covered_until_ms,
    })
}

/// Makes the open hours and the days of a policy that have none, from `now_ms` on. `in_force`: calendars that are written there as
/// here, and the days of the same zone, are left without: the state keeps what it has, and the command stays small.
pub fn prepare(policy: &mut Policy, in_force: Option<&Policy>, now_ms: Millis) -> Result<(), (String, CalendarError)> {
    for (id, calendar) in &mut policy.calendars {
        let there = in_force.and_then(|there| there.calendars.get(id));
        if there.is_some_and(|there| there.settings == calendar.settings) {
            continue;
        }
        let name = calendar.settings.name.clone();
        *calendar = made(&calendar.settings, now_ms).map_err(|error| (name, error))?;
    }
    let same_zone = in_force.is_some_and(|there| there.routing.zone == policy.routing.zone);
    policy.routing.day_starts_ms = match same_zone {
        true => Vec::new(),
        false => day_starts(&policy.routing.zone, now_ms).map_err(|error| ("routing".to_owned(), error))?,
    };
    Ok(())
}

/// More of a calendar's future, when less than half a year of it is left: from where its coverage ends.
pub fn more(calendar: &Calendar, now_ms: Millis) -> Result<Option<(Vec<OpenHours>, Millis)>, CalendarError> {
    if calendar.covered_until_ms >= now_ms + CALENDAR_DAYS_LEFT * DAY_MS {
        return Ok(None);
    }
    // What was never covered, or not for long, has no past to speak of.
    let from_ms = calendar.covered_until_ms.max(now_ms.saturating_sub(2 * DAY_MS));
    let (hours, until_ms) = hours(&calendar.settings, from_ms, now_ms)?;
    Ok((until_ms > calendar.covered_until_ms).then_some((hours, until_ms)))
}

/// Open intervals from `from_ms` to the end of the coverage that is counted from `now_ms`, and that end.
fn hours(
    settings: &CalendarSettings,
    from_ms: Millis,
    now_ms: Millis,
) -> Result<(Vec<OpenHours>, Millis), CalendarError> {
    if let Some(error) = check(settings).into_iter().next() {
        return Err(error);
    }
    let zone = zone(&settings.zone)?;
    let (mut day, last) = (date(&zone, from_ms)?, date(&zone, now_ms + CALENDAR_DAYS * DAY_MS)?);
    let exceptions: Vec<(ExceptionDate, &CalendarException)> = settings
        .exceptions
        .iter()
        .map(|exception| Ok((ExceptionDate::parse(&exception.date)?, exception)))
        .collect::<Result<_, CalendarError>>()?;
    let mut open: Vec<OpenHours> = Vec::new();
    while day < last {
        for (from, to) in hours_of(settings, &exceptions, day) {
            let (from_ms, to_ms) = (
                edge(&zone, day, from, Twice::First)?.max(from_ms),
                edge(&zone, day, to, Twice::Second)?,
            );
            match open.last_mut() {
                _ if to_ms <= from_ms => {}
                Some(before) if before.to_ms >= from_ms => before.to_ms = before.to_ms.max(to_ms),
                _ => open.push(OpenHours { from_ms, to_ms }),
            }
        }
        day = next(day)?;
        if open.len() + usize::from(DAY_MINUTES) / 2 > OPEN_HOURS_MAX {
            break;
        }
    }
    let until_ms = edge(&zone, day, 0, Twice::First)?;
    open.iter_mut()
        .for_each(|hours| hours.to_ms = hours.to_ms.min(until_ms));
    open.retain(|hours| hours.from_ms < hours.to_ms);
    Ok((open, until_ms))
}

/// Ascending.
fn hours_of(
    settings: &CalendarSettings,
    exceptions: &[(ExceptionDate, &CalendarException)],
    day: Date,
) -> Vec<(u16, u16)> {
    let of = |wanted: ExceptionDate| exceptions.iter().find(|(date, _)| *date == wanted);
    let exception = of(ExceptionDate::Once(day)).or_else(|| of(ExceptionDate::Yearly(day.month(), day.day())));
    let mut hours: Vec<(u16, u16)> = match exception {
        Some((_, exception)) => exception.hours.clone(),
        None => {
            let weekday = day.weekday().to_monday_one_offset() as u8;
            let weekly = settings.weekly.iter().filter(|hours| hours.weekday == weekday);
            weekly.map(|hours| (hours.from_minute, hours.to_minute)).collect()
        }
    };
    hours.sort_unstable();
    hours
}

/// First moments of the days of a zone, from today's on, for a bit more than a year. Empty for UTC, whose days need no list.
pub fn day_starts(zone_name: &str, now_ms: Millis) -> Result<Vec<Millis>, CalendarError> {
    if zone_name.is_empty() {
        return Ok(Vec::new());
    }
    days(zone_name, now_ms, now_ms)
}

/// The last known start of a day and those that follow, when less than half a year of them is left.
pub fn more_days(zone_name: &str, known: &[Millis], now_ms: Millis) -> Result<Option<Vec<Millis>>, CalendarError> {
    match known.last() {
        Some(last) if *last < now_ms + CALENDAR_DAYS_LEFT * DAY_MS => {
            let days = days(zone_name, *last, now_ms)?;
            Ok((days.len() > 1 && days.first() == Some(last)).then_some(days))
        }
        _ => Ok(None),
    }
}

fn days(zone_name: &str, from_ms: Millis, now_ms: Millis) -> Result<Vec<Millis>, CalendarError> {
    let zone = zone(zone_name)?;
    let (mut day, last) = (date(&zone, from_ms)?, date(&zone, now_ms + CALENDAR_DAYS * DAY_MS)?);
    let mut starts: Vec<Millis> = Vec::new();
    while day <= last {
        let start_ms = edge(&zone, day, 0, Twice::First)?;
        // A day that a zone skipped altogether begins when the next one does.
        if starts.last() != Some(&start_ms) {
            starts.push(start_ms);
        }
        day = next(day)?;
    }
    Ok(starts)
}

fn date(zone: &TimeZone, at_ms: Millis) -> Result<Date, CalendarError> {
    let at = i64::try_from(at_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = at.ok_or(CalendarError::OutOfRange(at_ms))?;
    Ok(zone.to_datetime(at).date())
}

/// Days from the moment's day (of UTC) to `day`; below 0 when it is over.
pub fn days_until(day: Date, now_ms: Millis) -> i64 {
    let Ok(today) = date(&TimeZone::UTC, now_ms) else {
        return 0;
    };
    today.until(day).map_or(0, |span| i64::from(span.get_days()))
}

fn next(day: Date) -> Result<Date, CalendarError> {
    day.tomorrow().map_err(|_| CalendarError::OutOfRange(Millis::MAX))
}

/// Which of two moments that a clock shows alike.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twice {
    First,
    Second,
}

/// The moment of a minute of a local day; 1440 is the next midnight.
fn edge(zone: &TimeZone, day: Date, minute: u16, twice: Twice) -> Result<Millis, CalendarError> {
    let out_of_range = |_| CalendarError::OutOfRange(Millis::MAX);
    let (day, minute) = if minute >= DAY_MINUTES {
        (next(day)?, 0)
    } else {
        (day, minute)
    };
    let time = Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).map_err(out_of_range)?;
    let ambiguous = zone.to_ambiguous_timestamp(DateTime::from_parts(day, time));
    let at = match (ambiguous.offset(), twice) {
        (AmbiguousOffset::Unambiguous { .. }, _) => ambiguous.compatible(),
        (AmbiguousOffset::Fold { .. }, Twice::First) => ambiguous.earlier(),
        (AmbiguousOffset::Fold { .. }, Twice::Second) => ambiguous.later(),
        (AmbiguousOffset::Gap { .. }, _) => {
            let after = ambiguous.later().map_err(out_of_range)?;
            // The first moment that is skipped is the skip itself.
            let beyond = after
                .checked_add(jiff::SignedDuration::from_millis(1))
                .map_err(out_of_range)?;
            let skip = zone.preceding(beyond).next().map(|transition| transition.timestamp());
            Ok(skip.unwrap_or(after))
        }
    };
    let at = at.map_err(out_of_range)?.as_millisecond();
    Millis::try_from(at).map_err(|_| CalendarError::OutOfRange(0))
}

#[cfg(test)]
mod tests;
