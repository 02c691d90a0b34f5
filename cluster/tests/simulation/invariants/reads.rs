//! B: reads are linearizable: they show what was acknowledged, and what other reads showed, before they began.

use std::collections::BTreeSet;

use super::super::oracle::CommandId;
use super::durability::Acknowledged;
use super::{Verdict, demand};

/// What a read must show, taken when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Before {
    acknowledged: usize,
    index: u64,
}

/// The furthest that anybody has seen.
#[derive(Default)]
pub(in super::super) struct Reads {
    newest_index: u64,
}

impl Reads {
    pub(in super::super) fn begin(&self, acknowledged: &Acknowledged) -> Before {
        Before {
            acknowledged: acknowledged.0.len(),
            index: self.newest_index,
        }
    }

    pub(in super::super) fn seen_up_to(&mut self, index: u64) {
        self.newest_index = self.newest_index.max(index);
    }

    /// No read goes back behind one that ended before it began.
    pub(in super::super) fn no_read_goes_back(&self, node: u64, before: Before, index: u64) -> Verdict {
        demand(index >= before.index, || {
            format!(
                "B: a read on node {node} stands at {index}, after {} was seen",
                before.index
            )
        })
    }

    /// No read misses what was acknowledged before it began.
    pub(in super::super) fn no_read_is_stale(
        node: u64,
        before: Before,
        acknowledged: &Acknowledged,
        state: &BTreeSet<CommandId>,
    ) -> Verdict {
        let mut wanted = acknowledged.0[..before.acknowledged].iter();
        match wanted.find(|command| !state.contains(command)) {
            None => Ok(()),
            Some(missing) => Err(format!(
                "B: a read on node {node} misses {missing}, acknowledged before it began"
            )),
        }
    }
}
