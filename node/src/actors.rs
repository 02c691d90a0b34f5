//! Actors hold what may be lost; the log holds what may not.
//!
//! ```text
//!   apply ──► feed ──► ShardSupervisor ─┬─► QueueManager, one per tenant ──► decisions into the log
//!                      (one per shard)  ├─► Conversation, while somebody listens ──► pushes to listening nodes
//!                                       └─► Agent, while signed in ──► pushes; presence lease
//! ```
//!
//! The supervisor of a shard lives as long as the node. Its children live while this node leads the shard: it starts
//! them when leadership comes and stops them when it goes. A child that fails is started again from the state, a bounded
//! number of times in a window; past that the shard's leadership is handed to another node.

pub mod agent;
pub mod calendar_keeper;
pub mod conversation;
pub mod fan_out;
pub mod feed;
pub mod mailbox;
pub mod measure;
pub mod queue_manager;
pub mod supervisor;
