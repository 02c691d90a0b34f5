//! `kaiwa-bench soak`: a scenario for a long time, and whether anything grows: memory of the nodes, the tail of latencies, the disk.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::series::{Slope, median, slope};
use super::{Against, Finding, Output, Setting};
use crate::report::{self, Report, Verdict};
use crate::run::record::Interval;
use crate::run::{self, Job, PlaceArgs};

/// Lines are laid through so many means: neighbours hang together.
const BLOCKS: usize = 20;
/// Shorter runs see a process warm up, not a leak.
const SHORTEST_S: f64 = 600.0;
const DISK_EVERY: Duration = Duration::from_secs(5);
const HOUR_S: f64 = 3_600.0;

/// What, how long, and what is still no leak.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// The scenario's file, or the name of a shipped one
    #[arg(value_name = "SCENARIO", default_value = "steady-chat")]
    scenario: PathBuf,
    /// Measured time
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = run::time)]
    length_ms: u64,
    /// Time before anything is measured; a tenth of the measured time if not given
    #[arg(long, value_name = "TIME", value_parser = run::time)]
    warm_up: Option<u64>,
    /// Multiplies all rates of arrivals and messages
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Seed, instead of the scenario's
    #[arg(long)]
    seed: Option<u64>,
    /// Fails if the memory of a node surely grows faster
    #[arg(long, value_name = "MIB", default_value_t = 50.0)]
    growth_mib_per_hour: f64,
    /// Fails if the p99 of acknowledgements in the last third is more than so many times that of the first
    #[arg(long, value_name = "TIMES", default_value_t = 1.5)]
    drift: f64,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: Output,
}

/// Memory of one process over the measured part.
#[derive(Debug, Serialize)]
struct Growth {
    first_mib: f64,
    last_mib: f64,
    /// By the hour, in the second half: in the first, caches fill. `None`: too few samples.
    mib_per_hour: Option<Slope>,
}

/// What changed.
#[derive(Debug, Serialize)]
struct Changes {
    nodes: Vec<Growth>,
    generator: Growth,
    /// Median of the intervals' p99 in the first and in the last third.
    p99_first_ms: Option<f64>,
    p99_last_ms: Option<f64>,
    /// Of all nodes together, of an own cluster.
    disk_mib_per_hour: Option<Slope>,
    disk_last_mib: Option<f64>,
}

/// Runs and tells.
pub fn run(args: &SoakArgs) -> Result<ExitCode> {
    ensure!(args.scale > 0.0 && args.scale.is_finite(), "--scale must be above 0");
    let mut scenario = run::scenario(&args.scenario)?;
    scenario.length_ms = args.length_ms;
    scenario.warm_up_ms = args.warm_up.unwrap_or((args.length_ms / 10).max(1_000));
    let temporary = tempfile::tempdir()?;
    let mut place = args.place.clone();
    let dir = place.own.dir.get_or_insert_with(|| temporary.path().to_owned()).clone();
    let job = Job {
        seed: args.seed.unwrap_or(scenario.seed),
        scenario: Arc::new(scenario),
        scale: args.scale,
        metrics_addr: None,
        quiet: args.output.json,
        plain: false,
        fleet: None,
        place,
    };
    let over = Arc::new(AtomicBool::new(false));
    let (report, disk) = run::runtime()?.block_on(async {
        let looking = job
            .place
            .is_own()
            .then(|| tokio::spawn(look_at_disk(dir, Arc::clone(&over))));
        let report = run::make(&job).await?;
        over.store(true, Ordering::Relaxed);
        let disk = match looking {
            Some(looking) => looking.await?,
            None => Vec::new(),
        };
        anyhow::Ok((report, disk))
    })?;
    if let Some(out) = &args.output.out {
        report.write(&out.join("run"))?;
    }
    args.output.end(&judge(args, &report, &disk))
}

/// Bytes on disk of all nodes.
fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => disk_bytes(&entry.path()),
            // As the file system counts: 512 bytes each. A file may be deleted meanwhile.
            Ok(about) => about.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

async fn look_at_disk(dir: PathBuf, over: Arc<AtomicBool>) -> Vec<(Instant, f64)> {
    let mut seen = Vec::new();
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            next += DISK_EVERY;
            let dir = dir.clone();
            let bytes = tokio::task::spawn_blocking(move || disk_bytes(&dir)).await.unwrap_or(0);
            seen.push((Instant::now(), bytes as f64 / 1024.0 / 1024.0));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    seen
}

fn growth(points: &[(f64, f64)]) -> Growth {
    Growth {
        first_mib: points.first().map_or(0.0, |(_, mib)| *mib),
        last_mib: points.last().map_or(0.0, |(_, mib)| *mib),
        mib_per_hour: slope(&points[points.len() / 2..], BLOCKS),
    }
}

fn changes(report: &Report, disk: &[(Instant, f64)]) -> Changes {
    let samples: Vec<_> = report.sampled().collect();
    let nodes = samples.first().map_or(0, |sample| sample.nodes_mib.len());
    let over_time = |of: &dyn Fn(&crate::run::sampler::Sample) -> f64| -> Vec<(f64, f64)> {
        samples
            .iter()
            .map(|sample| (sample.at_s / HOUR_S, of(sample)))
            .collect()
    };
    let p99 = |part: &[&Interval]| -> Option<f64> {
        let found: Vec<f64> = part
            .iter()
            .filter_map(|interval| Some(interval.measures.get("message_ack")?.p99_ms))
            .collect();
        median(&found)
    };
    let intervals: Vec<&Interval> = report.measured().collect();
    let third = intervals.len() / 3;
    // The measured part is the last of the time; what is before it is the start of nodes and the warm-up.
    let last = disk.last().map(|(at, _)| *at);
    let measured: Vec<(f64, f64)> = disk
        .iter()
        .filter(|(at, _)| last.is_some_and(|last| (last - *at).as_secs_f64() <= report.length_s))
        .map(|(at, mib)| ((*at - disk[0].0).as_secs_f64() / HOUR_S, *mib))
        .collect();
    Changes {
        nodes: (0..nodes)
            .map(|node| growth(&over_time(&|sample| sample.nodes_mib[node])))
            .collect(),
        generator: growth(&over_time(&|sample| sample.generator_mib)),
        p99_first_ms: p99(&intervals[..third]),
        p99_last_ms: p99(&intervals[intervals.len() - third..]),
        disk_mib_per_hour: slope(&measured, BLOCKS),
        disk_last_mib: measured.last().map(|(_, mib)| *mib),
    }
}

fn judge(args: &SoakArgs, report: &Report, disk: &[(Instant, f64)]) -> Finding {
    let changes = changes(report, disk);
    let mut against = Against::default();
    for (name, count) in report.faults.all() {
        against.fault(name, count);
    }
    let known = |reason: &&String| {
        !report
            .faults
            .all()
            .iter()
            .any(|(name, count)| **reason == format!("{count} {name}"))
    };
    let reasons = report.reasons.iter().filter(known).cloned();
    match report.verdict {
        Verdict::Invalid => against.invalid(reasons),
        _ => reasons.for_each(|reason| against.fails(reason)),
    }
    let long_enough = report.length_s >= SHORTEST_S;
    for (node, growth) in changes.nodes.iter().enumerate() {
        if let Some(slope) = growth.mib_per_hour
            && long_enough
            && slope.surely_above(args.growth_mib_per_hour)
        {
            against.fails(format!(
                "the memory of node {} grows by {:.0} MiB an hour",
                node + 1,
                slope.by
            ));
        }
    }
    if let (Some(first), Some(last)) = (changes.p99_first_ms, changes.p99_last_ms)
        && long_enough
        && last > args.drift * first
    {
        against.fails(format!("p99 went from {first:.1} to {last:.1} ms"));
    }
    if !long_enough {
        against.invalid([format!(
            "{:.0} s are too short to tell growth from warming up",
            report.length_s
        )]);
    }
    let text = report::text(report).trim_end().to_owned() + "\n" + &text(&changes);
    let setting = Setting {
        durability: report.durability.clone(),
        environment: report.environment.clone(),
    };
    let figures = json!({
        "scenario": report.scenario,
        "length_s": report.length_s,
        "warm_up_s": report.warm_up_s,
        "measures": report.measures,
        "counts": report.counts,
        "changes": changes,
    });
    Finding::new("soak", setting, against, figures, text)
}

fn text(changes: &Changes) -> String {
    let mut out = String::from("soak: from the end of the warm-up to the end\n");
    let slope = |slope: Option<Slope>| {
        slope.map_or_else(
            || "-".to_owned(),
            |slope| format!("{:+.1} ± {:.1} MiB an hour", slope.by, 2.0 * slope.error),
        )
    };
    let named = (1..).map(|node| format!("node {node}")).zip(&changes.nodes);
    for (name, growth) in named.chain([("generator".to_owned(), &changes.generator)]) {
        let _ = writeln!(
            out,
            "  memory of {name}: {:.0} → {:.0} MiB, in the second half {}",
            growth.first_mib,
            growth.last_mib,
            slope(growth.mib_per_hour)
        );
    }
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let _ = writeln!(
        out,
        "  p99 of acknowledgements, median of the intervals: first third {} ms, last third {} ms",
        ms(changes.p99_first_ms),
        ms(changes.p99_last_ms)
    );
    if let Some(mib) = changes.disk_last_mib {
        let _ = writeln!(
            out,
            "  disk of all nodes: {mib:.0} MiB at the end, {}",
            slope(changes.disk_mib_per_hour)
        );
    }
    out
}
