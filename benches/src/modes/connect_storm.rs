//! `kaiwa-bench connect-storm`: many connect at once or at a rate, and then do nothing: how long until each is greeted, how many fail, and
//! what a connection that does nothing costs in memory.

pub mod share;

use std::fmt::Write;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::raw::Reasons;
use super::{Against, Finding, Output, Setting, Watch, cores, cpu, histogram, row};
use crate::machine::{KernelMemory, Memory, load_average};
use crate::run::record::Summary;
use crate::run::sampler::Sample;
use crate::run::stage::Stage;
use crate::run::{self, PlaceArgs, verdict};
use crate::scenario::Scenario;
use share::{Held, Reached, Share};

/// Files of a process that are not connections.
const OTHER_FILES: u64 = 500;
/// A cluster that has just started comes to rest.
const REST: Duration = Duration::from_secs(3);
/// Generators are ready, and start together so long after.
const TOGETHER_AFTER: Duration = Duration::from_millis(300);

/// As whom they connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Each a customer of their own, without a conversation
    Customer,
    /// Each an agent of their own, not signed in
    Agent,
}

/// How many, how fast.
#[derive(Debug, Args)]
pub struct ConnectStormArgs {
    /// Connections in all, over all nodes
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    connections: u64,
    /// Connections per second, evenly spaced; all at once if not given
    #[arg(long)]
    rate: Option<f64>,
    /// How long they stay
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = run::time)]
    hold: u64,
    /// Who connects
    #[arg(long, value_enum, default_value_t = Who::Customer)]
    role: Who,
    /// They come from so many addresses, 127.0.0.2 and on: one address has some 28,000 ports for each node
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    source_addresses: u64,
    /// Processes that hold them: each may have only so many open files
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    processes: u64,
    /// Who is not greeted for so long has failed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = run::time)]
    deadline: u64,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: Output,
}

/// Memory at a time.
#[derive(Clone, Debug, Serialize)]
struct Look {
    nodes: Vec<Memory>,
    kernel: KernelMemory,
}

impl Look {
    fn now(pids: &[u32]) -> Result<Self> {
        Ok(Self {
            nodes: pids.iter().map(|pid| Memory::of(*pid)).collect::<Result<_>>()?,
            kernel: KernelMemory::now()?,
        })
    }
}

/// One generator.
struct Generator {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Generator {
    async fn start(share: &Share) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(share::COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a generator did not start")?;
        let to = child.stdin.take().context("a generator has no input")?;
        let from = child.stdout.take().context("a generator has no output")?;
        let mut generator = Self {
            child,
            to,
            from: BufReader::new(from).lines(),
        };
        generator.tell(share).await?;
        Ok(generator)
    }

    async fn tell(&mut self, what: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(what)? + "\n";
        self.to
            .write_all(line.as_bytes())
            .await
            .context("a generator takes nothing")
    }

    async fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.from.next_line().await?.context("a generator has ended")?;
        serde_json::from_str(&line).context("a generator says something else")
    }
}

/// The most files that a process here may open; the limit is raised to it, and nodes that are started inherit it.
fn files_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(most),
    }
}

/// Connects and tells.
pub fn run(args: &ConnectStormArgs) -> Result<ExitCode> {
    ensure!(
        args.rate.is_none_or(|rate| rate > 0.0 && rate.is_finite()),
        "--rate must be above 0"
    );
    let (most, own) = (files_max(), args.place.is_own());
    let each = |parts: u64| args.connections.div_ceil(parts) + OTHER_FILES;
    ensure!(
        each(args.processes) <= most,
        "a process here may open {most} files: --processes {} at least",
        args.connections.div_ceil(most - OTHER_FILES.min(most - 1))
    );
    ensure!(
        !own || each(args.place.own.nodes) <= most,
        "a node here may open {most} files: --nodes {} at least",
        args.connections.div_ceil(most - OTHER_FILES.min(most - 1))
    );
    let finding = run::runtime()?.block_on(make(args))?;
    args.output.end(&finding)
}

fn scenario(args: &ConnectStormArgs) -> Result<Scenario> {
    let agents = if args.role == Who::Agent { args.connections } else { 1 };
    let text = format!(
        "[scenario]\nname = \"connect-storm\"\n\n[[queue]]\nname = \"general\"\n\n\
         [[agents]]\nname = \"agents\"\nqueues = [\"general\"]\ncount = {agents}\nhandle = \"1h\"\n\n\
         [[customers]]\nname = \"customers\"\nqueue = \"general\"\nstanding = 1\n"
    );
    Scenario::parse("connect-storm", &text, Path::new("."))
}

async fn make(args: &ConnectStormArgs) -> Result<Finding> {
    let temporary = tempfile::tempdir()?;
    let place = args.place.place(temporary.path())?;
    let (load_before, nonce) = (load_average(), rand::random());
    let mut stage = Stage::set(&place, &scenario(args)?, nonce).await?;
    args.output.introduce(&stage)?;
    let storm = storm(args, &stage, nonce).await?;
    let finding = tell(args, &storm, Setting::of(&stage, &place, load_before));
    stage.end().await?;
    Ok(finding)
}

/// What came of it.
struct Storm {
    reached: Reached,
    held: Held,
    before: Look,
    during: Look,
    after: Look,
    took_s: f64,
    sample: Sample,
    generators: usize,
}

async fn storm(args: &ConnectStormArgs, stage: &Stage, nonce: u32) -> Result<Storm> {
    let tenant = stage.tenants.first().context("there is no tenant")?;
    let mut generators = Vec::new();
    for first in 0..args.processes {
        let share = Share {
            tenant: tenant.clone(),
            role: args.role,
            nonce,
            urls: stage.urls.clone(),
            first,
            step: args.processes,
            until: args.connections,
            rate: args.rate,
            source_addresses: args.source_addresses,
            deadline_ms: args.deadline,
        };
        generators.push(Generator::start(&share).await?);
    }
    for generator in &mut generators {
        generator.hear::<share::Ready>().await?;
    }
    tokio::time::sleep(REST).await;
    let pids = stage.pids();
    let before = Look::now(&pids)?;
    let own: Vec<u32> = generators.iter().filter_map(|generator| generator.child.id()).collect();
    let (watch, since) = (Watch::begin(&pids, &own)?, Instant::now());
    let at = SystemTime::now() + TOGETHER_AFTER;
    let at_us = at.duration_since(UNIX_EPOCH)?.as_micros() as u64;
    for generator in &mut generators {
        generator.tell(&at_us).await?;
    }
    let mut reached = Reached::default();
    for generator in &mut generators {
        reached.add(generator.hear().await?);
    }
    let (took_s, sample) = (since.elapsed().as_secs_f64(), watch.end()?);
    args.output.say(&format!(
        "{} of {} connected after {:.1} s; held for {:.0} s\n",
        reached.connected,
        args.connections,
        took_s - TOGETHER_AFTER.as_secs_f64(),
        args.hold as f64 / 1e3
    ))?;
    tokio::time::sleep(Duration::from_millis(args.hold)).await;
    let during = Look::now(&pids)?;
    let mut held = Held::default();
    let count = generators.len();
    for mut generator in generators {
        generator.tell(&"end").await?;
        held.add(generator.hear().await?);
        let status = generator.child.wait().await?;
        if !status.success() {
            bail!("a generator ended with {status}");
        }
    }
    tokio::time::sleep(REST).await;
    Ok(Storm {
        reached,
        held,
        before,
        during,
        after: Look::now(&pids)?,
        took_s: took_s - TOGETHER_AFTER.as_secs_f64(),
        sample,
        generators: count,
    })
}

/// The machine's growth by connection, KiB.
#[derive(Debug, Default, Serialize)]
struct Each {
    nodes: Memory,
    generators: Memory,
    /// Both ends of each connection, where the generator is on the nodes' machine.
    kernel_unreclaimable_kib: f64,
    kernel_tcp_buffers_kib: f64,
}

fn each(storm: &Storm) -> Each {
    let connections = (storm.reached.connected as f64).max(1.0);
    let by = |after: f64, before: f64| (after - before) / connections;
    let memory = |after: Memory, before: Memory| Memory {
        rss_kib: by(after.rss_kib, before.rss_kib),
        pss_kib: by(after.pss_kib, before.pss_kib),
        anonymous_kib: by(after.anonymous_kib, before.anonymous_kib),
    };
    let sum = |look: &Look| Memory::sum(look.nodes.iter().copied());
    let (before, during) = (&storm.before, &storm.during);
    Each {
        nodes: memory(sum(during), sum(before)),
        generators: memory(storm.held.memory, storm.reached.memory_before),
        kernel_unreclaimable_kib: by(during.kernel.unreclaimable_kib, before.kernel.unreclaimable_kib),
        kernel_tcp_buffers_kib: by(during.kernel.tcp_buffers_kib, before.kernel.tcp_buffers_kib),
    }
}

fn summary(counted: &[(u64, u64)]) -> Summary {
    let mut all = histogram();
    for (us, count) in counted {
        all.record_n(*us, *count).expect("it grows with what it is given");
    }
    (&all).into()
}

fn tell(args: &ConnectStormArgs, storm: &Storm, setting: Setting) -> Finding {
    let each = each(storm);
    let (reached, held) = (&storm.reached, &storm.held);
    let (greeted, lag) = (summary(&reached.greeted_us), summary(&reached.lag_us));
    let mut against = Against::default();
    let count = |reasons: &Reasons| reasons.values().sum::<u64>();
    against.fault("failed to connect", count(&reached.failed));
    against.fault("ended while held", count(&held.lost));
    // All at once is as fast as the generators can: they are late by definition.
    let late = args.rate.map_or_else(Summary::default, |_| lag);
    against.invalid(verdict::limits(
        late,
        Summary::default(),
        greeted,
        0,
        &[&storm.sample],
        cores(),
    ));
    let how = args
        .rate
        .map_or_else(|| "all at once".to_owned(), |rate| format!("{rate} per second"));
    let mut out = format!(
        "\nconnect-storm: {} connections, {how}, from {} processes to {} nodes; all were tried after {:.1} s\n",
        args.connections,
        storm.generators,
        setting.environment.nodes.len(),
        storm.took_s
    );
    row(&mut out, "connect: intended → welcome", &greeted);
    row(&mut out, "the generator: schedule lag", &lag);
    let _ = writeln!(out, "  failed {:?}; ended while held {:?}", reached.failed, held.lost);
    let mib = |kib: f64| kib / 1_024.0;
    let nodes = |look: &Look| -> Vec<String> { look.nodes.iter().map(|m| format!("{:.0}", mib(m.rss_kib))).collect() };
    if !storm.before.nodes.is_empty() {
        let _ = writeln!(
            out,
            "  nodes, resident MiB: before {}, with the connections {}, after they have gone {}",
            nodes(&storm.before).join(" + "),
            nodes(&storm.during).join(" + "),
            nodes(&storm.after).join(" + ")
        );
        let _ = writeln!(
            out,
            "  a connection costs: nodes {:.1} KiB resident ({:.1} PSS, {:.1} anonymous); the kernel, both ends, {:.1} KiB of objects and {:.1} KiB in buffers",
            each.nodes.rss_kib,
            each.nodes.pss_kib,
            each.nodes.anonymous_kib,
            each.kernel_unreclaimable_kib,
            each.kernel_tcp_buffers_kib,
        );
    }
    let _ = writeln!(
        out,
        "  a connection costs the generator {:.1} KiB ({:.0} MiB in all); sockets in use {:.0} → {:.0}",
        each.generators.pss_kib,
        mib(held.memory.rss_kib),
        storm.before.kernel.tcp_sockets,
        storm.during.kernel.tcp_sockets
    );
    let refused = storm.during.kernel.listen_overflows - storm.before.kernel.listen_overflows;
    let _ = writeln!(
        out,
        "  connections that found an accept queue of this machine full, and asked again after a second or more: {refused:.0}"
    );
    let _ = writeln!(out, "  while connecting: {}", cpu(&storm.sample));
    let figures = json!({
        "connections": args.connections, "connected": reached.connected, "rate": args.rate, "role": args.role,
        "processes": args.processes, "source_addresses": args.source_addresses, "took_s": storm.took_s,
        "greeted": greeted, "schedule_lag": lag, "failed": reached.failed, "lost": held.lost,
        "each": each, "before": storm.before, "during": storm.during, "after": storm.after,
        "generators": held.memory, "connecting": storm.sample,
    });
    Finding::new("connect-storm", setting, against, figures, out)
}
