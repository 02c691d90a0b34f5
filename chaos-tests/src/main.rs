//! `kaiwa-chaos`: breaks clusters of real processes on purpose, and judges what they did.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chaos_tests::report::{self, Outcome};
use chaos_tests::run::{RunOptions, run};
use chaos_tests::{faults, known_bugs, lab, scenarios, world};
use clap::{Args, Parser, Subcommand};

/// Skipped: this machine does not allow it. Never taken for passed.
const SKIPPED: u8 = 77;

#[derive(Parser)]
#[command(about = "Breaks clusters of real processes on purpose, and judges what they did")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Lists scenarios and faults.
    List,
    /// Runs one scenario.
    Run {
        /// Which.
        scenario: String,
        /// Names the run: the same seed puts in the same faults.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only these faults.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// `FAILPOINTS` of every node: puts a known bug in.
        #[arg(long)]
        failpoints: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Runs every scenario of the suite, one after the other.
    Suite {
        /// Of the first; each has its own.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Runs the scenarios that have everything, with one seed after another, for hours.
    Soak {
        /// How long: `0.5` is half an hour.
        hours: f64,
        /// Of the first.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Puts known bugs in, one after the other; each must be found.
    Bugs {
        /// Only these.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args, Clone)]
struct Common {
    /// How long faults are put in, in seconds; longer when some have not had their turn.
    #[arg(long = "for", default_value_t = 20)]
    seconds: u64,
    /// Where logs, histories and reports go.
    #[arg(long, default_value = "target/chaos")]
    out: PathBuf,
    /// An older `kaiwa`, which the rolling upgrade begins with.
    #[arg(long)]
    old: Option<PathBuf>,
}

fn main() -> ExitCode {
    match act(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kaiwa-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(cli: Cli) -> Result<ExitCode> {
    if !matches!(cli.what, What::List)
        && let Err(why) = lab::is_possible()
    {
        eprintln!("SKIPPED: chaos was not run on this machine. {why}");
        return Ok(ExitCode::from(SKIPPED));
    }
    match cli.what {
        What::List => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        What::Run {
            scenario,
            seed,
            only,
            failpoints,
            common,
        } => one(&scenario, seed, only, failpoints, &common),
        What::Suite { seed, common } => suite(seed, &common),
        What::Soak { hours, seed, common } => soak(hours, seed, &common),
        What::Bugs { only, common } => bugs(&only, &common),
    }
}

#[allow(clippy::print_stdout)]
fn list() {
    for scenario in scenarios::ALL {
        println!("{:<20} {}", scenario.name, scenario.about);
    }
    println!();
    for kind in faults::all() {
        println!("{:<20} {}", kind.name, kind.about);
    }
}

/// The binaries lie beside each other.
fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} is not there: build the workspace first",
        path.display()
    );
    Ok(path)
}

fn one(scenario: &str, seed: u64, only: Vec<String>, failpoints: Option<String>, common: &Common) -> Result<ExitCode> {
    let found = scenarios::named(scenario)
        .with_context(|| format!("there is no scenario `{scenario}`; `kaiwa-chaos list` names them"))?;
    for name in &only {
        ensure!(
            faults::named(name).is_some(),
            "there is no fault `{name}`; `kaiwa-chaos list` names them"
        );
    }
    lab::enter()?;
    world::use_kaiwa(beside("kaiwa")?);
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "info,hyper=warn,fuser=off".into()),
        )
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .init();
    let folder = std::path::absolute(common.out.join(format!("{scenario}-{seed}")))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let options = RunOptions {
        seed,
        faults_for: Duration::from_secs(common.seconds),
        folder: folder.clone(),
        failpoints: failpoints.clone(),
        old_binary: common.old.as_ref().map(std::path::absolute).transpose()?,
        only: only.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(found, &options))?;
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome.write(&folder.join("outcome.json"))?;
    eprint!("{}", outcome.text());
    if outcome.is_good() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut again = format!(
        "cargo xtask chaos run {scenario} --seed {seed} --for {}",
        common.seconds
    );
    if !only.is_empty() {
        again.push_str(&format!(" --only {}", only.join(",")));
    }
    if let Some(failpoints) = failpoints {
        again.push_str(&format!(" --failpoints '{failpoints}'"));
    }
    eprintln!("  logs, history and faults: {}", folder.display());
    eprintln!("  the same faults again: {again}");
    Ok(ExitCode::FAILURE)
}

/// A run in a process, and a lab, of its own.
fn child(scenario: &str, seed: u64, common: &Common, more: &[&str]) -> Result<Option<Outcome>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "run",
        scenario,
        "--seed",
        &seed.to_string(),
        "--for",
        &common.seconds.to_string(),
    ]);
    command.arg("--out").arg(&common.out).args(more);
    if let Some(old) = &common.old {
        command.arg("--old").arg(old);
    }
    let status = command.status()?;
    let path = common.out.join(format!("{scenario}-{seed}")).join("outcome.json");
    match Outcome::read(&path) {
        Ok(outcome) => Ok(Some(outcome)),
        Err(error) => {
            eprintln!("{scenario}, seed {seed}: the run ended with {status} and left no outcome: {error:#}");
            Ok(None)
        }
    }
}

fn suite(seed: u64, common: &Common) -> Result<ExitCode> {
    let mut outcomes = Vec::new();
    let mut failed = 0;
    for (scenario, seed) in scenarios::suite().zip(seed..) {
        match child(scenario.name, seed, common, &[])? {
            Some(outcome) => {
                failed += usize::from(!outcome.is_good());
                keep_little(&outcome, common)?;
                outcomes.push(outcome);
            }
            None => failed += 1,
        }
    }
    conclude(&outcomes, &common.out)?;
    if failed > 0 {
        bail!("{failed} scenarios failed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Of a run in which all was well only what it says is kept.
fn keep_little(outcome: &Outcome, common: &Common) -> Result<()> {
    if !outcome.is_good() {
        return Ok(());
    }
    let folder = common.out.join(format!("{}-{}", outcome.scenario, outcome.seed));
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "img") {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn conclude(outcomes: &[Outcome], out: &Path) -> Result<()> {
    let text = format!("{}\n{}", report::matrix(outcomes), report::figures(outcomes));
    std::fs::write(out.join("report.md"), &text)?;
    println!("{text}");
    let violated: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .collect();
    for outcome in &violated {
        println!(
            "VIOLATED in {} (seed {}): {:?}",
            outcome.scenario, outcome.seed, outcome.violations
        );
    }
    Ok(())
}

fn soak(hours: f64, seed: u64, common: &Common) -> Result<ExitCode> {
    let end = Instant::now() + Duration::from_secs_f64(hours * 3_600.0);
    let mut outcomes = Vec::new();
    let all: Vec<_> = scenarios::ALL
        .iter()
        .filter(|s| s.name.starts_with("everything"))
        .collect();
    for (round, seed) in (seed..).enumerate() {
        if Instant::now() >= end {
            break;
        }
        let scenario = all[round % all.len()];
        let outcome = child(scenario.name, seed, common, &[])?.context("a run that leaves no outcome has failed")?;
        let good = outcome.is_good();
        keep_little(&outcome, common)?;
        outcomes.push(outcome);
        conclude(&outcomes, &common.out)?;
        ensure!(good, "a run of the soak failed after {} runs", outcomes.len());
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout)]
fn bugs(only: &[String], common: &Common) -> Result<ExitCode> {
    let mut missed = Vec::new();
    println!("| bug | scenario | seed | found by |\n|---|---|---|---|");
    for bug in known_bugs::ALL
        .iter()
        .filter(|bug| only.is_empty() || only.iter().any(|name| name == bug.name))
    {
        let found = find(bug, common)?;
        match found {
            Some((seed, letter, how)) => {
                let how: String = how.split_whitespace().collect::<Vec<_>>().join(" ");
                let how: String = how.chars().take(160).collect();
                println!(
                    "| `{}` | {} | {seed} | {letter}: {} |",
                    bug.name,
                    bug.scenario,
                    how.replace('|', "/")
                );
            }
            None => {
                println!("| `{}` | {} | – | NOT FOUND |", bug.name, bug.scenario);
                missed.push(bug.name);
            }
        }
    }
    ensure!(missed.is_empty(), "known bugs that were not found: {missed:?}");
    Ok(ExitCode::SUCCESS)
}

/// Runs with the bug until an invariant does not hold.
fn find(bug: &known_bugs::Bug, common: &Common) -> Result<Option<(u64, char, String)>> {
    let common = Common {
        out: common.out.join(format!("bug-{}", bug.name.replace("::", "-"))),
        ..common.clone()
    };
    let failpoints = format!("{}=return", bug.name);
    for seed in 1..=bug.seeds {
        let mut more = vec!["--failpoints", &failpoints];
        if !bug.only.is_empty() {
            more.extend(["--only", bug.only]);
        }
        let outcome = child(bug.scenario, seed, &common, &more)?;
        let violation = outcome.and_then(|outcome| outcome.violations.into_iter().next());
        if let Some((letter, how)) = violation {
            return Ok(Some((seed, letter, how)));
        }
    }
    Ok(None)
}
