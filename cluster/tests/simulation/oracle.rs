//! What has been seen, and whether it may be: the invariants judge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::invariants::Verdict;
use super::invariants::agreement::{self, Digests};
use super::invariants::durability::Acknowledged;
use super::invariants::origin::Origin;
use super::invariants::raft::{self, Logs, Mirror, SavedVote};
use super::invariants::reads::{Before, Reads};
use super::run::Report;
use super::watched_log::Mark;
use cluster::storage::LogPosition;

/// A client's command.
pub(super) type CommandId = u64;

const VIOLATIONS_KEPT: usize = 20;

#[derive(Default)]
struct Seen {
    report: Report,
    acknowledged: Acknowledged,
    origin: Origin,
    reads: Reads,
    digests: Digests,
    logs: Logs,
    mirrors: BTreeMap<u64, Mirror>,
    /// Commands in each node's current state.
    states: BTreeMap<u64, BTreeSet<CommandId>>,
    /// Up to where each node has applied, in this life.
    applied: BTreeMap<u64, u64>,
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

    fn judge(&self, seen: &mut Seen, verdict: Verdict) {
        if let Err(what) = verdict
            && seen.report.violations.len() < VIOLATIONS_KEPT
        {
            let at_ms = self.started.elapsed().as_millis();
            seen.report.violations.push(format!("{at_ms} ms: {what}"));
        }
    }

    /// Takes the verdict of an invariant that needs nothing of what is kept here.
    pub(super) fn check(&self, verdict: Verdict) {
        self.judge(&mut self.seen.lock(), verdict);
    }

    pub(super) fn violated(&self, what: String) {
        self.check(Err(what));
    }

    pub(super) fn is_violated(&self) -> bool {
        !self.seen.lock().report.violations.is_empty()
    }

    /// A fault did what it was to do.
    pub(super) fn fired(&self, fault: &'static str) {
        let seen = &mut *self.seen.lock();
        *seen.report.fired.entry(fault).or_default() += 1;
        self.note(seen, &[9, fault.len() as u64]);
    }

    pub(super) fn proposes(&self, command: CommandId) {
        let seen = &mut *self.seen.lock();
        seen.origin.proposed.insert(command);
        self.note(seen, &[1, command]);
    }

    pub(super) fn acknowledged(&self, command: CommandId, index: u64) {
        let seen = &mut *self.seen.lock();
        seen.acknowledged.0.push(command);
        seen.reads.seen_up_to(index);
        seen.report.acknowledged += 1;
        self.note(seen, &[2, command, index]);
    }

    pub(super) fn outcome_unknown(&self, command: CommandId) {
        let seen = &mut *self.seen.lock();
        seen.report.unknown += 1;
        self.note(seen, &[3, command]);
    }

    /// The client was told that it was certainly not proposed.
    pub(super) fn refused(&self, command: CommandId) {
        let seen = &mut *self.seen.lock();
        seen.report.refused += 1;
        let verdict = seen.origin.refuse(command);
        self.judge(seen, verdict);
    }

    /// A replica applied a batch.
    pub(super) fn applied(&self, node: u64, index: u64, term: u64, digest: u64, commands: &[CommandId]) {
        let seen = &mut *self.seen.lock();
        self.note(seen, &[4, node, index, digest]);
        let before = seen.applied.insert(node, index).unwrap_or(0);
        self.judge(seen, raft::grows("applied index", node, before, index));
        let verdict = seen.logs.committed_stays_committed(node, index, term);
        self.judge(seen, verdict);
        for &command in commands {
            seen.origin.apply(command);
            let is_new = seen.states.entry(node).or_default().insert(command);
            let verdict = seen
                .origin
                .was_sent(node, index, command)
                .and_then(|()| seen.origin.refused_is_not_applied(command))
                .and_then(|()| Origin::once(node, index, command, is_new));
            self.judge(seen, verdict);
        }
        let verdict = seen.digests.equal_at_equal_index(node, index, digest);
        self.judge(seen, verdict);
    }

    /// A replica's state was replaced.
    pub(super) fn restored(&self, node: u64, commands: BTreeSet<CommandId>) {
        let seen = &mut *self.seen.lock();
        self.note(seen, &[5, node, commands.len() as u64]);
        seen.states.insert(node, commands);
        seen.applied.remove(&node);
    }

    /// A node was seen to lead a term.
    pub(super) fn leads(&self, node: u64, term: u64) {
        let seen = &mut *self.seen.lock();
        match seen.logs.election_safety(node, term) {
            Ok(false) => {}
            Ok(true) => {
                seen.report.terms += 1;
                self.note(seen, &[6, node, term]);
                let log = seen.mirrors.get(&node).cloned().unwrap_or_default();
                let verdict = seen.logs.leader_completeness(node, term, &log);
                self.judge(seen, verdict);
            }
            Err(what) => self.judge(seen, Err(what)),
        }
    }

    pub(super) fn log_opened(&self, node: u64, now: Mirror) {
        let seen = &mut *self.seen.lock();
        let before = seen.mirrors.remove(&node).unwrap_or_default();
        self.judge(seen, raft::flushed_stays(node, &before, &now));
        let promised = now.entries.clone();
        let now = Mirror {
            promised,
            promised_vote: now.vote,
            cuts: before.cuts + 1,
            ..now
        };
        seen.mirrors.insert(node, now);
    }

    /// How often a node's log was cut so far.
    pub(super) fn cuts(&self, node: u64) -> u64 {
        self.seen.lock().mirrors.get(&node).map_or(0, |log| log.cuts)
    }

    pub(super) fn appended(&self, node: u64, marks: &[Mark]) {
        let seen = &mut *self.seen.lock();
        for &(index, term, hash) in marks {
            let log = seen.mirrors.entry(node).or_default();
            let verdict = seen.logs.log_matching(node, log, index, term, hash);
            log.entries.insert(index, (term, hash));
            self.judge(seen, verdict);
        }
    }

    pub(super) fn entries_flushed(&self, node: u64, marks: &[Mark], cuts: u64) {
        let seen = &mut *self.seen.lock();
        let log = seen.mirrors.entry(node).or_default();
        if log.cuts == cuts {
            log.promised
                .extend(marks.iter().map(|&(index, term, hash)| (index, (term, hash))));
        }
    }

    pub(super) fn truncated(&self, node: u64, last: Option<u64>) {
        let seen = &mut *self.seen.lock();
        let log = seen.mirrors.entry(node).or_default();
        let first_cut = last.map_or(0, |last| last + 1);
        let cut = log.entries.split_off(&first_cut);
        log.promised.split_off(&first_cut);
        log.cuts += 1;
        for (index, (term, _)) in cut {
            let verdict = seen.logs.nothing_committed_is_cut(node, index, term);
            self.judge(seen, verdict);
        }
    }

    pub(super) fn purged(&self, node: u64, purged: Option<LogPosition>, last: Option<LogPosition>) {
        let seen = &mut *self.seen.lock();
        let log = seen.mirrors.entry(node).or_default();
        let first_kept = purged.map_or(0, |purged| purged.index + 1);
        log.entries = log.entries.split_off(&first_kept);
        log.promised = log.promised.split_off(&first_kept);
        log.purged = purged;
        // A snapshot that stands for another history takes the tail with it.
        if last == purged {
            log.entries.clear();
            log.promised.clear();
            log.cuts += 1;
        }
    }

    pub(super) fn vote_saved(&self, node: u64, vote: Option<SavedVote>) {
        let seen = &mut *self.seen.lock();
        let log = seen.mirrors.entry(node).or_default();
        let verdict = raft::votes_grow(node, log.vote, vote);
        log.vote = vote;
        self.judge(seen, verdict);
    }

    pub(super) fn vote_flushed(&self, node: u64, vote: Option<SavedVote>) {
        self.seen.lock().mirrors.entry(node).or_default().promised_vote = vote;
    }

    pub(super) fn snapshot_received(&self) {
        self.seen.lock().report.snapshots_received += 1;
    }

    /// A read begins.
    pub(super) fn read_begins(&self) -> Before {
        let seen = self.seen.lock();
        seen.reads.begin(&seen.acknowledged)
    }

    /// It ended on `node`, at `index`.
    pub(super) fn read_ends(&self, node: u64, before: Before, index: u64) {
        let seen = &mut *self.seen.lock();
        seen.report.reads += 1;
        self.note(seen, &[8, node, index]);
        let state = seen.states.entry(node).or_default();
        let verdict = Reads::no_read_is_stale(node, before, &seen.acknowledged, state)
            .and_then(|()| seen.reads.no_read_goes_back(node, before, index));
        self.judge(seen, verdict);
        seen.reads.seen_up_to(index);
    }

    /// At the end: what each node has, with its rows.
    pub(super) fn ends_with(&self, node: u64, rows: &BTreeSet<CommandId>) {
        let seen = &mut *self.seen.lock();
        let state = seen.states.get(&node).cloned().unwrap_or_default();
        let verdict = seen.acknowledged.nothing_is_lost(node, &state);
        self.judge(seen, verdict);
        self.judge(seen, agreement::rows_belong_to_the_state(node, rows, &state));
    }

    pub(super) fn report(&self) -> Report {
        Report {
            simulated_ms: self.started.elapsed().as_millis() as u64,
            ..self.seen.lock().report.clone()
        }
    }
}
