use super::*;

const SHARD: ShardId = ShardId(2);

/// In memory where there is such a place: these tests ask what is written, not whether the disk keeps it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn meta(index: u64) -> SnapshotMeta {
    let position = LogPosition {
        term: 3,
        leader: 1,
        index,
    };
    SnapshotMeta {
        position,
        membership: Bytes::from_static(b"one, two, three"),
        digest: index * 7,
    }
}

fn state(index: u64) -> Vec<u8> {
    (0..10_000).map(|n: u64| (n * index % 251) as u8).collect()
}

fn writer(index: u64) -> SnapshotWriter {
    Box::new(move |to| {
        for part in state(index).chunks(999) {
            to.write_all(part)?;
        }
        Ok(())
    })
}

fn read(store: &SnapshotStore, position: LogPosition) -> io::Result<Vec<u8>> {
    let mut state = Vec::new();
    store.open_reader(position)?.read_to_end(&mut state)?;
    Ok(state)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn snapshots_survive_a_restart_and_old_ones_are_pruned() {
    let folder = folder();
    {
        let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
        assert_eq!(store.latest(), None);
        for index in [5, 70, 600] {
            let info = store.publish(meta(index), writer(index)).unwrap();
            assert_eq!(info.meta, meta(index));
            assert_eq!(store.latest(), Some(info));
        }
        store.prune(2).unwrap();
    }
    fs::write(folder.path().join("9.partial"), b"unfinished").unwrap();
    let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
    assert_eq!(store.latest().unwrap().meta, meta(600));
    assert_eq!(read(&store, meta(600).position).unwrap(), state(600));
    assert_eq!(read(&store, meta(70).position).unwrap(), state(70));
    assert_eq!(
        read(&store, meta(5).position).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn an_empty_state_is_a_state() {
    let folder = folder();
    let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
    store.publish(meta(1), Box::new(|_| Ok(()))).unwrap();
    let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
    assert_eq!(read(&store, meta(1).position).unwrap(), []);
}

#[test]
fn a_failed_writer_leaves_nothing() {
    let folder = folder();
    let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
    store.publish(meta(1), writer(1)).unwrap();
    let failing: SnapshotWriter = Box::new(|to| {
        to.write_all(b"half")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert_eq!(
        store.publish(meta(2), failing).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(names(folder.path()).len(), 1);
    assert_eq!(store.latest().unwrap().meta, meta(1));
    store.publish(meta(2), writer(2)).unwrap();
}

#[test]
fn whatever_bit_is_flipped_the_older_snapshot_is_used() {
    let folder = folder();
    let (path, bytes) = {
        let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
        store.publish(meta(1), writer(1)).unwrap();
        let path = store
            .publish(meta(2), Box::new(|to| to.write_all(b"some state")))
            .unwrap()
            .path;
        (path.clone(), fs::read(path).unwrap())
    };
    let mut damages: Vec<Vec<u8>> = (0..bytes.len() * 8)
        .map(|bit| {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            damaged
        })
        .collect();
    damages.extend((0..bytes.len()).map(|length| bytes[..length].to_vec()));
    damages.push([&bytes[..], b"more"].concat());
    damages.push(vec![0; bytes.len()]);
    for (case, damaged) in damages.into_iter().enumerate() {
        fs::write(&path, damaged).unwrap();
        let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
        assert_eq!(store.latest().unwrap().meta, meta(1), "case {case}");
        assert!(with_suffix(&path, "damaged").is_file() && !path.exists(), "case {case}");
    }
    assert_eq!(
        read(&SnapshotStore::open(folder.path(), SHARD).unwrap(), meta(1).position).unwrap(),
        state(1)
    );
}

#[test]
fn damage_that_comes_later_is_found_while_reading() {
    let folder = folder();
    let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
    let info = store.publish(meta(1), writer(1)).unwrap();
    let mut bytes = fs::read(&info.path).unwrap();
    bytes[5_000] ^= 1;
    fs::write(&info.path, bytes).unwrap();
    assert_eq!(
        read(&store, meta(1).position).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    let mut reader = store.open_reader(meta(1).position).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(reader.finish().unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_snapshot_is_received_in_chunks() {
    let folders = [folder(), folder()];
    let [source, target] = folders
        .each_ref()
        .map(|folder| SnapshotStore::open(folder.path(), SHARD).unwrap());
    source.publish(meta(8), writer(8)).unwrap();
    let file = source.open_file(meta(8).position).unwrap();
    source.publish(meta(9), writer(9)).unwrap();
    source.prune(1).unwrap();

    let mut receiver = target.begin_receive().unwrap();
    loop {
        let chunk = file.read_chunk(receiver.received_bytes(), 1_000).unwrap();
        if chunk.is_empty() {
            break;
        }
        receiver.append_chunk(receiver.received_bytes(), &chunk).unwrap();
    }
    assert_eq!(
        receiver.append_chunk(3, b"x").unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(receiver.received_bytes(), file.info().file_bytes);
    assert_eq!(receiver.finish().unwrap().meta, meta(8));
    assert_eq!(read(&target, meta(8).position).unwrap(), state(8));

    let mut cut_short = target.begin_receive().unwrap();
    cut_short.append_chunk(0, &file.read_chunk(0, 5_000).unwrap()).unwrap();
    assert!(format::is_damage(&cut_short.finish().unwrap_err()));
    drop(target.begin_receive().unwrap());
    assert_eq!(names(folders[1].path()).len(), 1);

    let other_shard = folder();
    let mut receiver = SnapshotStore::open(other_shard.path(), ShardId(9))
        .unwrap()
        .begin_receive()
        .unwrap();
    receiver.append_chunk(0, &file.read_chunk(0, 1 << 20).unwrap()).unwrap();
    assert!(format::is_damage(&receiver.finish().unwrap_err()));
}

#[test]
fn all_can_be_set_aside() {
    let folder = folder();
    let store = SnapshotStore::open(folder.path(), SHARD).unwrap();
    store.publish(meta(1), writer(1)).unwrap();
    store.publish(meta(2), writer(2)).unwrap();
    store.set_all_aside().unwrap();
    assert_eq!(store.latest(), None);
    assert_eq!(SnapshotStore::open(folder.path(), SHARD).unwrap().latest(), None);
    assert_eq!(names(folder.path()).len(), 2);
}
