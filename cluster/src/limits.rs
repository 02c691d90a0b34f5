//! Every limit of this crate, on one page, with the relations between them asserted.

use std::time::Duration;

/// Commands in one log entry.
pub const BATCH_MAX_COMMANDS: usize = 256;
/// Bytes of commands in one log entry (one larger command makes an entry of its own).
pub const BATCH_MAX_BYTES: usize = 256 << 10;
/// Commands that make another batch worth sending while so many (the place in the list) are proposed and not yet applied. With
/// as many batches as places none goes out: a batch costs an entry, two appends and three flushes, whatever is in it.
pub const BATCH_WORTH_IT: [usize; 8] = [1, 4, 32, 64, 128, 128, 256, 256];
/// Commands that wait in a proposer before a caller is told `overloaded`.
pub const PROPOSER_QUEUE: usize = 16_384;
/// Places of [`PROPOSER_QUEUE`] kept for decisions and timers.
pub const PROPOSER_RESERVED: usize = 2_048;
/// One command, in bytes.
pub const COMMAND_MAX_BYTES: usize = 128 << 10;
/// One frame between nodes, in bytes.
pub const FRAME_MAX_BYTES: usize = 8 << 20;
/// Frames that wait for one link before a caller is told `busy`.
pub const LINK_QUEUE: usize = 8_192;
/// Bytes that wait for one link before a caller is told `busy` (one frame always fits).
pub const LINK_QUEUE_BYTES: usize = 64 << 20;
/// Calls of one link without a reply before a caller is told `busy`; the called side holds the same bound.
pub const LINK_CALLS_MAX: usize = 16_384;
/// Bytes of calls of one connection that its handler has not answered, before a caller is told `busy`.
pub const LINK_CALLS_MAX_BYTES: usize = 64 << 20;
/// A hello or a reason, in bytes: all that a stranger may send.
pub const HELLO_MAX_BYTES: usize = 1 << 10;
/// Connections that have not said hello yet; more are closed at once.
pub const HANDSHAKES_MAX: usize = 128;
/// Connections accepted from other nodes.
pub const INBOUND_MAX: usize = 1_024;
/// Entries read for one append frame, in bytes (the last one may go beyond).
pub const READ_MAX_BYTES: usize = 1 << 20;
/// Commands that wait in a proposer, in bytes.
pub const PROPOSER_QUEUE_BYTES: usize = 64 << 20;
/// Appends of one shard that are on their way to one follower.
pub const APPENDS_IN_FLIGHT: usize = 32;
/// Appends of one shard from one leader that wait for the raft core.
pub const APPEND_LANE: usize = 128;
/// One chunk of a snapshot in transfer, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// A thread that builds a snapshot gives way to everybody else by so much (`nice`): of a million conversations it takes seconds of a core.
pub const SNAPSHOT_NICE: i32 = 10;
/// A snapshot that is written is brought to disk each time that so much of it has gathered, in bytes.
pub const SNAPSHOT_PACE_BYTES: usize = 2 << 20;
/// One value in the row store, in bytes: above it sled 0.34 would use blobs, which it never syncs.
pub const ROW_VALUE_MAX_BYTES: usize = 64 << 10;
/// Bytes appended to one shard's log that wait for the disk before `append` blocks.
pub const LOG_UNFLUSHED_MAX_BYTES: usize = 64 << 20;
/// One file of a shard's log, in bytes; entries in the newest file are always in memory.
pub const LOG_CHUNK_BYTES: usize = 32 << 20;
/// Entries of a shard's log kept in memory beyond those of the newest file, in bytes.
pub const LOG_CACHE_BYTES: usize = 32 << 20;
/// One key in the row store, in bytes.
pub const ROW_KEY_MAX_BYTES: usize = 1 << 10;
/// Rows that wait to be written, in bytes (keys and values), before `RowStore::write` blocks.
pub const ROWS_PENDING_MAX_BYTES: usize = 64 << 20;
/// The row store's writer gives way to everybody else by so much (`nice`): nobody waits for it as long as there is room.
pub const ROWS_WRITER_NICE: i32 = 5;
/// Rows in one batch that the row store writes: it locks readers out meanwhile. A row that is in no run counts as
/// [`ROWS_RUN_USUAL`].
pub const ROWS_BATCH_MAX: usize = 16_384;
/// Rows of a run that are usually kept together under load.
pub const ROWS_RUN_USUAL: usize = 8;
/// Rows of a run that are kept together, in bytes.
pub const ROWS_RUN_MAX_BYTES: usize = 16 << 10;
/// How long the row store waits for more rows before it writes a batch, unless somebody waits for that batch, or half of
/// [`ROWS_PENDING_MAX_BYTES`] has gathered. Meanwhile they are read from memory; after a crash they are made again from the log.
pub const ROWS_GATHER: Duration = Duration::from_secs(2);
/// Rows that one call of `export` looks at.
pub const ROWS_EXPORT_LOOKED_AT_MAX: usize = 50_000;
/// sled's page cache, in bytes.
pub const ROWS_CACHE_BYTES: u64 = 128 << 20;
/// Between two looks at the room on the disk of the data folder.
pub const DISK_LOOK_EVERY: Duration = Duration::from_secs(1);
/// With less than this part of the disk free, within the two bounds below, a node leads only when nobody else can.
pub const DISK_LOW_PART: u64 = 100;
/// See [`DISK_LOW_PART`]; a new file of a log for some shards, and a segment of the rows.
pub const DISK_LOW_MIN_BYTES: u64 = 64 << 20;
/// See [`DISK_LOW_PART`].
pub const DISK_LOW_MAX_BYTES: u64 = 1 << 30;
/// A node with little room stands for election when a shard has had no leader for so long.
pub const DISK_LOW_STANDS_AFTER: Duration = Duration::from_secs(3);
/// Seconds with flushes whose median tells how fast a shard's log is.
pub const FLUSH_SECONDS: usize = 5;
/// With fewer of them within [`FLUSH_WINDOW`] it is not known.
pub const FLUSH_SECONDS_MIN: usize = 3;
/// Flushes longer ago tell nothing.
pub const FLUSH_WINDOW: Duration = Duration::from_secs(10);
/// A leader whose log takes longer than this for a flush hands leadership over, if a successor's log is much faster.
pub const SLOW_FLUSH: Duration = Duration::from_millis(100);
/// So many times faster.
pub const SLOW_TIMES_SUCCESSOR: u32 = 4;
/// It must have been slow for so long.
pub const SLOW_FOR: Duration = Duration::from_secs(3);
/// Between two hand-overs of a shard for that reason, by whichever node: two that are slow when they lead must not play
/// ping-pong.
pub const SLOW_PAUSE: Duration = Duration::from_secs(30);
/// Between two attempts at opening again what ended for want of room; doubled each time, up to the longest.
pub const MEND_PAUSE_MIN: Duration = Duration::from_millis(500);
/// See [`MEND_PAUSE_MIN`].
pub const MEND_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A leader asks the voters whether it still leads, for the reads that wait, for at most so long at a time.
pub const ROUND: Duration = Duration::from_millis(500);
/// A leader whose clock is further than this from the median of its peers hands leadership over, in milliseconds.
pub const CLOCK_SKEW_MAX_MS: u64 = 500;

// One row of the largest size beside a full run: sled must not take it for a blob (a quarter of a segment for 16 of them).
const _: () = assert!(16 * (ROWS_RUN_MAX_BYTES + ROW_VALUE_MAX_BYTES + ROW_KEY_MAX_BYTES + 64) < (16 << 20) / 4);
const _: () = assert!(BATCH_WORTH_IT[0] == 1 && BATCH_WORTH_IT[BATCH_WORTH_IT.len() - 1] <= BATCH_MAX_COMMANDS);
const _: () = assert!(COMMAND_MAX_BYTES <= BATCH_MAX_BYTES);
const _: () = assert!(BATCH_MAX_BYTES * 4 < FRAME_MAX_BYTES);
const _: () = assert!(READ_MAX_BYTES + 2 * BATCH_MAX_BYTES < FRAME_MAX_BYTES);
const _: () = assert!(APPENDS_IN_FLIGHT < APPEND_LANE);
const _: () = assert!(SNAPSHOT_CHUNK_BYTES * 2 < FRAME_MAX_BYTES);
const _: () = assert!(FRAME_MAX_BYTES <= LINK_QUEUE_BYTES && FRAME_MAX_BYTES <= LINK_CALLS_MAX_BYTES);
const _: () = assert!(HELLO_MAX_BYTES < FRAME_MAX_BYTES);
const _: () = assert!(LINK_QUEUE <= LINK_CALLS_MAX);
const _: () = assert!(FLUSH_SECONDS_MIN <= FLUSH_SECONDS && FLUSH_SECONDS as u64 <= FLUSH_WINDOW.as_secs());
const _: () = assert!(SLOW_FOR.as_secs() < SLOW_PAUSE.as_secs());
const _: () = assert!(DISK_LOW_MIN_BYTES < DISK_LOW_MAX_BYTES);
const _: () = assert!(PROPOSER_RESERVED < PROPOSER_QUEUE);
