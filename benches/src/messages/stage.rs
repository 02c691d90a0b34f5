//! The cluster of a measurement, and the people in it: each a client of its own.
//!
//! Customer and agent of a conversation are on different nodes. One queue serves all, so this is done by the order of
//! coming: agents of one node sign in with exactly as many places as the customers of another node then take.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use node::auth::{Grant, Role, SigningKey, issue_token, unix_now_s};
use node::client::{Client, ClientEvent, ClientEvents};
use node::gateway::protocol::{EntryContent, EntryFrame, ServerFrame};
use node::local::{LocalCluster, LocalOptions};
use routing::ids::{ConversationId, TenantId};

use super::ledger::{Ledger, MessageId, Side};

const TENANT: TenantId = TenantId(0x0193_0000_0000_7000_8000_0000_0000_00be);
const SECRET: &str = "a secret for measurements only, of more than 32 bytes";
const KID: &str = "bench-1";
const NODES: usize = 3;
/// Chats of one agent.
const CONCURRENT: usize = 8;
/// Time for everybody to come.
const COMING: Duration = Duration::from_secs(120);
/// Conversations are opened so many at a time.
const OPENING_AT_ONCE: usize = 32;

/// Limits that a measurement must not meet: one person here speaks as fast as many do.
const MORE: &str = "
[limits]
rate_per_principal = 1000000
burst_per_principal = 1000000
";

/// What is measured at the moment; shared by all readers.
pub struct Current {
    /// Number of the run, from 1: texts carry it.
    pub run: u64,
    /// Its start.
    pub started: Instant,
    /// Its account.
    pub ledger: Ledger,
}

/// What readers note beside messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Entries that did not follow on the one before: a fault of the node's, mended by the client.
    pub gaps: u64,
    /// Connections that ended.
    pub disconnects: u64,
}

#[derive(Default)]
struct Notebook {
    current: Option<Current>,
    noted: Noted,
    /// Conversation → number of its agent.
    owners: HashMap<ConversationId, usize>,
}

/// Where readers write.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Notebook>>);

impl Board {
    fn with<T>(&self, act: impl FnOnce(&mut Notebook) -> T) -> T {
        act(&mut self.0.lock().expect("nobody panics with the board"))
    }

    /// Begins a run.
    pub fn begin(&self, current: Current) {
        self.with(|notes| notes.current = Some(current));
    }

    /// Ends the run, and gives its account.
    pub fn end(&self) -> Option<Current> {
        self.with(|notes| notes.current.take())
    }

    /// Does something with the run's account.
    pub fn ledger<T>(&self, run: u64, act: impl FnOnce(&mut Ledger, u64) -> T) -> Option<T> {
        self.with(|notes| {
            let current = notes.current.as_mut().filter(|current| current.run == run)?;
            let now_us = current.started.elapsed().as_micros() as u64;
            Some(act(&mut current.ledger, now_us))
        })
    }

    /// Beside messages, since the start.
    pub fn noted(&self) -> Noted {
        self.with(|notes| notes.noted)
    }
}

/// A conversation with both of its ends.
pub struct Pair {
    /// Which.
    pub conversation: ConversationId,
    /// Who started it.
    pub customer: Client,
    /// Who owns it.
    pub agent: Client,
}

/// The cluster and everybody in it.
pub struct Stage {
    /// The processes.
    pub cluster: LocalCluster,
    /// The conversations.
    pub pairs: Arc<Vec<Pair>>,
    /// Where readers write.
    pub board: Board,
    /// How many agents there are.
    pub agents: usize,
    clients: Vec<Client>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.clients.iter().for_each(Client::close);
    }
}

/// A message's text: which it is, padded to `bytes`.
pub fn text_of(run: u64, id: MessageId, bytes: usize) -> String {
    let mut text = format!("{run}:{}:{}:", id.sender, id.number);
    while text.len() < bytes {
        text.push('x');
    }
    text
}

fn id_of(text: &str) -> Option<(u64, MessageId)> {
    let mut parts = text.split(':');
    let mut number = || parts.next()?.parse().ok();
    let (run, sender, number) = (number()?, number()?, number()?);
    let id = MessageId {
        sender: sender as usize,
        number: number as usize,
    };
    Some((run, id))
}

impl Stage {
    /// Starts three nodes of `binary` with everything in `dir`, and opens the conversations.
    pub async fn set(binary: &Path, dir: &Path, conversations: usize) -> Result<Self> {
        let cluster = LocalCluster::start(LocalOptions {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            nodes: NODES as u64,
            port_base: None,
            shards: 4,
            log: "warn".to_owned(),
            more: MORE.to_owned(),
        })
        .await?;
        let places = places(conversations);
        let agents: usize = places.iter().map(Vec::len).sum();
        load_tenant(&cluster, binary, dir, &places)?;
        let mut stage = Self {
            cluster,
            pairs: Arc::default(),
            board: Board::default(),
            agents,
            clients: Vec::new(),
        };
        let pairs = tokio::time::timeout(COMING, stage.people_come(&places)).await;
        stage.pairs = Arc::new(pairs.context("the conversations were not open in time")??);
        Ok(stage)
    }

    async fn people_come(&mut self, places: &[Vec<usize>]) -> Result<Vec<Pair>> {
        let urls = self.cluster.api_urls();
        let mut agents: Vec<Client> = Vec::new();
        let mut pairs = Vec::new();
        let mut customers = 0;
        for (group, places) in places.iter().enumerate() {
            for _ in places {
                let number = agents.len();
                let token = token(Role::Agent, &agent_name(number))?;
                let (agent, events) = Client::connect(vec![urls[(group + 1) % NODES].clone()], token, 1);
                tokio::spawn(read(events, self.board.clone(), Side::Agent, number));
                agent.sign_in().await.context("an agent could not sign in")?;
                agents.push(agent.clone());
                self.clients.push(agent);
            }
            let mut coming = places.iter().sum::<usize>();
            while coming > 0 {
                let now = coming.min(OPENING_AT_ONCE);
                let mut started = Vec::new();
                for _ in 0..now {
                    let token = token(Role::Customer, &format!("customer-{customers}"))?;
                    let (customer, events) = Client::connect(vec![urls[group].clone()], token, 1);
                    tokio::spawn(read(events, self.board.clone(), Side::Customer, customers));
                    customers += 1;
                    self.clients.push(customer.clone());
                    started.push((customer.start(BTreeMap::new(), None), customer));
                }
                for (ack, customer) in started {
                    let ack = ack.await.context("a conversation could not be started")?;
                    let conversation = ack.conversation.context("an acknowledgement names no conversation")?;
                    let agent = agents[self.owner(conversation).await].clone();
                    pairs.push(Pair {
                        conversation,
                        customer,
                        agent,
                    });
                }
                coming -= now;
            }
        }
        Ok(pairs)
    }

    async fn owner(&self, conversation: ConversationId) -> usize {
        loop {
            if let Some(owner) = self.board.with(|notes| notes.owners.get(&conversation).copied()) {
                return owner;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The node that leads the tenant's shard.
    pub async fn leader(&self) -> Result<u64> {
        let status = self.cluster.status(1).await?;
        let shard = status.shards.iter().find(|shard| shard.shard == 1);
        shard.and_then(|shard| shard.leader).context("shard 1 has no leader")
    }
}

/// Places of each agent, by group of agents; exactly as many as there are customers in the group.
fn places(conversations: usize) -> Vec<Vec<usize>> {
    let group = |group: usize| {
        let mut left = conversations / NODES + usize::from(group < conversations % NODES);
        let mut places = Vec::new();
        while left > 0 {
            places.push(left.min(CONCURRENT));
            left -= left.min(CONCURRENT);
        }
        places
    };
    (0..NODES).map(group).collect()
}

fn agent_name(number: usize) -> String {
    format!("agent-{number:04}")
}

fn token(role: Role, subject: &str) -> Result<String> {
    let grant = Grant {
        tenant: TENANT,
        role,
        subject: subject.to_owned(),
        audience: "kaiwa".to_owned(),
        issuer: None,
        not_before_s: unix_now_s() - 60,
        expires_at_s: unix_now_s() + 24 * 3_600,
    };
    Ok(issue_token(KID, &SigningKey::Hs256(SECRET.to_owned()), &grant)?)
}

fn load_tenant(cluster: &LocalCluster, binary: &Path, dir: &Path, places: &[Vec<usize>]) -> Result<()> {
    let mut file = format!(
        r#"
[tenant]
name = "bench"

[[key]]
kid = "{KID}"
algorithm = "HS256"
secret = "{SECRET}"

[[queue]]
name = "general"
auto_accept = true

[fallback]
queues = ["general"]
"#
    );
    for (number, places) in places.iter().flatten().enumerate() {
        file += &format!(
            r#"
[[agent]]
name = "{}"
queues = ["general"]
channels = {{ web_chat = {{ concurrent_max = {places} }} }}
"#,
            agent_name(number)
        );
    }
    let path: PathBuf = dir.join("tenant.toml");
    std::fs::write(&path, file)?;
    let output = Command::new(binary)
        .args(["tenant", "load"])
        .arg(&path)
        .args(["--tenant", &TENANT.to_string(), "--admin", &cluster.admin_url(1)?])
        .args(["--key", cluster.admin_key()])
        .output()?;
    if !output.status.success() {
        bail!("the tenant was not loaded: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Takes what one client is given, for as long as it lives.
async fn read(mut events: ClientEvents, board: Board, side: Side, number: usize) {
    while let Some(event) = events.recv().await {
        match event {
            ClientEvent::Frame(ServerFrame::Entry(entry)) => saw(&board, side, &entry),
            ClientEvent::Frame(ServerFrame::Assigned { conversation, .. }) => {
                board.with(|notes| notes.owners.insert(conversation, number));
            }
            ClientEvent::Gap { .. } => board.with(|notes| notes.noted.gaps += 1),
            ClientEvent::Disconnected { .. } => board.with(|notes| notes.noted.disconnects += 1),
            ClientEvent::Refused { code, detail } => eprintln!("a client was refused: {code}: {detail}"),
            _ => {}
        }
    }
}

fn saw(board: &Board, side: Side, entry: &EntryFrame) {
    if let EntryContent::Message { body, .. } = &entry.content
        && let Some((run, id)) = id_of(&body.text)
    {
        // Of an earlier run: it was counted as lost there.
        board.ledger(run, |ledger, now_us| ledger.seen(id, side, entry.seq, now_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_carry_their_id_and_have_their_length() {
        let id = MessageId {
            sender: 41,
            number: 1_234,
        };
        let text = text_of(3, id, 200);
        assert_eq!((text.len(), id_of(&text)), (200, Some((3, id))));
        assert_eq!(id_of("hello"), None);
    }

    #[test]
    fn there_are_as_many_places_as_conversations() {
        for conversations in [1, 3, 24, 100, 301] {
            let places = places(conversations);
            assert_eq!(places.iter().flatten().sum::<usize>(), conversations);
            let groups: Vec<usize> = places.iter().map(|group| group.iter().sum()).collect();
            assert!(
                groups.iter().max().unwrap() - groups.iter().min().unwrap() <= 1,
                "{groups:?}"
            );
            assert!(
                places
                    .iter()
                    .flatten()
                    .all(|&places| (1..=CONCURRENT).contains(&places))
            );
        }
    }
}
