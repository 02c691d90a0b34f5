//! R35, measured: in a queue with ten agents and impatient customers (M/M/s+M) half of the patient ones wait no longer than the median
//! that was estimated when they began to wait, and nine of ten no longer than the ninth decile.

use std::collections::{BTreeMap, BTreeSet};

use routing::command::{Command, PresenceChange};
use routing::event::{Event, Phase};
use routing::ids::{AgentId, Channel, ConversationId, QueueId};
use routing::settings::*;
use routing::simulation::{Arrival, Input, Outcome, Patience, Service, Sink, What, World};

const QUEUE: QueueId = QueueId(1);
const AGENTS: u128 = 10;
const SERVICE_MS: f64 = 60_000.0;
const PATIENCE_MS: f64 = 90_000.0;
const ARRIVALS: u128 = 12_000;
/// Before this many nothing has been learned.
const WARM_UP: u128 = 1_000;

/// xorshift64*: the same people in each run.
struct Draw(u64);

impl Draw {
    fn exponential(&mut self, mean: f64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        let uniform = (bits as f64 + 0.5) / (1u64 << 53) as f64;
        (-uniform.ln() * mean).round() as u64
    }
}

#[derive(Default)]
struct Measured {
    patient: BTreeSet<ConversationId>,
    waited_ms: BTreeMap<ConversationId, u64>,
    within: [u32; 2],
    all: u32,
}

impl Sink for Measured {
    fn ended(&mut self, _: &Outcome) {}

    fn event(&mut self, _: u64, event: &Event) {
        match event {
            Event::Assigned {
                conversation,
                waited_ms,
                ..
            } => _ = self.waited_ms.insert(*conversation, *waited_ms),
            Event::Conversation(view) if view.phase == Phase::Assigned && self.patient.contains(&view.conversation) => {
                let estimate = view.explanation.as_ref().and_then(|why| why.estimate);
                let (Some(waited_ms), Some(estimate)) = (self.waited_ms.remove(&view.conversation), estimate) else {
                    return;
                };
                // Who was offered at once tells nothing.
                if estimate.p90_ms > 0 {
                    self.all += 1;
                    self.within[0] += u32::from(waited_ms <= estimate.p50_ms);
                    self.within[1] += u32::from(waited_ms <= estimate.p90_ms);
                }
            }
            _ => {}
        }
    }
}

fn world() -> World {
    let mut world = World::new(1_000).expect("an empty world");
    let settings = QueueSettings {
        auto_accept: true,
        reopen_window_ms: 0,
        ..QueueSettings::named("all")
    };
    let put = Command::PutQueue { queue: QUEUE, settings };
    world.set_up(put).expect("a valid queue");
    for agent in (1..=AGENTS).map(AgentId) {
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
                interruptible: 0,
                channels: BTreeMap::from([(Channel("chat".to_owned()), slot)]),
            },
            ..AgentSettings::default()
        };
        world
            .set_up(Command::PutAgent { agent, settings })
            .expect("a valid agent");
        let presence = PresenceChange::Available;
        world
            .set_up(Command::SignIn { agent, presence })
            .expect("a known agent");
    }
    world
}

#[test]
fn half_wait_no_longer_than_the_median_and_nine_of_ten_than_the_ninth_decile() {
    let mut draw = Draw(20_261_121);
    let mut measured = Measured::default();
    let mut at_ms = 2_000;
    let mut arrivals = Vec::new();
    for n in 1..=ARRIVALS {
        at_ms += draw.exponential(SERVICE_MS / AGENTS as f64 / 1.15);
        let classification = Classification {
            queues: vec![QUEUE],
            priority: 5,
            ..Classification::default()
        };
        let mut arrival = Arrival::new(ConversationId(n), Channel("chat".to_owned()), classification);
        arrival.service = Service::Takes(draw.exponential(SERVICE_MS));
        arrival.patience = Patience::Closes(draw.exponential(PATIENCE_MS));
        // One in twenty is patient: whoever gives up would be missing among those who waited long.
        if n % 20 == 0 {
            arrival.patience = Patience::Endless;
            if n > WARM_UP {
                measured.patient.insert(ConversationId(n));
            }
        }
        let what = What::Arrival(Box::new(arrival));
        arrivals.push(Input { at_ms, what });
    }
    world().run(arrivals, &mut measured).expect("a workload in order");
    let [half, most] = measured.within.map(|within| within * 1_000 / measured.all);
    eprintln!(
        "{} waited: {half} ‰ within the median, {most} ‰ within the ninth decile",
        measured.all
    );
    assert!(measured.all > 300, "{} waited", measured.all);
    assert!((420..=580).contains(&half), "{half} ‰ are within the median");
    assert!((840..=950).contains(&most), "{most} ‰ are within the ninth decile");
}
