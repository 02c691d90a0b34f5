//! Keys and values of rows as they are stored, and rows in transfer.
//!
//! | key | value |
//! |---|---|
//! | `"k"` | schema of this store, u16 |
//! | shard (4) | applied index of the shard (8) |
//! | shard (4), table (1), key | index that wrote the row (8), value |
//! | the same, of a table of runs | neighbours from that key on: number (8), length (4), index and value as above; … |
//!
//! All numbers are big-endian. A removed row stays as an index with its highest bit set and no value, so that a replica
//! which has the row learns of the removal.

use std::io;

use xxhash_rust::xxh3::xxh3_64;

use crate::limits;
use crate::state_machine::{RUN_TABLES_FROM, Row, ShardId};

pub(super) const SCHEMA_KEY: &[u8] = b"k";
pub(super) const SCHEMA: u16 = 2;
const EXPORT_SCHEMA: u16 = 1;
const REMOVED: u64 = 1 << 63;

pub(super) fn applied_key(shard: ShardId) -> [u8; 4] {
    shard.0.to_be_bytes()
}

pub(super) fn row_key(shard: ShardId, table: u8, key: &[u8]) -> Vec<u8> {
    let mut row_key = Vec::with_capacity(5 + key.len());
    row_key.extend_from_slice(&applied_key(shard));
    row_key.push(table);
    row_key.extend_from_slice(key);
    row_key
}

/// The first key after those of `shard`; `None` when there is none.
pub(super) fn shard_end(shard: ShardId) -> Option<[u8; 4]> {
    shard.0.checked_add(1).map(u32::to_be_bytes)
}

/// Whether the row with this whole key is kept in a run.
pub(super) fn is_in_run(key: &[u8]) -> bool {
    key.get(4).is_some_and(|table| *table >= RUN_TABLES_FROM)
}

/// What a run's rows share, and the number in which they differ.
pub(super) fn split_run_key(key: &[u8]) -> io::Result<(&[u8], u64)> {
    match key.split_last_chunk::<8>() {
        Some((shared, number)) if shared.len() >= 5 => Ok((shared, u64::from_be_bytes(*number))),
        _ => Err(damaged("a key of a run has no number")),
    }
}

/// Appends a row to a run.
pub(super) fn add_to_run(run: &mut Vec<u8>, number: u64, stored: &[u8]) {
    run.extend_from_slice(&number.to_be_bytes());
    // A stored row is far below 4 GiB.
    run.extend_from_slice(&(stored.len() as u32).to_be_bytes());
    run.extend_from_slice(stored);
}

/// The rows of a run, in order: number, and what is stored.
fn read_run(mut run: &[u8]) -> impl Iterator<Item = io::Result<(u64, &[u8])>> {
    std::iter::from_fn(move || {
        if run.is_empty() {
            return None;
        }
        let mut next = || {
            let (number, rest) = run.split_first_chunk::<8>()?;
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (stored, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            run = rest;
            Some((u64::from_be_bytes(*number), stored))
        };
        let row = next();
        if row.is_none() {
            run = &[];
        }
        Some(row.ok_or_else(|| damaged("a run is cut short")))
    })
}

/// Takes what sled keeps under a key apart into rows with their whole keys; `give` says whether to go on.
pub(super) fn each_row<'a>(
    key: &[u8],
    kept: &'a [u8],
    mut give: impl FnMut(&[u8], &'a [u8]) -> io::Result<bool>,
) -> io::Result<bool> {
    if !is_in_run(key) {
        return give(key, kept);
    }
    let (shared, _) = split_run_key(key)?;
    let mut whole = key.to_vec();
    for row in read_run(kept) {
        let (number, stored) = row?;
        whole[shared.len()..].copy_from_slice(&number.to_be_bytes());
        if !give(&whole, stored)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The row as it is stored.
pub(super) fn stored_row(shard: ShardId, index: u64, row: &Row) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let value_len = row.value.as_ref().map_or(0, |value| value.len());
    if value_len > limits::ROW_VALUE_MAX_BYTES || row.key.len() > limits::ROW_KEY_MAX_BYTES {
        let reason = format!(
            "row of table {}: key of {} or value of {value_len} bytes",
            row.table,
            row.key.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    if row.table >= RUN_TABLES_FROM && (row.key.len() < 8 || row.value.is_none()) {
        let reason = format!("row of table {}, which holds runs: no number, or a removal", row.table);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let mut stored = Vec::with_capacity(8 + value_len);
    match &row.value {
        Some(value) => {
            stored.extend_from_slice(&index.to_be_bytes());
            stored.extend_from_slice(value);
        }
        None => stored.extend_from_slice(&(index | REMOVED).to_be_bytes()),
    }
    Ok((row_key(shard, row.table, &row.key), stored))
}

/// A stored row: the index that wrote it, and its value unless it was removed.
pub(super) fn read_row(stored: &[u8]) -> io::Result<(u64, Option<&[u8]>)> {
    let (head, value) = stored
        .split_first_chunk::<8>()
        .ok_or_else(|| damaged("a row is too short"))?;
    let index = u64::from_be_bytes(*head);
    if index & REMOVED == 0 {
        Ok((index, Some(value)))
    } else {
        Ok((index & !REMOVED, None))
    }
}

pub(super) fn read_number(stored: &[u8]) -> io::Result<u64> {
    Ok(u64::from_be_bytes(
        stored
            .try_into()
            .map_err(|_| damaged("an applied index is not eight bytes"))?,
    ))
}

pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Rows in transfer: schema (2); per row length and bytes of the key (without the shard) and of the stored value, lengths
/// in four bytes; checksum (8).
pub(super) struct ExportPage {
    bytes: Vec<u8>,
    after: u64,
    up_to: u64,
}

impl ExportPage {
    pub(super) fn new(after: u64, up_to: u64) -> Self {
        Self {
            bytes: EXPORT_SCHEMA.to_be_bytes().to_vec(),
            after,
            up_to,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a row with its whole key, if it is one of those wanted.
    pub(super) fn offer(&mut self, key: &[u8], stored: &[u8]) -> io::Result<()> {
        let (index, value) = read_row(stored)?;
        // Who has nothing needs to be told of no removal.
        let is_wanted = index > self.after && index <= self.up_to && (value.is_some() || self.after > 0);
        if is_wanted {
            for part in [&key[4..], stored] {
                let length = u32::try_from(part.len()).map_err(|_| damaged("a row is too long"))?;
                self.bytes.extend_from_slice(&length.to_be_bytes());
                self.bytes.extend_from_slice(part);
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let checksum = xxh3_64(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_be_bytes());
        self.bytes
    }
}

/// The rows of an [`ExportPage`]: whole keys for `shard`, and stored values.
pub(super) fn read_export(shard: ShardId, exported: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (body, checksum) = exported
        .split_last_chunk::<8>()
        .ok_or_else(|| damaged("exported rows are cut short"))?;
    if xxh3_64(body) != u64::from_be_bytes(*checksum) {
        return Err(damaged("exported rows have a wrong checksum"));
    }
    let (schema, mut rest) = body
        .split_first_chunk::<2>()
        .ok_or_else(|| damaged("exported rows are cut short"))?;
    if u16::from_be_bytes(*schema) != EXPORT_SCHEMA {
        return Err(damaged("exported rows are of an unknown schema"));
    }
    let mut part = || -> io::Result<Option<&[u8]>> {
        let Some((length, bytes)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        let (part, after) = bytes
            .split_at_checked(length)
            .ok_or_else(|| damaged("an exported row is cut short"))?;
        rest = after;
        Ok(Some(part))
    };
    let mut rows = Vec::new();
    while let Some(key) = part()? {
        let stored = part()?.ok_or_else(|| damaged("an exported row has no value"))?;
        read_row(stored)?;
        let mut whole_key = applied_key(shard).to_vec();
        whole_key.extend_from_slice(key);
        if whole_key.len() < 5 {
            return Err(damaged("an exported row has no table"));
        }
        rows.push((whole_key, stored.to_vec()));
    }
    Ok(rows)
}
