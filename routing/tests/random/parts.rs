//! Participants, schedules, callbacks, calendars, ratings, at random.

use proptest::prelude::*;
use routing::command::*;
use routing::event::ConversationView;
use routing::ids::*;
use routing::settings::*;

use super::{agent, author, body, conversation, epoch, queue};

/// Where the clock of a run begins.
const START_MS: u64 = 1_000_000;

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        3 => Just(Role::Consult),
        4 => Just(Role::Conference),
        1 => Just(Role::Monitor),
        1 => Just(Role::Whisper),
        1 => Just(Role::Barge),
    ]
}

pub fn schedule() -> impl Strategy<Value = Schedule> {
    let at_ms = || (0u64..400_000).prop_map(|ms| START_MS + ms);
    let until = prop_oneof![
        at_ms().prop_map(|at_ms| ScheduleUntil::At { at_ms }),
        (agent(), at_ms()).prop_map(|(agent, latest_ms)| ScheduleUntil::AgentReturns { agent, latest_ms }),
    ];
    (until, any::<bool>()).prop_map(|(until, keep_age)| Schedule { until, keep_age })
}

fn calendar() -> impl Strategy<Value = CalendarId> {
    (1u128..3).prop_map(CalendarId)
}

/// Mostly ascending and apart.
fn hours() -> impl Strategy<Value = Vec<OpenHours>> {
    let pair = (0u64..60_000, 1u64..60_000);
    (0u64..300_000, proptest::collection::vec(pair, 0..3)).prop_map(|(first, pairs)| {
        let mut at = START_MS + first;
        let open = |(closed_ms, open_ms): (u64, u64)| {
            let from_ms = at + closed_ms;
            at = from_ms + open_ms;
            OpenHours { from_ms, to_ms: at }
        };
        pairs.into_iter().map(open).collect()
    })
}

/// Two of the three queues' settings, now and then with business hours.
pub fn with_hours(
    settings: impl Strategy<Value = (QueueId, QueueSettings)>,
) -> impl Strategy<Value = (QueueId, QueueSettings)> {
    let when_closed = prop_oneof![
        Just(WhenClosed::Refuse),
        Just(WhenClosed::Wait),
        Just(WhenClosed::Offline {
            text: "closed".to_owned()
        }),
        queue().prop_map(WhenClosed::MoveQueue),
    ];
    let calendar = proptest::option::weighted(0.4, calendar());
    (settings, calendar, when_closed).prop_map(|((id, settings), calendar, when_closed)| {
        let settings = QueueSettings {
            calendar,
            when_closed,
            ..settings
        };
        (id, settings)
    })
}

pub fn setting() -> impl Strategy<Value = Command> {
    let until = || (0u64..600_000).prop_map(|ms| START_MS + ms);
    prop_oneof![
        4 => (calendar(), hours(), until()).prop_map(|(calendar, hours, covered_until_ms)| {
            let name = format!("calendar {calendar}");
            let settings = CalendarSettings { name, zone: "UTC".to_owned(), ..CalendarSettings::default() };
            Command::PutCalendar { calendar, given: Calendar { settings, hours, covered_until_ms } }
        }),
        1 => calendar().prop_map(|calendar| Command::RemoveCalendar { calendar }),
        1 => (calendar(), 0u64..40, hours(), until()).prop_map(|(calendar, version, hours, covered_until_ms)| {
            Command::ExtendCalendar { calendar, version, hours, covered_until_ms }
        }),
    ]
}

pub fn command() -> impl Strategy<Value = Command> {
    let (c, a, e) = (conversation, agent, epoch);
    prop_oneof![
        3 => (c(), a(), e(), a(), role()).prop_map(|(conversation, by, epoch, agent, role)| {
            Command::Invite { conversation, by, epoch, agent, role }
        }),
        4 => (c(), a(), any::<bool>()).prop_map(|(conversation, agent, accept)| {
            Command::AnswerInvitation { conversation, agent, accept }
        }),
        5 => (c(), a(), role()).prop_map(|(conversation, agent, role)| Command::JoinAs { conversation, agent, role }),
        2 => (c(), a()).prop_map(|(conversation, agent)| Command::LeaveConversation { conversation, agent }),
        1 => (c(), a(), e(), a()).prop_map(|(conversation, by, epoch, agent)| {
            Command::RemoveParticipant { conversation, by, epoch, agent }
        }),
        2 => (c(), a(), e(), a()).prop_map(|(conversation, by, epoch, to)| {
            Command::CompleteTransfer { conversation, by, epoch, to }
        }),
        2 => (c(), a(), body()).prop_map(|(conversation, agent, body)| {
            Command::PostWhisper { conversation, agent, body }
        }),
        3 => (c(), a(), body()).prop_map(|(conversation, agent, body)| {
            Command::PostMessage { conversation, author: Author::Participant { agent }, body }
        }),
        4 => (c(), author(), schedule()).prop_map(|(conversation, by, schedule)| {
            Command::Schedule { conversation, by, schedule }
        }),
        2 => (c(), author()).prop_map(|(conversation, by)| Command::CancelSchedule { conversation, by }),
        2 => (c(), author(), "[0-9]{0,4}").prop_map(|(conversation, by, contact)| {
            Command::RequestCallback { conversation, by, contact }
        }),
        2 => (c(), 0u8..7).prop_map(|(conversation, rating)| Command::Rate { conversation, rating, comment: None }),
    ]
}

/// What whoever has it may do with it now, and mostly does in time.
pub fn rightly(view: &ConversationView, owner: AgentId, act: u8) -> Command {
    let (conversation, epoch) = (view.conversation, view.epoch);
    let other = AgentId(owner.0 % 3 + 1);
    let (by, agent) = (owner, other);
    let beside = view.participants.first().map_or(other, |(agent, _)| *agent);
    match act % 8 {
        0 => Command::Invite {
            conversation,
            by,
            epoch,
            agent,
            role: Role::Conference,
        },
        1 => Command::Invite {
            conversation,
            by,
            epoch,
            agent,
            role: Role::Consult,
        },
        2..=4 => Command::AnswerInvitation {
            conversation,
            agent: view.invited.first().map_or(other, |(agent, _, _)| *agent),
            accept: true,
        },
        5 => Command::CompleteTransfer {
            conversation,
            by,
            epoch,
            to: beside,
        },
        6 => Command::RemoveParticipant {
            conversation,
            by,
            epoch,
            agent: beside,
        },
        _ => Command::Schedule {
            conversation,
            by: Author::Agent { agent: owner, epoch },
            schedule: Schedule {
                until: ScheduleUntil::AgentReturns {
                    agent: other,
                    latest_ms: START_MS + 600_000,
                },
                keep_age: epoch.0.is_multiple_of(2),
            },
        },
    }
}
