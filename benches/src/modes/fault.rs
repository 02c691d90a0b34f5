//! `kaiwa-bench fault`: the node that leads every shard is killed, paused or restarted under a steady load, again and again: how long
//! until each shard acknowledges anew, how deep the dip is, when it is over, and whether anything was lost.

mod dip;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use node::local::LocalCluster;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::json;

use super::page::lines;
use super::pairs::{self, Crowd, People, Script, Talk};
use super::{Against, Finding, Output, Setting, Watch, row};
use crate::machine::load_average;
use crate::run::account::Side;
use crate::run::sampler::Sample;
use crate::run::stage::{SHARDS, Stage};
use crate::run::{self, OwnArgs, record::Summary};
use dip::Dip;

/// To make one node the leader of all shards, or everybody go back to their nodes.
const ARRANGED_WITHIN: Duration = Duration::from_secs(60);
/// A node that was away is back when it lacks at most so many entries of each log.
const LAG_MAX: u64 = 64;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The load flows again when no more than this is without an answer, in seconds of the rate, for so many looks in a row.
const FLOWING_S: f64 = 0.1;
const FLOWING_LOOKS: u32 = 20;

/// What happens to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// SIGKILL; started again after --down
    Kill,
    /// SIGSTOP; SIGCONT after --down
    Pause,
    /// It is asked to stop, drains, and is started again at once
    Restart,
}

/// What to do to whom.
#[derive(Debug, Args)]
pub struct FaultArgs {
    /// What happens to the leader
    #[arg(long, value_enum, default_value_t = Kind::Kill)]
    kind: Kind,
    /// How often
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    times: u32,
    /// Messages per second, both ways together, over all shards
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Conversations; eight share an agent
    #[arg(long, default_value_t = 240)]
    conversations: usize,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Seed of the schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Undisturbed time before each fault: what normal is
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = run::time)]
    calm: u64,
    /// How long a killed or paused node is away
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = run::time)]
    down: u64,
    /// Fails if the median time to the next acknowledgement on the slowest shard is longer
    #[arg(long, value_name = "MS")]
    ack_within_ms: Option<f64>,
    /// Fails if the median time until p99 is normal again is longer
    #[arg(long, value_name = "MS")]
    normal_within_ms: Option<f64>,
    #[command(flatten)]
    own: OwnArgs,
    #[command(flatten)]
    output: Output,
}

/// One fault, as it was done; times from the start of the talk.
struct Strike {
    node: u64,
    calm_from_us: u64,
    /// Just before it.
    at_us: u64,
    /// What was sent from here on, the node did not acknowledge as leader.
    done_us: u64,
    /// The node was back and had caught up.
    back_us: u64,
    /// The next begins to be prepared.
    until_us: u64,
    /// Shards that the node led.
    led: Vec<u32>,
    /// Customers and agents who were connected to it.
    customers_hit: Vec<bool>,
    agents_hit: Vec<bool>,
    /// The machine in the calm before.
    sample: Sample,
}

/// Breaks things and tells.
pub fn run(args: &FaultArgs) -> Result<ExitCode> {
    ensure!(args.conversations > 0, "there must be a conversation");
    ensure!(
        args.own.nodes >= 3,
        "--nodes: fewer than three survive the loss of none"
    );
    let finding = run::runtime()?.block_on(make(args))?;
    args.output.end(&finding)
}

async fn make(args: &FaultArgs) -> Result<Finding> {
    let script = Script::new(args.rate, args.seed, args.bytes, &[Side::Customer, Side::Agent])?;
    let temporary = tempfile::tempdir()?;
    let place = args.own.place(temporary.path())?;
    let load_before = load_average();
    let about = "Standing conversations over all shards; their leader fails";
    let scenario = pairs::scenario(&pairs::Layout {
        name: "fault",
        about,
        nodes: args.own.nodes as usize,
        tenants: SHARDS as usize,
        conversations: args.conversations,
        supervisors: 0,
    })?;
    let nonce: u32 = rand::random();
    let mut stage = Stage::set(&place, &scenario, nonce).await?;
    args.output.introduce(&stage)?;
    let local = stage.local.as_mut().context("the cluster is not its own")?;
    let mut shards = Vec::new();
    for tenant in &stage.tenants {
        shards.push(shard_of(local, &tenant.id.to_string()).await?);
    }
    let crowd = Crowd::come(&stage, &scenario, nonce).await?;
    let people = std::sync::Arc::clone(&crowd.people);
    args.output.say(&format!(
        "{} conversations, {} agents, {} messages/s\n",
        people.pairs.len(),
        people.agents.len(),
        args.rate
    ))?;
    let talk = Talk::begin(crowd, script);
    let mut strikes = Vec::new();
    let local = stage.local.as_mut().context("the cluster is not its own")?;
    for number in 0..args.times {
        let node = u64::from(number) % args.own.nodes + 1;
        let strike = strike(args, local, &people, &talk, node)
            .await
            .with_context(|| format!("fault {} of node {node}", number + 1))?;
        args.output.say(&format!(
            "fault {} of {}: node {node}, back after {:.1} s\n",
            number + 1,
            args.times,
            (strike.back_us - strike.at_us) as f64 / 1e6
        ))?;
        strikes.push(strike);
    }
    let talked = talk.end().await?;
    let mut against = Against::default();
    talked.weigh(&mut against);
    let missing = pairs::compare(&stage, &people, &talked.accounts).await?;
    against.fault("not in the transcript", missing);
    people.leave();
    let shard_of_pair: Vec<u32> = people.pairs.iter().map(|pair| shards[pair.tenant]).collect();
    let dips: Vec<Dip> = strikes
        .iter()
        .map(|strike| dip::of(strike, &talked.said, &shard_of_pair))
        .collect();
    let medians = dip::medians(&dips);
    for (name, limit) in [
        ("next_ack_ms", args.ack_within_ms),
        ("normal_ms", args.normal_within_ms),
    ] {
        if let (Some(limit), Some(Some(found))) = (limit, medians.get(name))
            && *found > limit
        {
            against.fails(format!("the median of {name} is {found:.0}, above {limit:.0}"));
        }
    }
    let calm: Vec<&Sample> = strikes.iter().map(|strike| &strike.sample).collect();
    against.machine(&calm);
    let text = text(args, &dips, &medians, &talked);
    let figures = json!({
        "kind": args.kind,
        "rate": args.rate,
        "conversations": people.pairs.len(),
        "messages": talked.said.len(),
        "refused": talked.refused,
        "connections_lost": talked.connections_lost,
        "owners_lost": talked.owners_lost,
        "schedule_lag": Summary::from(&talked.lag),
        "faults": dips,
        "medians": medians,
    });
    let setting = Setting::of(&stage, &place, load_before);
    let mut finding = Finding::new("fault", setting, against, figures, text);
    let (rates, p99s): (Vec<_>, Vec<_>) = strikes.iter().map(|strike| dip::curves(strike, &talked.said)).unzip();
    finding.pictures = vec![
        lines(
            "Acknowledgements per second, all faults from the moment of each",
            "1/s",
            &rates,
        )?,
        lines("p99 by the time that messages were due", "ms", &p99s)?,
    ];
    stage.end().await?;
    Ok(finding)
}

async fn shard_of(local: &LocalCluster, tenant: &str) -> Result<u32> {
    let place = local
        .admin(1, Method::GET, &format!("/v1/admin/tenants/{tenant}"), None)
        .await?;
    place["shard"]
        .as_u64()
        .map(|shard| shard as u32)
        .context("a tenant has no shard")
}

/// The shards of tenants with their leaders, as a node sees them.
async fn leaders(local: &LocalCluster, asked: u64) -> Result<BTreeMap<u32, Option<u64>>> {
    let shards = local.status(asked).await?.shards.into_iter();
    Ok(shards
        .filter(|shard| shard.shard > 0)
        .map(|shard| (shard.shard, shard.leader))
        .collect())
}

/// One fault: prepared, done, watched, mended.
async fn strike(args: &FaultArgs, local: &mut LocalCluster, people: &People, talk: &Talk, node: u64) -> Result<Strike> {
    lead_all(local, node).await?;
    people.go_home(ARRANGED_WITHIN).await?;
    flows(talk, args.rate).await?;
    let calm_from_us = talk.now_us();
    let pids: Vec<u32> = local.ids().into_iter().filter_map(|id| local.pid(id)).collect();
    let watch = Watch::begin(&pids, &[std::process::id()])?;
    tokio::time::sleep(Duration::from_millis(args.calm)).await;
    let sample = watch.end()?;
    let hit = |client| people.node_of(client) == Some(node as usize - 1);
    let led = leaders(local, node).await?;
    let mut strike = Strike {
        node,
        calm_from_us,
        at_us: 0,
        done_us: 0,
        back_us: 0,
        until_us: 0,
        led: led
            .into_iter()
            .filter(|(_, leader)| *leader == Some(node))
            .map(|(shard, _)| shard)
            .collect(),
        customers_hit: people.pairs.iter().map(|pair| hit(&pair.customer.client)).collect(),
        agents_hit: people.agents.iter().map(|agent| hit(&agent.client)).collect(),
        sample,
    };
    ensure!(!strike.led.is_empty(), "node {node} leads no shard any more");
    let pid = local.pid(node).and_then(|pid| Pid::from_raw(pid as i32));
    let pid = pid.context("the node does not run")?;
    strike.at_us = talk.now_us();
    let down = Duration::from_millis(args.down);
    match args.kind {
        Kind::Kill => {
            kill_process(pid, Signal::KILL)?;
            strike.done_us = talk.now_us();
            local.kill(node)?;
            tokio::time::sleep(down).await;
            local.start_node(node)?;
        }
        Kind::Pause => {
            kill_process(pid, Signal::STOP)?;
            strike.done_us = talk.now_us();
            tokio::time::sleep(down).await;
            kill_process(pid, Signal::CONT)?;
        }
        Kind::Restart => {
            strike.done_us = strike.at_us;
            local.stop(node).await?;
            local.start_node(node)?;
        }
    }
    local.wait_ready(ARRANGED_WITHIN).await?;
    caught_up(local, node).await?;
    strike.back_us = talk.now_us();
    flows(talk, args.rate).await?;
    strike.until_us = talk.now_us();
    Ok(strike)
}

/// Hands every shard of tenants to one node.
async fn lead_all(local: &LocalCluster, node: u64) -> Result<()> {
    let until = Instant::now() + ARRANGED_WITHIN;
    loop {
        let leaders = leaders(local, node).await?;
        let others: Vec<u32> = leaders
            .into_iter()
            .filter(|(_, leader)| *leader != Some(node))
            .map(|(shard, _)| shard)
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < until, "node {node} does not lead shards {others:?}");
        for shard in others {
            let path = format!("/v1/admin/cluster/shards/{shard}/leader");
            // Refused while it has not caught up, or an election goes on: asked again.
            let _ = local
                .admin(node, Method::POST, &path, Some(&json!({ "node": node })))
                .await;
        }
        tokio::time::sleep(LOOK_EVERY * 4).await;
    }
}

/// Waits until the leaders say that the node has what they have.
async fn caught_up(local: &LocalCluster, node: u64) -> Result<()> {
    let until = Instant::now() + ARRANGED_WITHIN;
    let name = node.to_string();
    loop {
        let mut known = BTreeMap::new();
        for id in local.ids() {
            for shard in local.status(id).await?.shards {
                if shard.role == "leader" {
                    let lag = if id == node {
                        Some(0)
                    } else {
                        shard.lag.get(&name).copied()
                    };
                    known.insert(shard.shard, lag);
                }
            }
        }
        let near = |lag: &Option<u64>| lag.is_some_and(|lag| lag <= LAG_MAX);
        if known.len() as u32 == SHARDS + 1 && known.values().all(near) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "node {node} does not catch up: {known:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until messages are answered as fast as they are sent.
async fn flows(talk: &Talk, rate: f64) -> Result<()> {
    let until = Instant::now() + ARRANGED_WITHIN;
    let most = (rate * FLOWING_S).max(16.0) as u64;
    let mut looks = 0;
    while looks < FLOWING_LOOKS {
        ensure!(
            Instant::now() < until,
            "the load does not flow: {} messages are without an answer",
            talk.open()
        );
        looks = if talk.open() <= most { looks + 1 } else { 0 };
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn text(
    args: &FaultArgs,
    dips: &[Dip],
    medians: &BTreeMap<&'static str, Option<f64>>,
    talked: &pairs::Talked,
) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    let what = match args.kind {
        Kind::Kill => "kill -9 of",
        Kind::Pause => "SIGSTOP to",
        Kind::Restart => "restart of",
    };
    let mut out = format!(
        "\n{what} the node that leads all shards, {} times, at {} messages/s\n  \
         milliseconds from the fault; next acknowledgement: on the slowest shard, of a message sent after the fault\n  \
         {:>3} {:>4} | {:>8}  {:<24} | {:>9} {:>9} | {:>8} | {:>9} {:>8} {:>8} | {:>10} | {:>7}\n",
        args.times,
        args.rate,
        "#",
        "node",
        "next ack",
        "by shard",
        "others'",
        "its own",
        "gap",
        "p99",
        "normal",
        "others'",
        "dip, msg·s",
        "back s",
    );
    for (number, dip) in dips.iter().enumerate() {
        let shards: Vec<String> = dip.shards.values().map(|shard| ms(shard.next_ack_ms)).collect();
        let _ = writeln!(
            out,
            "  {:>3} {:>4} | {:>8}  {:<24} | {:>9} {:>9} | {:>8.0} | {:>9.1} {:>8} {:>8} | {:>10.1} | {:>7.1}",
            number + 1,
            dip.node,
            ms(dip.next_ack_ms),
            shards.join(" "),
            ms(dip.others_next_ack_ms),
            ms(dip.own_next_ack_ms),
            dip.gap_ms,
            dip.p99_before_ms,
            ms(dip.normal_ms),
            ms(dip.others_normal_ms),
            dip.dip_message_s,
            dip.back_s,
        );
    }
    let median = |name: &str| medians.get(name).copied().flatten();
    let _ = writeln!(
        out,
        "  median:    {:>8}  {:<24} | {:>9} {:>9} | {:>8} | {:>9.1} {:>8} {:>8} | {:>10.1} | {:>7.1}",
        ms(median("next_ack_ms")),
        "",
        ms(median("others_next_ack_ms")),
        ms(median("own_next_ack_ms")),
        ms(median("gap_ms")),
        median("p99_before_ms").unwrap_or(0.0),
        ms(median("normal_ms")),
        ms(median("others_normal_ms")),
        median("dip_message_s").unwrap_or(0.0),
        median("back_s").unwrap_or(0.0),
    );
    row(
        &mut out,
        "message: intended → acknowledged, all of it",
        &talked.acknowledged(|_| true),
    );
    row(
        &mut out,
        "message: intended → the other side, all of it",
        &talked.delivered(|_| true),
    );
    row(&mut out, "the generator: schedule lag", &(&talked.lag).into());
    let _ = writeln!(
        out,
        "  messages {}, refused {:?}, connections lost {}, owners lost {}",
        talked.said.len(),
        talked.refused,
        talked.connections_lost,
        talked.owners_lost
    );
    out
}
