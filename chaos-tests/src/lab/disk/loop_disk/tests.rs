//! That the power really fails, and that a full disk is full.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::super::is_skipped;
use super::*;

const BYTES: u64 = 320 << 20;

fn disk(file_system: FileSystem) -> (LoopDisk, TempDir) {
    let place = tempfile::tempdir().unwrap();
    let disk = LoopDisk::create(file_system, BYTES, &place.path().join("mounted")).unwrap();
    (disk, place)
}

fn power_fails_on(file_system: FileSystem) {
    if is_skipped("the power cut of a loop disk", why_not_possible(file_system)) {
        return;
    }
    let (mut disk, _place) = disk(file_system);
    let synced = disk.folder().join("synced");
    let unsynced = disk.folder().join("unsynced");
    let mut file = File::create(&synced).unwrap();
    file.write_all(b"kept").unwrap();
    file.sync_all().unwrap();
    File::open(disk.folder()).unwrap().sync_all().unwrap();
    file.write_all(b" and more").unwrap();
    fs::write(&unsynced, "lost").unwrap();

    disk.lose_power().unwrap();
    assert!(file.write_at(b"late", 0).and_then(|_| file.sync_all()).is_err());
    drop(file);
    disk.unmount().unwrap();
    disk.remount().unwrap();

    assert_eq!(fs::read(&synced).unwrap(), b"kept");
    assert!(!unsynced.exists(), "never synced, and yet there");
    // It is usable, and the next cut works as well.
    fs::write(&unsynced, "again").unwrap();
    disk.lose_power().unwrap();
    disk.remount().unwrap();
    assert!(!unsynced.exists());
}

#[test]
fn power_fails_on_ext4() {
    power_fails_on(FileSystem::Ext4);
}

#[test]
fn power_fails_on_xfs() {
    power_fails_on(FileSystem::Xfs);
}

fn fills_up(file_system: FileSystem) {
    if is_skipped("the full loop disk", why_not_possible(file_system)) {
        return;
    }
    let (disk, _place) = disk(file_system);
    let free = disk.free_bytes().unwrap();
    disk.fill(4 << 20).unwrap();
    let left = disk.free_bytes().unwrap();
    assert!((3 << 20..=5 << 20).contains(&left), "{left} left of {free}");

    let written = fs::write(disk.folder().join("big"), vec![7; 16 << 20]).unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::StorageFull);
    fs::remove_file(disk.folder().join("big")).unwrap();
    disk.fill(0).unwrap();
    let written = fs::write(disk.folder().join("small"), vec![7; 1 << 20]).unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::StorageFull);

    disk.make_room().unwrap();
    disk.make_room().unwrap();
    fs::write(disk.folder().join("big"), vec![7; 16 << 20]).unwrap();
    fs::remove_file(disk.folder().join("big")).unwrap();
    // xfs had not even room for the inode.
    let _ = fs::remove_file(disk.folder().join("small"));
    // xfs gives room back in the background, and keeps a little for inodes.
    let until = Instant::now() + Duration::from_secs(10);
    while disk.free_bytes().unwrap() + (4 << 20) < free {
        assert!(Instant::now() < until, "{} of {free}", disk.free_bytes().unwrap());
        thread::yield_now();
    }
}

#[test]
fn ext4_fills_up() {
    fills_up(FileSystem::Ext4);
}

#[test]
fn xfs_fills_up() {
    fills_up(FileSystem::Xfs);
}

#[test]
fn a_panic_leaves_no_mount_and_no_device() {
    if is_skipped("the panic with a loop disk", why_not_possible(FileSystem::Ext4)) {
        return;
    }
    let (disk, place) = disk(FileSystem::Ext4);
    let (point, device, image) = (disk.point.clone(), disk.device.clone().unwrap(), disk.image());
    let ended = thread::spawn(move || {
        let _disk = disk;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    ended.join().unwrap_err();
    assert!(!is_bound(&device, &image));
    assert!(!image.exists());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(point.to_str().unwrap()));
    drop(place);
}
