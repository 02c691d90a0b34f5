//! A histogram that counts where it stands. The recorder's own keep every sample until they are folded, which at tens of
//! thousands of messages per second costs as much as sending them.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::table::{DURATION_BUCKETS_S, METRICS};

/// A histogram of durations without labels.
pub struct Counted {
    name: &'static str,
    /// Not added up; the last is of what is beyond all bounds.
    buckets: [AtomicU64; DURATION_BUCKETS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Counted {
    /// Empty.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            buckets: [const { AtomicU64::new(0) }; DURATION_BUCKETS_S.len() + 1],
            sum_us: AtomicU64::new(0),
        }
    }

    /// Notes one.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = DURATION_BUCKETS_S.partition_point(|bound| *bound < seconds);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// Appends it in Prometheus' text format.
    pub fn render_into(&self, text: &mut String) {
        let name = self.name;
        let help = METRICS
            .iter()
            .find(|metric| metric.name == name)
            .map_or("", |metric| metric.help);
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(DURATION_BUCKETS_S) {
            count += bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        count += self.buckets[DURATION_BUCKETS_S.len()].load(Ordering::Relaxed);
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(
            text,
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_the_first_bucket_that_holds_it() {
        let counted = Counted::new("kaiwa_message_delivery_seconds");
        for ms in [1, 1, 2, 60_000] {
            counted.record(Duration::from_millis(ms));
        }
        let mut text = String::new();
        counted.render_into(&mut text);
        for line in [
            "_bucket{le=\"0.0005\"} 0",
            "_bucket{le=\"0.001\"} 2",
            "_bucket{le=\"0.0025\"} 3",
            "_bucket{le=\"30\"} 3",
            "_bucket{le=\"+Inf\"} 4",
            "_sum 60.004",
            "_count 4",
        ] {
            assert!(
                text.contains(&format!("kaiwa_message_delivery_seconds{line}\n")),
                "{line} in\n{text}"
            );
        }
    }
}
