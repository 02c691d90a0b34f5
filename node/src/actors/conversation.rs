//! A conversation that somebody listens to: whether its customer is there, and who types. What the log records goes to the
//! listeners past it, from the supervisor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cluster::transport::NodeId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use routing::command::{Command, Reader};
use routing::ids::{ConversationId, TenantId};

use super::mailbox::{Mailbox, Posted};
use super::supervisor::{Reign, SupervisorMessage};
use crate::calls::{Listeners, WirePushKind, WirePushRef};

/// Name in metrics.
pub const ACTOR_TYPE: &str = "conversation";

/// How long a customer's last connection may be gone before the customer counts as gone: a page reload is no leaving.
const CUSTOMER_GRACE: Duration = Duration::from_secs(2);

/// Messages of the actor.
#[derive(Debug)]
pub enum ConversationMessage {
    /// How many sockets of a node listen.
    Listeners(NodeId, Listeners),
    /// Somebody types.
    Typing(Reader, bool),
    /// A customer came, when this was the count of comings and goings: back, unless they went again at once. A new leader is told of
    /// those who left a moment ago as if they came and went.
    CustomerCame(u64),
    /// The grace of an absent customer is over.
    CustomerGraceOver(u64),
}

/// Who listens, and whether the customer is there.
pub struct Conversation {
    reign: Arc<Reign>,
    tenant: TenantId,
    conversation: ConversationId,
    supervisor: Mailbox<SupervisorMessage>,
    /// A customer has listened here and was not given up since. Outlives an actor that fails: who left just then is noticed.
    customer_seen: Arc<AtomicBool>,
}

/// State of the actor.
#[derive(Default)]
pub struct Listening {
    nodes: BTreeMap<NodeId, Listeners>,
    absences: u64,
}

impl Listening {
    fn customers(&self) -> u32 {
        self.nodes.values().map(|l| l.customers).sum()
    }
}

impl Conversation {
    /// The actor of one conversation under a reign.
    pub fn new(
        reign: Arc<Reign>,
        tenant: TenantId,
        conversation: ConversationId,
        supervisor: Mailbox<SupervisorMessage>,
        customer_seen: Arc<AtomicBool>,
    ) -> Self {
        Self {
            reign,
            tenant,
            conversation,
            supervisor,
            customer_seen,
        }
    }

    fn listeners(
        &self,
        node: NodeId,
        listeners: Listeners,
        myself: &ActorRef<Posted<ConversationMessage>>,
        state: &mut Listening,
    ) {
        let before = state.customers();
        if listeners.none() {
            state.nodes.remove(&node);
        } else {
            state.nodes.insert(node, listeners);
        }
        let after = state.customers();
        if after > 0 {
            self.customer_seen.store(true, Ordering::Relaxed);
            if before == 0 {
                state.absences += 1;
                let _ =
                    Mailbox::new(myself.clone(), ACTOR_TYPE).post(ConversationMessage::CustomerCame(state.absences));
            }
        } else if before > 0 {
            Self::start_grace(myself, state);
        }
        self.say_when_idle(state);
    }

    fn start_grace(myself: &ActorRef<Posted<ConversationMessage>>, state: &mut Listening) {
        state.absences += 1;
        let (absence, mailbox) = (state.absences, Mailbox::new(myself.clone(), ACTOR_TYPE));
        tokio::spawn(async move {
            tokio::time::sleep(CUSTOMER_GRACE).await;
            // An actor that ended meanwhile has nobody to tell.
            let _ = mailbox.post(ConversationMessage::CustomerGraceOver(absence));
        });
    }

    fn customer_is_back(&self) {
        let away = self
            .reign
            .state
            .read()
            .tenant(self.tenant)
            .and_then(|t| t.conversation(self.conversation))
            .is_some_and(|c| !c.customer_present);
        if away {
            self.reign.propose(
                self.tenant,
                Command::CustomerReturned {
                    conversation: self.conversation,
                },
            );
        }
    }

    /// Nobody listens and nothing is driven: the supervisor may end this actor.
    fn say_when_idle(&self, state: &Listening) {
        if state.nodes.is_empty() && !self.customer_seen.load(Ordering::Relaxed) {
            // A full mailbox only delays the end.
            let _ = self
                .supervisor
                .post(SupervisorMessage::ConversationIdle(self.tenant, self.conversation));
        }
    }
}

impl Actor for Conversation {
    type Msg = Posted<ConversationMessage>;
    type State = Listening;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, (): ()) -> Result<Listening, ActorProcessingErr> {
        let mut state = Listening::default();
        if self.customer_seen.load(Ordering::Relaxed) {
            // The actor before this one failed; a customer who is still there is told of at once.
            Self::start_grace(&myself, &mut state);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Listening,
    ) -> Result<(), ActorProcessingErr> {
        fail::fail_point!("actors::conversation");
        match message.open(ACTOR_TYPE) {
            ConversationMessage::Listeners(node, listeners) => self.listeners(node, listeners, &myself, state),
            ConversationMessage::Typing(who, typing) => {
                let what = WirePushKind::Typing(self.conversation, who, typing);
                let tenant = self.tenant;
                let nodes = state.nodes.keys().copied();
                self.reign.fan_out.gather().push(nodes, &WirePushRef { tenant, what });
            }
            ConversationMessage::CustomerCame(coming) => {
                if coming == state.absences && state.customers() > 0 {
                    self.customer_is_back();
                }
            }
            ConversationMessage::CustomerGraceOver(absence) => {
                if absence == state.absences && state.customers() == 0 {
                    self.customer_seen.store(false, Ordering::Relaxed);
                    self.reign.propose(
                        self.tenant,
                        Command::CustomerLeft {
                            conversation: self.conversation,
                        },
                    );
                    self.say_when_idle(state);
                }
            }
        }
        Ok(())
    }
}
