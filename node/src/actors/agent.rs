//! A signed-in agent: connections and presence lease. Items of their stream go to them past it, from the supervisor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::transport::NodeId;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use routing::command::Command;
use routing::ids::{AgentId, TenantId};
use routing::view::Presence;

use super::mailbox::{Mailbox, Posted};
use super::supervisor::{Reign, SupervisorMessage};

/// Name in metrics.
pub const ACTOR_TYPE: &str = "agent";

/// How long the last connection may be gone before the lease begins to run: a page reload is no loss.
const CONNECTION_GRACE: Duration = Duration::from_secs(1);
/// The same for an agent whom a new leader finds signed in: time for every node to say who is connected.
const REIGN_GRACE: Duration = Duration::from_secs(6);

/// Messages of the actor.
#[derive(Debug)]
pub enum AgentMessage {
    /// How many of the agent's connections a node has.
    Connections(NodeId, u32),
    /// A grace is over.
    GraceOver(u64),
}

/// The actor of one agent.
pub struct Agent {
    reign: Arc<Reign>,
    tenant: TenantId,
    agent: AgentId,
    supervisor: Mailbox<SupervisorMessage>,
}

/// State of the actor.
#[derive(Default)]
pub struct Connected {
    nodes: BTreeMap<NodeId, u32>,
    graces: u64,
}

impl Agent {
    /// The actor of one agent under a reign.
    pub fn new(reign: Arc<Reign>, tenant: TenantId, agent: AgentId, supervisor: Mailbox<SupervisorMessage>) -> Self {
        Self {
            reign,
            tenant,
            agent,
            supervisor,
        }
    }

    fn presence(&self) -> Presence {
        let state = self.reign.state.read();
        state
            .tenant(self.tenant)
            .and_then(|t| t.agent(self.agent))
            .map_or(Presence::Offline, |a| a.presence.clone())
    }

    fn start_grace(&self, grace: Duration, myself: &ActorRef<Posted<AgentMessage>>, state: &mut Connected) {
        state.graces += 1;
        let (number, mailbox) = (state.graces, Mailbox::new(myself.clone(), ACTOR_TYPE));
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            // An actor that ended meanwhile has nobody to tell.
            let _ = mailbox.post(AgentMessage::GraceOver(number));
        });
    }

    fn connections(&self, node: NodeId, count: u32, myself: &ActorRef<Posted<AgentMessage>>, state: &mut Connected) {
        let before = state.nodes.len();
        if count == 0 {
            state.nodes.remove(&node);
        } else {
            state.nodes.insert(node, count);
        }
        if !state.nodes.is_empty() {
            state.graces += 1; // ends a grace that runs
            if matches!(self.presence(), Presence::Suspect { .. }) {
                self.reign
                    .propose(self.tenant, Command::ConnectionsBack { agent: self.agent });
            }
        } else if before > 0 {
            self.start_grace(CONNECTION_GRACE, myself, state);
        }
    }

    fn grace_over(&self, state: &Connected) {
        match self.presence() {
            Presence::Offline => {}
            Presence::Suspect { .. } => {}
            _ => self
                .reign
                .propose(self.tenant, Command::ConnectionsLost { agent: self.agent }),
        }
        if state.nodes.is_empty() {
            // A full mailbox only delays the end.
            let _ = self
                .supervisor
                .post(SupervisorMessage::AgentIdle(self.tenant, self.agent));
        }
    }
}

impl Actor for Agent {
    type Msg = Posted<AgentMessage>;
    type State = Connected;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, (): ()) -> Result<Connected, ActorProcessingErr> {
        let mut state = Connected::default();
        // A new leader gives every signed-in agent a fresh lease.
        self.start_grace(REIGN_GRACE, &myself, &mut state);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Connected,
    ) -> Result<(), ActorProcessingErr> {
        fail::fail_point!("actors::agent");
        match message.open(ACTOR_TYPE) {
            AgentMessage::Connections(node, count) => self.connections(node, count, &myself, state),
            AgentMessage::GraceOver(number) => {
                if number == state.graces && state.nodes.is_empty() {
                    self.grace_over(state);
                }
            }
        }
        Ok(())
    }
}
