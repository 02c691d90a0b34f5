//! The time of day, for the edges of the node. `routing` has no clock: its moments come with the log.
//!
//! A node of a cluster goes on from the time that the nodes agreed on last, so that tokens end, and ids are dated, at the same
//! time on every node, and a clock that jumps sends nobody away before the next look at it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use routing::ids::Millis;
use uuid::{NoContext, Timestamp, Uuid};

/// What the nodes agreed on, and when.
type Agreed = Option<(Millis, Instant)>;

static AGREED: RwLock<Agreed> = RwLock::new(None);

/// Goes on from this time; see [`cluster::shards::Shards::agreed_time`].
pub fn agreed(time: Agreed) {
    *AGREED.write() = time;
}

/// Unix milliseconds; 0 on a host whose clock stands before 1970.
pub fn now_ms() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let plain = since.map_or(0, millis);
    going_on(*AGREED.read(), Instant::now()).unwrap_or(plain)
}

fn going_on(agreed: Agreed, now: Instant) -> Option<Millis> {
    agreed.map(|(ms, at)| ms.saturating_add(millis(now.saturating_duration_since(at))))
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
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
    fn it_goes_on_from_what_was_agreed() {
        let at = Instant::now();
        assert_eq!(going_on(None, at), None);
        assert_eq!(
            going_on(Some((7_000, at)), at + Duration::from_millis(250)),
            Some(7_250)
        );
        assert_eq!(going_on(Some((7_000, at + Duration::from_secs(1))), at), Some(7_000));
    }

    #[test]
    fn ids_carry_their_date() {
        let id = dated(1_795_233_600_123);
        assert_eq!(id >> 80, 1_795_233_600_123);
        assert_eq!((id >> 76) & 0xf, 7);
        assert_ne!(id, dated(1_795_233_600_123));
    }
}
