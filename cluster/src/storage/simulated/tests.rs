use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use super::super::{LogEngine, LogPosition, OnFlushed, RowStore};
use super::*;
use crate::state_machine::Row;

const SHARD: ShardId = ShardId(1);

fn position(index: u64) -> LogPosition {
    LogPosition {
        term: 1,
        leader: 1,
        index,
    }
}

fn entry(index: u64) -> (LogPosition, Bytes) {
    (position(index), Bytes::from(index.to_string()))
}

fn counting(counter: &Arc<AtomicU64>) -> OnFlushed {
    let counter = counter.clone();
    Box::new(move |result| {
        if result.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    })
}

fn row(key: &str) -> Row {
    Row {
        table: 0,
        key: key.into(),
        value: Some(Bytes::from_static(b"v")),
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_acknowledged_and_nothing_else() {
    let disk = SimulatedDisk::new(1, DiskBehaviour::default());
    let flushed = Arc::new(AtomicU64::new(0));
    let log = disk.open_log(SHARD).unwrap();
    log.save_vote(Bytes::from_static(b"vote"), counting(&flushed)).unwrap();
    log.append(vec![entry(0), entry(1)], counting(&flushed)).unwrap();
    assert_eq!(flushed.load(Ordering::Relaxed), 0);
    let started = Instant::now();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(flushed.load(Ordering::Relaxed), 2);
    assert!(started.elapsed() < Duration::from_millis(11), "time is virtual");

    log.append(vec![entry(2)], counting(&flushed)).unwrap();
    assert_eq!(log.read(0, 9).unwrap().len(), 3);
    disk.crash();
    assert!(log.state().is_err());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(flushed.load(Ordering::Relaxed), 2, "the dead call nobody back");

    let log = disk.open_log(SHARD).unwrap();
    assert_eq!(log.read(0, 9).unwrap(), [entry(0), entry(1)]);
    assert_eq!(log.state().unwrap().vote.as_deref(), Some(&b"vote"[..]));
    log.append(vec![entry(2)], counting(&flushed)).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(flushed.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_lies_loses_what_it_acknowledged() {
    let behaviour = DiskBehaviour {
        acknowledge_before_flush: true,
        ..DiskBehaviour::default()
    };
    let disk = SimulatedDisk::new(1, behaviour);
    let flushed = Arc::new(AtomicU64::new(0));
    disk.open_log(SHARD)
        .unwrap()
        .append(vec![entry(0)], counting(&flushed))
        .unwrap();
    assert_eq!(flushed.load(Ordering::Relaxed), 1);
    disk.crash();
    assert_eq!(disk.open_log(SHARD).unwrap().read(0, 9).unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_failed_flush_stops_the_log_until_it_is_opened_after_a_crash() {
    let disk = SimulatedDisk::new(1, DiskBehaviour::default());
    let flushed = Arc::new(AtomicU64::new(0));
    let log = disk.open_log(SHARD).unwrap();
    disk.fail_flushes(true);
    log.append(vec![entry(0)], counting(&flushed)).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    disk.fail_flushes(false);
    assert_eq!(flushed.load(Ordering::Relaxed), 0);
    assert!(log.append(vec![entry(0)], counting(&flushed)).is_err());
    disk.crash();
    assert_eq!(disk.open_log(SHARD).unwrap().read(0, 9).unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_torn_crash_keeps_a_beginning() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let disk = SimulatedDisk::new(seed, DiskBehaviour::default());
        let log = disk.open_log(SHARD).unwrap();
        for index in 0..4 {
            log.append(vec![entry(index)], Box::new(|_| {})).unwrap();
        }
        disk.crash_torn();
        let entries = disk.open_log(SHARD).unwrap().read(0, 9).unwrap();
        assert_eq!(entries, (0..entries.len() as u64).map(entry).collect::<Vec<_>>());
        kept.insert(entries.len());
    }
    assert_eq!(kept, (0..=4).collect());
}

#[tokio::test(start_paused = true)]
async fn rows_are_durable_from_their_barrier_on() {
    let disk = SimulatedDisk::new(1, DiskBehaviour::default());
    let rows = disk.open_rows();
    rows.write(SHARD, 1, vec![row("a")]).unwrap();
    rows.barrier(SHARD, 2).unwrap();
    rows.write(SHARD, 3, vec![row("b")]).unwrap();
    assert_eq!(rows.scan(SHARD, 0, b"", b"z", 9).unwrap().len(), 2);
    assert_eq!(rows.durable_index(SHARD).unwrap(), 2);
    disk.crash();
    assert!(rows.get(SHARD, 0, b"a").is_err());
    let rows = disk.open_rows();
    assert_eq!(rows.scan(SHARD, 0, b"", b"z", 9).unwrap().len(), 1);
    assert_eq!(rows.durable_index(SHARD).unwrap(), 2);

    let other = SimulatedDisk::new(2, DiskBehaviour::default()).open_rows();
    other
        .import(SHARD, &rows.export(SHARD, 0, 2, None, 100).unwrap().0)
        .unwrap();
    other.barrier(SHARD, 2).unwrap();
    assert_eq!(
        other.scan(SHARD, 0, b"", b"z", 9).unwrap(),
        rows.scan(SHARD, 0, b"", b"z", 9).unwrap()
    );
    rows.clear(SHARD).unwrap();
    assert_eq!(
        (rows.durable_index(SHARD).unwrap(), rows.get(SHARD, 0, b"a").unwrap()),
        (0, None)
    );
}

#[tokio::test(start_paused = true)]
async fn an_append_may_be_kept_in_part() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let disk = SimulatedDisk::new(seed, DiskBehaviour::default());
        let log = disk.open_log(SHARD).unwrap();
        log.append((0..4).map(entry).collect(), Box::new(|_| {})).unwrap();
        disk.crash_torn();
        kept.insert(disk.open_log(SHARD).unwrap().read(0, 9).unwrap().len());
    }
    assert_eq!(kept, (0..=4).collect());
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_the_log_and_loses_nothing() {
    let disk = SimulatedDisk::new(1, DiskBehaviour::default());
    let flushed = Arc::new(AtomicU64::new(0));
    let log = disk.open_log(SHARD).unwrap();
    log.append(vec![entry(0)], counting(&flushed)).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    disk.fill(true);
    let error = log.append(vec![entry(1)], counting(&flushed)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    disk.fill(false);
    assert!(
        log.append(vec![entry(1)], counting(&flushed)).is_err(),
        "until it is opened again"
    );
    assert_eq!((disk.failures(), flushed.load(Ordering::Relaxed)), (1, 1));
    disk.crash();
    assert_eq!(disk.open_log(SHARD).unwrap().read(0, 9).unwrap(), [entry(0)]);
}

#[tokio::test(start_paused = true)]
async fn damage_is_found_when_it_is_opened() {
    let disk = SimulatedDisk::new(1, DiskBehaviour::default());
    let rows = disk.open_rows();
    rows.write(SHARD, 1, vec![row("a")]).unwrap();
    rows.barrier(SHARD, 1).unwrap();
    assert!(!disk.set_damaged_rows_aside());
    disk.damage_rows();
    assert!(disk.set_damaged_rows_aside());
    assert_eq!(disk.open_rows().durable_index(SHARD).unwrap(), 0);
    disk.damage_log(SHARD);
    disk.crash();
    assert!(matches!(disk.open_log(SHARD), Err(StorageError::DamagedLog { .. })));
}
