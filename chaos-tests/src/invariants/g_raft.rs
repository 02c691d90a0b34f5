//! G: at most one leader per shard and term, whoever says so; and no node's term, commit or applied index goes back while it runs, nor its
//! term when it comes back. Seen from outside, by samples; the simulation of `cluster` looks at every step.

use anyhow::Result;

use super::Looked;
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    let Some(watched) = &evidence.watched else {
        return Ok(Looked::Skipped("nobody watched the nodes".into()));
    };
    Ok(Looked::At(watched.samples))
}
