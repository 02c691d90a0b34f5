//! H: equal digests at equal applied index, of all replicas and at all times that were looked at.

use anyhow::Result;

use super::Looked;
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    let Some(watched) = &evidence.watched else {
        return Ok(Looked::Skipped("nobody watched the nodes".into()));
    };
    Ok(Looked::At(watched.digests_compared))
}
