//! The thread that moves queued rows into sled.

use std::sync::Arc;

use super::super::rows_codec;
use super::{Shared, Write};
use crate::limits;

/// Writes batch after batch, until the store closes and the queue is empty, or a write fails.
pub(super) fn run(shared: &Arc<Shared>) {
    while let Some(writes) = next_batch(shared) {
        let mut batch = sled::Batch::default();
        for write in &writes {
            for (key, stored) in &write.rows {
                batch.insert(&key[..], &stored[..]);
            }
            if let Some(index) = write.index {
                batch.insert(&rows_codec::applied_key(write.shard), &index.to_be_bytes());
            }
        }
        if shared.with_sled("rows_write", |db| db.apply_batch(batch)).is_err() {
            return;
        }
        finish(shared, &writes);
    }
}

/// Whole writes, in order; several when they are small, all of them within one batch of sled.
fn next_batch(shared: &Shared) -> Option<Vec<Write>> {
    let mut queue = shared.queue.lock();
    while queue.writes.is_empty() {
        if queue.is_closing {
            return None;
        }
        shared.work.wait(&mut queue);
    }
    // sled wakes all of its threads for every batch, however small. What gathers meanwhile is read from the overlay.
    if !queue.hurries() {
        shared.hurry.wait_for(&mut queue, limits::ROWS_GATHER);
    }
    let mut writes = Vec::new();
    let mut rows = 0;
    while let Some(write) = queue.writes.front() {
        rows += write.rows.len() + 1;
        if !writes.is_empty() && rows > limits::ROWS_BATCH_MAX {
            break;
        }
        writes.extend(queue.writes.pop_front());
    }
    Some(writes)
}

/// Takes the rows out of the overlay, unless a later write put them there again.
fn finish(shared: &Shared, writes: &[Write]) {
    let mut overlay = shared.overlay.write();
    for write in writes {
        for (key, _) in &write.rows {
            if overlay.get(key).is_some_and(|(number, _)| *number <= write.number) {
                overlay.remove(key);
            }
        }
    }
    drop(overlay);
    let mut queue = shared.queue.lock();
    for write in writes {
        queue.bytes -= write.bytes;
        queue.written = write.number;
        if let Some(index) = write.index {
            queue.applied_written.insert(write.shard, index);
        }
    }
    drop(queue);
    shared.written.notify_all();
}
