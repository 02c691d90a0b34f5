//! What a world is fed with: arrivals and what the people of a contact centre do, in order of time.

use std::collections::BTreeMap;

use crate::command::{Body, Command, PresenceChange, Schedule, Value};
use crate::ids::{AgentId, Channel, ConversationId, CustomerId, Millis};
use crate::settings::Classification;

/// One thing that comes from outside. A workload is an iterator of these; time never goes back in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// When.
    pub at_ms: Millis,
    /// What.
    pub what: What,
}

/// See [`Input`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A customer comes.
    Arrival(Box<Arrival>),
    /// Anything else that is said to the state at that moment: shifts, settings, overrides. A refusal is counted.
    Command(Box<Command>),
}

/// A customer, and all that is theirs whatever the policy does: so that two policies meet the same people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which; never used twice.
    pub conversation: ConversationId,
    /// By which channel.
    pub channel: Channel,
    /// Who.
    pub customer: CustomerId,
    /// R1: as the rules saw them.
    pub attributes: BTreeMap<String, Value>,
    /// R1: what the rules gave.
    pub classification: Classification,
    /// First message.
    pub message: Option<Body>,
    /// R33: begins to wait later.
    pub schedule: Option<Schedule>,
    /// R33: where they can be called back.
    pub callback: Option<String>,
    /// How much work it is.
    pub service: Service,
    /// How long they wait.
    pub patience: Patience,
    /// What becomes of its offers, in their order; beyond the list: accepted at once.
    pub replies: Vec<Reply>,
    /// The agent ends the wrap-up by hand after so long; `None`: its deadline does.
    pub wrap_up_ms: Option<u64>,
}

impl Arrival {
    /// Somebody who waits for ever and needs no time; the rest is the caller's.
    pub fn new(conversation: ConversationId, channel: Channel, classification: Classification) -> Self {
        Self {
            conversation,
            channel,
            customer: CustomerId("customer".to_owned()),
            attributes: BTreeMap::new(),
            classification,
            message: None,
            schedule: None,
            callback: None,
            service: Service::Takes(0),
            patience: Patience::Endless,
            replies: Vec::new(),
            wrap_up_ms: None,
        }
    }
}

/// Time from assignment to close. Where an agent is lost, the next one has only the rest to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Milliseconds, whoever serves.
    Takes(u64),
    /// Depends on who serves.
    ByAgent {
        /// Milliseconds of those who are known.
        known: BTreeMap<AgentId, u64>,
        /// Of everybody else.
        otherwise: u64,
    },
}

impl Service {
    pub(super) fn ms(&self, agent: AgentId) -> u64 {
        match self {
            Self::Takes(ms) => *ms,
            Self::ByAgent { known, otherwise } => known.get(&agent).copied().unwrap_or(*otherwise),
        }
    }
}

/// How long a customer waits for an agent before they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// They close the conversation after so long.
    Closes(u64),
    /// Their connection ends after so long: they are gone once the queue's hold is over (R32).
    Disconnects(u64),
    /// They were seen to wait for so long, and then met an agent: it is not known how long they would have waited. They
    /// stay; [`super::Outcome::beyond_known_patience`] tells when a result leans on that.
    AtLeast(u64),
    /// They stay.
    Endless,
}

/// What an agent makes of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// So long after it. The queue's own timeout may come first.
    pub after_ms: u64,
    /// `None`: accepts. Otherwise declines, for this reason.
    pub declines: Option<String>,
}

/// An agent's shift: signs in as available; at the end finishes what is assigned and takes nothing new.
pub fn shift(agent: AgentId, from_ms: Millis, until_ms: Millis) -> [Input; 2] {
    let input = |at_ms, command| Input {
        at_ms,
        what: What::Command(Box::new(command)),
    };
    [
        input(
            from_ms,
            Command::SignIn {
                agent,
                presence: PresenceChange::Available,
            },
        ),
        input(
            until_ms,
            Command::SetPresence {
                agent,
                presence: PresenceChange::Draining,
            },
        ),
    ]
}
