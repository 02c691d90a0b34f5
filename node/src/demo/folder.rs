//! The demo's folder, and how it is told from any other.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// The file that makes a folder a demo's.
const MARK: &str = "kaiwa-demo";
const MARK_TEXT: &str = "This folder belongs to `kaiwa demo`; `kaiwa demo --fresh` empties it.\n";

/// Makes the folder ready; `fresh` empties it first. A folder with anything else in it is left alone, and so is one that
/// another demo uses: what is returned keeps it for this one.
pub fn prepare(folder: &Path, fresh: bool) -> Result<File> {
    let empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", folder.display())),
    };
    if !empty && !folder.join(MARK).is_file() {
        bail!(
            "{} is no demo's folder (it has no file `{MARK}`) and not empty; choose another with --data",
            folder.display()
        );
    }
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    fs::write(folder.join(MARK), MARK_TEXT).with_context(|| format!("{} cannot be written", folder.display()))?;
    let mark = File::open(folder.join(MARK))?;
    if flock(&mark, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another demo uses {}; choose another with --data", folder.display());
    }
    if fresh {
        clear(folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
    }
    Ok(mark)
}

/// Everything but the mark, so that a try that was cut short can be repeated.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() == MARK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_kept_and_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/demo");
        prepare(&folder, true).unwrap();
        fs::create_dir(folder.join("node-1")).unwrap();
        fs::write(folder.join("node-1/log"), "x").unwrap();
        prepare(&folder, false).unwrap();
        assert!(folder.join("node-1/log").exists(), "kept");
        prepare(&folder, true).unwrap();
        assert!(!folder.join("node-1").exists(), "emptied");
        assert!(folder.join(MARK).exists());
    }

    #[test]
    fn a_folder_in_use_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = prepare(dir.path(), false).unwrap();
        fs::write(dir.path().join("row"), "x").unwrap();
        assert!(
            prepare(dir.path(), true)
                .unwrap_err()
                .to_string()
                .contains("another demo")
        );
        assert!(dir.path().join("row").exists());
        drop(kept);
        prepare(dir.path(), true).unwrap();
        assert!(!dir.path().join("row").exists());
    }

    #[test]
    fn somebody_elses_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("thesis.txt");
        fs::write(&precious, "x").unwrap();
        for fresh in [true, false] {
            let refusal = prepare(dir.path(), fresh).unwrap_err().to_string();
            assert!(refusal.contains("no demo's folder"), "{refusal}");
        }
        assert!(precious.exists());
    }
}
