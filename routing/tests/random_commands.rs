//! Random commands, well-formed and not, thrown at the state: the invariants hold after each, a refusal changes nothing, equal
//! commands give equal bytes, and a state that was written and read in the middle goes on as the one that was not.

#[path = "random/parts.rs"]
mod parts;

use std::collections::BTreeMap;

use proptest::prelude::*;
use routing::command::*;
use routing::ids::*;
use routing::invariants::{self, History};
use routing::settings::*;
use routing::state::State;

const TENANT: TenantId = TenantId(7);

fn conversation() -> impl Strategy<Value = ConversationId> {
    (1u128..9).prop_map(ConversationId)
}
fn agent() -> impl Strategy<Value = AgentId> {
    (1u128..4).prop_map(AgentId)
}
fn queue() -> impl Strategy<Value = QueueId> {
    (1u128..4).prop_map(QueueId)
}
fn epoch() -> impl Strategy<Value = Epoch> {
    (0u64..6).prop_map(Epoch)
}
fn channel() -> impl Strategy<Value = Channel> {
    prop_oneof![4 => Just("chat"), 1 => Just("voice")].prop_map(|name| Channel(name.to_owned()))
}
fn body() -> impl Strategy<Value = Body> {
    "[a-z]{0,6}".prop_map(|text| Body {
        media_type: "text/plain".to_owned(),
        text,
    })
}
fn skill() -> impl Strategy<Value = SkillName> {
    prop_oneof![Just("billing"), Just("ja")].prop_map(|name| SkillName(name.to_owned()))
}

fn author() -> impl Strategy<Value = Author> {
    prop_oneof![
        3 => Just(Author::Customer),
        3 => (agent(), epoch()).prop_map(|(agent, epoch)| Author::Agent { agent, epoch }),
        1 => agent().prop_map(|agent| Author::Supervisor(Principal::Agent(agent))),
        1 => Just(Author::System),
        1 => agent().prop_map(|agent| Author::Participant { agent }),
    ]
}

fn principal() -> impl Strategy<Value = Principal> {
    prop_oneof![
        agent().prop_map(Principal::Agent),
        Just(Principal::Admin("root".to_owned()))
    ]
}

fn queue_settings() -> impl Strategy<Value = (QueueId, QueueSettings)> {
    let escalation = prop_oneof![
        (1u64..60_000, queue()).prop_map(|(ms, to)| (EscalateWhen::WaitedMs(ms), EscalateAction::MoveQueue(to))),
        (0u32..3, queue()).prop_map(|(n, to)| (EscalateWhen::LongerThan(n), EscalateAction::MoveQueue(to))),
        (1u64..60_000, 0u8..10).prop_map(|(ms, to)| (EscalateWhen::WaitedMs(ms), EscalateAction::RaisePriority(to))),
    ]
    .prop_map(|(when, action)| Escalation { when, action });
    let escalations = proptest::collection::vec(escalation, 0..3);
    let wrap_up = prop_oneof![
        Just(WrapUp::None),
        Just(WrapUp::Timed {
            length_ms: 9_000,
            extension_max_ms: 5_000
        }),
        Just(WrapUp::Manual { longest_ms: 20_000 }),
    ];
    let no_reply = proptest::option::of(Just(NoReply {
        after_ms: 30_000,
        exclude_ms: 10_000,
    }));
    let change = prop_oneof![
        (1u8..10).prop_map(SkillChange::LowerBy),
        Just(SkillChange::Prefer),
        Just(SkillChange::Drop)
    ];
    let relaxations = proptest::collection::vec((1u64..40_000, proptest::option::of(skill()), change), 0..4);
    let opens = prop_oneof![
        2 => (1u64..40_000).prop_map(RingOpens::AfterMs),
        1 => Just(RingOpens::While(ShareRule::LengthAbove(1))),
    ];
    let rings = proptest::collection::vec(opens.prop_map(|opens| Ring { opens }), 0..3);
    (
        queue(),
        any::<bool>(),
        0u32..5,
        0u8..3,
        no_reply,
        escalations,
        wrap_up,
        any::<bool>(),
        (relaxations, rings),
    )
        .prop_map(
            |(id, auto_accept, length_max, timeouts_until_away, no_reply, escalations, wrap_up, offline, late)| {
                let (mut steps, rings) = late;
                steps.sort_by_key(|(after_ms, ..)| *after_ms);
                let relaxations = steps
                    .into_iter()
                    .map(|(after_ms, skill, change)| Relaxation {
                        after_ms,
                        skill,
                        change,
                    })
                    .collect();
                let at_cap = if offline {
                    AtCap::Offline {
                        text: "later".to_owned(),
                    }
                } else {
                    AtCap::Refuse
                };
                let settings = QueueSettings {
                    auto_accept,
                    length_max,
                    timeouts_until_away,
                    no_reply,
                    escalations,
                    wrap_up,
                    at_cap,
                    reopen_window_ms: 60_000,
                    relaxations,
                    rings,
                    ..QueueSettings::named(&format!("queue {id}"))
                };
                (id, settings)
            },
        )
}

fn agent_settings() -> impl Strategy<Value = (AgentId, AgentSettings)> {
    let membership = (0u8..3).prop_map(|tier| Membership {
        tier,
        ..Membership::default()
    });
    let queues = proptest::collection::btree_map(queue(), membership, 1..4);
    let skills = proptest::collection::btree_map(skill(), 1u8..=10, 0..2);
    (agent(), queues, skills, 1u16..4, 1u32..5, any::<bool>(), any::<bool>()).prop_map(
        |(id, queues, skills, chats, total, may_pull, supervisor)| {
            let mut channels = BTreeMap::new();
            let chat = ChannelCapacity {
                concurrent_max: chats,
                cost: 1,
                exclusive: false,
                interruptible: false,
            };
            channels.insert(Channel("chat".to_owned()), chat);
            let voice = ChannelCapacity {
                concurrent_max: 1,
                cost: 2,
                exclusive: true,
                interruptible: false,
            };
            channels.insert(Channel("voice".to_owned()), voice);
            let settings = AgentSettings {
                name: format!("agent {id}"),
                skills,
                queues,
                capacity: Capacity {
                    total,
                    channels,
                    interruptible: 0,
                },
                may_pull,
                supervisor,
                lease_hold_ms: 15_000,
                rate: None,
                warm_up_ms: 0,
                attributes: BTreeMap::new(),
            };
            (id, settings)
        },
    )
}

fn classification() -> impl Strategy<Value = Classification> {
    let required = proptest::collection::vec((skill(), 1u8..=10), 0..2);
    let preferred_agent = proptest::option::of((agent(), 0u64..30_000));
    (
        proptest::collection::vec(queue(), 0..3),
        0u8..11,
        required,
        preferred_agent,
    )
        .prop_map(|(queues, priority, required, preferred_agent)| Classification {
            queues,
            priority,
            required: required
                .into_iter()
                .map(|(skill, level)| Requirement { skill, level })
                .collect(),
            preferred: Vec::new(),
            preferred_agent: preferred_agent.map(|(agent, wait_ms)| Preference { agent, wait_ms }),
            rule: None,
            selectors: Vec::new(),
        })
}

fn setting() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => parts::with_hours(queue_settings()).prop_map(|(queue, settings)| Command::PutQueue { queue, settings }),
        8 => agent_settings().prop_map(|(agent, settings)| Command::PutAgent { agent, settings }),
        3 => parts::setting(),
        1 => queue().prop_map(|queue| Command::RemoveQueue { queue }),
        1 => agent().prop_map(|agent| Command::RemoveAgent { agent }),
        1 => skill().prop_map(|skill| Command::PutSkill {
            skill,
            description: String::new()
        }),
        1 => skill().prop_map(|skill| Command::RemoveSkill { skill }),
        2 => (queue(), 1u8..3, any::<bool>()).prop_map(|(queue, ring, shared)| {
            let why = "2 wait".to_owned();
            Command::ShareRing { queue, ring, shared, why }
        }),
    ]
}

fn of_conversation() -> impl Strategy<Value = Command> {
    let c = conversation;
    let attributes =
        proptest::collection::btree_map("[ab]", proptest::option::of(any::<i64>().prop_map(Value::Number)), 0..3);
    prop_oneof![
            20 => (c(), channel(), classification(), proptest::option::of(body()),
                proptest::option::weighted(0.1, parts::schedule()), proptest::option::weighted(0.1, Just("+81".to_owned()))).prop_map(
                |(conversation, channel, classification, message, schedule, callback)| Command::StartConversation {
                    conversation,
                    channel,
                    customer: CustomerId(format!("customer {}", conversation.0 % 3)),
                    attributes: BTreeMap::new(),
                    classification,
                    message, schedule, callback,
    }
            ),
            6 => (c(), author(), body())
                .prop_map(|(conversation, author, body)| Command::PostMessage { conversation, author, body }),
            2 => (c(), agent(), body())
                .prop_map(|(conversation, agent, body)| Command::PostNote { conversation, agent, body }),
            2 => (c(), proptest::option::of(agent()), 0u64..9).prop_map(|(conversation, agent, seq)| {
                let reader = agent.map_or(Reader::Customer, Reader::Agent);
                Command::MarkRead { conversation, reader, seq }
            }),
            1 => (c(), attributes)
                .prop_map(|(conversation, attributes)| Command::SetAttributes { conversation, attributes }),
            3 => (c(), author()).prop_map(|(conversation, by)| Command::Resume { conversation, by }),
            3 => (c(), author()).prop_map(|(conversation, by)| Command::Close { conversation, by, disposition: None, resolved: None,
    }),
            3 => (c(), author()).prop_map(|(conversation, by)| Command::Reopen { conversation, by }),
            2 => c().prop_map(|conversation| Command::CustomerLeft { conversation }),
            2 => c().prop_map(|conversation| Command::CustomerReturned { conversation }),
            2 => (c(), principal(), queue(), 0u8..10, 0..3).prop_map(|(conversation, by, to, priority, which)| {
                let change = [Override::Priority(priority), Override::Expedite, Override::Move(to)][which as usize].clone();
                Command::OverrideConversation { conversation, by, change }
            }),
            2 => (c(), agent()).prop_map(|(conversation, agent)| Command::Pull { conversation, agent }),
            2 => (c(), agent(), principal())
                .prop_map(|(conversation, agent, by)| Command::AssignByHand { conversation, agent, by }),
        ]
}

fn of_agent() -> impl Strategy<Value = Command> {
    let (c, a, e) = (conversation, agent, epoch);
    let presence = || {
        prop_oneof![
            4 => Just(PresenceChange::Available),
            1 => Just(PresenceChange::Away("lunch".to_owned())),
            1 => Just(PresenceChange::Draining),
        ]
    };
    let target = prop_oneof![
        (agent(), 0u64..20_000).prop_map(|(agent, wait_ms)| TransferTarget::Agent { agent, wait_ms }),
        queue().prop_map(TransferTarget::Queue),
    ];
    prop_oneof![
        8 => (a(), presence()).prop_map(|(agent, presence)| Command::SignIn { agent, presence }),
        1 => a().prop_map(|agent| Command::SignOut { agent }),
        2 => (a(), presence()).prop_map(|(agent, presence)| Command::SetPresence { agent, presence }),
        2 => a().prop_map(|agent| Command::ConnectionsLost { agent }),
        2 => a().prop_map(|agent| Command::ConnectionsBack { agent }),
        16 => (c(), a()).prop_map(|(conversation, agent)| Command::Offer { conversation, agent, explanation: Explanation::default() }),
        6 => (c(), proptest::sample::subsequence(vec![AgentId(1), AgentId(2), AgentId(3)], 1..=3)).prop_map(|(conversation, agents)| Command::OfferToMany {
            conversation, agents, explanation: Explanation::default()
        }),
        12 => (c(), a(), e()).prop_map(|(conversation, agent, epoch)| Command::AcceptOffer { conversation, agent, epoch }),
        3 => (c(), a(), e()).prop_map(|(conversation, agent, epoch)| {
            Command::DeclineOffer { conversation, agent, epoch, reason: "busy".to_owned() }
        }),
        3 => (c(), a(), e()).prop_map(|(conversation, agent, epoch)| Command::Pause { conversation, agent, epoch }),
        3 => (c(), a(), e(), target)
            .prop_map(|(conversation, by, epoch, target)| Command::Transfer { conversation, by, epoch, target }),
        2 => (c(), a(), e()).prop_map(|(conversation, agent, epoch)| {
            Command::FinishWrapUp { conversation, agent, epoch, disposition: None }
        }),
        1 => (c(), a(), e(), 0u64..4_000).prop_map(|(conversation, agent, epoch, by_ms)| {
            Command::ExtendWrapUp { conversation, agent, epoch, by_ms }
        }),
    ]
}

/// One step of a run.
#[derive(Clone, Debug)]
enum Step {
    Do(Command, Option<IdempotencyKey>),
    /// Fires the deadline at this place among those that are set, whether it has passed or not.
    Fire(usize),
    /// The clock moves; it may try to go back.
    Wait(i64),
    /// An agent, or whoever it is by right, answers or acts under the current epoch.
    Rightly(ConversationId, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let key = (any::<bool>(), 0u64..2, 0u64..90).prop_map(|(admin, instance, number)| {
        let principal = if admin {
            Principal::Admin("root".to_owned())
        } else {
            Principal::Agent(AgentId(1))
        };
        IdempotencyKey {
            principal,
            instance,
            number,
        }
    });
    let command = prop_oneof![1 => setting(), 6 => of_conversation(), 8 => of_agent(), 4 => parts::command()];
    prop_oneof![
        16 => (command, proptest::option::weighted(0.3, key)).prop_map(|(command, key)| Step::Do(command, key)),
        6 => (0usize..20).prop_map(Step::Fire),
        4 => (-1_000i64..40_000).prop_map(Step::Wait),
        12 => (conversation(), 0u8..14).prop_map(|(conversation, act)| Step::Rightly(conversation, act)),
    ]
}

struct World {
    state: State,
    history: History,
    index: u64,
    now_ms: i64,
    applied: BTreeMap<&'static str, u32>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: State::new(),
            history: History::default(),
            index: 0,
            now_ms: 1_000_000,
            applied: BTreeMap::new(),
        };
        world.apply(
            Command::PutTenant {
                name: "acme".to_owned(),
            },
            None,
        );
        for skill in ["billing", "ja"] {
            world.apply(
                Command::PutSkill {
                    skill: SkillName(skill.to_owned()),
                    description: String::new(),
                },
                None,
            );
        }
        for queue in 1..4 {
            let settings = QueueSettings::named(&format!("queue {}", QueueId(queue)));
            world.apply(
                Command::PutQueue {
                    queue: QueueId(queue),
                    settings,
                },
                None,
            );
        }
        world
    }

    fn apply(&mut self, command: Command, key: Option<IdempotencyKey>) {
        self.index += 1;
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key,
            command,
        };
        let (rows, mut events) = (self.state.rows_hash(), Vec::new());
        let result = self.state.apply(self.index, self.now_ms as u64, &envelope, &mut events);
        let unchanged = result.is_err() || result.as_ref().is_ok_and(|receipt| receipt.repeated);
        assert!(
            !unchanged || (events.is_empty() && self.state.rows_hash() == rows),
            "{envelope:?} gave {result:?}"
        );
        *self
            .applied
            .entry(result.as_ref().map_or_else(|rejection| rejection.code(), |_| "applied"))
            .or_default() += 1;
        for told in &events {
            self.history
                .observe(&told.event)
                .unwrap_or_else(|violation| panic!("{violation} after {envelope:?}"));
        }
        invariants::check(&self.state).unwrap_or_else(|violation| panic!("{violation} after {envelope:?}"));
        let tenant = self.state.tenant(TENANT).expect("the tenant");
        self.history
            .check(tenant)
            .unwrap_or_else(|violation| panic!("{violation} after {envelope:?}"));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Do(command, key) => self.apply(command.clone(), key.clone()),
            Step::Wait(ms) => self.now_ms += ms,
            Step::Fire(at) => {
                let timers = self
                    .state
                    .tenant(TENANT)
                    .map(|tenant| tenant.views().timers)
                    .unwrap_or_default();
                if let Some(due) = timers.get(*at) {
                    self.apply(Command::Fire { timer: due.timer }, None);
                }
            }
            Step::Rightly(conversation, act) => {
                let Some(view) = self
                    .state
                    .tenant(TENANT)
                    .and_then(|tenant| tenant.conversation(*conversation))
                else {
                    return;
                };
                let Some(agent) = view.agent else { return };
                let (conversation, epoch) = (*conversation, view.epoch);
                let by = Author::Agent { agent, epoch };
                let body = Body {
                    media_type: "text/plain".to_owned(),
                    text: "yes".to_owned(),
                };
                self.apply(
                    match act {
                        0 | 1 => Command::AcceptOffer {
                            conversation,
                            agent,
                            epoch,
                        },
                        2 => Command::PostMessage {
                            conversation,
                            author: by,
                            body,
                        },
                        3 => Command::Pause {
                            conversation,
                            agent,
                            epoch,
                        },
                        4 => Command::Close {
                            conversation,
                            by,
                            disposition: None,
                            resolved: None,
                        },
                        5 => Command::Resume { conversation, by },
                        other => parts::rightly(&view, agent, *other),
                    },
                    None,
                );
            }
        }
    }
}

fn through_bytes(state: &State) -> State {
    let mut bytes = Vec::new();
    state.capture().write(&mut bytes).expect("written");
    State::read(&mut bytes.as_slice()).expect("read")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_command(steps in proptest::collection::vec(step(), 1..160), cut in 0usize..160) {
        let (mut one, mut other) = (World::new(), World::new());
        let mut captured = None;
        for (n, step) in steps.iter().enumerate() {
            one.step(step);
            other.step(step);
            if n == cut {
                captured = Some((one.state.capture(), one.state.full_hash()));
                other.state = through_bytes(&other.state);
            }
        }
        prop_assert_eq!(one.state.digest(), other.state.digest());
        prop_assert_eq!(one.state.full_hash(), other.state.full_hash());
        if let Some((captured, hash)) = captured {
            let mut bytes = Vec::new();
            captured.write(&mut bytes).expect("written");
            prop_assert_eq!(State::read(&mut bytes.as_slice()).expect("read").full_hash(), hash);
        }
    }
}

/// A test whose commands are all refused would prove nothing.
#[test]
fn random_commands_get_somewhere() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut world = World::new();
    for _ in 0..20_000 {
        let step = step().new_tree(&mut runner).expect("a step").current();
        world.step(&step);
    }
    let applied = world.applied.get("applied").copied().unwrap_or(0);
    assert!(applied > 1_000, "only {:?}", world.applied);
    for code in [
        "stale_epoch",
        "no_capacity",
        "wrong_state",
        "not_due",
        "not_eligible",
        "queue_full",
        "offer_over",
        "not_a_participant",
    ] {
        assert!(world.applied.contains_key(code), "never {code}: {:?}", world.applied);
    }
}
