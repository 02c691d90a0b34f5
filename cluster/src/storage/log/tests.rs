use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::simulated::{DiskBehaviour, SimulatedDisk};
use super::*;
use crate::state_machine::ShardId;

fn position(term: u64, index: u64) -> LogPosition {
    LogPosition { term, leader: 1, index }
}

fn entry(term: u64, index: u64) -> (LogPosition, Bytes) {
    (
        position(term, index),
        Bytes::from(format!("entry {index} of term {term}")),
    )
}

/// In memory where there is such a place: these tests ask what is written, not whether the disk keeps it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Calls, and waits for the callback.
fn flushed(call: impl FnOnce(OnFlushed) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = mpsc::sync_channel(1);
    call(Box::new(move |result| drop(sender.send(result))))?;
    receiver.recv_timeout(Duration::from_secs(30)).expect("called back")
}

fn append(log: &WalLog, entries: impl IntoIterator<Item = (LogPosition, Bytes)>) -> io::Result<()> {
    flushed(|done| log.append(entries.into_iter().collect(), done))
}

fn wal_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    files.sort();
    files
}

#[test]
fn everything_survives_a_restart() {
    let folder = folder();
    {
        let log = WalLog::open(folder.path()).unwrap();
        assert_eq!(log.state().unwrap(), LogState::default());
        flushed(|done| log.save_vote(Bytes::from_static(b"vote 9"), done)).unwrap();
        flushed(|done| log.save_vote(Bytes::from_static(b"vote 10"), done)).unwrap();
        append(&log, (0..10).map(|index| entry(1, index))).unwrap();
        flushed(|done| log.truncate_after(Some(position(1, 7)), done)).unwrap();
        append(&log, [entry(2, 8), entry(2, 9)]).unwrap();
        log.save_committed(Some(position(2, 8))).unwrap();
        flushed(|done| log.purge(position(1, 3), done)).unwrap();
    }
    let log = WalLog::open(folder.path()).unwrap();
    let expected = LogState {
        vote: Some(Bytes::from_static(b"vote 10")),
        committed: Some(position(2, 8)),
        purged: Some(position(1, 3)),
        last: Some(position(2, 9)),
    };
    assert_eq!(log.state().unwrap(), expected);
    let entries: Vec<_> = (4..8)
        .map(|index| entry(1, index))
        .chain([entry(2, 8), entry(2, 9)])
        .collect();
    assert_eq!(log.read(0, 100).unwrap(), entries);
    assert_eq!(log.read(5, 6).unwrap(), [entry(1, 5)]);
}

#[test]
fn callbacks_come_in_order_and_appends_share_flushes() {
    let folder = folder();
    let log = WalLog::open(folder.path()).unwrap();
    let (sender, receiver) = mpsc::channel();
    for index in 0..2_000 {
        let sender = sender.clone();
        log.append(
            vec![entry(1, index)],
            Box::new(move |result| sender.send((index, result.is_ok())).unwrap()),
        )
        .unwrap();
        assert_eq!(
            log.read(index, index + 1).unwrap(),
            [entry(1, index)],
            "readable on return"
        );
    }
    drop(sender);
    let calls: Vec<_> = receiver.iter().collect();
    assert_eq!(calls, (0..2_000).map(|index| (index, true)).collect::<Vec<_>>());
    let flushes = log.with_log(|log| Ok(log.stat().flush_metrics.clone())).unwrap();
    assert!(
        flushes.sync_batch_count < 1_000,
        "{} flushes for 2,000 appends",
        flushes.sync_batch_count
    );
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let folder = folder();
    let log = WalLog::open(folder.path()).unwrap();
    append(&log, (0..5).map(|index| entry(2, index))).unwrap();
    log.save_committed(Some(position(2, 2))).unwrap();
    let before = log.state().unwrap();
    for refused in [
        append(&log, [entry(2, 5), entry(2, 7)]),
        append(&log, [entry(1, 5)]),
        flushed(|done| log.truncate_after(Some(position(1, 3)), done)),
        flushed(|done| log.truncate_after(Some(position(2, 1)), done)),
        flushed(|done| log.truncate_after(None, done)),
    ] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(log.state().unwrap(), before);
    append(&log, [entry(2, 5)]).unwrap();
}

#[test]
fn committed_is_never_ahead_of_what_can_be_read() {
    let folder = folder();
    let log = WalLog::open(folder.path()).unwrap();
    append(&log, (0..5).map(|index| entry(1, index))).unwrap();
    log.save_committed(Some(position(1, 9))).unwrap();
    log.save_committed(Some(position(2, 3))).unwrap();
    assert_eq!(log.state().unwrap().committed, None);
    log.save_committed(Some(position(1, 3))).unwrap();
    log.save_committed(Some(position(1, 2))).unwrap();
    log.save_committed(None).unwrap();
    assert_eq!(log.state().unwrap().committed, Some(position(1, 3)));
}

#[test]
fn a_snapshot_of_another_history_replaces_the_uncommitted_tail() {
    for (snapshot, rest) in [
        (position(3, 3), None),
        (position(2, 20), None),
        (position(2, 3), Some(position(2, 5))),
    ] {
        let folder = folder();
        {
            let log = WalLog::open(folder.path()).unwrap();
            append(&log, (0..6).map(|index| entry(2, index))).unwrap();
            flushed(|done| log.purge(snapshot, done)).unwrap();
        }
        let log = WalLog::open(folder.path()).unwrap();
        let state = log.state().unwrap();
        assert_eq!((state.purged, state.last), (Some(snapshot), rest.or(Some(snapshot))));
        append(&log, [entry(5, state.last.unwrap().index + 1)]).unwrap();
    }
}

#[test]
fn files_that_are_purged_go_away() {
    let folder = folder();
    let log = WalLog::open(folder.path()).unwrap();
    let large = Bytes::from(vec![7; 4 << 20]);
    for index in 0..20 {
        append(&log, [(position(1, index), large.clone())]).unwrap();
    }
    assert_eq!(
        log.read(0, 1).unwrap()[0].1,
        large,
        "from disk, when no longer in memory"
    );
    let before = log.bytes();
    assert!(wal_files(folder.path()).len() > 1);
    flushed(|done| log.purge(position(1, 19), done)).unwrap();
    assert!(log.bytes() < before / 2);
    drop(log);
    assert_eq!(wal_files(folder.path()).len(), 1);
}

#[test]
fn a_torn_tail_is_cut_off() {
    let folder = folder();
    let (file, whole) = {
        let log = WalLog::open(folder.path()).unwrap();
        flushed(|done| log.save_vote(Bytes::from_static(b"v"), done)).unwrap();
        append(&log, [entry(1, 0), entry(1, 1)]).unwrap();
        drop(log);
        let file = wal_files(folder.path()).pop().unwrap();
        let acknowledged = fs::metadata(&file).unwrap().len();
        let log = WalLog::open(folder.path()).unwrap();
        append(&log, [entry(1, 2)]).unwrap();
        drop(log);
        (file.clone(), (acknowledged, fs::read(&file).unwrap()))
    };
    let (acknowledged, bytes) = whole;
    let length = bytes.len() as u64;
    assert!(acknowledged < length);
    let zeros = std::iter::once((acknowledged, 100));
    for (torn, zeros) in (acknowledged..length).map(|torn| (torn, 0)).chain(zeros) {
        for file in wal_files(folder.path()) {
            fs::remove_file(file).unwrap();
        }
        let mut bytes = bytes[..usize::try_from(torn).unwrap()].to_vec();
        // The length may reach the disk before the data.
        bytes.resize(bytes.len() + zeros, 0);
        fs::write(&file, bytes).unwrap();
        let log = WalLog::open(folder.path()).unwrap();
        assert_eq!(
            log.read(0, 9).unwrap(),
            [entry(1, 0), entry(1, 1)],
            "torn at {torn} of {length}"
        );
        assert_eq!(log.state().unwrap().vote.as_deref(), Some(&b"v"[..]));
        append(&log, [entry(1, 2)]).unwrap();
    }
}

/// Whatever bit is flipped: the log says that it is damaged, or it still holds all that was acknowledged.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let folder = folder();
    let write = |last: &dyn Fn(&WalLog)| {
        let _ = fs::remove_dir_all(folder.path().join("wal"));
        let _ = fs::remove_file(folder.path().join(CREATED_MARK));
        let log = WalLog::open(folder.path()).unwrap();
        flushed(|done| log.save_vote(Bytes::from_static(b"vote"), done)).unwrap();
        append(&log, [entry(1, 0), entry(1, 1)]).unwrap();
        log.save_committed(Some(position(1, 0))).unwrap();
        last(&log);
    };
    let last_records: [&dyn Fn(&WalLog); 5] = [
        &|log| append(log, [entry(1, 2)]).unwrap(),
        &|log| flushed(|done| log.save_vote(Bytes::from_static(b""), done)).unwrap(),
        &|log| flushed(|done| log.truncate_after(Some(position(1, 0)), done)).unwrap(),
        &|log| flushed(|done| log.purge(position(1, 0), done)).unwrap(),
        &|log| log.save_committed(Some(position(1, 1))).unwrap(),
    ];
    let mut unharmed = BTreeSet::new();
    for (case, last) in last_records.iter().enumerate() {
        write(last);
        let file = wal_files(folder.path()).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, damaged).unwrap();
            match WalLog::open(folder.path()) {
                Err(StorageError::DamagedLog { .. }) => {}
                Err(other) => panic!("case {case}, bit {bit}: {other}"),
                Ok(_) => drop(unharmed.insert((case, bit))),
            }
            fs::write(&file, &bytes).unwrap();
        }
    }
    assert_eq!(unharmed, BTreeSet::new());
}

#[test]
fn a_log_that_vanished_is_not_taken_for_a_new_one() {
    let folder = folder();
    drop(WalLog::open(folder.path()).unwrap());
    fs::remove_dir_all(folder.path().join("wal")).unwrap();
    let error = WalLog::open(folder.path()).err().unwrap();
    assert!(matches!(error, StorageError::DamagedLog { .. }), "{error}");
    assert!(error.to_string().contains("rejoin under a new node id"), "{error}");
}

#[test]
fn a_log_opens_once() {
    let folder = folder();
    let _log = WalLog::open(folder.path()).unwrap();
    assert!(matches!(WalLog::open(folder.path()), Err(StorageError::InUse { .. })));
}

#[test]
fn after_a_failure_every_call_gives_the_first_error() {
    let folder = folder();
    let log = WalLog::open(folder.path()).unwrap();
    append(&log, [entry(1, 0)]).unwrap();
    // The next file cannot be created in a folder that is gone.
    fs::remove_dir_all(folder.path().join("wal")).unwrap();
    let large = Bytes::from(vec![0; limits::LOG_CHUNK_BYTES]);
    append(&log, [(position(1, 1), large)]).unwrap_err();
    let first = log.state().unwrap_err().to_string();
    assert_eq!(append(&log, [entry(1, 1)]).unwrap_err().to_string(), first);
    assert_eq!(log.read(0, 1).unwrap_err().to_string(), first);
    assert_eq!(
        flushed(|done| log.save_vote(Bytes::new(), done))
            .unwrap_err()
            .to_string(),
        first
    );
    assert_eq!(log.save_committed(Some(position(1, 0))).unwrap_err().to_string(), first);
}

/// The log of the simulation takes, refuses and answers what the real one does, or the simulation proves nothing.
#[tokio::test(start_paused = true)]
async fn the_simulated_log_behaves_like_the_real_one() {
    for seed in 0..60 {
        let mut random = SmallRng::seed_from_u64(seed);
        let folder = folder();
        let disk = SimulatedDisk::new(seed, DiskBehaviour::default());
        let shard = ShardId(0);
        let (mut real, mut simulated) = (WalLog::open(folder.path()).unwrap(), disk.open_log(shard).unwrap());
        let mut term = 1;
        for step in 0..60 {
            term += u64::from(random.random_bool(0.1));
            let last = real.state().unwrap().last.map_or(0, |last| last.index);
            // Mostly what makes sense, sometimes not.
            let held = real.read(0, last + 1).unwrap();
            let near = last.saturating_sub(random.random_range(0..8)) + random.random_range(0..3);
            let known = held
                .iter()
                .find(|(position, _)| position.index == near)
                .map(|(position, _)| *position);
            let some = known.unwrap_or(position(random.random_range(1..=term), near));
            let nothing = || -> OnFlushed { Box::new(|_| {}) };
            let choice = random.random_range(0..10);
            let first = if real.state().unwrap().last.is_none() {
                0
            } else {
                last + 1
            };
            let entries: Vec<_> = (first..first + random.random_range(0..4))
                .map(|index| entry(term, index))
                .collect();
            let act = |log: &dyn LogEngine| match choice {
                0..4 => log.append(entries.clone(), nothing()),
                4 => log.append(vec![(some, Bytes::new())], nothing()),
                5 => log.truncate_after(Some(some), nothing()),
                6 => log.purge(some, nothing()),
                7 => log.save_vote(Bytes::from(format!("vote {step}")), nothing()),
                _ => log.save_committed(Some(some)),
            };
            let results = [act(&real), act(&simulated)].map(|result| result.map_err(|error| error.kind()));
            assert_eq!(
                results[0], results[1],
                "seed {seed}, step {step}, choice {choice}, {some:?}"
            );
            if random.random_bool(0.1) {
                // A clean stop of the one is a pause of the other.
                drop(real);
                real = WalLog::open(folder.path()).unwrap();
                simulated
                    .save_vote(real.state().unwrap().vote.unwrap_or_default(), nothing())
                    .unwrap();
                real.save_vote(real.state().unwrap().vote.unwrap_or_default(), nothing())
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
                disk.crash();
                simulated = disk.open_log(shard).unwrap();
            }
            assert_eq!(
                real.state().unwrap(),
                simulated.state().unwrap(),
                "seed {seed}, step {step}, choice {choice}"
            );
            assert_eq!(
                real.read(0, 1_000).unwrap(),
                simulated.read(0, 1_000).unwrap(),
                "seed {seed}, step {step}"
            );
        }
    }
}
