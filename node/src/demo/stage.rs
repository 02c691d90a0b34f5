//! What all of a demo's actors share: where the nodes are, who is who, tokens, the book of promises, the ticker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::Rng;
use routing::ids::{AgentId, ConversationId, QueueId, TenantId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, Speaker};
use super::ticker::{Kind, Ticker};
use crate::auth::{Grant, KeyError, Role, SigningKey, issue_token, unix_now_s};
use crate::client::{Client, ClientError, ClientEvent, ClientEvents, PendingAck};
use crate::gateway::protocol::Ack;

/// Tokens of the demo are good for so long.
const TOKEN_S: u64 = 7 * 24 * 3_600;

/// Signs the demo's tokens.
#[derive(Clone, Debug)]
pub struct Mint {
    /// The tenant.
    pub tenant: TenantId,
    /// Key id.
    pub kid: String,
    /// The key.
    pub key: SigningKey,
}

impl Mint {
    /// A token for somebody.
    pub fn token(&self, role: Role, subject: &str) -> Result<String, KeyError> {
        let now_s = unix_now_s();
        let grant = Grant {
            tenant: self.tenant,
            role,
            subject: subject.to_owned(),
            audience: "kaiwa".to_owned(),
            issuer: None,
            not_before_s: now_s.saturating_sub(60),
            expires_at_s: now_s + TOKEN_S,
        };
        issue_token(&self.kid, &self.key, &grant)
    }
}

/// Who is who in the sample tenant.
#[derive(Clone, Debug, Default)]
pub struct Cast {
    /// Queues by id.
    pub queues: BTreeMap<QueueId, String>,
    /// Agents that are played.
    pub played: Vec<String>,
    /// Who of them serves which queue.
    pub members: BTreeMap<QueueId, Vec<(AgentId, String)>>,
    /// The agent that is left to the person who looks.
    pub yours: String,
    /// A supervisor.
    pub supervisor: String,
}

/// What all share.
pub struct Stage {
    /// Nodes' public URLs.
    pub urls: Vec<String>,
    /// Tokens.
    pub mint: Mint,
    /// Who is who.
    pub cast: Cast,
    /// Promises.
    pub ledger: Ledger,
    /// What happens.
    pub ticker: Ticker,
    /// Grows at each kill: customers then say something soon, so that the pause can be seen.
    pub nudge: watch::Sender<u64>,
    /// No more customers; those who are there come to an end.
    pub closing_time: CancellationToken,
    /// Everybody goes home.
    pub curtain: CancellationToken,
}

impl Stage {
    /// Name of a queue.
    pub fn queue(&self, queue: QueueId) -> &str {
        self.cast.queues.get(&queue).map_or("a queue", String::as_str)
    }

    /// A client for somebody, with a number that no client had before.
    pub fn client(&self, role: Role, subject: &str) -> Result<(Client, Connected), KeyError> {
        let token = self.mint.token(role, subject)?;
        let instance = rand::rng().random_range(1..1_u64 << 53);
        let (client, events) = Client::connect(self.urls.clone(), token, instance);
        Ok((client, Connected { events, lost_at: None }))
    }

    /// Says something and waits for the acknowledgement, which goes into the book. `false`: it was refused, or the
    /// client has ended.
    pub async fn say(&self, client: &Client, conversation: ConversationId, by: Speaker, text: &str) -> bool {
        let sent = Instant::now();
        match client.message(conversation, text).await {
            Ok(ack) => {
                self.ledger
                    .acknowledged(conversation, by, text, ack.seq, sent.elapsed());
                true
            }
            Err(ClientError::Refused { .. }) => {
                self.ledger.refused();
                false
            }
            Err(_) => false,
        }
    }

    /// Waits for a command that is no message.
    pub async fn done(&self, pending: PendingAck) -> Result<Ack, ClientError> {
        let sent = Instant::now();
        let result = pending.await;
        if result.is_ok() {
            self.ledger.done(sent.elapsed());
        }
        result
    }
}

/// A client's events, with an eye on its connection.
pub struct Connected {
    events: ClientEvents,
    lost_at: Option<Instant>,
}

impl Connected {
    /// The next event; what is about the connection is written into the book first. `None`: the client has ended.
    pub async fn next(&mut self, stage: &Stage) -> Option<ClientEvent> {
        let event = self.events.recv().await;
        match &event {
            Some(ClientEvent::Disconnected { .. }) => {
                self.lost_at.get_or_insert_with(Instant::now);
            }
            Some(ClientEvent::Connected { .. }) => {
                if let Some(lost_at) = self.lost_at.take() {
                    stage.ledger.reconnected(lost_at.elapsed());
                }
            }
            Some(ClientEvent::Gap {
                conversation,
                have,
                prev,
            }) => {
                stage.ledger.gap();
                tracing::warn!(%conversation, have, prev, "an entry did not follow on the one before it");
            }
            Some(ClientEvent::Refused { code, detail }) => {
                stage
                    .ticker
                    .tell(Kind::Fault, format!("A client was refused: {code}: {detail}"));
            }
            _ => {}
        }
        event
    }
}

/// A random time between two, in milliseconds.
pub fn between(from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(rand::rng().random_range(from_ms..=to_ms))
}

/// True so many times in a hundred.
pub fn percent(chance: u32) -> bool {
    rand::rng().random_range(0..100) < chance
}
