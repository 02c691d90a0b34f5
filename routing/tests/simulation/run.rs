//! One run: what is run and what it gave.

use std::panic::{AssertUnwindSafe, catch_unwind};

use routing::invariants::Violation;

use super::world::World;

/// What is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything follows from it.
    pub seed: u64,
    /// Entries of the log after which the faults end.
    pub entries: usize,
}

impl Settings {
    /// The usual run.
    pub fn new(seed: u64) -> Self {
        Self { seed, entries: 1_200 }
    }
}

/// What happened how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Happenings of the agenda.
    pub happenings: u64,
    /// Commands in the log.
    pub commands: u64,
    /// Commands applied, by all replicas together.
    pub applied: u64,
    /// Events that queue managers heard.
    pub heard: u64,
    /// Commands that queue managers decided.
    pub decisions: u64,
    /// Of them, by one that was deposed and did not know.
    pub decisions_of_deposed: u64,
    /// Decisions that the state refused.
    pub decisions_refused: u64,
    /// Decisions whose result stayed unknown.
    pub unknown: u64,
    /// Terms with a leader.
    pub terms: u64,
    /// Commands that were lost before they were committed.
    pub lost: u64,
    /// Answers that did not come back.
    pub replies_lost: u64,
    /// Times that a client asked again.
    pub retries: u64,
    /// Repeats that the state answered with the first answer.
    pub repeats: u64,
    /// Repeats below the window.
    pub too_old: u64,
    /// Replicas replaced by a snapshot.
    pub restored: u64,
    /// Times that a leader's clock jumped.
    pub jumps: u64,
    /// Stamps that went back and were clamped.
    pub clamped: u64,
    /// Requests that a client knows to be done.
    pub acknowledged: u64,
    /// Offers whose place in the order was looked at.
    pub audited: u64,
    /// Timers that fired.
    pub fired: u64,
    /// Timers proposed before their time, and refused.
    pub not_due: u64,
    /// Acts under an old epoch, refused.
    pub stale: u64,
}

impl Counts {
    fn all(&mut self) -> [&mut u64; 22] {
        let Self {
            happenings,
            commands,
            applied,
            heard,
            decisions,
            decisions_of_deposed,
            decisions_refused,
            unknown,
            terms,
            lost,
            replies_lost,
            retries,
            repeats,
            too_old,
            restored,
            jumps,
            clamped,
            acknowledged,
            audited,
            fired,
            not_due,
            stale,
        } = self;
        [
            happenings,
            commands,
            applied,
            heard,
            decisions,
            decisions_of_deposed,
            decisions_refused,
            unknown,
            terms,
            lost,
            replies_lost,
            retries,
            repeats,
            too_old,
            restored,
            jumps,
            clamped,
            acknowledged,
            audited,
            fired,
            not_due,
            stale,
        ]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (here, there) in self.all().into_iter().zip(other.all()) {
            *here += *there;
        }
    }

    /// Commands applied and events heard.
    pub fn steps(&self) -> u64 {
        self.applied + self.heard
    }
}

/// What did not hold, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which of A–L; `P`: something panicked.
    pub letter: char,
    /// How.
    pub what: String,
    /// Commands applied and events heard until then.
    pub step: u64,
    /// Virtual time.
    pub at_ms: u64,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Over everything that happened, byte by byte, with its time.
    pub trace: u64,
    /// How often.
    pub counts: Counts,
    /// `None` when all is well.
    pub found: Option<Found>,
}

/// Runs a seed to its end, or to the first thing that does not hold.
pub fn run(settings: &Settings) -> Report {
    let mut world = World::new(settings);
    // A panic of the core is a finding like others: it has a seed and a step.
    let ended = catch_unwind(AssertUnwindSafe(|| world.run(settings)));
    let violation = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation {
            letter: 'P',
            what: text.unwrap_or_else(|| "a panic without words".to_owned()),
        })
    });
    Report {
        trace: world.trace,
        found: violation.err().map(|Violation { letter, what }| Found {
            letter,
            what,
            step: world.counts.steps(),
            at_ms: world.now_ms,
        }),
        counts: world.counts,
    }
}
