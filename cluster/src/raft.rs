//! Everything that touches openraft. No type of it leaves this crate, and few leave this module.
//!
//! What the rest of the crate relies on, and which this module pins down:
//! * one leader per term (openraft's standard leader id);
//! * a leader that restarts does **not** resume its term (`enable_leader_restore: Some(false)`): openraft replicates
//!   before its own flush, so a resumed term could give one log id to two entries;
//! * reads go by the ReadIndex of `shards/reading.rs` only: a follower that sees a dead leader's process refuse a connection
//!   drops that leader's lease early, so nothing may ever answer a read from a lease; and openraft's own ReadIndex can
//!   count what was answered before the read.

pub(crate) mod entry;
pub(crate) mod frames;
pub(crate) mod inbound;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod runtime;
pub(crate) mod transfer;
pub(crate) mod trouble;

use std::sync::Arc;

use openraft::impls::leader_id_std;
use openraft::{Config as RaftConfig, SnapshotPolicy, StepDownPolicy};

pub use runtime::{Gate, seed_this_thread};

use crate::config::Config;
use crate::error::StartError;

openraft::declare_raft_types!(
    /// The types that openraft is used with.
    pub(crate) TypeConfig:
        D = entry::CommandBatch,
        R = entry::Replies,
        NodeId = u64,
        Node = openraft::BasicNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = runtime::Runtime,
);

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<entry::CommandBatch, u64, openraft::BasicNode>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, openraft::BasicNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, openraft::BasicNode>;
pub(crate) type Snapshot = openraft::Snapshot<CommittedLeaderId, u64, openraft::BasicNode, machine::SnapshotFile>;
pub(crate) type Raft = openraft::Raft<TypeConfig, machine::Machine>;

/// The settings of every shard. `leader_restore` exists so that the simulation can show that it catches the bug; no
/// other caller passes anything but `Some(false)`.
pub(crate) fn settings(config: &Config, leader_restore: Option<bool>) -> Result<Arc<RaftConfig>, StartError> {
    let times = &config.raft;
    let settings = RaftConfig {
        cluster_name: "kaiwa".into(),
        heartbeat_interval: times.heartbeat_ms,
        election_timeout_min: times.election_min_ms,
        election_timeout_max: times.election_max_ms,
        // The transfer gives every chunk a deadline of its own; this bounds openraft's view of the whole.
        install_snapshot_timeout: 60_000,
        max_payload_entries: 64,
        max_append_entries: Some(256),
        replication_lag_threshold: config
            .snapshot_entries
            .saturating_mul(2)
            .saturating_add(config.keep_entries),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        // Back to the snapshot before the newest, which is kept in case the newest turns out to be damaged.
        max_in_snapshot_log_to_keep: config.keep_entries.saturating_add(config.snapshot_entries),
        purge_batch_size: 64,
        enable_pre_vote: Some(true),
        removed_leader_step_down: StepDownPolicy::After(150),
        quorum_loss_probe_interval: Some(2 * times.election_max_ms),
        backoff: "20ms 50ms 100ms 200ms ...500ms".into(),
        enable_leader_restore: leader_restore,
        ..Default::default()
    };
    settings
        .validate()
        .map(Arc::new)
        .map_err(|error| StartError::Config(error.to_string()))
}
