//! The calls that the kernel passes on.

mod answers;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rustix::io::Errno;

use super::faults::{Call, Faults, SyncRecord, Verdict};
use super::held::{HeldFile, Survivors};
use super::names::{Change, Names};
use super::tree::{ROOT, Tree, below};
use super::{Keeping, Options};

/// What fuser drives; clones are the same layer.
#[derive(Clone)]
pub(super) struct Layer(pub Arc<Shared>);

/// The layer. Locks are taken in the order tree, file.
pub(super) struct Shared {
    underneath: PathBuf,
    options: Options,
    pub faults: Faults,
    has_power: AtomicBool,
    state: Mutex<State>,
    listings: Mutex<Listings>,
}

/// What open folders were found to hold, by handle: a listing that is read in parts must not change in between.
#[derive(Default)]
struct Listings {
    last: u64,
    open: HashMap<u64, Vec<(u64, FileType, OsString)>>,
}

struct State {
    tree: Tree,
    /// `None` when nothing is kept back.
    names: Option<Names>,
}

/// A file or folder, and what the kernel wants to know of it.
struct Found {
    number: u64,
    metadata: Metadata,
    bytes: u64,
}

impl Shared {
    pub(super) fn new(underneath: &Path, options: Options) -> Result<Arc<Self>> {
        let names = match options.keeping {
            Keeping::UntilSynced => Some(Names::new(underneath)?),
            Keeping::Underneath => None,
        };
        Ok(Arc::new(Self {
            underneath: underneath.to_owned(),
            options,
            faults: Faults::new(),
            has_power: AtomicBool::new(true),
            state: Mutex::new(State {
                tree: Tree::new(),
                names,
            }),
            listings: Mutex::default(),
        }))
    }

    pub(super) fn unsynced_bytes(&self) -> u64 {
        let files = self.lock().tree.files();
        files.iter().map(|(_, file)| file.held_bytes()).sum()
    }

    pub(super) fn lose_power(&self, survivors: Survivors) -> Result<()> {
        let mut state = self.lock();
        // Whoever waits for a file's lock finds the power gone when it gets it.
        self.has_power.store(false, Ordering::SeqCst);
        for (number, file) in state.tree.files() {
            file.lose(survivors, number)?;
        }
        if let Some(names) = &mut state.names {
            names.take_back()?;
        }
        state.tree.clear();
        Ok(())
    }

    pub(super) fn return_power(&self) {
        self.has_power.store(true, Ordering::SeqCst);
    }

    /// What an unmount does.
    pub(super) fn settle_everything(&self) -> Result<()> {
        let mut state = self.lock();
        for (_, file) in state.tree.files() {
            file.settle(|| true)?;
        }
        if let Some(mut names) = state.names.take() {
            names.settle_all()?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_on(&self) -> bool {
        self.has_power.load(Ordering::SeqCst)
    }

    /// The tree, unless the power is gone.
    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if self.is_on() { Ok(state) } else { Err(Errno::IO.into()) }
    }

    fn holds(&self) -> bool {
        self.options.keeping == Keeping::UntilSynced
    }

    fn below(&self, path: &Path) -> PathBuf {
        below(&self.underneath, path)
    }

    /// What the faults say to a call on a node.
    fn judge(&self, call: Call, number: u64) -> io::Result<(PathBuf, Verdict)> {
        let path = self.powered()?.tree.path(number)?;
        let verdict = self.faults.judge(call, &path);
        Ok((path, verdict))
    }

    fn judge_name(&self, state: &State, parent: u64, name: &OsStr) -> io::Result<PathBuf> {
        let path = state.tree.child_path(parent, name)?;
        match self.faults.judge(Call::Make, &path).error {
            Some(error) => Err(error.into()),
            None => Ok(path),
        }
    }

    fn find(&self, state: &mut State, parent: u64, name: &OsStr) -> io::Result<Found> {
        let path = self.below(&state.tree.child_path(parent, name)?);
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) => {
                state.tree.remove(parent, name);
                return Err(error);
            }
        };
        let number = state.tree.child(parent, name, &metadata)?;
        Self::look(state, number, metadata)
    }

    fn look(state: &State, number: u64, metadata: Metadata) -> io::Result<Found> {
        let bytes = match state.tree.open_file(number) {
            Some(file) => file.len()?,
            None => metadata.len(),
        };
        Ok(Found {
            number,
            metadata,
            bytes,
        })
    }

    fn lookup(&self, parent: u64, name: &OsStr) -> io::Result<Found> {
        self.find(&mut *self.powered()?, parent, name)
    }

    fn attributes(&self, number: u64) -> io::Result<Found> {
        let state = self.powered()?;
        // The file first: it may have been removed, and be open still.
        let metadata = match state.tree.open_file(number) {
            Some(file) => file.file().metadata()?,
            None => self.below(&state.tree.path(number)?).symlink_metadata()?,
        };
        Self::look(&state, number, metadata)
    }

    fn file_in(&self, state: &mut State, number: u64) -> io::Result<Arc<HeldFile>> {
        let path = self.below(&state.tree.path(number)?);
        state
            .tree
            .file(number, || OpenOptions::new().read(true).write(true).open(path))
    }

    fn change_attributes(&self, number: u64, mode: Option<u32>, bytes: Option<u64>) -> io::Result<Found> {
        if let Some(bytes) = bytes {
            let file = self.file_in(&mut *self.powered()?, number)?;
            file.set_len(bytes, self.holds(), || self.is_on())?;
            self.powered()?.tree.tidy(number);
        }
        if let Some(mode) = mode {
            let path = self.below(&self.powered()?.tree.path(number)?);
            fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
        }
        self.attributes(number)
    }

    fn make_folder(&self, parent: u64, name: &OsStr, mode: u32) -> io::Result<Found> {
        let mut state = self.powered()?;
        let path = self.judge_name(&state, parent, name)?;
        fs::DirBuilder::new().mode(mode & 0o7777).create(self.below(&path))?;
        self.made(&mut state, parent, name, path)
    }

    fn made(&self, state: &mut State, parent: u64, name: &OsStr, path: PathBuf) -> io::Result<Found> {
        let found = self.find(state, parent, name)?;
        if let Some(names) = &mut state.names {
            names.push(Change::Made { path }, vec![found.number, parent]);
        }
        Ok(found)
    }

    fn create(&self, parent: u64, name: &OsStr, mode: u32) -> io::Result<Found> {
        let mut state = self.powered()?;
        let path = self.judge_name(&state, parent, name)?;
        let is_new = self.below(&path).symlink_metadata().is_err();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.mode(mode & 0o7777).open(self.below(&path))?;
        let found = if is_new {
            self.made(&mut state, parent, name, path)?
        } else {
            self.find(&mut state, parent, name)?
        };
        self.file_in(&mut state, found.number)?;
        state.tree.opened(found.number)?;
        Ok(found)
    }

    fn open(&self, number: u64) -> io::Result<()> {
        let mut state = self.powered()?;
        self.file_in(&mut state, number)?;
        state.tree.opened(number)
    }

    fn close(&self, number: u64) {
        self.lock().tree.closed(number);
    }

    fn remove(&self, parent: u64, name: &OsStr, is_folder: bool) -> io::Result<()> {
        let mut state = self.powered()?;
        let found = self.find(&mut state, parent, name)?;
        let path = state.tree.child_path(parent, name)?;
        let full = self.below(&path);
        if is_folder && fs::read_dir(&full)?.next().is_some() {
            return Err(Errno::NOTEMPTY.into());
        }
        match &mut state.names {
            Some(names) => {
                let waits = names.waiting_place();
                fs::rename(&full, &waits)?;
                names.push(Change::Removed { path, waits }, vec![found.number, parent]);
            }
            None if is_folder => fs::remove_dir(&full)?,
            None => fs::remove_file(&full)?,
        }
        state.tree.remove(parent, name);
        Ok(())
    }

    fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), may_replace: bool) -> io::Result<()> {
        let mut state = self.powered()?;
        let moved = self.find(&mut state, from.0, from.1)?;
        let replaced = self.find(&mut state, to.0, to.1).ok();
        if replaced.is_some() && !may_replace {
            return Err(Errno::EXIST.into());
        }
        let (old, new) = (
            state.tree.child_path(from.0, from.1)?,
            state.tree.child_path(to.0, to.1)?,
        );
        match &mut state.names {
            Some(names) => {
                let waits = replaced.is_some().then(|| names.waiting_place());
                if let Some(waits) = &waits {
                    fs::rename(self.below(&new), waits)?;
                }
                fs::rename(self.below(&old), self.below(&new))?;
                let concerned = vec![moved.number, from.0, to.0];
                let (from, to, replaced) = (old, new, waits);
                names.push(Change::Renamed { from, to, replaced }, concerned);
            }
            None => fs::rename(self.below(&old), self.below(&new))?,
        }
        state.tree.rename(from, to)
    }

    fn read(&self, number: u64, offset: u64, bytes: u32, error: Option<Errno>) -> io::Result<Vec<u8>> {
        if let Some(error) = error {
            return Err(error.into());
        }
        let file = self.file_in(&mut *self.powered()?, number)?;
        file.read(offset, bytes as usize)
    }

    fn write(&self, number: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (_, verdict) = self.judge(Call::Write, number)?;
        if let Some(error) = verdict.error {
            return Err(error.into());
        }
        let file = self.file_in(&mut *self.powered()?, number)?;
        file.write(offset, bytes, self.holds(), || self.is_on())
    }

    /// A sync of a file or folder that was judged before, at `at`.
    fn sync(&self, number: u64, is_data_only: bool, at: Duration, path: PathBuf, verdict: Verdict) -> io::Result<()> {
        let synced = match verdict.error {
            None => self.sync_underneath(number, &path, is_data_only),
            Some(error) => {
                let file = self.lock().tree.open_file(number);
                if let Some(file) = file {
                    file.lose_pages();
                }
                Err(error.into())
            }
        };
        let (bytes, result) = match &synced {
            Ok(bytes) => (*bytes, Ok(())),
            Err(error) => (0, Err(Errno::from_io_error(error).unwrap_or(Errno::IO))),
        };
        self.faults.record_sync(SyncRecord {
            path,
            at,
            took: self.faults.now() - at,
            bytes,
            is_data_only,
            result,
        });
        synced.map(drop)
    }

    fn sync_underneath(&self, number: u64, path: &Path, is_data_only: bool) -> io::Result<u64> {
        let file = self.powered()?.tree.open_file(number);
        let bytes = match &file {
            Some(file) => file.settle(|| self.is_on())?,
            None => 0,
        };
        if self.options.syncs_underneath {
            match &file {
                Some(file) if is_data_only => file.file().sync_data()?,
                Some(file) => file.file().sync_all()?,
                None => File::open(self.below(path))?.sync_all()?,
            }
        }
        let mut state = self.powered()?;
        if let Some(names) = &mut state.names {
            names.settle(number)?;
        }
        Ok(bytes)
    }

    fn list(&self, number: u64) -> io::Result<Vec<(u64, FileType, OsString)>> {
        let mut state = self.powered()?;
        let folder = self.below(&state.tree.path(number)?);
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let found = state.tree.child(number, &entry.file_name(), &entry.metadata()?)?;
            entries.push((found, entry.file_type()?, entry.file_name()));
        }
        Ok(entries)
    }

    fn listings(&self) -> MutexGuard<'_, Listings> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_folder(&self) -> u64 {
        let mut listings = self.listings();
        listings.last += 1;
        listings.last
    }

    fn parent(&self, number: u64) -> u64 {
        self.lock().tree.parent(number).unwrap_or(ROOT)
    }
}
