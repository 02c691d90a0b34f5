//! The cluster of a measurement, and the people in it: each a client of its own.
//!
//! Customer and agent of a conversation are on different nodes. One queue serves all, so this is done by the order of
//! coming: agents of one node sign in with exactly as many places as the customers of another node then take.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node::auth::{Grant, Role, SigningKey, issue_token, unix_now_s};
use node::gateway::protocol::{ClientFrame, WantedPresence, web_chat};
use node::local::{LocalCluster, LocalOptions};
use routing::ids::TenantId;

use super::ledger::{Ledger, Side};
use super::talker::Talker;

const TENANT: TenantId = TenantId(0x0193_0000_0000_7000_8000_0000_0000_00be);
const SECRET: &str = "a secret for measurements only, of more than 32 bytes";
const KID: &str = "bench-1";
const NODES: usize = 3;
/// Queue and customers of conversations that stand.
pub const STANDING: &str = "standing";
/// Time for everybody to come.
const COMING: Duration = Duration::from_secs(120);

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
    /// Conversation → number of its agent, and the epoch.
    owners: HashMap<String, (usize, u64)>,
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

    /// Tells the account of whichever run there is; `act` is given its number.
    pub fn tell(&self, act: impl FnOnce(&mut Ledger, u64, u64)) {
        self.with(|notes| {
            if let Some(current) = notes.current.as_mut() {
                let now_us = current.started.elapsed().as_micros() as u64;
                act(&mut current.ledger, current.run, now_us);
            }
        });
    }

    /// An agent got a conversation.
    pub fn assigned(&self, conversation: String, agent: usize, epoch: u64) {
        self.with(|notes| notes.owners.insert(conversation, (agent, epoch)));
    }

    /// An entry did not follow on the one before.
    pub fn gap(&self) {
        self.with(|notes| notes.noted.gaps += 1);
    }

    /// A connection ended, and why. When nothing is measured any more, it was the cluster that was stopped.
    pub fn disconnected(&self, who: &str, why: &str) {
        self.with(|notes| {
            if notes.current.is_some() {
                notes.noted.disconnects += 1;
                eprintln!("{who}: the connection ended: {why}");
            }
        });
    }

    /// Beside messages, since the start.
    pub fn noted(&self) -> Noted {
        self.with(|notes| notes.noted)
    }
}

/// A conversation with both of its ends.
pub struct Pair {
    /// Which.
    pub conversation: Arc<str>,
    /// Of its assignment.
    pub epoch: u64,
    /// Who started it.
    pub customer: Talker,
    /// Who owns it.
    pub agent: Talker,
}

/// How many there are of everything.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Conversations in all.
    pub conversations: usize,
    /// Of one customer.
    pub per_customer: usize,
    /// Of one agent.
    pub per_agent: usize,
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
    /// How many customers.
    pub customers: usize,
}

impl Stage {
    /// Starts three nodes of `binary` with everything in `dir`, and opens the conversations.
    pub async fn set(binary: &Path, dir: &Path, crowd: Crowd) -> Result<Self> {
        let cluster = LocalCluster::start(LocalOptions {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            nodes: NODES as u64,
            port_base: None,
            shards: 4,
            log: "warn".to_owned(),
            more: MORE.to_owned(),
            places: BTreeMap::new(),
        })
        .await?;
        let places = places(crowd.conversations, crowd.per_agent);
        load_tenant(&cluster, dir, &places)?;
        let mut stage = Self {
            cluster,
            pairs: Arc::default(),
            board: Board::default(),
            agents: places.iter().map(Vec::len).sum(),
            customers: 0,
        };
        let pairs = tokio::time::timeout(COMING, stage.people_come(&places, crowd.per_customer)).await;
        stage.pairs = Arc::new(pairs.context("the conversations were not open in time")??);
        Ok(stage)
    }

    async fn people_come(&mut self, places: &[Vec<usize>], per_customer: usize) -> Result<Vec<Pair>> {
        let urls = self.cluster.api_urls();
        let mut agents: Vec<Talker> = Vec::new();
        let mut pairs = Vec::new();
        for (group, places) in places.iter().enumerate() {
            for _ in places {
                let number = agents.len();
                let (url, token) = (&urls[(group + 1) % NODES], token(Role::Agent, &agent_name(number))?);
                let agent = Talker::connect(url, token, self.board.clone(), Side::Agent, number).await?;
                let sign_in = ClientFrame::SignIn {
                    number: 0,
                    presence: WantedPresence::Available,
                };
                agent.command(sign_in).await.context("an agent could not sign in")?;
                agents.push(agent);
            }
            let mut coming = places.iter().sum::<usize>();
            while coming > 0 {
                let now = coming.min(per_customer);
                let number = self.customers;
                let token = token(Role::Customer, &format!("customer-{number}"))?;
                let customer = Talker::connect(&urls[group], token, self.board.clone(), Side::Customer, number).await?;
                self.customers += 1;
                let started = futures::future::join_all((0..now).map(|_| customer.command(start()))).await;
                for conversation in started {
                    let conversation = conversation.context("a conversation could not be started")?;
                    let conversation = conversation.context("an acknowledgement names no conversation")?;
                    let (owner, epoch) = self.owner(&conversation).await;
                    pairs.push(Pair {
                        conversation: conversation.into(),
                        epoch,
                        customer: customer.clone(),
                        agent: agents[owner].clone(),
                    });
                }
                coming -= now;
            }
        }
        Ok(pairs)
    }

    async fn owner(&self, conversation: &str) -> (usize, u64) {
        loop {
            if let Some(owner) = self.board.with(|notes| notes.owners.get(conversation).copied()) {
                return owner;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The node that leads the tenant's shard.
    pub async fn leader(&self) -> Result<u64> {
        let status = self.cluster.status(1).await?;
        status.leader(1).context("shard 1 has no leader")
    }
}

fn start() -> ClientFrame {
    ClientFrame::Start {
        number: 0,
        channel: web_chat(),
        attributes: BTreeMap::new(),
        message: None,
        schedule: None,
        callback: None,
    }
}

/// Places of each agent, by group of agents; exactly as many as there are conversations in the group.
fn places(conversations: usize, per_agent: usize) -> Vec<Vec<usize>> {
    let group = |group: usize| {
        let mut left = conversations / NODES + usize::from(group < conversations % NODES);
        let mut places = Vec::new();
        while left > 0 {
            places.push(left.min(per_agent));
            left -= left.min(per_agent);
        }
        places
    };
    (0..NODES).map(group).collect()
}

fn agent_name(number: usize) -> String {
    format!("agent-{number:04}")
}

/// A token for somebody of the tenant.
pub fn token(role: Role, subject: &str) -> Result<String> {
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

fn load_tenant(cluster: &LocalCluster, dir: &Path, places: &[Vec<usize>]) -> Result<()> {
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

[[queue]]
name = "{STANDING}"

[[rule]]
name = "{STANDING}"
when = "customer.startsWith('{STANDING}')"
queues = ["{STANDING}"]

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
    let path = dir.join("tenant.toml");
    std::fs::write(&path, file)?;
    cluster.load_tenant(&path, TENANT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_conversations() {
        for conversations in [1, 3, 24, 100, 301] {
            let places = places(conversations, 8);
            assert_eq!(places.iter().flatten().sum::<usize>(), conversations);
            let groups: Vec<usize> = places.iter().map(|group| group.iter().sum()).collect();
            assert!(
                groups.iter().max().unwrap() - groups.iter().min().unwrap() <= 1,
                "{groups:?}"
            );
            assert!(places.iter().flatten().all(|&places| (1..=8).contains(&places)));
        }
    }
}
