//! An ext4 file system in an image file, mounted through a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Why there can be no such file system here.
pub fn why_not_possible() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, to mount".to_owned());
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    File::create(&image).and_then(|file| file.set_len(16 << 20)).unwrap();
    let mount_point = folder.path().join("mounted");
    fs::create_dir(&mount_point).unwrap();
    make_file_system(&image)
        .and_then(|()| Mount::new(&image, &mount_point).map(drop))
        .err()
}

/// A mounted image; unmounted and removed when dropped.
pub struct ImageDisk {
    // In this order: unmount, then remove.
    mount: Mount,
    place: TempDir,
}

impl ImageDisk {
    pub fn create(bytes: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("image");
        File::create(&image).and_then(|file| file.set_len(bytes)).unwrap();
        make_file_system(&image).unwrap();
        Self::mount(place)
    }

    fn mount(place: TempDir) -> Self {
        let mount_point = place.path().join("mounted");
        fs::create_dir(&mount_point).unwrap();
        let mount = Mount::new(&place.path().join("image"), &mount_point).unwrap();
        Self { mount, place }
    }

    pub fn folder(&self) -> &Path {
        &self.mount.point
    }

    /// The disk as it is now, without what the page cache holds. Nobody may write meanwhile.
    pub fn copy_as_if_the_power_failed(&self) -> Self {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let before = self.writes_done();
            let place = tempfile::tempdir().unwrap();
            let (from, to) = (self.place.path().join("image"), place.path().join("image"));
            run(Command::new("cp").arg("--sparse=always").arg(&from).arg(&to)).unwrap();
            // A copy takes time. One during which the kernel wrote by itself is of no single moment.
            if before.is_some() && before == self.writes_done() {
                return Self::mount(place);
            }
            assert!(Instant::now() < deadline, "the disk never came to rest");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Counts of what was written to the device; `None` while something is under way.
    fn writes_done(&self) -> Option<String> {
        let device = self.mount.device.rsplit('/').next().unwrap();
        let stat = fs::read_to_string(format!("/sys/block/{device}/stat")).unwrap();
        let fields: Vec<&str> = stat.split_whitespace().collect();
        // Writes and sectors written, in flight, discards, flushes: Documentation/block/stat.rst.
        (fields[8] == "0").then(|| [4, 6, 11, 15].map(|n| *fields.get(n).unwrap_or(&"")).join(" "))
    }
}

struct Mount {
    point: PathBuf,
    device: String,
}

impl Mount {
    fn new(image: &Path, point: &Path) -> Result<Self, String> {
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop"])
            .arg(image)
            .arg(point))?;
        let mut mount = Self {
            point: point.to_owned(),
            device: String::new(),
        };
        let mounts = fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == point.to_str());
        mount.device = line
            .and_then(|line| line.split(' ').next())
            .ok_or("not in /proc/mounts")?
            .to_owned();
        Ok(mount)
    }
}

impl Drop for Mount {
    /// Unmounting gives the loop device back.
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while run(Command::new("umount").arg(&self.point)).is_err() {
            if Instant::now() > deadline {
                // Somebody still has files open: it goes when they do.
                let _ = run(Command::new("umount").arg("--lazy").arg(&self.point));
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn make_file_system(image: &Path) -> Result<(), String> {
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{:?}: {}",
        command.get_program(),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
