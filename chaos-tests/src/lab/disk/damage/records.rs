//! Where the records of a log's chunk begin and end.
//!
//! A record is a type, what belongs to the type, and a checksum of both: four zeros and the CRC-32 of all before. How long it
//! is only its type tells. But the checksum tells too: a record ends where one is right.

use std::ops::Range;

/// Types of records: vote, append, commit, truncate, purge, checkpoint.
const TYPES: u32 = 6;
const TYPE_BYTES: usize = 4;

/// The records of a chunk, up to the first that is damaged or torn.
pub(super) fn find(chunk: &[u8]) -> Vec<Range<u64>> {
    let table = table();
    let mut records = Vec::new();
    let mut start = 0;
    while let Some(end) = find_end(&table, &chunk[start..]) {
        records.push(start as u64..(start + end) as u64);
        start += end;
    }
    records
}

fn find_end(table: &[u32; 256], rest: &[u8]) -> Option<usize> {
    let kind = u32::from_be_bytes(*rest.first_chunk()?);
    if kind >= TYPES {
        return None;
    }
    let mut sum = u32::MAX;
    for (at, byte) in rest.iter().enumerate() {
        if at >= TYPE_BYTES {
            let trailer = rest[at..].first_chunk::<8>()?;
            if u64::from_be_bytes(*trailer) == u64::from(!sum) {
                return Some(at + 8);
            }
        }
        sum = (sum >> 8) ^ table[usize::from(sum as u8 ^ byte)];
    }
    None
}

/// CRC-32 as in zip and Ethernet.
fn table() -> [u32; 256] {
    std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn it_finds_the_records_of_raft_log() {
        // Out of raft-log's own tests: a vote, an append, a commit.
        let vote = b"\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\xf6\xa0\xee\xe2";
        let append = b"\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\x05hello\0\0\0\0\xa7\x11\xc5\x45";
        let commit = b"\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\x22\x9c\x7e\x25";
        let chunk = [&vote[..], append, commit].concat();
        let ends = [28, 28 + 37, 28 + 37 + 28];
        assert_eq!(find(&chunk), [0..ends[0], ends[0]..ends[1], ends[1]..ends[2]]);
        assert_eq!(find(&chunk[..chunk.len() - 1]).len(), 2);
        let mut damaged = chunk;
        damaged[40] ^= 1;
        assert_eq!(find(&damaged).len(), 1);
    }
}
