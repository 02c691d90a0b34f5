//! Clusters of real processes, faults, and what must hold under them.
//!
//! ```text
//!   seed ─► scenario ─► faults ──────► arena: nodes in namespaces, on disks and clocks of their own
//!                                        ▲            │ views, metrics
//!                          people ───────┘            ▼
//!                            │ diary, history       watch
//!                            └──────► oracle ◄────────┘
//!                                       │ evidence
//!                                       ▼
//!                                   invariants A–L ─► report
//! ```
//!
//! A run has people ([`people`]: customers and agents with real WebSocket connections, readers and posters by REST), who write
//! down what they ask for and what they are told ([`diary`], [`history`]); faults ([`faults`]), drawn from a seed and composed by a
//! scenario ([`scenarios`]); a watch that looks at every node all the time ([`watch`]); and an oracle that gathers all of it
//! ([`oracle`]) for the invariants ([`invariants`]) to judge. A command whose acknowledgement never came may or may not have been
//! done; one that was acknowledged has been done, once.
//!
//! [`lab`] is the machinery: namespaces that vanish with the run, a router of bad lines, disks that lose power, clocks that lie.

pub mod arena;
pub mod cast;
pub mod diary;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod known_bugs;
pub mod lab;
pub mod linearizability;
pub mod oracle;
pub mod people;
pub mod report;
pub mod rest;
pub mod run;
pub mod scenarios;
pub mod situations;
pub mod stage;
pub mod watch;
pub mod world;
