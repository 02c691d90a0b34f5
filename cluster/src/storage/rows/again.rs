//! Rows that are opened again after the disk was full, behind the same handle.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::super::RowStore;
use super::{RowsOpened, SledRows};
use crate::state_machine::{Row, ShardId};

/// How long calls that are under way may hold a store that failed.
const LET_GO: Duration = Duration::from_secs(10);

/// The node's rows; what is behind it changes when they are opened again.
pub(crate) struct ReopenedRows {
    folder: PathBuf,
    /// `None` while there is none: the old one was closed, and a new one could not be opened.
    open: RwLock<Option<Arc<SledRows>>>,
    /// One opens at a time.
    opening: Mutex<()>,
}

impl ReopenedRows {
    /// Over `rows`, which live in `folder`.
    pub(crate) fn new(folder: PathBuf, rows: SledRows) -> Self {
        Self {
            folder,
            open: RwLock::new(Some(Arc::new(rows))),
            opening: Mutex::default(),
        }
    }

    fn rows(&self) -> io::Result<Arc<SledRows>> {
        self.open.read().clone().ok_or_else(closed)
    }

    /// Waits for those who are still in it; its failure has woken all who waited inside.
    fn close(&self) -> io::Result<()> {
        let Some(rows) = self.open.write().take() else {
            return Ok(());
        };
        let until = Instant::now() + LET_GO;
        let mut rows = Some(rows);
        while let Some(held) = rows.take() {
            match Arc::try_unwrap(held) {
                Ok(last) => drop(last),
                Err(held) if Instant::now() < until => {
                    rows = Some(held);
                    thread::sleep(Duration::from_millis(10));
                }
                Err(held) => {
                    *self.open.write() = Some(held);
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the rows are still in use"));
                }
            }
        }
        Ok(())
    }
}

/// The kind of what closed them, so that who meets it waits for room as well.
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the rows are closed until there is room")
}

impl RowStore for ReopenedRows {
    fn write(&self, shard: ShardId, index: u64, rows: Vec<Row>) -> io::Result<()> {
        self.rows()?.write(shard, index, rows)
    }

    fn get(&self, shard: ShardId, table: u8, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.rows()?.get(shard, table, key)
    }

    fn scan(
        &self,
        shard: ShardId,
        table: u8,
        from: &[u8],
        until: &[u8],
        limit: usize,
    ) -> io::Result<Vec<(Vec<u8>, Bytes)>> {
        self.rows()?.scan(shard, table, from, until, limit)
    }

    fn barrier(&self, shard: ShardId, index: u64) -> io::Result<()> {
        self.rows()?.barrier(shard, index)
    }

    fn durable_index(&self, shard: ShardId) -> io::Result<u64> {
        self.rows()?.durable_index(shard)
    }

    fn export(
        &self,
        shard: ShardId,
        after: u64,
        up_to: u64,
        cursor: Option<Vec<u8>>,
        max_bytes: usize,
    ) -> io::Result<(Vec<u8>, Option<Vec<u8>>)> {
        self.rows()?.export(shard, after, up_to, cursor, max_bytes)
    }

    fn import(&self, shard: ShardId, exported: &[u8]) -> io::Result<()> {
        self.rows()?.import(shard, exported)
    }

    fn clear(&self, shard: ShardId) -> io::Result<()> {
        self.rows()?.clear(shard)
    }

    fn bytes(&self) -> u64 {
        self.rows().map_or(0, |rows| rows.bytes())
    }

    fn check(&self) -> io::Result<()> {
        self.rows()?.check()
    }

    fn reopen(&self) -> io::Result<()> {
        let _one_at_a_time = self.opening.lock();
        if self.check().is_ok() {
            return Ok(());
        }
        self.close()?;
        match SledRows::open(&self.folder)? {
            RowsOpened::Ready(rows) => *self.open.write() = Some(Arc::new(rows)),
            // With them go snapshots, and perhaps the whole node: that is for the start of a node to say.
            RowsOpened::Refill { reason, .. } => return Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(1);

    fn row(number: u64) -> Vec<Row> {
        let key = number.to_be_bytes().to_vec();
        let value = Some(Bytes::from_static(b"value"));
        vec![Row { table: 1, key, value }]
    }

    fn held(rows: &ReopenedRows) -> Vec<u64> {
        let found = rows.scan(SHARD, 1, &[], &[0xff; 9], 100).unwrap();
        let number = |(key, _): (Vec<u8>, Bytes)| u64::from_be_bytes(key.try_into().unwrap());
        found.into_iter().map(number).collect()
    }

    #[test]
    fn rows_that_found_no_room_are_opened_again_with_what_was_durable() {
        let folder = tempfile::tempdir().unwrap();
        let RowsOpened::Ready(store) = SledRows::open(folder.path()).unwrap() else {
            panic!("a new store is whole");
        };
        let rows = ReopenedRows::new(folder.path().to_owned(), store);
        rows.write(SHARD, 1, row(1)).unwrap();
        rows.barrier(SHARD, 1).unwrap();
        rows.reopen().unwrap();
        assert_eq!(held(&rows), [1], "what is well is left alone");

        let full = io::Error::from(io::ErrorKind::StorageFull);
        rows.rows().unwrap().shared.fail("test", &full);
        assert_eq!(rows.check().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(rows.write(SHARD, 2, row(2)).is_err());
        assert!(rows.durable_index(SHARD).is_err());

        // Somebody who is still in it is waited for.
        let held_by_a_reader = rows.rows().unwrap();
        let reader = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(held_by_a_reader);
        });
        rows.reopen().unwrap();
        reader.join().unwrap();
        assert_eq!(rows.durable_index(SHARD).unwrap(), 1);
        rows.write(SHARD, 2, row(2)).unwrap();
        rows.barrier(SHARD, 2).unwrap();
        assert_eq!(held(&rows), [1, 2]);
    }
}
