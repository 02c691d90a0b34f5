//! The same with the real state behind it: a decision is applied, and its events come from there.

use std::collections::BTreeMap;
use std::time::Duration;

use routing::command::{Author, COMMAND_SCHEMA, Command, Envelope, PresenceChange, Principal};
use routing::event::TenantEvent;
use routing::ids::{ConversationId, CustomerId, TenantId};
use routing::queue_manager::{QueueManager, Settled};
use routing::settings::Classification;
use routing::state::State;
use routing::view::Views;

use crate::cpu_time;
use crate::shop::{
    AGENTS, Dice, PROFILES, Policies, QUEUES, SKILLS, agent_id, agent_settings, chat, class, conversation_id, queue_id,
    queue_settings, skill,
};

const TENANT: TenantId = TenantId(1);

pub struct Whole {
    state: State,
    manager: QueueManager,
    assigned: Vec<ConversationId>,
    dice: Dice,
    arrivals: u64,
    index: u64,
    now_ms: u64,
    events: Vec<TenantEvent>,
}

impl Whole {
    /// Every slot taken, and so many waiting.
    pub fn new(waiting: usize) -> Self {
        let mut whole = Self {
            state: State::new(),
            manager: QueueManager::new(Views::default()),
            assigned: Vec::new(),
            dice: Dice::new(),
            arrivals: 0,
            index: 0,
            now_ms: 1_000_000,
            events: Vec::new(),
        };
        whole.apply(Command::PutTenant { name: "bench".into() });
        (0..SKILLS).for_each(|n| {
            whole.apply(Command::PutSkill {
                skill: skill(n),
                description: String::new(),
            })
        });
        for n in 0..QUEUES {
            let settings = queue_settings(n, Policies::Plain);
            whole.apply(Command::PutQueue {
                queue: queue_id(n),
                settings: routing::settings::QueueSettings {
                    auto_accept: true,
                    reopen_window_ms: 1,
                    ..settings
                },
            });
        }
        for n in 0..AGENTS {
            let settings = agent_settings(n % PROFILES, format!("agent {n}"), Policies::Plain);
            whole.apply(Command::PutAgent {
                agent: agent_id(n),
                settings,
            });
            whole.apply(Command::SignIn {
                agent: agent_id(n),
                presence: PresenceChange::Available,
            });
        }
        // Until everybody is busy: then what still waits is what is wanted.
        loop {
            (0..1_000).for_each(|_| whole.arrive());
            let mut taken = 0;
            loop {
                let made = whole.decide_and_apply(256);
                taken += made;
                if made == 0 {
                    break;
                }
            }
            if taken < 50 {
                break;
            }
        }
        let waits = |whole: &Self| whole.state.tenant(TENANT).map_or(0, |t| t.counts().waiting as usize);
        while waits(&whole) < waiting {
            whole.arrive();
            whole.decide_and_apply(256);
        }
        whole
    }

    fn apply(&mut self, command: Command) {
        let done = self.try_apply(command);
        assert!(done, "the bench's own command was refused");
    }

    fn try_apply(&mut self, command: Command) -> bool {
        self.index += 1;
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key: None,
            command,
        };
        self.events.clear();
        let done = self
            .state
            .apply(self.index, self.now_ms, &envelope, &mut self.events)
            .is_ok();
        for TenantEvent { event, .. } in &self.events {
            self.manager.observe(self.index, event);
        }
        done
    }

    fn arrive(&mut self) {
        self.arrivals += 1;
        self.now_ms += 1;
        let (queue, required) = class(self.dice.below(1_000));
        self.apply(Command::StartConversation {
            conversation: conversation_id(self.arrivals),
            channel: chat(),
            customer: CustomerId(format!("customer {}", self.arrivals)),
            attributes: BTreeMap::new(),
            classification: Classification {
                queues: vec![queue],
                priority: (self.arrivals % 10) as u8,
                required,
                ..Classification::default()
            },
            message: None,
            schedule: None,
            callback: None,
        });
    }

    fn decide_and_apply(&mut self, limit: usize) -> usize {
        let decisions = self.manager.decide(self.now_ms, limit);
        let made = decisions.len();
        for decision in decisions {
            if let Command::Offer { conversation, .. } = &decision.command {
                self.assigned.push(*conversation);
            }
            assert!(self.try_apply(decision.command), "state and queue manager disagree");
            self.manager.settle(decision.id, Settled::Applied);
        }
        made
    }

    /// Processor time for so many decisions, each with its explanation, applied and observed; what frees the slots is not timed.
    pub fn circle(&mut self, decisions: u64) -> Duration {
        let (mut spent, mut made) = (Duration::ZERO, 0);
        while made < decisions {
            for _ in 0..256 {
                let at = self.dice.below(self.assigned.len());
                let conversation = self.assigned.swap_remove(at);
                let by = Author::Supervisor(Principal::Admin("bench".into()));
                self.apply(Command::Close {
                    conversation,
                    by,
                    disposition: None,
                    resolved: None,
                });
                self.arrive();
            }
            let from = cpu_time();
            made += self.decide_and_apply(4_096) as u64;
            spent += cpu_time() - from;
        }
        spent.mul_f64(decisions as f64 / made as f64)
    }
}
