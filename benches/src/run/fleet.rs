//! One run of several generators: a coordinator has the cluster, makes the tenants and tells everybody when to begin; each generator
//! plays its share of the people; what they measured and saw becomes one report.
//!
//! ```text
//!   generator                                       coordinator
//!     │ ── hello: version, machine, scenario's hash ──► │  refused with a sentence, or
//!     │ ◄── welcome: scenario, seed, tenants, share ─── │
//!     │ ── ping ──► ◄── pong ── … ── clock ───────────► │  how its clock stands to this one
//!     │ ── ready ─────────────────────────────────────► │  its agents and standing conversations are there
//!     │ ◄── begin at a time, on this clock ──────────── │  when all are ready
//!     │ ── tick, every second ────────────────────────► │
//!     │ ── settled ───────────────────────────────────► │
//!     │ ◄── account? ── accounts ─────────────────────► │  until nothing is missing, or the time is over
//!     │ ◄── end ──── outcome ─────────────────────────► │
//! ```
//!
//! Frames are JSON with their length before them. Whoever is silent for too long, or goes, ends the run, by name. There is no
//! protection against anybody who reads along or lies: it is meant for machines of one test on a network of their own.

mod clock;
mod coordinator;
mod generator;
mod merge;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::scenario::Scenario;

pub use coordinator::Coordinator;
pub use generator::{GenerateArgs, generate};
pub use wire::Welcome;

/// Generators of a run.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub count: usize,
    /// Where they come; without it they are children of this program.
    pub listen: Option<SocketAddr>,
    /// The scenario's file, as children are to find it.
    pub scenario: PathBuf,
    /// The scenario as it is in the file.
    pub hash: String,
}

/// Most of them.
pub const GENERATORS_MAX: usize = 256;

/// What tells scenarios apart: all that was read, with the traces that it names.
pub fn hash(scenario: &Scenario) -> String {
    format!(
        "{:032x}",
        xxhash_rust::xxh3::xxh3_128(format!("{scenario:?}").as_bytes())
    )
}

#[cfg(test)]
mod tests;
