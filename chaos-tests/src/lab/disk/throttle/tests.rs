//! That an fdatasync really takes longer.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::is_skipped;
use super::super::loop_disk::{self, FileSystem, LoopDisk};
use super::*;

const SYNCS: u32 = 20;

/// Median of some appends with fdatasync, from this process.
fn sync_median(disk: &LoopDisk) -> Duration {
    let mut file = File::create(disk.folder().join("file")).unwrap();
    let mut took: Vec<Duration> = (0..SYNCS)
        .map(|_| {
            file.write_all(&[7; 4096]).unwrap();
            let started = Instant::now();
            file.sync_data().unwrap();
            started.elapsed()
        })
        .collect();
    took.sort();
    took[took.len() / 2]
}

fn slows_down(file_system: FileSystem) {
    let reason = why_not_possible().or_else(|| loop_disk::why_not_possible(file_system));
    if is_skipped("the slow disk", reason) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let disk = LoopDisk::create(file_system, 320 << 20, &place.path().join("mounted")).unwrap();
    let fast = sync_median(&disk);
    let limits = Limits {
        writes_per_s: Some(20),
        ..Limits::default()
    };
    let throttle = Throttle::start(disk.device().unwrap(), limits).unwrap();
    let slow = sync_median(&disk);
    let _ = writeln!(
        std::io::stderr(),
        "{file_system:?}: fdatasync {fast:?}, throttled {slow:?}"
    );
    assert!(slow >= Duration::from_millis(30), "{fast:?} before, {slow:?} throttled");
    drop(throttle);
    let again = sync_median(&disk);
    assert!(again < slow / 2, "{again:?} after it, {slow:?} throttled");
}

#[test]
fn ext4_slows_down() {
    slows_down(FileSystem::Ext4);
}

#[test]
fn xfs_slows_down() {
    slows_down(FileSystem::Xfs);
}

#[test]
fn a_process_in_the_group_writes_under_its_limit() {
    let reason = why_not_possible().or_else(|| loop_disk::why_not_possible(FileSystem::Ext4));
    if is_skipped("the slow disk of a process", reason) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let disk = LoopDisk::create(FileSystem::Ext4, 64 << 20, &place.path().join("mounted")).unwrap();
    let limits = Limits {
        write_bytes_per_s: Some(1 << 20),
        ..Limits::default()
    };
    let throttle = Throttle::start(disk.device().unwrap(), limits).unwrap();
    // It waits for a line, so that it is in the group before it writes.
    let mut child = Command::new("sh")
        .args([
            "-c",
            "read go; exec dd if=/dev/zero of=\"$0\" bs=512k count=4 conv=fdatasync",
        ])
        .arg(disk.folder().join("file"))
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    throttle.add_process(child.id()).unwrap();
    let started = Instant::now();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
    let took = started.elapsed();
    let done = throttle.writes_done().unwrap();
    let _ = writeln!(
        std::io::stderr(),
        "2 MiB at 1 MiB/s: {took:?}; writes (group, root): {done:?}"
    );
    assert!(took > Duration::from_secs(1), "{took:?} for 2 MiB at 1 MiB/s");
    assert!(done.0 > 0, "no write was counted for the group: {done:?}");
    let group = throttle.group.clone();
    drop(throttle);
    assert!(!group.exists());
}
