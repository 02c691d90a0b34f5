//! Business hours: calendars that never open, holidays that are over, queues without hours.

use routing::ids::Millis;

use super::{Look, Thing, spot};
use crate::calendars::{ExceptionDate, check, days_until, made};

/// Holidays should be known for so many days ahead.
const HOLIDAYS_AHEAD_DAYS: i64 = 60;

impl Look<'_> {
    pub(super) fn calendars(&mut self, now_ms: Millis) {
        let policy = self.policy;
        let used = |id| policy.queues.values().any(|queue| queue.calendar == Some(id));
        for (id, calendar) in &policy.calendars {
            let at = |key| spot(Thing::Calendar(*id), key);
            let wrong = check(&calendar.settings);
            let sound = wrong.is_empty();
            for error in wrong {
                self.error("calendar_invalid", at(""), error.to_string());
            }
            if sound && made(&calendar.settings, now_ms).is_ok_and(|made| made.hours.is_empty()) {
                self.error(
                    "calendar_never_open",
                    at("weekly"),
                    "it does not open within the next year",
                );
            }
            if !used(*id) {
                self.warning("calendar_unused", at(""), "no queue has it");
            }
            let dates = calendar
                .settings
                .exceptions
                .iter()
                .map(|exception| ExceptionDate::parse(&exception.date));
            let last = dates.filter_map(|date| match date {
                Ok(ExceptionDate::Once(date)) => Some(date),
                _ => None,
            });
            if let Some(last) = last.max()
                && days_until(last, now_ms) < HOLIDAYS_AHEAD_DAYS
            {
                let why = format!("its last dated exception is {last}: are the holidays after that known?");
                self.warning("calendar_holidays_end", at("exceptions"), why);
            }
        }
        if policy.queues.values().any(|queue| queue.calendar.is_some()) {
            for (id, _) in policy.queues.iter().filter(|(_, queue)| queue.calendar.is_none()) {
                let why = "others have business hours; this one is always open";
                self.warning("queue_without_hours", spot(Thing::Queue(*id), "calendar"), why);
            }
        }
    }
}
