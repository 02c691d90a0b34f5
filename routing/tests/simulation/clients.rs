//! Customers, agents and administrators: what they want, and how often they ask until they are answered.
//!
//! They see the state as a replica that may lag behind has it, so what they do is often too late. A request keeps its idempotency
//! key until it is answered; some clients give up and ask again long after others of theirs.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};

use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use routing::command::{Command, IdempotencyKey, Principal};
use routing::event::Receipt;
use routing::ids::{AgentId, CalendarId, CustomerId, Millis};
use routing::rejection::Rejection;
use routing::settings::*;
use routing::state::Tenant;

use super::deeds::{self, Act};
use super::oracle::Oracle;

/// How long closed conversations stay.
const REOPEN_WINDOW_MS: u64 = 4_000;

/// What a client knows of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Asked, and not answered.
    Open,
    /// Done.
    Done(Receipt),
    /// Not done.
    Refused(Rejection),
}

/// A command and its key.
#[derive(Clone, Debug)]
pub struct Request {
    pub key: IdempotencyKey,
    pub command: Command,
    pub attempts: u32,
    pub known: Known,
}

/// All of them.
#[derive(Debug)]
pub struct Clients {
    pub requests: Vec<Request>,
    numbers: BTreeMap<usize, u64>,
    said: u64,
    acts: BoxedStrategy<Act>,
    runner: TestRunner,
    /// What nobody does in this run, so that the rest is seen without it.
    never: Vec<Discriminant<Act>>,
}

impl Clients {
    /// Their wishes follow from the seed.
    pub fn new(rng: &mut ChaCha8Rng) -> Self {
        let seed: [u8; 32] = rng.random();
        let config = Config {
            failure_persistence: None,
            ..Config::default()
        };
        let runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let mut clients = Self {
            requests: Vec::new(),
            numbers: BTreeMap::new(),
            said: 0,
            acts: deeds::act().boxed(),
            runner,
            never: Vec::new(),
        };
        let always = |act: &Act| matches!(act, Act::Start { .. } | Act::SignIn(..) | Act::Accept(..));
        for _ in 0..rng.random_range(0..4) {
            let act = clients.draw();
            if !always(&act) {
                clients.never.push(discriminant(&act));
            }
        }
        clients
    }

    fn draw(&mut self) -> Act {
        loop {
            let act = self.acts.new_tree(&mut self.runner).expect("an act").current();
            if !self.never.contains(&discriminant(&act)) {
                return act;
            }
        }
    }

    /// Anything; or what agents mostly do: come, answer offers, finish.
    fn act(&mut self, rng: &mut ChaCha8Rng) -> Act {
        let (which, agent) = (rng.random(), rng.random_range(0..deeds::AGENTS));
        match rng.random_range(0..12u8) {
            0 | 1 => Act::Accept(which, false),
            2 => Act::SignIn(agent, 2),
            3 => Act::Presence(agent, 2),
            4 => Act::Close(which, 2),
            _ => self.draw(),
        }
    }

    /// Somebody wants something, by what they see; its request, or nothing when there is nothing to want it of.
    pub fn want(&mut self, tenant: &Tenant, at_ms: Millis, rng: &mut ChaCha8Rng, oracle: &mut Oracle) -> Option<usize> {
        let so_far = self.requests.len();
        let mut command = match rng.random_ratio(1, 40) {
            true => policy(tenant, at_ms, rng),
            false => self.act(rng).command(tenant, so_far, at_ms)?,
        };
        match &mut command {
            Command::PutQueue { settings, .. } => calmed(settings),
            Command::PostMessage { conversation, body, .. }
            | Command::PostNote { conversation, body, .. }
            | Command::PostWhisper { conversation, body, .. }
            | Command::StartConversation {
                conversation,
                message: Some(body),
                ..
            } => {
                self.said += 1;
                body.text = format!("words {}", self.said);
                oracle.sends(&body.text, *conversation);
            }
            _ => {}
        }
        let who = rng.random_range(0..7usize);
        let number = self.numbers.entry(who).or_default();
        // Some numbers are left out: a client may have lost a request before it asked.
        *number += 1 + u64::from(rng.random_ratio(1, 20));
        let key = IdempotencyKey {
            principal: match who {
                0 | 1 => Principal::Customer(CustomerId(format!("c{who}"))),
                2 | 3 => Principal::Agent(AgentId(200 + who as u128)),
                _ => Principal::Admin("desk".to_owned()),
            },
            instance: who as u64 % 5,
            number: *number,
        };
        self.requests.push(Request {
            key,
            command,
            attempts: 0,
            known: Known::Open,
        });
        Some(so_far)
    }

    /// Requests that nobody has answered.
    pub fn open(&self) -> impl Iterator<Item = usize> + '_ {
        let open = self.requests.iter().enumerate();
        open.filter(|(_, request)| request.known == Known::Open)
            .map(|(at, _)| at)
    }
}

/// Closed conversations stay for a short while, so that all of a conversation's life is in a run; and what waits is moved about less
/// often than the properties' queues do it, so that there is more to offer than to move.
fn calmed(settings: &mut QueueSettings) {
    settings.reopen_window_ms = REOPEN_WINDOW_MS;
    for step in &mut settings.escalations {
        if let EscalateWhen::WaitedMs(ms) = &mut step.when {
            *ms *= 8;
        }
    }
    for ring in &mut settings.rings {
        if let RingOpens::AfterMs(ms) = &mut ring.opens {
            *ms *= 3;
        }
    }
}

/// The first settings, with short windows for reopening.
pub fn setting_up() -> impl Iterator<Item = Command> {
    let name = "simulation".to_owned();
    let settings = deeds::setting_up().into_iter().map(|mut command| {
        if let Command::PutQueue { settings, .. } = &mut command {
            calmed(settings);
        }
        command
    });
    std::iter::once(Command::PutTenant { name }).chain(settings)
}

/// Administrators' changes: orders, choices, business hours, what decides among queues, and the policy as a whole.
fn policy(tenant: &Tenant, at_ms: Millis, rng: &mut ChaCha8Rng) -> Command {
    let calendar = CalendarId(u128::from(rng.random_range(1..3u8)));
    let queue = deeds::queue(rng.random_range(0..deeds::QUEUES));
    match rng.random_range(0..6u8) {
        0 => Command::PutCalendar {
            calendar,
            given: hours(calendar, at_ms, rng),
        },
        1 => Command::PutRouting {
            settings: RoutingSettings {
                cross_queue: [
                    CrossQueue::PriorityThenAge,
                    CrossQueue::StrictRank,
                    CrossQueue::LongestWait,
                    CrossQueue::EarliestDeadline,
                    CrossQueue::FixedQueueRatio,
                ][rng.random_range(0..5)],
                ..RoutingSettings::default()
            },
        },
        2 => {
            let mut policy = tenant.policy();
            if let Some(settings) = policy.queues.get_mut(&queue) {
                settings.offer_timeout_ms = rng.random_range(100..3_000);
                settings.auto_accept = rng.random_ratio(1, 4);
            }
            Command::ActivatePolicy {
                policy: Box::new(policy),
                expected: rng.random_bool(0.8).then(|| tenant.policy_version()),
                by: Principal::Admin("desk".to_owned()),
                note: "faster".to_owned(),
            }
        }
        _ => {
            let n = rng.random_range(0..deeds::QUEUES);
            let mut settings = deeds::queue_settings(n, rng.random());
            settings.order = order(rng);
            settings.choice = [
                AgentChoice::FewestHandledToday,
                AgentChoice::FixedOrder,
                AgentChoice::WeightedRandom,
                AgentChoice::LeastSlowdown,
                AgentChoice::LeastSkilled,
            ][rng.random_range(0..5)];
            if tenant.calendars().any(|(id, ..)| id == calendar) {
                settings.calendar = Some(calendar);
                settings.when_closed = match rng.random_range(0..3u8) {
                    0 => WhenClosed::Refuse,
                    1 => WhenClosed::Wait,
                    _ => WhenClosed::MoveQueue(deeds::queue(n + 1)),
                };
            }
            Command::PutQueue {
                queue: deeds::queue(n),
                settings,
            }
        }
    }
}

fn order(rng: &mut ChaCha8Rng) -> Order {
    match rng.random_range(0..4u8) {
        0 => Order::StrictPriority,
        1 => Order::LinearAgeing { step_ms: 400 },
        2 => Order::AccumulatingPriority {
            rates: [1, 1, 1, 2, 2, 3, 3, 4, 5, 8],
        },
        _ => Order::EarliestDeadline {
            targets_ms: [0, 0, 9_000, 8_000, 7_000, 6_000, 5_000, 4_000, 3_000, 500],
        },
    }
}

/// Open and closed for some hundred milliseconds each, around now.
fn hours(calendar: CalendarId, at_ms: Millis, rng: &mut ChaCha8Rng) -> Calendar {
    let mut from_ms = at_ms.saturating_sub(500);
    let hours = (0..4).map(|_| {
        let opens_ms = from_ms + rng.random_range(1..900);
        let to_ms = opens_ms + rng.random_range(1..1_500);
        from_ms = to_ms + 1;
        OpenHours {
            from_ms: opens_ms,
            to_ms,
        }
    });
    let hours: Vec<_> = hours.collect();
    Calendar {
        settings: CalendarSettings {
            name: format!("calendar {calendar}"),
            zone: "UTC".to_owned(),
            ..CalendarSettings::default()
        },
        covered_until_ms: from_ms,
        hours,
    }
}
