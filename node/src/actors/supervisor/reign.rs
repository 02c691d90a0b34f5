//! One node's leadership of one shard, as the shard's actors use it.

use std::sync::Arc;
use std::time::Duration;

use cluster::codec;
use cluster::error::ProposeError;
use cluster::shards::{Lane, Shards};
use cluster::state_machine::ShardId;
use routing::command::{COMMAND_SCHEMA, Command, Envelope};
use routing::event::Receipt;
use routing::ids::TenantId;
use routing::rejection::Rejection;
use tokio_util::sync::CancellationToken;

use crate::actors::fan_out::FanOut;
use crate::actors::feed::EventFeed;
use crate::directory::SharedDirectory;
use crate::shard_host::SharedState;

/// What a shard's actors need while this node leads it.
pub struct Reign {
    /// The cluster.
    pub shards: Shards,
    /// Which shard.
    pub shard: ShardId,
    /// In which term.
    pub term: u64,
    /// Its state.
    pub state: SharedState,
    /// Its events.
    pub feed: EventFeed,
    /// Pushes to listening nodes.
    pub fan_out: FanOut,
    /// Cancelled when leadership is lost.
    pub ended: CancellationToken,
    pub(super) directory: SharedDirectory,
}

impl Reign {
    /// Proposes one command.
    pub async fn try_propose(
        &self,
        tenant: TenantId,
        lane: Lane,
        command: &Command,
        deadline: Duration,
    ) -> Result<Result<Receipt, Rejection>, ProposeError> {
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant,
            key: None,
            command: command.clone(),
        };
        let proposed = self
            .shards
            .propose(self.shard, tenant.0 as u64, lane, codec::encode(&envelope), deadline)
            .await?;
        codec::decode(&proposed.reply, cluster::limits::FRAME_MAX_BYTES).map_err(|_| ProposeError::OutcomeUnknown)
    }

    /// Proposes a command that an actor's knowledge calls for, until it is applied or refused or the reign ends.
    pub fn propose(self: &Arc<Self>, tenant: TenantId, command: Command) {
        let reign = self.clone();
        tokio::spawn(async move {
            while !reign.ended.is_cancelled() {
                match reign
                    .try_propose(tenant, Lane::Decision, &command, Duration::from_secs(5))
                    .await
                {
                    Ok(Ok(_)) => return,
                    Ok(Err(why)) => {
                        tracing::debug!(shard = %reign.shard, code = why.code(), "an actor's command was refused");
                        return;
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
    }

    /// The tenant's name, for labels.
    pub fn tenant_name(&self, tenant: TenantId) -> String {
        let directory = self.directory.read();
        directory
            .tenants
            .get(&tenant)
            .map_or_else(|| tenant.to_string(), |place| place.name.clone())
    }
}
