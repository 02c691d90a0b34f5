//! F: nothing appears that nobody sent, nothing twice, and nothing of which its client was told that it was not proposed.

use std::collections::BTreeSet;

use super::super::oracle::CommandId;
use super::{Verdict, demand};

#[derive(Default)]
pub(in super::super) struct Origin {
    pub(in super::super) proposed: BTreeSet<CommandId>,
    /// Told to the client as certainly not proposed.
    pub(in super::super) refused: BTreeSet<CommandId>,
    applied: BTreeSet<CommandId>,
}

impl Origin {
    pub(in super::super) fn refuse(&mut self, command: CommandId) -> Verdict {
        self.refused.insert(command);
        self.refused_is_not_applied(command)
    }

    pub(in super::super) fn apply(&mut self, command: CommandId) {
        self.applied.insert(command);
    }

    pub(in super::super) fn was_sent(&self, node: u64, index: u64, command: CommandId) -> Verdict {
        demand(self.proposed.contains(&command), || {
            format!("F: node {node} applied {command} at {index}, which nobody proposed")
        })
    }

    pub(in super::super) fn refused_is_not_applied(&self, command: CommandId) -> Verdict {
        demand(
            !(self.refused.contains(&command) && self.applied.contains(&command)),
            || format!("F: {command} was applied, though its client was told that it was not proposed"),
        )
    }

    /// `is_new`: the node had not applied it in this state.
    pub(in super::super) fn once(node: u64, index: u64, command: CommandId, is_new: bool) -> Verdict {
        demand(is_new, || {
            format!("F: node {node} applied {command} twice, again at {index}")
        })
    }
}
