//! D: nothing raises an agent's load (offers that are open count) above the capacity. By the agents' own streams, whose items come in
//! order: [`crate::diary::Diary`] keeps the highest load that each stream has shown.

use anyhow::{Result, ensure};

use super::Looked;
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    for (agent, load) in &evidence.diary.highest_loads {
        ensure!(
            *load <= evidence.capacity,
            "{agent} had {load} offers and conversations at a time, and has room for {}",
            evidence.capacity
        );
    }
    Ok(Looked::At(evidence.diary.highest_loads.len() as u64))
}
