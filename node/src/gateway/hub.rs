//! Where this node's sockets learn what happens.
//!
//! A socket says what it follows; the hub tells the leader of the tenant's shard, once per node, and again whenever the
//! leader or its term changes. What arrives is given to every socket that follows it. Delivery here is at most once and
//! may have gaps: a socket repairs them by `seq`. It compares an entry's `prev` with the last that it has, reads what is
//! missing with a query, drops what it has already, and does the same after every [`Push::Resync`].

mod telling;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use cluster::codec;
use cluster::shards::Shards;
use cluster::state_machine::ShardId;
use parking_lot::Mutex;
use routing::command::Reader;
use routing::event::{AgentItem, ConversationView, Entry};
use routing::ids::{AgentId, ConversationId, Seq, TenantId};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use self::telling::ShardListening;
use crate::actors::fan_out::open_pushes;
use crate::calls::{Followed, Listeners, TYPING, TypingFrame, WirePush, WirePushKind};
use crate::directory::SharedDirectory;

/// What a socket is given.
#[derive(Clone, Debug)]
pub enum Push {
    /// A new entry of a followed conversation (all roles: the socket leaves out what its role may not see).
    Entry(Arc<Entry>),
    /// A followed conversation's view changed.
    Conversation(Arc<ConversationView>),
    /// A read cursor moved.
    Read(ConversationId, Reader, Seq),
    /// Somebody types, or stopped; never in the log.
    Typing(ConversationId, Reader, bool),
    /// An item of the followed agent's stream.
    AgentItem(Arc<AgentItem>),
    /// Things may have been missed in this conversation: read from the cursor on, and its view again.
    Resync(ConversationId),
    /// Things may have been missed in the agent's stream: read from the cursor on.
    ResyncAgent(AgentId),
    /// This node drains: reconnect elsewhere, at the given URL (public address of another node), within a jittered time.
    Drain(Option<String>),
}

/// Who listens; decides what presence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ListenAs {
    /// The conversation's customer: their last connection's end is the customer's leaving (R32).
    Customer,
    /// An agent or supervisor: no presence follows from it.
    Staff,
}

/// This node's hub. A cheap clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    incarnation: u64,
    numbers: AtomicU64,
    directory: SharedDirectory,
    shards: OnceLock<Shards>,
    followers: Mutex<Followers>,
}

type Key = (TenantId, Followed);

#[derive(Default)]
struct Followers {
    by_key: HashMap<Key, Vec<Follower>>,
    /// Every socket of the node, by the number of its following.
    drains: HashMap<u64, mpsc::Sender<Push>>,
    shards: BTreeMap<ShardId, ShardListening>,
}

struct Follower {
    number: u64,
    listen_as: ListenAs,
    to: mpsc::Sender<Push>,
}

/// Ends the following when dropped.
pub struct Following {
    hub: Hub,
    key: Option<Key>,
    number: u64,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.hub.unfollow(self.key, self.number);
    }
}

impl Hub {
    /// A hub that looks tenants up in `directory`.
    pub fn new(incarnation: u64, directory: SharedDirectory) -> Self {
        Self {
            inner: Arc::new(Inner {
                incarnation,
                numbers: AtomicU64::new(1),
                directory,
                shards: OnceLock::new(),
                followers: Mutex::default(),
            }),
        }
    }

    /// Gives the hub its way to the leaders. Nothing is pushed before.
    pub fn connect(&self, shards: Shards) {
        // A second connect would be the same node's.
        let _ = self.inner.shards.set(shards);
    }

    /// Follows a conversation. Pushes go to `to` with `try_send`; a full channel loses the push and closes nothing: the
    /// socket sees the gap by `prev`, and must cut itself off when it cannot keep up. Follow first, then read.
    pub fn follow_conversation(
        &self,
        tenant: TenantId,
        conversation: ConversationId,
        listen_as: ListenAs,
        to: mpsc::Sender<Push>,
    ) -> Following {
        self.follow((tenant, Followed::Conversation(conversation)), listen_as, to)
    }

    /// Follows an agent's stream, and is one of the agent's connections: when the last of all nodes is gone, the agent's
    /// presence lease begins to run (R30); when one is back in time, it ends.
    pub fn follow_agent(&self, tenant: TenantId, agent: AgentId, to: mpsc::Sender<Push>) -> Following {
        self.follow((tenant, Followed::Agent(agent)), ListenAs::Staff, to)
    }

    /// Somebody types in a conversation, or stopped: told to everybody else who follows it.
    pub fn typing(&self, tenant: TenantId, conversation: ConversationId, who: Reader, typing: bool) {
        let (Some(shard), Some(shards)) = (self.shard_of(tenant), self.inner.shards.get()) else {
            return;
        };
        let leader = shards.leadership(shard).and_then(|l| l.borrow().leader);
        if let Some(leader) = leader {
            let frame = TypingFrame {
                shard: shard.0,
                tenant,
                conversation,
                who,
                typing,
            };
            // Typing may be lost.
            let _ = shards.send(leader, TYPING, codec::encode(&frame));
        }
    }

    /// A channel that receives [`Push::Drain`] when this node drains.
    pub fn watch_drain(&self, to: mpsc::Sender<Push>) -> Following {
        let number = self.next_number();
        self.inner.followers.lock().drains.insert(number, to);
        Following {
            hub: self.clone(),
            key: None,
            number,
        }
    }

    /// Tells every socket to go elsewhere.
    pub fn drain(&self, elsewhere: Option<String>) {
        for to in self.inner.followers.lock().drains.values() {
            // A socket whose channel is full is closed soon anyway.
            let _ = to.try_send(Push::Drain(elsewhere.clone()));
        }
    }

    /// Sockets that watch for a drain: all that there are.
    pub fn sockets(&self) -> usize {
        self.inner.followers.lock().drains.len()
    }

    /// Takes a frame of pushes from a leader.
    pub fn deliver(&self, frame: &[u8]) {
        let Some((head, pushes)) = open_pushes(frame) else {
            tracing::warn!("a frame of pushes could not be read");
            return;
        };
        // Read before the lock, which all sockets of the node share.
        let pushes: Vec<_> = pushes.collect();
        let mut followers = self.inner.followers.lock();
        if let Some(listening) = followers.shards.get_mut(&ShardId(head.shard)) {
            let (term, number) = listening.received;
            if head.term < term {
                return; // of a leader that was replaced
            }
            let expected = if head.term == term { number + 1 } else { 1 };
            listening.received = listening.received.max((head.term, head.number));
            // A lower number was on its way when the leader told how many it had sent: nothing is missing.
            if head.number > expected {
                listening.gap = true;
                listening.wake.notify_one();
            }
        }
        for push in &pushes {
            match push {
                Some(push) => followers.give(push),
                None => {
                    tracing::warn!("a push could not be read");
                    if let Some(listening) = followers.shards.get_mut(&ShardId(head.shard)) {
                        listening.gap = true;
                        listening.wake.notify_one();
                    }
                }
            }
        }
    }

    fn next_number(&self) -> u64 {
        self.inner.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn shard_of(&self, tenant: TenantId) -> Option<ShardId> {
        self.inner
            .directory
            .read()
            .tenants
            .get(&tenant)
            .map(|place| ShardId(place.shard))
    }

    fn follow(&self, key: Key, listen_as: ListenAs, to: mpsc::Sender<Push>) -> Following {
        let number = self.next_number();
        let mut followers = self.inner.followers.lock();
        followers
            .by_key
            .entry(key)
            .or_default()
            .push(Follower { number, listen_as, to });
        self.note_change(key, Some(listen_as), &mut followers);
        drop(followers);
        Following {
            hub: self.clone(),
            key: Some(key),
            number,
        }
    }

    fn unfollow(&self, key: Option<Key>, number: u64) {
        let mut followers = self.inner.followers.lock();
        let Some(key) = key else {
            followers.drains.remove(&number);
            return;
        };
        let mut was_customer = false;
        if let Some(list) = followers.by_key.get_mut(&key) {
            was_customer = list
                .iter()
                .any(|f| f.number == number && f.listen_as == ListenAs::Customer);
            list.retain(|f| f.number != number);
            if list.is_empty() {
                followers.by_key.remove(&key);
            }
        }
        self.note_change(key, None, &mut followers);
        if was_customer
            && let Some(shard) = self.shard_of(key.0)
            && let Some(listening) = followers.shards.get_mut(&shard)
        {
            listening.note_left(key);
        }
    }

    fn note_change(&self, key: Key, came: Option<ListenAs>, followers: &mut Followers) {
        let Some(shard) = self.shard_of(key.0) else { return };
        let here = followers.by_key.contains_key(&key);
        let new = !followers.shards.contains_key(&shard);
        let listening = followers.shards.entry(shard).or_default();
        listening.changed.insert(key);
        if came == Some(ListenAs::Customer) {
            listening.came.insert(key);
        }
        if here {
            listening.all.insert(key);
        } else {
            listening.all.remove(&key);
        }
        listening.wake.notify_one();
        if new && let Some(shards) = self.inner.shards.get() {
            let wake = listening.wake.clone();
            tokio::spawn(self.clone().keep_told(shards.clone(), shard, wake));
        }
    }
}

impl Followers {
    /// What a leader is told of a key. A customer who has come and gone since it was last told was here all the same: without
    /// that, nobody would ever notice that they went (R32).
    fn changes(&self, key: &Key, came: &BTreeSet<Key>) -> impl Iterator<Item = (TenantId, Followed, Listeners)> {
        let (tenant, followed) = *key;
        let now = self.listeners(key);
        let was_here = (now.customers == 0 && came.contains(key)).then_some(Listeners { customers: 1, ..now });
        was_here
            .into_iter()
            .chain([now])
            .map(move |listeners| (tenant, followed, listeners))
    }

    fn listeners(&self, key: &Key) -> Listeners {
        let mut listeners = Listeners::default();
        for follower in self.by_key.get(key).into_iter().flatten() {
            match follower.listen_as {
                ListenAs::Customer => listeners.customers += 1,
                ListenAs::Staff => listeners.staff += 1,
            }
        }
        listeners
    }

    fn give(&self, WirePush { tenant, what }: &WirePush) {
        let push = match what {
            WirePushKind::Entry(entry) => Push::Entry(entry.clone()),
            WirePushKind::Conversation(view) => Push::Conversation(view.clone()),
            WirePushKind::Read(id, reader, seq) => Push::Read(*id, *reader, *seq),
            WirePushKind::Typing(id, who, typing) => Push::Typing(*id, *who, *typing),
            WirePushKind::AgentItem(item) => Push::AgentItem(item.clone()),
        };
        self.give_all(&(*tenant, what.followed()), &push);
    }

    fn resync(&self, key: &Key) {
        let push = match key.1 {
            Followed::Conversation(id) => Push::Resync(id),
            Followed::Agent(id) => Push::ResyncAgent(id),
        };
        self.give_all(key, &push);
    }

    fn give_all(&self, key: &Key, push: &Push) {
        for follower in self.by_key.get(key).into_iter().flatten() {
            // A full channel loses the push; the socket notices by `prev`, or is cut off as too slow.
            let _ = follower.to.try_send(push.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    /// What the leader would be told now, as (customers, staff).
    fn told(hub: &Hub, key: Key) -> Vec<(u32, u32)> {
        let followers = hub.inner.followers.lock();
        let came = followers.shards[&ShardId(1)].came.clone();
        let changes = followers.changes(&key, &came);
        changes
            .map(|(_, _, listeners)| (listeners.customers, listeners.staff))
            .collect()
    }

    #[test]
    fn who_comes_and_goes_between_two_reports_was_here() {
        let directory = SharedDirectory::default();
        let place = crate::directory::TenantPlace {
            tenant: TENANT,
            name: "ours".to_owned(),
            shard: 1,
            epoch: 1,
        };
        Arc::make_mut(&mut directory.write()).tenants.insert(TENANT, place);
        let hub = Hub::new(1, directory);
        let (to, _pushes) = mpsc::channel(1);
        let id = ConversationId(7);
        let key = (TENANT, Followed::Conversation(id));

        let staff = hub.follow_conversation(TENANT, id, ListenAs::Staff, to.clone());
        assert_eq!(told(&hub, key), [(0, 1)]);
        let customer = hub.follow_conversation(TENANT, id, ListenAs::Customer, to);
        assert_eq!(told(&hub, key), [(1, 1)]);
        drop(customer);
        assert_eq!(told(&hub, key), [(1, 1), (0, 1)], "came and went");
        drop(staff);
        assert_eq!(told(&hub, key), [(1, 0), (0, 0)]);
        let mut followers = hub.inner.followers.lock();
        let listening = followers.shards.get_mut(&ShardId(1)).unwrap();
        listening.came.clear();
        let left: Vec<Key> = listening.left_lately().collect();
        assert_eq!(
            left,
            [key],
            "a leader that is new is told of who left, and only of customers"
        );
    }
}
