//! The WebSocket protocol: JSON text frames, `{v, type, id, …}`, snake_case. For people: `ops/protocol.md`.
//!
//! Frames from clients are read strictly: an unknown field or type is refused with an `error` frame. Frames to clients may
//! grow: a client ignores what it does not know.

mod convert;
mod from_client;
mod from_server;
mod show;

pub use from_client::{
    Attribute, BadFrame, ClientFrame, FromClient, Later, Resume, Target, Text, WantedPresence, web_chat,
};
pub use from_server::{Ack, AgentTarget, ErrorFrame, QueueTarget, ServerFrame, Welcome};
pub use show::{
    ConversationFrame, EntryContent, EntryFrame, Invited, Participant, Party, ReadCursor, ScheduledFor, Waiting,
};

/// The only version so far.
pub const VERSION: u16 = 1;
/// What a client asks for in `Sec-WebSocket-Protocol`.
pub const SUBPROTOCOL: &str = "kaiwa.v1";
/// What its token follows there (`token.<jwt>`), where it cannot set other headers.
pub const TOKEN_PROTOCOL_PREFIX: &str = "token.";

/// Close codes of this protocol (RFC 6455 has the numbers).
pub mod close {
    /// The node drains or stops: reconnect elsewhere.
    pub const GOING_AWAY: u16 = 1001;
    /// Not a text frame.
    pub const UNSUPPORTED: u16 = 1003;
    /// No valid token, no hello in time, the token has ended, or silence for too long.
    pub const POLICY: u16 = 1008;
    /// A frame of more than [`crate::limits::FRAME_MAX_BYTES`].
    pub const TOO_LARGE: u16 = 1009;
    /// A fault of ours; try again.
    pub const INTERNAL: u16 = 1011;
    /// Too slow, or too many frames: come back and resume by cursor.
    pub const TRY_AGAIN: u16 = 1013;
}

#[cfg(test)]
mod tests;
