//! What is shown while a run goes on.

use std::time::Instant;

use super::record::Summary;

/// The last complete interval, and totals so far.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub started: Option<Instant>,
    pub at_s: f64,
    /// Begin of the measured part.
    pub from_s: f64,
    pub arrivals: u64,
    pub messages: u64,
    pub acknowledged: u64,
    pub ack: Option<Summary>,
    pub offer: Option<Summary>,
    pub lag: Option<Summary>,
    pub waiting: u64,
    pub busy: u64,
    /// Customers who are there.
    pub present: u64,
    /// Arrivals, in target, abandoned, messages.
    pub totals: [u64; 4],
    pub faults: u64,
    pub refused: u64,
    pub ticks: u64,
    /// CPU (cores) and memory (MiB) of each node, then of the generator.
    pub processes: Vec<(f64, f64)>,
}
