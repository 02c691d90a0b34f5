//! A file system that fails on demand: a FUSE layer over a folder, served by threads of this process.
//!
//! ```text
//!   node ──► kernel ──► FaultyFs ──► the folder underneath
//!                          │  ▲
//!        what is not synced│  │Faults: armed and disarmed while it runs
//!             (Keeping::UntilSynced)
//! ```
//!
//! - **Consistent**: files are opened for direct I/O, so each read and write comes here and the kernel keeps no pages, and
//!   names and attributes are asked for anew each time. Memory cannot be mapped shared; nobody here does. The price is a
//!   round trip for each call: some tens of microseconds.
//! - **Locks** (`flock`, `fcntl`) are the kernel's own, and go with the process that holds them.
//! - **`sync_file_range`** never comes here: the kernel answers it, and nothing becomes durable. As on a real disk.
//! - **Slow calls** wait on threads of their own, so a slow sync of one file keeps nobody else waiting. Only writers of
//!   the same file wait for it: the kernel locks the inode during a sync.
//! - Hard links, symbolic links, extended attributes and `fallocate` are refused.
//!
//! What a power cut leaves, with [`Keeping::UntilSynced`]: the content of files as at their last sync, and names as a
//! journal would have them: changes of names are lost from the newest back to the last one that a sync of a file or
//! folder concerned made durable. A sync that fails drops what it should have written, as Linux does: the file keeps its
//! length, reads find what was there before or zeros, and the next sync succeeds without it.

mod calls;
mod faults;
mod held;
mod names;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, MountOption, Session};
use rustix::mount::UnmountFlags;

pub use self::faults::{ArmedFault, Fault, Faults, Firing, PathMatch, SyncRecord, Times, any_path, under};
pub use self::held::Survivors;

use self::calls::{Layer, Shared};
use super::missing_tool;

/// How long somebody may still hold files open before an unmount gives up.
const UNMOUNT_WITHIN: Duration = Duration::from_secs(10);
/// Threads that take calls; a slow one gets a thread of its own besides.
const THREADS: usize = 8;

/// Where written bytes are until they are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In the folder underneath, at once. A power cut or a failed sync loses nothing.
    Underneath,
    /// In this process's memory, so that a power cut or a failed sync loses it.
    UntilSynced,
}

/// How the layer works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where written bytes are until they are synced.
    pub keeping: Keeping,
    /// Whether a sync also syncs the file underneath: it then takes as long as the machine's disk takes.
    pub syncs_underneath: bool,
}

impl Default for Options {
    /// Unsynced bytes can be lost, and syncs take their time.
    fn default() -> Self {
        Self {
            keeping: Keeping::UntilSynced,
            syncs_underneath: true,
        }
    }
}

/// Why there can be no such file system here, if there cannot.
pub fn why_not_possible() -> Option<String> {
    missing_tool(&[]).or_else(|| {
        let is_there = Path::new("/dev/fuse").exists();
        (!is_there).then(|| "there is no /dev/fuse".to_owned())
    })
}

/// The mounted layer; unmounted when dropped.
pub struct FaultyFs {
    point: PathBuf,
    layer: Layer,
    session: Option<BackgroundSession>,
}

impl FaultyFs {
    /// Mounts the layer at `point` over `underneath`; both are made if they are missing.
    ///
    /// Beside `underneath` a folder `<underneath>.removed` is kept, for what a power cut would bring back. Nobody but the
    /// layer may change anything in either while it is mounted.
    pub fn mount(underneath: &Path, point: &Path, options: Options) -> Result<Self> {
        fs::create_dir_all(underneath)?;
        fs::create_dir_all(point)?;
        let point = fs::canonicalize(point)?;
        let layer = Layer(Shared::new(&fs::canonicalize(underneath)?, options)?);
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("kaiwa-faulty".to_owned()),
            MountOption::NoAtime,
            MountOption::NoSuid,
            MountOption::NoDev,
        ];
        config.n_threads = Some(THREADS);
        let session = Session::new(layer.clone(), &point, &config)
            .and_then(Session::spawn)
            .with_context(|| format!("{} cannot be mounted", point.display()))?;
        Ok(Self {
            point,
            layer,
            session: Some(session),
        })
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.point
    }

    /// The faults; clones are the same.
    pub fn faults(&self) -> Faults {
        self.layer.0.faults.clone()
    }

    /// Bytes that a power cut would lose now.
    pub fn unsynced_bytes(&self) -> u64 {
        self.layer.0.unsynced_bytes()
    }

    /// Cuts the power: from now on every call fails with EIO, and what was not synced is gone, except for what
    /// `survivors` lets through. Kill who uses it, then [`return_power`](Self::return_power).
    pub fn lose_power(&self, survivors: Survivors) -> Result<()> {
        self.layer.0.lose_power(survivors)
    }

    /// Serves again, with what the cut left.
    pub fn return_power(&self) {
        self.layer.0.return_power();
    }

    /// For a process that is stopped already: loses what was not synced, and goes on.
    pub fn drop_unsynced(&self, survivors: Survivors) -> Result<()> {
        self.lose_power(survivors)?;
        self.return_power();
        Ok(())
    }

    /// Unmounts; what is not synced is written first, as an unmount does. Fails when somebody holds files open for longer
    /// than some seconds.
    pub fn unmount(mut self) -> Result<()> {
        self.end(UNMOUNT_WITHIN)
    }

    fn end(&mut self, within: Duration) -> Result<()> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        let until = Instant::now() + within;
        let unmounted = loop {
            match rustix::mount::unmount(&self.point, UnmountFlags::empty()) {
                Ok(()) => break Ok(()),
                Err(rustix::io::Errno::BUSY) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = unmounted {
            // The name goes now; the serving threads end by themselves when the last user has closed its files.
            let _ = rustix::mount::unmount(&self.point, UnmountFlags::DETACH);
            return Err(error).with_context(|| format!("{} is still used", self.point.display()));
        }
        let ended = session.join().context("the serving threads");
        ended.and(self.layer.0.settle_everything())
    }
}

impl Drop for FaultyFs {
    fn drop(&mut self) {
        // Who still uses it would otherwise wait for slow calls, or see them succeed after the test.
        self.layer.0.faults.disarm_all();
        let _ = self.end(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests;
