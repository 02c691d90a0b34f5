//! Time as the shard gives it: it never goes back, and goes neither much faster nor much slower than real time, whatever the
//! wall clock does; so no timer is early or late by more than that.

use std::time::Duration;

use super::{Verdict, demand};

/// One part in so many is added or left out at most, to come closer to the wall clock; with a bit to spare.
const SLEW_DIVISOR: u64 = 18;
const ROUNDING_MS: u64 = 3;

/// Two looks at the clock of one leader, within one term.
pub(in super::super) fn a_leaders_time_is_steady(node: u64, before_ms: u64, now_ms: u64, elapsed: Duration) -> Verdict {
    demand(now_ms >= before_ms, || {
        format!("time: node {node}'s stamps went back from {before_ms} to {now_ms}")
    })?;
    let elapsed_ms = elapsed.as_millis() as u64;
    let most = elapsed_ms / SLEW_DIVISOR + ROUNDING_MS;
    demand((now_ms - before_ms).abs_diff(elapsed_ms) <= most, || {
        format!(
            "time: in {elapsed_ms} ms node {node}'s stamps went on by {} ms",
            now_ms - before_ms
        )
    })
}
