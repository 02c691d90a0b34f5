//! Modes: what a scenario does not ask for. Each is a sub-command of its own that says what it found in the same way: a text or JSON,
//! a verdict, and the same exit codes as `run`.

mod connect_storm;
mod drain;
mod fan_out;
mod fault;
mod page;
mod pairs;
mod raw;
mod series;
mod slow_consumers;
mod soak;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use page::Picture;

use crate::machine::CpuTimes;
use crate::report::text::{self, latency as row};
use crate::report::{Environment, Verdict};
use crate::run::record::{Summary, histogram, took};
use crate::run::sampler::Sample;
use crate::run::stage::{Place, Stage};
use crate::run::{environment, say, verdict};

/// A mode.
#[derive(Debug, Subcommand)]
pub enum Mode {
    /// Kills, pauses or restarts the leader of all shards under a steady load: how long until it goes on
    Fault(fault::FaultArgs),
    /// Many connect at once or at a rate, and then do nothing: time, failures, memory
    ConnectStorm(connect_storm::ConnectStormArgs),
    /// A scenario for a long time: whether memory, latency or disk grow
    Soak(soak::SoakArgs),
    /// One conversation to which many listen
    FanOut(fan_out::FanOutArgs),
    /// Conversations that wait with nobody there, and then agents sign in
    Drain(drain::DrainArgs),
    /// Connections that stop reading, beside healthy ones
    SlowConsumers(slow_consumers::SlowConsumersArgs),
    /// A generator of connect-storm
    #[command(hide = true)]
    ConnectStormShare,
}

/// Runs a mode, and gives the exit code.
pub fn run(mode: &Mode) -> Result<ExitCode> {
    match mode {
        Mode::Fault(args) => fault::run(args),
        Mode::ConnectStorm(args) => connect_storm::run(args),
        Mode::Soak(args) => soak::run(args),
        Mode::FanOut(args) => fan_out::run(args),
        Mode::Drain(args) => drain::run(args),
        Mode::SlowConsumers(args) => slow_consumers::run(args),
        Mode::ConnectStormShare => connect_storm::share::run(),
    }
}

/// How to tell what was found.
#[derive(Clone, Debug, Args)]
pub struct Output {
    /// The result as JSON, and nothing else
    #[arg(long)]
    json: bool,
    /// Folder for report.json and report.html
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What a mode found.
#[derive(Debug, Serialize)]
pub struct Finding {
    mode: &'static str,
    verdict: Verdict,
    /// Why it is not a pass.
    reasons: Vec<String>,
    durability: String,
    environment: Environment,
    /// By name; each must be 0.
    faults: BTreeMap<&'static str, u64>,
    /// The mode's own.
    figures: Value,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    pictures: Vec<Picture>,
}

/// Where it was found.
#[derive(Debug)]
struct Setting {
    durability: String,
    environment: Environment,
}

impl Setting {
    fn of(stage: &Stage, place: &Place, load_before: String) -> Self {
        Self {
            durability: stage.durability.clone(),
            environment: environment::look(stage, place, load_before),
        }
    }
}

/// Who uses how much CPU from a time on.
struct Watch {
    nodes: usize,
    all: Vec<u32>,
    before: CpuTimes,
    since: Instant,
}

impl Watch {
    /// Of nodes and generators, by their processes.
    fn begin(nodes: &[u32], generators: &[u32]) -> Result<Self> {
        let all = [nodes, generators].concat();
        Ok(Self {
            nodes: nodes.len(),
            before: CpuTimes::now(&all)?,
            since: Instant::now(),
            all,
        })
    }

    /// In cores, until now.
    fn end(&self) -> Result<Sample> {
        let (used, took_s) = (
            CpuTimes::now(&self.all)?.since(&self.before),
            self.since.elapsed().as_secs_f64(),
        );
        let cores = |seconds: f64| seconds / took_s;
        let (nodes, generators) = used.processes.split_at(self.nodes);
        Ok(Sample {
            nodes_cpu: nodes.iter().copied().map(cores).collect(),
            generator_cpu: cores(generators.iter().sum()),
            machine_cpu: cores(used.machine),
            ..Sample::default()
        })
    }
}

/// For people: who used how much CPU.
fn cpu(sample: &Sample) -> String {
    let nodes: Vec<String> = sample.nodes_cpu.iter().map(|cores| format!("{cores:.2}")).collect();
    let nodes = if nodes.is_empty() {
        // They are on other machines, or nobody knows where.
        "not known".to_owned()
    } else {
        nodes.join(" + ")
    };
    format!(
        "CPU, in cores: nodes {nodes}, generator {:.2}, the machine {:.2} of {:.0}",
        sample.generator_cpu,
        sample.machine_cpu,
        cores()
    )
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1, usize::from) as f64
}

/// What speaks against the cluster, and against the measurement.
#[derive(Debug, Default)]
pub struct Against {
    faults: BTreeMap<&'static str, u64>,
    failures: Vec<String>,
    invalid: Vec<String>,
}

impl Against {
    /// Something that must not happen, so often.
    pub fn fault(&mut self, name: &'static str, count: u64) {
        *self.faults.entry(name).or_default() += count;
    }

    /// Something else that is wrong.
    pub fn fails(&mut self, why: impl Into<String>) {
        self.failures.push(why.into());
    }

    /// Why the numbers may not be the cluster's.
    pub fn invalid(&mut self, why: impl IntoIterator<Item = String>) {
        self.invalid.extend(why);
    }

    /// A machine that was full of others, or of the generator.
    fn machine(&mut self, samples: &[&Sample]) {
        let nothing = Summary::default();
        self.invalid(verdict::limits(nothing, nothing, nothing, 0, samples, cores()));
    }
}

impl Output {
    /// Says how it goes, unless only JSON is wanted.
    pub fn say(&self, text: &str) -> Result<()> {
        if !self.json {
            say(text)?;
        }
        Ok(())
    }

    /// Says where it runs.
    pub fn introduce(&self, stage: &Stage) -> Result<()> {
        self.say(&stage.introduction())
    }

    /// Tells what was found, and gives the exit code.
    pub fn end(&self, finding: &Finding) -> Result<ExitCode> {
        if self.json {
            say(&format!("{}\n", serde_json::to_string_pretty(finding)?))?;
        } else {
            say(&finding.to_text())?;
        }
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
            std::fs::write(out.join("report.json"), serde_json::to_vec(finding)?)?;
            std::fs::write(out.join("report.html"), page::page(finding))?;
            self.say(&format!("report: {0}/report.html, {0}/report.json\n", out.display()))?;
        }
        Ok(finding.verdict.exit_code())
    }
}

impl Finding {
    /// With the verdict.
    fn new(mode: &'static str, setting: Setting, against: Against, figures: Value, text: String) -> Self {
        let Against {
            faults,
            failures,
            invalid,
        } = against;
        let mut reasons: Vec<String> = faults
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        reasons.extend(failures);
        let verdict = Verdict::of(&reasons, &invalid);
        reasons.extend(invalid);
        Self {
            mode,
            verdict,
            reasons,
            durability: setting.durability,
            environment: setting.environment,
            faults,
            figures,
            text,
            pictures: Vec::new(),
        }
    }

    fn to_text(&self) -> String {
        let mut out = self.text.clone();
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let _ = writeln!(out, "  {}", faults.join(", "));
        let _ = writeln!(out, "  durability: {}", self.durability);
        text::judgement(&mut out, self.verdict, &self.reasons);
        out
    }
}
