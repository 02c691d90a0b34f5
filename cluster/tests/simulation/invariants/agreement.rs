//! H: equal state at equal index on every replica, its rows included.

use std::collections::{BTreeMap, BTreeSet};

use super::super::oracle::CommandId;
use super::{Verdict, demand};

/// Digest at every index, and who had it first.
#[derive(Default)]
pub(in super::super) struct Digests(BTreeMap<u64, (u64, u64)>);

impl Digests {
    pub(in super::super) fn equal_at_equal_index(&mut self, node: u64, index: u64, digest: u64) -> Verdict {
        let (other, first) = *self.0.entry(index).or_insert((node, digest));
        demand(first == digest, || {
            format!("H: nodes {other} and {node} differ at index {index}")
        })
    }
}

/// Every command has its row, and there is no other.
pub(in super::super) fn rows_belong_to_the_state(
    node: u64,
    rows: &BTreeSet<CommandId>,
    state: &BTreeSet<CommandId>,
) -> Verdict {
    let missing = state.difference(rows).next();
    demand(missing.is_none(), || {
        format!("H: node {node} has no row of {missing:?}, which its state has")
    })?;
    let surplus = rows.difference(state).next();
    demand(surplus.is_none(), || {
        format!("H: node {node} has a row of {surplus:?}, which its state lacks")
    })
}
