//! What a node's `/metrics` says.

use std::collections::BTreeMap;

/// A node's metrics at one time: full name with labels → value.
#[derive(Clone, Debug, Default)]
pub struct Scrape(BTreeMap<String, f64>);

/// A histogram's change over a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// (upper bound, observations up to it), ascending.
    buckets: Vec<(f64, f64)>,
}

impl Scrape {
    /// From Prometheus' text.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(lines.filter_map(value).collect())
    }

    /// The sum of all series of `name` that have `label` (empty: all); 0 when there is none.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of_name = self
            .0
            .iter()
            .filter_map(|(series, value)| Some((series.strip_prefix(name)?, value)))
            // Another name may begin like this one.
            .filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'));
        of_name
            .filter(|(labels, _)| labels.contains(label))
            .map(|(_, value)| value)
            .sum()
    }

    /// What a histogram counted since `earlier`; all series of `name` that have all of `labels`, together.
    pub fn spread(&self, earlier: &Self, name: &str, labels: &[&str]) -> Spread {
        let mut spread = Spread::default();
        let mut buckets: BTreeMap<String, f64> = BTreeMap::new();
        for (series, value) in &self.0 {
            let Some(rest) = series.strip_prefix(name) else {
                continue;
            };
            if !labels.iter().all(|label| rest.contains(label)) {
                continue;
            }
            let change = value - earlier.0.get(series).copied().unwrap_or(0.0);
            if rest.starts_with("_count") {
                spread.count += change;
            } else if rest.starts_with("_sum") {
                spread.sum += change;
            } else if let Some((_, bound)) = rest.strip_prefix("_bucket").and_then(|rest| rest.split_once("le=\"")) {
                let bound = bound.split('"').next().unwrap_or_default();
                *buckets.entry(bound.to_owned()).or_default() += change;
            }
        }
        let bound = |bound: &str| {
            if bound == "+Inf" {
                f64::INFINITY
            } else {
                bound.parse().unwrap_or(f64::INFINITY)
            }
        };
        spread.buckets = buckets.iter().map(|(text, count)| (bound(text), *count)).collect();
        spread.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        spread
    }
}

impl Spread {
    /// The mean; 0 of nothing.
    pub fn mean(&self) -> f64 {
        if self.count > 0.0 { self.sum / self.count } else { 0.0 }
    }

    /// A quantile, straight between the bounds of its bucket; the last finite bound for what is beyond.
    pub fn quantile(&self, q: f64) -> f64 {
        let wanted = self.count * q;
        let (mut lower, mut before) = (0.0, 0.0);
        for &(upper, up_to) in &self.buckets {
            if up_to >= wanted && up_to > before {
                if upper.is_infinite() {
                    return lower;
                }
                return lower + (upper - lower) * (wanted - before) / (up_to - before);
            }
            (lower, before) = (upper, up_to);
        }
        lower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let scrape = Scrape::parse("# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\nab{x=\"1\"} 9\nb 0.5\n");
        assert_eq!((scrape.sum("a", ""), scrape.sum("a", "x=\"1\"")), (7.0, 3.0));
        assert_eq!((scrape.sum("b", ""), scrape.sum("c", "")), (0.5, 0.0));
    }

    #[test]
    fn a_histogram_is_the_difference_of_two_scrapes() {
        let text = |a: u64, b: u64, c: u64, sum: f64| {
            format!(
                "# TYPE t histogram\n\
                 t_bucket{{shard=\"1\",le=\"0.1\"}} {a}\nt_bucket{{shard=\"1\",le=\"1\"}} {b}\n\
                 t_bucket{{shard=\"1\",le=\"+Inf\"}} {c}\nt_sum{{shard=\"1\"}} {sum}\nt_count{{shard=\"1\"}} {c}\n\
                 t_bucket{{shard=\"2\",le=\"0.1\"}} 1000\nt_sum{{shard=\"2\"}} 1000\nt_count{{shard=\"2\"}} 1000\n"
            )
        };
        let (before, after) = (
            Scrape::parse(&text(10, 10, 10, 0.5)),
            Scrape::parse(&text(60, 109, 110, 20.5)),
        );
        let spread = after.spread(&before, "t", &["shard=\"1\""]);
        assert_eq!((spread.count, spread.sum, spread.mean()), (100.0, 20.0, 0.2));
        assert_eq!(spread.quantile(0.5), 0.1);
        assert!((spread.quantile(0.75) - (0.1 + 0.9 * 25.0 / 49.0)).abs() < 1e-9);
        assert_eq!(spread.quantile(1.0), 1.0, "beyond the last bound");
        let nothing = after.spread(&before, "unknown", &[]);
        assert_eq!((nothing.count, nothing.mean(), nothing.quantile(0.99)), (0.0, 0.0, 0.0));
    }
}
