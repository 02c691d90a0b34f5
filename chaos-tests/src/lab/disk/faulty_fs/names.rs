//! Changes of names that are not durable yet, and how a power cut takes them back.
//!
//! As in a journal they are lost from the newest back: what becomes durable takes everything before it along.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was done, with paths as they were then, relative to the folder underneath.
#[derive(Debug)]
pub(super) enum Change {
    Made {
        path: PathBuf,
    },
    /// The one removed waits under its new name.
    Removed {
        path: PathBuf,
        waits: PathBuf,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
        /// What was at `to` before.
        replaced: Option<PathBuf>,
    },
}

#[derive(Debug)]
struct Entry {
    change: Change,
    /// Numbers of the nodes whose sync makes it durable: the thing itself, and the folders.
    concerned: Vec<u64>,
}

/// The changes, oldest first, and where removed things wait.
#[derive(Debug)]
pub(super) struct Names {
    underneath: PathBuf,
    removed: PathBuf,
    count: u64,
    changes: VecDeque<Entry>,
}

impl Names {
    pub(super) fn new(underneath: &Path) -> io::Result<Self> {
        let mut removed = underneath.as_os_str().to_owned();
        removed.push(".removed");
        let removed = PathBuf::from(removed);
        if removed.exists() {
            // Of a mount that ended badly.
            fs::remove_dir_all(&removed)?;
        }
        fs::create_dir(&removed)?;
        Ok(Self {
            underneath: underneath.to_owned(),
            removed,
            count: 0,
            changes: VecDeque::new(),
        })
    }

    /// A place for something that goes, and may come back.
    pub(super) fn waiting_place(&mut self) -> PathBuf {
        self.count += 1;
        self.removed.join(self.count.to_string())
    }

    pub(super) fn push(&mut self, change: Change, concerned: Vec<u64>) {
        self.changes.push_back(Entry { change, concerned });
    }

    /// A sync of `node`: the last change that concerns it is durable, with all before it.
    pub(super) fn settle(&mut self, node: u64) -> io::Result<()> {
        let last = self.changes.iter().rposition(|entry| entry.concerned.contains(&node));
        let count = last.map_or(0, |last| last + 1);
        self.changes.drain(..count).try_for_each(|entry| forget(&entry.change))
    }

    pub(super) fn settle_all(&mut self) -> io::Result<()> {
        self.changes.drain(..).try_for_each(|entry| forget(&entry.change))?;
        fs::remove_dir_all(&self.removed)
    }

    /// A power cut: takes back what is not durable, the newest first.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        while let Some(entry) = self.changes.pop_back() {
            let at = |path: &Path| self.underneath.join(path);
            match entry.change {
                Change::Made { path } => remove(&at(&path))?,
                Change::Removed { path, waits } => fs::rename(waits, at(&path))?,
                Change::Renamed { from, to, replaced } => {
                    fs::rename(at(&to), at(&from))?;
                    if let Some(waits) = replaced {
                        fs::rename(waits, at(&to))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What waited need wait no longer.
fn forget(change: &Change) -> io::Result<()> {
    match change {
        Change::Removed { waits, .. }
        | Change::Renamed {
            replaced: Some(waits), ..
        } => remove(waits),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    }
}
