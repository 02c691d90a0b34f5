use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn report_everything() {
    let ms = Duration::from_millis(3);
    queue_depth("acme", "sales", 5, 3);
    queue_oldest_wait_seconds("acme", "sales", ms);
    queue_eligible_free_slots("acme", "sales", 2);
    queue_agents("acme", "sales", "available", 4);
    queue_slots("acme", "sales", "free", 2);
    queue_longest_wait_seconds("acme", "sales", 5, ms);
    service_level_ratio("acme", "sales", "abandon_ignored", 0.8);
    answer_speed_seconds("acme", "sales", 3.5);
    abandonment_ratio("acme", "sales", f64::NAN);
    estimate_coverage_ratio("acme", "sales", "90", 0.9);
    batch_gain("acme", "sales", 7);
    occupancy_ratio("acme", "sales", 0.7);
    occupancy_jain_ratio("acme", "sales", 0.99);
    tenant_occupancy_ratio("acme", 0.7);
    tenant_occupancy_jain_ratio("acme", 0.98);
    tenant_commands("acme", 3);
    conversation_offered("acme", "sales");
    conversation_closed("acme", "sales", "resolved");
    waited("acme", "sales", "answered", ms);
    handled("acme", "sales", ms);
    first_response("acme", "sales", ms);
    answered_in_threshold("acme", "sales");
    assign_duration("longest_idle", ms);
    assign_decision("longest_idle", "applied");
    offer_timeout();
    reassignment("no_reply");
    invariant_violation('C');
    rule_failures("acme", 1);
    actors("conversation", 9);
    actor_mailbox_depth("conversation", 1);
    actor_mailbox_wait("conversation", ms);
    actor_message_duration("conversation", ms);
    actor_restart("conversation", "panic");
    actor_mailbox_rejected("conversation");
    connection_opened("agent", "websocket");
    connection_closed("agent", "websocket", "client");
    message("in", "agent");
    message_delivery(ms);
    messages_redelivered(3);
    outbound_pending_bytes(100);
    slow_consumer_disconnect("bytes");
    auth_failure("expired");
    rate_limited("connections");
    frame_rejected("too_large");
    build_info();
    ready(true);
    draining(false);
    config_reload("ok");
    tls_cert_not_after("node", 1_900_000_000);
}

fn rendered() -> String {
    let recorder = recorder().unwrap();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        describe();
        report_everything();
    });
    let mut text = handle.render();
    render_the_rest_into(&mut text);
    text
}

fn own() -> impl Iterator<Item = &'static table::Metric> {
    let of_cluster = ["kaiwa_raft_", "kaiwa_storage_", "kaiwa_link_"];
    METRICS
        .iter()
        .filter(move |metric| !of_cluster.iter().any(|prefix| metric.name.starts_with(prefix)))
}

#[test]
fn every_metric_of_the_table_has_a_function_and_is_rendered_as_its_kind() {
    let text = rendered();
    for metric in own() {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert!(
            text.contains(&format!("# TYPE {} {kind}\n", metric.name)),
            "{} in\n{text}",
            metric.name
        );
        assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
    }
    assert!(!text.contains("quantile="), "a histogram without buckets:\n{text}");
}

#[test]
fn every_rendered_metric_is_in_the_table() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    for line in rendered().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(names.contains(name) || name.starts_with("process_"), "{name}");
    }
}

#[test]
fn names_follow_the_rules() {
    let mut seen = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(seen.insert(name), "{name} is there twice");
        assert!(
            name.starts_with("kaiwa_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{name}"
        );
        assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
        for suffix in ["_count", "_sum", "_bucket", "_ms", "_millis"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
        assert!(metric.help.ends_with('.'), "{name}");
    }
}

/// Names of metrics in the sources of a crate.
fn names_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for macro_name in ["counter!(", "gauge!(", "histogram!("] {
                for call in text.split(macro_name).skip(1) {
                    let quoted = call
                        .trim_start()
                        .strip_prefix('"')
                        .and_then(|rest| rest.split('"').next());
                    found.extend(quoted.filter(|name| name.starts_with("kaiwa_")).map(str::to_owned));
                }
            }
        }
    }
}

#[test]
fn every_metric_in_the_sources_is_in_the_table() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeSet::new();
    for name in ["node/src", "cluster/src"] {
        names_in(&crates.join(name), &mut found);
    }
    assert!(found.len() > own().count() / 2, "{found:?}");
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let unknown: Vec<&String> = found.iter().filter(|name| !known.contains(name.as_str())).collect();
    assert!(
        unknown.is_empty(),
        "not described in node/src/metrics/table.rs: {unknown:?}"
    );
}

/// With `KAIWA_METRICS_TO=file`, what a node renders is written there, for `promtool check metrics < file`.
#[test]
fn the_exposition_ends_its_lines() {
    let text = rendered();
    if let Some(path) = std::env::var_os("KAIWA_METRICS_TO") {
        std::fs::write(path, &text).unwrap();
    }
    assert!(text.ends_with('\n'));
}
