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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::frame::{FrameReader, FrameType};
    use super::*;

    fn frame(call: u64, bytes: usize) -> Frame {
        Frame {
            frame_type: FrameType::Call,
            kind: 1,
            call,
            body: Bytes::from(vec![1; bytes]),
        }
    }

    fn urgent(frame_type: FrameType, call: u64) -> Frame {
        Frame::control(frame_type, call, Bytes::new())
    }

    async fn written(outbox: Outbox) -> Vec<(FrameType, u64, usize)> {
        outbox.close_with(urgent(FrameType::Goodbye, 0));
        let mut wire = Vec::new();
        outbox.write_to(&mut wire, Counter::noop()).await.unwrap();
        assert_eq!(outbox.waiting.lock().bytes, 0);
        let mut reader = FrameReader::new(&wire[..]);
        reader.trust();
        let mut frames = Vec::new();
        while let Some(frame) = reader.read_frame().await.unwrap() {
            frames.push((frame.frame_type, frame.call, frame.body.len()));
        }
        frames
    }

    #[tokio::test]
    async fn both_bounds_hold_and_order_is_kept() {
        let outbox = Outbox::new(3, 2 * HEADER_BYTES + 100);
        assert_eq!(outbox.push(frame(1, 60)), Ok(()));
        assert_eq!(outbox.push(frame(2, 41)), Err(NotQueued::Full), "bytes");
        assert_eq!(outbox.push(frame(3, 40)), Ok(()));
        assert_eq!(
            written(outbox).await,
            [
                (FrameType::Call, 1, 60),
                (FrameType::Call, 3, 40),
                (FrameType::Goodbye, 0, 0)
            ]
        );
        let outbox = Outbox::new(2, 1_000);
        assert_eq!(outbox.push(frame(1, 5_000)), Ok(()), "one always fits");
        assert_eq!(outbox.push(frame(2, 0)), Err(NotQueued::Full));
        let outbox = Outbox::new(2, 1_000);
        assert_eq!((outbox.push(frame(1, 0)), outbox.push(frame(2, 0))), (Ok(()), Ok(())));
        assert_eq!(outbox.push(frame(3, 0)), Err(NotQueued::Full), "frames");
    }

    #[tokio::test]
    async fn pings_go_first_and_do_not_heap_up() {
        let outbox = Outbox::new(2, 1_000);
        outbox.push(frame(1, 10)).unwrap();
        outbox.push(frame(2, 10)).unwrap();
        for number in 0..10 {
            outbox.push_urgent(urgent(FrameType::Ping, number));
        }
        assert_eq!(
            written(outbox).await,
            [
                (FrameType::Ping, 9, 0),
                (FrameType::Call, 1, 10),
                (FrameType::Call, 2, 10),
                (FrameType::Goodbye, 0, 0)
            ]
        );
    }

    #[tokio::test]
    async fn large_and_small_bodies_mix_over_many_rounds() {
        let outbox = Outbox::new(1_000, 100 << 20);
        let sizes = [
            0,
            1,
            COPY_MAX_BYTES,
            COPY_MAX_BYTES + 1,
            READY_BYTES,
            5,
            ROUND_BYTES,
            2 * ROUND_BYTES,
            9,
        ];
        let mut expected = Vec::new();
        for (call, &bytes) in (0..).zip(sizes.iter().cycle().take(100)) {
            outbox.push(frame(call, bytes)).unwrap();
            expected.push((FrameType::Call, call, bytes));
        }
        expected.push((FrameType::Goodbye, 0, 0));
        assert_eq!(written(outbox).await, expected);
    }

    #[tokio::test]
    async fn nothing_is_taken_after_the_end() {
        let outbox = Outbox::new(10, 1_000);
        outbox.push(frame(1, 10)).unwrap();
        outbox.discard();
        assert_eq!(outbox.push(frame(2, 10)), Err(NotQueued::Closed));
        outbox.push_urgent(urgent(FrameType::Ping, 1));
        assert_eq!(written(outbox).await, []);
    }
}
