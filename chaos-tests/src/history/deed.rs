//! The words of a history: what clients of a conversation and of an agent ask for, and what they are answered.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An id as the API shows it, the text of a message, the name of a client.
pub type Name = Arc<str>;

/// As whom somebody acts in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Its customer.
    Customer,
    /// Its owner, under the epoch that they named; `None`: under the one that the node knew.
    Owner {
        /// Who.
        agent: Name,
        /// Of the assignment.
        epoch: Option<u64>,
    },
    /// A supervisor, or one who takes part beside the owner: no epoch fences them.
    Other,
}

/// What was asked for. The acts that the models know nothing particular of are [`Input::Entry`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // fields repeat the words of the API
pub enum Input {
    // ---- a conversation
    /// A message (a start's first one too). No two messages of a conversation have the same text: by it an unknown one is
    /// found again in what is read.
    Post { conversation: Name, text: Name, by: By },
    /// Anything else that makes an entry: a note, a whisper, a rating; `kind` is for people. Its acknowledgement's seq is its
    /// own entry's; leave it out where it may be an older one (resume gives the last, read cursors are no entries).
    Entry { conversation: Name, kind: Name, by: By },
    /// `GET /v1/conversations/{id}/entries?after=…`: one page. `staff`: the reader sees every entry.
    Entries {
        conversation: Name,
        after: u64,
        staff: bool,
    },
    /// `GET /v1/conversations/{id}`, as staff sees it.
    Look { conversation: Name },
    /// Takes an offer.
    Accept {
        conversation: Name,
        agent: Name,
        epoch: u64,
    },
    /// Leaves an offer to others.
    Decline {
        conversation: Name,
        agent: Name,
        epoch: u64,
    },
    /// An agent takes it, or a supervisor gives it to them by hand.
    Assign { conversation: Name, agent: Name },
    /// A cold transfer. By a supervisor who is not the owner: [`By::Other`].
    Transfer { conversation: Name, by: By },
    /// A warm transfer: `to`, who takes part, becomes the owner.
    CompleteTransfer { conversation: Name, by: By, to: Name },
    /// Ends it.
    Close { conversation: Name, by: By },
    /// Opens it again.
    Reopen { conversation: Name, by: By },
    /// Ends its wrap-up.
    FinishWrapUp {
        conversation: Name,
        agent: Name,
        epoch: u64,
    },

    // ---- an agent
    /// Signs in.
    SignIn { agent: Name, presence: Presence },
    /// Signs out.
    SignOut { agent: Name },
    /// Says a presence of themself.
    SetPresence { agent: Name, presence: Presence },
    /// The agent's record: of `GET /v1/me`, or of the supervisors' `GET /v1/agents/{id}`.
    Record { agent: Name },
    /// The agent's desk: of `GET /v1/me`, which asks for it after the record: two operations, over the same time.
    Desk { agent: Name },
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Output {
    /// The acknowledgement of a command.
    Ack { seq: Option<u64>, epoch: Option<u64> },
    /// A page of the transcript; `more`: there was a `next_after`.
    Entries { entries: Vec<Shown>, more: bool },
    /// A conversation's header.
    Look {
        phase: Phase,
        agent: Option<Name>,
        epoch: u64,
        last_seq: u64,
    },
    /// An agent's record: `load` is the sum over the channels.
    Record {
        presence: Presence,
        load: u32,
        agent_seq: u64,
    },
    /// An agent's desk.
    Desk { conversations: Vec<Held> },
}

/// An entry of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// From 1.
    pub seq: u64,
    /// What a message of a person says; `None`: it is no such thing.
    pub text: Option<Name>,
}

/// A conversation on a desk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub conversation: Name,
    /// Where in its life.
    pub phase: Phase,
    /// Of the offer or assignment.
    pub epoch: u64,
    /// Offered to the agent, or owned by them; otherwise they only take part.
    pub own: bool,
}

/// State of a conversation, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Phase {
    Waiting,
    Offered,
    Assigned,
    Paused,
    WrapUp,
    Closed,
    Scheduled,
}

impl Phase {
    /// Whether it has not ended.
    pub fn open(self) -> bool {
        !matches!(self, Self::WrapUp | Self::Closed)
    }

    /// Whether it has an owner.
    pub fn owned(self) -> bool {
        matches!(self, Self::Assigned | Self::Paused | Self::WrapUp)
    }
}

/// An agent's presence, in the words of the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Presence {
    Offline,
    Available,
    Away(Name),
    Draining,
    Suspect,
}

impl Input {
    /// The conversation that it is about.
    pub fn conversation(&self) -> Option<&Name> {
        match self {
            Self::Post { conversation, .. }
            | Self::Entry { conversation, .. }
            | Self::Entries { conversation, .. }
            | Self::Look { conversation }
            | Self::Accept { conversation, .. }
            | Self::Decline { conversation, .. }
            | Self::Assign { conversation, .. }
            | Self::Transfer { conversation, .. }
            | Self::CompleteTransfer { conversation, .. }
            | Self::Close { conversation, .. }
            | Self::Reopen { conversation, .. }
            | Self::FinishWrapUp { conversation, .. } => Some(conversation),
            Self::SignIn { .. }
            | Self::SignOut { .. }
            | Self::SetPresence { .. }
            | Self::Record { .. }
            | Self::Desk { .. } => None,
        }
    }

    /// The agents whom it tells something of: who acts as such, and who is given a conversation.
    pub fn agents(&self) -> impl Iterator<Item = &Name> {
        let (first, second) = match self {
            Self::Accept { agent, .. }
            | Self::Decline { agent, .. }
            | Self::Assign { agent, .. }
            | Self::FinishWrapUp { agent, .. }
            | Self::SignIn { agent, .. }
            | Self::SignOut { agent }
            | Self::SetPresence { agent, .. }
            | Self::Record { agent }
            | Self::Desk { agent } => (Some(agent), None),
            Self::CompleteTransfer { by, to, .. } => (by.owner().filter(|agent| *agent != to), Some(to)),
            Self::Transfer { by, .. } | Self::Close { by, .. } => (by.owner(), None),
            _ => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl By {
    /// The agent who acts as the owner.
    pub fn owner(&self) -> Option<&Name> {
        match self {
            Self::Owner { agent, .. } => Some(agent),
            Self::Customer | Self::Other => None,
        }
    }
}
