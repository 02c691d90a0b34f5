//! What may happen, at random.

#[path = "parts.rs"]
mod parts;

use std::collections::BTreeMap;

use proptest::prelude::*;
use routing::command::{
    Author, Body, Command, Explanation, Override, PresenceChange, Principal, Reader, Timer, TransferTarget, Value,
};
use routing::event::{ConversationView, Phase};
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Epoch, Millis, QueueId, SkillName};
use routing::settings::*;
use routing::state::Tenant;

const CHANNELS: [&str; 3] = ["chat", "email", "voice"];
const SKILLS: [&str; 2] = ["billing", "ja"];
pub const QUEUES: u8 = 3;
pub const AGENTS: u8 = 5;

#[derive(Clone, Debug)]
pub enum Deed {
    /// Milliseconds.
    Pass(u16),
    Decide(u8),
    Commit(u8),
    Lose(u8),
    Repeat(u8),
    Hear(u8),
    Settle(u8),
    /// Its result stays unknown.
    Forget(u8),
    Barrier,
    FailOver,
    Do(Act, Option<u8>),
}

/// Commands; numbers pick among what there is.
#[derive(Clone, Debug)]
pub enum Act {
    Start {
        queues: Vec<u8>,
        channel: u8,
        priority: u8,
        skills: u8,
        preferred: Option<(u8, u16)>,
    },
    Queue {
        queue: u8,
        shape: u16,
    },
    Agent {
        agent: u8,
        shape: u16,
    },
    SignIn(u8, u8),
    SignOut(u8),
    Presence(u8, u8),
    Lost(u8),
    Back(u8),
    Left(u8),
    Returned(u8),
    Say(u8, bool),
    Note(u8, u8),
    Read(u8, u8),
    Set(u8, u8),
    Accept(u8, bool),
    Decline(u8),
    Close(u8, u8),
    Finish(u8),
    Extend(u8, u16),
    Pause(u8),
    Resume(u8, u8),
    Reopen(u8),
    Transfer(u8, u8, u8),
    Override(u8, u8),
    Pull(u8, u8),
    Assign(u8, u8),
    RemoveQueue(u8),
    RemoveAgent(u8),
    Fire(u8),
    Part(parts::Part),
}

pub fn deed() -> impl Strategy<Value = Deed> {
    let any = any::<u8>;
    prop_oneof![
        4 => prop_oneof![3 => 1..50u16, 1 => 50..3_000u16].prop_map(Deed::Pass),
        8 => (1..8u8).prop_map(Deed::Decide),
        9 => any().prop_map(Deed::Commit),
        1 => any().prop_map(Deed::Lose),
        1 => any().prop_map(Deed::Repeat),
        9 => (1..9u8).prop_map(Deed::Hear),
        8 => any().prop_map(Deed::Settle),
        1 => any().prop_map(Deed::Forget),
        1 => Just(Deed::Barrier),
        1 => Just(Deed::FailOver),
        30 => (act(), prop_oneof![5 => Just(None), 1 => (0..20u8).prop_map(Some)]).prop_map(|(act, key)| Deed::Do(act, key)),
    ]
}

pub fn act() -> impl Strategy<Value = Act> {
    let any = any::<u8>;
    let start = (
        prop::collection::vec(0..QUEUES, 1..3),
        prop_oneof![6 => Just(0u8), 1 => 0..3u8],
        0..10u8,
        any(),
        prop_oneof![5 => Just(None), 1 => (0..AGENTS, 1..400u16).prop_map(Some)],
    )
        .prop_map(|(queues, channel, priority, skills, preferred)| Act::Start {
            queues,
            channel,
            priority,
            skills,
            preferred,
        });
    let talk = prop_oneof![
        3 => (any(), prop::bool::ANY).prop_map(|(c, customer)| Act::Say(c, customer)),
        1 => (any(), any()).prop_map(|(c, a)| Act::Note(c, a)),
        1 => (any(), any()).prop_map(|(c, a)| Act::Read(c, a)),
        1 => (any(), any()).prop_map(|(c, a)| Act::Set(c, a)),
    ];
    let agents = prop_oneof![
        6 => (0..AGENTS, any()).prop_map(|(a, p)| Act::SignIn(a, p)),
        1 => (0..AGENTS).prop_map(Act::SignOut),
        2 => (0..AGENTS, any()).prop_map(|(a, p)| Act::Presence(a, p)),
        1 => (0..AGENTS).prop_map(Act::Lost),
        2 => (0..AGENTS).prop_map(Act::Back),
    ];
    let life = prop_oneof![
        8 => (any(), prop::bool::weighted(0.1)).prop_map(|(c, stale)| Act::Accept(c, stale)),
        2 => any().prop_map(Act::Decline),
        4 => (any(), any()).prop_map(|(c, by)| Act::Close(c, by)),
        3 => any().prop_map(Act::Finish),
        1 => (any(), 1..500u16).prop_map(|(c, by)| Act::Extend(c, by)),
        1 => any().prop_map(Act::Pause),
        2 => (any(), any()).prop_map(|(c, by)| Act::Resume(c, by)),
        1 => any().prop_map(Act::Reopen),
        2 => (any(), any(), any()).prop_map(|(c, kind, to)| Act::Transfer(c, kind, to)),
        1 => any().prop_map(Act::Left),
        1 => any().prop_map(Act::Returned),
        2 => (any(), any()).prop_map(|(c, change)| Act::Override(c, change)),
        1 => (any(), any()).prop_map(|(c, a)| Act::Pull(c, a)),
        1 => (any(), any()).prop_map(|(c, a)| Act::Assign(c, a)),
    ];
    let settings = prop_oneof![
        4 => (0..QUEUES, prop::num::u16::ANY).prop_map(|(queue, shape)| Act::Queue { queue, shape }),
        4 => (0..AGENTS, prop::num::u16::ANY).prop_map(|(agent, shape)| Act::Agent { agent, shape }),
        1 => (0..QUEUES).prop_map(Act::RemoveQueue),
        1 => (0..AGENTS).prop_map(Act::RemoveAgent),
        1 => any().prop_map(Act::Fire),
    ];
    prop_oneof![8 => start, 3 => talk, 4 => agents, 12 => life, 2 => settings, 3 => parts::part().prop_map(Act::Part)]
}

/// Two skills, three queues of different kinds, five agents of different kinds, two of them here.
pub fn setting_up() -> Vec<Command> {
    let mut commands: Vec<Command> = (SKILLS.iter())
        .map(|skill| Command::PutSkill {
            skill: SkillName((*skill).into()),
            description: String::new(),
        })
        .collect();
    commands.extend((0..QUEUES).map(|n| Command::PutQueue {
        queue: queue(n),
        settings: queue_settings(n, u16::from(n) * 0x55),
    }));
    commands.extend((0..AGENTS).map(|n| Command::PutAgent {
        agent: agent(n),
        settings: agent_settings(n, u16::from(n) * 0x137),
    }));
    commands.extend((0..2).map(|n| Command::SignIn {
        agent: agent(n),
        presence: PresenceChange::Available,
    }));
    commands
}

pub fn queue(n: u8) -> QueueId {
    QueueId(100 - u128::from(n % QUEUES))
}

pub fn agent(n: u8) -> AgentId {
    AgentId(u128::from(n % AGENTS) * 7 % 5 + 200)
}

pub fn queue_settings(n: u8, shape: u16) -> QueueSettings {
    let bit = |at: u16| shape >> at & 1 == 1;
    let mut s = QueueSettings::named(&format!("q{n}"));
    if bit(0) {
        s.order = Order::LinearAgeing {
            step_ms: if bit(1) { 40 } else { 4_000 },
        };
    }
    s.choice = [
        AgentChoice::LongestIdle,
        AgentChoice::LeastLoaded,
        AgentChoice::MostSkilled,
        AgentChoice::RoundRobin,
    ][usize::from(shape >> 2 & 3)];
    s.auto_accept = shape >> 4 & 3 == 3;
    s.offer_timeout_ms = if bit(6) { 200 } else { 20_000 };
    s.decline_exclude_ms = if bit(7) { 300 } else { 60_000 };
    s.timeouts_until_away = (shape >> 8 & 1) as u8 * 2;
    s.length_max = if bit(9) { 6 } else { 0 };
    if bit(10) {
        s.no_reply = Some(NoReply {
            after_ms: 400,
            exclude_ms: 300,
        });
    }
    s.wrap_up = match shape >> 11 & 3 {
        0 | 1 => WrapUp::None,
        2 => WrapUp::Timed {
            length_ms: 300,
            extension_max_ms: 500,
        },
        _ => WrapUp::Manual { longest_ms: 2_000 },
    };
    if bit(13) {
        let raise = Escalation {
            when: EscalateWhen::WaitedMs(150),
            action: EscalateAction::RaisePriority(9),
        };
        let other = EscalateAction::MoveQueue(queue((n + 1) % QUEUES));
        s.escalations = vec![
            raise,
            Escalation {
                when: EscalateWhen::WaitedMs(600),
                action: other,
            },
        ];
    }
    s.abandon_hold_ms = if bit(14) { 200 } else { 10_000 };
    s.reopen_window_ms = if bit(15) { 300 } else { 100_000 };
    relaxations_and_rings(&mut s, shape.wrapping_mul(40_503) >> 8);
    silence_and_return(&mut s, shape.wrapping_mul(30_011) >> 7);
    // Mixed from bits that mean other things too: there are more settings than bits.
    if !s.auto_accept {
        s.offers_at_once = [1, 1, 2, 3][usize::from((shape >> 3 ^ shape >> 9) & 3)];
    }
    s
}

/// R4, R5, R6; a quarter of the queues has none.
fn relaxations_and_rings(s: &mut QueueSettings, shape: u16) {
    let bit = |at: u16| shape >> at & 1 == 1;
    let changes = [SkillChange::LowerBy(1), SkillChange::Prefer, SkillChange::Drop];
    if bit(0) {
        let from = usize::from(shape >> 1 & 1);
        s.relaxations = (changes[from..].iter().zip(1..))
            .map(|(change, step)| Relaxation {
                after_ms: step * 120,
                skill: (bit(2) && step == 1).then(|| SkillName(SKILLS[0].into())),
                change: *change,
            })
            .collect();
    }
    if bit(3) {
        let rule = [
            ShareRule::LengthAbove(3),
            ShareRule::LongestWaitAboveMs(400),
            ShareRule::EstimatedWaitAboveMs(500),
            ShareRule::ServiceLevelBelow(80),
        ][usize::from(shape >> 4 & 3)];
        let rings = [RingOpens::AfterMs(200), RingOpens::While(rule), RingOpens::AfterMs(350)];
        s.rings = rings[usize::from(bit(6))..]
            .iter()
            .map(|opens| Ring { opens: *opens })
            .collect();
    }
}

pub fn agent_settings(n: u8, shape: u16) -> AgentSettings {
    let bit = |at: u16| shape >> at & 1 == 1;
    let mut s = AgentSettings {
        name: format!("a{n}"),
        ..AgentSettings::default()
    };
    if bit(0) {
        s.skills.insert(SkillName(SKILLS[0].into()), 1 + (shape >> 1 & 3) as u8);
    }
    if bit(3) {
        s.skills.insert(SkillName(SKILLS[1].into()), 1 + (shape >> 4 & 3) as u8);
    }
    let serves = (0..QUEUES).filter(|q| bit(6 + u16::from(*q)) || *q == n % QUEUES);
    let tier = |q: u8| [0, 0, 1, 2][usize::from(shape.wrapping_mul(40_503) >> (8 + q) & 3)];
    s.queues = serves
        .map(|q| {
            let plain = Membership::default();
            (queue(q), Membership { tier: tier(q), ..plain })
        })
        .collect();
    s.attributes
        .insert("site".to_owned(), Value::Number(i64::from(bit(9) != bit(0))));
    s.capacity.total = if bit(9) { 3 } else { 6 };
    let channel = |concurrent_max, cost, exclusive| ChannelCapacity {
        concurrent_max,
        cost,
        exclusive,
        interruptible: false,
    };
    s.capacity
        .channels
        .insert(Channel("chat".into()), channel(2 + (shape >> 10 & 1), 1, false));
    if bit(11) {
        s.capacity
            .channels
            .insert(Channel("email".into()), channel(4, 2, false));
    }
    if bit(12) {
        s.capacity
            .channels
            .insert(Channel("voice".into()), channel(1, 1, bit(13)));
    }
    s.may_pull = bit(14);
    s.supervisor = bit(15);
    s.lease_hold_ms = 250;
    let dice = shape.wrapping_mul(48_271) >> 9;
    s.capacity.interruptible = u32::from(dice & 3);
    if let Some(email) = s.capacity.channels.get_mut(&Channel("email".into())) {
        email.interruptible = dice >> 2 & 1 == 1;
    }
    if dice >> 3 & 3 == 3 {
        s.rate = Some(AssignmentRate { max: 2, window_ms: 400 });
    }
    if dice >> 5 & 3 == 3 {
        s.warm_up_ms = 600;
    }
    s
}

fn presence(n: u8) -> PresenceChange {
    match n % 8 {
        0 => PresenceChange::Away("lunch".into()),
        1 => PresenceChange::Draining,
        _ => PresenceChange::Available,
    }
}

pub fn requirements(skills: u8) -> (Vec<Requirement>, Vec<Requirement>) {
    let ask = |at: u8| {
        let level = 1 + (skills >> 6) % 3;
        Requirement {
            skill: SkillName(SKILLS[usize::from(at)].into()),
            level,
        }
    };
    match skills % 12 {
        0 => (vec![ask(0)], vec![]),
        1 => (vec![ask(1)], vec![ask(0)]),
        2 => (vec![ask(0), ask(1)], vec![]),
        3 | 4 => (vec![], vec![ask(1)]),
        _ => (vec![], vec![]),
    }
}

fn body() -> Body {
    Body {
        media_type: "text/plain".into(),
        text: "words".into(),
    }
}

/// One of those in a phase, by number.
fn pick(tenant: &Tenant, n: u8, phases: &[Phase]) -> Option<ConversationView> {
    let all: Vec<_> = tenant
        .conversations(None)
        .filter(|c| phases.is_empty() || phases.contains(&c.phase))
        .collect();
    let count = all.len().max(1);
    all.into_iter().nth(usize::from(n) % count)
}

impl Act {
    /// The command, aimed at what there is.
    pub fn command(&self, tenant: &Tenant, so_far: usize, now_ms: Millis) -> Option<Command> {
        let admin = || Principal::Admin("root".into());
        Some(match self {
            Self::Part(part) => part.command(tenant, now_ms)?,
            Self::Start {
                queues,
                channel,
                priority,
                skills,
                preferred,
            } => {
                let (required, wished) = requirements(*skills);
                let mut named = Vec::new();
                for &q in queues {
                    if !named.contains(&queue(q)) {
                        named.push(queue(q));
                    }
                }
                Command::StartConversation {
                    // Ids that neither grow nor shrink with time.
                    conversation: ConversationId((so_far as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15) % 65_521 + 1),
                    channel: Channel(CHANNELS[usize::from(*channel)].into()),
                    customer: CustomerId(format!("c{}", so_far % 3)),
                    attributes: BTreeMap::new(),
                    classification: Classification {
                        queues: named,
                        priority: *priority,
                        required,
                        preferred: wished,
                        preferred_agent: preferred.map(|(a, wait_ms)| Preference {
                            agent: agent(a),
                            wait_ms: wait_ms.into(),
                        }),
                        rule: None,
                        // Every fourth wants another site than one of the two.
                        selectors: (so_far % 4 == 3)
                            .then(|| Selector {
                                attribute: "site".to_owned(),
                                test: SelectorTest::NotEquals(Value::Number(i64::from(*priority % 2))),
                            })
                            .into_iter()
                            .collect(),
                    },
                    message: (priority % 2 == 0).then(body),
                    schedule: None,
                    callback: None,
                }
            }
            Self::Queue { queue: n, shape } => Command::PutQueue {
                queue: queue(*n),
                settings: queue_settings(*n, *shape),
            },
            Self::Agent { agent: n, shape } => Command::PutAgent {
                agent: agent(*n),
                settings: agent_settings(*n, *shape),
            },
            Self::SignIn(a, p) => Command::SignIn {
                agent: agent(*a),
                presence: presence(*p),
            },
            Self::SignOut(a) => Command::SignOut { agent: agent(*a) },
            Self::Presence(a, p) => Command::SetPresence {
                agent: agent(*a),
                presence: presence(*p),
            },
            Self::Lost(a) => Command::ConnectionsLost { agent: agent(*a) },
            Self::Back(a) => Command::ConnectionsBack { agent: agent(*a) },
            Self::RemoveQueue(q) => Command::RemoveQueue { queue: queue(*q) },
            Self::RemoveAgent(a) => Command::RemoveAgent { agent: agent(*a) },
            Self::Fire(n) => {
                let timers = tenant.views().timers;
                let due = timers.get(usize::from(*n) % timers.len().max(1));
                Command::Fire {
                    timer: due.map_or(Timer::ForgetWindows, |due| due.timer),
                }
            }
            Self::Pull(c, a) => {
                let conversation = pick(tenant, *c, &[Phase::Waiting])?.conversation;
                Command::Pull {
                    conversation,
                    agent: agent(*a),
                }
            }
            Self::Assign(c, a) => {
                let conversation = pick(tenant, *c, &[])?.conversation;
                Command::AssignByHand {
                    conversation,
                    agent: agent(*a),
                    by: admin(),
                }
            }
            Self::Override(c, change) => Command::OverrideConversation {
                conversation: pick(tenant, *c, &[])?.conversation,
                by: admin(),
                change: match change % 3 {
                    0 => Override::Expedite,
                    1 => Override::Priority(change / 3 % 10),
                    _ => Override::Move(queue(change / 3)),
                },
            },
            _ => self.of_conversation(tenant)?,
        })
    }

    fn of_conversation(&self, tenant: &Tenant) -> Option<Command> {
        let owned = [Phase::Assigned];
        Some(match self {
            Self::Left(c) => Command::CustomerLeft {
                conversation: pick(tenant, *c, &[])?.conversation,
            },
            Self::Returned(c) => Command::CustomerReturned {
                conversation: pick(tenant, *c, &[])?.conversation,
            },
            Self::Say(c, true) => {
                let conversation = pick(tenant, *c, &[])?.conversation;
                Command::PostMessage {
                    conversation,
                    author: Author::Customer,
                    body: body(),
                }
            }
            Self::Say(c, false) => {
                let (conversation, agent, epoch) = hold(pick(tenant, *c, &owned)?)?;
                Command::PostMessage {
                    conversation,
                    author: Author::Agent { agent, epoch },
                    body: body(),
                }
            }
            Self::Note(c, a) => Command::PostNote {
                conversation: pick(tenant, *c, &[])?.conversation,
                agent: agent(*a),
                body: body(),
            },
            Self::Read(c, n) => {
                let view = pick(tenant, *c, &[])?;
                let seq = u64::from(*n) % (view.last_seq + 2);
                Command::MarkRead {
                    conversation: view.conversation,
                    reader: Reader::Customer,
                    seq,
                }
            }
            Self::Set(c, n) => Command::SetAttributes {
                conversation: pick(tenant, *c, &[])?.conversation,
                attributes: [("k".to_owned(), (n % 2 == 0).then(|| Value::Number((*n).into())))].into(),
            },
            Self::Accept(c, stale) => {
                let (conversation, agent, epoch) = offered(pick(tenant, *c, &[Phase::Offered])?, *c)?;
                let epoch = if *stale {
                    Epoch(epoch.0.saturating_sub(1))
                } else {
                    epoch
                };
                Command::AcceptOffer {
                    conversation,
                    agent,
                    epoch,
                }
            }
            Self::Decline(c) => {
                let (conversation, agent, epoch) = offered(pick(tenant, *c, &[Phase::Offered])?, *c)?;
                Command::DeclineOffer {
                    conversation,
                    agent,
                    epoch,
                    reason: "busy".into(),
                }
            }
            Self::Close(c, by) => {
                let phases: &[Phase] = if by % 3 == 0 { &[] } else { &owned };
                let view = pick(tenant, *c, phases)?;
                let conversation = view.conversation;
                let by = match (by % 4, hold(view)) {
                    (0, _) => Author::Customer,
                    (1, _) | (_, None) => Author::Supervisor(Principal::Admin("root".into())),
                    (_, Some((_, agent, epoch))) => Author::Agent { agent, epoch },
                };
                Command::Close {
                    conversation,
                    by,
                    disposition: None,
                    resolved: None,
                }
            }
            Self::Finish(c) => {
                let (conversation, agent, epoch) = hold(pick(tenant, *c, &[Phase::WrapUp])?)?;
                Command::FinishWrapUp {
                    conversation,
                    agent,
                    epoch,
                    disposition: None,
                }
            }
            Self::Extend(c, by) => {
                let (conversation, agent, epoch) = hold(pick(tenant, *c, &[Phase::WrapUp])?)?;
                Command::ExtendWrapUp {
                    conversation,
                    agent,
                    epoch,
                    by_ms: (*by).into(),
                }
            }
            Self::Pause(c) => {
                let (conversation, agent, epoch) = hold(pick(tenant, *c, &owned)?)?;
                Command::Pause {
                    conversation,
                    agent,
                    epoch,
                }
            }
            Self::Resume(c, by) => {
                let (conversation, agent, epoch) = hold(pick(tenant, *c, &[Phase::Paused])?)?;
                let by = if by % 2 == 0 {
                    Author::Customer
                } else {
                    Author::Agent { agent, epoch }
                };
                Command::Resume { conversation, by }
            }
            Self::Reopen(c) => Command::Reopen {
                conversation: pick(tenant, *c, &[Phase::Closed])?.conversation,
                by: Author::Customer,
            },
            Self::Transfer(c, kind, to) => {
                let (conversation, by, epoch) = hold(pick(tenant, *c, &owned)?)?;
                let target = if kind % 2 == 0 {
                    TransferTarget::Queue(queue(*to))
                } else {
                    TransferTarget::Agent {
                        agent: agent(*to),
                        wait_ms: u64::from(*kind) * 4,
                    }
                };
                Command::Transfer {
                    conversation,
                    by,
                    epoch,
                    target,
                }
            }
            _ => return None,
        })
    }
}

/// Who has it, or is offered it.
fn hold(view: ConversationView) -> Option<(ConversationId, AgentId, Epoch)> {
    Some((view.conversation, view.agent?, view.epoch))
}

/// One of those to whom it is offered.
fn offered(view: ConversationView, n: u8) -> Option<(ConversationId, AgentId, Epoch)> {
    let agents: Vec<AgentId> = view
        .agent
        .into_iter()
        .chain(view.also_offered.iter().copied())
        .collect();
    let agent = agents.get(usize::from(n / 7) % agents.len().max(1))?;
    Some((view.conversation, *agent, view.epoch))
}

fn silence_and_return(s: &mut QueueSettings, dice: u16) {
    s.return_when_full = match dice & 3 {
        0 => ReturnWhenFull::Anybody,
        1 => ReturnWhenFull::WaitForOwnerMs(200),
        _ => ReturnWhenFull::StayPaused,
    };
    s.idle_pause_ms = if dice >> 2 & 1 == 1 { 300 } else { 0 };
    s.silent_abandon_ms = if dice >> 3 & 3 == 3 { 250 } else { 0 };
    if dice >> 5 & 3 == 3 {
        let (when, text) = (EscalateWhen::WaitedMs(900), "sorry".to_owned());
        s.escalations.push(Escalation {
            when,
            action: EscalateAction::Close { text },
        });
    }
    if dice >> 6 & 3 == 3 {
        let (required, preferred) = requirements((dice & 15) as u8);
        s.escalations.push(Escalation {
            when: EscalateWhen::WaitedMs(400),
            action: EscalateAction::Reclassify { required, preferred },
        });
    }
}

/// Which conversation a decision offers, to whom, and why.
pub fn offer_of(command: &Command) -> Option<(ConversationId, Vec<AgentId>, &Explanation)> {
    match command {
        Command::Offer {
            conversation,
            agent,
            explanation,
        } => Some((*conversation, vec![*agent], explanation)),
        Command::OfferToMany {
            conversation,
            agents,
            explanation,
        } => Some((*conversation, agents.clone(), explanation)),
        _ => None,
    }
}
