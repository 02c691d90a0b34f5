//! What can go wrong with a call, as a face tells it: one enum, stable codes, an HTTP status each.

use routing::rejection::Rejection;

/// Why a command or a query gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum EngineError {
    /// The state refused it; nothing changed.
    #[error("{0}")]
    Rejected(Rejection),
    /// No such tenant.
    #[error("there is no such tenant")]
    UnknownTenant,
    /// The shard has no leader within the deadline; nothing was done.
    #[error("the shard has no leader at the moment; try again")]
    NoLeader,
    /// Too much waits; nothing was done.
    #[error("too many commands wait; try again in {retry_after_ms} ms")]
    Overloaded {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The deadline passed after the command went out: it may or may not have been done. Try again with the same key.
    #[error("the outcome is unknown: repeat it with the same idempotency key")]
    OutcomeUnknown,
    /// This node stops.
    #[error("this node is stopping")]
    Stopping,
    /// A fault of ours.
    #[error("internal error: {0}")]
    Internal(String),
    /// The disks of all nodes that could lead are nearly full; nothing was done. Reads go on.
    #[error("there is no room on the disks of the cluster: try again later")]
    DiskFull,
}

impl EngineError {
    /// Stable code for clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rejected(why) => why.code(),
            Self::UnknownTenant => "unknown_tenant",
            Self::NoLeader => "no_leader",
            Self::Overloaded { .. } => "overloaded",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Stopping => "stopping",
            Self::Internal(_) => "internal",
            Self::DiskFull => "disk_full",
        }
    }

    /// HTTP status for clients.
    pub fn status(&self) -> u16 {
        match self {
            Self::Rejected(why) => match why {
                Rejection::UnknownTenant
                | Rejection::UnknownConversation(_)
                | Rejection::UnknownAgent(_)
                | Rejection::UnknownQueue(_)
                | Rejection::UnknownCalendar(_) => 404,
                Rejection::UnknownSkill(_) | Rejection::Invalid { .. } | Rejection::UnsupportedVersion(_) => 422,
                Rejection::NotPermitted { .. } => 403,
                Rejection::TooLarge { .. } => 413,
                _ => 409,
            },
            Self::UnknownTenant => 404,
            Self::NoLeader | Self::Stopping => 503,
            Self::Overloaded { .. } => 429,
            Self::OutcomeUnknown => 504,
            Self::Internal(_) => 500,
            Self::DiskFull => 507,
        }
    }
}
