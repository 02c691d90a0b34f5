//! B: what clients did to each conversation and each agent, and what they were told, can be put into one order that agrees with the times
//! of call and return ([`crate::linearizability`]).

use anyhow::{Result, bail};

use super::Looked;
use crate::linearizability::{Budget, Rules, agent, check_history, conversation};
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    let rules = Rules {
        conversation: conversation::Rules::default(),
        agent: agent::Rules {
            capacity: u32::try_from(evidence.capacity).ok(),
            ..agent::Rules::default()
        },
    };
    let findings = check_history(&evidence.history, &rules, Budget::default());
    if let Some(folder) = evidence.folder.as_ref().filter(|_| !findings.all_is_well()) {
        findings.write(folder)?;
    }
    if let Some(first) = findings.violations.first() {
        bail!(
            "{} of {} objects; {}: {}",
            findings.violations.len(),
            findings.objects,
            first.object,
            first.text
        );
    }
    if let Some(first) = findings.undecided.first() {
        return Ok(Looked::Skipped(format!(
            "{} of {} objects were not decided within the budget, {} first",
            findings.undecided.len(),
            findings.objects,
            first.object
        )));
    }
    Ok(Looked::At(findings.operations as u64))
}
