//! The log's format is for ever: one of each command, encoded, against bytes that were written down when the variant was new.
//!
//! `UPDATE_GOLDENFILES=1` appends the variants that the file does not have yet. It never rewrites a line: a line that no longer
//! matches means that logs on disk can no longer be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use routing::command::*;
use routing::ids::*;
use routing::settings::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/encodings/commands.txt");

/// Its place in the enum, so that a new variant cannot be left out: the compiler asks for it here.
fn place(command: &Command) -> usize {
    match command {
        Command::PutTenant { .. } => 0,
        Command::PutQueue { .. } => 1,
        Command::RemoveQueue { .. } => 2,
        Command::PutSkill { .. } => 3,
        Command::RemoveSkill { .. } => 4,
        Command::PutAgent { .. } => 5,
        Command::RemoveAgent { .. } => 6,
        Command::PutRules { .. } => 7,
        Command::StartConversation { .. } => 8,
        Command::PostMessage { .. } => 9,
        Command::PostNote { .. } => 10,
        Command::MarkRead { .. } => 11,
        Command::SetAttributes { .. } => 12,
        Command::Pause { .. } => 13,
        Command::Resume { .. } => 14,
        Command::Close { .. } => 15,
        Command::Reopen { .. } => 16,
        Command::CustomerLeft { .. } => 17,
        Command::CustomerReturned { .. } => 18,
        Command::OverrideConversation { .. } => 19,
        Command::Transfer { .. } => 20,
        Command::Pull { .. } => 21,
        Command::AssignByHand { .. } => 22,
        Command::SignIn { .. } => 23,
        Command::SignOut { .. } => 24,
        Command::SetPresence { .. } => 25,
        Command::ConnectionsLost { .. } => 26,
        Command::ConnectionsBack { .. } => 27,
        Command::AcceptOffer { .. } => 28,
        Command::DeclineOffer { .. } => 29,
        Command::FinishWrapUp { .. } => 30,
        Command::ExtendWrapUp { .. } => 31,
        Command::Offer { .. } => 32,
        Command::Fire { .. } => 33,
        Command::OfferToMany { .. } => 34,
        Command::ShareRing { .. } => 35,
        Command::ActivatePolicy { .. } => 36,
        Command::PutRouting { .. } => 37,
        Command::PutCalendar { .. } => 38,
        Command::RemoveCalendar { .. } => 39,
        Command::ExtendCalendar { .. } => 40,
        Command::ExtendDays { .. } => 41,
        Command::Invite { .. } => 42,
        Command::AnswerInvitation { .. } => 43,
        Command::JoinAs { .. } => 44,
        Command::LeaveConversation { .. } => 45,
        Command::RemoveParticipant { .. } => 46,
        Command::CompleteTransfer { .. } => 47,
        Command::PostWhisper { .. } => 48,
        Command::Schedule { .. } => 49,
        Command::CancelSchedule { .. } => 50,
        Command::RequestCallback { .. } => 51,
        Command::Rate { .. } => 52,
    }
}
const VARIANTS: usize = 53;

const C: ConversationId = ConversationId(0x0190_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0001);
const A: AgentId = AgentId(0x0190_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0002);
const Q: QueueId = QueueId(0x0190_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0003);
const E: Epoch = Epoch(7);
const K: CalendarId = CalendarId(0x0190_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0004);

fn body() -> Body {
    Body {
        media_type: "text/plain".to_owned(),
        text: "good day".to_owned(),
    }
}
fn skill() -> SkillName {
    SkillName("billing".to_owned())
}
fn asked(level: u8) -> Vec<Requirement> {
    vec![Requirement { skill: skill(), level }]
}
fn classification() -> Classification {
    let preferred_agent = Some(Preference {
        agent: A,
        wait_ms: 3_000,
    });
    let rule = Some("gold".to_owned());
    Classification {
        queues: vec![Q],
        priority: 6,
        required: asked(3),
        preferred: asked(9),
        preferred_agent,
        rule,
        selectors: [
            SelectorTest::Equals(Value::Bool(true)),
            SelectorTest::NotEquals(Value::Number(1)),
            SelectorTest::Below(2),
            SelectorTest::AtMost(3),
            SelectorTest::Above(4),
            SelectorTest::AtLeast(5),
            SelectorTest::In(vec![Value::Text("osaka".to_owned())]),
            SelectorTest::NotIn(vec![Value::Number(6)]),
        ]
        .map(|test| Selector {
            attribute: "site".to_owned(),
            test,
        })
        .into(),
    }
}
fn admin() -> Principal {
    Principal::Admin("root".to_owned())
}
fn by_agent() -> Author {
    Author::Agent { agent: A, epoch: E }
}

fn queue_settings(order: Order, choice: AgentChoice, wrap_up: WrapUp, at_cap: AtCap) -> QueueSettings {
    let steps = [
        (EscalateWhen::WaitedMs(9), EscalateAction::RaisePriority(8)),
        (EscalateWhen::LongerThan(5), EscalateAction::MoveQueue(Q)),
    ];
    QueueSettings {
        order,
        choice,
        wrap_up,
        at_cap,
        no_reply: Some(NoReply {
            after_ms: 1,
            exclude_ms: 2,
        }),
        escalations: steps
            .into_iter()
            .map(|(when, action)| Escalation { when, action })
            .collect(),
        ..QueueSettings::named("support")
    }
}

fn routing_settings() -> RoutingSettings {
    RoutingSettings {
        cross_queue: CrossQueue::FixedQueueRatio,
        batch_max: 16,
        zone: "Asia/Tokyo".to_owned(),
        day_starts_ms: vec![1, 2],
        repeat_window_ms: 7,
    }
}
fn calendar() -> Calendar {
    Calendar {
        settings: CalendarSettings {
            name: "office".to_owned(),
            zone: "Asia/Tokyo".to_owned(),
            weekly: vec![WeeklyHours {
                weekday: 1,
                from_minute: 540,
                to_minute: 1_080,
            }],
            exceptions: vec![CalendarException {
                date: "01-01".to_owned(),
                name: "New Year".to_owned(),
                hours: vec![(600, 720)],
            }],
        },
        hours: vec![OpenHours { from_ms: 3, to_ms: 4 }],
        covered_until_ms: 9,
    }
}
/// Every field of a queue that the first settings leave as they are.
fn rich_queue() -> QueueSettings {
    QueueSettings {
        offers_at_once: 3,
        relaxations: [SkillChange::LowerBy(2), SkillChange::Prefer, SkillChange::Drop]
            .map(|change| Relaxation {
                after_ms: 30_000,
                skill: Some(skill()),
                change,
            })
            .into(),
        rings: [
            RingOpens::AfterMs(20_000),
            RingOpens::While(ShareRule::LongestWaitAboveMs(1)),
            RingOpens::While(ShareRule::LengthAbove(2)),
            RingOpens::While(ShareRule::ServiceLevelBelow(80)),
            RingOpens::While(ShareRule::EstimatedWaitAboveMs(3)),
        ]
        .map(|opens| Ring { opens })
        .into(),
        return_when_full: ReturnWhenFull::StayPaused,
        idle_pause_ms: 5,
        silent_abandon_ms: 6,
        calendar: Some(K),
        when_closed: WhenClosed::MoveQueue(Q),
        cross_queue: CrossQueueTerms {
            weight: 2,
            rank: 1,
            ratio: 3,
            cost: 4,
        },
        ..QueueSettings::named("support")
    }
}

/// What came with the second version of the format.
fn policies_and_participants() -> Vec<Command> {
    let (conversation, agent, epoch, by) = (C, A, E, A);
    let policy = Policy {
        skills: BTreeMap::from([(skill(), "Invoices".to_owned())]),
        queues: BTreeMap::from([(Q, rich_queue())]),
        rules: Vec::new(),
        fallback: Some(classification()),
        calendars: BTreeMap::from([(K, calendar())]),
        routing: routing_settings(),
    };
    let until = [
        ScheduleUntil::At { at_ms: 5 },
        ScheduleUntil::AgentReturns { agent, latest_ms: 6 },
    ];
    let mut commands = vec![
        Command::OfferToMany {
            conversation,
            agents: vec![agent],
            explanation: Explanation::default(),
        },
        Command::ShareRing {
            queue: Q,
            ring: 1,
            shared: true,
            why: "longest wait".to_owned(),
        },
        Command::ActivatePolicy {
            policy: Box::new(policy),
            expected: Some(4),
            by: admin(),
            note: "summer".to_owned(),
        },
        Command::PutRouting {
            settings: routing_settings(),
        },
        Command::PutCalendar {
            calendar: K,
            given: calendar(),
        },
        Command::RemoveCalendar { calendar: K },
        Command::ExtendCalendar {
            calendar: K,
            version: 3,
            hours: vec![OpenHours { from_ms: 5, to_ms: 6 }],
            covered_until_ms: 7,
        },
        Command::ExtendDays { starts_ms: vec![8, 9] },
    ];
    commands.extend([Role::Consult, Role::Conference].map(|role| Command::Invite {
        conversation,
        by,
        epoch,
        agent,
        role,
    }));
    commands.push(Command::AnswerInvitation {
        conversation,
        agent,
        accept: true,
    });
    commands.extend([Role::Monitor, Role::Whisper, Role::Barge].map(|role| Command::JoinAs {
        conversation,
        agent,
        role,
    }));
    commands.extend([
        Command::LeaveConversation { conversation, agent },
        Command::RemoveParticipant {
            conversation,
            by,
            epoch,
            agent,
        },
        Command::CompleteTransfer {
            conversation,
            by,
            epoch,
            to: agent,
        },
        Command::PostWhisper {
            conversation,
            agent,
            body: body(),
        },
    ]);
    commands.extend(until.map(|until| Command::Schedule {
        conversation,
        by: Author::Participant { agent },
        schedule: Schedule { until, keep_age: true },
    }));
    commands.extend([
        Command::CancelSchedule {
            conversation,
            by: by_agent(),
        },
        Command::RequestCallback {
            conversation,
            by: Author::Customer,
            contact: "+81 3 0000 0000".to_owned(),
        },
        Command::Rate {
            conversation,
            rating: 5,
            comment: Some("thanks".to_owned()),
        },
    ]);
    commands
}

fn settings() -> Vec<Command> {
    let queue = |settings| Command::PutQueue { queue: Q, settings };
    let channel = ChannelCapacity {
        concurrent_max: 3,
        cost: 2,
        exclusive: true,
        interruptible: false,
    };
    let capacity = Capacity {
        total: 9,
        channels: BTreeMap::from([(Channel("chat".to_owned()), channel)]),
        interruptible: 0,
    };
    let agent = AgentSettings {
        name: "mia".to_owned(),
        skills: BTreeMap::from([(skill(), 7)]),
        queues: Membership::plain([Q]),
        capacity,
        may_pull: true,
        supervisor: false,
        lease_hold_ms: 30_000,
        rate: Some(AssignmentRate {
            max: 5,
            window_ms: 60_000,
        }),
        attributes: BTreeMap::from([("site".to_owned(), Value::Text("osaka".to_owned()))]),
        warm_up_ms: 600_000,
    };
    let offline = || AtCap::Offline {
        text: "later".to_owned(),
    };
    let timed = || WrapUp::Timed {
        length_ms: 4,
        extension_max_ms: 5,
    };
    let rule = Rule {
        name: "gold".to_owned(),
        when: "plan == 'gold'".to_owned(),
        parts: vec![(1, classification())],
    };
    vec![
        Command::PutTenant {
            name: "acme".to_owned(),
        },
        queue(queue_settings(
            Order::StrictPriority,
            AgentChoice::LongestIdle,
            WrapUp::None,
            AtCap::Refuse,
        )),
        queue(queue_settings(
            Order::LinearAgeing { step_ms: 3 },
            AgentChoice::LeastLoaded,
            timed(),
            offline(),
        )),
        queue(queue_settings(
            Order::StrictPriority,
            AgentChoice::MostSkilled,
            WrapUp::Manual { longest_ms: 6 },
            offline(),
        )),
        queue(queue_settings(
            Order::StrictPriority,
            AgentChoice::RoundRobin,
            WrapUp::None,
            AtCap::Refuse,
        )),
        Command::RemoveQueue { queue: Q },
        Command::PutSkill {
            skill: skill(),
            description: "money".to_owned(),
        },
        Command::RemoveSkill { skill: skill() },
        Command::PutAgent {
            agent: A,
            settings: agent,
        },
        Command::RemoveAgent { agent: A },
        Command::PutRules {
            rules: vec![rule],
            fallback: Some(classification()),
        },
    ]
}

fn conversations() -> Vec<Command> {
    let c = C;
    let values = [Value::Text("gold".to_owned()), Value::Number(-5), Value::Bool(true)];
    let attributes: BTreeMap<String, Value> = values
        .into_iter()
        .enumerate()
        .map(|(n, value)| (format!("attribute {n}"), value))
        .collect();
    let changes = attributes.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
    let message = |author| Command::PostMessage {
        conversation: c,
        author,
        body: body(),
    };
    let change = |change| Command::OverrideConversation {
        conversation: c,
        by: admin(),
        change,
    };
    let to = |target| Command::Transfer {
        conversation: c,
        by: A,
        epoch: E,
        target,
    };
    vec![
        Command::StartConversation {
            conversation: c,
            channel: Channel("chat".to_owned()),
            customer: CustomerId("bob".to_owned()),
            attributes: attributes.clone(),
            classification: classification(),
            message: Some(body()),
            schedule: None,
            callback: None,
        },
        message(Author::Customer),
        message(by_agent()),
        message(Author::Supervisor(Principal::Customer(CustomerId("bob".to_owned())))),
        message(Author::System),
        Command::PostNote {
            conversation: c,
            agent: A,
            body: body(),
        },
        Command::MarkRead {
            conversation: c,
            reader: Reader::Customer,
            seq: 300,
        },
        Command::MarkRead {
            conversation: c,
            reader: Reader::Agent(A),
            seq: 300,
        },
        Command::SetAttributes {
            conversation: c,
            attributes: changes.chain([("gone".to_owned(), None)]).collect(),
        },
        Command::Pause {
            conversation: c,
            agent: A,
            epoch: E,
        },
        Command::Resume {
            conversation: c,
            by: Author::Customer,
        },
        Command::Close {
            conversation: c,
            by: by_agent(),
            disposition: Some("solved".to_owned()),
            resolved: None,
        },
        Command::Reopen {
            conversation: c,
            by: Author::Customer,
        },
        Command::CustomerLeft { conversation: c },
        Command::CustomerReturned { conversation: c },
        change(Override::Priority(9)),
        change(Override::Expedite),
        change(Override::Move(Q)),
        to(TransferTarget::Agent { agent: A, wait_ms: 8 }),
        to(TransferTarget::Queue(Q)),
        Command::Pull {
            conversation: c,
            agent: A,
        },
        Command::AssignByHand {
            conversation: c,
            agent: A,
            by: Principal::Agent(A),
        },
    ]
}

fn agents() -> Vec<Command> {
    let (c, agent, epoch) = (C, A, E);
    let explanation = Explanation {
        policy_version: 12,
        considered: 40,
        removed: vec![("presence".to_owned(), 30)],
        best: vec![(A, -4)],
        tie_break: "longest idle".to_owned(),
        estimate: Some(WaitEstimate {
            p50_ms: 20_000,
            p90_ms: 90_000,
        }),
        batch: 3,
        batch_gain: 12,
    };
    let timers = [
        Timer::OfferDeadline { conversation: c, epoch },
        Timer::WrapUpEnd { conversation: c, epoch },
        Timer::Escalation {
            conversation: c,
            step: 2,
        },
        Timer::NoReply { conversation: c, epoch },
        Timer::AbandonHold { conversation: c },
        Timer::PreferenceEnd { conversation: c },
        Timer::ExclusionEnd { conversation: c },
        Timer::Archive { conversation: c },
        Timer::LeaseEnd { agent },
        Timer::ForgetWindows,
        Timer::Relaxation {
            conversation: c,
            step: 1,
        },
        Timer::RingOpens {
            conversation: c,
            ring: 2,
        },
        Timer::IdlePause { conversation: c, epoch },
        Timer::SilentAbandon { conversation: c, epoch },
        Timer::Scheduled { conversation: c },
        Timer::InvitationEnd { conversation: c, agent },
        Timer::CalendarEdge { calendar: K },
        Timer::QuarterHour,
    ];
    let mut commands = vec![
        Command::SignIn {
            agent,
            presence: PresenceChange::Available,
        },
        Command::SignOut { agent },
        Command::SetPresence {
            agent,
            presence: PresenceChange::Away("lunch".to_owned()),
        },
        Command::SetPresence {
            agent,
            presence: PresenceChange::Draining,
        },
        Command::ConnectionsLost { agent },
        Command::ConnectionsBack { agent },
        Command::AcceptOffer {
            conversation: c,
            agent,
            epoch,
        },
        Command::DeclineOffer {
            conversation: c,
            agent,
            epoch,
            reason: "busy".to_owned(),
        },
        Command::FinishWrapUp {
            conversation: c,
            agent,
            epoch,
            disposition: None,
        },
        Command::ExtendWrapUp {
            conversation: c,
            agent,
            epoch,
            by_ms: 9,
        },
        Command::Offer {
            conversation: c,
            agent,
            explanation,
        },
    ];
    commands.extend(timers.into_iter().map(|timer| Command::Fire { timer }));
    commands
}

fn envelope(command: Command) -> Envelope {
    let key = IdempotencyKey {
        principal: Principal::Agent(A),
        instance: 3,
        number: 4,
    };
    Envelope {
        schema: COMMAND_SCHEMA,
        tenant: TenantId(1),
        key: Some(key),
        command,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hexadecimal"))
        .collect()
}

#[test]
fn commands_are_encoded_as_they_always_were() {
    let samples: Vec<Command> = [settings(), conversations(), agents(), policies_and_participants()].concat();
    let seen: std::collections::BTreeSet<usize> = samples.iter().map(place).collect();
    assert!(
        seen.iter().copied().eq(0..VARIANTS),
        "a sample of each variant, not only of {seen:?}"
    );

    let mut written = std::fs::read_to_string(FILE).unwrap_or_default();
    let lines: Vec<String> = written.lines().map(str::to_owned).collect();
    assert!(
        lines.len() <= samples.len(),
        "the file has lines that no sample stands for"
    );
    for (n, command) in samples.iter().enumerate() {
        let bytes = bincode::serialize(&envelope(command.clone())).expect("encoded");
        let name = format!("{command:?}")
            .chars()
            .take_while(|c| c.is_alphanumeric())
            .collect::<String>();
        match lines.get(n) {
            Some(line) => {
                let (known, hex) = line.split_once(' ').expect("name and bytes");
                assert_eq!(known, name, "line {}: samples are appended, never moved", n + 1);
                let old: Envelope = bincode::deserialize(&unhex(hex)).expect("bytes of old are read");
                assert_eq!(
                    old,
                    envelope(command.clone()),
                    "line {}: bytes of old mean what they meant",
                    n + 1
                );
                assert_eq!(hex, &self::hex(&bytes), "line {}: {name} is encoded otherwise", n + 1);
            }
            None if std::env::var("UPDATE_GOLDENFILES").is_ok() => {
                let _ = writeln!(written, "{name} {}", self::hex(&bytes));
            }
            None => panic!("{name} is not in {FILE} yet: run once with UPDATE_GOLDENFILES=1"),
        }
    }
    if written.lines().count() > lines.len() {
        std::fs::write(FILE, written).expect("the file is written");
    }
}

#[test]
fn variants_are_numbered_as_they_always_were() {
    for command in [settings(), conversations(), agents(), policies_and_participants()].concat() {
        let bytes = bincode::serialize(&command).expect("encoded");
        let number = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
        assert_eq!(number as usize, place(&command), "{command:?}");
    }
}
