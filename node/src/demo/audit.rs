//! Reads ended conversations back from every node and compares them with what was promised.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use routing::ids::{AgentId, ConversationId};
use serde_json::Value;
use tokio::time::sleep;

use super::ledger::{Said, Speaker};
use super::stage::Stage;
use super::watch::Nodes;
use crate::auth::Role;

/// What ended so long ago is read.
const READ_AFTER: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Reads back.
pub struct Auditor {
    stage: Arc<Stage>,
    nodes: Nodes,
    http: reqwest::Client,
    token: String,
}

impl Auditor {
    /// With a supervisor's eyes.
    pub fn new(stage: Arc<Stage>, nodes: Nodes) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build()?;
        let token = stage.mint.token(Role::Supervisor, &stage.cast.supervisor)?;
        Ok(Self {
            stage,
            nodes,
            http,
            token,
        })
    }

    /// Goes on while the demo runs.
    pub async fn run(&self) {
        loop {
            while let Some(conversation) = self.stage.ledger.next_to_read(READ_AFTER) {
                if let Err(error) = self.read_back(conversation).await {
                    // Its promises stay in the book, for the reckoning at the end.
                    tracing::warn!(%conversation, %error, "a conversation could not be read back");
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Everything that is not compared yet. The nodes that were asked.
    pub async fn reckon(&self) -> Result<Vec<u64>> {
        for conversation in self.stage.ledger.not_read() {
            self.read_back(conversation).await?;
        }
        Ok(self.nodes.lock().await.running())
    }

    async fn read_back(&self, conversation: ConversationId) -> Result<()> {
        let running = {
            let mut cluster = self.nodes.lock().await;
            let running = cluster.running();
            let url = |id| Ok((id, cluster.api_url(id)?));
            running.into_iter().map(url).collect::<Result<Vec<_>>>()?
        };
        let mut answers = Vec::new();
        let mut failure = None;
        for (node, url) in running {
            match self.transcript(&url, conversation).await {
                Ok(said) => answers.push((node, said)),
                Err(error) => failure = Some(error.context(format!("node {node}"))),
            }
        }
        // One that is starting, or was killed this moment, gives nothing: that says nothing of the conversation.
        if answers.is_empty() {
            return Err(failure.unwrap_or_else(|| anyhow::anyhow!("no node runs")));
        }
        self.stage.ledger.compare(conversation, &answers);
        Ok(())
    }

    async fn transcript(&self, url: &str, conversation: ConversationId) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        let mut after = 0;
        loop {
            let url = format!("{url}/v1/conversations/{conversation}/entries?limit=500&after={after}");
            let answer = self.http.get(url).bearer_auth(&self.token).send().await?;
            let page: Value = answer.error_for_status()?.json().await?;
            let entries = page["entries"].as_array().context("no `entries`")?;
            said.extend(entries.iter().filter_map(message));
            match page["next_after"].as_u64() {
                Some(next) => after = next,
                None => return Ok(said),
            }
        }
    }
}

fn message(entry: &Value) -> Option<Said> {
    let message = &entry["kind"]["message"];
    let by = match &message["author"] {
        Value::String(who) if who == "customer" => Speaker::Customer,
        Value::Object(who) if who.get("agent").is_some_and(is_agent) => Speaker::Agent,
        _ => return None,
    };
    Some(Said {
        seq: entry["seq"].as_u64()?,
        by,
        text: message["body"]["text"].as_str()?.to_owned(),
    })
}

fn is_agent(value: &Value) -> bool {
    value.as_str().is_some_and(|id| id.parse::<AgentId>().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_read_and_other_entries_are_not() {
        let body = json!({"text": "hello", "media_type": "text/plain"});
        let customer =
            json!({"seq": 1, "prev": 0, "at_ms": 5, "kind": {"message": {"author": "customer", "body": body}}});
        let agent = json!({"agent": AgentId(5).to_string()});
        let agent = json!({"seq": 3, "prev": 1, "at_ms": 6, "kind": {"message": {"author": agent, "body": body}}});
        let joined = json!({"seq": 2, "prev": 1, "at_ms": 6, "kind": {"joined": {"agent": AgentId(5).to_string()}}});
        assert_eq!(
            message(&customer).map(|said| (said.seq, said.by)),
            Some((1, Speaker::Customer))
        );
        assert_eq!(
            message(&agent).map(|said| (said.seq, said.by)),
            Some((3, Speaker::Agent))
        );
        assert_eq!(message(&joined), None);
        assert_eq!(message(&json!({"seq": 4, "kind": "paused"})), None);
    }
}
