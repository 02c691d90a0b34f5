//! The cluster of a run, its own or somebody else's, and the tenants in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use node::api::model::settings::{AgentBody, PolicyBody};
use node::auth::{Grant, Role, SigningKey, issue_token, unix_now_s};
use node::local::{LocalCluster, LocalOptions};
use node::tenant_file::{Existing, TenantFile};
use reqwest::{Method, StatusCode};
use routing::ids::{QueueId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::scenario::{Scenario, policy};

/// Of a cluster of its own, beside the directory.
pub const SHARDS: u32 = 4;
/// Calls of the admin API at a time.
const CALLS_AT_ONCE: usize = 16;
/// A call is repeated for so long while the cluster cannot serve it.
const REPEATED_FOR: Duration = Duration::from_secs(30);
const REPEATED_EVERY: Duration = Duration::from_millis(100);
/// A node that takes longer to end is killed.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Of a cluster of its own; there is no way to turn it off.
fn durability(nodes: u64) -> String {
    let number = if nodes == 3 {
        "three".to_owned()
    } else {
        nodes.to_string()
    };
    format!(
        "acknowledged = fdatasync'ed in the logs of a majority of {number} nodes and applied on the leader; transcripts \
         (sled) are synced before the log that holds them is purged; TLS between nodes; nothing is relaxed"
    )
}

/// Limits that a measurement must not meet: all connections come from one address.
const MORE: &str = "
[limits]
connections = 1000000
connections_per_address = 1000000
rate_per_principal = 1000000
burst_per_principal = 1000000
";

/// Where to run.
pub enum Place {
    /// Nodes on loopback, made for the run.
    Own { binary: PathBuf, dir: PathBuf, nodes: u64 },
    /// Nodes that are there.
    Target {
        urls: Vec<String>,
        admins: Vec<String>,
        key: String,
        tenant_prefix: String,
    },
}

/// A tenant that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tenant {
    /// Position in [`Scenario::tenants`].
    pub plan: usize,
    pub id: TenantId,
    /// By name.
    pub queues: BTreeMap<String, QueueId>,
    kid: String,
    secret: String,
}

impl Tenant {
    /// A token of somebody.
    pub fn token(&self, role: Role, subject: &str) -> Result<String> {
        let grant = Grant {
            tenant: self.id,
            role,
            subject: subject.to_owned(),
            audience: "kaiwa".to_owned(),
            issuer: None,
            not_before_s: unix_now_s() - 60,
            expires_at_s: unix_now_s() + 48 * 3_600,
        };
        Ok(issue_token(&self.kid, &SigningKey::Hs256(self.secret.clone()), &grant)?)
    }
}

/// The cluster, ready.
pub struct Stage {
    /// Its own, if it is.
    pub local: Option<LocalCluster>,
    pub urls: Vec<String>,
    /// Of the nodes' admin APIs; each has `/metrics`.
    pub admins: Vec<String>,
    key: String,
    http: reqwest::Client,
    pub tenants: Vec<Tenant>,
    /// What is known of it.
    pub durability: String,
    /// Where the data is, if that is known.
    pub data: Option<PathBuf>,
}

impl Stage {
    /// Starts or finds the cluster, and makes the scenario's tenants. `nonce` keeps their names apart from those of other runs.
    pub async fn set(place: &Place, scenario: &Scenario, nonce: u32) -> Result<Self> {
        let mut stage = match place {
            Place::Own { binary, dir, nodes } => Self::own(binary, dir, *nodes).await?,
            Place::Target { urls, admins, key, .. } => Self {
                local: None,
                urls: urls.clone(),
                admins: admins.iter().map(|url| url.trim_end_matches('/').to_owned()).collect(),
                key: key.clone(),
                http: client()?,
                tenants: Vec::new(),
                durability: "that of the target, which the harness does not know".to_owned(),
                data: None,
            },
        };
        let prefix = match place {
            Place::Own { .. } => "bench",
            Place::Target { tenant_prefix, .. } => tenant_prefix.as_str(),
        };
        let wanted: Vec<(usize, String)> = scenario
            .tenants
            .iter()
            .enumerate()
            .flat_map(|(at, plan)| (0..plan.count).map(move |n| (at, format!("{}-{n}", plan.name))))
            .map(|(at, name)| (at, format!("{prefix}-{nonce:08x}-{name}")))
            .collect();
        let many = wanted.len() > 1;
        let made = futures::stream::iter(wanted.into_iter().enumerate())
            .map(|(n, (plan, name))| stage.make_tenant(scenario, plan, n, name, many))
            .buffered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        stage.tenants = made;
        Ok(stage)
    }

    async fn own(binary: &Path, dir: &Path, nodes: u64) -> Result<Self> {
        let options = LocalOptions {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            nodes,
            port_base: None,
            shards: SHARDS,
            log: "warn".to_owned(),
            more: MORE.to_owned(),
            places: BTreeMap::new(),
        };
        let cluster = LocalCluster::start(options)
            .await
            .context("the cluster did not start")?;
        let admins = cluster
            .ids()
            .into_iter()
            .map(|id| cluster.admin_url(id))
            .collect::<Result<_>>()?;
        Ok(Self {
            urls: cluster.api_urls(),
            admins,
            key: cluster.admin_key().to_owned(),
            http: client()?,
            tenants: Vec::new(),
            durability: durability(nodes),
            data: Some(dir.to_owned()),
            local: Some(cluster),
        })
    }

    /// One tenant: its name, its policy, its key, its agents.
    async fn make_tenant(
        &self,
        scenario: &Scenario,
        plan: usize,
        number: usize,
        name: String,
        many: bool,
    ) -> Result<Tenant> {
        let kid = name.clone();
        let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let text = policy::tenant_file(scenario, plan, &name, &kid, &secret);
        let file = TenantFile::parse(&format!("the tenant of {}", scenario.name), &text, [])?;
        let made = file.plan(&Existing::default())?;
        // Of version 7, so that they are in order of time.
        let id = TenantId(uuid::Uuid::now_v7().as_u128());
        let base = format!("/v1/admin/tenants/{id}");
        let node = number % self.admins.len();
        self.put(node, &base, &json!({ "name": name })).await?;
        let policy = json!(PolicyBody::from(&made.policy));
        self.put(node, &format!("{base}/policy?force=true"), &policy)
            .await
            .context("the policy")?;
        let key = json!({ "algorithm": "HS256", "material": secret });
        self.put(node, &format!("{base}/keys/{kid}"), &key)
            .await
            .context("the key")?;
        let agents = futures::stream::iter(&made.agents).map(|(agent, settings)| {
            let (path, body) = (format!("{base}/agents/{agent}"), json!(AgentBody::from(settings)));
            async move { self.put(node, &path, &body).await.context("an agent") }
        });
        agents
            .buffer_unordered(if many { 1 } else { CALLS_AT_ONCE })
            .try_collect::<()>()
            .await?;
        let queues = made
            .policy
            .queues
            .iter()
            .map(|(id, queue)| (queue.name.clone(), *id))
            .collect();
        Ok(Tenant {
            plan,
            id,
            queues,
            kid,
            secret,
        })
    }

    /// A call that changes nothing when it is repeated, repeated until the cluster has done it.
    async fn put(&self, node: usize, path: &str, body: &Value) -> Result<()> {
        let until = Instant::now() + REPEATED_FOR;
        loop {
            let url = format!("{}{path}", self.admins[node]);
            let request = self.http.request(Method::PUT, &url).bearer_auth(&self.key).json(body);
            let answer = request.send().await.with_context(|| url.clone())?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let text = answer.text().await.unwrap_or_default();
            let passing = matches!(status.as_u16(), 429 | 503 | 504)
                // Made a moment ago, and not known to this node's copy of the directory yet.
                || status == StatusCode::NOT_FOUND && text.contains("unknown_tenant");
            if !passing || Instant::now() > until {
                bail!("{url}: {status}: {text}");
            }
            tokio::time::sleep(REPEATED_EVERY).await;
        }
    }

    /// Process ids of the nodes of an own cluster, by number from 1.
    pub fn pids(&self) -> Vec<u32> {
        let local = self.local.iter();
        local
            .flat_map(|local| local.ids().into_iter().filter_map(|id| local.pid(id)))
            .collect()
    }

    /// For people: where it is, and what it promises.
    pub fn introduction(&self) -> String {
        let place = match &self.data {
            Some(data) => format!(
                "{} nodes of its own, processes {:?}, data in {} ({})",
                self.urls.len(),
                self.pids(),
                data.display(),
                crate::machine::file_system(data)
            ),
            None => "the target".to_owned(),
        };
        let urls = self.urls.join(", ");
        format!("cluster: {place} ({urls})\ndurability: {}\n", self.durability)
    }

    /// Ends the nodes of an own cluster in good order.
    pub async fn end(&mut self) -> Result<()> {
        if let Some(local) = &mut self.local {
            local.stop_all(STOPPED_WITHIN).await?;
        }
        Ok(())
    }
}

/// For the admin API and the metrics.
pub fn client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .no_proxy()
        .build()?)
}
