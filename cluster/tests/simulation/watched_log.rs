//! A log whose every change the oracle sees.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::invariants::fail_stop;
use super::invariants::raft::{Mirror, SavedVote};
use super::oracle::Oracle;
use cluster::codec;
use cluster::storage::simulated::{SimulatedDisk, SimulatedLog};
use cluster::storage::{LogEngine, LogPosition, LogState, OnFlushed};

/// Index, term and a hash of the rest.
pub(super) type Mark = (u64, u64, u64);

pub(super) struct WatchedLog {
    log: SimulatedLog,
    disk: SimulatedDisk,
    /// Of the disk, before this log was opened.
    failures_before: u64,
    node: u64,
    oracle: Oracle,
    lives: Arc<AtomicBool>,
}

/// What a flush makes durable.
enum Promise {
    Entries(Vec<Mark>, u64),
    Vote(Option<SavedVote>),
    Nothing,
}

fn mark((position, bytes): &(LogPosition, Bytes)) -> Mark {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    (position.index, position.term, hasher.finish())
}

/// The vote as `raft/log.rs` writes it: schema, leader id, whether a quorum gave it.
fn read_vote(bytes: &[u8]) -> Option<SavedVote> {
    type Written = (u16, ((u64, Option<u64>), bool));
    let (_, ((term, node), committed)) = codec::decode::<Written>(bytes, 1_024).ok()?;
    Some(SavedVote {
        term,
        node: node?,
        committed,
    })
}

impl WatchedLog {
    pub(super) fn new(
        log: SimulatedLog,
        disk: SimulatedDisk,
        node: u64,
        oracle: Oracle,
        lives: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let state = log.state()?;
        let vote = state
            .vote
            .as_deref()
            .map(|vote| read_vote(vote).expect("a vote as raft/log.rs writes it"));
        let entries = log.read(0, u64::MAX)?;
        let entries = entries
            .iter()
            .map(mark)
            .map(|(index, term, hash)| (index, (term, hash)));
        oracle.log_opened(
            node,
            Mirror {
                entries: entries.collect(),
                purged: state.purged,
                vote,
                ..Mirror::default()
            },
        );
        Ok(Self {
            log,
            failures_before: disk.failures(),
            disk,
            node,
            oracle,
            lives,
        })
    }

    fn lives(&self) -> bool {
        self.lives.load(Ordering::Relaxed)
    }

    fn watch(&self, promise: Promise, flushed: OnFlushed) -> OnFlushed {
        let (oracle, node, lives) = (self.oracle.clone(), self.node, self.lives.clone());
        let (disk, failures_before) = (self.disk.clone(), self.failures_before);
        Box::new(move |result| {
            if result.is_ok() && lives.load(Ordering::Relaxed) {
                let failures = disk.failures() - failures_before;
                oracle.check(fail_stop::nothing_is_flushed_after_a_failure(node, failures));
                match promise {
                    Promise::Entries(marks, cuts) => oracle.entries_flushed(node, &marks, cuts),
                    Promise::Vote(vote) => oracle.vote_flushed(node, vote),
                    Promise::Nothing => {}
                }
            }
            flushed(result);
        })
    }
}

impl LogEngine for WatchedLog {
    fn state(&self) -> io::Result<LogState> {
        self.log.state()
    }

    fn append(&self, entries: Vec<(LogPosition, Bytes)>, flushed: OnFlushed) -> io::Result<()> {
        let marks: Vec<Mark> = entries.iter().map(mark).collect();
        let flushed = self.watch(Promise::Entries(marks.clone(), self.oracle.cuts(self.node)), flushed);
        self.log.append(entries, flushed)?;
        if self.lives() {
            self.oracle.appended(self.node, &marks);
        }
        Ok(())
    }

    fn truncate_after(&self, position: Option<LogPosition>, flushed: OnFlushed) -> io::Result<()> {
        self.log
            .truncate_after(position, self.watch(Promise::Nothing, flushed))?;
        if self.lives() {
            let last = self.log.state()?.last;
            self.oracle.truncated(self.node, last.map(|last| last.index));
        }
        Ok(())
    }

    fn purge(&self, position: LogPosition, flushed: OnFlushed) -> io::Result<()> {
        self.log.purge(position, self.watch(Promise::Nothing, flushed))?;
        if self.lives() {
            let state = self.log.state()?;
            self.oracle.purged(self.node, state.purged, state.last);
        }
        Ok(())
    }

    fn save_vote(&self, vote: Bytes, flushed: OnFlushed) -> io::Result<()> {
        let saved = read_vote(&vote);
        self.log.save_vote(vote, self.watch(Promise::Vote(saved), flushed))?;
        if self.lives() {
            self.oracle.vote_saved(self.node, saved);
        }
        Ok(())
    }

    fn save_committed(&self, position: Option<LogPosition>) -> io::Result<()> {
        self.log.save_committed(position)
    }

    fn read(&self, from: u64, until: u64) -> io::Result<Vec<(LogPosition, Bytes)>> {
        self.log.read(from, until)
    }

    fn bytes(&self) -> u64 {
        self.log.bytes()
    }
}
