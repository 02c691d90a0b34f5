//! What may be asked of a tenant: pages, who has what, an agent's own stream.

use std::collections::BTreeMap;

use routing::command::*;
use routing::event::Phase;
use routing::ids::*;
use routing::limits;
use routing::settings::*;
use routing::state::{State, StreamGap, Tenant};

const TENANT: TenantId = TenantId(1);
const MIA: AgentId = AgentId(1);
const SUPPORT: QueueId = QueueId(1);

struct World(State, u64);

impl World {
    fn new() -> Self {
        let mut world = Self(State::new(), 0);
        let chat = ChannelCapacity {
            concurrent_max: 9,
            cost: 1,
            exclusive: false,
            interruptible: false,
        };
        let channels = BTreeMap::from([(Channel("chat".to_owned()), chat)]);
        let capacity = Capacity {
            total: 9,
            channels,
            interruptible: 0,
        };
        let mia = AgentSettings {
            name: "mia".to_owned(),
            queues: Membership::plain([SUPPORT]),
            capacity,
            ..AgentSettings::default()
        };
        world.apply(Command::PutTenant {
            name: "acme".to_owned(),
        });
        world.apply(Command::PutQueue {
            queue: SUPPORT,
            settings: QueueSettings::named("support"),
        });
        world.apply(Command::PutAgent {
            agent: MIA,
            settings: mia,
        });
        world.apply(Command::SignIn {
            agent: MIA,
            presence: PresenceChange::Available,
        });
        world
    }

    fn apply(&mut self, command: Command) {
        self.1 += 1;
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key: None,
            command,
        };
        self.0
            .apply(self.1, self.1 * 1_000, &envelope, &mut Vec::new())
            .expect("applied");
    }

    fn start(&mut self, id: u128, customer: &str) {
        self.apply(Command::StartConversation {
            conversation: ConversationId(id),
            channel: Channel("chat".to_owned()),
            customer: CustomerId(customer.to_owned()),
            attributes: BTreeMap::new(),
            classification: Classification {
                queues: vec![SUPPORT],
                ..Classification::default()
            },
            message: None,
            schedule: None,
            callback: None,
        });
    }

    fn tenant(&self) -> &Tenant {
        self.0.tenant(TENANT).expect("the tenant")
    }
}

#[test]
fn conversations_come_in_pages_by_id() {
    let mut world = World::new();
    (1..=200).rev().for_each(|id| world.start(id, "bob"));
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page: Vec<_> = world
            .tenant()
            .conversations(cursor)
            .take(30)
            .map(|view| view.conversation)
            .collect();
        let Some(last) = page.last() else { break };
        cursor = Some(*last);
        seen.extend(page);
    }
    assert!(seen.into_iter().eq((1..=200).map(ConversationId)));
}

#[test]
fn who_has_what() {
    let mut world = World::new();
    for (id, customer) in [(1, "bob"), (2, "ann"), (3, "bob"), (4, "bo")] {
        world.start(id, customer);
    }
    for id in [1, 3] {
        let conversation = ConversationId(id);
        world.apply(Command::Offer {
            conversation,
            agent: MIA,
            explanation: Explanation::default(),
        });
    }
    world.apply(Command::AcceptOffer {
        conversation: ConversationId(3),
        agent: MIA,
        epoch: Epoch(1),
    });
    let tenant = world.tenant();
    let of = |customer: &str| {
        tenant
            .conversations_of_customer(&CustomerId(customer.to_owned()))
            .map(|id| id.0)
            .collect()
    };
    let (bob, bo): (Vec<u128>, Vec<u128>) = (of("bob"), of("bo"));
    assert_eq!((bob, bo), (vec![1, 3], vec![4]));
    assert!(
        tenant
            .conversations_of_agent(MIA)
            .eq([ConversationId(1), ConversationId(3)])
    );
    assert_eq!(tenant.conversations_of_agent(AgentId(2)).count(), 0);
    let counts = tenant.queue_counts(SUPPORT);
    assert_eq!(
        (counts.waiting, counts.offered, counts.assigned, counts.in_queue()),
        (2, 1, 1, 3)
    );
    assert_eq!(counts, tenant.counts());
    assert_eq!(
        tenant.oldest_in_queue(SUPPORT),
        tenant.conversation(ConversationId(1)).map(|view| view.since_ms)
    );
    assert_eq!(
        tenant.conversation(ConversationId(3)).map(|view| view.phase),
        Some(Phase::Assigned)
    );
    assert_eq!(
        (tenant.agent_named("mia"), tenant.queue_named("support")),
        (Some(MIA), Some(SUPPORT))
    );
    assert_eq!((tenant.agent_named("leo"), tenant.queue_named("sales")), (None, None));
    assert_eq!(tenant.agent(MIA).map(|mia| (mia.used, mia.agent_seq)), Some((2, 5)));
}

#[test]
fn an_agents_stream_reaches_back_as_far_as_it_says() {
    let mut world = World::new();
    let window = limits::AGENT_STREAM_WINDOW as u64;
    for n in 0..window {
        let presence = if n % 2 == 0 {
            PresenceChange::Away("lunch".to_owned())
        } else {
            PresenceChange::Available
        };
        world.apply(Command::SetPresence { agent: MIA, presence });
    }
    // The sign-in was number 1 and has been pushed out.
    let (tenant, last) = (world.tenant(), window + 1);
    let numbers = |after| {
        tenant
            .agent_stream(MIA, after)
            .map(|items| items.iter().map(|i| i.agent_seq).collect::<Vec<_>>())
    };
    assert_eq!(numbers(0), Err(StreamGap { first: 2, last }));
    assert_eq!(numbers(1), Ok((2..=last).collect()));
    assert_eq!(numbers(last - 1), Ok(vec![last]));
    assert_eq!(numbers(last), Ok(Vec::new()));
    assert_eq!(numbers(last + 1), Err(StreamGap { first: 2, last }));
    assert!(tenant.agent_stream(AgentId(9), 0).is_err());
}
