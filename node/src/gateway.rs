//! Connections: WebSocket, resume cursors, fan-out, limits.

pub mod hub;
pub mod protocol;
