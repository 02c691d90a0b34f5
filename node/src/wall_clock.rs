//! The time of day, for the edges of the node. `routing` has no clock: its moments come with the log.

use std::time::{SystemTime, UNIX_EPOCH};

use routing::ids::Millis;

/// Unix milliseconds; 0 on a host whose clock stands before 1970.
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX))
}
