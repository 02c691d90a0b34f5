//! That damage is where it should be, and can be undone. What a node makes of it is for the situations.

use tempfile::TempDir;

use super::*;

const VOTE: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\xf6\xa0\xee\xe2";

fn data() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    let write = |path: &str, content: &[u8]| {
        let path = data.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("identity", b"who we are");
    write("rows/sled/db", &[&[0; 9_000][..], b"some rows", &[0; 1_000]].concat());
    write("shards/3/snapshots/1.snapshot", b"old state");
    write("shards/3/snapshots/2.snapshot", b"state");
    write("shards/3/snapshots/3.partial", b"nothing yet");
    write("shards/3/log/wal/r-000.wal", &VOTE.repeat(3));
    write("shards/3/log/wal/r-084.wal", &VOTE.repeat(4));
    data
}

fn everything(data: &Path) -> Vec<Vec<u8>> {
    let chunks = newest_first(data, &log_folder(3), "wal").unwrap();
    let others = ["identity", "rows/sled/db", "shards/3/snapshots/2.snapshot"].map(PathBuf::from);
    let paths = chunks.into_iter().chain(others);
    paths.map(|path| fs::read(data.join(path)).unwrap()).collect()
}

#[test]
fn it_strikes_where_it_should_and_can_be_undone() {
    let folder = data();
    let data = folder.path();
    let sound = everything(data);
    let targets = [
        (Target::LogRecords { shard: 3 }, "shards/3/log/wal/r-084.wal", 0..84),
        (
            Target::LogLastRecord { shard: 3 },
            "shards/3/log/wal/r-084.wal",
            84..112,
        ),
        (Target::Snapshot { shard: 3 }, "shards/3/snapshots/2.snapshot", 0..5),
        (Target::Rows, "rows/sled/db", 8_990..9_009),
        (Target::Identity, "identity", 0..10),
    ];
    for (target, path, range) in targets {
        for seed in 0..50 {
            for flips in [true, false] {
                let strike = || {
                    if flips {
                        flip_bit(data, target, seed)
                    } else {
                        zero(data, target, 10, seed)
                    }
                };
                let damage = strike().unwrap();
                assert_eq!(damage.path, Path::new(path));
                assert!(range.contains(&damage.offset) && damage.before.len() == damage.after.len());
                assert!(damage.offset + damage.after.len() as u64 <= range.end.max(10_009));
                assert!(everything(data) != sound);
                damage.undo(data).unwrap();
                assert!(everything(data) == sound);
                assert_eq!(strike().unwrap(), damage, "a seed names its damage");
                damage.undo(data).unwrap();
            }
        }
    }
}

#[test]
fn tails_are_cut_and_torn() {
    let folder = data();
    let data = folder.path();
    let sound = everything(data);
    let newest = data.join("shards/3/log/wal/r-084.wal");
    let cut = cut_tail(data, Target::LogLastRecord { shard: 3 }, 30).unwrap();
    assert_eq!(fs::metadata(&newest).unwrap().len(), 82);
    cut.undo(data).unwrap();
    for seed in 0..50 {
        for tear in [torn_write, torn_zeros] {
            let torn = tear(data, 3, seed).unwrap();
            let content = fs::read(&newest).unwrap();
            assert!(content.len() > 112 && content[..112] == VOTE.repeat(4));
            assert_eq!(records::find(&content).len(), 4);
            torn.undo(data).unwrap();
        }
    }
    assert!(everything(data) == sound);
    assert!(flip_bit(data, Target::Snapshot { shard: 4 }, 0).is_err());
}
