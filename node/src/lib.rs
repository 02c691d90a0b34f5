//! The node: ties routing and cluster together and faces the world.
//!
//! ```text
//!   sockets ── gateway ─┐                         ┌─ shard_host: routing's state as a cluster state machine
//!   HTTP ───── api ─────┼── engine ── cluster ────┤
//!   CLI ────── admin ───┘     │                   └─ directory: tenants, keys, nodes (shard 0)
//!                             └── actors (on a shard's leader): queue managers, conversations, agents
//! ```
//!
//! [`engine::Engine`] is all that a face may use: commands in, queries out. [`gateway::hub::Hub`] is where a socket
//! learns what happens. Absent on purpose: any decision of who gets what (that is `routing`), any knowledge of Raft
//! (that is `cluster`).

pub mod access;
pub mod actors;
pub mod api;
pub mod auth;
pub mod calendars;
pub mod calls;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod directory;
pub mod engine;
pub mod error;
pub mod gateway;
pub mod limits;
pub mod local;
pub mod logging;
pub mod metrics;
pub mod policy_diff;
pub mod policy_lint;
pub mod query;
pub mod replay;
pub mod replicas;
pub mod reports;
pub mod rules;
pub mod server;
pub mod shard_host;
pub mod tenant_file;
pub mod toml_input;
pub mod wall_clock;
pub mod web;
