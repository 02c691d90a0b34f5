//! The children of one reign, and which nodes listen to what.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use cluster::transport::NodeId;
use ractor::ActorId;
use routing::event::{Event, TenantEvent};
use routing::ids::{AgentId, ConversationId, TenantId};

use super::Reign;
use crate::actors::agent::AgentMessage;
use crate::actors::conversation::ConversationMessage;
use crate::actors::fan_out::Gathering;
use crate::actors::mailbox::Mailbox;
use crate::actors::measure::Measures;
use crate::actors::queue_manager::QueueManagerMessage;
use crate::calls::{Followed, Listeners, WirePushKind, WirePushRef};

/// A child that can be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    QueueManager(TenantId),
    Followed(TenantId, Followed),
}

pub(super) struct ListeningNode {
    pub(super) incarnation: u64,
    pub(super) heard_at: Instant,
    /// Something told by it, or for it, was lost: it must tell all again.
    pub(super) stale: bool,
    pub(super) counts: HashMap<(TenantId, Followed), Listeners>,
}

/// The children of one reign.
pub(super) struct Court {
    pub(super) reign: Arc<Reign>,
    pub(super) queue_managers: BTreeMap<TenantId, Mailbox<QueueManagerMessage>>,
    pub(super) conversations: HashMap<(TenantId, ConversationId), Mailbox<ConversationMessage>>,
    /// Of conversations with an actor: see [`Conversation`].
    pub(super) customers_seen: HashMap<(TenantId, ConversationId), Arc<AtomicBool>>,
    pub(super) agents: HashMap<(TenantId, AgentId), Mailbox<AgentMessage>>,
    pub(super) children: HashMap<ActorId, Child>,
    pub(super) nodes: BTreeMap<NodeId, ListeningNode>,
    /// Which of the nodes listen to what.
    pub(super) listening: HashMap<(TenantId, Followed), Vec<NodeId>>,
    pub(super) measures: Measures,
}

impl Drop for Court {
    /// Also when the supervisor fails: nobody must go on for a reign that has ended.
    fn drop(&mut self) {
        self.reign.feed.close();
        self.reign.ended.cancel();
        let cells = (self.queue_managers.values().map(|m| m.actor().get_cell()))
            .chain(self.conversations.values().map(|m| m.actor().get_cell()))
            .chain(self.agents.values().map(|m| m.actor().get_cell()));
        cells.for_each(|cell| cell.stop(None));
    }
}

impl Court {
    /// Without children.
    pub(super) fn new(reign: Arc<Reign>, measures: Measures) -> Self {
        Self {
            reign,
            queue_managers: BTreeMap::new(),
            conversations: HashMap::new(),
            customers_seen: HashMap::new(),
            agents: HashMap::new(),
            children: HashMap::new(),
            nodes: BTreeMap::new(),
            listening: HashMap::new(),
            measures,
        }
    }

    pub(super) fn has_actor(&self, tenant: TenantId, followed: Followed) -> bool {
        match followed {
            Followed::Conversation(id) => self.conversations.contains_key(&(tenant, id)),
            Followed::Agent(id) => self.agents.contains_key(&(tenant, id)),
        }
    }

    /// The actor is not needed any more.
    pub(super) fn remove_actor(&mut self, tenant: TenantId, followed: Followed) {
        if let Followed::Conversation(id) = followed {
            self.customers_seen.remove(&(tenant, id));
        }
        self.forget_actor(tenant, followed);
    }

    pub(super) fn forget_actor(&mut self, tenant: TenantId, followed: Followed) {
        let cell = match followed {
            Followed::Conversation(id) => self.conversations.remove(&(tenant, id)).map(|m| m.actor().get_cell()),
            Followed::Agent(id) => self.agents.remove(&(tenant, id)).map(|m| m.actor().get_cell()),
        };
        if let Some(cell) = cell {
            self.children.remove(&cell.get_id());
            cell.stop(None);
        }
    }

    /// A full mailbox loses the count; the node's next full report mends it, so it is asked for.
    pub(super) fn tell_listeners(&mut self, tenant: TenantId, followed: Followed, node: NodeId, listeners: Listeners) {
        let told = match followed {
            Followed::Conversation(id) => self
                .conversations
                .get(&(tenant, id))
                .map(|m| m.post(ConversationMessage::Listeners(node, listeners))),
            Followed::Agent(id) => self
                .agents
                .get(&(tenant, id))
                .map(|m| m.post(AgentMessage::Connections(node, listeners.staff))),
        };
        if matches!(told, Some(Err(_)))
            && let Some(listening) = self.nodes.get_mut(&node)
        {
            listening.stale = true;
        }
    }

    /// A node's sockets are gone, or will be told again.
    pub(super) fn forget(&mut self, node: NodeId) {
        let Some(listening) = self.nodes.remove(&node) else {
            return;
        };
        for (tenant, followed) in listening.counts.into_keys() {
            self.note_listening(tenant, followed, node, false);
            self.tell_listeners(tenant, followed, node, Listeners::default());
        }
    }

    pub(super) fn listened_to(&self, tenant: TenantId, followed: Followed) -> bool {
        self.listening.contains_key(&(tenant, followed))
    }

    pub(super) fn note_listening(&mut self, tenant: TenantId, followed: Followed, node: NodeId, listens: bool) {
        let nodes = self.listening.entry((tenant, followed)).or_default();
        nodes.retain(|other| *other != node);
        if listens {
            nodes.push(node);
        } else if nodes.is_empty() {
            self.listening.remove(&(tenant, followed));
        }
    }

    /// Gives what the log recorded to the nodes that listen to it.
    pub(super) fn push(&self, TenantEvent { tenant, event }: &TenantEvent, gathering: &mut Gathering<'_>) {
        let what = match event {
            Event::Entry(entry) => WirePushKind::Entry(entry),
            Event::Conversation(view) => WirePushKind::Conversation(view.as_ref()),
            Event::Read {
                conversation,
                reader,
                seq,
            } => WirePushKind::Read(*conversation, *reader, *seq),
            Event::Agent(item) => WirePushKind::AgentItem(item),
            _ => return,
        };
        if let Some(nodes) = self.listening.get(&(*tenant, what.followed())) {
            let tenant = *tenant;
            gathering.push(nodes.iter().copied(), &WirePushRef { tenant, what });
        }
    }
}
