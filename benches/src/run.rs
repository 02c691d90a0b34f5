//! `kaiwa-bench run SCENARIO.toml`: people by the thousand on a real cluster, by a schedule that does not wait for answers.

pub mod account;
mod display;
pub mod environment;
mod exporter;
pub mod line;
pub mod live;
pub mod record;
pub mod sampler;
pub mod stage;
pub mod verdict;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use node::toml_input::duration_ms;
use tokio::runtime::Handle;

use crate::report::{self, Report, Verdict, prediction};
use crate::scenario::Scenario;
pub use display::say;
use line::Wire;
use live::Live;
use sampler::Sampler;
use stage::{Place, Stage};
use world::{Parts, World};

/// A run whose numbers may be the generator's own.
pub const EXIT_INVALID: u8 = 3;
/// Agents that sign in at a time.
const SIGNING_IN_AT_ONCE: usize = 64;
const SIGN_IN_WITHIN: Duration = Duration::from_secs(300);

/// What to run, and where.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario's file, or the name of a shipped one
    #[arg(value_name = "SCENARIO")]
    scenario: PathBuf,
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Seed, instead of the scenario's
    #[arg(long)]
    seed: Option<u64>,
    /// Measured time, instead of the scenario's: 30s, 10m
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    length_ms: Option<u64>,
    /// Time before anything is measured, instead of the scenario's
    #[arg(long, value_name = "TIME", value_parser = time)]
    warm_up: Option<u64>,
    /// Multiplies all rates of arrivals and messages
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Folder for report.json and report.html
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Serves the generator's own metrics there, for Prometheus
    #[arg(long, value_name = "ADDRESS")]
    metrics_addr: Option<SocketAddr>,
}

/// The cluster to run on.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// URL of a node's public API; repeat it for each. Without any, a cluster of its own is started
    #[arg(long, value_name = "URL", requires = "admin", requires = "key")]
    target: Vec<String>,
    /// URL of a node's admin API, for making tenants and for metrics; repeat it for each
    #[arg(long, value_name = "URL", requires = "target")]
    admin: Vec<String>,
    /// Key of the admin API
    #[arg(long, env = "KAIWA_ADMIN_KEY", hide_env_values = true)]
    key: Option<String>,
    /// What the names of the tenants that are made on a target begin with; others are not touched
    #[arg(long, value_name = "NAME", default_value = "bench")]
    tenant: String,
    #[command(flatten)]
    pub own: OwnArgs,
}

/// A cluster of its own.
#[derive(Clone, Debug, Args)]
pub struct OwnArgs {
    /// The `kaiwa` binary of an own cluster; the one beside this program if not given
    #[arg(long)]
    pub binary: Option<PathBuf>,
    /// Folder for an own cluster's data (on the disk that is to be measured); a temporary one if not given
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Nodes of an own cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=15))]
    pub nodes: u64,
}

pub fn time(text: &str) -> Result<u64, String> {
    duration_ms(text)
        .filter(|ms| *ms >= 1_000)
        .ok_or_else(|| "write 30s or 10m, at least 1s".to_owned())
}

impl OwnArgs {
    /// The binary.
    fn binary(&self) -> Result<PathBuf> {
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()?.with_file_name("kaiwa"),
        };
        let how = "cargo build --release -p kaiwa -p kaiwa-bench";
        ensure!(
            binary.exists(),
            "{} is not there: {how}, or say --binary",
            binary.display()
        );
        Ok(binary)
    }

    /// With its data in `temporary` unless a folder was given.
    pub fn place(&self, temporary: &std::path::Path) -> Result<Place> {
        Ok(Place::Own {
            binary: self.binary()?,
            dir: self.dir.clone().unwrap_or_else(|| temporary.to_owned()),
            nodes: self.nodes,
        })
    }
}

impl PlaceArgs {
    /// Without a target.
    pub fn is_own(&self) -> bool {
        self.target.is_empty()
    }

    /// How many nodes are known.
    pub fn node_count(&self) -> usize {
        if self.is_own() {
            self.own.nodes as usize
        } else {
            self.target.len()
        }
    }

    /// The target, or a cluster of its own with its data in `temporary` unless a folder was given.
    pub fn place(&self, temporary: &std::path::Path) -> Result<Place> {
        if self.is_own() {
            return self.own.place(temporary);
        }
        Ok(Place::Target {
            urls: self.target.clone(),
            admins: self.admin.clone(),
            key: self.key.clone().context("--key is needed with --target")?,
            tenant_prefix: self.tenant.clone(),
        })
    }
}

/// A run to make.
pub struct Job {
    pub scenario: Arc<Scenario>,
    pub place: PlaceArgs,
    pub seed: u64,
    pub scale: f64,
    pub metrics_addr: Option<SocketAddr>,
    /// Says nothing while it runs.
    pub quiet: bool,
}

/// A scenario by its file, or by the name of a shipped one.
pub fn scenario(path: &std::path::Path) -> Result<Scenario> {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios")
        .join(path)
        .with_extension("toml");
    let by_name = !path.exists() && path.components().count() == 1 && path.extension().is_none();
    Scenario::load(if by_name && shipped.exists() { &shipped } else { path })
}

/// The runtime of the clients. The world has a thread of its own.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

/// Runs, writes the report, and gives the exit code.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut scenario = scenario(&args.scenario)?;
    scenario.length_ms = args.length_ms.unwrap_or(scenario.length_ms);
    scenario.warm_up_ms = args.warm_up.unwrap_or(scenario.warm_up_ms);
    ensure!(args.scale > 0.0 && args.scale.is_finite(), "--scale must be above 0");
    let job = Job {
        seed: args.seed.unwrap_or(scenario.seed),
        scenario: Arc::new(scenario),
        place: args.place.clone(),
        scale: args.scale,
        metrics_addr: args.metrics_addr,
        quiet: false,
    };
    let report = runtime()?.block_on(make(&job))?;
    display::say(&report::text(&report))?;
    if let Some(out) = &args.out {
        report.write(out)?;
        display::say(&format!("report: {0}/report.html, {0}/report.json\n", out.display()))?;
    }
    Ok(match report.verdict {
        Verdict::Pass => ExitCode::SUCCESS,
        Verdict::Fail => ExitCode::FAILURE,
        Verdict::Invalid => ExitCode::from(EXIT_INVALID),
    })
}

/// Makes one run.
pub async fn make(job: &Job) -> Result<Report> {
    let temporary = tempfile::tempdir()?;
    let place = job.place.place(temporary.path())?;
    let nonce: u32 = rand::random();
    let scenario = Arc::clone(&job.scenario);
    let load_before = crate::machine::load_average();
    let tell = |text: &str| if job.quiet { Ok(()) } else { display::say(text) };
    tell(&format!(
        "{}: {} tenants, {} agents\n",
        scenario.name,
        scenario.tenant_count(),
        scenario.agent_count()
    ))?;
    let mut stage = Stage::set(&place, &scenario, nonce).await?;
    tell(&format!(
        "cluster: {} ({})\ndurability: {}\n",
        where_it_is(&stage),
        stage.urls.join(", "),
        stage.durability
    ))?;
    let live = Arc::new(Mutex::new(Live {
        from_s: scenario.warm_up_ms as f64 / 1e3,
        ..Live::default()
    }));
    let (news, heard) = mpsc::channel();
    let mut world = World::new(Parts {
        scenario: Arc::clone(&scenario),
        seed: job.seed,
        scale: job.scale,
        urls: stage.urls.clone(),
        tenants: std::mem::take(&mut stage.tenants),
        wire: Wire {
            news,
            runtime: Handle::current(),
            nonce,
        },
        live: Arc::clone(&live),
    });
    let agents = world.agents_come()?;
    let signing_in = futures::stream::iter(agents)
        .map(|agent| async move { agent.sign_in().await.context("an agent could not sign in") })
        .buffer_unordered(SIGNING_IN_AT_ONCE)
        .try_for_each(|_| async { Ok(()) });
    tokio::time::timeout(SIGN_IN_WITHIN, signing_in)
        .await
        .context("the agents were not signed in in time")??;
    let over = Arc::new(AtomicBool::new(false));
    let prefix = match &place {
        Place::Own { .. } => "bench".to_owned(),
        Place::Target { tenant_prefix, .. } => tenant_prefix.clone(),
    };
    let sampler = Sampler {
        pids: stage.pids(),
        admins: stage.admins.clone(),
        prefix: format!("{prefix}-{nonce:08x}-"),
        http: stage::client()?,
        live: Arc::clone(&live),
        over: Arc::clone(&over),
    };
    let sampling = tokio::spawn(sampler.run());
    if let Some(address) = job.metrics_addr {
        exporter::serve(address, Arc::clone(&live)).await?;
    }
    let display = (!job.quiet).then(|| display::start(Arc::clone(&live), Arc::clone(&over)));
    let playing = tokio::task::spawn_blocking(move || world.play(&heard));
    let played = playing.await?;
    over.store(true, Ordering::Relaxed);
    if let Some(display) = display {
        display.await?;
    }
    let samples = sampling.await?;
    let (record, tally) = played?;
    let environment = environment::look(&stage, &place, load_before);
    let mut report = verdict::report(job, record, tally, samples, environment);
    report.durability.clone_from(&stage.durability);
    report.prediction = prediction::predict(&scenario, job.scale);
    if let Some(local) = &mut stage.local {
        local.stop_all(Duration::from_secs(10)).await?;
    }
    Ok(report)
}

/// For people.
pub fn where_it_is(stage: &Stage) -> String {
    match &stage.data {
        Some(data) => format!(
            "{} nodes of its own, processes {:?}, data in {} ({})",
            stage.urls.len(),
            stage.pids(),
            data.display(),
            crate::machine::file_system(data)
        ),
        None => "the target".to_owned(),
    }
}
