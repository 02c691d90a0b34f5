//! The time of day, for the edges of the node. `routing` has no clock: its moments come with the log.
//!
//! A wall clock that is off from those of the cluster's other nodes is corrected by as much, so that tokens end, and ids are
//! dated, at the same time on every node.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use routing::ids::Millis;
use uuid::{NoContext, Timestamp, Uuid};

/// How far this host's clock is known to be ahead.
static OFF_MS: AtomicI64 = AtomicI64::new(0);

/// Corrects the clock from now on; see [`cluster::shards::Shards::clock_off_ms`].
pub fn is_off_by(ahead_ms: i64) {
    OFF_MS.store(ahead_ms, Ordering::Relaxed);
}

/// Unix milliseconds; 0 on a host whose clock stands before 1970.
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let plain = since.map_or(0, |since| Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX));
    plain.saturating_add_signed(-OFF_MS.load(Ordering::Relaxed))
}

/// A number for something new, dated by this clock (UUIDv7).
pub fn new_id() -> u128 {
    dated(now_ms())
}

fn dated(at_ms: Millis) -> u128 {
    let at = Duration::from_millis(at_ms);
    Uuid::new_v7(Timestamp::from_unix(NoContext, at.as_secs(), at.subsec_nanos())).as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_date() {
        let id = dated(1_795_233_600_123);
        assert_eq!(id >> 80, 1_795_233_600_123);
        assert_eq!((id >> 76) & 0xf, 7);
        assert_ne!(id, dated(1_795_233_600_123));
    }
}
