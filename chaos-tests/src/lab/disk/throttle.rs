//! A slow disk: the block layer makes what is written to a loop device wait.
//!
//! The limit is set for two control groups of the controller `blkio` (version 1): for the root, in which the kernel's own
//! threads write back pages and journals, and for one that the node's process is put in. One without the other has holes:
//! an fdatasync writes the data in its caller's group, and waits for a journal that a kernel thread writes in the root's.
//! The device is the node's own, so nobody else is slowed down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup/blkio";

/// What a device may do in a second; `None`: as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes written.
    pub write_bytes_per_s: Option<u64>,
    /// Writes.
    pub writes_per_s: Option<u64>,
    /// Bytes read.
    pub read_bytes_per_s: Option<u64>,
    /// Reads.
    pub reads_per_s: Option<u64>,
}

impl Limits {
    fn files(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("blkio.throttle.write_bps_device", self.write_bytes_per_s),
            ("blkio.throttle.write_iops_device", self.writes_per_s),
            ("blkio.throttle.read_bps_device", self.read_bytes_per_s),
            ("blkio.throttle.read_iops_device", self.reads_per_s),
        ]
    }
}

/// Why no device can be slowed down here, if none can.
pub fn why_not_possible() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    let file = Path::new(ROOT).join("blkio.throttle.write_iops_device");
    (!file.exists()).then(|| format!("there is no {}", file.display()))
}

/// A slowed-down device; as fast as before when dropped.
#[derive(Debug)]
pub struct Throttle {
    group: PathBuf,
    /// As `7:3`.
    device: String,
}

impl Throttle {
    /// Slows `device` (as [`LoopDisk::device`](super::loop_disk::LoopDisk::device) gives it) down.
    pub fn start(device: &Path, limits: Limits) -> Result<Self> {
        let number = rustix::fs::stat(device)?.st_rdev;
        let device = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
        // Named by the device, which no other lab has; a process's number says nothing outside its lab.
        let group = Path::new(ROOT).join(format!("kaiwa-lab-{}", device.replace(':', "-")));
        match fs::create_dir(&group) {
            // Left by a lab that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("{} cannot be made", group.display()))?,
        }
        let throttle = Self { group, device };
        throttle.set(limits)?;
        Ok(throttle)
    }

    /// Other limits from now on.
    pub fn set(&self, limits: Limits) -> Result<()> {
        for (file, limit) in limits.files() {
            self.write(&self.group, file, limit)?;
            self.write(Path::new(ROOT), file, limit)?;
        }
        Ok(())
    }

    /// Puts a process, with all its threads, under the limits. Not needed for what it reads and writes through the
    /// kernel's threads; see above.
    pub fn add_process(&self, pid: u32) -> Result<()> {
        fs::write(self.group.join("cgroup.procs"), pid.to_string()).with_context(|| format!("process {pid}"))
    }

    /// Writes that the block layer has let through in the process's group, and in the root's.
    pub fn writes_done(&self) -> Result<(u64, u64)> {
        let count = |group: &Path| -> Result<u64> {
            let served = fs::read_to_string(group.join("blkio.throttle.io_serviced"))?;
            let mine = format!("{} Write ", self.device);
            let count = served.lines().find_map(|line| line.strip_prefix(&mine));
            Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
        };
        Ok((count(&self.group)?, count(Path::new(ROOT))?))
    }

    fn write(&self, group: &Path, file: &str, limit: Option<u64>) -> Result<()> {
        // Zero takes the limit away.
        let rule = format!("{} {}", self.device, limit.unwrap_or(0));
        fs::write(group.join(file), &rule).with_context(|| format!("{rule} into {file}"))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let _ = self.set(Limits::default());
        // A group with processes in it cannot go: they go back to where they came from.
        for pid in fs::read_to_string(self.group.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            let _ = fs::write(Path::new(ROOT).join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.group);
    }
}

#[cfg(test)]
mod tests;
