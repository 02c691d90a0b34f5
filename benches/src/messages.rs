//! `kaiwa-bench messages`: three real nodes, customers and agents over WebSocket on different nodes, messages both ways
//! on a schedule that does not wait for answers.

mod drive;
mod ledger;
mod report;
mod schedule;
mod search;
mod stage;
mod standing;
mod talker;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::machine;
use drive::{Plan, Run};
use schedule::Arrivals;
use stage::{Crowd, Stage};

/// What to measure.
#[derive(Debug, Args)]
pub struct MessagesArgs {
    /// Messages per second, both ways together; the first try with --find-max
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Measured time of each run
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Time before anything is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    warm_up: u64,
    /// Conversations
    #[arg(long, default_value_t = 100)]
    conversations: usize,
    /// Conversations of one customer: with more of them fewer connections carry the load
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=200))]
    per_customer: u16,
    /// Conversations of one agent
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=200))]
    per_agent: u16,
    /// Conversations that are open beside these and silent: for a state of a size
    #[arg(long, default_value_t = 0)]
    standing: u64,
    /// Bytes of a message's text
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// How arrivals are spread
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    arrivals: Arrivals,
    /// Seed of the schedule
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Looks for the highest rate at which the p99 of acknowledgements keeps within --p99-ms
    #[arg(long)]
    find_max: bool,
    /// The limit for --find-max
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    p99_ms: f64,
    /// The results as JSON
    #[arg(long)]
    json: bool,
    /// The `kaiwa` binary; the one beside this program if not given
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Folder for the nodes' data (on the disk that is to be measured); a temporary one if not given
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl MessagesArgs {
    fn plan(&self, run: u64, rate: f64) -> Plan {
        Plan {
            run,
            rate,
            warm_up: Duration::from_secs(self.warm_up),
            length: Duration::from_secs(self.seconds),
            arrivals: self.arrivals,
            seed: self.seed + run - 1,
            bytes: self.bytes,
        }
    }
}

/// Measures and prints. `false`: something was wrong with what came, or the measurement is not valid.
pub fn run(args: &MessagesArgs) -> Result<bool> {
    ensure!(args.conversations > 0, "there must be a conversation");
    ensure!(args.rate > 0.0 && args.seconds > 0, "rate and seconds must be above 0");
    ensure!(
        args.bytes <= routing::limits::BODY_MAX_BYTES,
        "a message has at most 32 KiB"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // The sender has a thread of its own; more would only take turns with the nodes.
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(measure(args))
}

async fn measure(args: &MessagesArgs) -> Result<bool> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?.with_file_name("kaiwa"),
    };
    ensure!(
        binary.exists(),
        "{} is not there: cargo build --release -p kaiwa -p kaiwa-bench",
        binary.display()
    );
    let temporary = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let crowd = Crowd {
        conversations: args.conversations,
        per_customer: args.per_customer.into(),
        per_agent: args.per_agent.into(),
    };
    let stage = Stage::set(&binary, &dir, crowd)
        .await
        .context("the cluster was not made ready")?;
    let pids: Vec<u32> = stage
        .cluster
        .ids()
        .into_iter()
        .filter_map(|id| stage.cluster.pid(id))
        .collect();
    let mut out = io::stdout();
    let about = format!(
        "3 nodes (processes {pids:?}), {} conversations, {} customers and {} agents (a connection each), {} bytes a message, both ways in equal parts\n\
         data on {} ({}); durability: {}",
        args.conversations,
        stage.customers,
        stage.agents,
        args.bytes,
        dir.display(),
        machine::file_system(&dir),
        report::DURABILITY,
    );
    if !args.json {
        writeln!(out, "{about}")?;
    }
    let cost = match args.standing {
        0 => None,
        count => Some(standing::open(&stage, count).await?),
    };
    if let Some(cost) = cost.as_ref().filter(|_| !args.json) {
        let mib = |bytes: u64| bytes >> 20;
        let nodes: Vec<String> = (cost.resident.iter().zip(cost.each()))
            .map(|((before, after), each)| format!("{} → {} MiB ({each} bytes each)", mib(*before), mib(*after)))
            .collect();
        let rate = cost.count as f64 / cost.took.as_secs_f64();
        writeln!(
            out,
            "{} conversations stand, opened at {rate:.0}/s; resident memory of the nodes: {}",
            cost.count,
            nodes.join(", "),
        )?;
    }
    let mut runs = Vec::new();
    let mut show = |run: &Run| -> Result<()> {
        if args.json {
            runs.push(report::json(run));
        } else {
            writeln!(io::stdout(), "{}", report::text(run))?;
        }
        Ok(())
    };
    let (good, found) = if args.find_max {
        let (good, found) = search::find_max(args, &stage, &mut show).await?;
        (good, Some(found))
    } else {
        let run = drive::run(&stage, args.plan(1, args.rate)).await?;
        show(&run)?;
        (
            run.correct() && !run.broken_off && run.generator_limited().is_none(),
            None,
        )
    };
    if args.json {
        let found = found.map(|rate| json!({"p99_ms_max": args.p99_ms, "rate": rate}));
        let standing = cost.map(|cost| {
            json!({
                "count": cost.count,
                "seconds": cost.took.as_secs_f64(),
                "resident_bytes": cost.resident,
                "bytes_each": cost.each(),
            })
        });
        let all = json!({"about": about, "standing": standing, "runs": runs, "find_max": found});
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else if let Some(found) = found {
        match found {
            Some(rate) => writeln!(
                out,
                "highest rate with p99 ≤ {} ms, confirmed: {rate:.0} messages/s",
                args.p99_ms
            )?,
            None => writeln!(out, "no rate with p99 ≤ {} ms was found", args.p99_ms)?,
        }
    }
    Ok(good)
}
