//! Small worlds whose every moment is known.

use std::collections::BTreeMap;

use super::*;
use crate::command::PresenceChange;
use crate::ids::{AgentId, Channel, QueueId};
use crate::settings::{AgentSettings, Capacity, ChannelCapacity, Classification, Membership, QueueSettings, WrapUp};

const QUEUE: QueueId = QueueId(1);
const MIA: AgentId = AgentId(1);
const KEN: AgentId = AgentId(2);

#[derive(Default)]
struct Book {
    outcomes: BTreeMap<u128, Outcome>,
    stood_ms: u64,
    /// Waiting and offered, summed over time.
    queued_ms: u64,
}

impl Sink for Book {
    fn ended(&mut self, outcome: &Outcome) {
        let before = self.outcomes.insert(outcome.conversation.0, outcome.clone());
        assert!(before.is_none(), "{} ended twice", outcome.conversation);
    }

    fn stood(&mut self, from_ms: Millis, until_ms: Millis, tenant: &Tenant) {
        self.stood_ms += until_ms - from_ms;
        self.queued_ms += (until_ms - from_ms) * u64::from(tenant.queue_counts(QUEUE).in_queue());
    }
}

fn chat() -> Channel {
    Channel("chat".to_owned())
}

/// One queue that assigns without asking, unless changed; agents with one slot each, signed in.
fn world(agents: &[AgentId], change: impl FnOnce(&mut QueueSettings)) -> World {
    let mut world = World::new(1_000).expect("an empty world");
    let mut settings = QueueSettings::named("all");
    settings.auto_accept = true;
    settings.reopen_window_ms = 0;
    change(&mut settings);
    let queue = QUEUE;
    world
        .set_up(Command::PutQueue { queue, settings })
        .expect("a valid queue");
    for &agent in agents {
        let slot = ChannelCapacity {
            concurrent_max: 1,
            cost: 1,
            exclusive: false,
            interruptible: false,
        };
        let settings = AgentSettings {
            name: agent.to_string(),
            queues: BTreeMap::from([(QUEUE, Membership::default())]),
            capacity: Capacity {
                total: 1,
                channels: BTreeMap::from([(chat(), slot)]),
                ..Capacity::default()
            },
            ..AgentSettings::default()
        };
        world
            .set_up(Command::PutAgent { agent, settings })
            .expect("a valid agent");
        let presence = PresenceChange::Available;
        world
            .set_up(Command::SignIn { agent, presence })
            .expect("the agent is known");
    }
    world
}

fn arrival(number: u128, takes_ms: u64) -> Arrival {
    let classification = Classification {
        queues: vec![QUEUE],
        ..Classification::default()
    };
    Arrival {
        service: Service::Takes(takes_ms),
        ..Arrival::new(ConversationId(number), chat(), classification)
    }
}

fn at(at_ms: Millis, arrival: Arrival) -> Input {
    let what = What::Arrival(Box::new(arrival));
    Input { at_ms, what }
}

fn told(at_ms: Millis, command: Command) -> Input {
    let what = What::Command(Box::new(command));
    Input { at_ms, what }
}

fn run(world: &mut World, workload: Vec<Input>) -> (Book, Counts) {
    let mut book = Book::default();
    let counts = world.run(workload, &mut book).expect("it runs");
    assert_eq!(counts.refused_decisions, BTreeMap::new(), "nothing is in flight");
    crate::invariants::check(world.state()).expect("the invariants hold");
    (book, counts)
}

#[test]
fn first_come_first_served_to_the_millisecond() {
    let mut world = world(&[MIA], |_| {});
    let workload = (1..=3).map(|n| at(1_000 + 10 * n as u64, arrival(n, 100))).collect();
    let (book, counts) = run(&mut world, workload);
    let seen: Vec<_> = book.outcomes.values().collect();
    let waits: Vec<_> = seen.iter().map(|o| (o.waited_ms, o.served_ms, o.ended_at_ms)).collect();
    assert_eq!(waits, [(0, 100, 1_110), (90, 100, 1_210), (180, 100, 1_310)]);
    assert!(
        seen.iter()
            .all(|o| o.end == End::Closed(CloseOutcome::Answered) && o.agent == Some(MIA))
    );
    let at_once: Vec<_> = seen.iter().map(|o| (o.offered_at_once, o.offers)).collect();
    assert_eq!(at_once, [(true, 1), (false, 1), (false, 1)]);
    assert_eq!(
        (book.queued_ms, book.stood_ms),
        (270, 310),
        "the integral of the queue is the sum of waits"
    );
    assert_eq!((counts.arrivals, counts.offers), (3, 3));
    let tenant = world.tenant().expect("the tenant");
    assert_eq!(tenant.conversations(None).count(), 0, "all are archived");
}

#[test]
fn the_impatient_leave_and_the_state_counts_them() {
    let mut world = world(&[MIA], |queue| {
        queue.abandon_hold_ms = 30;
        queue.short_abandon_ms = 20;
    });
    let with = |number, patience| Arrival {
        patience,
        ..arrival(number, 100)
    };
    let workload = vec![
        at(1_000, arrival(1, 1_000)),
        at(1_001, with(2, Patience::Closes(19))),
        at(1_001, with(3, Patience::Closes(20))),
        at(1_001, with(4, Patience::Disconnects(50))),
        at(1_001, with(5, Patience::AtLeast(998))),
        at(1_002, with(6, Patience::AtLeast(1_098))),
        at(1_002, with(7, Patience::Closes(1_000_000))),
    ];
    let (book, counts) = run(&mut world, workload);
    let ends: Vec<_> = book.outcomes.values().map(|o| (o.end.clone(), o.ended_at_ms)).collect();
    let closed = |outcome, at_ms| (End::Closed(outcome), at_ms);
    let answered = CloseOutcome::Answered;
    let expected = [
        closed(answered, 2_000),
        closed(CloseOutcome::ShortAbandoned, 1_020),
        closed(CloseOutcome::Abandoned, 1_021),
        closed(CloseOutcome::Abandoned, 1_081),
        closed(answered, 2_100),
        closed(answered, 2_200),
        closed(answered, 2_300),
    ];
    assert_eq!(ends, expected);
    let beyond: Vec<_> = book.outcomes.values().map(|o| o.beyond_known_patience).collect();
    assert_eq!(
        beyond,
        [false, false, false, false, true, false, false],
        "5 waited 999, 6 waited 1,098"
    );
    assert_eq!(counts.refused_deeds, BTreeMap::new());
}

#[test]
fn offers_are_declined_ignored_and_accepted() {
    let mut world = world(&[MIA, KEN], |queue| {
        queue.auto_accept = false;
        queue.offer_timeout_ms = 20;
        queue.timeouts_until_away = 0;
        queue.decline_exclude_ms = 1_000;
    });
    let reply = |after_ms, declines: Option<&str>| Reply {
        after_ms,
        declines: declines.map(str::to_owned),
    };
    let mut newcomer = arrival(1, 100);
    newcomer.replies = vec![reply(5, Some("busy")), reply(30, None), reply(7, None)];
    let (book, counts) = run(&mut world, vec![at(1_000, newcomer)]);
    let one = &book.outcomes[&1];
    // Declined after 5; ignored for 20; both are excluded until 2,005, when the one who declined may again.
    assert_eq!(
        (one.offers, one.offered_at_ms, one.answered_at_ms),
        (3, Some(1_000), Some(2_012))
    );
    assert_eq!((one.waited_ms, one.served_ms, one.ended_at_ms), (1_012, 100, 2_112));
    assert_eq!(
        counts.refused_deeds,
        BTreeMap::from([("offer_over", 1)]),
        "the reply to the expired offer"
    );
}

#[test]
fn who_loses_the_agent_is_served_the_rest_by_the_next() {
    let mut world = world(&[MIA], |_| {});
    let mut newcomer = arrival(1, 0);
    newcomer.service = Service::ByAgent {
        known: BTreeMap::from([(KEN, 250)]),
        otherwise: 100,
    };
    let slow = AgentSettings {
        name: "ken".to_owned(),
        ..AgentSettings::clone(&world.tenant().and_then(|t| t.agent(MIA)).expect("mia").settings)
    };
    let mut workload = vec![
        at(1_000, newcomer),
        told(1_040, Command::SignOut { agent: MIA }),
        told(
            1_050,
            Command::PutAgent {
                agent: KEN,
                settings: slow,
            },
        ),
    ];
    workload.extend(shift(KEN, 1_060, 1_070));
    workload.push(at(1_080, arrival(2, 5)));
    let (book, _) = run(&mut world, workload);
    let one = &book.outcomes[&1];
    assert_eq!((one.agent, one.waited_ms), (Some(KEN), 0));
    assert_eq!(
        (one.served_ms, one.ended_at_ms),
        (250, 1_060 + 210),
        "40 of 250 were done"
    );
    let two = &book.outcomes[&2];
    assert_eq!(two.end, End::LeftOver, "ken's shift was over");
}

#[test]
fn wrap_up_ends_by_hand_or_by_its_deadline() {
    let mut world = world(&[MIA], |queue| queue.wrap_up = WrapUp::Manual { longest_ms: 50 });
    let mut first = arrival(1, 100);
    first.wrap_up_ms = Some(20);
    let workload = vec![at(1_000, first), at(1_001, arrival(2, 100)), at(1_002, arrival(3, 100))];
    let (book, _) = run(&mut world, workload);
    let answered: Vec<_> = book.outcomes.values().map(|o| o.answered_at_ms).collect();
    assert_eq!(answered, [Some(1_000), Some(1_120), Some(1_270)]);
}

#[test]
fn who_is_not_admitted_is_told_of() {
    let mut world = world(&[], |queue| queue.length_max = 1);
    let workload = vec![at(1_000, arrival(1, 1)), at(1_001, arrival(2, 1))];
    let (book, counts) = run(&mut world, workload);
    let ends: Vec<_> = book.outcomes.values().map(|o| o.end.clone()).collect();
    assert_eq!(ends, [End::LeftOver, End::Refused("queue_full")]);
    assert_eq!(counts.refused_deeds, BTreeMap::from([("queue_full", 1)]));
}

#[test]
fn mistakes_are_named() {
    let mut world = world(&[], |_| {});
    let refused = world.set_up(Command::RemoveQueue { queue: QueueId(7) });
    assert!(matches!(
        refused,
        Err(SimulationError::SetUp {
            rejection: Rejection::UnknownQueue(_),
            ..
        })
    ));
    let workload = vec![at(1_005, arrival(1, 1)), at(1_004, arrival(2, 1))];
    let backwards = world.run(workload, &mut Book::default());
    let (at_ms, now_ms) = (1_004, 1_005);
    assert_eq!(backwards, Err(SimulationError::Backwards { at_ms, now_ms }));
}

#[test]
fn equal_workloads_give_equal_logs() {
    let digest = || {
        let mut world = world(&[MIA, KEN], |_| {});
        let workload = (0..500u64).map(|n| {
            let mut newcomer = arrival(u128::from(n), 7 + n * 31 % 50);
            newcomer.patience = Patience::Closes(n * 17 % 90);
            at(1_000 + 13 * n + n * n % 7, newcomer)
        });
        let (book, counts) = run(&mut world, workload.collect());
        assert!(
            book.outcomes
                .values()
                .any(|o| o.end == End::Closed(CloseOutcome::Answered))
        );
        (world.state().digest(), book.outcomes, counts)
    };
    assert_eq!(digest(), digest());
}
