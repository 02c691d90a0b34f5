//! What a connection needs of its node: the engine and the hub, behind a trait so that tests can put a small one there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use routing::command::{Command, IdempotencyKey, Reader, Value};
use routing::event::Receipt;
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Millis, TenantId};
use routing::settings::Classification;
use tokio::sync::mpsc;

use super::hub::{ListenAs, Push};
use crate::access::Identity;
use crate::error::EngineError;
use crate::query::{Answer, Query};

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What they may do.
    pub identity: Identity,
    /// How they are called.
    pub name: String,
    /// When the token ends.
    pub expires_at_ms: Millis,
}

/// A failure as a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable.
    pub code: Cow<'static, str>,
    /// For people.
    pub detail: String,
    /// When a repeat with the same number makes sense.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// Final.
    pub fn new(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            retry_after_ms: None,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let retry_after_ms = match &error {
            EngineError::NoLeader => Some(100),
            EngineError::OutcomeUnknown => Some(50),
            EngineError::Stopping => Some(500),
            EngineError::DiskFull => Some(crate::limits::DISK_FULL_RETRY_MS),
            EngineError::Overloaded { retry_after_ms } => Some((*retry_after_ms).max(10)),
            EngineError::Rejected(_) | EngineError::UnknownTenant | EngineError::Internal(_) => None,
        };
        Self {
            code: error.code().into(),
            detail: error.to_string(),
            retry_after_ms,
        }
    }
}

/// Ends what was begun when dropped.
pub type Guard = Box<dyn Send + Sync>;

/// A node, as a connection sees it.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Checks a token.
    async fn identify(&self, token: &str) -> Result<Caller, Failure>;
    /// [`crate::engine::Engine::command`].
    async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError>;
    /// [`crate::engine::Engine::query`].
    async fn query(&self, tenant: TenantId, query: Query) -> Result<Answer, EngineError>;
    /// R1: what the tenant's rules make of a new conversation.
    async fn classify(
        &self,
        tenant: TenantId,
        conversation: ConversationId,
        customer: &CustomerId,
        channel: &Channel,
        attributes: &BTreeMap<String, Value>,
    ) -> Result<Classification, Failure>;
    /// [`super::hub::Hub::follow_conversation`].
    fn follow_conversation(
        &self,
        tenant: TenantId,
        conversation: ConversationId,
        listen_as: ListenAs,
        to: mpsc::Sender<Push>,
    ) -> Guard;
    /// [`super::hub::Hub::follow_agent`].
    fn follow_agent(&self, tenant: TenantId, agent: AgentId, to: mpsc::Sender<Push>) -> Guard;
    /// [`super::hub::Hub::watch_drain`].
    fn watch_drain(&self, to: mpsc::Sender<Push>) -> Guard;
    /// [`super::hub::Hub::typing`].
    fn typing(&self, tenant: TenantId, conversation: ConversationId, who: Reader, typing: bool);
    /// This node takes no new connections.
    fn draining(&self) -> bool;
    /// This node's id.
    fn node(&self) -> u64;
    /// Where nodes that do not drain are reached.
    fn nodes(&self) -> Vec<String>;
    /// Where all nodes are reached, those that drain included: their pages may connect here.
    fn all_nodes(&self) -> Vec<String> {
        self.nodes()
    }
    /// Wall clock, for the greeting.
    fn now_ms(&self) -> Millis;
}
