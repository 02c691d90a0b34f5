//! A cluster of child processes on loopback: for the demo, the failover tests and the load harness.
//!
//! Each node is a real `kaiwa serve` with a configuration file, certificates, ports and a folder of its own. Dropping the
//! [`LocalCluster`] ends the processes; should this process itself be killed, they see their standard input close and stop.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::transport::NodeId;
use cluster::transport::certificates;
use routing::ids::TenantId;
use serde_json::{Value, json};

use crate::api::admin::cluster::StatusBody;

mod scrape;

pub use scrape::{Scrape, Spread};

/// A node that gives its metrics gives them at once.
const METRICS_PATIENCE: Duration = Duration::from_secs(2);

/// How to make a local cluster.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The `kaiwa` binary.
    pub binary: PathBuf,
    /// Folder for everything.
    pub dir: PathBuf,
    /// Nodes, numbered from 1.
    pub nodes: u64,
    /// First of the ports (node n: base + n, base + 100 + n, base + 200 + n); `None`: free ones.
    pub port_base: Option<u16>,
    /// Shards beside the directory.
    pub shards: u32,
    /// `log.filter`.
    pub log: String,
    /// Further lines of configuration, for every node.
    pub more: String,
    /// Nodes that do not run just here: elsewhere in the network, on another disk, by another binary.
    pub places: BTreeMap<u64, Place>,
}

/// Where a node runs, and how it is started.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it listens, and is reached.
    pub address: IpAddr,
    /// Its data folder; unless given, one in the cluster's folder.
    pub data: Option<PathBuf>,
    /// What comes before the binary on its command line: `ip netns exec n1`. It must end by executing what follows, so that the
    /// process is the node's.
    pub launcher: Vec<OsString>,
    /// Further environment.
    pub environment: BTreeMap<String, OsString>,
    /// Its binary, unless it is the cluster's.
    pub binary: Option<PathBuf>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            data: None,
            launcher: Vec::new(),
            environment: BTreeMap::new(),
            binary: None,
        }
    }
}

impl Place {
    /// An address of its own, where all ports are free.
    fn is_elsewhere(&self) -> bool {
        !self.address.is_loopback()
    }
}

/// Where one node listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Links between nodes.
    pub cluster: u16,
    /// Clients.
    pub api: u16,
    /// Administration.
    pub admin: u16,
}

struct LocalNode {
    ports: Ports,
    place: Place,
    child: Option<Child>,
}

/// The processes and the way to them.
pub struct LocalCluster {
    options: LocalOptions,
    admin_key: String,
    nodes: BTreeMap<u64, LocalNode>,
    http: reqwest::Client,
}

impl LocalCluster {
    /// Writes what is missing (certificates, configuration), starts every node, and makes the cluster if it is new.
    pub async fn start(options: LocalOptions) -> Result<Self> {
        fs::create_dir_all(&options.dir).with_context(|| format!("{} cannot be made", options.dir.display()))?;
        let admin_key = kept_secret(&options.dir.join("admin.key"))?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let nodes = options.nodes;
        let mut cluster = Self {
            options,
            admin_key,
            nodes: BTreeMap::new(),
            http,
        };
        if !cluster.certificates().join("ca.pem").exists() {
            certificates::make_authority(&cluster.certificates()).context("the authority was not made")?;
        }
        for id in 1..=nodes {
            cluster.prepare(id)?;
            cluster.start_node(id)?;
        }
        cluster.wait_live(Duration::from_secs(30)).await?;
        cluster.init().await?;
        cluster.wait_ready(Duration::from_secs(60)).await?;
        Ok(cluster)
    }

    /// Gives a node ports, a certificate and a configuration file; does not start it.
    pub fn prepare(&mut self, id: u64) -> Result<()> {
        let place = self.options.places.get(&id).cloned().unwrap_or_default();
        let ports = match self.options.port_base {
            _ if place.is_elsewhere() => Ports {
                cluster: 7_000,
                api: 8_000,
                admin: 9_000,
            },
            Some(base) => {
                let at =
                    |offset: u64| u16::try_from(u64::from(base) + offset + id).context("the ports are beyond 65535");
                Ports {
                    cluster: at(0)?,
                    api: at(100)?,
                    admin: at(200)?,
                }
            }
            None => free_ports()?,
        };
        let certificates = self.certificates();
        if !certificates.join(format!("node-{id}.pem")).exists() {
            certificates::issue_node(&certificates, NodeId(id), &[place.address.to_string()])
                .with_context(|| format!("no certificate for node {id}"))?;
        }
        fs::write(self.config_file(id), self.config(id, ports, &place))?;
        let child = None;
        self.nodes.insert(id, LocalNode { ports, place, child });
        Ok(())
    }

    /// Says where a node is to run that is prepared later.
    pub fn set_place(&mut self, id: u64, place: Place) {
        self.options.places.insert(id, place);
    }

    /// What a node is started with; a change counts from its next start. Address and data folder stay as they were prepared.
    pub fn place_mut(&mut self, id: u64) -> Result<&mut Place> {
        Ok(&mut self.node_mut(id)?.place)
    }

    fn config(&self, id: u64, ports: Ports, place: &Place) -> String {
        let dir = fs::canonicalize(&self.options.dir).unwrap_or_else(|_| self.options.dir.clone());
        let data = place.data.clone().unwrap_or_else(|| dir.join(format!("node-{id}")));
        let address = place.address;
        let Ports { cluster, api, admin } = ports;
        let (shards, log, more, key) = (
            self.options.shards,
            &self.options.log,
            &self.options.more,
            &self.admin_key,
        );
        format!(
            r#"# Written for a local cluster; see `kaiwa config default` for what can be said here.
[cluster]
shard_count = {shards}

[node]
id = {id}
data_dir = {data:?}
cluster_listen = "{address}:{cluster}"
api_listen = "{address}:{api}"
admin_listen = "{address}:{admin}"
drain_s = 6

[tls]
authority = {authority:?}
certificate = {certificate:?}
key = {private:?}

[auth]
admin_keys = [{{ name = "local", key = "{key}" }}]

[log]
filter = "{log}"
{more}
"#,
            authority = dir.join("certs/ca.pem"),
            certificate = dir.join(format!("certs/node-{id}.pem")),
            private = dir.join(format!("certs/node-{id}.key")),
        )
    }

    /// Starts a node's process.
    pub fn start_node(&mut self, id: u64) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_file(id))?;
        let place = self.node_mut(id)?.place.clone();
        let binary = place.binary.as_ref().unwrap_or(&self.options.binary);
        let mut words = place.launcher.iter().cloned().chain([binary.clone().into_os_string()]);
        let child = Command::new(words.next().context("there is always the binary")?)
            .args(words)
            .envs(&place.environment)
            .arg("serve")
            .arg("--config")
            .arg(self.config_file(id))
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal is for this process, which then stops its nodes in its own time.
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} did not start", binary.display()))?;
        self.node_mut(id)?.child = Some(child);
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self, id: u64) -> Result<()> {
        if let Some(mut child) = self.node_mut(id)?.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGKILL to several at once.
    pub fn kill_all(&mut self) -> Result<()> {
        for node in self.nodes.values_mut() {
            if let Some(child) = &mut node.child {
                child.kill()?;
            }
        }
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.kill(id))
    }

    /// Asks the process to stop (its standard input closes), and waits for it.
    pub async fn stop(&mut self, id: u64) -> Result<()> {
        let Some(mut child) = self.node_mut(id)?.child.take() else {
            return Ok(());
        };
        drop(child.stdin.take());
        let until = Instant::now() + Duration::from_secs(30);
        while child.try_wait()?.is_none() {
            if Instant::now() > until {
                child.kill()?;
                bail!("node {id} did not stop within 30 s");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Asks all processes to stop at once, and waits for them; those that take longer than `within` are killed.
    pub async fn stop_all(&mut self, within: Duration) -> Result<()> {
        for node in self.nodes.values_mut() {
            if let Some(child) = &mut node.child {
                drop(child.stdin.take());
            }
        }
        let until = Instant::now() + within;
        while !self.running().is_empty() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill_all()
    }

    /// Nodes whose process runs.
    pub fn running(&mut self) -> Vec<u64> {
        let alive = |node: &mut LocalNode| node.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)));
        self.nodes
            .iter_mut()
            .filter_map(|(id, node)| alive(node).then_some(*id))
            .collect()
    }

    /// All nodes that were prepared.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Where a node listens.
    pub fn ports(&self, id: u64) -> Result<Ports> {
        Ok(self.node(id)?.ports)
    }

    /// Process id of a node.
    pub fn pid(&self, id: u64) -> Option<u32> {
        self.nodes.get(&id)?.child.as_ref().map(Child::id)
    }

    fn node(&self, id: u64) -> Result<&LocalNode> {
        self.nodes.get(&id).with_context(|| format!("there is no node {id}"))
    }

    /// URL of a node's public API.
    pub fn api_url(&self, id: u64) -> Result<String> {
        let node = self.node(id)?;
        Ok(format!("http://{}:{}", node.place.address, node.ports.api))
    }

    /// URLs of all nodes' public APIs.
    pub fn api_urls(&self) -> Vec<String> {
        self.nodes
            .values()
            .map(|node| format!("http://{}:{}", node.place.address, node.ports.api))
            .collect()
    }

    /// URL of a node's admin API.
    pub fn admin_url(&self, id: u64) -> Result<String> {
        let node = self.node(id)?;
        Ok(format!("http://{}:{}", node.place.address, node.ports.admin))
    }

    /// The key of the admin API.
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// Links' address of a node.
    pub fn cluster_address(&self, id: u64) -> Result<SocketAddr> {
        let node = self.node(id)?;
        Ok((node.place.address, node.ports.cluster).into())
    }

    /// One call of a node's admin API; the JSON body of a success, or what the problem says.
    pub async fn admin(&self, id: u64, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.admin_url(id)?);
        let mut request = self.http.request(method.clone(), &url).bearer_auth(&self.admin_key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{method} {url}"))?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A node's view of the cluster.
    pub async fn status(&self, id: u64) -> Result<StatusBody> {
        let status = self
            .admin(id, reqwest::Method::GET, "/v1/admin/cluster/status", None)
            .await?;
        serde_json::from_value(status).context("the status is not as expected")
    }

    /// What a node's `/metrics` says now.
    pub async fn metrics(&self, id: u64) -> Result<Scrape> {
        let url = format!("{}/metrics", self.admin_url(id)?);
        let response = self.http.get(url).timeout(METRICS_PATIENCE).send().await?;
        Ok(Scrape::parse(&response.error_for_status()?.text().await?))
    }

    /// `kaiwa tenant load`, by the first node.
    pub fn load_tenant(&self, file: &Path, tenant: TenantId) -> Result<()> {
        let output = Command::new(&self.options.binary)
            .args(["tenant", "load"])
            .arg(file)
            .args(["--tenant", &tenant.to_string(), "--admin", &self.admin_url(1)?])
            .args(["--key", self.admin_key()])
            .output()?;
        if !output.status.success() {
            bail!("the tenant was not loaded: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Makes the cluster of the first nodes, unless it is there.
    async fn init(&mut self) -> Result<()> {
        if self.status(1).await?.cluster.is_some() {
            return Ok(());
        }
        let nodes: Vec<Value> = (1..=self.options.nodes)
            .map(|id| Ok(json!({"id": id, "address": self.cluster_address(id)?.to_string()})))
            .collect::<Result<_>>()?;
        let body = json!({"nodes": nodes, "shards": self.options.shards});
        let until = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self
            .admin(1, reqwest::Method::POST, "/v1/admin/cluster/init", Some(&body))
            .await
        {
            if Instant::now() > until {
                return Err(error.context("the cluster was not made"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn answers(&self, id: u64, path: &str) -> bool {
        let Ok(url) = self.admin_url(id) else { return false };
        let response = self
            .http
            .get(format!("{url}{path}"))
            .timeout(Duration::from_secs(2))
            .send()
            .await;
        response.is_ok_and(|response| response.status().is_success())
    }

    /// Waits until every running node's process answers.
    pub async fn wait_live(&mut self, within: Duration) -> Result<()> {
        self.wait_for("/livez", within).await
    }

    /// Waits until every running node says that it is ready.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<()> {
        self.wait_for("/readyz", within).await
    }

    async fn wait_for(&mut self, path: &str, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        for id in self
            .nodes
            .iter()
            .filter(|(_, n)| n.child.is_some())
            .map(|(id, _)| *id)
            .collect::<Vec<_>>()
        {
            while !self.answers(id, path).await {
                if !self.running().contains(&id) {
                    bail!(
                        "node {id} has ended; the end of {}:\n{}",
                        self.log_file(id).display(),
                        self.log_tail(id)
                    );
                }
                if Instant::now() > until {
                    bail!(
                        "node {id} gives no {path} within {within:?}; its log ends:\n{}",
                        self.log_tail(id)
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// The end of a node's log.
    pub fn log_tail(&self, id: u64) -> String {
        let log = fs::read_to_string(self.log_file(id)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The file that a node's output goes to.
    pub fn log_file(&self, id: u64) -> PathBuf {
        self.options.dir.join(format!("node-{id}.log"))
    }

    fn config_file(&self, id: u64) -> PathBuf {
        self.options.dir.join(format!("node-{id}.toml"))
    }

    fn certificates(&self) -> PathBuf {
        self.options.dir.join("certs")
    }

    fn node_mut(&mut self, id: u64) -> Result<&mut LocalNode> {
        self.nodes
            .get_mut(&id)
            .with_context(|| format!("there is no node {id}"))
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        // They are ours, and they end: what could go wrong here is that they have ended before.
        let _ = self.kill_all();
    }
}

/// A secret that is made once and kept in a file.
pub fn kept_secret(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(secret) => Ok(secret.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
            fs::write(file, &secret)?;
            Ok(secret)
        }
        Err(error) => Err(error),
    }
}

fn free_ports() -> io::Result<Ports> {
    // Held together, so that the three differ.
    let listeners: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    let port = |n: usize| listeners[n].local_addr().map(|address| address.port());
    Ok(Ports {
        cluster: port(0)?,
        api: port(1)?,
        admin: port(2)?,
    })
}
