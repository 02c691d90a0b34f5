//! How positions, entries and votes lie in the records of `raft-log`.
//!
//! That crate checksums whole records and takes "the file ends within a record" for a torn tail, which it cuts off. A
//! flipped bit in a length or in a record's type must not look like that, or it would silently cost the acknowledged
//! records behind it. So every part begins with a mark and a header with a checksum of its own: damage is found there,
//! as damage, before any length is believed.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use bytes::Bytes;
use raft_log::codeq::{Decode, Encode};

use super::LogPosition;
use super::log::FlushDone;

const POSITION_MARK: u8 = b'P';
const ENTRY_MARK: u8 = b'E';
/// Long, so that the shortest vote is no shorter than a position: see [`read_header`].
const VOTE_MARK: [u8; 8] = *b"kaiwa-vo";

/// Reads a part's fixed header, the last four bytes of which are the checksum of the rest.
///
/// A header is never longer than the shortest record of another type, so a flipped type ends in a wrong checksum here
/// and not in the end of the file.
fn read_header<const N: usize>(mut from: impl Read, mark: &[u8], what: &str) -> io::Result<[u8; N]> {
    let mut header = [0; N];
    from.read_exact(&mut header)?;
    let stored = u32::from_be_bytes(array(&header[N - 4..]));
    if !header.starts_with(mark) || stored != crc32fast::hash(&header[..N - 4]) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("damaged {what}")));
    }
    Ok(header)
}

fn write_header<const N: usize>(mut to: impl Write, parts: &[&[u8]]) -> io::Result<usize> {
    let mut header = [0; N];
    let mut at = 0;
    for part in parts {
        header[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    debug_assert_eq!(at, N - 4);
    let checksum = crc32fast::hash(&header[..at]);
    header[at..].copy_from_slice(&checksum.to_be_bytes());
    to.write_all(&header)?;
    Ok(N)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

fn read_bytes(mut from: impl Read, length: u32) -> io::Result<Bytes> {
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes.into())
}

fn length_u32(bytes: &Bytes) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "more than 4 GiB in one record"))
}

/// A position in the log, on disk 29 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WalPosition(pub LogPosition);

impl Encode for WalPosition {
    fn encode<W: Write>(&self, to: W) -> io::Result<usize> {
        let LogPosition { term, leader, index } = self.0;
        let parts: [&[u8]; 4] = [
            &[POSITION_MARK],
            &term.to_be_bytes(),
            &leader.to_be_bytes(),
            &index.to_be_bytes(),
        ];
        write_header::<29>(to, &parts)
    }
}

impl Decode for WalPosition {
    fn decode<R: Read>(from: R) -> io::Result<Self> {
        let header = read_header::<29>(from, &[POSITION_MARK], "position")?;
        let number = |at: usize| u64::from_be_bytes(array(&header[at..at + 8]));
        Ok(Self(LogPosition {
            term: number(1),
            leader: number(9),
            index: number(17),
        }))
    }
}

/// The bytes of an entry.
#[derive(Clone, Debug)]
pub(super) struct WalEntry(pub Bytes);

impl Encode for WalEntry {
    fn encode<W: Write>(&self, mut to: W) -> io::Result<usize> {
        let written = write_header::<9>(&mut to, &[&[ENTRY_MARK], &length_u32(&self.0)?.to_be_bytes()])?;
        to.write_all(&self.0)?;
        Ok(written + self.0.len())
    }
}

impl Decode for WalEntry {
    fn decode<R: Read>(mut from: R) -> io::Result<Self> {
        let header = read_header::<9>(&mut from, &[ENTRY_MARK], "length of an entry")?;
        Ok(Self(read_bytes(from, u32::from_be_bytes(array(&header[1..5])))?))
    }
}

/// A vote. The user's bytes have no order, which `raft-log` asks for, so it gets a number: later is greater.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WalVote {
    pub number: u64,
    pub bytes: Bytes,
}

impl PartialOrd for WalVote {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(
            self.number
                .cmp(&other.number)
                .then_with(|| self.bytes.cmp(&other.bytes)),
        )
    }
}

impl Encode for WalVote {
    fn encode<W: Write>(&self, mut to: W) -> io::Result<usize> {
        let parts: [&[u8]; 3] = [
            &VOTE_MARK,
            &self.number.to_be_bytes(),
            &length_u32(&self.bytes)?.to_be_bytes(),
        ];
        let written = write_header::<24>(&mut to, &parts)?;
        to.write_all(&self.bytes)?;
        Ok(written + self.bytes.len())
    }
}

impl Decode for WalVote {
    fn decode<R: Read>(mut from: R) -> io::Result<Self> {
        let header = read_header::<24>(&mut from, &VOTE_MARK, "vote")?;
        let number = u64::from_be_bytes(array(&header[8..16]));
        Ok(Self {
            number,
            bytes: read_bytes(from, u32::from_be_bytes(array(&header[16..20])))?,
        })
    }
}

/// The types of the log of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WalTypes;

impl raft_log::Types for WalTypes {
    type LogId = WalPosition;
    type LogPayload = WalEntry;
    type Vote = WalVote;
    type Callback = FlushDone;
    type UserData = ();

    fn log_index(position: &WalPosition) -> u64 {
        position.0.index
    }

    fn payload_size(entry: &WalEntry) -> u64 {
        entry.0.len() as u64
    }
}
