//! All that a face (REST, gateway, channel, command line) may do: commands in, queries out, on any node.

use std::sync::Arc;

use routing::command::{Command, IdempotencyKey};
use routing::event::Receipt;
use routing::ids::TenantId;

use crate::directory::{DirectoryState, TenantKey};
use crate::error::EngineError;
use crate::gateway::hub::Hub;
use crate::query::{Answer, Query};

/// The engine of one node. A cheap clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Hub,
}

impl Engine {
    /// Proposes a command to the tenant's shard and waits until it is applied. The reply is the acknowledgement:
    /// what it says is on disk at a majority. A repeat of `key` gets the first answer.
    pub async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError> {
        let _ = (tenant, key, command);
        Err(EngineError::NoLeader)
    }

    /// Asks a question. The answer's variant goes with the question's.
    pub async fn query(&self, tenant: TenantId, query: Query) -> Result<Answer, EngineError> {
        let _ = (tenant, query);
        Err(EngineError::NoLeader)
    }

    /// The local copy of the directory, as far as it has been applied here.
    pub fn directory(&self) -> Arc<DirectoryState> {
        Arc::default()
    }

    /// The key with this id, and whose it is (from the local copy of the directory).
    pub fn tenant_key(&self, kid: &str) -> Option<(TenantId, TenantKey)> {
        self.directory().keys.get(kid).cloned()
    }

    /// Makes a tenant (in the shard with the fewest), or renames it.
    pub async fn put_tenant(&self, tenant: TenantId, name: String) -> Result<(), EngineError> {
        let _ = (tenant, name);
        Err(EngineError::NoLeader)
    }

    /// Makes or replaces a key of a tenant.
    pub async fn put_key(&self, tenant: TenantId, key: TenantKey) -> Result<(), EngineError> {
        let _ = (tenant, key);
        Err(EngineError::NoLeader)
    }

    /// Removes a key of a tenant.
    pub async fn remove_key(&self, tenant: TenantId, kid: String) -> Result<(), EngineError> {
        let _ = (tenant, kid);
        Err(EngineError::NoLeader)
    }

    /// The cluster beneath: status, membership, bootstrap.
    pub fn shards(&self) -> &cluster::shards::Shards {
        unreachable!("comes with the first landing of the engine")
    }

    /// Where sockets learn what happens.
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// This node drains: it takes no new connections and tells the old ones to go elsewhere.
    pub fn draining(&self) -> bool {
        false
    }
}
