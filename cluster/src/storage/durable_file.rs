//! The two steps that make a name durable, reading from the disk for certain, and an error that can be given out again and
//! again.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use parking_lot::Mutex;

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a folder with its parents, each name durable.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(parent.unwrap_or(Path::new(".")))
}

/// Makes sure that a file is read from the disk and not from memory, where a page whose writing failed may still be, clean.
///
/// The sync is no second try of one that failed, and its success proves nothing: it only waits until nothing is being
/// written, for what is in writing is not forgotten.
pub(super) fn forget_cached(file: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    file.sync_data()?;
    if let Err(error) = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed) {
        tracing::debug!(%error, "this file system does not forget what it has in memory");
    }
    Ok(())
}

/// The first error of an engine: from then on its only answer.
#[derive(Default)]
pub(super) struct FailStop(Mutex<Option<(io::ErrorKind, String)>>);

impl FailStop {
    /// Keeps `error` unless there is one already; gives the first.
    pub(super) fn fail(&self, error: &io::Error) -> io::Error {
        let mut first = self.0.lock();
        let (kind, text) = first.get_or_insert_with(|| (error.kind(), error.to_string()));
        io::Error::new(*kind, text.clone())
    }

    /// The first error, if there was one.
    pub(super) fn check(&self) -> io::Result<()> {
        match &*self.0.lock() {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }
}
