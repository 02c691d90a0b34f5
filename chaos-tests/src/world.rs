//! A cluster of real processes with a tenant in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use node::auth::{Grant, Role, SigningKey, issue_token, unix_now_s};
use node::local::{LocalCluster, LocalOptions};
use routing::ids::TenantId;
use tempfile::TempDir;

/// The tenant of all runs.
pub const TENANT: TenantId = TenantId(0x0193_0000_0000_7000_8000_0000_0000_0001);
/// Name of the tenant's supervisor.
pub const SUPERVISOR: &str = "boss";
const SECRET: &str = "a secret for tests only, of more than 32 bytes";
const KID: &str = "chaos-1";

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Takes this binary as [`kaiwa`], before anybody has asked for it.
pub fn use_kaiwa(binary: PathBuf) {
    // A second wish would come too late: the first nodes run.
    let _ = BINARY.set(binary);
}

/// The `kaiwa` binary of this build.
pub fn kaiwa() -> &'static PathBuf {
    BINARY.get_or_init(|| {
        // Built here, so that a test of this package alone does not try yesterday's binary. The whole workspace with its
        // tests, because then cargo unifies features as `cargo test --workspace` does and has nothing to build again.
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--bins", "--tests"]);
        // What cargo says of this package to its tests would make some build scripts run again.
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
            {
                build.env_remove(name);
            }
        }
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(
            build.status().expect("cargo starts").success(),
            "the binary was not built"
        );
        let mut path = std::env::current_exe().expect("a test knows its own path");
        while path
            .file_name()
            .is_some_and(|name| name != "debug" && name != "release")
        {
            assert!(path.pop(), "the test does not lie in a target folder");
        }
        path.join("kaiwa")
    })
}

/// A running cluster with the tenant loaded; ended when dropped.
pub struct World {
    /// The processes.
    pub cluster: LocalCluster,
    /// Names of the agents.
    pub agents: Vec<String>,
    /// Conversations that each has room for.
    pub concurrent: usize,
    /// Where clients may find a node; unless it is set, at those that there were in the beginning.
    pub urls: Vec<String>,
    /// Removed when dropped, if it is only for this run.
    _folder: Option<TempDir>,
}

/// A queue that everybody serves.
fn one_queue(agents: &[String], concurrent: u16) -> String {
    let queue = r#"
[[queue]]
name = "general"
offer_timeout = "2s"
decline_exclude = "1s"
timeouts_until_away = 0
wrap_up = { timed = "2s" }

[fallback]
queues = ["general"]
"#;
    let agent = |name: &String| {
        format!(
            r#"
[[agent]]
name = "{name}"
queues = ["general"]
lease_hold = "20s"
channels = {{ web_chat = {{ concurrent_max = {concurrent} }} }}
"#
        )
    };
    queue.to_owned() + &agents.iter().map(agent).collect::<String>()
}

/// The tenant's file, with its name, its key and its supervisor.
fn tenant_with_keys(tenant: &str) -> String {
    format!(
        r#"
[tenant]
name = "chaos"

[[key]]
kid = "{KID}"
algorithm = "HS256"
secret = "{SECRET}"
{tenant}
[[agent]]
name = "{SUPERVISOR}"
queues = []
supervisor = true
channels = {{ web_chat = {{ concurrent_max = 1 }} }}
"#
    )
}

/// So many nodes on loopback, with everything in a folder of their own.
fn local(folder: &TempDir, nodes: u64) -> LocalOptions {
    LocalOptions {
        binary: kaiwa().clone(),
        dir: folder.path().to_owned(),
        nodes,
        port_base: None,
        shards: 4,
        log: "info".to_owned(),
        more: String::new(),
        places: BTreeMap::new(),
    }
}

impl World {
    /// `nodes` nodes and a tenant with one queue and so many agents, each with room for `concurrent` chats.
    pub async fn start(nodes: u64, agents: usize, concurrent: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut world = Self::start_as(local(&folder, nodes), agents, concurrent).await?;
        world._folder = Some(folder);
        Ok(world)
    }

    /// The same, with nodes where and how these options say; the folder stays.
    pub async fn start_as(options: LocalOptions, agents: usize, concurrent: u16) -> Result<Self> {
        let agents: Vec<String> = (0..agents).map(|n| format!("agent-{n:03}")).collect();
        let tenant = one_queue(&agents, concurrent);
        Self::open(options, agents, concurrent.into(), &tenant).await
    }

    /// `nodes` nodes and the queues, rules and agents of this file. Its name, its key and its supervisor are added.
    pub async fn with_tenant(nodes: u64, agents: Vec<String>, tenant: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut world = Self::open(local(&folder, nodes), agents, usize::MAX, tenant).await?;
        world._folder = Some(folder);
        Ok(world)
    }

    async fn open(options: LocalOptions, agents: Vec<String>, concurrent: usize, tenant: &str) -> Result<Self> {
        let tenant_file = options.dir.join("tenant.toml");
        let cluster = LocalCluster::start(options).await?;
        std::fs::write(&tenant_file, tenant_with_keys(tenant))?;
        cluster.load_tenant(&tenant_file, TENANT)?;
        Ok(Self {
            urls: cluster.api_urls(),
            cluster,
            agents,
            concurrent,
            _folder: None,
        })
    }

    /// A token of the tenant.
    pub fn token(&self, role: Role, subject: &str) -> String {
        let grant = Grant {
            tenant: TENANT,
            role,
            subject: subject.to_owned(),
            audience: "kaiwa".to_owned(),
            issuer: None,
            not_before_s: unix_now_s() - 60,
            expires_at_s: unix_now_s() + 3_600,
        };
        issue_token(KID, &SigningKey::Hs256(SECRET.to_owned()), &grant).expect("a token can be signed")
    }

    /// The shard of the tenant, and the node that leads it, as a running node knows.
    pub async fn leader(&mut self) -> Result<u64> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            for id in self.cluster.running() {
                let Ok(status) = self.cluster.status(id).await else {
                    continue;
                };
                if let Some(leader) = status.leader(1)
                    && self.cluster.running().contains(&leader)
                {
                    return Ok(leader);
                }
            }
            if Instant::now() > until {
                bail!("shard 1 has no leader within 20 s");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is added to the log any more: offers, wrap-ups and returns of silent people have come to their end.
    pub async fn wait_quiet(&mut self, within: Duration) -> Result<()> {
        const QUIET: Duration = Duration::from_secs(3);
        let until = Instant::now() + within;
        let (mut last, mut since) = (None, Instant::now());
        while last.is_none() || since.elapsed() < QUIET {
            let node = *self.cluster.running().first().context("no node runs")?;
            let status = self.cluster.status(node).await?;
            let indexes: Vec<u64> = status.shards.iter().map(|shard| shard.last_index).collect();
            if last.as_ref() != Some(&indexes) {
                (last, since) = (Some(indexes), Instant::now());
            }
            if Instant::now() > until {
                bail!("the logs still grow after {within:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until the digests of every shard agree at an equal index on all running nodes.
    pub async fn wait_equal(&mut self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        loop {
            let mut seen: Vec<Vec<(u32, u64, String)>> = Vec::new();
            for id in self.cluster.running() {
                let status = self.cluster.status(id).await?;
                seen.push(
                    status
                        .shards
                        .iter()
                        .map(|s| (s.shard, s.digest_index, s.digest.clone()))
                        .collect(),
                );
            }
            let first = seen.first().context("no node runs")?;
            let differ = first.iter().any(|(shard, index, digest)| {
                let same_index = |row: &&(u32, u64, String)| row.0 == *shard && row.1 == *index;
                seen.iter()
                    .any(|node| node.iter().find(same_index).is_some_and(|row| row.2 != *digest))
            });
            if differ {
                bail!("replicas differ at an equal index: {seen:?}");
            }
            if seen.iter().all(|node| node == first) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the replicas did not come to an equal index within {within:?}: {seen:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
