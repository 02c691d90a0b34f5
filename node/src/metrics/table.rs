//! Names, kinds and help of every metric, and the buckets of histograms.

/// A metric.
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Help.
    pub help: &'static str,
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution; with buckets of its own, if those of its unit do not suit.
    Histogram(Option<&'static [f64]>),
}

/// Durations of the machine: 50 µs to 30 s.
pub const DURATION_BUCKETS_S: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];
/// Durations of people: half a second to two hours.
const PEOPLE_BUCKETS_S: &[f64] = &[
    0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 2_400.0, 7_200.0,
];
/// Decisions: a microsecond to a second.
const DECISION_BUCKETS_S: &[f64] = &[
    0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025,
    0.1, 1.0,
];
/// Commands in a batch.
pub const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        help,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        help,
    }
}

const fn histogram(name: &'static str, buckets: Option<&'static [f64]>, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram(buckets),
        help,
    }
}

/// Every metric. Those of the node first, then those that `cluster` reports.
pub const METRICS: &[Metric] = &[
    gauge("kaiwa_queue_depth", "Conversations that wait, by priority."),
    gauge(
        "kaiwa_queue_oldest_wait_seconds",
        "How long the oldest conversation of the queue has waited.",
    ),
    gauge(
        "kaiwa_queue_eligible_free_slots",
        "Free slots of agents who may take from the queue now.",
    ),
    gauge("kaiwa_queue_agents", "Agents of the queue, by presence."),
    gauge("kaiwa_queue_slots", "Slots of the queue's agents: free, used."),
    gauge(
        "kaiwa_queue_longest_wait_seconds",
        "How long the first of each priority has waited.",
    ),
    gauge(
        "kaiwa_service_level_ratio",
        "Service level of the last quarter hours, by formula: abandon_ignored, answered_only, abandon_negative, abandon_positive.",
    ),
    gauge(
        "kaiwa_answer_speed_seconds",
        "Mean wait of the answered, of the last quarter hours.",
    ),
    gauge(
        "kaiwa_abandonment_ratio",
        "Abandoned of offered, of the last quarter hours.",
    ),
    gauge(
        "kaiwa_estimate_coverage_ratio",
        "Share of the answered who waited no longer than the estimated percentile, of the last quarter hours.",
    ),
    gauge(
        "kaiwa_batch_gain",
        "By how much matching in batches was better than one by one, summed over the last quarter hours.",
    ),
    gauge(
        "kaiwa_occupancy_ratio",
        "Handling time of handling and idle time of the queue's agents, of the last quarter hours.",
    ),
    gauge(
        "kaiwa_occupancy_jain_ratio",
        "Jain's index of the occupancy of the queue's agents: 1 when all are equally busy.",
    ),
    gauge(
        "kaiwa_tenant_occupancy_ratio",
        "Handling time of handling and idle time of the tenant's agents, of the last quarter hours.",
    ),
    gauge(
        "kaiwa_tenant_occupancy_jain_ratio",
        "Jain's index of the occupancy of the tenant's agents: 1 when all are equally busy.",
    ),
    counter(
        "kaiwa_tenant_commands_total",
        "Commands of the tenant that this node applied: its share of the log.",
    ),
    counter(
        "kaiwa_conversations_offered_total",
        "Conversations that came to the queue.",
    ),
    counter(
        "kaiwa_conversations_closed_total",
        "Conversations that closed, by outcome.",
    ),
    histogram(
        "kaiwa_wait_seconds",
        Some(PEOPLE_BUCKETS_S),
        "From start to assignment or end, by outcome.",
    ),
    histogram(
        "kaiwa_handle_seconds",
        Some(PEOPLE_BUCKETS_S),
        "From assignment to its end, wrap-up included.",
    ),
    histogram(
        "kaiwa_first_response_seconds",
        Some(PEOPLE_BUCKETS_S),
        "From assignment to the agent's first message.",
    ),
    counter(
        "kaiwa_answered_in_threshold_total",
        "Conversations answered within the queue's target.",
    ),
    histogram(
        "kaiwa_assign_duration_seconds",
        Some(DECISION_BUCKETS_S),
        "One run of a queue manager.",
    ),
    counter(
        "kaiwa_assign_decisions_total",
        "Decisions of queue managers, by what became of them.",
    ),
    counter("kaiwa_offer_timeouts_total", "Offers that nobody answered in time."),
    counter(
        "kaiwa_reassignments_total",
        "Conversations taken from an agent and put back, by reason.",
    ),
    counter(
        "kaiwa_invariant_violations_total",
        "Invariants that did not hold. Any is a bug.",
    ),
    counter(
        "kaiwa_rule_failures_total",
        "Classification rules that failed when they were evaluated.",
    ),
    gauge("kaiwa_actors", "Actors alive, by type."),
    gauge(
        "kaiwa_actor_mailbox_depth",
        "Messages in the mailboxes of a type of actor.",
    ),
    histogram(
        "kaiwa_actor_mailbox_wait_seconds",
        None,
        "Time of messages in mailboxes.",
    ),
    histogram(
        "kaiwa_actor_message_duration_seconds",
        None,
        "Time that actors take for a message.",
    ),
    counter("kaiwa_actor_restarts_total", "Actors restarted, by reason."),
    counter(
        "kaiwa_actor_mailbox_rejected_total",
        "Messages refused because the mailbox was full.",
    ),
    gauge("kaiwa_connections", "Clients' connections, by role and transport."),
    counter("kaiwa_connections_opened_total", "Clients' connections opened."),
    counter(
        "kaiwa_connections_closed_total",
        "Clients' connections closed, by reason.",
    ),
    counter("kaiwa_messages_total", "Frames of clients, by direction and role."),
    histogram(
        "kaiwa_message_delivery_seconds",
        None,
        "From a message's commit to a listener's socket.",
    ),
    counter(
        "kaiwa_messages_redelivered_total",
        "Entries sent again to clients that came back.",
    ),
    gauge("kaiwa_outbound_pending_bytes", "Bytes that wait for clients' sockets."),
    counter(
        "kaiwa_slow_consumer_disconnects_total",
        "Clients cut off because they read too slowly.",
    ),
    counter("kaiwa_auth_failures_total", "Tokens and keys refused, by reason."),
    counter("kaiwa_rate_limited_total", "Calls over a limit, by limit."),
    counter(
        "kaiwa_frames_rejected_total",
        "Frames and requests refused before they became a command, by reason.",
    ),
    gauge("kaiwa_build_info", "Version and commit of the binary; always 1."),
    gauge("kaiwa_ready", "1 when the node is ready, as /readyz says."),
    gauge("kaiwa_draining", "1 while the node drains."),
    counter(
        "kaiwa_config_reloads_total",
        "Readings of the configuration while running, by result.",
    ),
    gauge(
        "kaiwa_tls_cert_not_after_timestamp_seconds",
        "When a certificate ends, Unix time.",
    ),
    // ---- reported by `cluster`
    gauge("kaiwa_raft_is_leader", "1 when this node leads the shard."),
    gauge("kaiwa_raft_has_leader", "1 when this node knows the shard's leader."),
    gauge("kaiwa_raft_term", "Term of the shard."),
    counter(
        "kaiwa_raft_leader_changes_total",
        "Changes of the shard's leader, as seen here.",
    ),
    gauge("kaiwa_raft_last_log_index", "Last index in the log."),
    gauge("kaiwa_raft_commit_index", "Last index known to be committed."),
    gauge("kaiwa_raft_applied_index", "Last index applied."),
    gauge("kaiwa_raft_snapshot_index", "Index of the newest snapshot."),
    gauge("kaiwa_raft_purged_index", "Last index purged from the log."),
    counter("kaiwa_raft_proposals_total", "Commands proposed, by result."),
    gauge("kaiwa_raft_proposals_pending", "Commands that wait in the proposer."),
    histogram("kaiwa_raft_commit_duration_seconds", None, "From proposal to applied."),
    histogram("kaiwa_raft_apply_duration_seconds", None, "Applying one entry."),
    histogram("kaiwa_raft_batch_entries", None, "Commands in one batch, by stage."),
    gauge(
        "kaiwa_raft_replication_lag_entries",
        "Entries that a peer lacks, as the leader knows.",
    ),
    histogram("kaiwa_raft_peer_rtt_seconds", None, "Round trip to a peer."),
    counter("kaiwa_raft_rpc_failures_total", "Calls to peers that failed."),
    gauge(
        "kaiwa_raft_clock_skew_seconds",
        "How far this node's clock is from the median of its peers.",
    ),
    counter(
        "kaiwa_raft_hand_overs_total",
        "Leaderships that this node handed over, by reason: asked, drain, no_room, slow_disk, clock.",
    ),
    gauge("kaiwa_raft_voters", "Members of the shard with a vote."),
    gauge("kaiwa_raft_learners", "Members of the shard without one."),
    histogram(
        "kaiwa_raft_snapshot_duration_seconds",
        None,
        "Making, sending or installing a snapshot.",
    ),
    gauge("kaiwa_raft_snapshot_bytes", "Size of the newest snapshot."),
    histogram("kaiwa_storage_fsync_duration_seconds", None, "Syncing a file."),
    histogram(
        "kaiwa_storage_append_duration_seconds",
        None,
        "Appending to the log, until it is on disk.",
    ),
    gauge(
        "kaiwa_storage_log_flush_seconds",
        "What a flush of the shard's log takes: the median of the last seconds, or more if one hangs.",
    ),
    counter("kaiwa_storage_errors_total", "Failures of the disk."),
    gauge("kaiwa_storage_bytes", "Bytes on disk, by kind."),
    gauge("kaiwa_storage_free_bytes", "Bytes free where the data are."),
    counter("kaiwa_storage_corruptions_total", "Damaged files found."),
    counter("kaiwa_link_bytes_total", "Bytes on the links between nodes."),
    counter("kaiwa_link_connect_failures_total", "Connects to a peer that failed."),
    counter(
        "kaiwa_link_refused_total",
        "Links of other nodes that were refused, by reason.",
    ),
];
