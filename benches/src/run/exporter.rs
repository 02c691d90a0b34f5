//! The generator's own metrics, for Prometheus.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::live::Live;
use super::record::Measure;

/// Requests are not read further.
const REQUEST_MAX_BYTES: usize = 8 << 10;

/// Serves until the program ends.
pub async fn serve(address: SocketAddr, live: Arc<Mutex<Live>>) -> Result<()> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("--metrics-addr {address}"))?;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let live = Arc::clone(&live);
            tokio::spawn(async move {
                // Whatever is asked for: there is only one thing here.
                let mut request = vec![0; REQUEST_MAX_BYTES];
                if !matches!(socket.read(&mut request).await, Ok(read) if read > 0) {
                    return;
                }
                let body = text(&live.lock().expect("nobody panics with it"));
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
                let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                // Who asked may have gone.
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    Ok(())
}

fn text(live: &Live) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, rows: &[(String, f64)]| {
        let _ = writeln!(
            out,
            "# HELP kaiwa_bench_{name} {help}\n# TYPE kaiwa_bench_{name} {kind}"
        );
        for (labels, value) in rows {
            let _ = writeln!(out, "kaiwa_bench_{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    metric(
        "elapsed_seconds",
        "gauge",
        "Time of the run, warm-up included.",
        &one(live.at_s),
    );
    let totals = live.totals.map(|total| one(total as f64));
    metric(
        "arrivals_total",
        "counter",
        "Customers who came in the measured part.",
        &totals[0],
    );
    metric(
        "answered_in_target_total",
        "counter",
        "Of those, answered in time.",
        &totals[1],
    );
    metric(
        "abandoned_total",
        "counter",
        "Of those, gone without an answer.",
        &totals[2],
    );
    metric(
        "messages_total",
        "counter",
        "Messages of the measured part.",
        &totals[3],
    );
    metric(
        "waiting",
        "gauge",
        "Conversations that wait.",
        &one(live.waiting as f64),
    );
    metric(
        "busy_places",
        "gauge",
        "Places of agents in use.",
        &one(live.busy as f64),
    );
    metric(
        "faults_total",
        "counter",
        "What must not happen, all kinds.",
        &one(live.faults.count() as f64),
    );
    metric(
        "refused_total",
        "counter",
        "Commands that were refused.",
        &one(live.refused as f64),
    );
    metric(
        "customers",
        "gauge",
        "Customers who are there.",
        &one(live.present as f64),
    );
    metric(
        "acknowledged",
        "gauge",
        "Messages acknowledged in the last interval.",
        &one(live.acknowledged as f64),
    );
    let name = |n: usize| {
        if n + 1 < live.processes.len() {
            format!("node-{}", n + 1)
        } else {
            "generator".to_owned()
        }
    };
    let label = |n: usize, value: f64| (format!("{{process=\"{}\"}}", name(n)), value);
    let processes = || live.processes.iter().enumerate();
    let cores: Vec<_> = processes().map(|(n, (cores, _))| label(n, *cores)).collect();
    metric("cpu_cores", "gauge", "Cores in use over the last second.", &cores);
    let bytes: Vec<_> = processes()
        .map(|(n, (_, mib))| label(n, mib * 1024.0 * 1024.0))
        .collect();
    metric("memory_bytes", "gauge", "Resident memory.", &bytes);
    let second = [
        ("message_ack", live.last(Measure::MessageAck)),
        ("message_delivery", live.last(Measure::MessageDelivery)),
        ("start_offer", live.last(Measure::StartOffer)),
        ("schedule_lag", live.last(Measure::Lag)),
    ];
    let mut rows = Vec::new();
    for (name, summary) in second.iter().filter_map(|(name, summary)| Some((name, (*summary)?))) {
        for (quantile, ms) in [("0.5", summary.p50_ms), ("0.99", summary.p99_ms), ("1", summary.max_ms)] {
            rows.push((format!("{{measure=\"{name}\",quantile=\"{quantile}\"}}"), ms / 1e3));
        }
    }
    metric(
        "latency_seconds",
        "gauge",
        "Of the last interval, from the intended time.",
        &rows,
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::record::Summary;

    #[test]
    fn what_is_known_is_told() {
        let ack = Some(Summary {
            count: 3,
            p50_ms: 2.0,
            p99_ms: 9.0,
            max_ms: 10.0,
            ..Summary::default()
        });
        let mut live = Live {
            totals: [7, 6, 1, 3],
            ..Live::default()
        };
        live.last[Measure::MessageAck as usize] = ack;
        let text = text(&live);
        assert!(text.contains("kaiwa_bench_arrivals_total 7\n"), "{text}");
        assert!(
            text.contains("kaiwa_bench_latency_seconds{measure=\"message_ack\",quantile=\"0.99\"} 0.009\n"),
            "{text}"
        );
    }
}
