//! Keeping the leader of a shard told of what this node's sockets follow, and of who left a moment ago.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::codec;
use cluster::shards::Shards;
use cluster::state_machine::ShardId;
use cluster::transport::NodeId;
use tokio::sync::Notify;

use super::{Hub, Key};
use crate::calls::{LISTEN, ListenCall, ListenReply};
use crate::limits::{LEFT_REMEMBERED, LEFT_REMEMBERED_MAX, LISTENER_HEARTBEAT};

/// Changes that one call to a leader carries.
const CHANGES_PER_CALL: usize = 2_000;
/// How long a leader may take to answer such a call.
const LISTEN_DEADLINE: Duration = Duration::from_millis(1_500);
/// Between tries while a shard has no leader that answers.
const LISTEN_RETRY: Duration = Duration::from_millis(25);

/// What the leader of a shard knows of this node, and what of its pushes came.
#[derive(Default)]
pub(super) struct ShardListening {
    pub(super) changed: BTreeSet<Key>,
    pub(super) all: BTreeSet<Key>,
    /// Customers who came, and of whom no leader has been told yet.
    pub(super) came: BTreeSet<Key>,
    /// Customers who left a moment ago. A leader that is new since then, or whose actors failed, has not heard of them.
    left: VecDeque<(Instant, Key)>,
    pub(super) received: (u64, u64),
    pub(super) gap: bool,
    pub(super) wake: Arc<Notify>,
}

impl Hub {
    /// Keeps the leader of a shard told of what this node follows there, as long as the node lives.
    pub(super) async fn keep_told(self, shards: Shards, shard: ShardId, wake: Arc<Notify>) {
        let mut told: Option<(NodeId, u64)> = None;
        let mut sent_before: Option<(u64, u64)> = None;
        // A node that is joining has its replicas one after the other.
        let mut leadership = loop {
            match shards.leadership(shard) {
                Some(leadership) => break leadership,
                None => tokio::time::sleep(LISTENER_HEARTBEAT).await,
            }
        };
        loop {
            let now = *leadership.borrow_and_update();
            let answered = match now.leader {
                Some(leader) => {
                    let reset = told != Some((leader, now.term)) || self.take_gap(shard, sent_before);
                    self.tell(&shards, shard, leader, reset).await
                }
                None => None,
            };
            match (answered, now.leader) {
                (Some((term, sent)), Some(leader)) => {
                    told = Some((leader, now.term));
                    sent_before = Some((term, sent));
                }
                _ => {
                    told = None;
                    sent_before = None;
                }
            }
            let pause = if told.is_some() {
                LISTENER_HEARTBEAT
            } else {
                LISTEN_RETRY
            };
            let woken = async {
                if told.is_some() {
                    wake.notified().await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = woken => {}
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Whether a push was lost: a gap in the numbers, or fewer came than the leader had sent one sign of life ago.
    fn take_gap(&self, shard: ShardId, sent_before: Option<(u64, u64)>) -> bool {
        let mut followers = self.inner.followers.lock();
        let Some(listening) = followers.shards.get_mut(&shard) else {
            return false;
        };
        let behind = sent_before.is_some_and(|(term, sent)| sent > 0 && listening.received < (term, sent));
        std::mem::take(&mut listening.gap) || behind
    }

    /// Tells the leader what changed, or (with `reset`) all. `Some((term, sent))` when it noted that.
    async fn tell(&self, shards: &Shards, shard: ShardId, leader: NodeId, reset: bool) -> Option<(u64, u64)> {
        let (keys, came): (Vec<Key>, BTreeSet<Key>) = {
            let mut followers = self.inner.followers.lock();
            let listening = followers.shards.get_mut(&shard)?;
            let changed = std::mem::take(&mut listening.changed);
            let mut came = std::mem::take(&mut listening.came);
            if reset {
                came.extend(listening.left_lately());
            }
            let keys = if reset {
                listening.all.union(&came).copied().collect()
            } else {
                changed.into_iter().collect()
            };
            (keys, came)
        };
        let mut parts = keys.chunks(CHANGES_PER_CALL);
        let mut reset_now = reset;
        let noted = loop {
            let part = parts.next().unwrap_or_default();
            let changes = {
                let followers = self.inner.followers.lock();
                part.iter().flat_map(|key| followers.changes(key, &came)).collect()
            };
            let call = ListenCall {
                shard: shard.0,
                incarnation: self.inner.incarnation,
                reset: reset_now,
                changes,
            };
            reset_now = false;
            let reply = shards
                .call(leader, LISTEN, codec::encode(&call), LISTEN_DEADLINE)
                .await
                .ok();
            match reply.and_then(|bytes| codec::decode::<ListenReply>(&bytes, 64).ok()) {
                Some(ListenReply::Noted { .. }) if parts.len() > 0 => {}
                Some(ListenReply::Noted { term, sent }) => break (term, sent),
                _ => {
                    let mut followers = self.inner.followers.lock();
                    if let Some(listening) = followers.shards.get_mut(&shard) {
                        listening.changed.extend(keys);
                        listening.came.extend(came);
                    }
                    return None;
                }
            }
        };
        let mut followers = self.inner.followers.lock();
        if reset && let Some(listening) = followers.shards.get_mut(&shard) {
            listening.received = listening.received.max(noted);
        }
        // What was appended between a socket's read and the leader's note is read now.
        for key in &keys {
            followers.resync(key);
        }
        Some(noted)
    }
}

impl ShardListening {
    pub(super) fn note_left(&mut self, key: Key) {
        self.forget_left();
        self.left.push_back((Instant::now(), key));
    }

    fn forget_left(&mut self) {
        let is_over = |(at, _): &(Instant, Key)| at.elapsed() > LEFT_REMEMBERED;
        while self.left.len() >= LEFT_REMEMBERED_MAX || self.left.front().is_some_and(is_over) {
            self.left.pop_front();
        }
    }

    pub(super) fn left_lately(&mut self) -> impl Iterator<Item = Key> {
        self.forget_left();
        self.left.iter().map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use routing::ids::{ConversationId, TenantId};

    use super::*;
    use crate::calls::Followed;

    #[test]
    fn the_memory_of_who_left_is_bounded() {
        let mut listening = ShardListening::default();
        for number in 0..2 * LEFT_REMEMBERED_MAX as u128 {
            listening.note_left((TenantId(1), Followed::Conversation(ConversationId(number))));
        }
        assert_eq!(listening.left.len(), LEFT_REMEMBERED_MAX);
        let newest = (
            TenantId(1),
            Followed::Conversation(ConversationId(2 * LEFT_REMEMBERED_MAX as u128 - 1)),
        );
        assert_eq!(listening.left_lately().last(), Some(newest), "the oldest are forgotten");
    }
}
