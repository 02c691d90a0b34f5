//! The one ordered stream of events from a replica's `apply` to the shard's supervisor.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use routing::event::TenantEvent;
use routing::ids::TenantId;
use tokio::sync::Notify;

use crate::limits::EVENTS_PENDING_MAX;

/// The events of one log entry.
#[derive(Debug)]
pub struct EventBatch {
    /// Index of the entry.
    pub index: u64,
    /// What happened, in order.
    pub events: Vec<TenantEvent>,
    /// A mark that a queue manager asked for: everything published before it has come before it.
    pub mark: Option<TenantId>,
}

/// What the supervisor takes from the feed.
#[derive(Debug)]
pub enum Fed {
    /// Batches, in order.
    Batches(Vec<Arc<EventBatch>>),
    /// More came than the feed holds, or the state was replaced by a snapshot: start again from the state.
    StartAgain,
}

/// Bounded; it never holds `apply` up. A cheap clone.
#[derive(Clone, Default)]
pub struct EventFeed {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    pending: Mutex<Pending>,
    come: Notify,
}

#[derive(Default)]
struct Pending {
    open: bool,
    last_index: u64,
    start_again: bool,
    batches: VecDeque<Arc<EventBatch>>,
}

impl EventFeed {
    /// Takes a batch, from `apply`, under the state's lock.
    pub fn publish(&self, index: u64, events: Vec<TenantEvent>) {
        let mut pending = self.inner.pending.lock();
        pending.last_index = index;
        if !pending.open || events.is_empty() {
            return;
        }
        if pending.batches.len() >= EVENTS_PENDING_MAX {
            pending.batches.clear();
            pending.start_again = true;
        }
        if !pending.start_again {
            pending.batches.push_back(Arc::new(EventBatch {
                index,
                events,
                mark: None,
            }));
        }
        drop(pending);
        self.inner.come.notify_one();
    }

    /// Puts a mark behind everything that was published before.
    pub fn mark(&self, tenant: TenantId) {
        let mut pending = self.inner.pending.lock();
        if pending.open && !pending.start_again {
            let index = pending.last_index;
            pending.batches.push_back(Arc::new(EventBatch {
                index,
                events: Vec::new(),
                mark: Some(tenant),
            }));
        }
        drop(pending);
        self.inner.come.notify_one();
    }

    /// The state was replaced.
    pub fn restored_at(&self, index: u64) {
        let mut pending = self.inner.pending.lock();
        pending.last_index = index;
        pending.batches.clear();
        pending.start_again = pending.open;
        drop(pending);
        self.inner.come.notify_one();
    }

    /// From now on batches are kept. Read the state after this; what was read holds all up to [`Self::last_index`],
    /// if both are read under the state's lock.
    pub fn open(&self) {
        let mut pending = self.inner.pending.lock();
        pending.open = true;
        pending.start_again = false;
        pending.batches.clear();
    }

    /// Batches are dropped again.
    pub fn close(&self) {
        let mut pending = self.inner.pending.lock();
        pending.open = false;
        pending.start_again = false;
        pending.batches.clear();
    }

    /// Index of the last batch, kept or not.
    pub fn last_index(&self) -> u64 {
        self.inner.pending.lock().last_index
    }

    /// Waits for something and takes all of it.
    pub async fn take(&self) -> Fed {
        loop {
            let come = self.inner.come.notified();
            {
                let mut pending = self.inner.pending.lock();
                if std::mem::take(&mut pending.start_again) {
                    return Fed::StartAgain;
                }
                if !pending.batches.is_empty() {
                    return Fed::Batches(pending.batches.drain(..).collect());
                }
            }
            come.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::event::Event;
    use routing::ids::TenantId;

    fn events() -> Vec<TenantEvent> {
        vec![TenantEvent {
            tenant: TenantId(1),
            event: Event::SettingsChanged,
        }]
    }

    #[tokio::test]
    async fn too_much_means_starting_again_and_then_going_on() {
        let feed = EventFeed::default();
        feed.publish(1, events());
        feed.open();
        for index in 2..(EVENTS_PENDING_MAX as u64 + 10) {
            feed.publish(index, events());
        }
        assert!(matches!(feed.take().await, Fed::StartAgain));
        let next = feed.last_index() + 1;
        feed.publish(next, events());
        match feed.take().await {
            Fed::Batches(batches) => assert_eq!(batches[0].index, next),
            Fed::StartAgain => panic!("the feed goes on after it was emptied"),
        }
    }
}
