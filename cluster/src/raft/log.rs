//! openraft's log storage on top of a [`LogEngine`].

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::{LogState, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::trouble::Trouble;
use super::{CommittedLeaderId, Entry, LogId, Payload, TypeConfig, Vote};
use crate::codec;
use crate::known_bugs::put_in;
use crate::limits::{FRAME_MAX_BYTES, READ_MAX_BYTES};
use crate::storage::flush_times::FlushTimes;
use crate::storage::{LogEngine, LogPosition, OnFlushed};

/// Schema of the payloads and votes that are given to the engine.
const SCHEMA: u16 = 1;
/// Entries asked from the engine at a time while filling one append frame.
const READ_STEP: u64 = 16;

/// The newest term that this replica has promised a candidate or a leader, or is about to. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Promised(Arc<AtomicU64>);

impl Promised {
    /// It is never behind what was promised: it is raised before the vote goes to the disk, and nobody is answered before
    /// it is there.
    pub(crate) fn term(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn raise(&self, term: u64) {
        self.0.fetch_max(term, Ordering::SeqCst);
    }
}

#[derive(Clone)]
pub(crate) struct LogStore {
    engine: Arc<dyn LogEngine>,
    /// The vote as it is on disk; openraft asks for it before every read for replication.
    vote: Arc<Mutex<Option<Vote>>>,
    promised: Promised,
    trouble: Trouble,
    times: FlushTimes,
}

impl LogStore {
    pub(crate) fn new(engine: Arc<dyn LogEngine>, trouble: Trouble, times: FlushTimes) -> io::Result<Self> {
        let vote = match engine.state()?.vote {
            Some(bytes) => Some(decode_vote(&bytes)?),
            None => None,
        };
        let promised = Promised::default();
        promised.raise(vote.map_or(0, |vote| vote.leader_id.term));
        Ok(Self {
            engine,
            vote: Arc::new(Mutex::new(vote)),
            promised,
            trouble,
            times,
        })
    }

    pub(crate) fn promised(&self) -> Promised {
        self.promised.clone()
    }

    fn read(&self, from: u64, until: u64) -> io::Result<Vec<Entry>> {
        if from >= until {
            return Ok(Vec::new());
        }
        let found = self.engine.read(from, until);
        let entries = found.and_then(|found| found.into_iter().map(decode_entry).collect());
        self.trouble.note(entries)
    }
}

pub(super) fn position(id: LogId) -> LogPosition {
    LogPosition {
        term: id.leader_id.term,
        leader: 0,
        index: id.index,
    }
}

fn log_id(position: LogPosition) -> LogId {
    LogId {
        leader_id: CommittedLeaderId::new(position.term),
        index: position.index,
    }
}

fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    match codec::decode::<(u16, Vote)>(bytes, 1024) {
        Ok((SCHEMA, vote)) => Ok(vote),
        Ok((schema, _)) => Err(unreadable(format!("vote of schema {schema}"))),
        Err(error) => Err(unreadable(format!("vote: {error}"))),
    }
}

fn decode_entry((position, bytes): (LogPosition, Bytes)) -> io::Result<Entry> {
    match codec::decode::<(u16, Payload)>(&bytes, FRAME_MAX_BYTES) {
        Ok((SCHEMA, payload)) => Ok(Entry {
            log_id: log_id(position),
            payload,
        }),
        Ok((schema, _)) => Err(unreadable(format!("entry {} of schema {schema}", position.index))),
        Err(error) => Err(unreadable(format!("entry {}: {error}", position.index))),
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log engine stopped")
}

fn unreadable(what: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the log holds an unreadable {what}"),
    )
}

/// Reports errors of an operation whose success openraft need not wait for: the engine is fail-stop, so whatever
/// comes after it fails as well.
fn unawaited(what: &'static str, trouble: Trouble) -> OnFlushed {
    Box::new(move |result| {
        if let Err(error) = trouble.note(result) {
            tracing::error!(%error, what, "log engine failed");
        }
    })
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(&from) => from,
            Bound::Excluded(&before) => before + 1,
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(&last) => last + 1,
            Bound::Excluded(&until) => until,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, until)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(*self.vote.lock())
    }

    /// Stops at about [`READ_MAX_BYTES`], so that an append always fits a frame.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut from = start;
        while from < end && bytes < READ_MAX_BYTES {
            let until = end.min(from + READ_STEP);
            for found in self.trouble.note(self.engine.read(from, until))? {
                bytes += found.1.len();
                entries.push(self.trouble.note(decode_entry(found))?);
                if bytes >= READ_MAX_BYTES {
                    break;
                }
            }
            from = until;
        }
        Ok(entries)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.trouble.note(self.engine.state())?;
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.promised.raise(vote.leader_id.term);
        if put_in("cluster::vote_not_durable") {
            *self.vote.lock() = Some(*vote);
            return Ok(());
        }
        let (done, flushed) = oneshot::channel();
        let bytes = codec::encode(&(SCHEMA, vote));
        let saved = self.engine.save_vote(
            bytes,
            self.times.measured(Box::new(move |result| {
                let _ = done.send(result);
            })),
        );
        self.trouble.note(saved)?;
        let flushed = flushed.await.unwrap_or_else(|_| Err(stopped()));
        self.trouble.note(flushed)?;
        *self.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.trouble.note(self.engine.save_committed(committed.map(position)))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.trouble.note(self.engine.state())?;
        // Committed may run ahead of what was flushed here; beyond the last local entry there is nothing to apply.
        Ok(state.committed.min(state.last).map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries
            .into_iter()
            .map(|entry| (position(entry.log_id), codec::encode(&(SCHEMA, &entry.payload))))
            .collect();
        let trouble = self.trouble.clone();
        let flushed: OnFlushed = Box::new(move |result| callback.io_completed(trouble.note(result)));
        self.trouble
            .note(self.engine.append(entries, self.times.measured(flushed)))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let flushed = unawaited("truncate", self.trouble.clone());
        self.trouble
            .note(self.engine.truncate_after(last_log_id.map(position), flushed))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let flushed = unawaited("purge", self.trouble.clone());
        self.trouble.note(self.engine.purge(position(log_id), flushed))
    }
}
