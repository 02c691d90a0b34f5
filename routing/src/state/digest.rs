//! Digests: equal logs, equal numbers, on every replica.

use std::io::{self, Write};

use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// A hash that is written to.
pub(crate) struct HashWriter(pub Xxh3);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The next link after `before`, over the encoded value. What cannot be encoded (nothing of this crate's) leaves its prefix.
pub(crate) fn chain<T: Serialize>(before: u64, value: &T) -> u64 {
    chain_in(&mut Vec::with_capacity(ENTRY_USUAL_BYTES), before, value)
}

/// [`chain`], encoding in `room`. Hashed in one piece: field by field, the hash costs more than all that is hashed.
pub(crate) fn chain_in<T: Serialize>(room: &mut Vec<u8>, before: u64, value: &T) -> u64 {
    room.clear();
    let _ = bincode::serialize_into(&mut *room, value);
    let link = xxh3_64_with_seed(room, before);
    room.shrink_to(ROOM_KEPT_BYTES);
    link
}

/// An entry is seldom larger.
const ENTRY_USUAL_BYTES: usize = 512;
/// A command that told more, a whole policy or a report, leaves no more room behind.
const ROOM_KEPT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_one_piece_it_is_the_hash_of_the_parts() {
        for length in [0, 1, 16, 17, 128, 240, 241, 1_000, 40_000] {
            let value = (7u64, vec![3u8; length], Some("kaiwa"));
            let mut hash = HashWriter(Xxh3::with_seed(5));
            bincode::serialize_into(&mut hash, &value).unwrap();
            assert_eq!(chain(5, &value), hash.0.digest(), "{length}");
        }
    }
}
