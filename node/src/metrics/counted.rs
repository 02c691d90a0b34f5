//! What is counted for every message stands still, and is counted where it stands. The recorder's histograms keep every sample
//! until they are folded, and its counters are looked up by their labels each time: at tens of thousands of messages per second
//! that costs as much as sending them.

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
        let help = help(name);
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

/// A counter with two labels, each of a few words.
pub struct CountedTotal<const A: usize, const B: usize> {
    name: &'static str,
    labels: [&'static str; 2],
    words: ([&'static str; A], [&'static str; B]),
    counts: [[AtomicU64; B]; A],
}

impl<const A: usize, const B: usize> CountedTotal<A, B> {
    /// All at 0.
    pub const fn new(
        name: &'static str,
        labels: [&'static str; 2],
        words: ([&'static str; A], [&'static str; B]),
    ) -> Self {
        Self {
            name,
            labels,
            words,
            counts: [const { [const { AtomicU64::new(0) }; B] }; A],
        }
    }

    /// One more. A word that is not of the label's counts as its last.
    pub fn increment(&self, first: &str, second: &str) {
        let at = |words: &[&str], word| words.iter().position(|known| *known == word).unwrap_or(words.len() - 1);
        self.counts[at(&self.words.0, first)][at(&self.words.1, second)].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends it in Prometheus' text format.
    pub fn render_into(&self, text: &mut String) {
        let (name, [first, second]) = (self.name, self.labels);
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} counter", help(name));
        for (word, row) in self.words.0.iter().zip(&self.counts) {
            for (other, count) in self.words.1.iter().zip(row) {
                let count = count.load(Ordering::Relaxed);
                let _ = writeln!(text, "{name}{{{first}=\"{word}\",{second}=\"{other}\"}} {count}");
            }
        }
        text.push('\n');
    }
}

fn help(name: &str) -> &'static str {
    let described = METRICS.iter().find(|metric| metric.name == name);
    described.map_or("", |metric| metric.help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_told_by_their_words() {
        let total: CountedTotal<2, 2> = CountedTotal::new("t_total", ["way", "role"], (["in", "out"], ["a", "other"]));
        for (way, role) in [("in", "a"), ("in", "a"), ("out", "b")] {
            total.increment(way, role);
        }
        let mut text = String::new();
        total.render_into(&mut text);
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("t_total")).collect();
        let expected = [
            r#"t_total{way="in",role="a"} 2"#,
            r#"t_total{way="in",role="other"} 0"#,
            r#"t_total{way="out",role="a"} 0"#,
            r#"t_total{way="out",role="other"} 1"#,
        ];
        assert_eq!(lines, expected);
    }

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
