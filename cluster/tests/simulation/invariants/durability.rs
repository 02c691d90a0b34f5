//! A: no acknowledged operation is lost.

use std::collections::BTreeSet;

use super::super::oracle::CommandId;
use super::{Verdict, demand};

/// What was acknowledged to clients, in that order.
#[derive(Default)]
pub(in super::super) struct Acknowledged(pub(in super::super) Vec<CommandId>);

impl Acknowledged {
    /// At the end every replica has all of it.
    pub(in super::super) fn nothing_is_lost(&self, node: u64, state: &BTreeSet<CommandId>) -> Verdict {
        let lost: Vec<_> = self.0.iter().filter(|command| !state.contains(command)).collect();
        demand(lost.is_empty(), || {
            format!("A: node {node} lost {} acknowledged commands: {lost:?}", lost.len())
        })
    }
}
