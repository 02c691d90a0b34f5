//! The bytes of a snapshot file. All numbers are big-endian.
//!
//! | part | bytes |
//! |---|---|
//! | magic | 8 |
//! | schema, shard | 2, 4 |
//! | term, leader and index of the last entry applied | 8, 8, 8 |
//! | digest, length of the state, length of the membership | 8, 8, 4 |
//! | membership | as said |
//! | checksum of all that | 8 |
//! | state | as said |
//! | checksum of the state | 8 |

use std::io::{self, Read, Write};

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::SnapshotMeta;
use crate::state_machine::ShardId;
use crate::storage::LogPosition;

const MAGIC: [u8; 8] = *b"kaiwa-sn";
const SCHEMA: u16 = 1;
const FIXED_BYTES: usize = 58;
const MEMBERSHIP_MAX_BYTES: u32 = 1 << 20;

pub(super) struct Header {
    pub shard: ShardId,
    pub state_bytes: u64,
    pub meta: SnapshotMeta,
}

impl Header {
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let SnapshotMeta {
            position,
            membership,
            digest,
        } = &self.meta;
        let membership_bytes = u32::try_from(membership.len())
            .ok()
            .filter(|bytes| *bytes <= MEMBERSHIP_MAX_BYTES);
        let membership_bytes =
            membership_bytes.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "membership too large"))?;
        let mut header = Vec::with_capacity(FIXED_BYTES + membership.len() + 8);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&SCHEMA.to_be_bytes());
        header.extend_from_slice(&self.shard.0.to_be_bytes());
        for number in [
            position.term,
            position.leader,
            position.index,
            *digest,
            self.state_bytes,
        ] {
            header.extend_from_slice(&number.to_be_bytes());
        }
        header.extend_from_slice(&membership_bytes.to_be_bytes());
        header.extend_from_slice(membership);
        let checksum = xxh3_64(&header);
        header.extend_from_slice(&checksum.to_be_bytes());
        Ok(header)
    }

    /// Reads and checks a header; that of another shard counts as damaged.
    pub(super) fn read(from: &mut impl Read, shard: ShardId) -> io::Result<Self> {
        let mut header = vec![0; FIXED_BYTES];
        from.read_exact(&mut header)?;
        let membership_bytes = u32::from_be_bytes(array(&header[54..58]));
        if header[..8] != MAGIC || membership_bytes > MEMBERSHIP_MAX_BYTES {
            return Err(damaged("this is no snapshot"));
        }
        header.resize(FIXED_BYTES + membership_bytes as usize, 0);
        from.read_exact(&mut header[FIXED_BYTES..])?;
        if read_checksum(from)? != xxh3_64(&header) {
            return Err(damaged("the header's checksum is wrong"));
        }
        let schema = u16::from_be_bytes(array(&header[8..10]));
        if schema != SCHEMA {
            // Not damage: an older version of the program must not set newer snapshots aside.
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("snapshot of schema {schema}"),
            ));
        }
        if u32::from_be_bytes(array(&header[10..14])) != shard.0 {
            return Err(damaged("it belongs to another shard"));
        }
        let number = |at: usize| u64::from_be_bytes(array(&header[at..at + 8]));
        let position = LogPosition {
            term: number(14),
            leader: number(22),
            index: number(30),
        };
        let membership = Bytes::copy_from_slice(&header[FIXED_BYTES..]);
        Ok(Self {
            shard,
            state_bytes: number(46),
            meta: SnapshotMeta {
                position,
                membership,
                digest: number(38),
            },
        })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

fn read_checksum(from: &mut impl Read) -> io::Result<u64> {
    let mut checksum = [0; 8];
    from.read_exact(&mut checksum)?;
    Ok(u64::from_be_bytes(checksum))
}

pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Damage is told from a disk or system that refuses; a file that ends too early is damaged.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Reads or writes the state, and keeps its checksum and length.
pub(super) struct Hashing<F> {
    file: F,
    hash: Xxh3,
    bytes: u64,
}

impl<F> Hashing<F> {
    pub(super) fn new(file: F) -> Self {
        Self {
            file,
            hash: Xxh3::new(),
            bytes: 0,
        }
    }

    pub(super) fn into_inner(self) -> F {
        self.file
    }

    /// The file, the length and the checksum.
    pub(super) fn finish(self) -> (F, u64, u64) {
        let checksum = self.hash.digest();
        (self.file, self.bytes, checksum)
    }
}

impl<F: Read> Hashing<F> {
    /// Reads the checksum behind the state and compares.
    pub(super) fn check_trailer(&mut self) -> io::Result<()> {
        if read_checksum(&mut self.file)? == self.hash.digest() {
            Ok(())
        } else {
            Err(damaged("the state's checksum is wrong"))
        }
    }
}

impl<F: Read> Read for Hashing<F> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(to)?;
        self.hash.update(&to[..count]);
        Ok(count)
    }
}

impl<F: Write> Write for Hashing<F> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let count = self.file.write(from)?;
        self.hash.update(&from[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
