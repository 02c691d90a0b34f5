//! What waits to be written to one connection. Bounded in frames and in bytes; filling it never waits.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};
use metrics::Counter;
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::frame::{Frame, HEADER_BYTES};

/// Bytes taken for one round of writing.
const ROUND_BYTES: usize = 256 << 10;
/// Bodies up to this size are copied together into one write; larger ones are written from where they are.
const COPY_MAX_BYTES: usize = 16 << 10;

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// At the bound.
    Full,
    /// The connection ends.
    Closed,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
}

/// A queue with many writers and one reader, [`Outbox::write_to`].
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    max_frames: usize,
    max_bytes: usize,
}

impl Outbox {
    pub fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Notify::new(),
            max_frames,
            max_bytes,
        }
    }

    /// Queues a frame behind the others.
    pub fn push(&self, frame: Frame) -> Result<(), NotQueued> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(NotQueued::Closed);
        }
        // One frame always fits, however large it is.
        let bytes = waiting.bytes + frame.wire_bytes();
        if waiting.frames.len() >= self.max_frames || (bytes > self.max_bytes && !waiting.frames.is_empty()) {
            return Err(NotQueued::Full);
        }
        waiting.bytes = bytes;
        let was_empty = waiting.frames.is_empty();
        waiting.frames.push_back(frame);
        drop(waiting);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Queues a ping or pong before the others, so that a long queue does not look like a dead peer. At most one frame of
    /// its type waits: a newer one replaces it.
    pub fn push_urgent(&self, frame: Frame) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        if waiting
            .frames
            .front()
            .is_some_and(|first| first.frame_type == frame.frame_type)
        {
            let replaced = waiting.frames.pop_front().map_or(0, |old| old.wire_bytes());
            waiting.bytes -= replaced;
        }
        waiting.bytes += frame.wire_bytes();
        waiting.frames.push_front(frame);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Queues a last frame; what waits is still written, and then the connection's sending side is closed.
    pub fn close_with(&self, last: Frame) {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            waiting.closed = true;
            waiting.bytes += last.wire_bytes();
            waiting.frames.push_back(last);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Drops what waits and takes nothing more.
    pub fn discard(&self) {
        let mut waiting = self.waiting.lock();
        *waiting = Waiting {
            closed: true,
            ..Waiting::default()
        };
        drop(waiting);
        self.filled.notify_one();
    }

    /// Moves up to [`ROUND_BYTES`] into `round`; false when closed and empty.
    async fn take(&self, round: &mut Vec<Frame>) -> bool {
        loop {
            {
                let mut waiting = self.waiting.lock();
                let mut bytes = 0;
                while bytes < ROUND_BYTES
                    && let Some(frame) = waiting.frames.pop_front()
                {
                    bytes += frame.wire_bytes();
                    round.push(frame);
                }
                waiting.bytes -= bytes;
                if !round.is_empty() {
                    return true;
                }
                if waiting.closed {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Writes what comes, many frames per write, until closed; then shuts the writer down.
    pub async fn write_to<W: AsyncWrite + Unpin>(&self, mut writer: W, written: Counter) -> std::io::Result<()> {
        let mut round = Vec::new();
        let mut buffer = BytesMut::with_capacity(READY_BYTES);
        while self.take(&mut round).await {
            let mut bytes = 0;
            for frame in round.drain(..) {
                bytes += frame.wire_bytes();
                frame.put_header(&mut buffer);
                if frame.body.len() <= COPY_MAX_BYTES {
                    buffer.put_slice(&frame.body);
                } else {
                    writer.write_all(&buffer).await?;
                    buffer.clear();
                    writer.write_all(&frame.body).await?;
                }
                if buffer.len() >= READY_BYTES {
                    writer.write_all(&buffer).await?;
                    buffer.clear();
                }
            }
            writer.write_all(&buffer).await?;
            buffer.clear();
            writer.flush().await?;
            written.increment(bytes as u64);
        }
        writer.shutdown().await
    }
}

/// Bytes gathered before they are written.
const READY_BYTES: usize = 64 << 10;

const _: () = assert!(COPY_MAX_BYTES + HEADER_BYTES < READY_BYTES);
