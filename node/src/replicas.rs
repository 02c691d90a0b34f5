//! The replicas on this node: their states, for readers, and their supervisors, for calls to the leader.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::shards::Shards;
use cluster::state_machine::{ShardId, StateMachine, StateMachineFactory};
use parking_lot::RwLock;
use routing::state::State;
use tokio::sync::mpsc;

use crate::actors::feed::EventFeed;
use crate::actors::mailbox::Mailbox;
use crate::actors::measure::ActorFigures;
use crate::actors::supervisor::{ShardSupervisor, SupervisorMessage};
use crate::directory::{DirectoryHost, SharedDirectory};
use crate::shard_host::{ShardHost, SharedState};

/// The directory's shard.
pub const DIRECTORY: ShardId = ShardId(0);

/// All local replicas. A cheap clone.
#[derive(Clone)]
pub struct Replicas {
    inner: Arc<Inner>,
}

struct Inner {
    directory: SharedDirectory,
    parts: RwLock<BTreeMap<ShardId, Replica>>,
    opened: mpsc::UnboundedSender<ShardId>,
}

#[derive(Clone)]
struct Replica {
    state: SharedState,
    feed: EventFeed,
    supervisor: Option<Mailbox<SupervisorMessage>>,
}

/// Tells of replicas that were opened; as many as shards, each once.
pub struct Opened(mpsc::UnboundedReceiver<ShardId>);

impl Replicas {
    /// None yet.
    pub fn new(directory: SharedDirectory) -> (Self, Opened) {
        let (opened, receiver) = mpsc::unbounded_channel();
        let inner = Inner {
            directory,
            parts: RwLock::default(),
            opened,
        };
        (Self { inner: Arc::new(inner) }, Opened(receiver))
    }

    /// Makes the state machines that the cluster replicates.
    pub fn factory(&self) -> StateMachineFactory {
        let replicas = self.clone();
        Arc::new(move |shard| replicas.open(shard))
    }

    fn open(&self, shard: ShardId) -> Box<dyn StateMachine> {
        if shard == DIRECTORY {
            return Box::new(DirectoryHost::new(self.inner.directory.clone()));
        }
        let mut parts = self.inner.parts.write();
        let replica = parts.entry(shard).or_insert_with(|| {
            // The other end lives as long as the node.
            let _ = self.inner.opened.send(shard);
            Replica {
                state: Arc::new(RwLock::new(State::new())),
                feed: EventFeed::default(),
                supervisor: None,
            }
        });
        *replica.state.write() = State::new();
        Box::new(ShardHost::new(replica.state.clone(), replica.feed.clone()))
    }

    /// Starts a supervisor for each replica, as they open.
    pub async fn supervise(self, shards: Shards, mut opened: Opened) {
        let figures = ActorFigures::default();
        while let Some(shard) = opened.0.recv().await {
            let Some(replica) = self.inner.parts.read().get(&shard).cloned() else {
                continue;
            };
            let supervisor = ShardSupervisor {
                shards: shards.clone(),
                shard,
                state: replica.state,
                feed: replica.feed,
                directory: self.inner.directory.clone(),
                figures: figures.clone(),
            };
            let replicas = self.clone();
            tokio::spawn(supervisor.run(move |mailbox| {
                if let Some(replica) = replicas.inner.parts.write().get_mut(&shard) {
                    replica.supervisor = Some(mailbox);
                }
            }));
        }
    }

    /// The state of a local replica.
    pub fn state(&self, shard: ShardId) -> Option<SharedState> {
        self.inner.parts.read().get(&shard).map(|replica| replica.state.clone())
    }

    /// The way to a shard's supervisor on this node.
    pub fn supervisor(&self, shard: ShardId) -> Option<Mailbox<SupervisorMessage>> {
        self.inner
            .parts
            .read()
            .get(&shard)
            .and_then(|replica| replica.supervisor.clone())
    }

    /// The applied directory.
    pub fn directory(&self) -> &SharedDirectory {
        &self.inner.directory
    }
}
