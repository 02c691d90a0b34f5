//! Every setting, declared once: section, key, kind, default, doc, and where its value goes.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use cluster::config::RaftTimes;
use cluster::transport::NodeId;

use super::{AdminKey, AuthSettings, ClusterSettings, Draft, LimitSettings, LogFormat, LogSettings};
use super::{NodeConfig, NodeSettings};
use crate::toml_input::{self, Mistakes, Raw, Reader, Table};

/// One setting.
pub struct Setting {
    /// Its section.
    pub section: &'static str,
    /// Its key.
    pub key: &'static str,
    /// Its kind, and where its value goes.
    pub kind: Kind,
    /// Its default, as TOML; empty: none.
    pub default: &'static str,
    /// It must be written.
    pub needed: bool,
    /// What it is for.
    pub doc: &'static str,
}

/// Kind of a setting, with the place that its value goes to.
pub enum Kind {
    /// Whole number of a range.
    Integer(u64, u64, fn(&mut Draft<'_>, u64)),
    /// Truth.
    Flag(fn(&mut Draft<'_>, bool)),
    /// Any text but the empty one.
    Text(fn(&mut Draft<'_>, String)),
    /// One of these words.
    Choice(&'static [&'static str], fn(&mut Draft<'_>, &str)),
    /// Folder or file.
    Path(fn(&mut Draft<'_>, PathBuf)),
    /// Address to listen at.
    Listen(fn(&mut Draft<'_>, SocketAddr)),
    /// Address that others connect to: a host name is looked up, once, at the start.
    Advertise(fn(&mut Draft<'_>, SocketAddr)),
    /// `http://` or `https://`, without a path.
    Url(fn(&mut Draft<'_>, String)),
    /// Levels per module.
    Filter(fn(&mut Draft<'_>, String)),
    /// List of texts; in a variable, separated by commas.
    Texts(fn(&mut Draft<'_>, Vec<String>)),
    /// Keys of the admin API.
    AdminKeys(fn(&mut Draft<'_>, Vec<AdminKey>)),
}

/// Why a value was not taken.
pub struct Refusal {
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

/// Sections, in the order of the file.
pub const SECTIONS: &[(&str, &str)] = &[
    ("cluster", "What all nodes of a cluster must share."),
    ("node", "What is this node's own."),
    (
        "tls",
        "Mutual TLS on the links between nodes. `kaiwa cluster certs` makes the files.",
    ),
    (
        "auth",
        "Who may call the API. Keys of tenants' tokens are kept in the cluster, not here.",
    ),
    (
        "limits",
        "Limits of the edge. What is beyond them is refused and counted, never queued without bound.",
    ),
    (
        "log",
        "The log of the process. Message bodies and tokens are in no line of it.",
    ),
];

const WRITTEN_IN_FULL: &str = "write it in quotation marks";

/// All settings, in the order of the file.
pub const SETTINGS: &[Setting] = &[
    Setting {
        section: "cluster",
        key: "heartbeat_ms",
        kind: Kind::Integer(10, 10_000, |d, v| d.config.cluster.raft.heartbeat_ms = v),
        default: "100",
        needed: false,
        doc: "Time between a leader's heartbeats, in milliseconds.",
    },
    Setting {
        section: "cluster",
        key: "election_min_ms",
        kind: Kind::Integer(50, 60_000, |d, v| d.config.cluster.raft.election_min_ms = v),
        default: "300",
        needed: false,
        doc: "Lower end of the election timeout, in milliseconds; at least two heartbeats.",
    },
    Setting {
        section: "cluster",
        key: "election_max_ms",
        kind: Kind::Integer(51, 120_000, |d, v| d.config.cluster.raft.election_max_ms = v),
        default: "400",
        needed: false,
        doc: "Upper end of the election timeout, in milliseconds.",
    },
    Setting {
        section: "cluster",
        key: "snapshot_entries",
        kind: Kind::Integer(100, 100_000_000, |d, v| d.config.cluster.snapshot_entries = v),
        default: "20000",
        needed: false,
        doc: "A shard takes a snapshot after so many log entries since the last one.",
    },
    Setting {
        section: "cluster",
        key: "keep_entries",
        kind: Kind::Integer(0, 100_000_000, |d, v| d.config.cluster.keep_entries = v),
        default: "5000",
        needed: false,
        doc: "Log entries kept behind the snapshot before the newest, so that a follower that lags a little needs no snapshot.",
    },
    Setting {
        section: "cluster",
        key: "shard_count",
        kind: Kind::Integer(1, 1_024, |d, v| d.config.cluster.shard_count = v as u32),
        default: "4",
        needed: false,
        doc: "Shards beside the directory. Used once, when the cluster is made; it cannot be changed later.",
    },
    Setting {
        section: "node",
        key: "id",
        kind: Kind::Integer(1, i64::MAX as u64, |d, v| d.config.node.id = NodeId(v)),
        default: "",
        needed: true,
        doc: "The node's number, from 1, unique for ever within the cluster: that of a lost node is never used again.",
    },
    Setting {
        section: "node",
        key: "data_dir",
        kind: Kind::Path(|d, v| d.config.node.data_dir = v),
        default: "",
        needed: true,
        doc: "Folder for logs, snapshots and rows. It belongs to this node alone.",
    },
    Setting {
        section: "node",
        key: "cluster_listen",
        kind: Kind::Listen(|d, v| d.config.node.cluster_listen = v),
        default: "\"127.0.0.1:7000\"",
        needed: false,
        doc: "Where the links of other nodes are accepted.",
    },
    Setting {
        section: "node",
        key: "cluster_advertise",
        kind: Kind::Advertise(|d, v| d.cluster_advertise = Some(v)),
        default: "",
        needed: false,
        doc: "What other nodes connect to; `cluster_listen` if not set. A host name is looked up once, at the start.",
    },
    Setting {
        section: "node",
        key: "api_listen",
        kind: Kind::Listen(|d, v| d.config.node.api_listen = v),
        default: "\"127.0.0.1:8000\"",
        needed: false,
        doc: "Where clients are accepted: REST, WebSocket and the pages.",
    },
    Setting {
        section: "node",
        key: "api_advertise",
        kind: Kind::Url(|d, v| d.api_advertise = Some(v)),
        default: "",
        needed: false,
        doc: "URL of this node's API as clients see it, told to them and to other nodes; `http://` and `api_listen` if not set.",
    },
    Setting {
        section: "node",
        key: "admin_listen",
        kind: Kind::Listen(|d, v| d.config.node.admin_listen = v),
        default: "\"127.0.0.1:9000\"",
        needed: false,
        doc: "Where administration is accepted: admin REST, `/metrics`, `/livez`, `/readyz`. Keep it off public networks.",
    },
    Setting {
        section: "node",
        key: "drain_s",
        kind: Kind::Integer(0, 3_600, |d, v| d.config.node.drain_s = v),
        default: "20",
        needed: false,
        doc: "Longest time, in seconds, in which a stopping node hands over leaderships and sends its clients elsewhere.",
    },
    Setting {
        section: "tls",
        key: "authority",
        kind: Kind::Path(|d, v| d.tls.authority = Some(v)),
        default: "",
        needed: false,
        doc: "The cluster's authority (PEM).",
    },
    Setting {
        section: "tls",
        key: "certificate",
        kind: Kind::Path(|d, v| d.tls.certificate = Some(v)),
        default: "",
        needed: false,
        doc: "This node's certificate (PEM); its name is `node-<id>`.",
    },
    Setting {
        section: "tls",
        key: "key",
        kind: Kind::Path(|d, v| d.tls.key = Some(v)),
        default: "",
        needed: false,
        doc: "The certificate's key (PEM).",
    },
    Setting {
        section: "tls",
        key: "insecure_plaintext",
        kind: Kind::Flag(|d, v| d.tls.insecure_plaintext = v),
        default: "false",
        needed: false,
        doc: "Runs the links without TLS: whoever reaches the port can read and forge everything. For loopback only.",
    },
    Setting {
        section: "auth",
        key: "admin_keys",
        kind: Kind::AdminKeys(|d, v| d.config.auth.admin_keys = v),
        default: "[]",
        needed: false,
        doc: "Keys of the admin API: `[{ name = \"ops\", key_env = \"KAIWA_OPS_KEY\" }]`, or `key` with the secret itself \
              (16 bytes or more). Without one, the admin API refuses every call.",
    },
    Setting {
        section: "auth",
        key: "audience",
        kind: Kind::Text(|d, v| d.config.auth.audience = v),
        default: "\"kaiwa\"",
        needed: false,
        doc: "The `aud` that every token must name.",
    },
    Setting {
        section: "auth",
        key: "issuers",
        kind: Kind::Texts(|d, v| d.config.auth.issuers = v),
        default: "[]",
        needed: false,
        doc: "The `iss` that tokens may name. Empty: `iss` is not looked at.",
    },
    Setting {
        section: "auth",
        key: "leeway_s",
        kind: Kind::Integer(0, 300, |d, v| d.config.auth.leeway_s = v),
        default: "5",
        needed: false,
        doc: "Leeway on a token's `exp` and `nbf` for clocks that differ, in seconds.",
    },
    Setting {
        section: "auth",
        key: "allowed_origins",
        kind: Kind::Texts(|d, v| d.config.auth.allowed_origins = v),
        default: "[]",
        needed: false,
        doc: "Origins of pages that may open a WebSocket, beside the node's own (`[\"https://shop.example\"]`); `*` for any.",
    },
    Setting {
        section: "limits",
        key: "connections",
        kind: Kind::Integer(1, 10_000_000, |d, v| d.config.limits.connections = v),
        default: "100000",
        needed: false,
        doc: "Client connections of this node in all.",
    },
    Setting {
        section: "limits",
        key: "connections_per_address",
        kind: Kind::Integer(1, 10_000_000, |d, v| d.config.limits.connections_per_address = v),
        default: "10000",
        needed: false,
        doc: "Client connections from one IP address. A proxy in front is one address.",
    },
    Setting {
        section: "limits",
        key: "connections_per_principal",
        kind: Kind::Integer(1, 10_000, |d, v| d.config.limits.connections_per_principal = v),
        default: "16",
        needed: false,
        doc: "WebSocket connections of one customer or agent to this node.",
    },
    Setting {
        section: "limits",
        key: "rate_per_principal",
        kind: Kind::Integer(1, 1_000_000, |d, v| d.config.limits.rate_per_principal = v),
        default: "50",
        needed: false,
        doc: "Requests and commands of one customer or agent per second.",
    },
    Setting {
        section: "limits",
        key: "burst_per_principal",
        kind: Kind::Integer(1, 1_000_000, |d, v| d.config.limits.burst_per_principal = v),
        default: "200",
        needed: false,
        doc: "How many of them may come at once.",
    },
    Setting {
        section: "limits",
        key: "handshake_ms",
        kind: Kind::Integer(100, 600_000, |d, v| d.config.limits.handshake_ms = v),
        default: "10000",
        needed: false,
        doc: "Deadline for a client's request head and WebSocket hello, in milliseconds.",
    },
    Setting {
        section: "limits",
        key: "idle_ms",
        kind: Kind::Integer(1_000, 3_600_000, |d, v| d.config.limits.idle_ms = v),
        default: "60000",
        needed: false,
        doc: "A WebSocket that says nothing for so long, not even pong, is closed, in milliseconds. Pings go at a third of it.",
    },
    Setting {
        section: "limits",
        key: "write_ms",
        kind: Kind::Integer(100, 600_000, |d, v| d.config.limits.write_ms = v),
        default: "10000",
        needed: false,
        doc: "Deadline for one write to a client's socket, in milliseconds; then it is closed as a slow consumer.",
    },
    Setting {
        section: "limits",
        key: "outbound_bytes",
        kind: Kind::Integer(65_536, 1_073_741_824, |d, v| d.config.limits.outbound_bytes = v),
        default: "1048576",
        needed: false,
        doc: "Bytes that may wait for one client's socket; beyond, it is closed as a slow consumer and resumes by cursor.",
    },
    Setting {
        section: "log",
        key: "filter",
        kind: Kind::Filter(|d, v| d.config.log.filter = v),
        default: "\"info,openraft=warn,chunked_wal=warn,raft_log=warn\"",
        needed: false,
        doc: "Levels, for all and per module: `info,node::gateway=debug`. Levels: off, error, warn, info, debug, trace.",
    },
    Setting {
        section: "log",
        key: "format",
        kind: Kind::Choice(&["text", "json"], |d, v| {
            d.config.log.format = if v == "json" { LogFormat::Json } else { LogFormat::Text }
        }),
        default: "\"text\"",
        needed: false,
        doc: "`text` for people, `json` for machines; one line each.",
    },
];

/// What a draft starts from, before the defaults of the table are put into it.
pub fn blank() -> NodeConfig {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    NodeConfig {
        cluster: ClusterSettings {
            raft: RaftTimes::default(),
            snapshot_entries: 0,
            keep_entries: 0,
            shard_count: 0,
        },
        node: NodeSettings {
            id: NodeId(0),
            data_dir: PathBuf::new(),
            cluster_listen: nowhere,
            cluster_advertise: nowhere,
            api_listen: nowhere,
            api_advertise: String::new(),
            admin_listen: nowhere,
            drain_s: 0,
        },
        tls: None,
        auth: AuthSettings {
            admin_keys: Vec::new(),
            audience: String::new(),
            issuers: Vec::new(),
            leeway_s: 0,
            allowed_origins: Vec::new(),
        },
        limits: LimitSettings {
            connections: 0,
            connections_per_address: 0,
            connections_per_principal: 0,
            rate_per_principal: 0,
            burst_per_principal: 0,
            handshake_ms: 0,
            idle_ms: 0,
            write_ms: 0,
            outbound_bytes: 0,
        },
        log: LogSettings {
            filter: String::new(),
            format: LogFormat::Text,
        },
    }
}

/// The setting of that name.
pub fn find(section: &str, key: &str) -> Option<&'static Setting> {
    SETTINGS
        .iter()
        .find(|setting| setting.section == section && setting.key == key)
}

/// What to say of an unknown key: the nearest of its section, or of another section.
pub fn suggest(section: &str, key: &str) -> String {
    if !SECTIONS.iter().any(|(name, _)| *name == section) {
        return toml_input::suggestion(section, SECTIONS.iter().map(|(name, _)| *name));
    }
    if let Some(elsewhere) = SETTINGS.iter().find(|setting| setting.key == key) {
        return format!("did you mean `{}`?", elsewhere.path());
    }
    toml_input::suggestion(
        key,
        SETTINGS
            .iter()
            .filter(|s| s.section == section)
            .map(|setting| setting.key),
    )
}

impl Setting {
    /// `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The variable that overrides it.
    pub fn variable(&self) -> String {
        format!("KAIWA_{}__{}", self.section.to_uppercase(), self.key.to_uppercase())
    }
}

impl Kind {
    /// What a right value is.
    pub fn wanted(&self) -> String {
        match self {
            Self::Integer(least, most, _) if *most == i64::MAX as u64 => format!("a whole number from {least}"),
            Self::Integer(least, most, _) => format!("a whole number from {least} to {most}"),
            Self::Flag(_) => "`true` or `false`".to_owned(),
            Self::Text(_) => "a text".to_owned(),
            Self::Choice(words, _) => format!("one of \"{}\"", words.join("\", \"")),
            Self::Path(_) => "a path".to_owned(),
            Self::Listen(_) => "an IP address and a port, \"127.0.0.1:7000\"".to_owned(),
            Self::Advertise(_) => "a host and a port, \"10.0.0.5:7000\"".to_owned(),
            Self::Url(_) => "a URL without a path, \"https://chat.example\"".to_owned(),
            Self::Filter(_) => "levels, \"info,node::gateway=debug\"".to_owned(),
            Self::Texts(_) => "a list of texts, [\"…\"]".to_owned(),
            Self::AdminKeys(_) => "a list, [{ name = \"ops\", key_env = \"KAIWA_OPS_KEY\" }]".to_owned(),
        }
    }

    /// The value that a variable's text stands for.
    pub fn from_variable(&self, text: &str) -> Raw {
        let as_text = || Raw::Text(text.to_owned());
        match self {
            Self::Integer(..) => text.trim().parse().map_or_else(|_| as_text(), Raw::Integer),
            Self::Flag(_) => text.trim().parse().map_or_else(|_| as_text(), Raw::Flag),
            Self::AdminKeys(_) => toml_input::parse_value(text).unwrap_or_else(as_text),
            Self::Texts(_) => {
                let texts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Raw::List(
                    texts
                        .map(|t| toml_input::Item {
                            line: 0,
                            value: Raw::Text(t.to_owned()),
                        })
                        .collect(),
                )
            }
            _ => as_text(),
        }
    }

    /// Puts a value where it goes, or says why not.
    pub fn read(&self, value: &Raw, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        match (self, value) {
            (Self::Integer(least, most, set), Raw::Integer(number)) => {
                let number = u64::try_from(*number)
                    .ok()
                    .filter(|number| (least..=most).contains(&number));
                set(draft, number.ok_or_else(|| self.refuse(value))?);
            }
            (Self::Flag(set), Raw::Flag(flag)) => set(draft, *flag),
            (Self::Texts(set), Raw::List(_)) => set(draft, texts(value).ok_or_else(|| self.refuse(value))?),
            (Self::AdminKeys(set), Raw::List(_)) => {
                let keys = admin_keys(value, draft.environment)?;
                set(draft, keys);
            }
            (Self::AdminKeys(_), _) => {
                return Err(Refusal {
                    wrong: format!("{} does not fit", value.kind()),
                    right: self.right(value),
                });
            }
            (_, Raw::Text(text)) if !text.is_empty() => self.read_text(text, draft)?,
            _ => return Err(self.refuse(value)),
        }
        Ok(())
    }

    fn read_text(&self, text: &str, draft: &mut Draft<'_>) -> Result<(), Refusal> {
        let refuse = || self.refuse(&Raw::Text(text.to_owned()));
        match self {
            Self::Text(set) => set(draft, text.to_owned()),
            Self::Path(set) => set(draft, PathBuf::from(text)),
            Self::Choice(words, set) => {
                let word = words.iter().find(|word| **word == text).ok_or_else(refuse)?;
                set(draft, word);
            }
            Self::Listen(set) => set(draft, text.parse().map_err(|_| refuse())?),
            Self::Advertise(set) => {
                let found = match text.parse() {
                    Ok(address) => Some(address),
                    Err(_) => text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()),
                };
                set(draft, found.ok_or_else(refuse)?);
            }
            Self::Url(set) => {
                let url = text.trim_end_matches('/');
                let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
                let fits = rest.is_some_and(|r| !r.is_empty() && !r.contains(['/', '?', '#', ' ', '@']));
                set(draft, fits.then(|| url.to_owned()).ok_or_else(refuse)?);
            }
            Self::Filter(set) => {
                crate::logging::check_filter(text).map_err(|reason| Refusal {
                    wrong: format!("{:?} is no filter: {reason}", text),
                    right: self.right(&Raw::Text(text.to_owned())),
                })?;
                set(draft, text.to_owned());
            }
            Self::Integer(..) | Self::Flag(_) | Self::Texts(_) | Self::AdminKeys(_) => return Err(refuse()),
        }
        Ok(())
    }

    fn refuse(&self, value: &Raw) -> Refusal {
        Refusal {
            wrong: format!("{} does not fit", value.describe()),
            right: self.right(value),
        }
    }

    fn right(&self, value: &Raw) -> String {
        match (self, value) {
            (Self::Choice(words, _), Raw::Text(text)) => match toml_input::nearest(text, words.iter().copied()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("wanted is {}", self.wanted()),
            },
            _ => format!("wanted is {}", self.wanted()),
        }
    }
}

fn texts(value: &Raw) -> Option<Vec<String>> {
    let Raw::List(list) = value else { return None };
    let text = |item: &toml_input::Item| match &item.value {
        Raw::Text(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    list.iter().map(text).collect()
}

/// Least length of an admin key, in bytes.
pub const ADMIN_KEY_MIN_BYTES: usize = 16;

fn admin_keys(value: &Raw, environment: &[(String, String)]) -> Result<Vec<AdminKey>, Refusal> {
    let holder: Table = [(
        "admin_keys".to_owned(),
        (
            0,
            toml_input::Item {
                line: 0,
                value: value.clone(),
            },
        ),
    )]
    .into();
    let mut mistakes = Mistakes::default();
    let mut outer = Reader::new("", 0, &holder);
    let mut keys: Vec<AdminKey> = Vec::new();
    for mut reader in outer.tables("admin_keys", &mut mistakes) {
        if let Some(key) = admin_key(&mut reader, environment, &mut mistakes) {
            if keys.iter().any(|other| other.name == key.name) {
                reader.wrong(
                    "name",
                    &mut mistakes,
                    format!("{:?} is there twice", key.name),
                    "names must differ",
                );
            }
            keys.push(key);
        }
        reader.finish(&mut mistakes);
    }
    let found = mistakes.into_sorted();
    if found.is_empty() {
        return Ok(keys);
    }
    let words = |m: &toml_input::Mistake| match m.right.as_str() {
        "" => format!("`{}`: {}", m.path, m.wrong),
        right => format!("`{}`: {} ({right})", m.path, m.wrong),
    };
    let wrong = found.iter().map(words).collect::<Vec<_>>().join("; ");
    Err(Refusal {
        wrong,
        right: "each is { name = \"…\", key = \"…\" } or { name = \"…\", key_env = \"…\" }".to_owned(),
    })
}

fn admin_key(reader: &mut Reader<'_>, environment: &[(String, String)], mistakes: &mut Mistakes) -> Option<AdminKey> {
    let name = reader.needed_text("name", mistakes);
    // Whatever is wrong with a key, it is not repeated in the error.
    let mut secret = |key: &'static str, mistakes: &mut Mistakes| match &reader.item(key)?.value {
        Raw::Text(text) => Some(text.clone()),
        other => {
            reader.wrong(key, mistakes, format!("{} is no text", other.kind()), WRITTEN_IN_FULL);
            None
        }
    };
    let (key, variable) = (secret("key", mistakes), secret("key_env", mistakes));
    let key = match (key, variable) {
        (Some(key), None) => key,
        (None, Some(variable)) => match environment.iter().find(|(name, _)| *name == variable) {
            Some((_, value)) => value.clone(),
            None => {
                reader.wrong(
                    "key_env",
                    mistakes,
                    format!("the variable {variable} is not set"),
                    "set it",
                );
                return None;
            }
        },
        _ => {
            reader.wrong(
                "key",
                mistakes,
                "a key is given by either `key` or `key_env`",
                "write one of them",
            );
            return None;
        }
    };
    if key.len() < ADMIN_KEY_MIN_BYTES {
        let right = format!("at least {ADMIN_KEY_MIN_BYTES}, drawn at random");
        reader.wrong("key", mistakes, format!("{} bytes are too few", key.len()), right);
        return None;
    }
    Some(AdminKey {
        name: name?.to_owned(),
        key,
    })
}
