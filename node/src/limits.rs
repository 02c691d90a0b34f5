//! Every limit of this crate, on one page. Those of the replicated state are in [`routing::limits`].

use std::time::Duration;

/// How far a gateway's clock may be from the log's when conversations of a period are looked for, in milliseconds.
pub const GATEWAY_CLOCK_SKEW_MS: u64 = 300_000;
/// One WebSocket frame or message, in bytes.
pub const FRAME_MAX_BYTES: usize = 64 << 10;
/// One HTTP request body, in bytes.
pub const REQUEST_MAX_BYTES: usize = 256 << 10;
/// A whole policy as JSON, in bytes; as a command it is smaller, and must fit into one.
pub const POLICY_MAX_BYTES: usize = 2 << 20;
/// Connections that have been made and not yet accepted; the system may allow fewer (`net.core.somaxconn`).
pub const ACCEPT_QUEUE: u32 = 8_192;
/// Things that wait to be written to one socket before it is cut off as a slow reader.
pub const PUSHES_PENDING_MAX: usize = 1_024;
/// Conversations that one connection may follow.
pub const FOLLOWED_MAX: usize = 256;
/// Rows of one page of a listing.
pub const PAGE_MAX: usize = 500;
/// Lines of one report.
pub const REPORT_LINES_MAX: usize = 5_000;
/// Rows that one report may look at.
pub const REPORT_ROWS_READ_MAX: usize = 500_000;
/// Rows of a report that are read at a time.
pub const REPORT_PAGE: usize = 1_000;
/// Entries of one page of a transcript.
pub const ENTRIES_PAGE_MAX: usize = 500;
/// How long a client's command may take.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// How long a query may take.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(10);
/// Batches of events that wait for a shard's dispatcher; past it, listeners are told to read again.
pub const EVENTS_PENDING_MAX: usize = 4_096;
/// Decisions of one queue manager that are proposed and not yet settled.
pub const DECISIONS_IN_FLIGHT: usize = 256;
/// Messages that wait for one actor before its way in says no.
pub const MAILBOX_MAX: usize = 4_096;
/// A listening node that has been silent for so long has lost its connections.
pub const LISTENER_SILENCE: Duration = Duration::from_secs(3);
/// Between the signs of life of a listening node.
pub const LISTENER_HEARTBEAT: Duration = Duration::from_millis(750);
/// What finds no room on any disk is worth asking again after so long, in milliseconds: room is made by people.
pub const DISK_FULL_RETRY_MS: u64 = 5_000;
/// Customers who left are told to a new leader for so long: the one before may have died before it noticed.
pub const LEFT_REMEMBERED: Duration = Duration::from_secs(10);
/// Those who left and are remembered, per shard; the oldest go first.
pub const LEFT_REMEMBERED_MAX: usize = 16_384;
/// Commands of one connection that are carried out or wait for one before them; past it the socket is not read.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 32;
/// Entries that one read of a connection asks for.
pub const READ_PAGE: usize = 50;
/// Reads of transcripts of one connection at a time.
pub const READS_IN_FLIGHT_MAX: usize = 4;
/// A connection reads on while less than this waits to be written.
pub const READ_ROOM_BYTES: usize = 512 << 10;
/// Cursors of conversations that a connection keeps, beside those it follows.
pub const REMEMBERED_MAX: usize = 1_024;
/// A connection asks where a waiting conversation stands after a tenth of what it may have to wait, within these bounds (R35).
pub const WAITING_ASKED_MIN: Duration = Duration::from_secs(5);
/// See [`WAITING_ASKED_MIN`].
pub const WAITING_ASKED_MAX: Duration = Duration::from_secs(60);
/// Days ahead for which calendars and the tenant's days are made.
pub const CALENDAR_DAYS: u64 = 400;
/// When less than so many days are left, more are made.
pub const CALENDAR_DAYS_LEFT: u64 = 200;
/// Between looks at how far calendars reach.
pub const CALENDAR_LOOK: Duration = Duration::from_secs(600);

const _: () = assert!(CALENDAR_DAYS_LEFT < CALENDAR_DAYS);
const _: () = assert!(COMMANDS_IN_FLIGHT_MAX < routing::limits::IDEMPOTENCY_WINDOW);
const _: () = assert!(READ_PAGE * READS_IN_FLIGHT_MAX < PUSHES_PENDING_MAX);
const _: () = assert!(READ_PAGE <= ENTRIES_PAGE_MAX);
const _: () = assert!(routing::limits::BODY_MAX_BYTES * 2 <= FRAME_MAX_BYTES);
