//! Clusters of real processes, faults, and what must hold under them.
//!
//! A run has people ([`people`]: customers and agents with real WebSocket connections, who write down everything that they
//! are told), faults (kill -9 of a node, of the leader, of all), and an oracle ([`oracle`]: what the people were told,
//! against each other and against every node's transcripts). A command whose acknowledgement never came may or may not
//! have been done; one that was acknowledged has been done, once.

pub mod cast;
pub mod oracle;
pub mod people;
pub mod rest;
pub mod situations;
pub mod stage;
pub mod world;
