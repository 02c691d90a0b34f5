//! Where this node's sockets learn what happens.
//!
//! A socket says what it follows; the hub tells the leader of the tenant's shard, once per node, and again whenever the
//! leader or its term changes. What arrives is given to every socket that follows it. Delivery here is at most once and
//! may have gaps: a socket repairs them by `seq`. It compares an entry's `prev` with the last that it has, reads what is
//! missing with a query, drops what it has already, and does the same after every [`Push::Resync`].

use std::sync::Arc;

use routing::command::Reader;
use routing::event::{AgentItem, ConversationView, Entry};
use routing::ids::{AgentId, ConversationId, Seq, TenantId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// What a socket is given.
#[derive(Clone, Debug)]
pub enum Push {
    /// A new entry of a followed conversation (all roles: the socket leaves out what its role may not see).
    Entry(Arc<Entry>),
    /// A followed conversation's view changed.
    Conversation(Arc<ConversationView>),
    /// A read cursor moved.
    Read(ConversationId, Reader, Seq),
    /// Somebody types, or stopped; never in the log.
    Typing(ConversationId, Reader, bool),
    /// An item of the followed agent's stream.
    AgentItem(Arc<AgentItem>),
    /// Things may have been missed in this conversation: read from the cursor on, and its view again.
    Resync(ConversationId),
    /// Things may have been missed in the agent's stream: read from the cursor on.
    ResyncAgent(AgentId),
    /// This node drains: reconnect elsewhere, at the given URL (public address of another node), within a jittered time.
    Drain(Option<String>),
}

/// Who listens; decides what presence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ListenAs {
    /// The conversation's customer: their last connection's end is the customer's leaving (R32).
    Customer,
    /// An agent or supervisor: no presence follows from it.
    Staff,
}

/// This node's hub. A cheap clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {}

/// Ends the following when dropped.
pub struct Following {
    _hub: Hub,
}

impl Hub {
    /// Follows a conversation. Pushes go to `to` with `try_send`; a full channel loses the push and closes nothing: the
    /// socket sees the gap by `prev`, and must cut itself off when it cannot keep up. Follow first, then read.
    pub fn follow_conversation(
        &self,
        tenant: TenantId,
        conversation: ConversationId,
        listen_as: ListenAs,
        to: mpsc::Sender<Push>,
    ) -> Following {
        let _ = (&self.inner, tenant, conversation, listen_as, to);
        Following { _hub: self.clone() }
    }

    /// Follows an agent's stream, and is one of the agent's connections: when the last of all nodes is gone, the agent's
    /// presence lease begins to run (R30); when one is back in time, it ends.
    pub fn follow_agent(&self, tenant: TenantId, agent: AgentId, to: mpsc::Sender<Push>) -> Following {
        let _ = (tenant, agent, to);
        Following { _hub: self.clone() }
    }

    /// Somebody types in a conversation, or stopped: told to everybody else who follows it.
    pub fn typing(&self, tenant: TenantId, conversation: ConversationId, who: Reader, typing: bool) {
        let _ = (tenant, conversation, who, typing);
    }

    /// A channel that receives [`Push::Drain`] when this node drains.
    pub fn watch_drain(&self, to: mpsc::Sender<Push>) -> Following {
        let _ = to;
        Following { _hub: self.clone() }
    }
}
