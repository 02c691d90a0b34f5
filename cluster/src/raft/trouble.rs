//! Why a replica ended: what its storage told openraft, which keeps no kind of error.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::is_full;

/// The first failure of a replica's storage. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<Cause>>>);

/// What it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No room: as good as before once there is room again.
    Full,
    /// Anything else; what the system said.
    Broken(String),
}

impl Trouble {
    /// Notes a failure on its way to openraft.
    pub(crate) fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.0.lock().get_or_insert_with(|| Cause::of(error));
        }
        result
    }

    /// The first, if there was one.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.0.lock().clone()
    }
}

impl Cause {
    /// What an error stands for.
    pub(crate) fn of(error: &io::Error) -> Self {
        if is_full(error) {
            Self::Full
        } else {
            Self::Broken(error.to_string())
        }
    }
}
