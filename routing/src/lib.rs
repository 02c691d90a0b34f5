//! What is true of every conversation, and what should happen next.
//!
//! Two plain, single-threaded values, driven on any clock:
//!
//! - [`state::State`] is replicated. [`state::State::apply`] validates a [`command::Command`] and records its effects as
//!   [`event::Event`]s, or refuses it with a [`rejection::Rejection`]. It never chooses.
//! - [`queue_manager::QueueManager`] runs beside the leader's state and chooses. It is fed the events, keeps indexes of
//!   its own, and turns what it decides into commands that the state validates like any other.
//!
//! ```text
//!                      ┌──────────────────────────── decisions ─────────────────────────────┐
//!                      ▼                                                                    │
//!   commands ──► State::apply(at, tenant, command) ──► events ──► QueueManager::observe ──► decide(now)
//! ```
//!
//! The life of a conversation:
//!
//! ```text
//!   start ─► scheduled ─► waiting     for later; put off again while it waits, or is offered or assigned
//!   start ─► waiting ─► offered ─► assigned ─► wrap_up ─► closed ─► (archived)
//!               ▲  ▲        │         │  ▲                   │
//!               │  └────────┘         │  └─ resume ─ paused  │
//!               │  declined, expired  │              ▲───────┤ pause
//!               └─────────────────────┴──────────────────────┘
//!                 transfer, no reply, lease lost      reopen within the window
//! ```
//!
//! Absent on purpose: a clock (the log's stamp is the time), I/O, randomness, floats, any order that a hash map gives.
//! Equal logs give equal states, byte for byte.

pub mod command;
pub mod event;
pub mod ids;
pub mod invariants;
mod known_bugs;
pub mod limits;
pub mod numbers;
pub mod queue_manager;
pub mod rejection;
pub mod report;
pub mod settings;
pub mod simulation;
pub mod state;
pub mod view;
pub mod words;
