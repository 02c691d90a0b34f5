//! What the routes need of the rest of the node, as traits, so that they can be tried without a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cluster::error::{InitError, MembershipError};
use cluster::state_machine::ShardId;
use cluster::status::{ClusterId, ClusterStatus};
use cluster::transport::{NodeId, PeerAddress};
use futures::future::BoxFuture;
use routing::command::{Command, IdempotencyKey};
use routing::event::Receipt;
use routing::ids::TenantId;

use crate::auth::{AdminKeys, AuthError, Verified, Verifier};
use crate::directory::{DirectoryCommand, DirectoryState, TenantKey};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::query::{Answer, Query};

/// The engine, and the cluster beneath it. See [`Engine`] and [`cluster::shards::Shards`] for what each call means.
#[async_trait]
#[allow(missing_docs)]
pub trait Backend: Send + Sync + 'static {
    async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError>;
    async fn query(&self, tenant: TenantId, query: Query) -> Result<Answer, EngineError>;
    fn directory(&self) -> Arc<DirectoryState>;
    async fn refresh_directory(&self) -> Result<(), EngineError>;
    async fn put_tenant(&self, tenant: TenantId, name: String) -> Result<(), EngineError>;
    async fn put_key(&self, tenant: TenantId, key: TenantKey) -> Result<(), EngineError>;
    async fn remove_key(&self, tenant: TenantId, kid: String) -> Result<(), EngineError>;
    async fn init(&self, nodes: BTreeMap<NodeId, PeerAddress>, shards: u32) -> Result<ClusterId, InitError>;
    fn status(&self) -> ClusterStatus;
    async fn add_node(&self, node: NodeId, address: PeerAddress) -> Result<(), MembershipError>;
    async fn remove_node(&self, node: NodeId) -> Result<(), MembershipError>;
    async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), MembershipError>;
}

#[async_trait]
impl Backend for Engine {
    async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError> {
        Engine::command(self, tenant, key, command).await
    }

    async fn query(&self, tenant: TenantId, query: Query) -> Result<Answer, EngineError> {
        Engine::query(self, tenant, query).await
    }

    fn directory(&self) -> Arc<DirectoryState> {
        Engine::directory(self)
    }

    async fn refresh_directory(&self) -> Result<(), EngineError> {
        Engine::refresh_directory(self).await
    }

    async fn put_tenant(&self, tenant: TenantId, name: String) -> Result<(), EngineError> {
        Engine::put_tenant(self, tenant, name).await
    }

    async fn put_key(&self, tenant: TenantId, key: TenantKey) -> Result<(), EngineError> {
        Engine::put_key(self, tenant, key).await
    }

    async fn remove_key(&self, tenant: TenantId, kid: String) -> Result<(), EngineError> {
        Engine::remove_key(self, tenant, kid).await
    }

    async fn init(&self, nodes: BTreeMap<NodeId, PeerAddress>, shards: u32) -> Result<ClusterId, InitError> {
        self.shards().init(nodes, shards).await
    }

    fn status(&self) -> ClusterStatus {
        self.shards().status()
    }

    async fn add_node(&self, node: NodeId, address: PeerAddress) -> Result<(), MembershipError> {
        self.shards().add_node(node, address).await
    }

    async fn remove_node(&self, node: NodeId) -> Result<(), MembershipError> {
        self.shards().remove_node(node).await?;
        // Clients are not sent there any more; the node itself is gone from every shard already.
        if let Err(error) = self.direct(DirectoryCommand::RemoveNode { node: node.0 }).await {
            tracing::warn!(%node, %error, "the directory still names a node that was removed");
        }
        Ok(())
    }

    async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), MembershipError> {
        self.shards().transfer_leader(shard, to).await
    }
}

/// Checks tokens and API keys.
pub trait Authority: Send + Sync + 'static {
    /// What a bearer token proves.
    fn token(&self, bearer: &str) -> Result<Verified, AuthError>;
    /// The name of the API key.
    fn api_key(&self, key: &str) -> Result<String, AuthError>;
}

/// The authority of a node: keys of tenants from the directory, API keys from the configuration.
pub struct Gatekeeper {
    /// How tokens are verified.
    pub verifier: Verifier,
    /// API keys.
    pub admin_keys: AdminKeys,
    /// Where tenants' keys are.
    pub engine: Engine,
}

impl Authority for Gatekeeper {
    fn token(&self, bearer: &str) -> Result<Verified, AuthError> {
        self.verifier.verify(bearer, |kid| self.engine.tenant_key(kid))
    }

    fn api_key(&self, key: &str) -> Result<String, AuthError> {
        self.admin_keys.check(key).map(str::to_owned)
    }
}

/// Whether this node should be sent traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What stands against it; empty when ready.
    pub reasons: Vec<String>,
}

/// Tells whether this node is ready; see [`super::health::probe`].
pub type ReadinessProbe = Arc<dyn Fn() -> BoxFuture<'static, Readiness> + Send + Sync>;
/// The text of `/metrics`.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;
/// Begins to drain this node; returns at once.
pub type DrainSwitch = Arc<dyn Fn() + Send + Sync>;
