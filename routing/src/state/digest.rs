//! Digests: equal logs, equal numbers, on every replica.

use std::io::{self, Write};

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

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
    let mut hash = HashWriter(Xxh3::with_seed(before));
    let _ = bincode::serialize_into(&mut hash, value);
    hash.0.digest()
}
