//! On a shard's leader: sees to it that calendars and the tenants' days are made far enough ahead (R34).
//!
//! It may be late by months without harm, and two of them do none: what is made depends on the settings alone, and the state
//! refuses an extension of what is no longer so.

use std::sync::Arc;
use std::time::Duration;

use cluster::shards::Lane;
use routing::command::Command;
use routing::ids::{Millis, TenantId};
use routing::state::State;

use super::supervisor::Reign;
use crate::calendars;
use crate::limits::CALENDAR_LOOK;
use crate::wall_clock::now_ms;

/// How long one proposal may take; the next look makes it again.
const DEADLINE: Duration = Duration::from_secs(10);

/// Looks at once and from time to time until the reign ends.
pub fn keep(reign: Arc<Reign>) {
    tokio::spawn(async move {
        loop {
            let due = due(&reign.state.read(), now_ms());
            for (tenant, command) in due {
                match reign.try_propose(tenant, Lane::Decision, &command, DEADLINE).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(why)) => {
                        tracing::warn!(shard = %reign.shard, %tenant, %why, "a calendar was not extended");
                    }
                    Err(error) => {
                        tracing::warn!(shard = %reign.shard, %tenant, %error, "a calendar is not extended yet");
                    }
                }
            }
            tokio::select! {
                () = reign.ended.cancelled() => return,
                () = tokio::time::sleep(CALENDAR_LOOK) => {}
            }
        }
    });
}

/// What has to be extended.
fn due(state: &State, now_ms: Millis) -> Vec<(TenantId, Command)> {
    let now_ms = now_ms.max(state.at_ms());
    let mut due = Vec::new();
    for (id, tenant) in state.tenants() {
        for (calendar, given, version, _) in tenant.calendars() {
            match calendars::more(given, now_ms) {
                Ok(Some((hours, covered_until_ms))) => due.push((
                    id,
                    Command::ExtendCalendar {
                        calendar,
                        version,
                        hours,
                        covered_until_ms,
                    },
                )),
                Ok(None) => {}
                Err(error) => tracing::warn!(tenant = %id, %calendar, %error, "a calendar cannot be extended"),
            }
        }
        let routing = tenant.routing();
        match calendars::more_days(&routing.zone, &routing.day_starts_ms, now_ms) {
            Ok(Some(starts_ms)) => due.push((id, Command::ExtendDays { starts_ms })),
            Ok(None) => {}
            Err(error) => tracing::warn!(tenant = %id, %error, "the tenant's days cannot be extended"),
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use routing::command::{COMMAND_SCHEMA, Envelope};
    use routing::ids::CalendarId;
    use routing::settings::{CalendarSettings, RoutingSettings, WeeklyHours};

    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const TENANT: TenantId = TenantId(1);

    fn apply(state: &mut State, at_ms: Millis, command: Command) {
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key: None,
            command,
        };
        let index = state.index() + 1;
        state.apply(index, at_ms, &envelope, &mut Vec::new()).unwrap();
    }

    #[test]
    fn what_runs_out_is_extended_and_then_nothing_is_due() {
        let mut now_ms = 1_795_233_600_000;
        let mut state = State::new();
        apply(
            &mut state,
            now_ms,
            Command::PutTenant {
                name: "acme".to_owned(),
            },
        );
        let settings = CalendarSettings {
            name: "office".to_owned(),
            zone: "Asia/Tokyo".to_owned(),
            weekly: vec![WeeklyHours {
                weekday: 1,
                from_minute: 540,
                to_minute: 1080,
            }],
            exceptions: Vec::new(),
        };
        let given = calendars::made(&settings, now_ms).unwrap();
        apply(
            &mut state,
            now_ms,
            Command::PutCalendar {
                calendar: CalendarId(7),
                given,
            },
        );
        let zone = "Europe/Berlin".to_owned();
        let day_starts_ms = calendars::day_starts(&zone, now_ms).unwrap();
        let settings = RoutingSettings {
            zone,
            day_starts_ms,
            ..RoutingSettings::default()
        };
        apply(&mut state, now_ms, Command::PutRouting { settings });
        assert!(due(&state, now_ms).is_empty());
        for _ in 0..3 {
            now_ms += 300 * DAY_MS;
            let extensions = due(&state, now_ms);
            assert_eq!(extensions.len(), 2, "{extensions:?}");
            extensions
                .into_iter()
                .for_each(|(_, command)| apply(&mut state, now_ms, command));
            assert!(due(&state, now_ms).is_empty());
            let tenant = state.tenant(TENANT).unwrap();
            assert!(
                tenant.routing().day_starts_ms.len() < 450,
                "days that are over are forgotten"
            );
            assert!(
                tenant
                    .calendars()
                    .all(|(_, given, ..)| given.covered_until_ms > now_ms + 390 * DAY_MS)
            );
        }
    }
}
