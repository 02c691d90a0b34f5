//! Who belongs to the cluster, and changing that while everything else goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::SmallRng;

use super::world::{World, address, pause};
use cluster::transport::NodeId;

/// For one attempt, through one node.
const ATTEMPT: Duration = Duration::from_secs(4);
/// A cluster with fewer nodes than this does not shrink.
const FEWEST: usize = 3;

struct State {
    wanted: BTreeSet<u64>,
    next: u64,
    /// Its disk is lost: it will be replaced.
    destroyed: Option<u64>,
    changing: bool,
}

/// The members that are wanted; clones are the same.
#[derive(Clone)]
pub(super) struct Members(Arc<Mutex<State>>);

impl Members {
    pub(super) fn new(count: u64) -> Self {
        let state = State {
            wanted: (1..=count).collect(),
            next: count + 1,
            destroyed: None,
            changing: false,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Every member, one whose disk is lost excepted.
    pub(super) fn all(&self) -> BTreeSet<u64> {
        let state = self.0.lock();
        let lives = |node: &u64| Some(*node) != state.destroyed;
        state.wanted.iter().copied().filter(lives).collect()
    }

    /// Whether a disk may be destroyed: not while another is to be replaced, or members change.
    pub(super) fn may_lose_one(&self) -> bool {
        let state = self.0.lock();
        state.destroyed.is_none() && !state.changing
    }

    pub(super) fn destroy(&self, node: u64) {
        self.0.lock().destroyed = Some(node);
    }

    fn destroyed(&self) -> Option<u64> {
        self.0.lock().destroyed
    }

    fn begin_change(&self) -> Option<Changing> {
        let mut state = self.0.lock();
        (!std::mem::replace(&mut state.changing, true)).then(|| Changing(self.clone()))
    }
}

struct Changing(Members);

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.0.lock().changing = false;
    }
}

impl World {
    /// Replaces a node whose disk is lost, as an operator would: it is removed, and a new one is added under a new id.
    pub(super) async fn replace_destroyed(&self, random: &mut SmallRng) {
        let Some(old) = self.members.destroyed() else {
            return;
        };
        let Some(_changing) = self.members.begin_change() else {
            return;
        };
        self.remove(old, random).await;
        {
            let mut state = self.members.0.lock();
            state.wanted.remove(&old);
            state.destroyed = None;
        }
        self.add(random).await;
        self.oracle.fired("node replaced");
    }

    /// A cluster of the usual size gets another member; a larger one loses one.
    pub(super) async fn grow_or_shrink(&self, random: &mut SmallRng) {
        if self.members.destroyed().is_some() {
            return;
        }
        let Some(_changing) = self.members.begin_change() else {
            return;
        };
        let usual = self.settings.nodes() as usize;
        let count = self.members.all().len();
        if count <= usual.max(FEWEST) {
            self.add(random).await;
            self.oracle.fired("node added");
            return;
        }
        let old = self.any_node(random, 0.3);
        self.remove(old, random).await;
        self.members.0.lock().wanted.remove(&old);
        self.crash(old, true, false);
        self.oracle.fired("node removed");
    }

    /// Starts a new node and has it added, however often that must be tried.
    async fn add(&self, random: &mut SmallRng) {
        let new = {
            let mut state = self.members.0.lock();
            state.next += 1;
            state.next - 1
        };
        self.make_node(new);
        self.start_or_blame(new).await;
        while !self.oracle.is_violated() {
            let through = self.any_node(random, 0.5);
            if let Some(shards) = self.shards(through) {
                let added = tokio::time::timeout(ATTEMPT, shards.add_node(NodeId(new), address(new))).await;
                tracing::debug!(new, through, ?added, "add");
                if matches!(added, Ok(Ok(()))) {
                    break;
                }
            }
            pause(random, 50..300).await;
        }
        self.members.0.lock().wanted.insert(new);
    }

    async fn remove(&self, old: u64, random: &mut SmallRng) {
        while !self.oracle.is_violated() {
            let through = self.any_node(random, 0.5);
            if let Some(shards) = self.shards(through).filter(|_| through != old) {
                let removed = tokio::time::timeout(ATTEMPT, shards.remove_node(NodeId(old))).await;
                tracing::debug!(old, through, ?removed, "remove");
                if matches!(removed, Ok(Ok(()))) {
                    return;
                }
            }
            pause(random, 50..300).await;
        }
    }

    /// A node to put the next fault on that is not `spared`.
    pub(super) fn another_node(&self, random: &mut SmallRng, spared: u64) -> u64 {
        let others: Vec<u64> = self.members.all().into_iter().filter(|&node| node != spared).collect();
        others[random.random_range(0..others.len())]
    }
}
