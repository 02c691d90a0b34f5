//! All that a face (REST, gateway, channel, command line) may do: commands in, queries out, on any node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cluster::codec;
use cluster::error::{ProposeError, ReadError};
use cluster::limits::COMMAND_MAX_BYTES;
use cluster::shards::{Lane, Service, Shards};
use cluster::state_machine::ShardId;
use cluster::transport::NodeId;
use routing::command::{COMMAND_SCHEMA, Command, Envelope, IdempotencyKey};
use routing::event::Receipt;
use routing::ids::TenantId;
use routing::rejection::Rejection;
use tokio::sync::oneshot;

use crate::actors::supervisor::SupervisorMessage;
use crate::calls::{LISTEN, ListenCall, ListenReply, PUSHES, QUERY, QueryCall, QueryReply, TYPING, TypingFrame};
use crate::directory::{DirectoryCommand, DirectoryReply, DirectoryState, TenantKey};
use crate::error::EngineError;
use crate::gateway::hub::Hub;
use crate::limits::{COMMAND_DEADLINE, QUERY_DEADLINE};
use crate::query::{Answer, Query};
use crate::replicas::{DIRECTORY, Replicas};

pub(crate) mod answer;
mod why;

/// Between tries of a command that was certainly not proposed, or that carries a key.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Between two reads of the directory for the sake of what is not in it.
const DIRECTORY_READ_PAUSE: Duration = Duration::from_millis(500);
/// How long one try may take; a command with a key is then tried again, elsewhere if leadership moved.
const TRY_DEADLINE: Duration = Duration::from_secs(3);

/// A command as the log has it, if it is not too large for one.
pub(crate) fn encoded(tenant: TenantId, key: Option<IdempotencyKey>, command: Command) -> Result<Bytes, EngineError> {
    let what = match &command {
        Command::ActivatePolicy { .. } => "the policy, in bytes as one command of the log,",
        _ => "the command, in bytes,",
    };
    let bytes = codec::encode(&Envelope {
        schema: COMMAND_SCHEMA,
        tenant,
        key,
        command,
    });
    if bytes.len() > COMMAND_MAX_BYTES {
        return Err(too_large(what, &bytes));
    }
    Ok(bytes)
}

fn too_large(what: &str, bytes: &Bytes) -> EngineError {
    EngineError::Rejected(Rejection::TooLarge {
        what: what.to_owned(),
        is: bytes.len() as u64,
        max: COMMAND_MAX_BYTES as u64,
    })
}

/// The engine of one node. A cheap clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Shards,
    replicas: Replicas,
    hub: Hub,
    draining: AtomicBool,
    directory_read: tokio::sync::Mutex<Option<Instant>>,
}

impl Engine {
    /// The engine over a started cluster.
    pub fn new(shards: Shards, replicas: Replicas, hub: Hub) -> Self {
        Self {
            inner: Arc::new(Inner {
                shards,
                replicas,
                hub,
                draining: AtomicBool::new(false),
                directory_read: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Proposes a command to the tenant's shard and waits until it is applied. The reply is the acknowledgement:
    /// what it says is on disk at a majority. A repeat of `key` gets the first answer.
    pub async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError> {
        let shard = self.shard_of(tenant).await?;
        let repeatable = key.is_some();
        let bytes = encoded(tenant, key, command)?;
        let reply = self.propose(shard, tenant.0 as u64, bytes, repeatable).await?;
        let result: Result<Receipt, Rejection> = codec::decode(&reply, cluster::limits::FRAME_MAX_BYTES)
            .map_err(|e| EngineError::Internal(e.to_string()))?;
        result.map_err(EngineError::Rejected)
    }

    /// Proposes until an answer is certain or the deadline has passed. What may have been done is tried again only when
    /// a repeat does no harm.
    async fn propose(&self, shard: ShardId, group: u64, bytes: Bytes, repeatable: bool) -> Result<Bytes, EngineError> {
        let until = Instant::now() + COMMAND_DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let attempt = if repeatable { left.min(TRY_DEADLINE) } else { left };
            let error = match self
                .inner
                .shards
                .propose(shard, group, Lane::Client, bytes.clone(), attempt)
                .await
            {
                Ok(proposed) => return Ok(proposed.reply),
                Err(ProposeError::OutcomeUnknown) if !repeatable => return Err(EngineError::OutcomeUnknown),
                Err(ProposeError::OutcomeUnknown) => EngineError::OutcomeUnknown,
                Err(ProposeError::NoLeader(_)) => EngineError::NoLeader,
                Err(ProposeError::Overloaded { retry_after_ms }) => {
                    return Err(EngineError::Overloaded { retry_after_ms });
                }
                Err(ProposeError::TooLarge) => return Err(too_large("the command, in bytes,", &bytes)),
                Err(ProposeError::DiskFull) => return Err(EngineError::DiskFull),
                Err(ProposeError::Stopped) => return Err(EngineError::Stopping),
            };
            if until.saturating_duration_since(Instant::now()) <= RETRY_PAUSE {
                return Err(error);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks a question. The answer's variant goes with the question's.
    pub async fn query(&self, tenant: TenantId, query: Query) -> Result<Answer, EngineError> {
        let shard = self.shard_of(tenant).await?;
        let until = Instant::now() + QUERY_DEADLINE;
        let for_leader = matches!(query, Query::Why { .. } | Query::Waiting { .. });
        loop {
            // A replica that is closed for want of room answers nothing, but who leads is known.
            let is_here = self.inner.replicas.state(shard).is_some() && !self.inner.shards.is_closed(shard);
            let result = if for_leader || !is_here {
                self.ask_leader(tenant, shard, &query).await
            } else {
                self.answer_here(tenant, shard, query.clone()).await
            };
            match result {
                Err(EngineError::NoLeader) if Instant::now() < until => tokio::time::sleep(RETRY_PAUSE).await,
                other => return other,
            }
        }
    }

    /// Answers from the local replica, after a read barrier.
    async fn answer_here(&self, tenant: TenantId, shard: ShardId, query: Query) -> Result<Answer, EngineError> {
        self.barrier(shard).await?;
        let state = self.inner.replicas.state(shard).ok_or(EngineError::NoLeader)?;
        let waiting = match query {
            Query::Why { conversation, agent } => {
                let (reply, answer) = oneshot::channel();
                let supervisor = self.inner.replicas.supervisor(shard).ok_or(EngineError::NoLeader)?;
                supervisor
                    .post(SupervisorMessage::Why(tenant, conversation, agent, reply))
                    .map_err(|_| EngineError::Overloaded { retry_after_ms: 100 })?;
                answer.await.map_err(|_| EngineError::NoLeader)?
            }
            Query::Waiting { conversation } => {
                let (reply, answer) = oneshot::channel();
                let supervisor = self.inner.replicas.supervisor(shard).ok_or(EngineError::NoLeader)?;
                supervisor
                    .post(SupervisorMessage::Waiting(tenant, conversation, reply))
                    .map_err(|_| EngineError::Overloaded { retry_after_ms: 100 })?;
                return Ok(Answer::Waiting(answer.await.map_err(|_| EngineError::NoLeader)?));
            }
            _ => None,
        };
        let rows = self.inner.shards.rows();
        // sled reads may touch the disk; they are short, and cached.
        answer::answer(&state, rows.as_ref(), shard, tenant, query, waiting)
    }

    async fn barrier(&self, shard: ShardId) -> Result<(), EngineError> {
        match self.inner.shards.read_barrier(shard, Duration::from_secs(2)).await {
            Ok(_) => Ok(()),
            Err(ReadError::Stopped) => Err(EngineError::Stopping),
            Err(_) => Err(EngineError::NoLeader),
        }
    }

    async fn ask_leader(&self, tenant: TenantId, shard: ShardId, query: &Query) -> Result<Answer, EngineError> {
        let leader = self
            .inner
            .shards
            .leadership(shard)
            .and_then(|l| l.borrow().leader)
            .ok_or(EngineError::NoLeader)?;
        if leader == self.inner.shards.node() {
            return self.answer_here(tenant, shard, query.clone()).await;
        }
        let call = codec::encode(&QueryCall {
            tenant,
            shard: shard.0,
            query: query.clone(),
        });
        let reply = self
            .inner
            .shards
            .call(leader, QUERY, call, Duration::from_secs(3))
            .await;
        let reply = reply.map_err(|_| EngineError::NoLeader)?;
        let reply: QueryReply = codec::decode(&reply, cluster::limits::FRAME_MAX_BYTES)
            .map_err(|e| EngineError::Internal(e.to_string()))?;
        reply
    }

    /// Where a tenant is. The local directory may be a little behind: who is not in it is looked for once more, behind a
    /// read barrier.
    async fn shard_of(&self, tenant: TenantId) -> Result<ShardId, EngineError> {
        for fresh in [false, true] {
            if fresh {
                self.barrier(DIRECTORY).await?;
            }
            if let Some(place) = self.inner.replicas.directory().read().tenants.get(&tenant) {
                return Ok(ShardId(place.shard));
            }
        }
        Err(EngineError::UnknownTenant)
    }

    /// The local copy of the directory, as far as it has been applied here.
    pub fn directory(&self) -> Arc<DirectoryState> {
        self.inner.replicas.directory().read().clone()
    }

    /// Waits until the local copy of the directory is as new as it was anywhere a moment ago. For what is not found in it: a
    /// node that has just started does not know yet what the cluster has known for long.
    pub async fn refresh_directory(&self) -> Result<(), EngineError> {
        // Anybody may name what does not exist: that asks the leader now and then, not each time.
        let mut last = self.inner.directory_read.lock().await;
        if last.is_none_or(|at| at.elapsed() >= DIRECTORY_READ_PAUSE) {
            self.barrier(DIRECTORY).await?;
            *last = Some(Instant::now());
        }
        Ok(())
    }

    /// The key with this id, and whose it is (from the local copy of the directory).
    pub fn tenant_key(&self, kid: &str) -> Option<(TenantId, TenantKey)> {
        self.directory().keys.get(kid).cloned()
    }

    /// Makes a tenant (in the shard with the fewest), or renames it.
    pub async fn put_tenant(&self, tenant: TenantId, name: String) -> Result<(), EngineError> {
        let shards = self
            .inner
            .shards
            .local_shards()
            .into_iter()
            .map(|shard| shard.0)
            .max()
            .unwrap_or(0);
        if shards == 0 {
            return Err(EngineError::NoLeader);
        }
        self.direct(DirectoryCommand::PutTenant {
            tenant,
            name: name.clone(),
            shards,
        })
        .await?;
        self.command(tenant, None, Command::PutTenant { name })
            .await
            .map(|_| ())
    }

    /// Makes or replaces a key of a tenant.
    pub async fn put_key(&self, tenant: TenantId, key: TenantKey) -> Result<(), EngineError> {
        self.direct(DirectoryCommand::PutKey { tenant, key }).await
    }

    /// Removes a key of a tenant.
    pub async fn remove_key(&self, tenant: TenantId, kid: String) -> Result<(), EngineError> {
        self.direct(DirectoryCommand::RemoveKey { tenant, kid }).await
    }

    /// Proposes to the directory. All of its commands may be repeated.
    pub async fn direct(&self, command: DirectoryCommand) -> Result<(), EngineError> {
        let reply = self.propose(DIRECTORY, 0, codec::encode(&command), true).await?;
        match codec::decode(&reply, cluster::limits::FRAME_MAX_BYTES) {
            Ok(DirectoryReply::Refused(why)) => Err(EngineError::Rejected(why)),
            Ok(_) => Ok(()),
            Err(error) => Err(EngineError::Internal(error.to_string())),
        }
    }

    /// The cluster beneath: status, membership, bootstrap.
    pub fn shards(&self) -> &Shards {
        &self.inner.shards
    }

    /// Where sockets learn what happens.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// This node drains: it takes no new connections and tells the old ones to go elsewhere.
    pub fn draining(&self) -> bool {
        self.inner.draining.load(Ordering::Relaxed)
    }

    /// Fails readiness, hands leadership over, sends clients elsewhere. The process goes on until it is stopped.
    pub async fn drain(&self) {
        if self.inner.draining.swap(true, Ordering::Relaxed) {
            return;
        }
        let node = self.inner.shards.node().0;
        if let Err(error) = self
            .direct(DirectoryCommand::SetDraining { node, draining: true })
            .await
        {
            tracing::warn!(%error, "the other nodes were not told of the drain");
        }
        if let Err(error) = self.inner.shards.hand_over_all().await {
            tracing::warn!(%error, "not every shard was handed over");
        }
        let directory = self.directory();
        let elsewhere = directory
            .nodes
            .iter()
            .find(|(id, _)| **id != node && !directory.draining.contains(id));
        self.inner.hub.drain(elsewhere.map(|(_, url)| url.clone()));
    }
}

/// Takes the frames of other nodes.
pub struct NodeService {
    /// This node's replicas.
    pub replicas: Replicas,
    /// This node's hub.
    pub hub: Hub,
    /// The engine, once it is there.
    pub engine: Arc<std::sync::OnceLock<Engine>>,
}

impl NodeService {
    async fn listen(&self, from: NodeId, body: &[u8]) -> ListenReply {
        let Ok(call) = codec::decode::<ListenCall>(body, cluster::limits::FRAME_MAX_BYTES) else {
            return ListenReply::NotLeader;
        };
        let Some(supervisor) = self.replicas.supervisor(ShardId(call.shard)) else {
            return ListenReply::NotLeader;
        };
        let (reply, answer) = oneshot::channel();
        match supervisor.post(SupervisorMessage::Listen(from, call, reply)) {
            Ok(()) => answer.await.unwrap_or(ListenReply::NotLeader),
            Err(_) => ListenReply::NotLeader,
        }
    }

    async fn query(&self, body: &[u8]) -> QueryReply {
        let call: QueryCall = codec::decode(body, cluster::limits::FRAME_MAX_BYTES)
            .map_err(|error| EngineError::Internal(error.to_string()))?;
        let engine = self.engine.get().ok_or(EngineError::NoLeader)?;
        engine.answer_here(call.tenant, ShardId(call.shard), call.query).await
    }
}

#[async_trait]
impl Service for NodeService {
    async fn call(&self, from: NodeId, kind: u16, body: Bytes) -> Bytes {
        match kind {
            LISTEN => codec::encode(&self.listen(from, &body).await),
            QUERY => codec::encode(&self.query(&body).await),
            _ => {
                tracing::warn!(%from, kind, "a call of an unknown kind");
                Bytes::new()
            }
        }
    }

    fn deliver(&self, from: NodeId, kind: u16, body: Bytes) {
        match kind {
            PUSHES => self.hub.deliver(&body),
            TYPING => {
                if let Ok(frame) = codec::decode::<TypingFrame>(&body, 1024)
                    && let Some(supervisor) = self.replicas.supervisor(ShardId(frame.shard))
                {
                    // Typing may be lost.
                    let _ = supervisor.post(SupervisorMessage::Typing(frame));
                }
            }
            _ => tracing::warn!(%from, kind, "a frame of an unknown kind"),
        }
    }
}
