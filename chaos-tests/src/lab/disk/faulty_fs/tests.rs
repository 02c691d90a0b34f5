//! What a node needs of a file system, what faults do to it, and what a power cut leaves.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use tempfile::TempDir;

use super::super::is_skipped;
use super::*;

struct Place {
    // In this order: unmount, then remove.
    fs: FaultyFs,
    folder: TempDir,
}

impl Place {
    fn new(keeping: Keeping) -> Option<Self> {
        if is_skipped("the faulty file system", why_not_possible()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            keeping,
            ..Options::default()
        };
        let fs = FaultyFs::mount(&folder.path().join("under"), &folder.path().join("mounted"), options).unwrap();
        Some(Self { fs, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.fs.folder().join(name)
    }

    fn under(&self, name: &str) -> PathBuf {
        self.folder.path().join("under").join(name)
    }

    fn sync_folder(&self, name: &str) {
        File::open(self.path(name)).unwrap().sync_all().unwrap();
    }
}

fn synced(path: &Path, content: &[u8]) -> File {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
    file
}

fn serves_a_node(keeping: Keeping) {
    let Some(place) = Place::new(keeping) else { return };
    fs::create_dir_all(place.path("shards/1/log")).unwrap();
    let path = place.path("shards/1/log/chunk");
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    for part in ["one ", "two ", "three"] {
        file.write_all(part.as_bytes()).unwrap();
    }
    // Others see it at once, synced or not.
    assert_eq!(fs::read(&path).unwrap(), b"one two three");
    assert_eq!(fs::metadata(&path).unwrap().len(), 13);
    file.set_len(8).unwrap();
    file.write_all(b"four").unwrap();
    file.sync_data().unwrap();
    file.seek(SeekFrom::Start(4)).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two four");
    assert_eq!(fs::read(place.under("shards/1/log/chunk")).unwrap(), b"one two four");

    // Locks, as sled and we take them.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let other = File::open(&path).unwrap();
    assert!(rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(file);
    rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();

    // A file without a name, which lives as long as its handle.
    let spool = place.path("spool");
    let nameless = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&spool)
        .unwrap();
    fs::remove_file(&spool).unwrap();
    nameless.write_all_at(&[9; 100_000], 50_000).unwrap();
    let mut found = [1; 10];
    nameless.read_exact_at(&mut found, 149_990).unwrap();
    assert_eq!((found, nameless.metadata().unwrap().len()), ([9; 10], 150_000));
    assert!(!spool.exists());

    // Renamed onto another, and a folder with all that is in it.
    fs::write(place.path("partial"), "new").unwrap();
    fs::write(place.path("identity"), "old").unwrap();
    fs::rename(place.path("partial"), place.path("identity")).unwrap();
    assert_eq!(fs::read(place.path("identity")).unwrap(), b"new");
    fs::rename(place.path("shards"), place.path("aside")).unwrap();
    assert_eq!(fs::read(place.path("aside/1/log/chunk")).unwrap(), b"one two four");
    let mut names: Vec<_> = fs::read_dir(place.fs.folder())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["aside", "identity"]);
    assert!(fs::remove_dir(place.path("aside")).is_err());
    drop(other);
    fs::remove_dir_all(place.path("aside")).unwrap();
    let many: Vec<_> = (0..3_000).map(|n| format!("a-file-with-a-long-name-{n:040}")).collect();
    many.iter()
        .for_each(|name| drop(File::create(place.path(name)).unwrap()));
    assert_eq!(fs::read_dir(place.fs.folder()).unwrap().count(), 3_001);

    drop(nameless);
    let under = place.under("identity");
    place.fs.unmount().unwrap();
    assert_eq!(fs::read(under).unwrap(), b"new");
}

#[test]
fn it_serves_a_node() {
    serves_a_node(Keeping::Underneath);
}

#[test]
fn it_serves_a_node_that_could_lose_power() {
    serves_a_node(Keeping::UntilSynced);
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    let Some(place) = Place::new(Keeping::UntilSynced) else {
        return;
    };
    let mut kept = synced(&place.path("kept"), b"kept");
    kept.write_all(b" not this").unwrap();
    fs::write(place.path("nobody-synced-it"), "lost").unwrap();
    assert!(place.fs.unsynced_bytes() > 0);
    place.fs.lose_power(Survivors::None).unwrap();
    assert!(kept.write_all(b"x").is_err() && kept.sync_all().is_err());
    assert!(File::create(place.path("late")).is_err());
    drop(kept);
    place.fs.return_power();
    assert_eq!(fs::read(place.path("kept")).unwrap(), b"kept");
    assert!(!place.path("nobody-synced-it").exists() && !place.path("late").exists());
}

#[test]
fn a_power_cut_takes_names_back_from_the_newest() {
    let Some(place) = Place::new(Keeping::UntilSynced) else {
        return;
    };
    fs::create_dir(place.path("folder")).unwrap();
    drop(synced(&place.path("folder/a"), b"a"));
    drop(synced(&place.path("b"), b"b"));
    place.sync_folder("");
    // Not durable: a file removed, one renamed onto another, a folder moved, a new one.
    fs::rename(place.path("b"), place.path("folder/a")).unwrap();
    fs::rename(place.path("folder"), place.path("moved")).unwrap();
    fs::create_dir(place.path("new")).unwrap();
    fs::remove_file(place.path("moved/a")).unwrap();
    place.fs.drop_unsynced(Survivors::None).unwrap();
    assert_eq!(fs::read(place.path("folder/a")).unwrap(), b"a");
    assert_eq!(fs::read(place.path("b")).unwrap(), b"b");
    assert!(!place.path("new").exists() && !place.path("moved").exists());

    // Durable: what a sync of the folder covers, and what came before it.
    fs::create_dir(place.path("earlier")).unwrap();
    fs::rename(place.path("b"), place.path("c")).unwrap();
    place.sync_folder("");
    fs::remove_file(place.path("c")).unwrap();
    place.fs.drop_unsynced(Survivors::None).unwrap();
    assert_eq!(fs::read(place.path("c")).unwrap(), b"b");
    assert!(place.path("earlier").exists());
}

#[test]
fn a_sync_that_fails_drops_what_it_should_have_written() {
    let Some(place) = Place::new(Keeping::UntilSynced) else {
        return;
    };
    fs::create_dir_all(place.path("shards/1/log")).unwrap();
    let mut log = synced(&place.path("shards/1/log/chunk"), b"durable");
    let mut other = synced(&place.path("other"), b"");
    let faults = place.fs.faults();
    let armed = faults.arm(Fault::SyncFails, Times::First(1), under("shards/1/log"));
    log.write_all(b", lost").unwrap();
    other.write_all(b"unharmed").unwrap();
    other.sync_data().unwrap();
    let error = log.sync_data().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert_eq!(faults.fired(armed), 1);
    // What makes such errors dangerous: the next sync succeeds.
    assert!(faults.syncs_after_failure().is_empty());
    log.sync_data().unwrap();
    assert_eq!(faults.syncs_after_failure().len(), 1);
    place.fs.drop_unsynced(Survivors::None).unwrap();
    assert_eq!(
        fs::read(place.path("shards/1/log/chunk")).unwrap(),
        b"durable\0\0\0\0\0\0"
    );
    assert_eq!(fs::read(place.path("other")).unwrap(), b"unharmed");
    let failed: Vec<_> = faults.syncs().into_iter().filter(|sync| sync.result.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].is_data_only && failed[0].path == Path::new("shards/1/log/chunk"));
}

#[test]
fn writes_and_reads_fail_as_told() {
    let Some(place) = Place::new(Keeping::Underneath) else {
        return;
    };
    let mut file = synced(&place.path("file"), b"content");
    let faults = place.fs.faults();
    let full = faults.arm(Fault::NoSpace, Times::Always, any_path());
    assert_eq!(
        file.write_all(b"x").unwrap_err().kind(),
        std::io::ErrorKind::StorageFull
    );
    let made = File::create(place.path("new")).unwrap_err();
    assert_eq!(made.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(faults.fired(full), 2);
    faults.disarm(full);
    file.write_all(b"x").unwrap();
    faults.arm(Fault::WriteFails, Times::First(1), any_path());
    faults.arm(Fault::ReadFails, Times::First(1), under("file"));
    assert!(file.write_all(b"y").is_err());
    assert!(fs::read(place.path("file")).is_err());
    file.write_all(b"z").unwrap();
    assert_eq!(fs::read(place.path("file")).unwrap(), b"contentxz");
    assert_eq!(faults.firings().len(), 4);
}

#[test]
fn a_slow_sync_keeps_nobody_else_waiting() {
    let Some(place) = Place::new(Keeping::UntilSynced) else {
        return;
    };
    let slow_time = Duration::from_millis(1_500);
    let faults = place.fs.faults();
    let armed = faults.arm(Fault::SlowSync(slow_time), Times::Always, under("slow"));
    let files: Vec<File> = (0..20)
        .map(|n| File::create(place.path(&format!("slow-{n}"))).unwrap())
        .collect();
    drop(files);
    fs::create_dir(place.path("slow")).unwrap();
    // More than there are serving threads.
    let files: Vec<File> = (0..20)
        .map(|n| File::create(place.path(&format!("slow/{n}"))).unwrap())
        .collect();
    let started = Instant::now();
    thread::scope(|scope| {
        let syncs: Vec<_> = files
            .iter()
            .map(|file| scope.spawn(|| file.sync_data().unwrap()))
            .collect();
        while faults.fired(armed) < 20 {
            thread::yield_now();
        }
        let quick = synced(&place.path("quick"), b"quick");
        drop(quick);
        assert_eq!(fs::read(place.path("quick")).unwrap(), b"quick");
        assert_eq!(fs::read(place.path("slow/0")).unwrap(), b"");
        assert!(started.elapsed() < slow_time, "{:?}", started.elapsed());
        syncs.into_iter().for_each(|sync| sync.join().unwrap());
    });
    assert!(started.elapsed() >= slow_time);
    assert!(started.elapsed() < 3 * slow_time, "the syncs waited for one another");
    faults.disarm_all();
    let slow_read = Duration::from_millis(200);
    faults.arm(Fault::SlowRead(slow_read), Times::First(1), under("quick"));
    let started = Instant::now();
    fs::read(place.path("quick")).unwrap();
    assert!(started.elapsed() >= slow_read);
}

#[test]
fn a_panic_leaves_no_mount() {
    let Some(place) = Place::new(Keeping::UntilSynced) else {
        return;
    };
    let point = place.fs.folder().to_owned();
    let ended = thread::spawn(move || {
        fs::write(place.path("file"), "content").unwrap();
        let _place = place;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    ended.join().unwrap_err();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(point.to_str().unwrap()));
    assert!(!point.exists());
}

#[test]
fn it_goes_although_somebody_has_files_open() {
    let Some(place) = Place::new(Keeping::UntilSynced) else {
        return;
    };
    let point = place.fs.folder().to_owned();
    let mut file = synced(&place.path("file"), b"content");
    place.fs.faults().arm(Fault::SyncFails, Times::Always, any_path());
    drop(place);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(point.to_str().unwrap()));
    // Served to the end, and without faults, so that nobody hangs.
    file.write_all(b" and more").unwrap();
    file.sync_all().unwrap();
}
