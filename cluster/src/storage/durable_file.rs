//! The two steps that make a name durable, and an error that can be given out again and again.

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
