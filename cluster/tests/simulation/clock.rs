//! A node's wall clock: it may be ahead or behind, jump, and go too fast or too slow. The monotonic clock is tokio's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

const DAY_MS: i64 = 1_700_000_000_000;

/// Clones are the same clock.
#[derive(Clone)]
pub(super) struct NodeClock {
    started: Instant,
    offset_ms: Arc<AtomicI64>,
    drift_permille: Arc<AtomicI64>,
}

impl NodeClock {
    pub(super) fn new(started: Instant, offset_ms: i64) -> Self {
        Self {
            started,
            offset_ms: Arc::new(offset_ms.into()),
            drift_permille: Arc::default(),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        let elapsed_ms = self.started.elapsed().as_millis() as i64;
        let drifted_ms = elapsed_ms * (1_000 + self.drift_permille.load(Ordering::Relaxed)) / 1_000;
        (DAY_MS + drifted_ms + self.offset_ms.load(Ordering::Relaxed)) as u64
    }

    pub(super) fn jump(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    pub(super) fn drift(&self, permille: i64) {
        self.drift_permille.store(permille, Ordering::Relaxed);
    }
}
