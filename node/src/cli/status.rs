//! `kaiwa cluster status`: one node's view, or several nodes' views side by side.

use std::collections::BTreeMap;

use clap::Args;
use reqwest::Method;

use super::admin::{Admin, AdminArgs, KeyArg, read};
use super::{CliError, say, say_json};
use crate::api::admin::cluster::{ShardBody, StatusBody};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Admin address of a node; several show their replicas side by side and compare the digests
    #[arg(
        long,
        value_name = "URL",
        env = "KAIWA_ADMIN_URL",
        default_value = "http://127.0.0.1:9000",
        value_delimiter = ','
    )]
    admin: Vec<String>,
    #[command(flatten)]
    key: KeyArg,
    /// Prints JSON: what each node answered, as a list
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &StatusArgs) -> Result<(), CliError> {
    let mut answers = Vec::new();
    let mut silent = Vec::new();
    for url in &args.admin {
        let admin = Admin::new(&AdminArgs {
            admin: url.clone(),
            key: args.key.clone(),
        })?;
        match admin.call(Method::GET, "/v1/admin/cluster/status", None).await {
            Ok(answer) => answers.push(answer),
            // One of several that is down is what the table is for.
            Err(error @ CliError::Unreachable { .. }) if args.admin.len() > 1 => silent.push(error),
            Err(error) => return Err(error),
        }
    }
    if answers.is_empty() {
        return Err(silent
            .into_iter()
            .next()
            .unwrap_or_else(|| CliError::Usage("--admin is empty".to_owned())));
    }
    let bodies: Vec<StatusBody> = answers.iter().cloned().map(read).collect::<Result<_, _>>()?;
    if args.json {
        say_json(&answers)?;
    } else {
        say(&render(&bodies));
        silent.iter().for_each(|error| say(&format!("{error}")));
    }
    match differing(&bodies) {
        Some(words) => Err(CliError::Failed(anyhow::anyhow!(words))),
        None => Ok(()),
    }
}

/// The tables.
pub(super) fn render(bodies: &[StatusBody]) -> String {
    let first = &bodies[0];
    let cluster = first
        .cluster
        .as_deref()
        .unwrap_or("none yet: `kaiwa cluster init` makes one");
    let mut text = format!("cluster  {cluster}\n\n");
    text.push_str(&table(
        &["NODE", "CLUSTER ADDRESS", "PUBLIC ADDRESS", "STATE"],
        &node_rows(bodies),
    ));
    let mut shards: Vec<(u64, &ShardBody)> = bodies
        .iter()
        .flat_map(|body| body.shards.iter().map(|shard| (body.node, shard)))
        .collect();
    if shards.is_empty() {
        return text;
    }
    shards.sort_by_key(|(node, shard)| (shard.shard, *node));
    let heads = [
        "SHARD",
        "ON",
        "ROLE",
        "LEADER",
        "TERM",
        "VOTERS",
        "LEARNERS",
        "LAST",
        "COMMITTED",
        "APPLIED",
        "SNAPSHOT",
        "PURGED",
        "WAITING",
        "LAG",
        "DIGEST",
    ];
    let rows: Vec<Vec<String>> = shards.into_iter().map(|(node, shard)| shard_row(node, shard)).collect();
    text.push('\n');
    text.push_str(&table(&heads, &rows));
    if bodies.len() > 1 && differing(bodies).is_none() {
        text.push_str("\nreplicas with digests of the same index agree\n");
    }
    text.trim_end().to_owned()
}

fn node_rows(bodies: &[StatusBody]) -> Vec<Vec<String>> {
    let mut nodes: BTreeMap<u64, (String, String, &str)> = BTreeMap::new();
    for body in bodies {
        for (node, address) in &body.nodes {
            let Ok(node) = node.parse::<u64>() else { continue };
            let public = body
                .public
                .get(&node.to_string())
                .cloned()
                .unwrap_or_else(|| "–".to_owned());
            let state = if body.draining.contains(&node) { "draining" } else { "" };
            nodes.insert(node, (address.clone(), public, state));
        }
    }
    let asked: Vec<u64> = bodies.iter().map(|body| body.node).collect();
    let row = |(node, (address, public, state)): (u64, (String, String, &str))| {
        let answered = if asked.contains(&node) { "answered" } else { "" };
        let state = [answered, state]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
        vec![node.to_string(), address, public, state]
    };
    nodes.into_iter().map(row).collect()
}

fn shard_row(node: u64, shard: &ShardBody) -> Vec<String> {
    let list = |numbers: &[u64]| match numbers {
        [] => "–".to_owned(),
        numbers => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(","),
    };
    let lag = shard
        .lag
        .iter()
        .map(|(node, lag)| format!("{node}:{lag}"))
        .collect::<Vec<_>>()
        .join(" ");
    vec![
        if shard.shard == 0 {
            "0 directory".to_owned()
        } else {
            shard.shard.to_string()
        },
        node.to_string(),
        shard.role.clone(),
        shard
            .leader
            .map_or_else(|| "NONE".to_owned(), |leader| leader.to_string()),
        shard.term.to_string(),
        list(&shard.voters),
        list(&shard.learners),
        shard.last_index.to_string(),
        shard.commit_index.to_string(),
        shard.applied_index.to_string(),
        shard.snapshot_index.to_string(),
        shard.purged_index.to_string(),
        shard.pending.to_string(),
        if lag.is_empty() { "–".to_owned() } else { lag },
        format!("{}@{}", shard.digest, shard.digest_index),
    ]
}

/// Says which replicas have different digests at the same index.
pub(super) fn differing(bodies: &[StatusBody]) -> Option<String> {
    let mut seen: BTreeMap<(u32, u64), (u64, &str)> = BTreeMap::new();
    for body in bodies {
        for shard in &body.shards {
            let (node, digest) = *seen
                .entry((shard.shard, shard.digest_index))
                .or_insert((body.node, shard.digest.as_str()));
            if digest != shard.digest {
                return Some(format!(
                    "REPLICAS DIFFER: shard {} at index {}: node {node} has {digest}, node {} has {}",
                    shard.shard, shard.digest_index, body.node, shard.digest
                ));
            }
        }
    }
    None
}

pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = line(heads.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}
