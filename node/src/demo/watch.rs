//! Looks at the nodes from outside, as an operator would: their status, the tenant's queues and agents, by the admin API.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use routing::ids::AgentId;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::stage::Stage;
use super::ticker::Kind;
use crate::api::admin::cluster::{ShardBody, StatusBody};
use crate::local::LocalCluster;
use crate::wall_clock::now_ms;

/// The nodes' processes, shared by the page (which kills and starts) and the watch (which looks).
pub type Nodes = Arc<tokio::sync::Mutex<LocalCluster>>;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// For a few seconds after a kill, so that the election can be timed.
const LOOK_EVERY_CLOSELY: Duration = Duration::from_millis(25);
const CLOSELY_FOR: Duration = Duration::from_secs(3);
const TENANT_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_millis(800);

/// A node, as seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NodeSeen {
    /// Its number.
    pub id: u64,
    /// Its process runs.
    pub alive: bool,
    /// It answers.
    pub answers: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Its public URL.
    pub api: String,
    /// Its replicas.
    pub shards: Vec<ShardBody>,
    /// Entries that it lacks, by shard, as the leaders know it.
    pub lag: BTreeMap<u32, u64>,
}

/// A queue, as seen.
#[derive(Clone, Debug, Serialize)]
pub struct QueueSeen {
    name: String,
    waiting: u64,
    oldest_since_ms: Option<u64>,
}

/// An agent, as seen.
#[derive(Clone, Debug, Serialize)]
pub struct AgentSeen {
    name: String,
    presence: String,
    conversations: u64,
    yours: bool,
}

/// What was seen last.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Nodes.
    pub nodes: Vec<NodeSeen>,
    /// Leader and term of each shard.
    pub leaders: BTreeMap<u32, (u64, u64)>,
    /// The shard of the tenant.
    pub tenant_shard: Option<u64>,
    /// Queues.
    pub queues: Vec<QueueSeen>,
    /// Agents.
    pub agents: Vec<AgentSeen>,
    /// Conversations by phase.
    pub phases: BTreeMap<String, u64>,
}

/// What is seen, for the page.
pub type Sight = Arc<Mutex<Seen>>;

struct Watch {
    stage: Arc<Stage>,
    nodes: Nodes,
    sight: Sight,
    http: reqwest::Client,
    admin_urls: BTreeMap<u64, String>,
    key: String,
    was_alive: BTreeMap<u64, bool>,
    /// Whoever led last, also while nobody does.
    led: BTreeMap<u32, (u64, u64)>,
    /// Of the agent that is left to the person: what the ticker has told.
    yours_told: HashMap<String, String>,
}

/// Looks until it is dropped.
pub async fn run(stage: Arc<Stage>, nodes: Nodes, sight: Sight) -> anyhow::Result<()> {
    let (admin_urls, key) = {
        let cluster = nodes.lock().await;
        let urls = cluster.ids().into_iter().map(|id| Ok((id, cluster.admin_url(id)?)));
        (urls.collect::<anyhow::Result<_>>()?, cluster.admin_key().to_owned())
    };
    let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).no_proxy().build()?;
    let mut watch = Watch {
        stage,
        nodes,
        sight,
        http,
        admin_urls,
        key,
        was_alive: BTreeMap::new(),
        led: BTreeMap::new(),
        yours_told: HashMap::new(),
    };
    let mut nudges = watch.stage.nudge.subscribe();
    let mut closely_until = Instant::now();
    let mut tenant_at = Instant::now();
    loop {
        watch.look().await;
        if Instant::now() >= tenant_at {
            tenant_at = Instant::now() + TENANT_EVERY;
            if let Err(error) = watch.look_at_tenant().await {
                tracing::debug!(%error, "no node told about the tenant");
            }
        }
        let every = if Instant::now() < closely_until {
            LOOK_EVERY_CLOSELY
        } else {
            LOOK_EVERY
        };
        tokio::select! {
            () = sleep(every) => {}
            _ = nudges.changed() => closely_until = Instant::now() + CLOSELY_FOR,
        }
    }
}

impl Watch {
    async fn get(&self, id: u64, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.admin_urls[&id]);
        let answer = self.http.get(url).bearer_auth(&self.key).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    async fn look(&mut self) {
        let processes: Vec<(u64, bool, Option<u32>, String)> = {
            let mut cluster = self.nodes.lock().await;
            let running = cluster.running();
            let url = |id| cluster.api_url(id).unwrap_or_default();
            let of = |id: &u64| (*id, running.contains(id), cluster.pid(*id), url(*id));
            self.admin_urls.keys().map(of).collect()
        };
        let looks = processes.into_iter().map(|(id, alive, pid, api)| {
            let watch = &*self;
            async move {
                let status = match alive {
                    true => watch.get(id, "/v1/admin/cluster/status").await.ok(),
                    false => None,
                };
                let status: Option<StatusBody> = status.and_then(|status| serde_json::from_value(status).ok());
                NodeSeen {
                    id,
                    alive,
                    answers: status.is_some(),
                    pid: pid.filter(|_| alive),
                    api,
                    shards: status.map(|status| status.shards).unwrap_or_default(),
                    lag: BTreeMap::new(),
                }
            }
        });
        let mut nodes = futures::future::join_all(looks).await;
        let leaders = leaders(&nodes);
        note_lag(&mut nodes);
        self.tell_processes(&nodes);
        self.tell_elections(&leaders);
        for (shard, index) in differing(&nodes) {
            let text = format!("replicas of shard {shard} differ at index {index}");
            self.stage.ledger.fault(text.clone());
            self.stage.ticker.tell(Kind::Fault, text);
        }
        let mut sight = self.sight.lock();
        sight.nodes = nodes;
        sight.leaders = leaders;
    }

    fn tell_processes(&mut self, nodes: &[NodeSeen]) {
        for node in nodes {
            match self.was_alive.insert(node.id, node.alive) {
                Some(true) if !node.alive => {
                    // Killed from the page: it is told already, and timed from the very moment.
                    let told = self.stage.ledger.outage();
                    if told.is_none_or(|outage| outage.node != node.id || now_ms() > outage.at_ms + 5_000) {
                        self.stage.ledger.outage_begins(node.id, now_ms());
                        self.stage.nudge.send_modify(|count| *count += 1);
                        let text = format!("The process of node {} has ended", node.id);
                        self.stage.ticker.tell(Kind::Node, text);
                    }
                }
                Some(false) if node.alive => {
                    let text = format!("Node {} is started again", node.id);
                    self.stage.ticker.tell(Kind::Node, text);
                }
                _ => {}
            }
        }
    }

    fn tell_elections(&mut self, leaders: &BTreeMap<u32, (u64, u64)>) {
        for (shard, (leader, term)) in leaders {
            let Some((old, old_term)) = self.led.insert(*shard, (*leader, *term)) else {
                continue;
            };
            if old_term >= *term {
                self.led.insert(*shard, (old, old_term));
                continue;
            }
            let name = match shard {
                0 => "the directory".to_owned(),
                shard => format!("shard {shard}"),
            };
            let pause = self.stage.ledger.elected(*shard, old);
            let pause = pause.map_or(String::new(), |ms| format!(", {ms} ms after node {old} was killed"));
            let text = format!("Node {leader} leads {name} (term {term}){pause}");
            self.stage.ticker.tell(Kind::Election, text);
        }
    }

    /// One node that answers is enough: it asks the leader.
    async fn ask_any(&self, path: &str) -> anyhow::Result<Value> {
        let up = self
            .sight
            .lock()
            .nodes
            .iter()
            .filter(|node| node.answers)
            .map(|node| node.id)
            .collect::<Vec<_>>();
        let mut last = anyhow::anyhow!("no node answers");
        for id in up {
            match self.get(id, path).await {
                Ok(value) => return Ok(value),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn look_at_tenant(&mut self) -> anyhow::Result<()> {
        let base = format!("/v1/admin/tenants/{}", self.stage.mint.tenant);
        let tenant = self.ask_any(&base).await?;
        let queues = self.ask_any(&format!("{base}/queues")).await?;
        let agents = self.ask_any(&format!("{base}/agents?limit=500")).await?;
        let mut phases: BTreeMap<String, u64> = BTreeMap::new();
        let queues: Vec<QueueSeen> = array(&queues["queues"]).map(queue_seen).collect();
        phases.insert("waiting".to_owned(), queues.iter().map(|queue| queue.waiting).sum());
        let mut seen = Vec::new();
        for agent in array(&agents["agents"]) {
            let id: Option<AgentId> = agent["id"].as_str().and_then(|id| id.parse().ok());
            let name = agent["settings"]["name"].as_str().unwrap_or_default().to_owned();
            let Some(id) = id else { continue };
            let held = self
                .ask_any(&format!("{base}/conversations?agent={id}&limit=500"))
                .await?;
            let held: Vec<&Value> = array(&held["conversations"]).collect();
            for conversation in &held {
                let phase = conversation["phase"].as_str().unwrap_or("?").to_owned();
                *phases.entry(phase).or_default() += 1;
            }
            let yours = name == self.stage.cast.yours;
            if yours {
                self.tell_yours(&held);
            }
            seen.push(AgentSeen {
                name,
                presence: presence(&agent["presence"]),
                conversations: held.len() as u64,
                yours,
            });
        }
        let mut sight = self.sight.lock();
        sight.tenant_shard = tenant["shard"].as_u64();
        sight.queues = queues;
        sight.agents = seen;
        sight.phases = phases;
        Ok(())
    }

    fn tell_yours(&mut self, held: &[&Value]) {
        let now: HashMap<String, String> = held
            .iter()
            .map(|conversation| {
                let text = |key: &str| conversation[key].as_str().unwrap_or_default().to_owned();
                (text("id"), format!("{} {}", text("customer"), text("phase")))
            })
            .collect();
        for (id, told) in &now {
            if self.yours_told.get(id) != Some(told) {
                let (customer, phase) = told.rsplit_once(' ').unwrap_or((told, ""));
                let (kind, text) = match phase {
                    "offered" => (Kind::Offered, format!("{customer} is offered to you")),
                    "assigned" => (Kind::Assigned, format!("You have {customer}")),
                    "wrap_up" => (Kind::Closed, format!("{customer} is closed; you wrap up")),
                    other => (Kind::Agent, format!("Your conversation with {customer}: {other}")),
                };
                self.stage.ticker.tell(kind, text);
            }
        }
        self.yours_told = now;
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn queue_seen(queue: &Value) -> QueueSeen {
    QueueSeen {
        name: queue["settings"]["name"].as_str().unwrap_or_default().to_owned(),
        waiting: queue["waiting"].as_u64().unwrap_or(0),
        oldest_since_ms: queue["oldest_since_ms"].as_u64(),
    }
}

/// `"available"`, or `{"away": "tea"}`.
fn presence(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Object(object) => match object.iter().next() {
            Some((word, Value::String(reason))) if !reason.is_empty() => format!("{word}: {reason}"),
            Some((word, _)) => word.clone(),
            None => "?".to_owned(),
        },
        _ => "?".to_owned(),
    }
}

/// Who leads each shard: of those who say so of themselves, the one with the highest term.
fn leaders(nodes: &[NodeSeen]) -> BTreeMap<u32, (u64, u64)> {
    let mut leaders: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for node in nodes {
        for shard in node.shards.iter().filter(|shard| shard.role == "leader") {
            let leader = leaders.entry(shard.shard).or_insert((node.id, shard.term));
            if shard.term > leader.1 {
                *leader = (node.id, shard.term);
            }
        }
    }
    leaders
}

fn note_lag(nodes: &mut [NodeSeen]) {
    let mut lag: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    for shard in nodes
        .iter()
        .flat_map(|node| &node.shards)
        .filter(|shard| shard.role == "leader")
    {
        for (node, entries) in &shard.lag {
            // `n2` or `2`.
            if let Ok(node) = node.trim_start_matches(|c: char| !c.is_ascii_digit()).parse() {
                lag.insert((node, shard.shard), *entries);
            }
        }
    }
    for node in nodes {
        node.lag = lag
            .iter()
            .filter(|((of, _), _)| *of == node.id)
            .map(|((_, shard), entries)| (*shard, *entries))
            .collect();
    }
}

/// Shards of which two replicas give different digests for the same index.
fn differing(nodes: &[NodeSeen]) -> Vec<(u32, u64)> {
    let mut digests: BTreeMap<(u32, u64), &str> = BTreeMap::new();
    let mut differing = Vec::new();
    for shard in nodes
        .iter()
        .flat_map(|node| &node.shards)
        .filter(|shard| shard.digest_index > 0)
    {
        let at = (shard.shard, shard.digest_index);
        if *digests.entry(at).or_insert(&shard.digest) != shard.digest {
            differing.push(at);
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(id: u64, shards: Value) -> NodeSeen {
        NodeSeen {
            id,
            alive: true,
            answers: true,
            shards: serde_json::from_value(shards).unwrap(),
            ..NodeSeen::default()
        }
    }

    fn shard(role: &str, term: u64, digest: &str) -> Value {
        json!({
            "shard": 1, "role": role, "term": term, "leader": null, "voters": [1, 2], "learners": [], "last_index": 9,
            "commit_index": 9, "applied_index": 9, "snapshot_index": 0, "purged_index": 0, "digest_index": 8,
            "digest": digest, "pending": 0, "lag": if role == "leader" { json!({"2": 3}) } else { json!({}) },
        })
    }

    #[test]
    fn the_leader_of_the_highest_term_leads() {
        let mut nodes = [
            node(1, json!([shard("leader", 4, "aa")])),
            node(2, json!([shard("leader", 5, "aa")])),
            node(3, json!([shard("follower", 5, "aa")])),
        ];
        assert_eq!(leaders(&nodes), BTreeMap::from([(1, (2, 5))]));
        note_lag(&mut nodes);
        assert_eq!(nodes[1].lag, BTreeMap::from([(1, 3)]));
        assert!(nodes[0].lag.is_empty());
    }

    #[test]
    fn replicas_that_differ_are_found() {
        let same = [
            node(1, json!([shard("leader", 4, "aa")])),
            node(2, json!([shard("follower", 4, "aa")])),
        ];
        assert!(differing(&same).is_empty());
        let other = [
            node(1, json!([shard("leader", 4, "aa")])),
            node(2, json!([shard("follower", 4, "ab")])),
        ];
        assert_eq!(differing(&other), [(1, 8)]);
    }

    #[test]
    fn presences_are_told_in_words() {
        assert_eq!(presence(&json!("available")), "available");
        assert_eq!(presence(&json!({"away": "tea"})), "away: tea");
        assert_eq!(presence(&json!({"suspect": {"until_ms": 5}})), "suspect");
    }
}
