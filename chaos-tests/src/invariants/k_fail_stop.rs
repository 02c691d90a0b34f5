//! K: after a sync that failed, or damage that was found, a node acknowledges nothing by that file, and never syncs it again until its process
//! is another. The faults look at the disk's own record of syncs when they are healed; here is what they found. That nothing
//! acknowledged is missing is A.

use anyhow::{Result, bail};

use super::Looked;
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    if let Some(first) = evidence.distrust.violations.first() {
        bail!("{first}");
    }
    match evidence.distrust.looked {
        0 => Ok(Looked::Skipped("no disk failed".into())),
        looked => Ok(Looked::At(looked)),
    }
}
