//! What one log entry carries: a batch of commands under one stamp.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// Schema of [`CommandBatch`]'s bytes.
const SCHEMA: u16 = 1;
const HEADER_BYTES: usize = 2 + 8 + 4;

/// Commands with their stamp, encoded once by the proposer and kept as bytes through log and links.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandBatch(Bytes);

impl CommandBatch {
    /// Encodes `commands`, stamped with the leader's time.
    pub(crate) fn new<'a>(at_ms: u64, commands: impl ExactSizeIterator<Item = &'a Bytes> + Clone) -> Self {
        let bytes: usize = commands.clone().map(|command| 4 + command.len()).sum();
        let mut out = BytesMut::with_capacity(HEADER_BYTES + bytes);
        out.put_u16_le(SCHEMA);
        out.put_u64_le(at_ms);
        out.put_u32_le(commands.len() as u32);
        for command in commands {
            out.put_u32_le(command.len() as u32);
            out.put_slice(command);
        }
        Self(out.freeze())
    }

    /// The stamp and the commands; the commands share the batch's memory. `None` when the bytes are no batch.
    pub(crate) fn decode(&self) -> Option<(u64, Vec<Bytes>)> {
        let mut rest = self.0.clone();
        if rest.len() < HEADER_BYTES || rest.get_u16_le() != SCHEMA {
            return None;
        }
        let at_ms = rest.get_u64_le();
        let count = rest.get_u32_le() as usize;
        let mut commands = Vec::with_capacity(count.min(rest.len() / 4 + 1));
        for _ in 0..count {
            if rest.len() < 4 {
                return None;
            }
            let length = rest.get_u32_le() as usize;
            if rest.len() < length {
                return None;
            }
            commands.push(rest.split_to(length));
        }
        rest.is_empty().then_some((at_ms, commands))
    }
}

impl std::fmt::Debug for CommandBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CommandBatch({} bytes)", self.0.len())
    }
}

impl std::fmt::Display for CommandBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

/// What applying an entry gave: one reply per command (none for entries of openraft's own).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replies(pub(crate) Vec<Bytes>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_back_and_its_bytes_stay() {
        let commands = [Bytes::from_static(b"a"), Bytes::new(), Bytes::from_static(b"bcd")];
        let batch = CommandBatch::new(0x0102, commands.iter());
        assert_eq!(
            &batch.0[..],
            [
                1, 0, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, b'a', 0, 0, 0, 0, 3, 0, 0, 0, b'b', b'c', b'd'
            ]
        );
        assert_eq!(batch.decode(), Some((0x0102, commands.to_vec())));
    }

    #[test]
    fn every_cut_and_an_extra_byte_are_refused() {
        let commands = [Bytes::from_static(b"abc"), Bytes::from_static(b"d")];
        let bytes = CommandBatch::new(9, commands.iter()).0;
        for cut in 0..bytes.len() {
            assert_eq!(CommandBatch(bytes.slice(..cut)).decode(), None, "cut at {cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(CommandBatch(longer.into()).decode(), None);
    }
}
