//! A simulated disk's rows: they become durable with a barrier, at once and all together.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::RowStore;
use super::super::rows_codec::{self, ExportPage};
use super::Disk;
use crate::state_machine::{Row, ShardId};

#[derive(Clone, Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Bytes>,
    applied: BTreeMap<ShardId, u64>,
}

struct Change {
    shard: ShardId,
    index: Option<u64>,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Content {
    fn apply(&mut self, change: &Change) {
        for (key, stored) in &change.rows {
            self.rows.insert(key.clone(), Bytes::from(stored.clone()));
        }
        if let Some(index) = change.index {
            self.applied.insert(change.shard, index);
        }
    }

    fn clear(&mut self, shard: ShardId) {
        self.rows
            .retain(|key, _| !key.starts_with(&rows_codec::applied_key(shard)));
        self.applied.remove(&shard);
    }

    fn applied(&self, shard: ShardId) -> u64 {
        self.applied.get(&shard).copied().unwrap_or(0)
    }
}

/// The node's rows: what is on the disk, what its process sees, and the changes between the two.
#[derive(Default)]
pub(super) struct RowFile {
    durable: Content,
    current: Content,
    waiting: VecDeque<Change>,
    damaged: bool,
}

impl RowFile {
    pub(super) fn crash(&mut self, kept: impl FnOnce(usize) -> usize) {
        let kept = kept(self.waiting.len());
        self.make_durable(kept);
        self.waiting.clear();
        self.current = self.durable.clone();
    }

    pub(super) fn damage(&mut self) {
        self.damaged = true;
    }

    pub(super) fn set_aside_if_damaged(&mut self) -> bool {
        let was_damaged = self.damaged;
        if was_damaged {
            *self = Self::default();
        }
        was_damaged
    }

    fn make_durable(&mut self, count: usize) {
        for change in self.waiting.drain(..count) {
            self.durable.apply(&change);
        }
    }

    fn take(&mut self, change: Change) {
        self.current.apply(&change);
        self.waiting.push_back(change);
    }
}

/// Rows on a simulated disk.
pub struct SimulatedRows {
    disk: Arc<Mutex<Disk>>,
    life: u64,
}

impl SimulatedRows {
    pub(super) fn open(disk: Arc<Mutex<Disk>>) -> Self {
        let life = disk.lock().lives;
        Self { disk, life }
    }

    fn with_file<T>(&self, act: impl FnOnce(&mut RowFile) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock();
        if disk.lives != self.life {
            return Err(io::Error::other("the node of these rows has crashed"));
        }
        act(&mut disk.rows)
    }
}

impl RowStore for SimulatedRows {
    fn write(&self, shard: ShardId, index: u64, rows: Vec<Row>) -> io::Result<()> {
        self.with_file(|file| {
            if index <= file.current.applied(shard) {
                return Ok(());
            }
            let rows: io::Result<_> = rows
                .iter()
                .map(|row| rows_codec::stored_row(shard, index, row))
                .collect();
            file.take(Change {
                shard,
                index: Some(index),
                rows: rows?,
            });
            Ok(())
        })
    }

    fn get(&self, shard: ShardId, table: u8, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.with_file(
            |file| match file.current.rows.get(&rows_codec::row_key(shard, table, key)) {
                Some(stored) => Ok(rows_codec::read_row(stored)?.1.map(|value| stored.slice_ref(value))),
                None => Ok(None),
            },
        )
    }

    fn scan(
        &self,
        shard: ShardId,
        table: u8,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> io::Result<Vec<(Vec<u8>, Bytes)>> {
        self.with_file(|file| {
            let mut found = Vec::new();
            if from >= until {
                return Ok(found);
            }
            let range = rows_codec::row_key(shard, table, from)..rows_codec::row_key(shard, table, until);
            for (key, stored) in file.current.rows.range(range) {
                if found.len() == limit {
                    break;
                }
                if let (_, Some(value)) = rows_codec::read_row(stored)? {
                    found.push((key[5..].to_vec(), stored.slice_ref(value)));
                }
            }
            Ok(found)
        })
    }

    fn barrier(&self, shard: ShardId, index: u64) -> io::Result<()> {
        let fails = {
            let disk = self.disk.lock();
            match disk.full {
                true => Some(io::ErrorKind::StorageFull),
                false => disk.fail_flushes.then_some(io::ErrorKind::Other),
            }
        };
        self.with_file(|file| {
            if let Some(kind) = fails {
                return Err(io::Error::new(kind, "simulated failure of a disk"));
            }
            if file.current.applied(shard) < index {
                file.take(Change {
                    shard,
                    index: Some(index),
                    rows: Vec::new(),
                });
            }
            file.make_durable(file.waiting.len());
            Ok(())
        })
    }

    fn durable_index(&self, shard: ShardId) -> io::Result<u64> {
        self.with_file(|file| Ok(file.durable.applied(shard)))
    }

    fn export(
        &self,
        shard: ShardId,
        after: u64,
        up_to: u64,
        cursor: Option<Vec<u8>>,
        max_bytes: usize,
    ) -> io::Result<(Vec<u8>, Option<Vec<u8>>)> {
        self.with_file(|file| {
            let start = cursor.unwrap_or_else(|| rows_codec::row_key(shard, 0, &[]));
            let end = rows_codec::shard_end(shard).map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec()));
            let mut page = ExportPage::new(after, up_to);
            for (key, stored) in file.durable.rows.range((Bound::Included(start), end)) {
                if page.len() >= max_bytes {
                    return Ok((page.finish(), Some(key.clone())));
                }
                page.offer(key, stored)?;
            }
            Ok((page.finish(), None))
        })
    }

    fn import(&self, shard: ShardId, exported: &[u8]) -> io::Result<()> {
        let mut rows = rows_codec::read_export(shard, exported)?;
        self.with_file(|file| {
            let mut newer = Vec::new();
            for (key, stored) in rows.drain(..) {
                let present = file
                    .current
                    .rows
                    .get(&key)
                    .map(|present| rows_codec::read_row(present))
                    .transpose()?;
                if present.is_none_or(|(index, _)| rows_codec::read_row(&stored).is_ok_and(|(new, _)| new > index)) {
                    newer.push((key, stored));
                }
            }
            file.take(Change {
                shard,
                index: None,
                rows: newer,
            });
            Ok(())
        })
    }

    fn clear(&self, shard: ShardId) -> io::Result<()> {
        self.with_file(|file| {
            file.make_durable(file.waiting.len());
            file.current.clear(shard);
            file.durable.clear(shard);
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        self.with_file(|file| {
            Ok(file
                .current
                .rows
                .iter()
                .map(|(key, row)| (key.len() + row.len()) as u64)
                .sum())
        })
        .unwrap_or(0)
    }
}
