//! KPIs: counters and integer sums per quarter hour, that add up, and exact ratios of them.
//!
//! The state folds them from what happens ([`crate::state::Tenant::report`]), so that they survive a change of leader and are
//! equal on every replica. A row belongs to a quarter hour and a [`Subject`]. Rows of equal key add up ([`Figures::add`]): the
//! state gives out a row when its quarter hour is old ([`crate::event::Event::ReportClosed`]), and gives out another one with
//! the difference should something of that quarter hour become known later (an answer to who had waited for hours, a repeat
//! within days). Whoever keeps the rows adds them.
//!
//! Two rules say which quarter hour something belongs to:
//!
//! - **Visits** are of the quarter hour in which the customer began to wait ([`Visits`]): offered, answered and abandoned are
//!   of one cohort, so that their ratios are ratios of the same people.
//! - **Work** is of the quarter hour in which it was done, or ended ([`Work`], [`AgentTime`]).
//!
//! Words: a *visit* is a conversation's wait for its first answer, from its start or reopening; requeues and transfers after
//! the first answer are no new visit. A *leg* is one agent's having of a conversation: from the assignment to the end of
//! wrap-up, or to the hand-over.
//!
//! No floats: ratios are pairs ([`Ratio`]); who shows them divides.

mod figures;
mod formulas;
mod histogram;

pub use figures::{AgentTime, Figures, Visits, Work};
pub use formulas::{ATTENTION_ONE, Ratio, jain_index};
pub use histogram::Histogram;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, Channel, Millis, QueueId};

/// A quarter hour, in milliseconds.
pub const QUARTER_HOUR_MS: u64 = 15 * 60_000;

/// First moment of the quarter hour (UTC) that `at_ms` is in.
pub fn quarter_hour_of(at_ms: Millis) -> Millis {
    at_ms - at_ms % QUARTER_HOUR_MS
}

/// What a row tells of. Rows of queues and rows of agents tell of the same things in two ways: never add up both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A queue's (`None`: what was never admitted to one), by channel. [`Figures::time`] is empty.
    Queue {
        /// Which.
        queue: Option<QueueId>,
        /// Channel of the conversations.
        channel: Arc<Channel>,
    },
    /// An agent's work, by channel. Of [`Figures::visits`] only what they answered, at the time of the answer.
    Agent {
        /// Who.
        agent: AgentId,
        /// Channel of the conversations.
        channel: Arc<Channel>,
    },
    /// An agent's time, which has no channel: only [`Figures::time`].
    Time {
        /// Who.
        agent: AgentId,
    },
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowKey {
    /// First moment of the quarter hour.
    pub quarter_ms: Millis,
    /// Of what.
    pub subject: Subject,
}
