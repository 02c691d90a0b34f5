//! G: Raft: election safety, log matching, leader completeness, committed stays committed, and that vote, commit and applied
//! index only grow.

use std::collections::BTreeMap;

use super::{Verdict, demand};
use cluster::storage::LogPosition;

/// A vote as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct SavedVote {
    pub(in super::super) term: u64,
    pub(in super::super) node: u64,
    pub(in super::super) committed: bool,
}

/// One node's log, as its process sees it.
#[derive(Clone, Default)]
pub(in super::super) struct Mirror {
    /// Index to term and hash.
    pub(in super::super) entries: BTreeMap<u64, (u64, u64)>,
    pub(in super::super) purged: Option<LogPosition>,
    pub(in super::super) vote: Option<SavedVote>,
    /// Said to be on disk: what must be there when the log is opened again.
    pub(in super::super) promised: BTreeMap<u64, (u64, u64)>,
    pub(in super::super) promised_vote: Option<SavedVote>,
    /// Grows when entries are taken away: a flush of earlier ones promises nothing then.
    pub(in super::super) cuts: u64,
}

impl Mirror {
    fn term_before(&self, index: u64) -> Option<u64> {
        let before = index.checked_sub(1)?;
        let purged = self
            .purged
            .filter(|purged| purged.index == before)
            .map(|purged| purged.term);
        self.entries.get(&before).map(|(term, _)| *term).or(purged)
    }
}

/// What all logs together have shown.
#[derive(Default)]
pub(in super::super) struct Logs {
    /// Index and term to the entry's hash and the term before it.
    known: BTreeMap<(u64, u64), (u64, Option<u64>)>,
    /// Index to term, of entries that somebody applied.
    committed: BTreeMap<u64, u64>,
    leaders: BTreeMap<u64, u64>,
}

impl Logs {
    /// At most one node leads a term. Says whether it is new that it does.
    pub(in super::super) fn election_safety(&mut self, node: u64, term: u64) -> Result<bool, String> {
        match self.leaders.insert(term, node) {
            Some(before) if before != node => Err(format!("G: nodes {before} and {node} both led term {term}")),
            before => Ok(before.is_none()),
        }
    }

    /// Entries of one index and term are the same everywhere, and so is the term before them (and with it everything before).
    pub(in super::super) fn log_matching(
        &mut self,
        node: u64,
        log: &Mirror,
        index: u64,
        term: u64,
        hash: u64,
    ) -> Verdict {
        let before = log.term_before(index);
        let known = self.known.entry((index, term)).or_insert((hash, before));
        demand(known.0 == hash, || {
            format!("G: node {node} has another entry {index} of term {term} than others had")
        })?;
        let known_before = *known.1.get_or_insert(before.unwrap_or(0));
        demand(before.is_none_or(|before| before == known_before), || {
            format!("G: before entry {index} of term {term} node {node} has term {before:?}, others had {known_before}")
        })
    }

    /// A leader has every entry that was committed in its term or before.
    pub(in super::super) fn leader_completeness(&self, node: u64, term: u64, log: &Mirror) -> Verdict {
        let first = log.purged.map_or(0, |purged| purged.index + 1);
        let earlier = self
            .committed
            .range(first..)
            .filter(|(_, committed)| **committed <= term);
        for (index, committed) in earlier {
            let held = log.entries.get(index).map(|(term, _)| *term);
            demand(held == Some(*committed), || {
                format!("G: node {node} leads term {term} without entry {index} of term {committed} (it has {held:?})")
            })?;
        }
        Ok(())
    }

    /// What one replica applied, no other replaces.
    pub(in super::super) fn committed_stays_committed(&mut self, node: u64, index: u64, term: u64) -> Verdict {
        let first = *self.committed.entry(index).or_insert(term);
        demand(first == term, || {
            format!("G: node {node} applied entry {index} of term {term}, another that of term {first}")
        })
    }

    /// No log cuts off an entry that is committed.
    pub(in super::super) fn nothing_committed_is_cut(&self, node: u64, index: u64, term: u64) -> Verdict {
        demand(self.committed.get(&index) != Some(&term), || {
            format!("G: node {node} cut off entry {index} of term {term}, which is committed")
        })
    }
}

/// A vote is never taken back. (A candidate may learn that a quorum gave its term to another.)
pub(in super::super) fn votes_grow(node: u64, before: Option<SavedVote>, now: Option<SavedVote>) -> Verdict {
    let grows = match (before, now) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(before), Some(now)) => {
            let is_same = (now.term, now.node) == (before.term, before.node);
            let is_settled = now.term == before.term && now.committed && !before.committed;
            now.term > before.term || is_settled || is_same && now.committed == before.committed
        }
    };
    demand(grows, || {
        format!("G: node {node}'s vote went from {before:?} to {now:?}")
    })
}

/// What was said to be flushed is there when the log is opened again.
pub(in super::super) fn flushed_stays(node: u64, before: &Mirror, now: &Mirror) -> Verdict {
    votes_grow(node, before.promised_vote, now.vote)?;
    let first = now.purged.map_or(0, |purged| purged.index + 1);
    for (index, promised) in before.promised.range(first..) {
        demand(now.entries.get(index) == Some(promised), || {
            format!("A: node {node} said that entry {index} was on disk, and it is not")
        })?;
    }
    Ok(())
}

/// Within one life, a number only grows.
pub(in super::super) fn grows(what: &str, node: u64, before: u64, now: u64) -> Verdict {
    demand(now >= before, || {
        format!("G: node {node}'s {what} went back from {before} to {now}")
    })
}
