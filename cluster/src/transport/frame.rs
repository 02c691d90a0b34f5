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
/// Bodies up to this size are copied out of the read buffer; larger ones take their part of it along.
const COPY_MAX_BYTES: usize = 16 << 10;

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

/// Takes frames out of a stream of bytes. A body holds on to memory in proportion to its size.
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

    #[cfg(test)]
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
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
        let mut frame = &self.buffer[4..4 + rest];
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
        // A small body that somebody keeps must not keep the whole buffer with it.
        let body = if frame.len() <= COPY_MAX_BYTES {
            let body = Bytes::copy_from_slice(frame);
            self.buffer.advance(4 + rest);
            body
        } else {
            self.buffer.advance(HEADER_BYTES);
            self.buffer.split_to(rest + 4 - HEADER_BYTES).freeze()
        };
        Ok(Some(Frame {
            frame_type,
            kind,
            call,
            body,
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

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;

    const LARGEST: usize = HEADER_BYTES - 4 + HELLO_MAX_BYTES;

    fn hello() -> Hello {
        Hello {
            cluster: Some([9; 16]),
            node: 7,
            incarnation: 0x0102_0304_0506_0708,
            purpose: Purpose::Commands as u8,
        }
    }

    #[test]
    fn the_header_never_changes() {
        let frame = Frame {
            frame_type: FrameType::Call,
            kind: 0x1234,
            call: 0x0a0b_0c0d,
            body: Bytes::from("hi"),
        };
        let bytes = [
            16, 0, 0, 0, 1, 0, 2, 0, 0x34, 0x12, 0x0d, 0x0c, 0x0b, 0x0a, 0, 0, 0, 0, b'h', b'i',
        ];
        assert_eq!(frame.to_bytes()[..], bytes);
        let mut numbers = [0; 10];
        for (at, number) in numbers.iter_mut().enumerate() {
            *number = FrameType::from_u8(at as u8 + 1).unwrap() as u8;
        }
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!((FrameType::from_u8(0), FrameType::from_u8(11)), (None, None));
        assert_eq!(Purpose::ALL.map(|purpose| purpose as u8), [0, 1, 2, 3]);
    }

    #[test]
    fn the_hello_never_changes() {
        let mut bytes = vec![54, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(b"kaiwalnk\x01\x00\x01\x00");
        bytes.push(1);
        bytes.extend_from_slice(&[9; 16]);
        bytes.extend_from_slice(&[7, 253, 8, 7, 6, 5, 4, 3, 2, 1, 1]);
        assert_eq!(hello().to_frame().to_bytes()[..], bytes);
        assert_eq!(
            Hello::from_body(Bytes::copy_from_slice(&bytes[HEADER_BYTES..])).unwrap(),
            hello()
        );
    }

    #[test]
    fn other_versions_and_strangers_are_told_apart() {
        let body = hello().to_frame().body;
        let changed = |at: usize, byte: u8| {
            let mut body = body.to_vec();
            body[at] = byte;
            Hello::from_body(body.into())
        };
        assert_eq!(changed(0, b'K'), Err(HelloError::Magic));
        // A newer peer that still speaks version 1 is understood, one that does not is not.
        assert_eq!(changed(10, 9), Ok(hello()));
        assert_eq!(changed(8, 2), Err(HelloError::Protocol(2, 1)));
        assert!(matches!(changed(12, 7), Err(HelloError::Body(_))));
        for cut in 0..body.len() {
            assert!(Hello::from_body(body.slice(..cut)).is_err());
        }
    }

    #[tokio::test]
    async fn frames_come_out_however_the_bytes_are_cut() {
        let frames: Vec<_> = (0..40)
            .map(|n| Frame {
                frame_type: FrameType::Send,
                kind: n,
                call: 1 << n,
                body: vec![7; 25 * n as usize].into(),
            })
            .collect();
        let wire: Vec<u8> = frames.iter().flat_map(|frame| frame.to_bytes()).collect();
        for piece in [1, 3, 17, 4096, wire.len()] {
            let (mut writer, reader) = tokio::io::duplex(piece);
            let bytes = wire.clone();
            tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await });
            let mut reader = FrameReader::new(reader);
            for frame in &frames {
                assert_eq!(reader.read_frame().await.unwrap().unwrap(), *frame);
            }
            assert!(reader.read_frame().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_cut_or_wrong_frame_is_an_error() {
        let wire = Frame::control(FrameType::Ping, 5, "body").to_bytes();
        for cut in 1..wire.len() {
            let read = FrameReader::new(&wire[..cut]).read_frame().await;
            assert!(matches!(read, Err(FrameError::Cut)), "cut at {cut}");
        }
        let wrong = async |at: usize, byte: u8| {
            let mut wire = wire.clone();
            wire[at] = byte;
            FrameReader::new(&wire[..]).read_frame().await.unwrap_err().to_string()
        };
        assert_eq!(wrong(0, 13).await, "a frame of 13 bytes");
        assert_eq!(wrong(3, 255).await, "a frame of 4278190098 bytes");
        assert_eq!(wrong(4, 2).await, "frame schema 2 (this node reads 1)");
        assert_eq!(wrong(6, 77).await, "frame type 77");
        assert_eq!(wrong(7, 1).await, "reserved byte 1");
    }

    #[tokio::test]
    async fn garbage_neither_panics_nor_takes_memory() {
        let mut random = SmallRng::seed_from_u64(7);
        for round in 0..2_000 {
            let mut garbage = vec![0; random.random_range(1..3 * LARGEST)];
            random.fill_bytes(&mut garbage);
            if round % 2 == 0 {
                // A length that is believed.
                let length = random.random_range(0..LARGEST as u32 + 3);
                garbage.splice(..0, length.to_le_bytes());
            }
            let mut reader = FrameReader::new(&garbage[..]);
            while let Ok(Some(_)) = reader.read_frame().await {}
            assert!(
                reader.buffer.capacity() <= 4 * READ_ROOM_LOW,
                "{}",
                reader.buffer.capacity()
            );
        }
    }

    #[tokio::test]
    async fn a_claimed_length_reserves_nothing_before_its_bytes_come() {
        let claim = (FRAME_MAX_BYTES as u32).to_le_bytes();
        let mut reader = FrameReader::new(&claim[..]);
        reader.trust();
        assert!(matches!(reader.read_frame().await, Err(FrameError::Cut)));
        assert!(reader.buffer.capacity() <= 2 * READ_BYTES);
    }
}
