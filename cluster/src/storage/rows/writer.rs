//! The thread that moves queued rows into sled.

use std::sync::Arc;

use super::super::rows_codec;
use super::{Shared, Write};
use crate::environment::give_way;
use crate::limits;

/// Writes batch after batch, until the store closes and the queue is empty, or a write fails.
pub(super) fn run(shared: &Arc<Shared>) {
    // With the threads of sled that it starts. The bursts of three nodes on two cores were seen in the p99 of messages.
    give_way(limits::ROWS_WRITER_NICE);
    while let Some(writes) = next_batch(shared) {
        let mut batch = sled::Batch::default();
        let mut in_runs: Vec<(&[u8], &[u8])> = Vec::new();
        for write in &writes {
            for (key, stored) in &write.rows {
                if rows_codec::is_in_run(key) {
                    in_runs.push((key, stored));
                } else {
                    batch.insert(&key[..], &stored[..]);
                }
            }
            if let Some(index) = write.index {
                batch.insert(&rows_codec::applied_key(write.shard), &index.to_be_bytes());
            }
        }
        insert_runs(&mut batch, in_runs);
        if shared.with_sled("rows_write", |db| db.apply_batch(batch)).is_err() {
            return;
        }
        finish(shared, &writes);
    }
}

/// Neighbours together, up to a size; a gap begins another run, so that the run of a row is the last that begins before it.
fn insert_runs(batch: &mut sled::Batch, mut rows: Vec<(&[u8], &[u8])>) {
    rows.sort_unstable();
    let mut run: Option<(&[u8], Vec<u8>)> = None;
    let mut before: Option<(&[u8], u64)> = None;
    for (key, stored) in rows {
        // Keys were checked when the rows were taken.
        let Ok((shared, number)) = rows_codec::split_run_key(key) else {
            continue;
        };
        let follows = before.is_some_and(|(other, last)| other == shared && number == last.wrapping_add(1));
        before = Some((shared, number));
        match &mut run {
            Some((_, kept)) if follows && kept.len() + stored.len() <= limits::ROWS_RUN_MAX_BYTES => {
                rows_codec::add_to_run(kept, number, stored);
            }
            _ => {
                let mut kept = Vec::with_capacity(12 + stored.len());
                rows_codec::add_to_run(&mut kept, number, stored);
                if let Some((first, kept)) = run.replace((key, kept)) {
                    batch.insert(first, kept);
                }
            }
        }
    }
    if let Some((first, kept)) = run {
        batch.insert(first, kept);
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
        rows += write.rows.iter().map(|(key, _)| weight(key)).sum::<usize>() + 1;
        if !writes.is_empty() && rows > limits::ROWS_BATCH_MAX {
            break;
        }
        writes.extend(queue.writes.pop_front());
    }
    Some(writes)
}

/// Of a row, against [`limits::ROWS_BATCH_MAX`]: those of runs end up in few rows of sled.
fn weight(key: &[u8]) -> usize {
    if rows_codec::is_in_run(key) {
        1
    } else {
        limits::ROWS_RUN_USUAL
    }
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
