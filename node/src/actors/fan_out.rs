//! Pushes from a shard's leader to the nodes that listen.
//!
//! What there is at a time for a node goes out as one frame. Frames to one node are numbered. The listening node sees a gap in
//! the numbers, or learns from the reply to its sign of life that more was sent than came, and then reads again from its
//! cursors: so a push may be lost, but not unnoticed.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use cluster::codec;
use cluster::shards::Shards;
use cluster::state_machine::ShardId;
use cluster::transport::NodeId;
use parking_lot::Mutex;

use crate::calls::{PUSHES, PushHead, WirePush, WirePushRef};

/// A frame with so much in it is sent without waiting for more.
const FRAME_FULL_BYTES: usize = 256 << 10;

/// One term's pushes of one shard.
pub struct FanOut {
    shards: Shards,
    shard: ShardId,
    term: u64,
    rows: Mutex<BTreeMap<NodeId, Row>>,
}

#[derive(Default)]
struct Row {
    sent: u64,
    lost: bool,
}

/// Pushes that gather for their nodes; sent when dropped.
pub struct Gathering<'a> {
    fan_out: &'a FanOut,
    frames: BTreeMap<NodeId, BytesMut>,
}

impl FanOut {
    /// None sent yet.
    pub fn new(shards: Shards, shard: ShardId, term: u64) -> Self {
        Self {
            shards,
            shard,
            term,
            rows: Mutex::default(),
        }
    }

    /// Begins to gather.
    pub fn gather(&self) -> Gathering<'_> {
        Gathering {
            fan_out: self,
            frames: BTreeMap::new(),
        }
    }

    fn send(&self, node: NodeId, pushes: &[u8]) {
        let mut rows = self.rows.lock();
        let row = rows.entry(node).or_default();
        row.sent += 1;
        let frame = frame(
            PushHead {
                shard: self.shard.0,
                term: self.term,
                number: row.sent,
            },
            pushes,
        );
        // Under the lock, so that the numbers leave in order.
        if self.shards.send(node, PUSHES, frame).is_err() {
            row.lost = true;
        }
    }

    /// Number of the last frame to the node, and whether one was lost on this side since the last question.
    pub fn sent_to(&self, node: NodeId) -> (u64, bool) {
        let mut rows = self.rows.lock();
        let row = rows.entry(node).or_default();
        (row.sent, std::mem::take(&mut row.lost))
    }
}

impl Gathering<'_> {
    /// For each of the nodes.
    pub fn push(&mut self, nodes: impl Iterator<Item = NodeId>, push: &WirePushRef<'_>) {
        fail::fail_point!("actors::fan_out");
        let mut encoded: Option<Bytes> = None;
        for node in nodes {
            let encoded = encoded.get_or_insert_with(|| codec::encode(push));
            let frame = self.frames.entry(node).or_default();
            put(frame, encoded);
            if frame.len() >= FRAME_FULL_BYTES {
                let full = std::mem::take(frame);
                self.fan_out.send(node, &full);
            }
        }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        for (node, frame) in std::mem::take(&mut self.frames) {
            if !frame.is_empty() {
                self.fan_out.send(node, &frame);
            }
        }
    }
}

fn put(frame: &mut BytesMut, push: &[u8]) {
    frame.put_u32_le(push.len() as u32);
    frame.put_slice(push);
}

fn frame(head: PushHead, pushes: &[u8]) -> Bytes {
    let head = codec::encode(&head);
    let mut frame = BytesMut::with_capacity(1 + head.len() + pushes.len());
    frame.put_u8(head.len() as u8);
    frame.put_slice(&head);
    frame.put_slice(pushes);
    frame.freeze()
}

/// Takes a frame of [`FanOut`] apart: who sent it, and its pushes; `None` for one of them that cannot be read, which is the last.
pub fn open_pushes(frame: &[u8]) -> Option<(PushHead, impl Iterator<Item = Option<WirePush>>)> {
    let (&length, rest) = frame.split_first()?;
    let (head, mut rest) = rest.split_at_checked(length as usize)?;
    let head = codec::decode(head, 64).ok()?;
    let pushes = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (push, after) = take(rest).unzip();
        rest = after.unwrap_or_default();
        Some(push)
    });
    Some((head, pushes))
}

fn take(pushes: &[u8]) -> Option<(WirePush, &[u8])> {
    let (length, rest) = pushes.split_first_chunk::<4>()?;
    let (push, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let push = codec::decode(push, cluster::limits::FRAME_MAX_BYTES).ok()?;
    Some((push, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::WirePushKind;
    use routing::command::Reader;
    use routing::event::{AgentItem, AgentItemKind, Entry, EntryKind};
    use routing::ids::{AgentId, ConversationId, TenantId};
    use routing::view::Presence;

    #[test]
    fn what_is_gathered_comes_out_again() {
        let entry = Entry {
            conversation: ConversationId(7),
            seq: 3,
            prev_for_customer: 2,
            at_ms: 11,
            kind: EntryKind::Paused,
        };
        let item = AgentItem {
            agent: AgentId(9),
            agent_seq: 4,
            at_ms: 12,
            kind: AgentItemKind::Presence {
                presence: Presence::Available,
            },
        };
        let sent = [
            WirePushKind::Entry(&entry),
            WirePushKind::Read(ConversationId(1), Reader::Customer, 5),
            WirePushKind::Typing(ConversationId(2), Reader::Customer, true),
            WirePushKind::AgentItem(&item),
        ];
        let mut pushes = BytesMut::new();
        for what in sent {
            let tenant = TenantId(1);
            put(&mut pushes, &codec::encode(&WirePushRef { tenant, what }));
        }
        let head = PushHead {
            shard: 1,
            term: 2,
            number: 3,
        };
        let whole = frame(head, &pushes);
        let (found, pushes) = open_pushes(&whole).unwrap();
        assert_eq!(found, head);
        let kinds: Vec<_> = pushes.map(|push| push.unwrap().what).collect();
        let [
            WirePushKind::Entry(first),
            WirePushKind::Read(..),
            WirePushKind::Typing(..),
            WirePushKind::AgentItem(last),
        ] = &kinds[..]
        else {
            panic!("{kinds:?}");
        };
        assert_eq!((&**first, &**last), (&entry, &item));
        // However it is cut, it ends, and says that something is missing.
        for cut in 1..whole.len() {
            if let Some((_, pushes)) = open_pushes(&whole[..cut]) {
                let read: Vec<_> = pushes.collect();
                assert!(read.len() <= 4 && read.iter().rev().skip(1).all(Option::is_some));
            }
        }
        assert!(open_pushes(&[]).is_none());
    }
}
