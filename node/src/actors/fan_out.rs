//! Pushes from a shard's leader to the nodes that listen.
//!
//! Pushes to one node are numbered. The listening node sees a gap in the numbers, or learns from the reply to its sign of
//! life that more was sent than came, and then reads again from its cursors: so a push may be lost, but not unnoticed.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use cluster::codec;
use cluster::shards::Shards;
use cluster::state_machine::ShardId;
use cluster::transport::NodeId;
use parking_lot::Mutex;

use crate::calls::{PUSH, PushHead, WirePush};

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

    /// Sends to each of the nodes.
    pub fn push(&self, nodes: impl Iterator<Item = NodeId>, push: &WirePush) {
        let mut body: Option<Bytes> = None;
        for node in nodes {
            let body = body.get_or_insert_with(|| codec::encode(push));
            let mut rows = self.rows.lock();
            let row = rows.entry(node).or_default();
            row.sent += 1;
            let head = codec::encode(&PushHead {
                shard: self.shard.0,
                term: self.term,
                number: row.sent,
            });
            let mut frame = BytesMut::with_capacity(1 + head.len() + body.len());
            frame.put_u8(head.len() as u8);
            frame.put_slice(&head);
            frame.put_slice(body);
            // Under the lock, so that the numbers leave in order.
            if self.shards.send(node, PUSH, frame.freeze()).is_err() {
                row.lost = true;
            }
        }
    }

    /// Number of the last push to the node, and whether one was lost on this side since the last question.
    pub fn sent_to(&self, node: NodeId) -> (u64, bool) {
        let mut rows = self.rows.lock();
        let row = rows.entry(node).or_default();
        (row.sent, std::mem::take(&mut row.lost))
    }
}

/// Takes a frame of [`FanOut`] apart.
pub fn open_push(frame: &[u8]) -> Option<(PushHead, WirePush)> {
    let (&length, rest) = frame.split_first()?;
    let (head, body) = rest.split_at_checked(length as usize)?;
    Some((
        codec::decode(head, 64).ok()?,
        codec::decode(body, cluster::limits::FRAME_MAX_BYTES).ok()?,
    ))
}
