//! Configuration of a node: one TOML file, with environment variables over it.
//!
//! Each setting is declared once, with its doc, kind and default, in [`settings`]; the file that `kaiwa config default`
//! prints, the reference in `ops/configuration.md` and the reading itself all come from that table. `[cluster]` is what
//! all nodes of a cluster must share; the rest is the node's own. A mistake never hides another: all are reported at
//! once, each with what was given, where, and what would be right.

pub mod reference;
pub mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cluster::config::{RaftTimes, TlsFiles};
use cluster::transport::NodeId;

use crate::toml_input::{self, Item, Mistake, Mistakes, Place, Raw, Table};
use settings::{SECTIONS, SETTINGS, Setting};

/// What all nodes of a cluster share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Times of the Raft protocol.
    pub raft: RaftTimes,
    /// A snapshot after so many entries.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot.
    pub keep_entries: u64,
    /// Shards beside the directory, used once, when the cluster is made.
    pub shard_count: u32,
}

/// What is one node's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// The node's number.
    pub id: NodeId,
    /// Folder for logs, snapshots and rows.
    pub data_dir: PathBuf,
    /// Where the links of other nodes are accepted.
    pub cluster_listen: SocketAddr,
    /// What other nodes connect to.
    pub cluster_advertise: SocketAddr,
    /// Where clients are accepted: REST, WebSocket, pages.
    pub api_listen: SocketAddr,
    /// Public URL of the API, without a slash at the end; told to clients and to other nodes.
    pub api_advertise: String,
    /// Where administration is accepted: admin REST, metrics, health.
    pub admin_listen: SocketAddr,
    /// Longest time of a drain, seconds.
    pub drain_s: u64,
}

/// Who may call the API, and how it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// Keys of the admin API.
    pub admin_keys: Vec<AdminKey>,
    /// The `aud` that tokens must name.
    pub audience: String,
    /// The `iss` that tokens may name; empty: any, or none.
    pub issuers: Vec<String>,
    /// Leeway on `exp` and `nbf`, seconds.
    pub leeway_s: u64,
    /// Origins of pages that may open a WebSocket, beside the node's own; `*` for any.
    pub allowed_origins: Vec<String>,
}

/// A key of the admin API. Its `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey {
    /// Who uses it; the name in audit and in commands.
    pub name: String,
    /// The secret.
    pub key: String,
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminKey")
            .field("name", &self.name)
            .field("key", &"[redacted]")
            .finish()
    }
}

/// Limits of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Client connections in all.
    pub connections: u64,
    /// Client connections from one address.
    pub connections_per_address: u64,
    /// WebSocket connections of one principal.
    pub connections_per_principal: u64,
    /// Requests and commands of one principal, per second.
    pub rate_per_principal: u64,
    /// How many of them may come at once.
    pub burst_per_principal: u64,
    /// Deadline of a handshake, milliseconds.
    pub handshake_ms: u64,
    /// A connection that says nothing for so long is closed, milliseconds.
    pub idle_ms: u64,
    /// Deadline of one write to a socket, milliseconds.
    pub write_ms: u64,
    /// Bytes that may wait for one socket.
    pub outbound_bytes: u64,
}

/// How the log of the process is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Levels per module, in the syntax of tracing's `EnvFilter`.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The whole configuration of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// `[cluster]`: all nodes share it.
    pub cluster: ClusterSettings,
    /// `[node]`.
    pub node: NodeSettings,
    /// `[tls]`; `None` only where `insecure_plaintext = true` was written.
    pub tls: Option<TlsFiles>,
    /// `[auth]`.
    pub auth: AuthSettings,
    /// `[limits]`.
    pub limits: LimitSettings,
    /// `[log]`.
    pub log: LogSettings,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    /// The file, or what stands for it.
    pub source: String,
    /// Every mistake.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.mistakes.len() == 1 {
            "mistake"
        } else {
            "mistakes"
        };
        write!(f, "{}: {} {noun}", self.source, self.mistakes.len())?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for ConfigErrors {}

impl NodeConfig {
    /// Reads `path`, with the environment of this process over it.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let source = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&source, &text, std::env::vars()),
            Err(error) => {
                let mut mistakes = Mistakes::default();
                mistakes.add(Place::File, "", format!("cannot be read: {error}"), "");
                Err(ConfigErrors {
                    source,
                    mistakes: mistakes.into_sorted(),
                })
            }
        }
    }

    /// Reads `text`, with `environment` over it. `source` names the text in errors.
    pub fn parse(
        source: &str,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let environment: Vec<(String, String)> = environment.into_iter().collect();
        let mut mistakes = Mistakes::default();
        let table = toml_input::parse(text, &mut mistakes);
        let mut draft = Draft::new(&environment);
        draft.read_table(&table, &mut mistakes);
        draft.read_environment(&mut mistakes);
        let config = draft.finish(&mut mistakes);
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigErrors {
                source: source.to_owned(),
                mistakes: mistakes.into_sorted(),
            }),
        }
    }

    /// What the cluster layer needs of it.
    pub fn to_cluster_config(&self) -> cluster::config::Config {
        cluster::config::Config {
            node: self.node.id,
            data_dir: self.node.data_dir.clone(),
            listen: self.node.cluster_listen,
            advertise: self.node.cluster_advertise,
            tls: self.tls.clone(),
            raft: self.cluster.raft.clone(),
            snapshot_entries: self.cluster.snapshot_entries,
            keep_entries: self.cluster.keep_entries,
        }
    }
}

/// A configuration while it is read: defaults first, then the file, then the environment.
pub struct Draft<'a> {
    /// Being filled.
    pub config: NodeConfig,
    /// `[tls]` as written.
    pub tls: TlsDraft,
    /// `cluster_advertise` as written.
    pub cluster_advertise: Option<SocketAddr>,
    /// `api_advertise` as written.
    pub api_advertise: Option<String>,
    /// Variables, for `key_env`.
    pub environment: &'a [(String, String)],
    given: Vec<(&'static Setting, Place)>,
}

/// `[tls]` as written.
#[derive(Clone, Debug, Default)]
pub struct TlsDraft {
    /// Authority.
    pub authority: Option<PathBuf>,
    /// Certificate.
    pub certificate: Option<PathBuf>,
    /// Key.
    pub key: Option<PathBuf>,
    /// Said in as many words.
    pub insecure_plaintext: bool,
}

impl<'a> Draft<'a> {
    fn new(environment: &'a [(String, String)]) -> Self {
        let mut draft = Self {
            config: settings::blank(),
            tls: TlsDraft::default(),
            cluster_advertise: None,
            api_advertise: None,
            environment,
            given: Vec::new(),
        };
        for setting in SETTINGS {
            if let Some(value) = toml_input::parse_value(setting.default) {
                // A test reads every default by this very path, so none of them can be refused here.
                let _ = (setting.kind).read(&value, &mut draft);
            }
        }
        draft
    }

    fn read_table(&mut self, table: &Table, mistakes: &mut Mistakes) {
        for (section, (line, item)) in table {
            let Some((known, _)) = SECTIONS.iter().find(|(name, _)| name == section) else {
                let names = SECTIONS.iter().map(|(name, _)| *name);
                mistakes.add(
                    Place::Line(*line),
                    section,
                    "unknown section",
                    toml_input::suggestion(section, names),
                );
                continue;
            };
            let Raw::Table(keys) = &item.value else {
                let wrong = format!("{} is no section", item.value.describe());
                mistakes.add(Place::Line(*line), section, wrong, format!("write `[{known}]`"));
                continue;
            };
            for (key, (line, item)) in keys {
                self.read_key(section, key, *line, item, mistakes);
            }
        }
    }

    fn read_key(&mut self, section: &str, key: &str, line: usize, item: &Item, mistakes: &mut Mistakes) {
        let path = format!("{section}.{key}");
        let place = Place::Line(line);
        match settings::find(section, key) {
            Some(setting) => self.set(setting, &item.value, place, mistakes),
            None => mistakes.add(place, &path, "unknown key", settings::suggest(section, key)),
        }
    }

    fn read_environment(&mut self, mistakes: &mut Mistakes) {
        for (name, value) in self.environment {
            let Some((section, key)) = name.strip_prefix("KAIWA_").and_then(|rest| rest.split_once("__")) else {
                continue;
            };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            let place = Place::Env(name.clone());
            match settings::find(&section, &key) {
                Some(setting) => {
                    let value = setting.kind.from_variable(value);
                    self.set(setting, &value, place, mistakes);
                }
                None => mistakes.add(
                    place,
                    &format!("{section}.{key}"),
                    "names no setting",
                    settings::suggest(&section, &key),
                ),
            }
        }
    }

    fn set(&mut self, setting: &'static Setting, value: &Raw, place: Place, mistakes: &mut Mistakes) {
        self.given.push((setting, place.clone()));
        if let Err(refusal) = setting.kind.read(value, self) {
            mistakes.add(place, &setting.path(), refusal.wrong, refusal.right);
        }
    }

    /// Where a setting was written last.
    fn place_of(&self, path: &str) -> Place {
        let last = self.given.iter().rev().find(|(setting, _)| setting.path() == path);
        last.map_or(Place::File, |(_, place)| place.clone())
    }

    fn finish(mut self, mistakes: &mut Mistakes) -> Option<NodeConfig> {
        for setting in SETTINGS.iter().filter(|setting| setting.needed) {
            if !self.given.iter().any(|(given, _)| given.path() == setting.path()) {
                let right = format!("needed: {}", setting.kind.wanted());
                mistakes.add(Place::File, &setting.path(), "missing", right);
            }
        }
        self.finish_addresses(mistakes);
        self.finish_times(mistakes);
        self.finish_tls(mistakes);
        mistakes.is_empty().then_some(self.config)
    }

    fn finish_addresses(&mut self, mistakes: &mut Mistakes) {
        let node = &mut self.config.node;
        node.cluster_advertise = self.cluster_advertise.unwrap_or(node.cluster_listen);
        node.api_advertise = self
            .api_advertise
            .clone()
            .unwrap_or_else(|| format!("http://{}", node.api_listen));
        let node = &self.config.node;
        if node.cluster_advertise.ip().is_unspecified() || node.cluster_advertise.port() == 0 {
            let key = if self.cluster_advertise.is_some() {
                "cluster_advertise"
            } else {
                "cluster_listen"
            };
            let wrong = format!("other nodes cannot connect to {}", node.cluster_advertise);
            let right = "set `node.cluster_advertise` to an address and port that they can reach";
            mistakes.add(
                self.place_of(&format!("node.{key}")),
                "node.cluster_advertise",
                wrong,
                right,
            );
        }
        if self.api_advertise.is_none() && (node.api_listen.ip().is_unspecified() || node.api_listen.port() == 0) {
            let wrong = format!("clients cannot be sent to {}", node.api_listen);
            let right = "set `node.api_advertise` to the URL that clients use";
            mistakes.add(self.place_of("node.api_listen"), "node.api_advertise", wrong, right);
        }
        let listens = [
            ("node.cluster_listen", node.cluster_listen),
            ("node.api_listen", node.api_listen),
            ("node.admin_listen", node.admin_listen),
        ];
        for (at, (path, address)) in listens.iter().enumerate() {
            let same = listens[..at]
                .iter()
                .find(|(_, other)| other == address && address.port() != 0);
            if let Some((other, _)) = same {
                let wrong = format!("{address} is taken by `{other}`");
                mistakes.add(self.place_of(path), path, wrong, "each needs a port of its own");
            }
        }
    }

    fn finish_times(&self, mistakes: &mut Mistakes) {
        let raft = &self.config.cluster.raft;
        if raft.election_min_ms < 2 * raft.heartbeat_ms {
            mistakes.add(
                self.place_of("cluster.election_min_ms"),
                "cluster.election_min_ms",
                format!(
                    "{} ms, with a heartbeat of {} ms",
                    raft.election_min_ms, raft.heartbeat_ms
                ),
                "at least two heartbeats must fit, better three",
            );
        }
        if raft.election_max_ms <= raft.election_min_ms {
            mistakes.add(
                self.place_of("cluster.election_max_ms"),
                "cluster.election_max_ms",
                format!(
                    "{} ms is not above `election_min_ms`, {} ms",
                    raft.election_max_ms, raft.election_min_ms
                ),
                "nodes draw between the two, so there must be room",
            );
        }
    }

    fn finish_tls(&mut self, mistakes: &mut Mistakes) {
        let tls = self.tls.clone();
        let files = [
            ("authority", &tls.authority),
            ("certificate", &tls.certificate),
            ("key", &tls.key),
        ];
        let any = files.iter().any(|(_, file)| file.is_some());
        if tls.insecure_plaintext {
            if any {
                mistakes.add(
                    self.place_of("tls.insecure_plaintext"),
                    "tls.insecure_plaintext",
                    "links cannot be both plaintext and secured by certificates",
                    "remove it, or the files",
                );
            }
            return;
        }
        for (key, _) in files.iter().filter(|(_, file)| file.is_none()) {
            let right = "make the files with `kaiwa cluster certs`, or write `insecure_plaintext = true` to do without";
            mistakes.add(Place::File, &format!("tls.{key}"), "missing", right);
        }
        if let TlsDraft {
            authority: Some(authority),
            certificate: Some(certificate),
            key: Some(key),
            ..
        } = tls
        {
            self.config.tls = Some(TlsFiles {
                authority,
                certificate,
                key,
            });
        }
    }
}

#[cfg(test)]
mod tests;
