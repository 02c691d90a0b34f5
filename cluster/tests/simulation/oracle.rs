//! What has been seen, and whether it may be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::run::Report;

/// A client's command.
pub(super) type CommandId = u64;

#[derive(Default)]
struct Seen {
    report: Report,
    proposed: BTreeSet<CommandId>,
    acknowledged: BTreeSet<CommandId>,
    digests: BTreeMap<u64, (u64, u64)>,
    leaders: BTreeMap<u64, u64>,
    /// Commands in each node's current state.
    states: BTreeMap<u64, BTreeSet<CommandId>>,
}

/// Collects what happens; clones are the same oracle.
#[derive(Clone)]
pub(super) struct Oracle {
    seen: Arc<Mutex<Seen>>,
    started: Instant,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Self {
            seen: Arc::default(),
            started: Instant::now(),
        }
    }

    fn note(&self, seen: &mut Seen, what: &[u64]) {
        let at_us = self.started.elapsed().as_micros() as u64;
        for &word in [at_us].iter().chain(what) {
            // FNV-1a over words, which is enough to tell two runs apart.
            seen.report.trace = (seen.report.trace ^ word)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(23);
        }
    }

    fn violate(&self, seen: &mut Seen, what: String) {
        if seen.report.violations.len() < 20 {
            let at_ms = self.started.elapsed().as_millis();
            seen.report.violations.push(format!("{at_ms} ms: {what}"));
        }
    }

    pub(super) fn violated(&self, what: String) {
        self.violate(&mut self.seen.lock(), what);
    }

    pub(super) fn is_violated(&self) -> bool {
        !self.seen.lock().report.violations.is_empty()
    }

    pub(super) fn proposes(&self, command: CommandId) {
        let seen = &mut *self.seen.lock();
        seen.proposed.insert(command);
        self.note(seen, &[1, command]);
    }

    pub(super) fn acknowledged(&self, command: CommandId, index: u64) {
        let seen = &mut *self.seen.lock();
        seen.acknowledged.insert(command);
        seen.report.acknowledged += 1;
        self.note(seen, &[2, command, index]);
    }

    pub(super) fn outcome_unknown(&self, command: CommandId) {
        let seen = &mut *self.seen.lock();
        seen.report.unknown += 1;
        self.note(seen, &[3, command]);
    }

    /// A replica applied a batch: F (only what was proposed, and once) and H.
    pub(super) fn applied(&self, node: u64, index: u64, digest: u64, commands: &[CommandId]) {
        let seen = &mut *self.seen.lock();
        self.note(seen, &[4, node, index, digest]);
        for &command in commands {
            if !seen.proposed.contains(&command) {
                self.violate(
                    seen,
                    format!("F: node {node} applied {command} at {index}, which nobody proposed"),
                );
            }
            if !seen.states.entry(node).or_default().insert(command) {
                self.violate(
                    seen,
                    format!("F: node {node} applied {command} twice, again at {index}"),
                );
            }
        }
        match seen.digests.insert(index, (node, digest)) {
            Some((other, before)) if before != digest => {
                self.violate(seen, format!("H: nodes {other} and {node} differ at index {index}"));
            }
            _ => {}
        }
    }

    /// A replica's state was replaced.
    pub(super) fn restored(&self, node: u64, commands: BTreeSet<CommandId>) {
        let seen = &mut *self.seen.lock();
        self.note(seen, &[5, node, commands.len() as u64]);
        seen.states.insert(node, commands);
    }

    /// A node leads a term: G.
    pub(super) fn leads(&self, node: u64, term: u64) {
        let seen = &mut *self.seen.lock();
        match seen.leaders.insert(term, node) {
            Some(before) if before != node => {
                self.violate(seen, format!("G: nodes {before} and {node} both led term {term}"));
            }
            Some(_) => {}
            None => {
                seen.report.terms += 1;
                self.note(seen, &[6, node, term]);
            }
        }
    }

    pub(super) fn crashed(&self, node: u64) {
        let seen = &mut *self.seen.lock();
        seen.report.crashes += 1;
        self.note(seen, &[7, node]);
    }

    pub(super) fn partitioned(&self) {
        self.seen.lock().report.partitions += 1;
    }

    pub(super) fn snapshot_received(&self) {
        self.seen.lock().report.snapshots_received += 1;
    }

    pub(super) fn acknowledged_so_far(&self) -> BTreeSet<CommandId> {
        self.seen.lock().acknowledged.clone()
    }

    /// A linearizable read on `node` must show all of `before`: B.
    pub(super) fn reads(&self, node: u64, before: &BTreeSet<CommandId>) {
        let seen = &mut *self.seen.lock();
        seen.report.reads += 1;
        self.note(seen, &[8, node, before.len() as u64]);
        let missing = before
            .iter()
            .find(|command| !seen.states.get(&node).is_some_and(|state| state.contains(command)));
        if let Some(missing) = missing.copied() {
            self.violate(
                seen,
                format!("B: a read on node {node} misses {missing}, acknowledged before it began"),
            );
        }
    }

    /// At the end: A, on every node.
    pub(super) fn finish(&self, nodes: &[u64]) -> Report {
        let seen = &mut *self.seen.lock();
        for &node in nodes {
            let state = seen.states.get(&node).cloned().unwrap_or_default();
            let lost: Vec<CommandId> = seen.acknowledged.difference(&state).copied().collect();
            if !lost.is_empty() {
                self.violate(
                    seen,
                    format!("A: node {node} lost {} acknowledged commands: {lost:?}", lost.len()),
                );
            }
        }
        seen.report.clone()
    }
}
