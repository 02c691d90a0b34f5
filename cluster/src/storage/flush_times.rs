//! How long a shard's log takes to bring to disk what it is given: the figure by which a leader on a slow disk is known.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::OnFlushed;
use crate::limits::{FLUSH_SECONDS, FLUSH_SECONDS_MIN, FLUSH_WINDOW};

/// One time is kept for each of these.
const SECOND: Duration = Duration::from_secs(1);

/// Times from a call of the log to its callback. A cheap clone, on which both sides of it work.
#[derive(Clone, Default)]
pub(crate) struct FlushTimes(Arc<Mutex<Times>>);

#[derive(Default)]
struct Times {
    /// The last seconds in which a flush ended.
    seconds: VecDeque<Second>,
    /// When each call was made whose callback was not called yet.
    under_way: BTreeMap<u64, Instant>,
    calls: u64,
}

struct Second {
    began: Instant,
    flushes: u32,
    took: Duration,
}

/// A call of the log. Dropped when it is flushed, or when it failed by itself.
struct Call {
    times: FlushTimes,
    number: u64,
}

impl FlushTimes {
    /// Measures until `flushed` is called.
    pub(crate) fn measured(&self, flushed: OnFlushed) -> OnFlushed {
        let call = self.call();
        Box::new(move |result| {
            if result.is_ok() {
                call.ended();
            }
            drop(call);
            flushed(result);
        })
    }

    /// What a flush takes now: the median of the last few seconds with flushes, or, if that is more, what the oldest that
    /// is under way has taken so far, so that a disk that hangs is seen too. `None` when too little was flushed to tell.
    pub(crate) fn figure(&self) -> Option<Duration> {
        let now = Instant::now();
        let times = self.0.lock();
        let oldest = times.under_way.first_key_value().map(|(_, since)| now - *since);
        let median = times.median(now);
        match (median, oldest) {
            (Some(median), oldest) => Some(median.max(oldest.unwrap_or_default())),
            // A moment under way tells nothing yet, a second does.
            (None, oldest) => oldest.filter(|oldest| *oldest >= SECOND),
        }
    }

    fn call(&self) -> Call {
        let mut times = self.0.lock();
        times.calls += 1;
        let number = times.calls;
        times.under_way.insert(number, Instant::now());
        drop(times);
        Call {
            times: self.clone(),
            number,
        }
    }
}

impl Times {
    fn note(&mut self, now: Instant, took: Duration) {
        match self.seconds.back_mut() {
            Some(last) if now.saturating_duration_since(last.began) < SECOND => {
                last.flushes = last.flushes.saturating_add(1);
                last.took += took;
            }
            _ => {
                self.seconds.push_back(Second {
                    began: now,
                    flushes: 1,
                    took,
                });
                if self.seconds.len() > FLUSH_SECONDS {
                    self.seconds.pop_front();
                }
            }
        }
    }

    fn median(&self, now: Instant) -> Option<Duration> {
        let lately = self
            .seconds
            .iter()
            .filter(|second| now.saturating_duration_since(second.began) < FLUSH_WINDOW);
        let mut means: Vec<Duration> = lately.map(|second| second.took / second.flushes).collect();
        means.sort_unstable();
        (means.len() >= FLUSH_SECONDS_MIN).then(|| means[means.len() / 2])
    }
}

impl Call {
    fn ended(&self) {
        let mut times = self.times.0.lock();
        if let Some(since) = times.under_way.get(&self.number).copied() {
            let now = Instant::now();
            times.note(now, now.saturating_duration_since(since));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.times.0.lock().under_way.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Begins and ends a flush.
    async fn flush(times: &FlushTimes, takes: Duration) {
        let flushed = times.measured(Box::new(|_| {}));
        tokio::time::sleep(takes).await;
        flushed(Ok(()));
    }

    /// Flushes of the same length for so many seconds.
    async fn flush_for(times: &FlushTimes, takes: Duration, seconds: u64) {
        let until = Instant::now() + SECOND * seconds as u32;
        while Instant::now() < until {
            flush(times, takes).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_stall_is_not_a_slow_disk_but_three_slow_seconds_are() {
        let times = FlushTimes::default();
        assert_eq!(times.figure(), None);
        flush_for(&times, MS(10), 5).await;
        assert_eq!(times.figure(), Some(MS(10)));
        flush(&times, MS(1_500)).await;
        assert_eq!(times.figure(), Some(MS(10)));
        flush_for(&times, MS(10), 5).await;
        flush_for(&times, MS(300), 4).await;
        assert_eq!(times.figure(), Some(MS(300)));
        flush_for(&times, MS(10), 4).await;
        assert_eq!(times.figure(), Some(MS(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_that_does_not_end_counts_while_it_is_under_way() {
        let times = FlushTimes::default();
        flush_for(&times, MS(10), 5).await;
        let hangs = times.measured(Box::new(|_| {}));
        tokio::time::sleep(MS(400)).await;
        assert_eq!(times.figure(), Some(MS(400)));
        tokio::time::sleep(MS(60_000)).await;
        assert_eq!(times.figure(), Some(MS(60_400)), "also when all others are long ago");
        hangs(Ok(()));
        assert_eq!(times.figure(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_neither_measured_nor_under_way() {
        let times = FlushTimes::default();
        let refused = times.measured(Box::new(|_| {}));
        let failed = times.measured(Box::new(|_| {}));
        tokio::time::sleep(MS(2_000)).await;
        drop(refused);
        failed(Err(io::ErrorKind::Other.into()));
        assert_eq!(times.figure(), None);
        assert!(times.0.lock().seconds.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn few_flushes_and_old_ones_tell_nothing() {
        let times = FlushTimes::default();
        flush(&times, MS(300)).await;
        tokio::time::sleep(MS(1_000)).await;
        flush(&times, MS(300)).await;
        assert_eq!(times.figure(), None);
        tokio::time::sleep(MS(1_000)).await;
        flush(&times, MS(300)).await;
        assert_eq!(times.figure(), Some(MS(300)));
        tokio::time::sleep(FLUSH_WINDOW).await;
        assert_eq!(times.figure(), None);
    }
}
