//! R40: what has happened, again, under another policy.
//!
//! ```text
//!   trace (arrivals, waits, service, presences) ──► people (work, patience) ──┐
//!                                                                             ├─► simulator: the real routing core ──► figures ──► plot
//!   policy as it was set, policy of a file ───────────────────────────────────┘
//! ```
//!
//! All runs meet the same people: what is not known of somebody (how long an answered customer would have waited, how much work
//! one who left would have been) is drawn from the conversation's id. Taken as they were: presences, and the time that a
//! conversation took. So the comparison says nothing of agents who would work faster under another policy.

pub mod figures;
pub mod people;
pub mod plot;
pub mod rehearsal;
pub mod table;
pub mod trace;

#[cfg(test)]
mod tests;
