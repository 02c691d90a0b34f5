//! Each invariant is broken on purpose once: what cannot fail proves nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::command::{Body, COMMAND_SCHEMA, Command, Envelope, Explanation, PresenceChange};
use crate::event::{AgentItem, AgentItemKind, Entry, OfferOutcome, UnassignReason};
use crate::ids::Channel;
use crate::ids::CustomerId;
use crate::settings::{AgentSettings, Capacity, Classification, Membership, QueueSettings};
use crate::view::Presence;

const TENANT: TenantId = TenantId(1);
const MIA: AgentId = AgentId(1);
const SUPPORT: QueueId = QueueId(1);
const C: ConversationId = ConversationId(1);

fn chat() -> Channel {
    Channel("chat".to_owned())
}

fn agent_settings(concurrent_max: u16) -> AgentSettings {
    let limits = ChannelCapacity {
        concurrent_max,
        cost: 1,
        exclusive: false,
        interruptible: false,
    };
    let capacity = Capacity {
        total: 9,
        channels: BTreeMap::from([(chat(), limits)]),
        interruptible: 0,
    };
    AgentSettings {
        name: "mia".to_owned(),
        queues: Membership::plain([SUPPORT]),
        capacity,
        ..AgentSettings::default()
    }
}

/// One conversation offered to one agent, and what was told on the way.
fn offered() -> (State, History) {
    let (mut state, mut history) = (State::new(), History::default());
    let commands = [
        Command::PutTenant {
            name: "acme".to_owned(),
        },
        Command::PutQueue {
            queue: SUPPORT,
            settings: QueueSettings::named("support"),
        },
        Command::PutAgent {
            agent: MIA,
            settings: agent_settings(1),
        },
        Command::SignIn {
            agent: MIA,
            presence: PresenceChange::Available,
        },
        Command::StartConversation {
            conversation: C,
            channel: chat(),
            customer: CustomerId("bob".to_owned()),
            attributes: BTreeMap::new(),
            classification: Classification {
                queues: vec![SUPPORT],
                ..Classification::default()
            },
            message: Some(Body {
                media_type: "text/plain".to_owned(),
                text: "hello".to_owned(),
            }),
            schedule: None,
            callback: None,
        },
        Command::Offer {
            conversation: C,
            agent: MIA,
            explanation: Explanation::default(),
        },
    ];
    for (index, command) in commands.into_iter().enumerate() {
        let mut events = Vec::new();
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key: None,
            command,
        };
        state
            .apply(index as u64, 1_000, &envelope, &mut events)
            .expect("applied");
        events
            .iter()
            .for_each(|told| history.observe(&told.event).expect("in order"));
    }
    check(&state).expect("sound");
    history.check(state.tenant(TENANT).expect("the tenant")).expect("told");
    (state, history)
}

#[track_caller]
fn broken(letter: char, breaks: impl FnOnce(&mut Tenant)) {
    let (mut state, _) = offered();
    breaks(state.tenant_mut(TENANT).expect("the tenant"));
    let violation = check(&state).expect_err("a violation");
    assert_eq!(violation.letter, letter, "{violation}");
}

#[test]
fn c_an_offer_to_who_is_not_available() {
    broken('C', |tenant| {
        tenant.kept.agents.get_mut(&MIA).expect("mia").presence = Presence::Draining
    });
    broken('C', |tenant| _ = tenant.kept.agents.remove(&MIA));
    broken('C', |tenant| {
        tenant.kept.conversations.get_mut(&C).expect("c").epoch = Epoch(0)
    });
}

#[test]
fn c_an_offer_beside_the_first_to_who_is_not_or_twice() {
    for beside in [vec![AgentId(7)], vec![MIA]] {
        broken('C', |tenant| {
            tenant.kept.conversations.get_mut(&C).expect("c").also_offered = beside;
        });
    }
}

#[test]
fn c_an_offer_that_ends_twice_or_outlasts_the_assignment() {
    let (state, history) = offered();
    let item = |agent_seq, kind| {
        Event::Agent(AgentItem {
            agent: MIA,
            agent_seq,
            at_ms: 0,
            kind,
        })
    };
    let ended = || AgentItemKind::OfferEnded {
        conversation: C,
        epoch: Epoch(1),
        outcome: OfferOutcome::Expired,
    };
    let mut ends = history.clone();
    ends.observe(&item(3, ended())).expect("it was offered");
    let tenant = state.tenant(TENANT).expect("the tenant");
    assert_eq!(ends.check(tenant).expect_err("it is out").letter, 'C');
    refused('C', &mut ends, item(4, ended()));
    let assigned = AgentItemKind::Assigned {
        conversation: C,
        epoch: Epoch(1),
        queue: SUPPORT,
        channel: chat(),
        customer: CustomerId("bob".to_owned()),
    };
    refused('C', &mut history.clone(), item(3, assigned));
}

#[test]
fn d_a_load_that_the_conversations_do_not_make_or_that_does_not_fit() {
    broken('D', |tenant| {
        tenant.kept.agents.get_mut(&MIA).expect("mia").load.clear()
    });
    broken('D', |tenant| {
        tenant.kept.agents.get_mut(&MIA).expect("mia").settings = Arc::new(agent_settings(0))
    });
}

#[test]
fn e_a_stream_with_a_gap_and_a_cursor_past_the_end() {
    broken('E', |tenant| {
        tenant.kept.agents.get_mut(&MIA).expect("mia").agent_seq += 1
    });
    broken('E', |tenant| _ = tenant.kept.streams.remove(&MIA));
    broken('E', |tenant| {
        tenant.kept.conversations.get_mut(&C).expect("c").last_seq_for_customer = 9
    });
}

#[test]
fn h_an_index_that_differs_from_its_rows() {
    broken('H', |tenant| tenant.index.owners.clear());
    broken('H', |tenant| {
        tenant.kept.conversations.get_mut(&C).expect("c").arrival = 9
    });
}

#[test]
fn i_a_stage_that_would_never_end() {
    broken('I', |tenant| {
        tenant.kept.conversations.get_mut(&C).expect("c").alarms.clear()
    });
    broken('I', |tenant| {
        tenant.kept.conversations.get_mut(&C).expect("c").only = Some(MIA)
    });
}

#[test]
fn a_sample_sees_the_rows_it_looks_at() {
    let (mut state, _) = offered();
    let tenant = state.tenant_mut(TENANT).expect("the tenant");
    tenant.kept.conversations.get_mut(&C).expect("c").alarms.clear();
    assert!(check_some(&state, ConversationId(0), 10).is_err());
    assert!(check_some(&state, C, 10).is_ok(), "it begins after the cursor");
}

#[track_caller]
fn refused(letter: char, history: &mut History, event: Event) {
    let violation = history.observe(&event).expect_err("a violation");
    assert_eq!(violation.letter, letter, "{violation}");
}

#[test]
fn the_history_refuses_what_cannot_follow() {
    let (state, history) = offered();
    let entry = |seq, prev_for_customer| {
        let kind = EntryKind::Paused;
        Event::Entry(Entry {
            conversation: C,
            seq,
            prev_for_customer,
            at_ms: 0,
            kind,
        })
    };
    let observe = |event: Event, letter| refused(letter, &mut history.clone(), event);
    observe(entry(1, 0), 'E');
    observe(entry(3, 1), 'E');
    observe(entry(2, 0), 'E');
    let kind = AgentItemKind::Presence {
        presence: Presence::Available,
    };
    observe(
        Event::Agent(AgentItem {
            agent: MIA,
            agent_seq: 9,
            at_ms: 0,
            kind,
        }),
        'E',
    );
    observe(Event::DemandEnded { conversation: C }, 'I');
    let assigned = |epoch| Event::Assigned {
        conversation: C,
        queue: SUPPORT,
        agent: MIA,
        epoch: Epoch(epoch),
        waited_ms: 0,
        first: true,
    };
    let mut owned = history.clone();
    owned.observe(&assigned(4)).expect("the first owner");
    refused('C', &mut owned.clone(), assigned(5));
    let left = |epoch| Event::Unassigned {
        conversation: C,
        queue: SUPPORT,
        agent: MIA,
        epoch: Epoch(epoch),
        reason: UnassignReason::Closed,
    };
    refused('C', &mut owned.clone(), left(3));
    owned.observe(&left(4)).expect("the owner leaves");
    refused('C', &mut owned, assigned(4));
    let mut supply = state.tenant(TENANT).expect("the tenant").views().supplies.remove(0);
    *supply.load.get_mut(&chat()).expect("an offer") += 1;
    supply.used += 1;
    observe(Event::Supply(supply), 'D');
}

#[test]
fn j_an_age_that_changes() {
    let (_, mut history) = offered();
    let demand = Demand {
        conversation: C,
        queue: SUPPORT,
        channel: chat(),
        priority: 5,
        expedited: false,
        since_ms: 2_000,
        arrival: 1,
        required: Arc::from([]),
        preferred: Arc::from([]),
        only: None,
        excluded: Vec::new(),
        held: false,
        rings: 0,
        selectors: Arc::from([]),
        offers: 0,
    };
    refused('J', &mut history, Event::Demand(demand));
}

#[test]
fn what_was_not_told_is_missed() {
    let (state, mut history) = offered();
    history.timers.clear();
    let violation = history
        .check(state.tenant(TENANT).expect("the tenant"))
        .expect_err("a violation");
    assert_eq!(violation.letter, 'I');
}
