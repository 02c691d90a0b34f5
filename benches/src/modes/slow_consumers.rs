//! `kaiwa-bench slow-consumers`: some connections stop reading while their conversations go on: they must be cut off, and nobody else may
//! notice.
//!
//! The slow ones are supervisors who follow so many conversations that what comes soon fills all buffers. In the first phase they read
//! as well, so that both phases carry the same load.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use node::gateway::protocol::ClientFrame;
use node::local::Scrape;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::pairs::{self, Crowd, People, Script, Talk};
use super::raw::{Greeting, Reasons, Socket, greet, idle, next, send};
use super::{Against, Finding, Output, Setting, Watch, cpu, row};
use crate::machine::{Memory, load_average};
use crate::run::account::Side;
use crate::run::record::Summary;
use crate::run::sampler::Sample;
use crate::run::stage::{Stage, client};
use crate::run::{self, PlaceArgs};

/// What the kernel takes in for somebody who does not read: little, so that the node notices soon. On the node's side it is up to 4 MiB,
/// by default.
const RECEIVE_BUFFER: u32 = 4 << 10;
/// What each slow connection is to be sent per second, so that it is seen within half a minute.
const BYTES_PER_S: f64 = 300e3;
/// Conversations that one connection may follow.
const FOLLOWED_MAX: usize = 256;
/// The nodes may keep so much for each slow connection, twice what may wait for one socket by default …
const KEPT_MIB: f64 = 2.0;
/// … and may grow by so much more than in the phase before.
const GROWS_MIB: f64 = 48.0;
/// Before the first phase.
const WARM_UP: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For what a slow one finds in its socket when it reads again.
const LEFT_WITHIN: Duration = Duration::from_secs(15);
/// p99 may be worse by so many milliseconds, whatever it was.
const WORSE_MS: f64 = 10.0;

/// How many are slow among how many.
#[derive(Debug, Args)]
pub struct SlowConsumersArgs {
    /// Connections that stop reading
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    slow: u64,
    /// Conversations; each slow one follows some of them
    #[arg(long, default_value_t = 48)]
    conversations: usize,
    /// Messages per second, both ways together
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 4_096)]
    bytes: usize,
    /// Length of each of the two phases
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = run::time)]
    length: u64,
    /// Fails if the p99 of the healthy is more than so many times that of the phase before
    #[arg(long, value_name = "TIMES", default_value_t = 2.0)]
    worse: f64,
    /// Seed of the schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: Output,
}

impl SlowConsumersArgs {
    /// Conversations that a slow one follows.
    fn follows(&self, conversations: usize) -> usize {
        let each = self.rate / conversations as f64 * self.bytes as f64;
        ((BYTES_PER_S / each).ceil() as usize).clamp(1, conversations.min(FOLLOWED_MAX))
    }
}

/// Slows down and tells.
pub fn run(args: &SlowConsumersArgs) -> Result<ExitCode> {
    ensure!(args.conversations > 0, "there must be a conversation");
    let finding = run::runtime()?.block_on(make(args))?;
    args.output.end(&finding)
}

/// What the slow ones do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Reads,
    Sleeps,
    ReadsWhatIsLeft,
}

/// One slow connection. Gives how it ended.
async fn device(mut socket: Socket, mut mood: watch::Receiver<Mood>) -> String {
    loop {
        let wanted = *mood.borrow_and_update();
        match wanted {
            Mood::Reads => tokio::select! {
                changed = mood.changed() => if changed.is_err() { return "over".to_owned() },
                frame = next(&mut socket) => if let Err(why) = frame { return format!("while it read: {why}") },
            },
            Mood::Sleeps => {
                if mood.changed().await.is_err() {
                    return "over".to_owned();
                }
            }
            Mood::ReadsWhatIsLeft => {
                let end = tokio::time::timeout(LEFT_WITHIN, idle(socket)).await;
                return end.unwrap_or_else(|_| "not cut off".to_owned());
            }
        }
    }
}

/// The slow ones.
async fn devices(
    args: &SlowConsumersArgs,
    stage: &Stage,
    tokens: Vec<String>,
    people: &People,
) -> Result<(JoinSet<String>, watch::Sender<Mood>)> {
    let (mood, moods) = watch::channel(Mood::Reads);
    let mut devices = JoinSet::new();
    let follows = args.follows(people.pairs.len());
    for (number, token) in tokens.into_iter().enumerate() {
        let greeting = Greeting {
            url: &stage.urls[number % stage.urls.len()],
            token,
            instance: 1,
            source: None,
            receive_buffer: Some(RECEIVE_BUFFER),
        };
        let failed = |why: String| anyhow!("a slow one could not connect: {why}");
        let mut socket = greet(&greeting).await.map_err(failed)?;
        for pair in people.pairs.iter().cycle().skip(number * follows).take(follows) {
            let frame = ClientFrame::Follow {
                conversation: pair.conversation,
                cursor: 0,
            };
            send(&mut socket, 0, frame).await.map_err(failed)?;
        }
        devices.spawn(device(socket, moods.clone()));
    }
    Ok((devices, mood))
}

/// How many clients the nodes have cut off for being slow.
async fn cut(stage: &Stage) -> Result<f64> {
    let http = client()?;
    let mut sum = 0.0;
    for admin in &stage.admins {
        let text = http.get(format!("{admin}/metrics")).send().await?.text().await?;
        sum += Scrape::parse(&text).sum("kaiwa_slow_consumer_disconnects_total", "");
    }
    Ok(sum)
}

/// What came of it.
struct Slowed {
    before: Summary,
    during: Summary,
    delivered: [Summary; 2],
    cut: f64,
    healthy_lost: u64,
    ends: Reasons,
    /// Of all nodes together: at the begin of the first phase, of the second, and the most in it.
    memory_first: Memory,
    memory_before: Memory,
    memory_most: Memory,
    samples: [Sample; 2],
}

async fn make(args: &SlowConsumersArgs) -> Result<Finding> {
    let script = Script::new(args.rate, args.seed, args.bytes, &[Side::Customer, Side::Agent])?;
    let temporary = tempfile::tempdir()?;
    let place = args.place.place(temporary.path())?;
    let (load_before, nonce) = (load_average(), rand::random());
    // On a target, the number of nodes is that of its URLs.
    let nodes = args.place.node_count();
    let scenario = pairs::scenario(&pairs::Layout {
        name: "slow-consumers",
        about: "Some connections stop reading",
        nodes,
        tenants: 1,
        conversations: args.conversations,
        supervisors: args.slow as usize,
    })?;
    let mut stage = Stage::set(&place, &scenario, nonce).await?;
    args.output.introduce(&stage)?;
    let crowd = Crowd::come(&stage, &scenario, nonce).await?;
    let people = Arc::clone(&crowd.people);
    let tokens = pairs::supervisors(&stage, &scenario)?;
    let (devices, mood) = devices(args, &stage, tokens, &people).await?;
    let talk = Talk::begin(crowd, script);
    tokio::time::sleep(WARM_UP).await;
    let (length, pids) = (Duration::from_millis(args.length), stage.pids());
    let memory = || Memory::sum(pids.iter().filter_map(|pid| Memory::of(*pid).ok()));
    args.output.say("everybody reads\n")?;
    let memory_first = memory();
    let (from_us, look) = (talk.now_us(), Watch::begin(&pids, &[std::process::id()])?);
    tokio::time::sleep(length).await;
    let (reading, cut_before, memory_before) = (look.end()?, cut(&stage).await?, memory());
    args.output.say(&format!("{} connections stop reading\n", args.slow))?;
    mood.send_replace(Mood::Sleeps);
    let (slow_us, look) = (talk.now_us(), Watch::begin(&pids, &[std::process::id()])?);
    let mut memory_most = memory_before;
    while talk.now_us() < slow_us + length.as_micros() as u64 {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = memory();
        memory_most = if now.rss_kib > memory_most.rss_kib {
            now
        } else {
            memory_most
        };
    }
    let (until_us, sleeping) = (talk.now_us(), look.end()?);
    let cut_off = cut(&stage).await? - cut_before;
    let talked = talk.end().await?;
    mood.send_replace(Mood::ReadsWhatIsLeft);
    let mut ends = Reasons::new();
    for end in devices.join_all().await {
        *ends.entry(end).or_default() += 1;
    }
    let mut against = Against::default();
    talked.weigh(&mut against);
    against.fault(
        "not in the transcript",
        pairs::compare(&stage, &people, &talked.accounts).await?,
    );
    people.leave();
    let within = |from: u64, until: u64| move |said: &pairs::Said| (from..until).contains(&said.due_us);
    let slowed = Slowed {
        before: talked.acknowledged(within(from_us, slow_us)),
        during: talked.acknowledged(within(slow_us, until_us)),
        delivered: [
            talked.delivered(within(from_us, slow_us)),
            talked.delivered(within(slow_us, until_us)),
        ],
        cut: cut_off,
        healthy_lost: talked.connections_lost,
        ends,
        memory_first,
        memory_before,
        memory_most,
        samples: [reading, sleeping],
    };
    let finding = tell(args, &slowed, against, Setting::of(&stage, &place, load_before));
    stage.end().await?;
    Ok(finding)
}

fn tell(args: &SlowConsumersArgs, slowed: &Slowed, mut against: Against, setting: Setting) -> Finding {
    against.machine(&[&slowed.samples[0], &slowed.samples[1]]);
    against.fault("slow ones not cut off", (args.slow as f64 - slowed.cut).max(0.0) as u64);
    against.fault("healthy connections lost", slowed.healthy_lost);
    for (what, before, during) in [
        ("acknowledgement", &slowed.before, &slowed.during),
        ("delivery", &slowed.delivered[0], &slowed.delivered[1]),
    ] {
        if during.p99_ms > (args.worse * before.p99_ms).max(before.p99_ms + WORSE_MS) {
            against.fails(format!(
                "the p99 of {what} to the healthy went from {:.1} to {:.1} ms",
                before.p99_ms, during.p99_ms
            ));
        }
    }
    let mib = |from: Memory, to: Memory| (to.rss_kib - from.rss_kib) / 1_024.0;
    let usual_mib = mib(slowed.memory_first, slowed.memory_before).max(0.0);
    let grown_mib = mib(slowed.memory_before, slowed.memory_most);
    let allowed_mib = usual_mib + GROWS_MIB + KEPT_MIB * args.slow as f64;
    if grown_mib > allowed_mib {
        against.fails(format!(
            "the nodes grew by {grown_mib:.0} MiB, and by {usual_mib:.0} in the phase before"
        ));
    }
    let mut out = format!(
        "\nslow-consumers: {} of {} connections stop reading, {} messages/s of {} bytes\n",
        args.slow,
        2 * args.conversations as u64 + args.slow,
        args.rate,
        args.bytes
    );
    row(&mut out, "acknowledged, everybody reads", &slowed.before);
    row(&mut out, "acknowledged, some do not", &slowed.during);
    row(&mut out, "the other side, everybody reads", &slowed.delivered[0]);
    row(&mut out, "the other side, some do not", &slowed.delivered[1]);
    let _ = writeln!(
        out,
        "  cut off as slow by the nodes {:.0}; what the slow ones found when they read again: {:?}",
        slowed.cut, slowed.ends
    );
    if slowed.memory_first.rss_kib > 0.0 {
        let _ = writeln!(
            out,
            "  nodes, resident MiB in all: {:.0} when the first phase began, {:.0} when they stopped reading, {:.0} at most meanwhile",
            slowed.memory_first.rss_kib / 1_024.0,
            slowed.memory_before.rss_kib / 1_024.0,
            slowed.memory_most.rss_kib / 1_024.0
        );
    }
    let _ = writeln!(out, "  {}", cpu(&slowed.samples[1]));
    let phases = BTreeMap::from([
        ("before", (&slowed.before, &slowed.delivered[0], &slowed.samples[0])),
        ("during", (&slowed.during, &slowed.delivered[1], &slowed.samples[1])),
    ]);
    let phases: BTreeMap<_, _> = phases
        .into_iter()
        .map(|(name, (ack, delivery, cpu))| (name, json!({ "ack": ack, "delivery": delivery, "cpu": cpu })))
        .collect();
    let figures = json!({
        "slow": args.slow, "conversations": args.conversations, "rate": args.rate, "bytes": args.bytes,
        "phases": phases, "cut": slowed.cut, "ends": slowed.ends,
        "memory_first": slowed.memory_first, "memory_before": slowed.memory_before, "memory_most": slowed.memory_most,
    });
    Finding::new("slow-consumers", setting, against, figures, out)
}
