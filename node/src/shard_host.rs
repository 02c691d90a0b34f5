//! Routing's state as a cluster state machine: commands in, receipts out, transcripts to the row store, events to the
//! shard's dispatcher.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use cluster::codec;
use cluster::limits::COMMAND_MAX_BYTES;
use cluster::state_machine::{Applied, Batch, RUN_TABLES_FROM, Row, SnapshotWriter, StateMachine};
use parking_lot::RwLock;
use routing::command::{COMMAND_SCHEMA, Envelope};
use routing::event::{AgentItem, AgentItemKind, ConversationView, Entry, Event, Phase, Receipt, TenantEvent};
use routing::ids::{AgentId, ConversationId, Millis, Seq, TenantId};
use routing::rejection::Rejection;
use routing::report::{Figures, RowKey};
use routing::state::State;
use routing::view::Presence;

use crate::actors::feed::EventFeed;

/// The table of transcripts: (tenant, conversation, seq) → entry. A table of runs: an entry never changes.
pub const ENTRIES: u8 = RUN_TABLES_FROM;
/// The table of closed conversations: (tenant, conversation) → view.
pub const CLOSED: u8 = 2;
/// The table of presences: (tenant, when, agent, position in their stream) → presence. Who was there when, for replays (R40).
pub const PRESENCES: u8 = 3;
/// The table of KPIs: (tenant, quarter hour, index at which the row left the state, place among those of that index) → row. Rows of
/// equal [`RowKey`] add up.
pub const REPORTS: u8 = 4;

/// Version of a row's format.
const ROW_SCHEMA: u16 = 2;
/// The key that a row is sealed with; 0 is plain.
const PLAIN: u32 = 0;
/// What a row begins with: both, big-endian.
const HEAD: [u8; 6] = {
    let ([a, b], [c, d, e, f]) = (ROW_SCHEMA.to_be_bytes(), PLAIN.to_be_bytes());
    [a, b, c, d, e, f]
};

/// A shard's state, shared with those who read it.
pub type SharedState = Arc<RwLock<State>>;

/// One replica of a shard of conversations.
pub struct ShardHost {
    state: SharedState,
    feed: EventFeed,
}

impl ShardHost {
    /// A host whose readers share `state` and whose events go to `feed`.
    pub fn new(state: SharedState, feed: EventFeed) -> Self {
        Self { state, feed }
    }
}

impl StateMachine for ShardHost {
    fn apply(&mut self, batch: Batch<'_>) -> Applied {
        let mut events = Vec::new();
        let mut applied = Applied::default();
        let mut commands: BTreeMap<TenantId, u64> = BTreeMap::new();
        let mut state = self.state.write();
        for bytes in batch.commands {
            let result: Result<Receipt, Rejection> = match codec::decode::<Envelope>(bytes, COMMAND_MAX_BYTES) {
                Ok(envelope) if envelope.schema == COMMAND_SCHEMA => {
                    *commands.entry(envelope.tenant).or_default() += 1;
                    state.apply(batch.index, batch.at_ms, &envelope, &mut events)
                }
                Ok(envelope) => Err(Rejection::UnsupportedVersion(envelope.schema)),
                Err(_) => Err(Rejection::UnsupportedVersion(0)),
            };
            applied.replies.push(codec::encode(&result));
        }
        for (id, count) in commands {
            if let Some(tenant) = state.tenant(id) {
                crate::metrics::tenant_commands(tenant.name(), count);
            }
        }
        applied.rows = rows_of(&events, batch.index);
        // Under the lock: who reads the state at an index finds every later event still to come.
        self.feed.publish(batch.index, events);
        applied
    }

    fn digest(&self) -> u64 {
        self.state.read().digest()
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let captured = self.state.read().capture();
        Box::new(move |to| captured.write(to))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        *self.state.write() = State::read(from)?;
        Ok(())
    }

    fn restored_at(&mut self, index: u64) {
        self.feed.restored_at(index);
    }
}

/// The rows that events leave behind: entries, and the last view of what is closed.
fn rows_of(events: &[TenantEvent], index: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut reported = 0;
    for TenantEvent { tenant, event } in events {
        match event {
            Event::Entry(entry) => rows.push(Row {
                table: ENTRIES,
                key: entry_key(*tenant, entry.conversation, entry.seq),
                value: Some(seal(entry)),
            }),
            // The last word is that of the archive: a note after the end, for one, changes no view before it.
            Event::Archived { view, .. } => rows.push(closed_row(*tenant, view)),
            Event::Conversation(view) if view.phase == Phase::Closed => rows.push(closed_row(*tenant, view)),
            Event::Agent(AgentItem {
                agent,
                agent_seq,
                at_ms,
                kind: AgentItemKind::Presence { presence },
            }) => rows.push(Row {
                table: PRESENCES,
                key: presence_key(*tenant, *at_ms, *agent, *agent_seq),
                value: Some(seal(&(*agent, *at_ms, presence))),
            }),
            Event::ReportClosed { key, figures } => {
                rows.push(Row {
                    table: REPORTS,
                    key: report_key(*tenant, key.quarter_ms, index, reported),
                    value: Some(seal(&(key, figures))),
                });
                reported += 1;
            }
            _ => {}
        }
    }
    rows
}

fn closed_row(tenant: TenantId, view: &ConversationView) -> Row {
    Row {
        table: CLOSED,
        key: conversation_key(tenant, view.conversation),
        value: Some(seal(view)),
    }
}

/// Key of a closed conversation; a prefix of the keys of its entries.
pub fn conversation_key(tenant: TenantId, conversation: ConversationId) -> Vec<u8> {
    let mut key = Vec::with_capacity(40);
    key.extend_from_slice(&tenant.0.to_be_bytes());
    key.extend_from_slice(&conversation.0.to_be_bytes());
    key
}

/// Key of a presence.
pub fn presence_key(tenant: TenantId, at_ms: Millis, agent: AgentId, agent_seq: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    key.extend_from_slice(&tenant.0.to_be_bytes());
    key.extend_from_slice(&at_ms.to_be_bytes());
    key.extend_from_slice(&agent.0.to_be_bytes());
    key.extend_from_slice(&agent_seq.to_be_bytes());
    key
}

/// Key of a row of KPIs.
pub fn report_key(tenant: TenantId, quarter_ms: Millis, index: u64, place: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(36);
    key.extend_from_slice(&tenant.0.to_be_bytes());
    key.extend_from_slice(&quarter_ms.to_be_bytes());
    key.extend_from_slice(&index.to_be_bytes());
    key.extend_from_slice(&place.to_be_bytes());
    key
}

/// The index in a key of [`report_key`].
pub fn report_index(key: &[u8]) -> Option<u64> {
    let index = key.get(24..32)?;
    index.try_into().ok().map(u64::from_be_bytes)
}

/// Key of an entry.
pub fn entry_key(tenant: TenantId, conversation: ConversationId, seq: Seq) -> Vec<u8> {
    let mut key = conversation_key(tenant, conversation);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

fn seal<T: serde::Serialize>(value: &T) -> Bytes {
    codec::encode_after(&HEAD, value)
}

fn open<T: serde::de::DeserializeOwned>(row: &[u8]) -> io::Result<T> {
    let body = row
        .strip_prefix(&HEAD)
        .ok_or_else(|| io::Error::other("a row of an unknown format"))?;
    codec::decode(body, cluster::limits::ROW_VALUE_MAX_BYTES).map_err(io::Error::other)
}

/// An entry from its row.
pub fn open_entry(row: &[u8]) -> io::Result<Entry> {
    open(row)
}

/// A presence from its row.
pub fn open_presence(row: &[u8]) -> io::Result<(AgentId, Millis, Presence)> {
    open(row)
}

/// KPIs from their row.
pub fn open_report(row: &[u8]) -> io::Result<(RowKey, Figures)> {
    open(row)
}

/// A closed conversation from its row.
pub fn open_view(row: &[u8]) -> io::Result<ConversationView> {
    open(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::event::EntryKind;

    #[test]
    fn rows_open_again_and_refuse_what_they_are_not() {
        let entry = Entry {
            conversation: ConversationId(7),
            seq: 3,
            prev_for_customer: 2,
            at_ms: 11,
            kind: EntryKind::Paused,
        };
        assert_eq!(open_entry(&seal(&entry)).unwrap(), entry);
        assert!(open_entry(&[9, 9, 9]).is_err());
        assert!(open_entry(&[0, 9, 0, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn rows_of_a_report_keep_their_index() {
        let key = report_key(TenantId(u128::MAX), 900_000, 77, 3);
        assert_eq!(report_index(&key), Some(77));
        assert_eq!(report_index(&key[..20]), None);
        assert!(key < report_key(TenantId(u128::MAX), 1_800_000, 1, 0));
        let row = (
            RowKey {
                quarter_ms: 900_000,
                subject: routing::report::Subject::Time { agent: AgentId(1) },
            },
            Figures::default(),
        );
        assert_eq!(open_report(&seal(&row)).unwrap(), row);
    }

    #[test]
    fn keys_sort_by_seq() {
        let key = |seq| entry_key(TenantId(1), ConversationId(2), seq);
        assert!(key(255) < key(256));
        assert!(key(1).starts_with(&conversation_key(TenantId(1), ConversationId(2))));
    }
}
