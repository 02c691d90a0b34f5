//! What a run says, for people and as JSON.

use std::fmt::Write;

use hdrhistogram::Histogram;
use node::local::Spread;
use serde_json::{Value, json};

use super::drive::Run;

/// The same for every run; there is no way to turn it off.
pub const DURABILITY: &str = "acknowledged = fdatasync'ed in the logs of a majority of three nodes and applied on the leader; transcripts \
     (sled) are synced before the log that holds them is purged; TLS between nodes; nothing is relaxed";

/// Stages with a histogram in the nodes: (what, metric, labels).
const STAGES: [(&str, &str, &str); 11] = [
    (
        "commands per batch (proposer)",
        "kaiwa_raft_batch_entries",
        "stage=\"propose\",SHARD",
    ),
    (
        "batch: proposed → applied, answered",
        "kaiwa_raft_commit_duration_seconds",
        "SHARD",
    ),
    (
        "log: append → on disk (waits for the flush before)",
        "kaiwa_storage_append_duration_seconds",
        "",
    ),
    (
        "log: write + fdatasync",
        "kaiwa_storage_fsync_duration_seconds",
        "kind=\"log\"",
    ),
    (
        "rows: sled flush + sync",
        "kaiwa_storage_fsync_duration_seconds",
        "kind=\"rows\"",
    ),
    (
        "snapshot: built and on disk",
        "kaiwa_raft_snapshot_duration_seconds",
        "op=\"build\",SHARD",
    ),
    ("apply of a batch", "kaiwa_raft_apply_duration_seconds", "SHARD"),
    (
        "supervisor of the leader: wait in its mailbox",
        "kaiwa_actor_mailbox_wait_seconds",
        "actor_type=\"supervisor\"",
    ),
    (
        "actors of conversations: wait in their mailboxes",
        "kaiwa_actor_mailbox_wait_seconds",
        "actor_type=\"conversation\"",
    ),
    ("round trip to another node", "kaiwa_raft_peer_rtt_seconds", ""),
    (
        "stamp → entry in the listener's outbox (1 ms steps)",
        "kaiwa_message_delivery_seconds",
        "",
    ),
];
/// The tenant's shard.
const SHARD: &str = "shard=\"1\"";

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

fn row(out: &mut String, name: &str, histogram: &Histogram<u64>) {
    let _ = writeln!(
        out,
        "  {name:<28} p50 {:>8.2}   p90 {:>8.2}   p99 {:>8.2}   p99.9 {:>8.2}   max {:>8.2}   mean {:>8.2} ms",
        ms(histogram, 0.5),
        ms(histogram, 0.9),
        ms(histogram, 0.99),
        ms(histogram, 0.999),
        histogram.max() as f64 / 1e3,
        histogram.mean() / 1e3,
    );
}

/// A node's histogram over the run.
fn spread(run: &Run, node: usize, metric: &str, labels: &str) -> Spread {
    let (before, after) = &run.metrics[node];
    let labels: Vec<&str> = labels
        .split(',')
        .map(|label| if label == "SHARD" { SHARD } else { label })
        .collect();
    after.spread(before, metric, &labels)
}

/// For people.
pub fn text(run: &Run) -> String {
    let mut out = String::new();
    let (plan, outcome) = (&run.plan, &run.outcome);
    let _ = writeln!(
        out,
        "run {}: {:?} arrivals at {:.0} messages/s, {:.0} s measured after {:.0} s of warm-up, seed {}",
        plan.run,
        plan.arrivals,
        plan.rate,
        plan.length.as_secs_f64(),
        plan.warm_up.as_secs_f64(),
        plan.seed,
    );
    let _ = writeln!(
        out,
        "  throughput                   {:.1} acknowledged messages/s; longest time without one {:.1} ms",
        outcome.throughput,
        outcome.quiet_us as f64 / 1e3,
    );
    row(&mut out, "intended → acknowledged", &outcome.ack_us);
    row(&mut out, "intended → other side", &outcome.delivery_us);
    row(&mut out, "schedule lag (the harness')", &outcome.lag_us);
    let faults = outcome.faults;
    let _ = writeln!(
        out,
        "  sent {}, acknowledged {}, lost {}, duplicated {}, misordered {}, unanswered {}, gaps {}, refused {:?}, connections lost {}",
        outcome.sent,
        outcome.acknowledged,
        faults.lost,
        faults.duplicated,
        faults.misordered,
        faults.unanswered,
        run.noted.gaps,
        outcome.refused,
        run.noted.disconnects,
    );
    processor(&mut out, run);
    stages(&mut out, run);
    if run.broken_off {
        out.push_str("  BROKEN OFF: the cluster fell behind the schedule; latencies are too good\n");
    }
    if let Some(why) = run.generator_limited() {
        let _ = writeln!(out, "  INVALID: the generator was the bottleneck: {why}");
    }
    out
}

fn processor(out: &mut String, run: &Run) {
    let ours: f64 = run.cpu.processes.iter().sum();
    let cores = |seconds: f64| seconds / run.measured_s;
    let _ = writeln!(
        out,
        "  CPU, in cores: generator {:.2} ({:.0} % of the run's), nodes {}; others on this machine {:.2}; load average {} before, {} after",
        cores(run.cpu.processes[0]),
        run.cpu.processes[0] / ours.max(f64::MIN_POSITIVE) * 100.0,
        run.cpu.processes[1..]
            .iter()
            .map(|seconds| format!("{:.2}", cores(*seconds)))
            .collect::<Vec<_>>()
            .join(" + "),
        cores((run.cpu.machine - ours).max(0.0)),
        run.load.0,
        run.load.1,
    );
    let per_message_us = |seconds: f64| seconds / run.measured_s / run.outcome.throughput.max(f64::MIN_POSITIVE) * 1e6;
    let _ = writeln!(
        out,
        "  CPU per message: {:.0} µs on the nodes together, {:.0} µs in the generator",
        per_message_us(run.cpu.processes[1..].iter().sum()),
        per_message_us(run.cpu.processes[0]),
    );
    for (node, threads) in run.cpu.threads[1..].iter().enumerate() {
        let mut threads: Vec<_> = threads
            .iter()
            .filter(|(_, seconds)| cores(**seconds) >= 0.005)
            .collect();
        threads.sort_by(|a, b| b.1.total_cmp(a.1));
        let shown: Vec<String> = threads
            .iter()
            .map(|(name, seconds)| format!("{name} {:.2}", cores(**seconds)))
            .collect();
        let leads = if node as u64 + 1 == run.leader { ", leads" } else { "" };
        let _ = writeln!(out, "    node {}{leads}: {}", node + 1, shown.join(", "));
    }
}

fn stages(out: &mut String, run: &Run) {
    let _ = writeln!(
        out,
        "  by the nodes' own metrics (durations in ms): node: count, mean, p50, p99"
    );
    for (what, metric, labels) in STAGES {
        let scale = if metric.ends_with("_seconds") { 1e3 } else { 1.0 };
        let nodes: Vec<String> = (0..run.metrics.len())
            .map(|node| (node, spread(run, node, metric, labels)))
            .filter(|(_, spread)| spread.count > 0.0)
            .map(|(node, spread)| {
                format!(
                    "n{}: {:.0}, {:.2}, {:.2}, {:.2}",
                    node + 1,
                    spread.count,
                    spread.mean() * scale,
                    spread.quantile(0.5) * scale,
                    spread.quantile(0.99) * scale
                )
            })
            .collect();
        let _ = writeln!(out, "    {what:<52} {}", nodes.join("   "));
    }
}

fn latency(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50_ms": ms(histogram, 0.5),
        "p90_ms": ms(histogram, 0.9),
        "p99_ms": ms(histogram, 0.99),
        "p999_ms": ms(histogram, 0.999),
        "max_ms": histogram.max() as f64 / 1e3,
        "mean_ms": histogram.mean() / 1e3,
        "count": histogram.len(),
    })
}

/// For programs.
pub fn json(run: &Run) -> Value {
    let outcome = &run.outcome;
    let stages: Vec<Value> = STAGES
        .iter()
        .map(|(what, metric, labels)| {
            let nodes = (0..run.metrics.len()).map(|node| {
                let spread = spread(run, node, metric, labels);
                json!({
                    "node": node + 1,
                    "count": spread.count,
                    "mean": spread.mean(),
                    "p50": spread.quantile(0.5),
                    "p99": spread.quantile(0.99),
                })
            });
            json!({"stage": what, "metric": metric, "nodes": nodes.collect::<Vec<_>>()})
        })
        .collect();
    json!({
        "run": run.plan.run,
        "rate": run.plan.rate,
        "arrivals": format!("{:?}", run.plan.arrivals).to_lowercase(),
        "seed": run.plan.seed,
        "warm_up_s": run.plan.warm_up.as_secs_f64(),
        "seconds": run.plan.length.as_secs_f64(),
        "message_bytes": run.plan.bytes,
        "throughput": outcome.throughput,
        "longest_quiet_ms": outcome.quiet_us as f64 / 1e3,
        "sent": outcome.sent,
        "acknowledged": outcome.acknowledged,
        "refused": outcome.refused,
        "lost": outcome.faults.lost,
        "duplicated": outcome.faults.duplicated,
        "misordered": outcome.faults.misordered,
        "unanswered": outcome.faults.unanswered,
        "gaps": run.noted.gaps,
        "connections_lost": run.noted.disconnects,
        "ack": latency(&outcome.ack_us),
        "delivery": latency(&outcome.delivery_us),
        "schedule_lag": latency(&outcome.lag_us),
        "broken_off": run.broken_off,
        "invalid": run.generator_limited(),
        "measured_s": run.measured_s,
        "leader": run.leader,
        "cpu_s": {
            "generator": run.cpu.processes[0],
            "nodes": run.cpu.processes[1..],
            "machine": run.cpu.machine,
            "threads": run.cpu.threads[1..],
        },
        "load_average": [run.load.0, run.load.1],
        "stages": stages,
        "durability": DURABILITY,
    })
}
