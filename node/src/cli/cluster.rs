//! `kaiwa cluster …`.

use std::net::ToSocketAddrs;
use std::path::PathBuf;

use ::cluster::transport::NodeId;
use ::cluster::transport::certificates::{CertificateError, issue_node, make_authority};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::admin::{Admin, AdminArgs};
use super::{CliError, block_on, say, status};

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Makes a cluster of nodes that run with empty disks; once
    Init(InitArgs),
    /// Shows nodes, shards, leaders, terms, indexes, lag and digests
    Status(status::StatusArgs),
    /// Makes a node, which runs with an empty disk, a voter of every shard
    AddNode {
        /// Its number
        id: u64,
        /// Where the other nodes reach it: host:port
        address: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Takes a node out of every shard
    RemoveNode {
        /// Its number
        id: u64,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Hands a shard's leadership to another node
    TransferLeader {
        /// The shard; 0 is the directory
        shard: u32,
        /// A voter of it
        node: u64,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Drains the node that is asked: no leaderships, no clients
    Drain {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Makes an authority (if there is none) and certificates for nodes
    Certs(CertsArgs),
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// A node and where the others reach it, `1=10.0.0.1:7000`; once for each
    #[arg(long = "node", value_name = "ID=HOST:PORT", required = true)]
    nodes: Vec<String>,
    /// Shards beside the directory; cannot be changed later
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    shards: u32,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(super) struct CertsArgs {
    /// Folder for the files; made if missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// A node, with names and addresses for its certificate if wanted: `1` or `1=10.0.0.1,chat-1.example`; once for each
    #[arg(long = "node", value_name = "ID[=NAME,…]", required = true)]
    nodes: Vec<String>,
}

pub(super) fn run(command: ClusterCommand) -> Result<(), CliError> {
    match command {
        ClusterCommand::Certs(args) => certs(&args),
        ClusterCommand::Status(args) => block_on(status::run(&args))?,
        other => block_on(change(other))?,
    }
}

async fn change(command: ClusterCommand) -> Result<(), CliError> {
    match command {
        ClusterCommand::Init(args) => init(&args).await,
        ClusterCommand::AddNode { id, address, admin } => {
            let body = json!({ "id": id, "address": resolved(&address)? });
            Admin::new(&admin)?
                .call(Method::POST, "/v1/admin/cluster/nodes", Some(&body))
                .await?;
            say(&format!("node {id} is a voter of every shard"));
            Ok(())
        }
        ClusterCommand::RemoveNode { id, admin } => {
            let path = format!("/v1/admin/cluster/nodes/{id}");
            Admin::new(&admin)?.call(Method::DELETE, &path, None).await?;
            say(&format!(
                "node {id} is in no shard any more; stop it, and never use its number again"
            ));
            Ok(())
        }
        ClusterCommand::TransferLeader { shard, node, admin } => {
            let path = format!("/v1/admin/cluster/shards/{shard}/leader");
            Admin::new(&admin)?
                .call(Method::POST, &path, Some(&json!({ "node": node })))
                .await?;
            say(&format!("node {node} leads shard {shard}"));
            Ok(())
        }
        ClusterCommand::Drain { admin } => {
            let admin = Admin::new(&admin)?;
            admin
                .call(Method::POST, "/v1/admin/node/drain", Some(&json!({})))
                .await?;
            say(&format!("the node at {} drains", admin.url()));
            Ok(())
        }
        ClusterCommand::Status(args) => status::run(&args).await,
        ClusterCommand::Certs(args) => certs(&args),
    }
}

async fn init(args: &InitArgs) -> Result<(), CliError> {
    let mut nodes = Vec::new();
    for node in &args.nodes {
        let pair = node
            .split_once('=')
            .and_then(|(id, address)| Some((id.parse::<u64>().ok()?, address)));
        let (id, address) =
            pair.ok_or_else(|| CliError::Usage(format!("`{node}` is no node: write 1=10.0.0.1:7000")))?;
        nodes.push(json!({ "id": id, "address": resolved(address)? }));
    }
    let body = json!({ "nodes": nodes, "shards": args.shards });
    let admin = Admin::new(&args.admin)?;
    let made = admin.call(Method::POST, "/v1/admin/cluster/init", Some(&body)).await?;
    let cluster = made["cluster"].as_str().unwrap_or("?");
    say(&format!(
        "cluster {cluster}: {} nodes, {} shards and the directory",
        nodes.len(),
        args.shards
    ));
    if nodes.len() < 3 {
        say("note: fewer than three nodes survive the loss of none; good for development");
    }
    Ok(())
}

/// An address that others can connect to; host names are looked up here.
fn resolved(address: &str) -> Result<String, CliError> {
    let found = address
        .to_socket_addrs()
        .map_err(|error| CliError::Usage(format!("`{address}` is no address, host:port: {error}")))?;
    let mut found: Vec<_> = found.collect();
    // IPv4 first: that is what most clusters listen at.
    found.sort_by_key(std::net::SocketAddr::is_ipv6);
    let first = found
        .first()
        .ok_or_else(|| CliError::Usage(format!("`{address}` has no address")))?;
    Ok(first.to_string())
}

fn certs(args: &CertsArgs) -> Result<(), CliError> {
    let failed = |error: CertificateError| CliError::Failed(error.into());
    if args.dir.join("ca.pem").exists() {
        say(&format!(
            "{}: the authority that is there",
            args.dir.join("ca.pem").display()
        ));
    } else {
        make_authority(&args.dir).map_err(failed)?;
        say(&format!(
            "{}: a new authority; keep ca.key away from the nodes",
            args.dir.join("ca.pem").display()
        ));
    }
    for node in &args.nodes {
        let (id, names) = node.split_once('=').unwrap_or((node, ""));
        let id = id.parse().ok().filter(|id| *id > 0);
        let id = id.ok_or_else(|| CliError::Usage(format!("`{node}` is no node: write 1, or 1=name,name")))?;
        let names: Vec<String> = names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let files = issue_node(&args.dir, NodeId(id), &names).map_err(failed)?;
        say(&format!("{}, {}", files.certificate.display(), files.key.display()));
    }
    Ok(())
}
