//! What is shown while a run goes on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::account::Faults;
use super::record::{MEASURES, Measure, Packed, Summary};

/// Measures of which the last interval is shown.
pub const SHOWN: [Measure; 7] = [
    Measure::MessageAck,
    Measure::MessageDelivery,
    Measure::StartAck,
    Measure::StartOffer,
    Measure::OfferAssigned,
    Measure::Lag,
    Measure::Runtime,
];
/// Intervals that are kept for the display.
const HISTORY: usize = 600;
const NOT_ASKED: u64 = u64::MAX;

/// How a run is ended before its time.
#[derive(Debug)]
pub struct Control {
    stop_at_us: AtomicU64,
    aborted: AtomicBool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            stop_at_us: AtomicU64::new(NOT_ASKED),
            aborted: AtomicBool::new(false),
        }
    }
}

impl Control {
    /// Nothing new from this time of the run on (0: from now on); it settles then.
    pub fn stop_at(&self, at_us: u64) {
        self.stop_at_us.fetch_min(at_us, Ordering::Relaxed);
    }

    /// When it was asked to stop.
    pub fn stops_at(&self) -> Option<u64> {
        Some(self.stop_at_us.load(Ordering::Relaxed)).filter(|at_us| *at_us != NOT_ASKED)
    }

    /// Everything ends at once; there is no report.
    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for.
    pub fn aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }
}

/// A generator among several.
#[derive(Clone, Debug, Default)]
pub struct Generator {
    pub name: String,
    /// On the machine of the coordinator.
    pub here: bool,
    /// Cores in use over the last second, and memory in MiB.
    pub cpu: f64,
    pub mib: f64,
    /// Of the last interval, its schedule lag.
    pub lag: Option<Summary>,
}

/// The last complete interval, and totals so far.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub started: Option<Instant>,
    pub scenario: String,
    pub at_s: f64,
    /// Begin of the measured part, and its end as planned.
    pub from_s: f64,
    pub until_s: f64,
    /// Since when the run only waits for what is open, and how long it does so at most.
    pub settling: Option<Instant>,
    pub settle_s: f64,
    /// Length of an interval.
    pub interval_s: f64,
    pub arrivals: u64,
    pub assigned: u64,
    pub messages: u64,
    pub acknowledged: u64,
    /// By measure: of the last interval.
    pub last: [Option<Summary>; MEASURES.len()],
    /// And so far; only when somebody is looking.
    pub so_far: [Option<Summary>; MEASURES.len()],
    /// Somebody is looking closely.
    pub watched: bool,
    pub waiting: u64,
    /// As the nodes tell.
    pub queue_depth: Option<f64>,
    pub busy: u64,
    /// Places of all agents.
    pub places: u64,
    /// Customers who are there.
    pub present: u64,
    /// Arrivals, in target, abandoned, messages.
    pub totals: [u64; 4],
    pub faults: Faults,
    pub refused: u64,
    pub ticks: u64,
    /// Arrivals, assigned, messages, acknowledged of each interval, the last one last.
    pub history: VecDeque<[u64; 4]>,
    /// CPU (cores) and memory (MiB) of each node, then of the generator.
    pub processes: Vec<(f64, f64)>,
    /// Where there are several: each.
    pub generators: Vec<Generator>,
    /// Histograms of the last interval, when others are to be told.
    pub packed: Packed,
}

impl Live {
    /// A measure of the last interval.
    pub fn last(&self, measure: Measure) -> Option<Summary> {
        self.last[measure as usize]
    }

    /// An interval is complete.
    pub fn ticked(&mut self) {
        self.ticks += 1;
        let counts = [self.arrivals, self.assigned, self.messages, self.acknowledged];
        self.history.push_back(counts);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}
