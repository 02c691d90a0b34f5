use std::collections::BTreeMap;
use std::sync::Arc;

use routing::event::CloseOutcome;
use routing::ids::{AgentId, CalendarId, Channel, ConversationId, QueueId};
use routing::settings::{
    AgentSettings, Calendar, CalendarSettings, Capacity, ChannelCapacity, Classification, Membership, Policy,
    Preference, QueueSettings, Rule, WeeklyHours,
};
use routing::view::Presence;

use super::figures::{Figures, recorded};
use super::people::People;
use super::rehearsal::{as_it_was, of_file, rehearse};
use super::trace::{Setting, TRACE_FORMAT, Trace, TracedConversation};
use super::{plot, table};
use crate::calendars::made;
use crate::rules::split_draw;

const SUPPORT: QueueId = QueueId(1);
const MINUTE_MS: u64 = 60_000;

fn agent(name: &str, queue: QueueId) -> Arc<AgentSettings> {
    let chat = ChannelCapacity {
        concurrent_max: 1,
        cost: 1,
        exclusive: false,
        interruptible: false,
    };
    Arc::new(AgentSettings {
        name: name.to_owned(),
        queues: Membership::plain([queue]),
        capacity: Capacity {
            total: 1,
            channels: BTreeMap::from([(Channel("chat".to_owned()), chat)]),
            interruptible: 0,
        },
        lease_hold_ms: 30_000,
        ..AgentSettings::default()
    })
}

fn policy(names: &[(&str, QueueId)]) -> Policy {
    Policy {
        queues: names
            .iter()
            .map(|(name, id)| (*id, QueueSettings::named(name)))
            .collect(),
        ..Policy::default()
    }
}

/// One agent; a customer each minute, each three minutes of work; every third lost patience after four minutes.
fn trace() -> Trace {
    let conversations = (0..60_u64).map(|n| {
        let left = n % 3 == 2;
        let started_at_ms = (n + 10) * MINUTE_MS;
        let wait_ms = if left { 4 * MINUTE_MS } else { n * 1_000 };
        TracedConversation {
            conversation: ConversationId(u128::from(n) + 1),
            channel: Channel("chat".to_owned()),
            started_at_ms,
            rule: None,
            entered: Some(SUPPORT),
            priority: 5,
            required: Vec::new(),
            preferred: Vec::new(),
            selectors: Vec::new(),
            attributes: BTreeMap::new(),
            answered_at_ms: (!left).then_some(started_at_ms + wait_ms),
            ended_at_ms: Some(started_at_ms + wait_ms + if left { 0 } else { 3 * MINUTE_MS }),
            outcome: Some(if left {
                CloseOutcome::Abandoned
            } else {
                CloseOutcome::Answered
            }),
            served_ms: if left { 0 } else { 3 * MINUTE_MS },
        }
    });
    Trace {
        kaiwa_trace: TRACE_FORMAT,
        tenant: "acme".to_owned(),
        from_ms: 10 * MINUTE_MS,
        until_ms: 70 * MINUTE_MS,
        setting: Setting {
            policy: Box::new(policy(&[("support", SUPPORT)])),
            agents: vec![
                (AgentId(1), agent("mia", SUPPORT)),
                (AgentId(2), agent("noor", SUPPORT)),
            ],
        },
        // Noor goes before it begins.
        presences: vec![
            (AgentId(2), 5, Presence::Available),
            (AgentId(1), 5, Presence::Available),
            (AgentId(2), 6, Presence::Offline),
        ],
        conversations: conversations.collect(),
    }
}

#[test]
fn what_was_recorded_is_counted_as_it_was() {
    let figures = recorded(&trace());
    assert_eq!(
        (figures.all.offered, figures.all.answered, figures.all.abandoned),
        (60, 40, 20)
    );
    assert_eq!(figures.all.longest_ms, 4 * MINUTE_MS);
    assert_eq!(figures.queues["support"], figures.all);
    assert_eq!(figures.quarters.iter().map(|(_, offered, ..)| offered).sum::<u64>(), 60);
}

#[test]
fn the_policy_that_was_in_force_gives_what_was_given_splits_and_preferences_too() {
    const PILOT: QueueId = QueueId(2);
    let mut trace = trace();
    let part = |queue| Classification {
        queues: vec![queue],
        priority: 5,
        preferred_agent: (queue == PILOT).then_some(Preference {
            agent: AgentId(1),
            wait_ms: MINUTE_MS,
        }),
        ..Classification::default()
    };
    let mut policy = policy(&[("support", SUPPORT), ("pilot", PILOT)]);
    policy.rules.push(Rule {
        name: "pilot".to_owned(),
        when: "true".to_owned(),
        parts: vec![(2, part(SUPPORT)), (1, part(PILOT))],
    });
    for of in &mut trace.conversations {
        let second = split_draw(of.conversation) % 3 == 2;
        (of.rule, of.entered) = (Some("pilot".to_owned()), Some(if second { PILOT } else { SUPPORT }));
    }
    *trace.setting.policy = policy.clone();
    let both = Membership::plain([SUPPORT, PILOT]);
    for (_, settings) in &mut trace.setting.agents {
        Arc::make_mut(settings).queues = both.clone();
    }
    let people = People::of(&trace.conversations);
    let run = |plan| rehearse(&trace, &people, &plan, 0).expect("a run");
    let was = run(as_it_was(&trace).expect("a plan"));
    let (plan, lost) = of_file(&trace, "the same", policy, Vec::new()).expect("a plan");
    assert_eq!(lost, Vec::<String>::new());
    let again = run(plan);
    assert_eq!((&again.waits_ms, &again.queues), (&was.waits_ms, &was.queues));
    assert!(was.queues["pilot"].offered > 10, "{:?}", was.queues["pilot"]);
}

#[test]
fn the_same_people_come_again_and_only_the_agents_of_the_trace_are_there() {
    let trace = trace();
    let people = People::of(&trace.conversations);
    let run = || rehearse(&trace, &people, &as_it_was(&trace).expect("a plan"), 0).expect("a run");
    let (first, again) = (run(), run());
    assert_eq!(first.waits_ms, again.waits_ms);
    assert_eq!(first.all, again.all);
    assert_eq!(first.all.offered, 60);
    assert_eq!(first.agents.len(), 1, "noor is not there");
    // One agent serves 20 an hour; no more can be answered while she is asked three times as much.
    assert!(first.all.answered < 40, "{:?}", first.all);
    assert!(
        first.occupancy.is_some_and(|share| share > 0.95),
        "{:?}",
        first.occupancy
    );
}

#[test]
fn another_policy_meets_the_same_people() {
    let trace = trace();
    let people = People::of(&trace.conversations);
    let before = rehearse(&trace, &people, &as_it_was(&trace).expect("a plan"), 0).expect("a run");
    // A cap on the queue's length turns customers away who would have lost patience.
    let mut short = policy(&[("support", QueueId(9)), ("other", QueueId(8))]);
    if let Some(queue) = short.queues.get_mut(&QueueId(9)) {
        queue.length_max = 1;
    }
    // The file's own id for the queue is the trace's: names were matched before.
    let support = short.queues.remove(&QueueId(9)).expect("it is there");
    short.queues.insert(SUPPORT, support);
    let (plan, lost) = of_file(&trace, "short", short, Vec::new()).expect("a plan");
    assert_eq!(lost, Vec::<String>::new());
    let after = rehearse(&trace, &people, &plan, 0).expect("a run");
    assert_eq!(after.all.offered, before.all.offered);
    assert!(after.all.turned_away > 0 && before.all.turned_away == 0);
    assert!(
        after.all.longest_ms < before.all.longest_ms,
        "{:?} {:?}",
        after.all,
        before.all
    );

    let runs: Vec<Figures> = vec![recorded(&trace), before, after];
    let text = table::table(&runs);
    for word in [
        "recorded",
        "as it was set",
        "short",
        "service level",
        "── support",
        "Jain",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    let picture = plot::svg("acme", &runs).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("short"));
}

#[test]
fn opening_hours_are_those_of_the_period() {
    const OFFICE: CalendarId = CalendarId(7);
    // The trace begins on Thursday the 1st of January 1970 at 09:10 in Tokyo.
    let office = CalendarSettings {
        name: "office".to_owned(),
        zone: "Asia/Tokyo".to_owned(),
        weekly: vec![WeeklyHours {
            weekday: 4,
            from_minute: 9 * 60,
            to_minute: 9 * 60 + 30,
        }],
        exceptions: Vec::new(),
    };
    let with = |calendar: Calendar| {
        let mut policy = policy(&[("support", SUPPORT)]);
        if let Some(queue) = policy.queues.get_mut(&SUPPORT) {
            queue.calendar = Some(OFFICE);
        }
        policy.calendars.insert(OFFICE, calendar);
        policy
    };
    // Saved after the period: what the node had made of it begins there.
    let mut trace = trace();
    let saved = made(&office, trace.until_ms).expect("hours");
    assert!(saved.hours.iter().all(|hours| hours.from_ms >= trace.until_ms));
    *trace.setting.policy = with(saved);
    // A file says when it is open, not at which moments.
    let of_a_file = Calendar {
        settings: office,
        hours: Vec::new(),
        covered_until_ms: 0,
    };
    let people = People::of(&trace.conversations);
    let (by_file, _) = of_file(&trace, "file", with(of_a_file), Vec::new()).expect("a plan");
    for plan in [as_it_was(&trace).expect("a plan"), by_file] {
        let figures = rehearse(&trace, &people, &plan, 0).expect("a run");
        let in_time = trace
            .conversations
            .iter()
            .filter(|one| one.started_at_ms < 30 * MINUTE_MS);
        let in_time = in_time.count() as u64;
        assert_eq!((figures.all.offered, in_time), (60, 20), "{}", plan.name);
        // Those that come after it has closed have no queue; those before are served or lose patience.
        assert_eq!(
            figures.all.turned_away,
            60 - in_time,
            "{}: {:?}",
            plan.name,
            figures.all
        );
        assert_eq!(figures.queues["support"].offered, in_time, "{}", plan.name);
    }
}

#[test]
fn who_does_not_fit_is_named() {
    let (plan, lost) = of_file(&trace(), "new", policy(&[("sales", QueueId(5))]), Vec::new()).expect("a plan");
    assert_eq!(lost.len(), 2);
    assert_eq!(lost[0], "mia serves support, which is not in new");
    assert!(plan.agents.iter().all(|(_, settings)| settings.queues.is_empty()));
}

#[test]
fn a_trace_survives_its_file() {
    let trace = trace();
    let text = serde_json::to_string(&trace).expect("written");
    assert_eq!(serde_json::from_str::<Trace>(&text).expect("read"), trace);
}
