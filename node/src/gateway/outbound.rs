//! What waits to be written to one socket, bounded by count and by bytes.

use std::collections::VecDeque;

use axum::body::Bytes;
use axum::extract::ws::{Message, Utf8Bytes};

use super::protocol::ServerFrame;
use crate::limits::{PUSHES_PENDING_MAX, READ_ROOM_BYTES};

/// Frames that wait to be written.
#[derive(Debug)]
pub(super) struct Outbound {
    frames: VecDeque<Utf8Bytes>,
    bytes: usize,
    bytes_max: usize,
    ping: bool,
    given_up: Option<&'static str>,
}

impl Outbound {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
            ping: false,
            given_up: None,
        }
    }

    pub(super) fn push(&mut self, frame: &ServerFrame) {
        let text = Utf8Bytes::from(frame.to_text());
        self.bytes += text.len();
        self.frames.push_back(text);
    }

    /// Asks the other side for a sign of life.
    pub(super) fn ping(&mut self) {
        self.ping = true;
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        if std::mem::take(&mut self.ping) {
            return Some(Message::Ping(Bytes::new()));
        }
        let text = self.frames.pop_front()?;
        self.bytes -= text.len();
        Some(Message::Text(text))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && !self.ping
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Room for a page of a transcript.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < READ_ROOM_BYTES
    }

    /// More waits than a reader who keeps up would leave.
    pub(super) fn is_over(&self) -> bool {
        self.frames.len() > PUSHES_PENDING_MAX || self.bytes > self.bytes_max
    }

    /// The connection cannot do what it is for: it ends, and the client comes back with its cursors.
    pub(super) fn give_up(&mut self, why: &'static str) {
        self.given_up = Some(why);
    }

    pub(super) fn given_up(&self) -> Option<&'static str> {
        self.given_up
    }
}
