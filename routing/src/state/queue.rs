//! One queue's row, and admission to it (R23): exact, because the state counts and the log orders.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::index::InQueue;
use crate::ids::{Millis, QueueId};
use crate::settings::{QueueSettings, Rings};
use crate::view::{QueueRates, QueueView};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queue {
    pub settings: Arc<QueueSettings>,
    /// Grows with each change of the settings; the index of the change, unless two changes share one.
    pub version: u64,
    /// R6: as bits.
    pub shared_rings: u8,
    /// R34: by its calendar, as of the last edge.
    pub open: bool,
    /// R35.
    pub rates: QueueRates,
}

impl Queue {
    pub fn view(&self, queue: QueueId) -> QueueView {
        QueueView {
            queue,
            settings: self.settings.clone(),
            version: self.version,
            shared_rings: self.shared_rings,
            open: self.open,
        }
    }

    /// Rings that serve a conversation for which `opened` have opened.
    pub fn rings_serving(&self, opened: u8) -> Rings {
        self.settings.rings_always(self.shared_rings).and(opened)
    }

    /// Whether one more may come: the length counts who waits and who is offered, the age is that of the oldest of them.
    pub fn admits(&self, now: Option<&InQueue>, at_ms: Millis) -> bool {
        let Some(now) = now else { return true };
        let (length_max, wait_max_ms) = (self.settings.length_max, self.settings.wait_max_ms);
        let short = length_max == 0 || now.counts.in_queue() < length_max;
        let quick = || {
            now.oldest()
                .is_none_or(|(since_ms, ..)| at_ms.saturating_sub(since_ms) <= wait_max_ms)
        };
        short && (wait_max_ms == 0 || quick())
    }
}
