//! What this crate's sources must not contain.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A follower drops the lease of a leader whose process is gone: a read that trusts the lease could then be stale.
#[test]
fn no_read_trusts_a_lease() {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 20);
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        for forbidden in ["LeaseRead", "LinearizerOption"] {
            assert!(
                !text.contains(forbidden),
                "{} uses {forbidden}: reads go by ReadIndex",
                path.display()
            );
        }
    }
}
