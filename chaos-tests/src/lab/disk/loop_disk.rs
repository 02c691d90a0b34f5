//! A file system of its own, on a sparse image behind a loop device.
//!
//! ```text
//!   create ──► mounted ──► lose_power ──► (kill who uses it) ──► unmount ──► remount ──► mounted, journal replayed
//!                 │  ▲
//!            fill ▼  │ make_room
//!               full
//! ```
//!
//! The loop device is the mount's: the kernel takes it back when the file system is unmounted, however that comes about.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

use super::{missing_tool, run};

/// How long somebody may still hold files open before an unmount gives up.
const UNMOUNT_WITHIN: Duration = Duration::from_secs(10);
/// mkfs.xfs makes nothing smaller.
const XFS_MIN_BYTES: u64 = 300 << 20;
/// Takes up the room on a full disk.
const BALLAST: &str = ".ballast";
/// Closer than this to what was asked for, a disk counts as filled.
const FILL_SLACK_BYTES: u64 = 64 << 10;

/// A file system that the lab knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// With its usual ordered journal.
    Ext4,
    /// 300 MiB and more.
    Xfs,
}

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    fn make_on(self, image: &Path) -> Result<()> {
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        match self {
            // Nothing is kept back for root, who runs the nodes here and would not find the disk full.
            Self::Ext4 => command.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"]),
            Self::Xfs => command.args(["-q", "-f"]),
        };
        run(command.arg(image)).map(drop)
    }
}

/// Why there can be no such disk here, if there cannot.
pub fn why_not_possible(file_system: FileSystem) -> Option<String> {
    let mkfs = format!("mkfs.{}", file_system.name());
    if let Some(reason) = missing_tool(&["mount", "xfs_io", &mkfs]) {
        return Some(reason);
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let is_known = known.lines().any(|line| line.trim() == file_system.name());
    (!is_known).then(|| format!("the kernel has no {}", file_system.name()))
}

/// A mounted file system on an image; unmounted, and its image removed, when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    file_system: FileSystem,
    point: PathBuf,
    /// `None` while it is not mounted.
    device: Option<PathBuf>,
    // After the unmount in `drop`.
    place: TempDir,
}

impl LoopDisk {
    /// Makes a file system of `bytes` and mounts it at `point`, a folder, which is made if it is missing.
    pub fn create(file_system: FileSystem, bytes: u64, point: &Path) -> Result<Self> {
        ensure!(
            file_system == FileSystem::Ext4 || bytes >= XFS_MIN_BYTES,
            "xfs takes {XFS_MIN_BYTES} bytes at least"
        );
        let place = tempfile::tempdir()?;
        let image = place.path().join("image");
        File::create(&image).and_then(|file| file.set_len(bytes))?;
        file_system.make_on(&image)?;
        fs::create_dir_all(point)?;
        let mut disk = Self {
            file_system,
            point: fs::canonicalize(point)?,
            device: None,
            place,
        };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted. On ext4 there is a `lost+found` in it.
    pub fn folder(&self) -> &Path {
        &self.point
    }

    /// The loop device, as `/dev/loop3`; `None` while it is not mounted.
    pub fn device(&self) -> Option<&Path> {
        self.device.as_deref()
    }

    /// Bytes that can still be written.
    pub fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.point)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Takes up the room until about `leave` bytes are free.
    pub fn fill(&self, leave: u64) -> Result<()> {
        ensure!(self.device.is_some(), "the disk is not mounted");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let ballast = rustix::fs::open(self.point.join(BALLAST), flags, Mode::RUSR | Mode::WUSR)?;
        let mut bytes = rustix::fs::fstat(&ballast)?.st_size as u64;
        let mut step = u64::MAX;
        loop {
            let over = self.free_bytes()?.saturating_sub(leave);
            if over <= FILL_SLACK_BYTES || step < FILL_SLACK_BYTES {
                return Ok(());
            }
            step = step.min(over);
            // Room for what describes the ballast is needed too, so the last of it goes in smaller steps.
            match rustix::fs::fallocate(&ballast, FallocateFlags::empty(), bytes, step) {
                Ok(()) => bytes += step,
                Err(rustix::io::Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error).context("the ballast"),
            }
        }
    }

    /// Gives back the room that [`fill`](Self::fill) took.
    pub fn make_room(&self) -> Result<()> {
        match fs::remove_file(self.point.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("the ballast"),
            _ => Ok(()),
        }
    }

    /// The file system stops where it is: nothing more reaches the device, and every call fails with EIO.
    ///
    /// What was not synced is lost, unless the kernel had written it by itself. Kill who uses the disk, then
    /// [`unmount`](Self::unmount) and [`remount`](Self::remount).
    pub fn lose_power(&self) -> Result<()> {
        ensure!(self.device.is_some(), "the disk is not mounted");
        // Without `-f`, which would flush the log first. ext4 knows the same call.
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.point))?;
        // The tool succeeds whatever the call said.
        let probe = File::create(self.point.join(".probe")).and_then(|file| file.sync_all());
        if probe.is_ok() {
            bail!("{} went on after its power was cut", self.point.display());
        }
        Ok(())
    }

    /// Unmounts; the loop device is given back. Fails when somebody holds files open for longer than some seconds.
    pub fn unmount(&mut self) -> Result<()> {
        let Some(device) = self.device.clone() else {
            return Ok(());
        };
        let until = Instant::now() + UNMOUNT_WITHIN;
        while let Err(error) = rustix::mount::unmount(&self.point, UnmountFlags::empty()) {
            if error != rustix::io::Errno::BUSY || Instant::now() > until {
                return Err(error).with_context(|| format!("{} is still used", self.point.display()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.device = None;
        // The kernel lets go of the image a moment later, and a mount in that moment would find a second device on it.
        while is_bound(&device, &self.image()) {
            ensure!(Instant::now() < until, "{} is not given back", device.display());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Mounts again; what its journal holds is recovered.
    pub fn remount(&mut self) -> Result<()> {
        self.unmount()?;
        self.mount()
    }

    fn image(&self) -> PathBuf {
        self.place.path().join("image")
    }

    fn mount(&mut self) -> Result<()> {
        let mut command = Command::new("mount");
        command.args(["-t", self.file_system.name(), "-o", "loop"]);
        run(command.arg(self.image()).arg(&self.point))?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        // The last one is on top.
        let line = mounts
            .lines()
            .rfind(|line| line.split(' ').nth(1) == self.point.to_str());
        let device = line
            .and_then(|line| line.split(' ').next())
            .context("it is not in /proc/self/mounts")?;
        self.device = Some(device.into());
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            // Somebody still has files open: file system and device go when they do.
            let _ = rustix::mount::unmount(&self.point, UnmountFlags::DETACH);
        }
    }
}

fn is_bound(device: &Path, image: &Path) -> bool {
    let name = device.file_name().unwrap_or_default();
    let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
    fs::read_to_string(backing).is_ok_and(|bound| Path::new(bound.trim_end()) == image)
}

#[cfg(test)]
mod tests;
