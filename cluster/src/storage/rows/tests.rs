use std::fs;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::StorageError;
use super::*;
use crate::state_machine::RUN_TABLES_FROM;

const SHARD: ShardId = ShardId(3);

fn open(folder: &Path) -> SledRows {
    match SledRows::open(folder).unwrap() {
        RowsOpened::Ready(rows) => rows,
        RowsOpened::Refill { reason, .. } => panic!("refill: {reason}"),
    }
}

fn row(table: u8, key: impl AsRef<[u8]>, value: Option<&str>) -> Row {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    Row {
        table,
        key: key.as_ref().to_vec(),
        value,
    }
}

fn export_all(rows: &dyn RowStore, after: u64, up_to: u64) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let (page, next) = rows.export(SHARD, after, up_to, cursor, 100).unwrap();
        pages.push(page);
        let Some(next) = next else { return pages };
        cursor = Some(next);
    }
}

#[test]
fn rows_and_applied_index_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let rows = open(folder.path());
        rows.write(SHARD, 1, vec![row(0, b"a", Some("1")), row(0, b"b", Some("2"))])
            .unwrap();
        rows.write(SHARD, 2, vec![row(0, b"a", None), row(1, b"", Some("other table"))])
            .unwrap();
        rows.write(ShardId(4), 9, vec![row(0, b"b", Some("other shard"))])
            .unwrap();
        assert_eq!(rows.durable_index(SHARD).unwrap(), 0);
        rows.barrier(SHARD, 5).unwrap();
        assert_eq!(rows.durable_index(SHARD).unwrap(), 5);
    }
    let rows = open(folder.path());
    assert_eq!(rows.durable_index(SHARD).unwrap(), 5);
    assert_eq!(
        rows.durable_index(ShardId(4)).unwrap(),
        9,
        "a clean stop writes everything"
    );
    assert_eq!(rows.get(SHARD, 0, b"a").unwrap(), None);
    assert_eq!(rows.get(SHARD, 0, b"b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(rows.get(SHARD, 1, b"").unwrap().as_deref(), Some(&b"other table"[..]));
    // The log is applied again from an older snapshot: what is there stays.
    rows.write(SHARD, 1, vec![row(0, b"a", Some("1")), row(0, b"b", Some("2"))])
        .unwrap();
    assert_eq!(rows.get(SHARD, 0, b"a").unwrap(), None);
    assert_eq!(rows.durable_index(ShardId(u32::MAX)).unwrap(), 0);
}

/// Reads equal those of a plain map, whether rows are still queued or in sled, for any range and limit.
#[test]
fn reads_see_everything_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let rows = open(folder.path());
    let mut random = SmallRng::seed_from_u64(7);
    let mut model = BTreeMap::new();
    for index in 1..=2_000 {
        let key = vec![random.random_range(0..20_u8), random.random_range(0..20)];
        let value = random.random_bool(0.7).then(|| Bytes::from(format!("value {index}")));
        rows.write(
            SHARD,
            index,
            vec![Row {
                table: 2,
                key: key.clone(),
                value: value.clone(),
            }],
        )
        .unwrap();
        match value {
            Some(value) => drop(model.insert(key.clone(), value)),
            None => drop(model.remove(&key)),
        }
        assert_eq!(rows.get(SHARD, 2, &key).unwrap(), model.get(&key).cloned());
        if index % 5 == 0 {
            let (from, until) = (vec![random.random_range(0..20)], vec![random.random_range(0..22)]);
            let limit = random.random_range(0..40);
            let expected: Vec<_> = if from < until {
                model
                    .range(from.clone()..until.clone())
                    .take(limit)
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            } else {
                Vec::new()
            };
            assert_eq!(rows.scan(SHARD, 2, &from, &until, limit).unwrap(), expected);
        }
    }
}

/// Rows of runs, kept together or alone, with gaps, over restarts and in another replica: all reads equal those of a plain map.
#[test]
fn runs_read_like_rows() {
    const TABLE: u8 = RUN_TABLES_FROM;
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = |of: u8, number: u64| [&[b'c', of][..], &number.to_be_bytes()].concat();
    let mut random = SmallRng::seed_from_u64(11);
    let mut model: BTreeMap<Vec<u8>, Bytes> = BTreeMap::new();
    let mut last = [0_u64; 6];
    let mut rows = open(folder.path());
    let mut index = 0;
    for round in 0..60 {
        for _ in 0..random.random_range(1..60) {
            index += 1;
            let of = random.random_range(0..last.len());
            let number = last[of] + if random.random_bool(0.9) { 1 } else { 3 };
            last[of] = number;
            let value = Bytes::from("x".repeat(random.random_range(0..3_000)));
            let key = key(of as u8, number);
            model.insert(key.clone(), value.clone());
            let value = Some(value);
            rows.write(
                SHARD,
                index,
                vec![Row {
                    table: TABLE,
                    key,
                    value,
                }],
            )
            .unwrap();
        }
        // A neighbouring table must not be taken for this one.
        rows.write(
            SHARD,
            {
                index += 1;
                index
            },
            vec![row(TABLE - 1, [255; 20], Some("below"))],
        )
        .unwrap();
        if round % 3 == 0 {
            rows.barrier(SHARD, index).unwrap();
        }
        if round % 10 == 9 {
            drop(rows);
            rows = open(folder.path());
        }
        for _ in 0..20 {
            let of = random.random_range(0..last.len());
            let (from, until) = (random.random_range(0..=last[of]), random.random_range(0..=last[of] + 2));
            let wanted = key(of as u8, from);
            assert_eq!(rows.get(SHARD, TABLE, &wanted).unwrap(), model.get(&wanted).cloned());
            let (from, until) = match random.random_range(0..3) {
                0 => (vec![b'c', of as u8], vec![b'c', of as u8 + 1]),
                _ => (wanted, key(of as u8, until)),
            };
            let limit = random.random_range(0..80);
            let expected: Vec<_> = if from < until {
                let range = model.range(from.clone()..until.clone()).take(limit);
                range.map(|(key, value)| (key.clone(), value.clone())).collect()
            } else {
                Vec::new()
            };
            assert_eq!(rows.scan(SHARD, TABLE, &from, &until, limit).unwrap(), expected);
        }
    }
    rows.barrier(SHARD, index).unwrap();
    let kept = rows
        .shared
        .db
        .range([0, 0, 0, 3, TABLE]..[0, 0, 0, 3, TABLE + 1])
        .count();
    assert!(kept * 3 < model.len(), "{kept} runs of {} rows", model.len());
    let replica = open(other.path());
    for page in export_all(&rows, 0, index) {
        replica.import(SHARD, &page).unwrap();
        replica.import(SHARD, &page).unwrap();
    }
    replica.barrier(SHARD, index).unwrap();
    let all = |rows: &SledRows| rows.scan(SHARD, TABLE, &[], &[255], 1 << 20).unwrap();
    assert_eq!(all(&replica), model.into_iter().collect::<Vec<_>>());
    for refused in [row(TABLE, b"short", Some("x")), row(TABLE, key(0, 1 << 40), None)] {
        let error = rows.write(SHARD, index + 1, vec![refused]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn exported_rows_make_a_replica_equal() {
    let folders = [
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    ];
    let [source, lagging, fresh] = folders.each_ref().map(|folder| open(folder.path()));
    for index in 1..=50_u64 {
        let change = vec![row(1, index.to_be_bytes(), Some("long enough to need several pages"))];
        source.write(SHARD, index, change.clone()).unwrap();
        if index <= 20 {
            lagging.write(SHARD, index, change).unwrap();
        }
    }
    source
        .write(
            SHARD,
            51,
            vec![
                row(1, 5_u64.to_be_bytes(), None),
                row(1, 6_u64.to_be_bytes(), Some("new")),
            ],
        )
        .unwrap();
    source
        .write(SHARD, 52, vec![row(1, 7_u64.to_be_bytes(), Some("after the snapshot"))])
        .unwrap();
    source.barrier(SHARD, 51).unwrap();
    for (replica, after) in [(&lagging, 20), (&fresh, 0)] {
        let pages = export_all(&source, after, 51);
        assert!(pages.len() > 5);
        for page in &pages {
            replica.import(SHARD, page).unwrap();
            replica.import(SHARD, page).unwrap();
        }
        replica.barrier(SHARD, 51).unwrap();
        assert_eq!(replica.durable_index(SHARD).unwrap(), 51);
        replica
            .write(SHARD, 52, vec![row(1, 7_u64.to_be_bytes(), Some("after the snapshot"))])
            .unwrap();
        let all = |rows: &SledRows| rows.scan(SHARD, 1, &[], &[255], 1_000).unwrap();
        assert_eq!(all(replica), all(&source));
    }
    let mut page = export_all(&source, 0, 51).remove(0);
    page[20] ^= 1;
    assert_eq!(
        fresh.import(SHARD, &page).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
}

#[test]
fn a_cleared_shard_is_empty_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    {
        let rows = open(folder.path());
        for index in 1..=10_u64 {
            rows.write(SHARD, index, vec![row(0, index.to_be_bytes(), Some("x"))])
                .unwrap();
            rows.write(ShardId(4), index, vec![row(0, index.to_be_bytes(), Some("y"))])
                .unwrap();
        }
        rows.clear(SHARD).unwrap();
        assert_eq!(rows.scan(SHARD, 0, &[], &[255], 100).unwrap(), []);
        rows.write(SHARD, 1, vec![row(0, b"again", Some("z"))]).unwrap();
    }
    let rows = open(folder.path());
    assert_eq!(rows.scan(SHARD, 0, &[], &[255], 100).unwrap().len(), 1);
    assert_eq!(
        (
            rows.durable_index(SHARD).unwrap(),
            rows.durable_index(ShardId(4)).unwrap()
        ),
        (1, 10)
    );
    assert_eq!(rows.scan(ShardId(4), 0, &[], &[255], 100).unwrap().len(), 10);
}

#[test]
fn what_is_too_large_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rows = open(folder.path());
    let most = "v".repeat(limits::ROW_VALUE_MAX_BYTES);
    rows.write(SHARD, 1, vec![row(0, b"a", Some(&most))]).unwrap();
    for refused in [
        row(0, b"a", Some(&format!("{most}v"))),
        row(0, vec![0; limits::ROW_KEY_MAX_BYTES + 1], Some("")),
    ] {
        assert_eq!(
            rows.write(SHARD, 2, vec![refused]).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
    rows.barrier(SHARD, 2).unwrap();
    assert_eq!(rows.get(SHARD, 0, b"a").unwrap().unwrap().len(), most.len());
}

#[test]
fn a_flood_waits_for_the_disk_and_memory_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let rows = open(folder.path());
    let value = "v".repeat(60_000);
    let per_write = 16 * 60_000;
    for index in 1..=100_u64 {
        let change = (0..16)
            .map(|n| row(0, [index.to_be_bytes(), u64::to_be_bytes(n)].concat(), Some(&value)))
            .collect();
        rows.write(SHARD, index, change).unwrap();
        assert!(rows.shared.queue.lock().bytes <= limits::ROWS_PENDING_MAX_BYTES + 2 * per_write);
    }
    let barriers: Vec<_> = (0..8).map(|n| 93 + n).collect();
    std::thread::scope(|scope| {
        for index in barriers {
            let rows = &rows;
            scope.spawn(move || {
                rows.barrier(SHARD, index).unwrap();
                assert!(rows.durable_index(SHARD).unwrap() >= index);
            });
        }
    });
    assert_eq!(
        fs::read_dir(folder.path().join("sled/blobs")).unwrap().count(),
        0,
        "nothing may go into blobs"
    );
    assert!(rows.shared.overlay.read().is_empty());
}

#[test]
fn damaged_rows_are_set_aside() {
    let damages: [&dyn Fn(&Path); 4] = [
        &|sled| fs::remove_dir_all(sled).unwrap(),
        &|sled| fs::write(sled.join("db"), b"").unwrap(),
        &|sled| fs::write(sled.join("db"), vec![0x5a; 1 << 20]).unwrap(),
        &|sled| {
            let mut bytes = fs::read(sled.join("db")).unwrap();
            let length = bytes.len().min(1 << 20);
            bytes[..length].fill(0);
            fs::write(sled.join("db"), bytes).unwrap();
            for entry in fs::read_dir(sled).unwrap().map(Result::unwrap) {
                if entry.file_name().to_string_lossy().starts_with("snap.") {
                    fs::remove_file(entry.path()).unwrap();
                }
            }
        },
    ];
    for (case, damage) in damages.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        {
            let rows = open(folder.path());
            rows.write(SHARD, 1, vec![row(0, b"a", Some("1"))]).unwrap();
            rows.barrier(SHARD, 1).unwrap();
        }
        damage(&folder.path().join("sled"));
        match SledRows::open(folder.path()).unwrap() {
            RowsOpened::Ready(_) => panic!("case {case}: damage was not noticed"),
            RowsOpened::Refill { rows, set_aside, .. } => {
                assert_eq!(set_aside.is_some_and(|aside| aside.is_dir()), case > 0, "case {case}");
                assert_eq!(rows.durable_index(SHARD).unwrap(), 0);
                assert_eq!(rows.get(SHARD, 0, b"a").unwrap(), None);
                rows.write(SHARD, 2, vec![row(0, b"a", Some("refilled"))]).unwrap();
                rows.barrier(SHARD, 2).unwrap();
            }
        }
        assert_eq!(open(folder.path()).durable_index(SHARD).unwrap(), 2);
    }
}

#[test]
fn the_store_opens_once() {
    let folder = tempfile::tempdir().unwrap();
    let _rows = open(folder.path());
    assert!(matches!(SledRows::open(folder.path()), Err(StorageError::InUse { .. })));
}

#[test]
fn after_a_failure_every_call_gives_the_first_error() {
    let folder = tempfile::tempdir().unwrap();
    let rows = open(folder.path());
    rows.write(SHARD, 1, vec![row(0, b"a", Some("1"))]).unwrap();
    rows.barrier(SHARD, 1).unwrap();
    rows.shared.fail("rows_sync", &io::Error::other("the disk is gone"));
    let results = [
        rows.write(SHARD, 2, Vec::new()),
        rows.get(SHARD, 0, b"a").map(drop),
        rows.scan(SHARD, 0, &[], &[255], 1).map(drop),
        rows.barrier(SHARD, 1),
        rows.durable_index(SHARD).map(drop),
        rows.export(SHARD, 0, 1, None, 100).map(drop),
        rows.clear(SHARD),
    ];
    for result in results {
        assert_eq!(result.unwrap_err().to_string(), "the disk is gone");
    }
}
