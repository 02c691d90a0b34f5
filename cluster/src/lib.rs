//! Replication of opaque bytes. This crate knows nothing of conversations.
//!
//! A **shard** is one Raft group. Its **log** is a sequence of entries, each a batch of commands stamped once by the
//! **leader** of the **term**; an entry is *committed* when a majority of **voters** has it on disk (fdatasync), and
//! every **replica** then applies it, in order, to a [`state_machine::StateMachine`] that the user brings. From time to
//! time a replica writes a **snapshot**: the state as a checksummed file, beside the rows that the state machine put
//! into the row store; then the log before it may be purged.
//!
//! ```text
//!   propose(bytes) ──► proposer ──► raft (openraft) ──► log engine ──► fdatasync ──► quorum ──► apply ──► reply
//!                       batches         │                                                        │
//!                                       └── transport: links between nodes, mutual TLS           └── rows ──► sled
//! ```
//!
//! Absent on purpose: lease reads (reads go by ReadIndex, which is what makes dropping a dead leader's lease safe),
//! any acknowledgement before the flush, any type of `openraft`, `raft-log` or `sled` in a public signature.

#[cfg(not(tokio_unstable))]
compile_error!("build with --cfg tokio_unstable: .cargo/config.toml sets it for the whole workspace");

mod clock;
pub mod codec;
pub mod config;
pub mod environment;
pub mod error;
mod failover;
mod identity;
mod known_bugs;
pub mod limits;
mod membership;
mod proposer;
mod raft;
mod shard;
pub mod shards;
pub mod state_machine;
pub mod status;
pub mod storage;
pub mod transport;
