//! Metrics: one function per metric, all of them here, all names in [`table`].
//!
//! One prefix (`kaiwa_`), base units, `_total` on counters. Labels are bounded: tenants, queues and words of this code;
//! never an id of a conversation, an agent or a customer. Those of the `raft`, `storage` and `link` areas are reported by
//! `cluster` itself; the table describes them all the same.

pub mod counted;
pub mod process;
pub mod table;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use counted::{Counted, CountedTotal};
use table::{Kind, METRICS};

/// How often samples are folded; without it they would pile up between scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

static MESSAGES: CountedTotal<2, 4> = CountedTotal::new(
    "kaiwa_messages_total",
    ["direction", "role"],
    (["in", "out"], ["customer", "agent", "supervisor", "admin"]),
);
static MESSAGE_DELIVERY: Counted = Counted::new("kaiwa_message_delivery_seconds");

/// Installs the recorder of this process. Later calls change nothing.
pub fn install() -> Result<(), BuildError> {
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let recorder = recorder()?;
    let handle = recorder.handle();
    // Another recorder is there already only in tests that share a process; theirs stays.
    if metrics::set_global_recorder(recorder).is_ok() {
        let _ = HANDLE.set(handle);
    }
    describe();
    build_info();
    Ok(())
}

/// Folds samples, for ever. `server` runs it as a task.
pub async fn upkeep() {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        ticks.tick().await;
        if let Some(handle) = HANDLE.get() {
            handle.run_upkeep();
        }
    }
}

/// Everything there is, in Prometheus' text format.
pub fn render() -> String {
    let mut text = HANDLE.get().map(PrometheusHandle::render).unwrap_or_default();
    render_the_rest_into(&mut text);
    text
}

/// What the recorder does not hold.
fn render_the_rest_into(text: &mut String) {
    MESSAGES.render_into(text);
    MESSAGE_DELIVERY.render_into(text);
    process::render_into(text);
}

/// Media type of [`render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), table::DURATION_BUCKETS_S)?
        .set_buckets_for_metric(Matcher::Suffix("_entries".to_owned()), table::BATCH_BUCKETS)?;
    for metric in METRICS {
        if let Kind::Histogram(Some(buckets)) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    Ok(builder.build_recorder())
}

fn describe() {
    for metric in METRICS {
        let unit = if metric.name.contains("_seconds") {
            Unit::Seconds
        } else if metric.name.contains("_bytes") {
            Unit::Bytes
        } else {
            Unit::Count
        };
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
}

// ---- queue

/// Conversations that wait in a queue, by priority.
pub fn queue_depth(tenant: &str, queue: &str, priority: u8, waiting: u64) {
    gauge!("kaiwa_queue_depth", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "priority" => priority.to_string())
        .set(waiting as f64);
}

/// How long the oldest has waited.
pub fn queue_oldest_wait_seconds(tenant: &str, queue: &str, wait: Duration) {
    gauge!("kaiwa_queue_oldest_wait_seconds", "tenant" => tenant.to_owned(), "queue" => queue.to_owned())
        .set(wait.as_secs_f64());
}

/// Slots that are free for this queue.
pub fn queue_eligible_free_slots(tenant: &str, queue: &str, slots: u64) {
    gauge!("kaiwa_queue_eligible_free_slots", "tenant" => tenant.to_owned(), "queue" => queue.to_owned())
        .set(slots as f64);
}

/// Agents of a queue, by presence.
pub fn queue_agents(tenant: &str, queue: &str, state: &'static str, agents: u64) {
    gauge!("kaiwa_queue_agents", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "state" => state)
        .set(agents as f64);
}

/// Slots of a queue's agents: `free`, `used`.
pub fn queue_slots(tenant: &str, queue: &str, state: &'static str, slots: u64) {
    gauge!("kaiwa_queue_slots", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "state" => state)
        .set(slots as f64);
}

/// How long the first of a priority has waited (R42).
pub fn queue_longest_wait_seconds(tenant: &str, queue: &str, priority: u8, wait: Duration) {
    gauge!("kaiwa_queue_longest_wait_seconds", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "priority" => priority.to_string())
        .set(wait.as_secs_f64());
}

/// A service level, by formula. NaN: nothing to tell.
pub fn service_level_ratio(tenant: &str, queue: &str, formula: &'static str, ratio: f64) {
    gauge!("kaiwa_service_level_ratio", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "formula" => formula)
        .set(ratio);
}

/// Mean wait of the answered. NaN: nothing to tell.
pub fn answer_speed_seconds(tenant: &str, queue: &str, seconds: f64) {
    gauge!("kaiwa_answer_speed_seconds", "tenant" => tenant.to_owned(), "queue" => queue.to_owned()).set(seconds);
}

/// Abandoned of offered. NaN: nothing to tell.
pub fn abandonment_ratio(tenant: &str, queue: &str, ratio: f64) {
    gauge!("kaiwa_abandonment_ratio", "tenant" => tenant.to_owned(), "queue" => queue.to_owned()).set(ratio);
}

/// Coverage of an estimate (R35): `50`, `90`. NaN: nothing to tell.
pub fn estimate_coverage_ratio(tenant: &str, queue: &str, percentile: &'static str, ratio: f64) {
    gauge!("kaiwa_estimate_coverage_ratio", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "percentile" => percentile)
        .set(ratio);
}

/// Gain of batches (R41).
pub fn batch_gain(tenant: &str, queue: &str, gain: u64) {
    gauge!("kaiwa_batch_gain", "tenant" => tenant.to_owned(), "queue" => queue.to_owned()).set(gain as f64);
}

/// Occupancy of a queue's agents. NaN: nothing to tell.
pub fn occupancy_ratio(tenant: &str, queue: &str, ratio: f64) {
    gauge!("kaiwa_occupancy_ratio", "tenant" => tenant.to_owned(), "queue" => queue.to_owned()).set(ratio);
}

/// Fairness of it (R42). NaN: nothing to tell.
pub fn occupancy_jain_ratio(tenant: &str, queue: &str, ratio: f64) {
    gauge!("kaiwa_occupancy_jain_ratio", "tenant" => tenant.to_owned(), "queue" => queue.to_owned()).set(ratio);
}

/// Occupancy of all agents of a tenant. NaN: nothing to tell.
pub fn tenant_occupancy_ratio(tenant: &str, ratio: f64) {
    gauge!("kaiwa_tenant_occupancy_ratio", "tenant" => tenant.to_owned()).set(ratio);
}

/// Fairness of it (R42). NaN: nothing to tell.
pub fn tenant_occupancy_jain_ratio(tenant: &str, ratio: f64) {
    gauge!("kaiwa_tenant_occupancy_jain_ratio", "tenant" => tenant.to_owned()).set(ratio);
}

/// A tenant's commands that were applied here.
pub fn tenant_commands(tenant: &str, commands: u64) {
    counter!("kaiwa_tenant_commands_total", "tenant" => tenant.to_owned()).increment(commands);
}

/// A conversation came to a queue.
pub fn conversation_offered(tenant: &str, queue: &str) {
    counter!("kaiwa_conversations_offered_total", "tenant" => tenant.to_owned(), "queue" => queue.to_owned())
        .increment(1);
}

/// A conversation closed.
pub fn conversation_closed(tenant: &str, queue: &str, outcome: &'static str) {
    counter!("kaiwa_conversations_closed_total", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "outcome" => outcome)
        .increment(1);
}

/// A wait ended: `answered`, `abandoned`, …
pub fn waited(tenant: &str, queue: &str, outcome: &'static str, wait: Duration) {
    histogram!("kaiwa_wait_seconds", "tenant" => tenant.to_owned(), "queue" => queue.to_owned(), "outcome" => outcome)
        .record(wait.as_secs_f64());
}

/// An assignment ended, wrap-up included.
pub fn handled(tenant: &str, queue: &str, time: Duration) {
    histogram!("kaiwa_handle_seconds", "tenant" => tenant.to_owned(), "queue" => queue.to_owned())
        .record(time.as_secs_f64());
}

/// From assignment to the agent's first message.
pub fn first_response(tenant: &str, queue: &str, time: Duration) {
    histogram!("kaiwa_first_response_seconds", "tenant" => tenant.to_owned(), "queue" => queue.to_owned())
        .record(time.as_secs_f64());
}

/// A conversation was answered within the queue's target.
pub fn answered_in_threshold(tenant: &str, queue: &str) {
    counter!("kaiwa_answered_in_threshold_total", "tenant" => tenant.to_owned(), "queue" => queue.to_owned())
        .increment(1);
}

// ---- routing

/// One run of the queue manager.
pub fn assign_duration(policy: &'static str, took: Duration) {
    histogram!("kaiwa_assign_duration_seconds", "policy" => policy).record(took.as_secs_f64());
}

/// A decision was settled: `applied`, `rejected`, `unknown`.
pub fn assign_decision(policy: &'static str, result: &'static str) {
    counter!("kaiwa_assign_decisions_total", "policy" => policy, "result" => result).increment(1);
}

/// An offer timed out.
pub fn offer_timeout() {
    counter!("kaiwa_offer_timeouts_total").increment(1);
}

/// A conversation was taken from an agent and put back: `no_reply`, `lease_lost`, `sign_out`, `transfer`, …
pub fn reassignment(reason: &'static str) {
    counter!("kaiwa_reassignments_total", "reason" => reason).increment(1);
}

/// An invariant did not hold.
pub fn invariant_violation(letter: char) {
    counter!("kaiwa_invariant_violations_total", "invariant" => letter.to_string()).increment(1);
}

/// Rules failed while a conversation was classified.
pub fn rule_failures(tenant: &str, failures: u64) {
    counter!("kaiwa_rule_failures_total", "tenant" => tenant.to_owned()).increment(failures);
}

// ---- actors

/// Actors alive.
pub fn actors(actor_type: &'static str, alive: u64) {
    gauge!("kaiwa_actors", "actor_type" => actor_type).set(alive as f64);
}

/// Messages in all mailboxes of a type.
pub fn actor_mailbox_depth(actor_type: &'static str, messages: u64) {
    gauge!("kaiwa_actor_mailbox_depth", "actor_type" => actor_type).set(messages as f64);
}

/// A message was taken out of a mailbox.
pub fn actor_mailbox_wait(actor_type: &'static str, wait: Duration) {
    histogram!("kaiwa_actor_mailbox_wait_seconds", "actor_type" => actor_type).record(wait.as_secs_f64());
}

/// A message was handled.
pub fn actor_message_duration(actor_type: &'static str, took: Duration) {
    histogram!("kaiwa_actor_message_duration_seconds", "actor_type" => actor_type).record(took.as_secs_f64());
}

/// An actor was restarted.
pub fn actor_restart(actor_type: &'static str, reason: &'static str) {
    counter!("kaiwa_actor_restarts_total", "actor_type" => actor_type, "reason" => reason).increment(1);
}

/// A mailbox was full.
pub fn actor_mailbox_rejected(actor_type: &'static str) {
    counter!("kaiwa_actor_mailbox_rejected_total", "actor_type" => actor_type).increment(1);
}

// ---- edge

/// A client's connection opened.
pub fn connection_opened(role: &'static str, transport: &'static str) {
    counter!("kaiwa_connections_opened_total").increment(1);
    gauge!("kaiwa_connections", "role" => role, "transport" => transport).increment(1.0);
}

/// A client's connection closed; once for each [`connection_opened`].
pub fn connection_closed(role: &'static str, transport: &'static str, reason: &'static str) {
    counter!("kaiwa_connections_closed_total", "reason" => reason).increment(1);
    gauge!("kaiwa_connections", "role" => role, "transport" => transport).decrement(1.0);
}

/// A client's frame: `in`, `out`.
pub fn message(direction: &'static str, role: &'static str) {
    MESSAGES.increment(direction, role);
}

/// From commit to the listener's socket.
pub fn message_delivery(took: Duration) {
    MESSAGE_DELIVERY.record(took);
}

/// Messages that were sent again after a reconnect.
pub fn messages_redelivered(count: u64) {
    counter!("kaiwa_messages_redelivered_total").increment(count);
}

/// Bytes that wait for sockets, all together: the change.
pub fn outbound_pending_bytes(change: i64) {
    gauge!("kaiwa_outbound_pending_bytes").increment(change as f64);
}

/// A connection was cut off because it read too slowly. Clients only; links between nodes are counted by `cluster`.
pub fn slow_consumer_disconnect(kind: &'static str) {
    counter!("kaiwa_slow_consumer_disconnects_total", "kind" => kind).increment(1);
}

/// A token or key was refused ([`crate::auth::AuthError::reason`]).
pub fn auth_failure(reason: &'static str) {
    counter!("kaiwa_auth_failures_total", "reason" => reason).increment(1);
}

/// Something was over a limit.
pub fn rate_limited(limit: &'static str) {
    counter!("kaiwa_rate_limited_total", "limit" => limit).increment(1);
}

/// A frame or request was refused before it became a command.
pub fn frame_rejected(reason: &'static str) {
    counter!("kaiwa_frames_rejected_total", "reason" => reason).increment(1);
}

// ---- node

/// Version and commit of this binary.
pub fn build_info() {
    gauge!("kaiwa_build_info", "version" => VERSION, "commit" => COMMIT).set(1.0);
}

/// Version of this binary.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit that it was built from, where the build was told (`KAIWA_COMMIT`).
pub const COMMIT: &str = match option_env!("KAIWA_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What `/readyz` says.
pub fn ready(ready: bool) {
    gauge!("kaiwa_ready").set(f64::from(u8::from(ready)));
}

/// This node drains.
pub fn draining(draining: bool) {
    gauge!("kaiwa_draining").set(f64::from(u8::from(draining)));
}

/// The configuration was read again: `ok`, `refused`.
pub fn config_reload(result: &'static str) {
    counter!("kaiwa_config_reloads_total", "result" => result).increment(1);
}

/// When a certificate ends.
pub fn tls_cert_not_after(cert: &'static str, unix_s: i64) {
    gauge!("kaiwa_tls_cert_not_after_timestamp_seconds", "cert" => cert).set(unix_s as f64);
}

#[cfg(test)]
mod tests;
