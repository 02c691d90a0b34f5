//! What a run leaves behind: `report.json` for programs, `report.html` for people.

pub mod html;
mod plots;
pub mod prediction;
pub mod text;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::run::EXIT_INVALID;
use crate::run::account::Faults;
use crate::run::record::{Interval, Summary};
use crate::run::sampler::Sample;
use prediction::Prediction;

pub use text::text;

/// What a run is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All was right.
    Pass,
    /// Something was lost, doubled, misordered, doubly assigned, over capacity, unanswered, or too much refused.
    Fail,
    /// The generator, and not the cluster, may have set the numbers.
    Invalid,
}

impl Verdict {
    /// What is wrong is wrong, however late the generator was.
    pub fn of(failures: &[String], invalid: &[String]) -> Self {
        match (failures, invalid) {
            ([], []) => Self::Pass,
            ([], _) => Self::Invalid,
            _ => Self::Fail,
        }
    }

    /// In one word; in small letters it is the class of its badge on a page.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Invalid => "INVALID",
        }
    }

    /// Of the process.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Pass => ExitCode::SUCCESS,
            Self::Fail => ExitCode::FAILURE,
            Self::Invalid => ExitCode::from(EXIT_INVALID),
        }
    }
}

/// Where and how it ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Environment {
    pub at: String,
    pub machine: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    pub file_system: String,
    /// Of the sources of the harness.
    pub commit: String,
    /// Of the harness; and the nodes' binary, when it is its own cluster.
    pub build: String,
    pub binary: String,
    pub nodes: Vec<String>,
    pub load_before: String,
    pub load_after: String,
}

/// One of several generators of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GeneratorReport {
    pub name: String,
    /// On the machine of the coordinator.
    pub here: bool,
    pub agents: usize,
    pub customers: u64,
    /// Of its machine.
    pub cores: usize,
    /// Means over the measured part: cores that it used, and that were used on its machine.
    pub cpu: f64,
    pub machine_cpu: f64,
    pub mib: f64,
    /// How late it was itself.
    pub lag: Summary,
    pub runtime: Summary,
    pub dropped: u64,
    /// To be added to its clock to have the coordinator's; known to half of the round trip; how much it changed over the run.
    pub clock_offset_us: i64,
    pub clock_round_trip_us: u64,
    pub clock_drift_us: i64,
    /// Seconds, p99 of the schedule lag in milliseconds.
    pub lag_over_time: Vec<(f64, f64)>,
}

/// What the accounts of several generators hold together, warm-up included: what was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounted {
    pub conversations: u64,
    /// Of those: known to more than one generator.
    pub across: u64,
    /// Messages acknowledged.
    pub messages: u64,
}

/// A run's report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    pub verdict: Verdict,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    pub scenario: String,
    pub about: String,
    pub seed: u64,
    /// All rates were multiplied by it.
    pub scale: f64,
    pub warm_up_s: f64,
    pub length_s: f64,
    /// It was ended by hand: `length_s` is what was measured until then.
    #[serde(default)]
    pub cut_short: bool,
    pub interval_s: f64,
    pub service_level_s: f64,
    pub durability: String,
    pub environment: Environment,
    pub agents: usize,
    pub places: usize,
    /// Over the measured part.
    pub measures: BTreeMap<String, Summary>,
    pub counts: BTreeMap<String, u64>,
    pub faults: Faults,
    pub refused: BTreeMap<String, u64>,
    pub commands: u64,
    /// Refused because something else had happened to the conversation a moment before.
    pub overtaken: u64,
    /// Arrivals that the generator had no room for.
    pub dropped: u64,
    pub connections_lost: u64,
    pub owners_lost: u64,
    pub transfers: u64,
    pub customers_most: usize,
    /// Share of arrivals that was answered within the service level's time.
    pub service_level: Option<f64>,
    pub abandonment: Option<f64>,
    /// Means over the measured part, as the generator knows.
    pub waiting_mean: f64,
    pub occupancy: f64,
    pub prediction: Option<Prediction>,
    pub intervals: Vec<Interval>,
    pub samples: Vec<Sample>,
    /// Where there were several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generators: Vec<GeneratorReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounted: Option<Accounted>,
    /// The file, as it was.
    pub scenario_text: String,
}

impl Report {
    /// Writes both files into a folder.
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        std::fs::write(dir.join("report.json"), serde_json::to_vec(self)?)?;
        std::fs::write(dir.join("report.html"), html::page(self)?)?;
        Ok(())
    }

    /// Reads what [`Report::write`] wrote: a folder or the JSON file itself.
    pub fn read(path: &Path) -> Result<Self> {
        let file = if path.is_dir() {
            path.join("report.json")
        } else {
            path.to_owned()
        };
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of a run", file.display()))
    }

    /// Intervals of the measured part.
    pub fn measured(&self) -> impl Iterator<Item = &Interval> {
        let (from_s, until_s) = (self.warm_up_s, self.warm_up_s + self.length_s);
        self.intervals
            .iter()
            .filter(move |interval| interval.at_s >= from_s && interval.at_s < until_s)
    }

    /// Samples of the measured part.
    pub fn sampled(&self) -> impl Iterator<Item = &Sample> {
        let (from_s, until_s) = (self.warm_up_s, self.warm_up_s + self.length_s);
        self.samples
            .iter()
            .filter(move |sample| sample.at_s >= from_s && sample.at_s <= until_s + 1.0)
    }
}
