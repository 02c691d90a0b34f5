use routing::settings::WeeklyHours;

use super::*;

fn ms(rfc3339: &str) -> Millis {
    rfc3339.parse::<Timestamp>().unwrap().as_millisecond() as Millis
}

fn weekly(weekdays: std::ops::RangeInclusive<u8>, from: u16, to: u16) -> Vec<WeeklyHours> {
    let day = |weekday| WeeklyHours {
        weekday,
        from_minute: from * 60,
        to_minute: to * 60,
    };
    weekdays.map(day).collect()
}

fn calendar(zone: &str, weekly: Vec<WeeklyHours>) -> CalendarSettings {
    CalendarSettings {
        name: "office".to_owned(),
        zone: zone.to_owned(),
        weekly,
        exceptions: Vec::new(),
    }
}

fn exception(date: &str, hours: &[(u16, u16)]) -> CalendarException {
    CalendarException {
        date: date.to_owned(),
        name: String::new(),
        hours: hours.to_vec(),
    }
}

/// The first intervals from a moment on, as `from/to`.
fn first(settings: &CalendarSettings, now: &str, count: usize) -> Vec<String> {
    let made = made(settings, ms(now)).unwrap();
    let text = |at: Millis| Timestamp::from_millisecond(at as i64).unwrap().to_string();
    let hours = made.hours.iter().take(count);
    hours
        .map(|hours| format!("{}/{}", text(hours.from_ms), text(hours.to_ms)))
        .collect()
}

#[test]
fn local_hours_move_with_the_summer_time() {
    let berlin = calendar("Europe/Berlin", weekly(1..=5, 9, 17));
    assert_eq!(
        first(&berlin, "2026-03-27T12:00:00Z", 2),
        [
            "2026-03-27T12:00:00Z/2026-03-27T16:00:00Z",
            "2026-03-30T07:00:00Z/2026-03-30T15:00:00Z"
        ]
    );
    assert_eq!(
        first(&berlin, "2026-10-23T00:00:00Z", 2),
        [
            "2026-10-23T07:00:00Z/2026-10-23T15:00:00Z",
            "2026-10-26T08:00:00Z/2026-10-26T16:00:00Z"
        ]
    );
}

#[test]
fn an_hour_that_the_clock_skips_begins_when_it_skips() {
    // 2026-03-29: 02:00 CET is 03:00 CEST.
    let mut berlin = calendar("Europe/Berlin", Vec::new());
    berlin.exceptions = vec![exception("2026-03-29", &[(150, 300)])];
    assert_eq!(
        first(&berlin, "2026-03-28T12:00:00Z", 9),
        ["2026-03-29T01:00:00Z/2026-03-29T03:00:00Z"]
    );
    berlin.exceptions = vec![exception("2026-03-29", &[(60, 150), (210, 300)])];
    assert_eq!(
        first(&berlin, "2026-03-28T12:00:00Z", 9),
        [
            "2026-03-29T00:00:00Z/2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z/2026-03-29T03:00:00Z"
        ]
    );
    // Wholly within the hour that is not: not open at all.
    berlin.exceptions = vec![exception("2026-03-29", &[(130, 170)])];
    assert_eq!(first(&berlin, "2026-03-28T12:00:00Z", 9), [""; 0]);
}

#[test]
fn an_hour_that_the_clock_shows_twice_is_open_throughout() {
    // 2026-10-25: 03:00 CEST is 02:00 CET; 02:30 is at 00:30Z and at 01:30Z.
    let mut berlin = calendar("Europe/Berlin", Vec::new());
    berlin.exceptions = vec![exception("2026-10-25", &[(150, 300)])];
    assert_eq!(
        first(&berlin, "2026-10-24T12:00:00Z", 9),
        ["2026-10-25T00:30:00Z/2026-10-25T04:00:00Z"]
    );
    berlin.exceptions = vec![exception("2026-10-25", &[(60, 150)])];
    assert_eq!(
        first(&berlin, "2026-10-24T12:00:00Z", 9),
        ["2026-10-24T23:00:00Z/2026-10-25T01:30:00Z"]
    );
    berlin.exceptions = vec![exception("2026-10-25", &[(60, 150), (150, 300)])];
    assert_eq!(
        first(&berlin, "2026-10-24T12:00:00Z", 9),
        ["2026-10-24T23:00:00Z/2026-10-25T04:00:00Z"]
    );
}

#[test]
fn tokyo_has_neither_and_holidays_close() {
    let mut tokyo = calendar("Asia/Tokyo", weekly(1..=5, 9, 18));
    tokyo.exceptions = vec![
        exception("2026-11-23", &[]),
        exception("12-29", &[]),
        exception("2026-12-29", &[(600, 720)]),
        exception("12-30", &[]),
        exception("02-29", &[(0, 60)]),
    ];
    assert_eq!(
        first(&tokyo, "2026-11-20T15:00:00Z", 1),
        ["2026-11-24T00:00:00Z/2026-11-24T09:00:00Z"],
        "Friday's night; Monday is a holiday"
    );
    assert_eq!(
        first(&tokyo, "2026-12-28T15:00:00Z", 2),
        [
            "2026-12-29T01:00:00Z/2026-12-29T03:00:00Z",
            "2026-12-31T00:00:00Z/2026-12-31T09:00:00Z"
        ],
        "a date of one year goes before the same date of every year"
    );
    assert_eq!(
        first(&tokyo, "2028-02-28T12:00:00Z", 1),
        ["2028-02-28T15:00:00Z/2028-02-28T16:00:00Z"]
    );
}

#[test]
fn midnight_joins_and_round_the_clock_is_one_interval() {
    let always = calendar("Asia/Tokyo", weekly(1..=7, 0, 24));
    let made = made(&always, ms("2026-11-21T04:00:00Z")).unwrap();
    assert_eq!(made.hours.len(), 1);
    assert_eq!(made.hours[0].from_ms, ms("2026-11-21T04:00:00Z"));
    assert_eq!(made.hours[0].to_ms, made.covered_until_ms);
    let mut night = calendar("Asia/Tokyo", weekly(1..=1, 22, 24));
    night.weekly.extend(weekly(2..=2, 0, 6));
    assert_eq!(
        first(&night, "2026-11-21T04:00:00Z", 1),
        ["2026-11-23T13:00:00Z/2026-11-23T21:00:00Z"]
    );
}

#[test]
fn days_begin_when_they_begin_there() {
    let starts = |zone: &str, now: &str| day_starts(zone, ms(now)).unwrap();
    // Sao Paulo, 2018-11-04: midnight was skipped, the day began at 01:00; 2018-02-17 had 25 hours.
    let forward = starts("America/Sao_Paulo", "2018-11-03T12:00:00Z");
    assert_eq!(
        forward[..3],
        [
            ms("2018-11-03T03:00:00Z"),
            ms("2018-11-04T03:00:00Z"),
            ms("2018-11-05T02:00:00Z")
        ]
    );
    let back = starts("America/Sao_Paulo", "2018-02-17T12:00:00Z");
    assert_eq!(back[..2], [ms("2018-02-17T02:00:00Z"), ms("2018-02-18T03:00:00Z")]);
    assert_eq!(
        starts("America/Sao_Paulo", "2026-11-04T12:00:00Z")[0],
        ms("2026-11-04T03:00:00Z"),
        "none since 2019"
    );
    assert_eq!(
        starts("Europe/Berlin", "2026-03-29T12:00:00Z")[..2],
        [ms("2026-03-28T23:00:00Z"), ms("2026-03-29T22:00:00Z")]
    );
    // Samoa had no 2011-12-30.
    let samoa = starts("Pacific/Apia", "2011-12-29T12:00:00Z");
    assert_eq!(
        samoa[..3],
        [
            ms("2011-12-29T10:00:00Z"),
            ms("2011-12-30T10:00:00Z"),
            ms("2011-12-31T10:00:00Z")
        ]
    );
    assert!(starts("", "2026-11-04T12:00:00Z").is_empty());
    assert!(
        starts("Asia/Tokyo", "2026-11-21T12:00:00Z")
            .windows(2)
            .all(|pair| pair[1] - pair[0] == DAY_MS)
    );
}

#[test]
fn coverage_is_extended_from_where_it_ends_and_only_when_it_runs_out() {
    let tokyo = calendar("Asia/Tokyo", weekly(1..=7, 9, 18));
    let now = ms("2026-11-21T04:00:00Z");
    let whole = made(&tokyo, now).unwrap();
    assert!(whole.covered_until_ms > now + (CALENDAR_DAYS - 2) * DAY_MS);
    assert_eq!(more(&whole, now + 30 * DAY_MS), Ok(None));
    let later = whole.covered_until_ms - 10 * DAY_MS;
    let (hours, until_ms) = more(&whole, later).unwrap().unwrap();
    assert!(until_ms > later + (CALENDAR_DAYS - 2) * DAY_MS);
    assert!(hours[0].from_ms >= whole.covered_until_ms && hours[0].from_ms < whole.covered_until_ms + DAY_MS);
    // Piece by piece it is what it is at once.
    let joined: Vec<OpenHours> = whole
        .hours
        .iter()
        .chain(&hours)
        .copied()
        .filter(|h| h.from_ms > later)
        .collect();
    let afresh: Vec<OpenHours> = made(&tokyo, later)
        .unwrap()
        .hours
        .into_iter()
        .filter(|h| h.from_ms > later)
        .collect();
    assert_eq!(joined, afresh);

    let known = day_starts("Asia/Tokyo", now).unwrap();
    assert_eq!(more_days("Asia/Tokyo", &known, now), Ok(None));
    let days = more_days("Asia/Tokyo", &known, later).unwrap().unwrap();
    assert_eq!((days.first(), days[1]), (known.last(), days[0] + DAY_MS));
    assert_eq!(
        more_days("Europe/Berlin", &known, later),
        Ok(None),
        "not days of that zone"
    );
}

#[test]
fn a_crowded_calendar_covers_less_and_stays_within_the_limit() {
    let mut crowded = calendar("UTC", Vec::new());
    crowded.weekly = (0..63u16)
        .map(|at| WeeklyHours {
            weekday: (at % 7) as u8 + 1,
            from_minute: at / 7 * 20,
            to_minute: at / 7 * 20 + 10,
        })
        .collect();
    crowded.exceptions = vec![exception(
        "01-01",
        &(0..700).map(|at| (at * 2, at * 2 + 1)).collect::<Vec<_>>(),
    )];
    let made = made(&crowded, ms("2026-11-21T04:00:00Z")).unwrap();
    assert!(made.hours.len() <= OPEN_HOURS_MAX, "{}", made.hours.len());
    assert!(made.hours.windows(2).all(|pair| pair[0].to_ms < pair[1].from_ms));
}

#[test]
fn everything_that_is_wrong_is_said() {
    let mut wrong = calendar("Asia/Tokio", weekly(8..=8, 9, 18));
    wrong.weekly.extend(weekly(1..=1, 18, 9));
    wrong.weekly.extend(weekly(2..=2, 9, 25));
    wrong.weekly.extend(weekly(3..=3, 9, 12));
    wrong.weekly.extend(weekly(3..=3, 11, 14));
    wrong.exceptions = ["2026-02-29", "1-1", "13-01", "12-24", "12-24", "today"]
        .map(|date| exception(date, &[]))
        .to_vec();
    let said: Vec<String> = check(&wrong).iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "there is no time zone \"Asia/Tokio\"; a name of the IANA data base is wanted, like \"Asia/Tokyo\"",
            "18:00 to 09:00 is no part of a day",
            "09:00 to 25:00 is no part of a day",
            "day 3 of the week has hours that overlap",
            "8 is no day of the week; 1 is Monday, 7 is Sunday",
            "\"2026-02-29\" is no date; it is written like \"2026-12-31\", or \"12-31\" for every year",
            "\"1-1\" is no date; it is written like \"2026-12-31\", or \"12-31\" for every year",
            "\"13-01\" is no date; it is written like \"2026-12-31\", or \"12-31\" for every year",
            "there are two exceptions for 12-24",
            "\"today\" is no date; it is written like \"2026-12-31\", or \"12-31\" for every year",
        ]
    );
    assert!(made(&wrong, 0).is_err());
}
