//! Frames on the wire. All integers are little endian.
//!
//! ```text
//!   length u32 | schema u16 | type u8 | reserved u8 | kind u16 | call id u64 | body
//!              '------------------------- length -----------------------------------'
//! ```
//!
//! The length is checked before anything is reserved for it, and memory grows only with what has arrived.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::codec;
use crate::limits::FRAME_MAX_BYTES;
use crate::limits::HELLO_MAX_BYTES;
use crate::transport::Purpose;

/// Version of the frame header.
pub(super) const SCHEMA: u16 = 1;
/// Bytes before the body, the length included.
pub(super) const HEADER_BYTES: usize = 18;
const MAGIC: [u8; 8] = *b"kaiwalnk";
/// The version of what links say, and the oldest that is still understood.
const PROTOCOL: u16 = 1;
const PROTOCOL_OLDEST: u16 = 1;
/// The purpose of a connection that only asks who is there.
pub(super) const PURPOSE_PROBE: u8 = 255;
/// Bytes that a read makes room for.
const READ_BYTES: usize = 64 << 10;
/// Room below which a read makes more.
const READ_ROOM_LOW: usize = 4 << 10;

/// What a frame is. Numbers are for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameType {
    /// First frame of both sides.
    Hello = 1,
    /// Wants a reply with the same call id.
    Call = 2,
    /// Wants none.
    Send = 3,
    /// Answers a call.
    Reply = 4,
    /// The call was handed over, and will have no answer; the body says why.
    Failed = 5,
    /// The call was not handed over: too many are open.
    Busy = 6,
    /// Are you there?
    Ping = 7,
    /// I am, with the ping's call id.
    Pong = 8,
    /// The sender stops.
    Goodbye = 9,
    /// The sender closes the connection; the body says why.
    Refused = 10,
}

impl FrameType {
    fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Call,
            3 => Self::Send,
            4 => Self::Reply,
            5 => Self::Failed,
            6 => Self::Busy,
            7 => Self::Ping,
            8 => Self::Pong,
            9 => Self::Goodbye,
            10 => Self::Refused,
            _ => return None,
        })
    }
}

/// Why what arrived is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {0} bytes")]
    Length(u32),
    #[error("frame schema {0} (this node reads {SCHEMA})")]
    Schema(u16),
    #[error("frame type {0}")]
    Type(u8),
    #[error("reserved byte {0}")]
    Reserved(u8),
    #[error("connection closed inside a frame")]
    Cut,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub frame_type: FrameType,
    pub kind: u16,
    pub call: u64,
    pub body: Bytes,
}

impl Frame {
    /// A frame of the link itself.
    pub fn control(frame_type: FrameType, call: u64, body: impl Into<Bytes>) -> Self {
        Self {
            frame_type,
            kind: 0,
            call,
            body: body.into(),
        }
    }

    /// Bytes on the wire.
    pub fn wire_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Writes all but the body.
    pub fn put_header(&self, buffer: &mut BytesMut) {
        debug_assert!(self.body.len() <= FRAME_MAX_BYTES);
        buffer.put_u32_le((self.wire_bytes() - 4) as u32);
        buffer.put_u16_le(SCHEMA);
        buffer.put_u8(self.frame_type as u8);
        buffer.put_u8(0);
        buffer.put_u16_le(self.kind);
        buffer.put_u64_le(self.call);
    }

    /// The whole frame.
    pub fn to_bytes(&self) -> BytesMut {
        let mut buffer = BytesMut::with_capacity(self.wire_bytes());
        self.put_header(&mut buffer);
        buffer.put_slice(&self.body);
        buffer
    }
}

/// Takes frames out of a stream of bytes. Bodies share the reader's memory: 64 KiB, or their own size when larger.
pub(super) struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    body_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that accepts only bodies as small as a hello's, until [`Self::trust`].
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            body_max: HELLO_MAX_BYTES,
        }
    }

    /// Accepts bodies of full size from now on.
    pub fn trust(&mut self) {
        self.body_max = FRAME_MAX_BYTES;
    }

    /// Reads some bytes; 0 when the peer closed between frames. May be dropped and called again: nothing is lost.
    pub async fn fill(&mut self) -> Result<usize, FrameError> {
        let room = self.buffer.capacity() - self.buffer.len();
        if room < READ_ROOM_LOW {
            let room = if self.body_max == HELLO_MAX_BYTES {
                READ_ROOM_LOW
            } else {
                READ_BYTES
            };
            self.buffer.reserve(room);
        }
        let read = self.reader.read_buf(&mut self.buffer).await?;
        if read == 0 && !self.buffer.is_empty() {
            return Err(FrameError::Cut);
        }
        Ok(read)
    }

    /// The next frame, when it has arrived whole.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*prefix);
        let rest = length as usize;
        if !(HEADER_BYTES - 4..=HEADER_BYTES - 4 + self.body_max).contains(&rest) {
            return Err(FrameError::Length(length));
        }
        if self.buffer.len() < 4 + rest {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + rest);
        frame.advance(4);
        let schema = frame.get_u16_le();
        if schema != SCHEMA {
            return Err(FrameError::Schema(schema));
        }
        let number = frame.get_u8();
        let frame_type = FrameType::from_u8(number).ok_or(FrameError::Type(number))?;
        match frame.get_u8() {
            0 => {}
            reserved => return Err(FrameError::Reserved(reserved)),
        }
        let kind = frame.get_u16_le();
        let call = frame.get_u64_le();
        Ok(Some(Frame {
            frame_type,
            kind,
            call,
            body: frame.freeze(),
        }))
    }

    /// Waits for the next whole frame; `None` when the peer closed.
    pub async fn read_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(Some(frame));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Who speaks, and what for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub cluster: Option<[u8; 16]>,
    pub node: u64,
    pub incarnation: u64,
    pub purpose: u8,
}

/// Why a hello is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloError {
    #[error("no kaiwa node speaks there")]
    Magic,
    #[error("the peer speaks protocols {0} to {1}, this node {PROTOCOL_OLDEST} to {PROTOCOL}")]
    Protocol(u16, u16),
    #[error("unreadable hello: {0}")]
    Body(#[from] codec::CodecError),
}

impl Hello {
    /// Magic and protocol versions stand before the rest in a fixed layout, so that every version can read them.
    pub fn to_frame(&self) -> Frame {
        let mut body = BytesMut::new();
        body.put_slice(&MAGIC);
        body.put_u16_le(PROTOCOL_OLDEST);
        body.put_u16_le(PROTOCOL);
        body.put_slice(&codec::encode(self));
        Frame::control(FrameType::Hello, 0, body.freeze())
    }

    /// Reads what [`Self::to_frame`] wrote.
    pub fn from_body(mut body: Bytes) -> Result<Self, HelloError> {
        if body.len() < MAGIC.len() + 4 || !body.starts_with(&MAGIC) {
            return Err(HelloError::Magic);
        }
        body.advance(MAGIC.len());
        let (oldest, newest) = (body.get_u16_le(), body.get_u16_le());
        if oldest > PROTOCOL || newest < PROTOCOL_OLDEST {
            return Err(HelloError::Protocol(oldest, newest));
        }
        Ok(codec::decode(&body, HELLO_MAX_BYTES)?)
    }
}

/// The purpose with this number.
pub(super) fn purpose_from_u8(number: u8) -> Option<Purpose> {
    Purpose::ALL.into_iter().find(|purpose| *purpose as u8 == number)
}
