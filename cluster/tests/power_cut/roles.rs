//! What the child processes do: write and say what was acknowledged, or read and say what is there.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use cluster::state_machine::{Row, ShardId};
use cluster::storage::log::WalLog;
use cluster::storage::rows::{RowsOpened, SledRows};
use cluster::storage::snapshot::{SnapshotMeta, SnapshotStore};
use cluster::storage::{LogEngine, LogPosition, OnFlushed, RowStore};

/// Environment: the role, the folder to work in, and `small` or `large` things to write.
pub const ROLE: &str = "KAIWA_POWER_CUT_ROLE";
pub const FOLDER: &str = "KAIWA_POWER_CUT_FOLDER";
pub const SIZES: &str = "KAIWA_POWER_CUT_SIZES";

const MARK: &str = "power-cut:";
const SHARD: ShardId = ShardId(7);

pub fn play(role: &str, folder: &Path) {
    match role {
        "write-log" => write_log(folder),
        "read-log" => read_log(folder),
        "write-rows" => write_rows(folder),
        "read-rows" => read_rows(folder),
        _ => panic!("unknown role {role}"),
    }
}

/// Prints a promise, or what was found. Fails when nobody listens any more.
fn say(kind: &str, number: u64) {
    let mut output = io::stdout().lock();
    writeln!(output, "{MARK} {kind} {number}")
        .and_then(|()| output.flush())
        .unwrap();
}

pub fn parse(line: &str) -> Option<(String, u64)> {
    // The test harness may have begun the line.
    let (_, said) = line.split_once(MARK)?;
    let (kind, number) = said.trim().split_once(' ')?;
    Some((kind.to_owned(), number.parse().ok()?))
}

fn is_large() -> bool {
    std::env::var(SIZES).is_ok_and(|sizes| sizes == "large")
}

fn position(index: u64) -> LogPosition {
    LogPosition {
        term: 1 + index / 1_000,
        leader: 1,
        index,
    }
}

fn content(index: u64, bytes: usize) -> Bytes {
    (0..bytes as u64)
        .map(|n| (index.wrapping_mul(31) ^ n.wrapping_mul(7)) as u8)
        .collect()
}

fn entry_bytes(index: u64) -> usize {
    if is_large() {
        300_000
    } else {
        100 + (index * 37 % 2_000) as usize
    }
}

fn flushed(call: impl FnOnce(OnFlushed) -> io::Result<()>) {
    let (sender, receiver) = mpsc::sync_channel(1);
    call(Box::new(move |result| sender.send(result).unwrap())).unwrap();
    receiver.recv().unwrap().unwrap();
}

fn write_log(folder: &Path) {
    let log = WalLog::open(folder).unwrap();
    let mut next = 0;
    for round in 0_u64.. {
        if round % 3 == 0 {
            flushed(|done| log.save_vote(round.to_be_bytes().to_vec().into(), done));
            say("vote", round);
        }
        let count = if is_large() { 1 } else { 1 + round % 16 };
        let entries = (next..next + count).map(|index| (position(index), content(index, entry_bytes(index))));
        flushed(|done| log.append(entries.collect(), done));
        next += count;
        say("entries", next);
        log.save_committed(Some(position(next - 1))).unwrap();
        if round % 40 == 39 {
            flushed(|done| log.purge(position(next - 10), done));
            say("purged", next - 10);
        }
    }
}

fn read_log(folder: &Path) {
    let log = WalLog::open(folder).unwrap();
    let state = log.state().unwrap();
    if let Some(vote) = state.vote {
        say("vote", u64::from_be_bytes(vote[..].try_into().unwrap()));
    }
    let first = state.purged.map_or(0, |purged| purged.index + 1);
    let entries = log.read(0, u64::MAX).unwrap();
    for (expected, (found, bytes)) in (first..).zip(&entries) {
        assert_eq!(*found, position(expected));
        assert_eq!(*bytes, content(expected, entry_bytes(expected)), "entry {expected}");
    }
    assert!(state.committed <= state.last);
    say("entries", first + entries.len() as u64);
    say("purged", first.saturating_sub(1));
    // It must also be usable.
    let next = first + entries.len() as u64;
    flushed(|done| log.append(vec![(position(next), content(next, 10))], done));
}

/// The rows that an index writes: some new ones, and one of an earlier index removed.
fn rows_of(index: u64) -> Vec<Row> {
    let row = |n: u64| {
        let bytes = if is_large() && n < 2 { 50_000 } else { 1_000 };
        let key = [index.to_be_bytes(), n.to_be_bytes()].concat();
        Row {
            table: 1,
            key,
            value: Some(content(index + n, bytes)),
        }
    };
    let mut rows: Vec<Row> = (0..8).map(row).collect();
    if index > 5 {
        rows.push(Row {
            table: 1,
            key: [(index - 5).to_be_bytes(), 3_u64.to_be_bytes()].concat(),
            value: None,
        });
    }
    rows
}

fn write_rows(folder: &Path) {
    let RowsOpened::Ready(rows) = SledRows::open(&folder.join("rows")).unwrap() else {
        panic!("not new")
    };
    let snapshots = SnapshotStore::open(&folder.join("snapshots"), SHARD).unwrap();
    for index in 1_u64.. {
        rows.write(SHARD, index, rows_of(index)).unwrap();
        if index % 4 == 0 {
            rows.barrier(SHARD, index).unwrap();
            say("rows", index);
        }
        if index % 12 == 0 {
            let meta = SnapshotMeta {
                position: position(index),
                membership: Bytes::new(),
                digest: index,
            };
            snapshots
                .publish(meta, Box::new(move |to| to.write_all(&content(index, 50_000))))
                .unwrap();
            say("snapshot", index);
            snapshots.prune(2).unwrap();
        }
    }
}

fn read_rows(folder: &Path) {
    let rows = match SledRows::open(&folder.join("rows")).unwrap() {
        RowsOpened::Ready(rows) => rows,
        RowsOpened::Refill { reason, .. } => panic!("the rows are damaged: {reason}"),
    };
    let durable = rows.durable_index(SHARD).unwrap();
    let mut expected = std::collections::BTreeMap::new();
    for row in (1..=durable).flat_map(rows_of) {
        match row.value {
            Some(value) => drop(expected.insert(row.key, value)),
            None => drop(expected.remove(&row.key)),
        }
    }
    let found = rows.scan(SHARD, 1, &[], &[255; 17], usize::MAX).unwrap();
    assert_eq!(found.len(), expected.len(), "rows at {durable}");
    for ((found_key, found), (key, value)) in found.into_iter().zip(expected) {
        assert_eq!(found_key, key);
        assert!(found == value, "row {key:?} at {durable}");
    }
    say("rows", durable);
    let snapshots = SnapshotStore::open(&folder.join("snapshots"), SHARD).unwrap();
    if let Some(latest) = snapshots.latest() {
        let index = latest.meta.position.index;
        assert!(index <= durable, "a snapshot at {index} without its rows");
        let mut state = Vec::new();
        snapshots
            .open_reader(latest.meta.position)
            .unwrap()
            .read_to_end(&mut state)
            .unwrap();
        assert!(state == content(index, 50_000));
        say("snapshot", index);
    }
    // It must also be usable.
    rows.write(SHARD, durable + 1, rows_of(durable + 1)).unwrap();
    rows.barrier(SHARD, durable + 1).unwrap();
}
