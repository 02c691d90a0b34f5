//! The gateway's backend in a node: engine, hub, tokens, rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use routing::command::{Command, IdempotencyKey, Reader, Value};
use routing::event::Receipt;
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Millis, TenantId};
use routing::settings::Classification;
use tokio::sync::mpsc;

use super::backend::{Backend, Caller, Failure, Guard};
use super::commands::unexpected;
use super::hub::{ListenAs, Push};
use crate::access::Who;
use crate::api::caller::{identify, verify};
use crate::api::problem::Problem;
use crate::api::seams::Authority;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::metrics;
use crate::query::{Answer, Query};
use crate::rules::{Classifier, Situation, Wishes, split_draw};

/// A node, as its gateway sees it.
pub struct NodeBackend {
    /// Commands, queries, the hub.
    pub engine: Engine,
    /// Tokens.
    pub authority: Arc<dyn Authority>,
    /// R1; the node's only one, for its cache.
    pub classifier: Arc<Classifier>,
    /// The node's id.
    pub node: u64,
}

#[async_trait]
impl Backend for NodeBackend {
    async fn identify(&self, token: &str) -> Result<Caller, Failure> {
        let verified = verify(&*self.authority, &self.engine, token)
            .await
            .map_err(|error| Failure::from(Problem::from(error)))?;
        let verified = verified.map_err(|error| {
            metrics::auth_failure(error.reason());
            Failure::from(Problem::from(error))
        })?;
        let (subject, expires_at_s) = (verified.subject.clone(), verified.expires_at_s);
        let identity = identify(&self.engine, verified).await?;
        let name = match &identity.who {
            Who::Agent { settings, .. } | Who::Supervisor { settings, .. } => settings.name.clone(),
            Who::Customer(_) | Who::Admin(_) => subject,
        };
        Ok(Caller {
            identity,
            name,
            expires_at_ms: expires_at_s.saturating_mul(1_000),
        })
    }

    async fn command(
        &self,
        tenant: TenantId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Receipt, EngineError> {
        self.engine.command(tenant, key, command).await
    }

    async fn query(&self, tenant: TenantId, query: Query) -> Result<Answer, EngineError> {
        self.engine.query(tenant, query).await
    }

    async fn classify(
        &self,
        tenant: TenantId,
        conversation: ConversationId,
        customer: &CustomerId,
        channel: &Channel,
        attributes: &BTreeMap<String, Value>,
    ) -> Result<Classification, Failure> {
        let (rules, fallback) = match self.engine.query(tenant, Query::Rules).await? {
            Answer::Rules { rules, fallback } => (rules, fallback),
            other => return Err(unexpected(&other)),
        };
        let situation = Situation {
            attributes,
            channel,
            customer,
        };
        let classified = self
            .classifier
            .classify(
                &rules,
                fallback.as_ref(),
                situation,
                &Wishes::default(),
                split_draw(conversation),
            )
            .map_err(|error| Failure::new("no_queue", error.to_string()))?;
        for (rule, why) in &classified.failed {
            tracing::warn!(%tenant, %rule, %why, "a rule failed and was passed over");
        }
        Ok(classified.classification)
    }

    fn follow_conversation(
        &self,
        tenant: TenantId,
        conversation: ConversationId,
        listen_as: ListenAs,
        to: mpsc::Sender<Push>,
    ) -> Guard {
        Box::new(
            self.engine
                .hub()
                .follow_conversation(tenant, conversation, listen_as, to),
        )
    }

    fn follow_agent(&self, tenant: TenantId, agent: AgentId, to: mpsc::Sender<Push>) -> Guard {
        Box::new(self.engine.hub().follow_agent(tenant, agent, to))
    }

    fn watch_drain(&self, to: mpsc::Sender<Push>) -> Guard {
        Box::new(self.engine.hub().watch_drain(to))
    }

    fn typing(&self, tenant: TenantId, conversation: ConversationId, who: Reader, typing: bool) {
        self.engine.hub().typing(tenant, conversation, who, typing);
    }

    fn draining(&self) -> bool {
        self.engine.draining()
    }

    fn node(&self) -> u64 {
        self.node
    }

    fn nodes(&self) -> Vec<String> {
        let directory = self.engine.directory();
        let up = directory
            .nodes
            .iter()
            .filter(|(node, _)| !directory.draining.contains(node));
        up.map(|(_, url)| url.clone()).collect()
    }

    fn all_nodes(&self) -> Vec<String> {
        self.engine.directory().nodes.values().cloned().collect()
    }

    fn now_ms(&self) -> Millis {
        crate::wall_clock::now_ms()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        // Out of reach, or unknown: worth another try. Everything else would end the same way.
        let passing = matches!(problem.status, 429 | 503 | 504);
        let retry_after_ms = passing.then(|| problem.retry_after_ms.unwrap_or(200));
        Self {
            code: problem.code.into(),
            detail: problem.detail,
            retry_after_ms,
        }
    }
}
