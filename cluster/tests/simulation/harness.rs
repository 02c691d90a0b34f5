//! The simulated cluster: what the tests of the simulation and of the known bugs share.
//!
//! ```text
//!   run (a seed) ──► world: nodes on simulated disks, links and clocks ──► oracle ──► invariants, A to K
//!                      ▲            ▲
//!                   clients       faults
//! ```

mod clients;
mod clock;
mod disk;
pub mod faults;
mod healing;
mod invariants;
mod ledger;
mod links;
mod members;
mod oracle;
pub mod run;
mod watch;
mod watched_log;
mod world;
