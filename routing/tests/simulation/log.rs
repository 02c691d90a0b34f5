//! The log and the replicas that apply it, each at its own pace. The first to apply an entry gives its outcome, which every
//! other must give too (H).

use routing::command::Envelope;
use routing::event::{Event, Receipt, TenantEvent};
use routing::ids::Millis;
use routing::invariants::Violation;
use routing::queue_manager::DecisionId;
use routing::rejection::Rejection;
use routing::state::{State, Tenant};

use super::oracle::{Oracle, must};
use super::run::Counts;
use super::world::{TENANT, hash_into};

/// Every so many entries the whole state is compared, and looked through.
const WHOLE_EVERY: usize = 64;

/// Where a command comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client's, by the leader that took it.
    Request { request: usize, term: u64 },
    /// The queue manager of a term.
    Decision { term: u64, id: DecisionId },
}

/// A command on its way.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub envelope: Envelope,
    pub origin: Origin,
    /// By its leader's clock.
    pub stamp_ms: Millis,
}

/// A batch of commands, committed.
#[derive(Clone, Debug)]
pub struct Entry {
    pub at_ms: Millis,
    pub proposals: Vec<Proposal>,
}

/// What one command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub result: Result<Receipt, Rejection>,
    pub events: Vec<Event>,
}

/// What an entry did, and the digest after it.
#[derive(Clone, Debug)]
pub struct Applied {
    pub outcomes: Vec<Outcome>,
    digest: u64,
    whole: Option<u64>,
}

/// Entries with index 1, 2, … and what the first replica to apply them made of them.
#[derive(Debug, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    pub applied: Vec<Applied>,
}

/// One replica's state.
#[derive(Debug, Default)]
pub struct Replica {
    pub state: State,
    /// It applies nothing before.
    pub paused_until_ms: Millis,
    /// Its next look at the log is planned.
    pub planned: bool,
}

impl Replica {
    /// Entries applied.
    pub fn at(&self) -> usize {
        self.state.index() as usize
    }

    pub fn tenant(&self) -> Option<&Tenant> {
        self.state.tenant(TENANT)
    }

    /// Applies the next entry, and checks all that must hold after it.
    pub fn apply_next(
        &mut self,
        log: &mut Log,
        oracle: &mut Oracle,
        counts: &mut Counts,
        trace: &mut u64,
    ) -> Result<(), Violation> {
        let at = self.at();
        let index = at as u64 + 1;
        let Log { entries, applied } = log;
        let entry = &entries[at];
        let first = at == applied.len();
        let mut outcomes = Vec::with_capacity(entry.proposals.len());
        for (n, proposal) in entry.proposals.iter().enumerate() {
            let before = (first && oracle.samples()).then(|| self.state.rows_hash());
            let mut told = Vec::new();
            let result = self.state.apply(index, entry.at_ms, &proposal.envelope, &mut told);
            counts.applied += 1;
            let events = told.into_iter().map(|TenantEvent { event, .. }| event).collect();
            let outcome = Outcome { result, events };
            if first {
                hash_into(
                    trace,
                    &(index, entry.at_ms, &proposal.envelope, &outcome.result, &outcome.events),
                );
                oracle.applied(&self.state, entry.at_ms, &proposal.envelope, &outcome, before, counts)?;
                outcomes.push(outcome);
            } else {
                must('H', outcome == applied[at].outcomes[n], || {
                    let there = &applied[at].outcomes[n];
                    format!("entry {index}: {:?} gave {there:?} and {outcome:?}", proposal.envelope)
                })?;
            }
        }
        let whole = (index as usize)
            .is_multiple_of(WHOLE_EVERY)
            .then(|| self.state.full_hash());
        let digest = self.state.digest();
        if first {
            if whole.is_some() {
                oracle.check_whole(&self.state)?;
            }
            applied.push(Applied {
                outcomes,
                digest,
                whole,
            });
            return Ok(());
        }
        must('H', applied[at].digest == digest, || {
            format!("digests differ after entry {index}")
        })?;
        must('H', applied[at].whole == whole, || {
            format!("states differ after entry {index}")
        })
    }

    /// As another replica's snapshot has it, or its own.
    pub fn restored(bytes: &[u8]) -> Result<State, Violation> {
        State::read(&mut &bytes[..]).map_err(|error| Violation {
            letter: 'H',
            what: format!("a snapshot does not read: {error}"),
        })
    }

    /// Its snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.state.capture().write(&mut bytes).expect("written to memory");
        bytes
    }
}
