//! What links report.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::Mutex;

use super::tcp_tests::{ECHO, ONE, PATIENCE, TWO, connected, start, until};
use crate::transport::{Purpose, Transport};

type Sums = Arc<Mutex<BTreeMap<String, f64>>>;

#[derive(Clone)]
struct Sum {
    name: String,
    sums: Sums,
}

impl Sum {
    fn add(&self, value: f64) {
        *self.sums.lock().entry(self.name.clone()).or_default() += value;
    }
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _value: u64) {}
}

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

#[derive(Default)]
struct Recording {
    sums: Sums,
}

impl Recording {
    fn sum(&self, key: &Key) -> Arc<Sum> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        Arc::new(Sum {
            name: format!("{}{{{}}}", key.name(), labels.join(",")),
            sums: Arc::clone(&self.sums),
        })
    }
}

impl Recorder for Recording {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.sum(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.sum(key))
    }
}

// On one thread, so that the recorder of the thread sees every task.
#[tokio::test]
async fn links_count_their_bytes_and_time_their_pings() {
    let recording = Recording::default();
    let sums = Arc::clone(&recording.sums);
    let _installed = metrics::set_default_local_recorder(&recording);
    let ((one, _), (two, _)) = (start(ONE, None), start(TWO, None));
    connected(&one, &two).await;
    let body = Bytes::from(vec![0; 10_000]);
    one.call(TWO, Purpose::Commands, ECHO, body, PATIENCE).await.unwrap();
    let sum = |name: &str| sums.lock().get(name).copied().unwrap_or_default();
    // The body went there and back, and both nodes are counted here.
    until("bytes are counted", || {
        ["in", "out"].into_iter().all(|direction| {
            let bytes = sum(&format!(
                "kaiwa_link_bytes_total{{purpose=commands,direction={direction}}}"
            ));
            (20_000.0..21_000.0).contains(&bytes)
        })
    })
    .await;
    assert!(
        sum("kaiwa_link_bytes_total{purpose=fan_out,direction=out}") < 1_000.0,
        "pings only"
    );
    until("a ping is timed", || sum("kaiwa_raft_peer_rtt_seconds{peer=2}") > 0.0).await;
}
