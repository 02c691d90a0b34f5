//! The leader's time: it advances by the monotonic clock and is slewed towards wall time at a bounded rate, so that a
//! step of the wall clock neither fires every deadline nor freezes them, and a stamp never goes back.
//!
//! Who begins to lead goes on from its own reading, which was kept while it followed, and not from the wall clock as it stands:
//! that may have jumped a moment ago. What the cluster's clocks agree on is taken over while following, when a step does no
//! harm (`shards/gauges.rs` compares them).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Of the time that passed, this part at most is added or left out to come closer to the wall clock: 1/20.
const SLEW_DIVISOR: i64 = 20;

pub(crate) type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

struct Reading {
    at: Instant,
    time_us: i64,
    last_stamp_ms: u64,
}

/// The clock of one shard on one node.
pub(crate) struct ShardClock {
    wall: WallClock,
    reading: Mutex<Reading>,
}

impl ShardClock {
    pub(crate) fn new(wall: WallClock) -> Self {
        let time_us = wall_us(&wall);
        Self {
            wall,
            reading: Mutex::new(Reading {
                at: Instant::now(),
                time_us,
                last_stamp_ms: 0,
            }),
        }
    }

    /// Called when this node begins to lead a term: goes on from its own reading, but never from less than the log's last stamp.
    /// What it gave in an earlier term and is not in the log counts no more: time would stand still until it is reached again.
    pub(crate) fn restart(&self, floor_ms: u64) {
        self.now_ms();
        let mut reading = self.reading.lock();
        let now = Instant::now();
        let plain = reading.time_us + micros(now.duration_since(reading.at));
        reading.at = now;
        reading.time_us = plain.max(floor_ms as i64 * 1000);
        reading.last_stamp_ms = floor_ms;
    }

    /// The log's last stamp has become known: goes on from there, if that is ahead.
    pub(crate) fn raise(&self, floor_ms: u64) {
        let now_ms = self.now_ms();
        let mut reading = self.reading.lock();
        if now_ms < floor_ms {
            reading.at = Instant::now();
            reading.time_us = floor_ms as i64 * 1000;
            reading.last_stamp_ms = floor_ms;
        }
    }

    /// Takes wall time as it is. For a replica that follows, and a wall clock that the cluster's others agree with.
    pub(crate) fn adopt_wall(&self) {
        let mut reading = self.reading.lock();
        reading.at = Instant::now();
        reading.time_us = wall_us(&self.wall);
        reading.last_stamp_ms = 0;
    }

    /// The time now, Unix milliseconds; never less than it gave before in this term.
    pub(crate) fn now_ms(&self) -> u64 {
        let mut reading = self.reading.lock();
        let now = Instant::now();
        let elapsed_us = micros(now.duration_since(reading.at));
        let plain = reading.time_us + elapsed_us;
        let most = elapsed_us / SLEW_DIVISOR;
        // Short intervals add up: the reading is left where it is until there is something to slew.
        if most > 0 {
            reading.time_us = plain + (wall_us(&self.wall) - plain).clamp(-most, most);
            reading.at = now;
        }
        let shown_us = if most > 0 { reading.time_us } else { plain };
        reading.last_stamp_ms = reading.last_stamp_ms.max((shown_us / 1000) as u64);
        reading.last_stamp_ms
    }
}

fn wall_us(wall: &WallClock) -> i64 {
    wall() as i64 * 1000
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 2)
}

/// How far `own` is from the median of the cluster's clocks, `others` among them, in milliseconds (positive = ahead).
/// With fewer than two others nobody can say who is wrong: `None`.
pub(crate) fn skew_ms(own: u64, others: &[u64]) -> Option<i64> {
    if others.len() < 2 {
        return None;
    }
    let mut all = others.to_vec();
    all.push(own);
    all.sort_unstable();
    Some(own as i64 - all[all.len() / 2] as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn clock(start_ms: u64) -> (ShardClock, Arc<AtomicU64>) {
        let wall = Arc::new(AtomicU64::new(start_ms));
        let read = wall.clone();
        (ShardClock::new(Arc::new(move || read.load(Ordering::Relaxed))), wall)
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_wall_clock_is_slewed() {
        let (clock, wall) = clock(1_000_000);
        wall.store(2_000_000, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now_ms(), 1_001_050);
        wall.store(500_000, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now_ms(), 1_002_000);
    }

    #[tokio::test(start_paused = true)]
    async fn many_short_readings_slew_as_well() {
        let (clock, wall) = clock(1_000_000);
        wall.store(2_000_000, Ordering::Relaxed);
        let mut last = 0;
        for _ in 0..100_000 {
            tokio::time::advance(Duration::from_micros(10)).await;
            let now = clock.now_ms();
            assert!(now >= last);
            last = now;
        }
        assert!((1_001_030..=1_001_050).contains(&last), "{last}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_starts_at_the_logs_time() {
        let (clock, _) = clock(1_000_000);
        clock.restart(1_000_500);
        assert_eq!(clock.now_ms(), 1_000_500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_does_not_believe_a_wall_clock_that_has_just_jumped() {
        for jumped in [1_000_000 + 3_600_000, 1_000_000 - 900_000] {
            let (clock, wall) = clock(1_000_000);
            tokio::time::advance(Duration::from_secs(1)).await;
            wall.store(jumped, Ordering::Relaxed);
            clock.restart(1_000_500);
            let now = clock.now_ms();
            assert!((1_000_950..=1_001_050).contains(&now), "{now}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_takes_over_what_the_cluster_agrees_on() {
        let (clock, wall) = clock(1_000_000);
        wall.store(4_600_000, Ordering::Relaxed);
        clock.adopt_wall();
        assert_eq!(clock.now_ms(), 4_600_000);
        wall.store(2_000_000, Ordering::Relaxed);
        clock.adopt_wall();
        assert_eq!(clock.now_ms(), 2_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn stamps_that_never_reached_the_log_do_not_stop_the_time_of_a_later_term() {
        let (clock, wall) = clock(1_020_000);
        clock.restart(1_000_000);
        assert_eq!(clock.now_ms(), 1_020_000);
        // Deposed, it follows, and is put right.
        wall.store(1_000_100, Ordering::Relaxed);
        clock.adopt_wall();
        clock.restart(1_000_000);
        assert_eq!(clock.now_ms(), 1_000_100);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!((1_000_195..=1_000_200).contains(&clock.now_ms()));
        clock.raise(1_000_150);
        assert!((1_000_195..=1_000_200).contains(&clock.now_ms()));
        clock.raise(1_000_500);
        assert_eq!(clock.now_ms(), 1_000_500);
    }

    #[test]
    fn skew_is_against_the_median() {
        assert_eq!(skew_ms(1000, &[5000]), None);
        assert_eq!(skew_ms(9000, &[1000, 1100]), Some(7900));
        assert_eq!(skew_ms(1000, &[1010, 9000]), Some(-10));
    }
}
