//! What a run measures: histograms over the whole and of each interval, and counts of each interval.
//!
//! A latency belongs to the interval of its *intended* time, whenever it becomes known: an interval in which the cluster stood still
//! shows it, and not the one in which it went on.
//!
//! The records of several generators become one by adding their histograms, of each interval and of the whole: percentiles are never
//! averaged.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

/// Intervals that still take late values; older ones are closed.
const OPEN_INTERVALS: usize = 120;
/// At most so many in a run; longer runs have longer ones.
const INTERVALS_MAX: u64 = 1_800;

/// A duration that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// A message's intended time → its acknowledgement.
    MessageAck,
    /// → the other side's client.
    MessageDelivery,
    /// `StartConversation`'s intended time → its acknowledgement.
    StartAck,
    /// → the offer on an agent's socket, when somebody was free.
    StartOffer,
    /// The intended answer to an offer → assigned, on the agent's socket.
    OfferAssigned,
    /// The intended start → assigned, of all who were answered.
    Wait,
    /// A connection broke → connected again.
    Reconnect,
    /// Intended → done, of the generator itself.
    Lag,
    /// By how much a timer of the generator's runtime is late.
    Runtime,
}

/// Name in reports, and what it is.
pub const MEASURES: [(Measure, &str, &str); 9] = [
    (Measure::MessageAck, "message_ack", "message: intended → acknowledged"),
    (
        Measure::MessageDelivery,
        "message_delivery",
        "message: intended → the other side",
    ),
    (Measure::StartAck, "start_ack", "start: intended → acknowledged"),
    (
        Measure::StartOffer,
        "start_offer",
        "start: intended → offered (somebody was free)",
    ),
    (
        Measure::OfferAssigned,
        "offer_assigned",
        "answer to the offer: intended → assigned",
    ),
    (Measure::Wait, "wait", "wait of the answered"),
    (Measure::Reconnect, "reconnect", "connection broken → back"),
    (Measure::Lag, "schedule_lag", "the generator: schedule lag"),
    (
        Measure::Runtime,
        "runtime_lag",
        "the generator: late timers of its runtime",
    ),
];

/// Something that is counted by interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Customers who came, by their intended time.
    Arrivals,
    /// Of those: served within the target.
    InTarget,
    /// Of those: left without an answer.
    Abandoned,
    /// Messages, by their intended time.
    Messages,
    /// Messages acknowledged, by the time of that.
    Acknowledged,
    /// Conversations assigned, by the time of that.
    Assigned,
    /// Conversations closed, by the time of that.
    Closed,
}

/// Name in reports.
pub const COUNTS: [(Count, &str); 7] = [
    (Count::Arrivals, "arrivals"),
    (Count::InTarget, "in_target"),
    (Count::Abandoned, "abandoned"),
    (Count::Messages, "messages"),
    (Count::Acknowledged, "acknowledged"),
    (Count::Assigned, "assigned"),
    (Count::Closed, "closed"),
];

/// A histogram in short; milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl From<&Histogram<u64>> for Summary {
    fn from(histogram: &Histogram<u64>) -> Self {
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e3,
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: histogram.max() as f64 / 1e3,
        }
    }
}

/// One interval, closed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Begin, from the start of the run.
    pub at_s: f64,
    /// By name of the measure.
    pub measures: BTreeMap<String, Summary>,
    /// By name of the count.
    pub counts: BTreeMap<String, u64>,
    /// Conversations that waited at the end of the interval, as the generator knows.
    pub waiting: u64,
    /// Places of agents that were in use then.
    pub busy: u64,
}

/// Histograms by name of the measure, in HdrHistogram's format V2, as base64.
pub type Packed = BTreeMap<String, String>;

/// One interval of a generator, with all that is needed to add those of others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PackedInterval {
    histograms: Packed,
    counts: BTreeMap<String, u64>,
    waiting: u64,
    busy: u64,
}

/// The record of a generator, for the way to the coordinator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PackedRecord {
    interval_us: u64,
    whole: Packed,
    intervals: Vec<PackedInterval>,
    totals: BTreeMap<String, u64>,
}

impl PackedRecord {
    /// A measure over the whole.
    pub fn whole(&self, measure: Measure) -> Result<Summary> {
        let mut sum = histogram();
        add_packed(&mut sum, &self.whole, MEASURES[measure as usize].1)?;
        Ok((&sum).into())
    }

    /// A count over the whole.
    pub fn total(&self, count: Count) -> u64 {
        self.totals.get(COUNTS[count as usize].1).copied().unwrap_or(0)
    }

    /// A measure by interval: begin in seconds, and its summary.
    pub fn over_time(&self, measure: Measure) -> Result<Vec<(f64, Summary)>> {
        let name = MEASURES[measure as usize].1;
        let mut found = Vec::new();
        for (n, interval) in self.intervals.iter().enumerate() {
            let mut sum = histogram();
            add_packed(&mut sum, &interval.histograms, name)?;
            if !sum.is_empty() {
                found.push((n as f64 * self.interval_us as f64 / 1e6, (&sum).into()));
            }
        }
        Ok(found)
    }
}

/// As base64 of HdrHistogram's format V2.
pub fn pack(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2Serializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a vector takes what it is given");
    BASE64.encode(bytes)
}

/// From what [`pack`] made.
pub fn unpack(text: &str) -> Result<Histogram<u64>> {
    let bytes = BASE64.decode(text).context("a histogram is not base64")?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| anyhow::anyhow!("a histogram cannot be read: {error}"))
}

fn add_packed(sum: &mut Histogram<u64>, packed: &Packed, name: &str) -> Result<()> {
    if let Some(text) = packed.get(name) {
        sum.add(unpack(text)?).context("a histogram does not fit")?;
    }
    Ok(())
}

#[derive(Default)]
struct Open {
    histograms: [Option<Histogram<u64>>; MEASURES.len()],
}

impl Open {
    fn packed(&self) -> Packed {
        let named = MEASURES.iter().zip(&self.histograms);
        named
            .filter_map(|((_, name, _), histogram)| Some(((*name).to_owned(), pack(histogram.as_ref()?))))
            .collect()
    }
}

/// The record of a run.
pub struct Record {
    interval_us: u64,
    /// Only what was intended from here …
    from_us: u64,
    /// … up to here counts for the whole.
    until_us: u64,
    whole: [Histogram<u64>; MEASURES.len()],
    open: VecDeque<Open>,
    closed: usize,
    intervals: Vec<Interval>,
    totals: [u64; COUNTS.len()],
    /// Histograms of closed intervals, when they are to be added to those of others.
    packed: Option<Vec<Packed>>,
}

/// An empty one, of microseconds.
pub fn histogram() -> Histogram<u64> {
    // Three digits; it grows as needed, so no value is cut off.
    Histogram::new(3).expect("three digits are allowed")
}

/// Adds a value to one.
pub fn took(histogram: &mut Histogram<u64>, us: u64) {
    histogram.record(us).expect("it grows with what it is given");
}

impl Record {
    /// For a run whose measured part is from `from_us` to `until_us`.
    pub fn new(from_us: u64, until_us: u64) -> Self {
        let interval_us = (until_us.div_ceil(INTERVALS_MAX).div_ceil(1_000_000) * 1_000_000).max(1_000_000);
        Self {
            interval_us,
            from_us,
            until_us,
            whole: std::array::from_fn(|_| histogram()),
            open: VecDeque::new(),
            closed: 0,
            intervals: Vec::new(),
            totals: [0; COUNTS.len()],
            packed: None,
        }
    }

    /// The same, of one generator among several.
    pub fn in_part(from_us: u64, until_us: u64) -> Self {
        Self {
            packed: Some(Vec::new()),
            ..Self::new(from_us, until_us)
        }
    }

    /// The run ends earlier than was planned.
    pub fn ends_at(&mut self, until_us: u64) {
        self.until_us = self.until_us.min(until_us);
    }

    /// What was measured of a time, so far as the run lasted: begin and end.
    pub fn bounds_us(&self) -> (u64, u64) {
        (self.from_us, self.until_us)
    }

    /// Length of an interval.
    pub fn interval_us(&self) -> u64 {
        self.interval_us
    }

    fn measured(&self, at_us: u64) -> bool {
        (self.from_us..self.until_us).contains(&at_us)
    }

    fn interval(&mut self, at_us: u64) -> usize {
        let at = (at_us / self.interval_us) as usize;
        while self.intervals.len() <= at {
            let at_s = self.intervals.len() as f64 * self.interval_us as f64 / 1e6;
            self.intervals.push(Interval {
                at_s,
                ..Interval::default()
            });
            self.open.push_back(Open::default());
        }
        while self.open.len() > OPEN_INTERVALS {
            self.close_first();
        }
        at
    }

    fn close_first(&mut self) {
        let Some(open) = self.open.pop_front() else { return };
        let interval = &mut self.intervals[self.closed];
        for ((_, name, _), histogram) in MEASURES.iter().zip(&open.histograms) {
            if let Some(histogram) = histogram {
                interval.measures.insert((*name).to_owned(), histogram.into());
            }
        }
        if let Some(packed) = &mut self.packed {
            packed.push(open.packed());
        }
        self.closed += 1;
    }

    /// A duration from `intended_us` to `until_us`.
    pub fn took(&mut self, measure: Measure, intended_us: u64, until_us: u64) {
        let us = until_us.saturating_sub(intended_us);
        if self.measured(intended_us) {
            self.whole[measure as usize]
                .record(us)
                .expect("it grows with what it is given");
        }
        let at = self.interval(intended_us);
        // Too old for its interval: it is in the whole.
        if let Some(open) = at.checked_sub(self.closed).and_then(|at| self.open.get_mut(at)) {
            let histogram = open.histograms[measure as usize].get_or_insert_with(histogram);
            histogram.record(us).expect("it grows with what it is given");
        }
    }

    /// Counts one.
    pub fn count(&mut self, count: Count, at_us: u64) {
        if self.measured(at_us) {
            self.totals[count as usize] += 1;
        }
        let at = self.interval(at_us);
        *self.intervals[at]
            .counts
            .entry(COUNTS[count as usize].1.to_owned())
            .or_default() += 1;
    }

    /// How many wait and are served, at a time.
    pub fn level(&mut self, at_us: u64, waiting: u64, busy: u64) {
        let at = self.interval(at_us);
        (self.intervals[at].waiting, self.intervals[at].busy) = (waiting, busy);
    }

    /// A measure over the whole, so far.
    pub fn whole(&self, measure: Measure) -> Summary {
        (&self.whole[measure as usize]).into()
    }

    /// A count over the whole, so far.
    pub fn total(&self, count: Count) -> u64 {
        self.totals[count as usize]
    }

    /// A measure of the interval that holds `at_us`, if it is still open and has any.
    pub fn at(&self, measure: Measure, at_us: u64) -> Option<Summary> {
        let at = ((at_us / self.interval_us) as usize).checked_sub(self.closed)?;
        self.open.get(at)?.histograms[measure as usize].as_ref().map(Into::into)
    }

    /// Histograms of an interval that is still open, for others.
    pub fn packed_at(&self, measures: &[Measure], at_us: u64) -> Packed {
        let at = ((at_us / self.interval_us) as usize).checked_sub(self.closed);
        let Some(open) = at.and_then(|at| self.open.get(at)) else {
            return Packed::new();
        };
        let packed = |measure: &Measure| {
            let at = *measure as usize;
            Some((MEASURES[at].1.to_owned(), pack(open.histograms[at].as_ref()?)))
        };
        measures.iter().filter_map(packed).collect()
    }

    /// All of it, for others.
    pub fn pack(mut self) -> PackedRecord {
        while !self.open.is_empty() {
            self.close_first();
        }
        let whole = Open {
            histograms: self.whole.map(|histogram| (!histogram.is_empty()).then_some(histogram)),
        };
        let packed = self.packed.unwrap_or_default();
        let intervals = self.intervals.into_iter().zip(packed);
        PackedRecord {
            interval_us: self.interval_us,
            whole: whole.packed(),
            intervals: intervals
                .map(|(interval, histograms)| PackedInterval {
                    histograms,
                    counts: interval.counts,
                    waiting: interval.waiting,
                    busy: interval.busy,
                })
                .collect(),
            totals: COUNTS
                .iter()
                .zip(self.totals)
                .map(|((_, name), total)| ((*name).to_owned(), total))
                .collect(),
        }
    }

    /// Adds the records of generators to this one, which holds what only became known of all of them together.
    pub fn merge(mut self, parts: &[PackedRecord]) -> Result<Self> {
        for part in parts {
            ensure!(
                part.interval_us == self.interval_us,
                "a generator's intervals are of another length"
            );
            for (n, (_, name, _)) in MEASURES.iter().enumerate() {
                add_packed(&mut self.whole[n], &part.whole, name)?;
            }
            for (n, (_, name)) in COUNTS.iter().enumerate() {
                self.totals[n] += part.totals.get(*name).copied().unwrap_or(0);
            }
        }
        let length = parts.iter().map(|part| part.intervals.len()).max().unwrap_or(0);
        if let Some(last) = length.checked_sub(1) {
            // Those that are there take what was late already.
            self.interval(last as u64 * self.interval_us);
        }
        // One after the other: all histograms of a long run do not fit into memory.
        for at in 0..self.intervals.len() {
            let mut open = if at < self.closed {
                Open::default()
            } else {
                self.open.pop_front().unwrap_or_default()
            };
            let interval = &mut self.intervals[at];
            for part in parts.iter().filter_map(|part| part.intervals.get(at)) {
                for ((_, name, _), histogram) in MEASURES.iter().zip(&mut open.histograms) {
                    if part.histograms.contains_key(*name) {
                        add_packed(histogram.get_or_insert_with(self::histogram), &part.histograms, name)?;
                    }
                }
                for (name, count) in &part.counts {
                    *interval.counts.entry(name.clone()).or_default() += count;
                }
                interval.waiting += part.waiting;
                interval.busy += part.busy;
            }
            for ((_, name, _), histogram) in MEASURES.iter().zip(&open.histograms) {
                if let Some(histogram) = histogram {
                    interval.measures.insert((*name).to_owned(), histogram.into());
                }
            }
        }
        self.closed = self.intervals.len();
        self.open.clear();
        Ok(self)
    }

    /// A count of the interval that holds `at_us`.
    pub fn counted(&self, count: Count, at_us: u64) -> u64 {
        let interval = self.intervals.get((at_us / self.interval_us) as usize);
        interval
            .and_then(|interval| interval.counts.get(COUNTS[count as usize].1))
            .copied()
            .unwrap_or(0)
    }

    /// All intervals and the wholes, by name.
    pub fn close(mut self) -> (Vec<Interval>, BTreeMap<String, Summary>, BTreeMap<String, u64>) {
        while !self.open.is_empty() {
            self.close_first();
        }
        let whole = MEASURES
            .iter()
            .zip(&self.whole)
            .filter(|(_, histogram)| !histogram.is_empty());
        let whole = whole
            .map(|((_, name, _), histogram)| ((*name).to_owned(), histogram.into()))
            .collect();
        let totals = COUNTS
            .iter()
            .zip(self.totals)
            .map(|((_, name), total)| ((*name).to_owned(), total))
            .collect();
        (self.intervals, whole, totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_kinds() {
        for (n, (measure, ..)) in MEASURES.iter().enumerate() {
            assert_eq!(*measure as usize, n);
        }
        for (n, (count, _)) in COUNTS.iter().enumerate() {
            assert_eq!(*count as usize, n);
        }
    }

    #[test]
    fn a_latency_belongs_to_the_interval_in_which_it_was_intended() {
        let mut record = Record::new(1_000_000, 10_000_000);
        record.took(Measure::MessageAck, 500_000, 600_000); // warm-up: in its interval, not in the whole
        record.took(Measure::MessageAck, 2_900_000, 7_900_000);
        record.took(Measure::MessageAck, 7_000_000, 7_001_000);
        record.count(Count::Messages, 2_900_000);
        let (intervals, whole, totals) = record.close();
        assert_eq!(
            (whole["message_ack"].count, whole["message_ack"].max_ms.round()),
            (2, 5_001.0)
        ); // three digits
        assert_eq!(intervals[0].measures["message_ack"].count, 1);
        assert_eq!(intervals[2].measures["message_ack"].p50_ms.round(), 5_001.0);
        assert!(intervals[3].measures.is_empty());
        assert_eq!((totals["messages"], intervals[2].counts["messages"]), (1, 1));
    }

    #[test]
    fn old_intervals_are_closed_and_late_values_are_in_the_whole_all_the_same() {
        let mut record = Record::new(0, 1_000_000_000);
        record.took(Measure::Wait, 0, 5_000);
        record.took(Measure::Wait, 900_000_000, 900_005_000);
        record.took(Measure::Wait, 0, 5_000);
        let (intervals, whole, _) = record.close();
        assert_eq!((intervals[0].measures["wait"].count, whole["wait"].count), (1, 3));
    }

    #[test]
    fn long_runs_have_longer_intervals() {
        assert_eq!(Record::new(0, 60_000_000).interval_us(), 1_000_000);
        assert_eq!(Record::new(0, 7_200_000_000).interval_us(), 4_000_000);
    }

    #[test]
    fn records_of_two_generators_are_one() {
        let took = [
            (0, 1_500_000, 1_501_000),
            (1, 1_600_000, 1_690_000),
            (0, 5_000_000, 5_002_000),
        ];
        let mut alone = Record::new(1_000_000, 400_000_000);
        let mut parts = [(); 2].map(|()| Record::in_part(1_000_000, 400_000_000));
        for (generator, intended_us, until_us) in took {
            for record in [&mut alone, &mut parts[generator]] {
                record.took(Measure::MessageAck, intended_us, until_us);
                record.count(Count::Messages, intended_us);
                record.level(intended_us, 2, 1);
            }
        }
        // Known only when both are put together.
        let mut whole = Record::new(1_000_000, 400_000_000);
        for record in [&mut alone, &mut whole] {
            record.took(Measure::StartOffer, 200_000_000, 200_004_000);
        }
        // Long after: the first intervals are closed by then, and all there.
        for record in [&mut alone, &mut parts[1]] {
            record.took(Measure::Wait, 390_000_000, 390_500_000);
        }
        let wired = parts.map(|part| {
            let text = serde_json::to_string(&part.pack()).unwrap();
            serde_json::from_str::<PackedRecord>(&text).unwrap()
        });
        assert_eq!(wired[1].whole(Measure::MessageAck).unwrap().count, 1);
        assert_eq!(wired[0].total(Count::Messages), 2);
        assert_eq!(wired[0].over_time(Measure::MessageAck).unwrap().len(), 2);
        let (intervals, measures, counts) = whole.merge(&wired).unwrap().close();
        let (as_intervals, as_measures, as_counts) = alone.close();
        assert_eq!((&measures, &counts), (&as_measures, &as_counts));
        assert_eq!(intervals.len(), as_intervals.len());
        for (interval, as_interval) in intervals.iter().zip(&as_intervals) {
            assert_eq!(interval.measures, as_interval.measures, "at {} s", interval.at_s);
            assert_eq!(interval.counts, as_interval.counts, "at {} s", interval.at_s);
        }
        assert_eq!(intervals[1].waiting, 4, "of both");
        assert_eq!(intervals[1].measures["message_ack"].max_ms.round(), 90.0);
    }
}
