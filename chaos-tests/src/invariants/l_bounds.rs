//! L: every mailbox and buffer stays within its limit, and no process grows beyond what this load explains.

use anyhow::{Result, ensure};

use super::Looked;
use crate::oracle::Evidence;

/// Resident memory of one node under the load of these runs, in MiB: some hundred sockets and some thousand conversations take a
/// tenth of it.
const RESIDENT_MAX_MIB: u64 = 1_024;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    let Some(watched) = &evidence.watched else {
        return Ok(Looked::Skipped("nobody watched the nodes".into()));
    };
    for (node, mib) in &watched.resident_max_mib {
        ensure!(
            *mib <= RESIDENT_MAX_MIB,
            "node {node} took {mib} MiB, more than {RESIDENT_MAX_MIB}"
        );
    }
    Ok(Looked::At(watched.scrapes))
}
