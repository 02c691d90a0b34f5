//! R13: the real queue manager, and the bound on overtaking that accumulating priority promises.

use std::sync::Arc;

use proptest::prelude::*;
use routing::command::Command;
use routing::event::Event;
use routing::ids::{AgentId, Channel, ConversationId, QueueId};
use routing::invariants::overtaking::{self, Service};
use routing::limits::PRIORITIES;
use routing::queue_manager::{QueueManager, Settled};
use routing::settings::{AgentSettings, Capacity, ChannelCapacity, Membership, Order, QueueSettings};
use routing::view::{Demand, Presence, QueueView, Supply, Views};

#[derive(Clone, Debug)]
enum Step {
    /// After so long somebody comes.
    Arrive(u16, u8),
    /// After so long an agent is free again.
    Finish(u16, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..200_u16, 0..10_u8).prop_map(|(after, priority)| Step::Arrive(after, priority)),
        (0..200_u16, 0..2_u8).prop_map(|(after, agent)| Step::Finish(after, agent)),
    ]
}

/// Rates that do not fall with the priority; the highest is above 0.
fn rates() -> impl Strategy<Value = [u32; PRIORITIES]> {
    prop::array::uniform10(0..4_u32).prop_map(|steps| {
        let mut rate = 0;
        let mut rates = steps.map(|step| {
            rate += step;
            rate
        });
        rates[PRIORITIES - 1] += 1;
        rates
    })
}

fn supply(agent: u8, busy: bool, idle_since_ms: u64) -> Supply {
    let chat = ChannelCapacity {
        concurrent_max: 1,
        cost: 1,
        exclusive: false,
        interruptible: false,
    };
    Supply {
        agent: AgentId(agent.into()),
        settings: Arc::new(AgentSettings {
            queues: Membership::plain([QueueId(1)]),
            capacity: Capacity {
                total: 1,
                interruptible: 0,
                channels: [(Channel("chat".into()), chat)].into(),
            },
            ..AgentSettings::default()
        }),
        presence: Presence::Available,
        load: [(Channel("chat".into()), u16::from(busy))].into(),
        used: busy.into(),
        idle_since_ms,
        signed_in_at_ms: 0,
        recent: Vec::new(),
        handled_today: 0,
        today_since_ms: 0,
        speeds: Arc::default(),
    }
}

fn demand(n: u64, priority: u8, since_ms: u64) -> Demand {
    Demand {
        conversation: ConversationId(n.into()),
        queue: QueueId(1),
        channel: Channel("chat".into()),
        priority,
        expedited: false,
        since_ms,
        arrival: n,
        required: [].into(),
        preferred: [].into(),
        selectors: [].into(),
        only: None,
        excluded: Vec::new(),
        held: false,
        rings: 0,
        offers: 0,
    }
}

/// What a queue of this order serves, in this order.
fn serve(order: Order, steps: &[Step]) -> Vec<Service> {
    let mut settings = QueueSettings::named("q");
    settings.order = order;
    let queue = QueueView {
        queue: QueueId(1),
        settings: Arc::new(settings),
        version: 1,
        shared_rings: 0,
        open: true,
    };
    let mut manager = QueueManager::new(Views {
        queues: vec![queue],
        supplies: vec![supply(0, true, 0), supply(1, true, 0)],
        ..Views::default()
    });
    let (mut now_ms, mut index, mut waiting, mut served) = (1_000, 0, Vec::new(), Vec::new());
    for step in steps {
        index += 1;
        match *step {
            Step::Arrive(after, priority) => {
                now_ms += u64::from(after);
                let demand = demand(index, priority, now_ms);
                waiting.push(demand.clone());
                manager.observe(index, &Event::Demand(demand));
            }
            Step::Finish(after, agent) => {
                now_ms += u64::from(after);
                manager.observe(index, &Event::Supply(supply(agent, false, now_ms)));
            }
        }
        for decision in manager.decide(now_ms, 8) {
            let Command::Offer {
                conversation, agent, ..
            } = decision.command
            else {
                panic!("no timers here")
            };
            let at = waiting.iter().position(|d: &Demand| d.conversation == conversation);
            let demand = waiting.remove(at.expect("it waits"));
            served.push(Service {
                conversation,
                priority: demand.priority,
                since_ms: demand.since_ms,
                at_ms: now_ms,
            });
            index += 1;
            manager.observe(index, &Event::DemandEnded { conversation });
            manager.observe(index, &Event::Supply(supply(agent.0 as u8, true, now_ms)));
            manager.settle(decision.id, Settled::Applied);
            manager.barrier_passed();
        }
    }
    served
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn nobody_is_overtaken_by_more_than_the_rates_allow(
        rates in rates(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let served = serve(Order::AccumulatingPriority { rates }, &steps);
        prop_assert_eq!(overtaking::check(&rates, &served), Ok(()));
    }
}

#[test]
fn strict_priority_does_not_keep_the_bound() {
    let steps = [
        Step::Arrive(0, 0),
        Step::Arrive(90, 9),
        Step::Finish(10, 0),
        Step::Finish(0, 1),
    ];
    let mut rates = [1; PRIORITIES];
    rates[9] = 2;
    let credit = serve(Order::AccumulatingPriority { rates }, &steps);
    assert_eq!(credit.len(), 2);
    overtaking::check(&rates, &credit).expect("100 of credit against 20");
    let strict = serve(Order::StrictPriority, &steps);
    assert_eq!(strict.len(), 2);
    overtaking::check(&rates, &strict).expect_err("who came 90 later was first after 100");
}
