//! `kaiwa-bench run SCENARIO.toml`: people by the thousand on a real cluster, by a schedule that does not wait for answers.

pub mod account;
mod display;
pub mod environment;
mod exporter;
pub mod fleet;
pub mod line;
pub mod live;
pub mod record;
pub mod sampler;
mod screen;
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
use node::client::Client;
use node::toml_input::duration_ms;

use crate::report::{self, Report, prediction};
use crate::scenario::Scenario;
pub use display::say;
use fleet::{Coordinator, Fleet, Welcome};
use line::{News, Wire};
use live::{Control, Live};
use sampler::Sampler;
use stage::{Place, Stage};
use verdict::Findings;
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
    /// Plays by so many generators instead of by this process alone
    #[arg(long, value_name = "N")]
    generators: Option<usize>,
    /// A line every few seconds, on a terminal too
    #[arg(long)]
    plain: bool,
    /// Serves the generator's own metrics there, for Prometheus
    #[arg(long, value_name = "ADDRESS")]
    metrics_addr: Option<SocketAddr>,
}

/// A run whose generators are started by hand, on this machine or others.
#[derive(Debug, Args)]
pub struct CoordinateArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Where the generators come (`kaiwa-bench generate --coordinator ADDRESS`); whoever can reach it can read and spoil the run
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9600")]
    listen: SocketAddr,
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
    /// Lines instead of a screen.
    pub plain: bool,
    /// Several generators, instead of this process.
    pub fleet: Option<Fleet>,
}

impl Job {
    fn say(&self, text: &str) -> Result<()> {
        if !self.quiet {
            display::say(text)?;
        }
        Ok(())
    }
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
    run_with(args, None)
}

/// The same, with generators that come by themselves.
pub fn coordinate(args: &CoordinateArgs) -> Result<ExitCode> {
    ensure!(
        args.run.generators.is_some(),
        "say how many generators are to come: --generators N"
    );
    run_with(&args.run, Some(args.listen))
}

fn run_with(args: &RunArgs, listen: Option<SocketAddr>) -> Result<ExitCode> {
    let mut scenario = scenario(&args.scenario)?;
    let fleet = args.generators.map(|count| Fleet {
        count,
        listen,
        scenario: args.scenario.clone(),
        hash: fleet::hash(&scenario),
    });
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
        plain: args.plain,
        fleet,
    };
    let report = runtime()?.block_on(make(&job))?;
    display::say(&report::text(&report))?;
    if let Some(out) = &args.out {
        report.write(out)?;
        display::say(&format!("report: {0}/report.html, {0}/report.json\n", out.display()))?;
    }
    Ok(report.verdict.exit_code())
}

/// What surrounds a run, whoever plays it.
struct Setting {
    stage: Stage,
    nonce: u32,
    live: Arc<Mutex<Live>>,
    control: Arc<Control>,
}

/// Who plays it.
enum Cast {
    Alone(Box<World>, mpsc::Receiver<News>),
    Several(Box<Coordinator>),
}

/// Signs agents in.
pub async fn sign_in(agents: Vec<Client>) -> Result<()> {
    let signing_in = futures::stream::iter(agents)
        .map(|agent| async move { agent.sign_in().await.context("an agent could not sign in") })
        .buffer_unordered(SIGNING_IN_AT_ONCE)
        .try_for_each(|_| async { Ok(()) });
    tokio::time::timeout(SIGN_IN_WITHIN, signing_in)
        .await
        .context("the agents were not signed in in time")?
}

impl Setting {
    async fn new(job: &Job, place: &Place) -> Result<Self> {
        let nonce: u32 = rand::random();
        let scenario = &job.scenario;
        let stage = Stage::set(place, scenario, nonce).await?;
        job.say(&stage.introduction())?;
        let live = Live {
            scenario: format!("{}: {}", scenario.name, scenario.about),
            from_s: scenario.warm_up_ms as f64 / 1e3,
            until_s: (scenario.warm_up_ms + scenario.length_ms) as f64 / 1e3,
            settle_s: scenario.settle_ms as f64 / 1e3,
            places: scenario.places() as u64,
            ..Live::default()
        };
        Ok(Self {
            stage,
            nonce,
            live: Arc::new(Mutex::new(live)),
            control: Arc::default(),
        })
    }

    fn sampler(&self, place: &Place, over: &Arc<AtomicBool>) -> Result<Sampler> {
        let prefix = match place {
            Place::Own { .. } => "bench",
            Place::Target { tenant_prefix, .. } => tenant_prefix,
        };
        Ok(Sampler {
            pids: self.stage.pids(),
            admins: self.stage.admins.clone(),
            prefix: format!("{prefix}-{:08x}-", self.nonce),
            http: stage::client()?,
            live: Arc::clone(&self.live),
            over: Arc::clone(over),
        })
    }

    /// Everybody is there and signed in.
    async fn cast(&mut self, job: &Job, coordinator: Option<Coordinator>) -> Result<Cast> {
        if let Some(mut coordinator) = coordinator {
            coordinator.gather(&self.welcome(job)).await?;
            return Ok(Cast::Several(Box::new(coordinator)));
        }
        let (wire, heard) = Wire::new(self.nonce, false);
        let mut world = World::new(Parts {
            scenario: Arc::clone(&job.scenario),
            seed: job.seed,
            scale: job.scale,
            urls: self.stage.urls.clone(),
            tenants: std::mem::take(&mut self.stage.tenants),
            wire,
            live: Arc::clone(&self.live),
            control: Arc::clone(&self.control),
            company: None,
        });
        sign_in(world.agents_come()?).await?;
        Ok(Cast::Alone(Box::new(world), heard))
    }

    /// What generators are told.
    fn welcome(&self, job: &Job) -> Welcome {
        Welcome {
            generator: 0,
            of: 0,
            scenario: job.scenario.name.clone(),
            text: job.scenario.text.clone(),
            hash: job.fleet.as_ref().map(|fleet| fleet.hash.clone()).unwrap_or_default(),
            warm_up_ms: job.scenario.warm_up_ms,
            length_ms: job.scenario.length_ms,
            seed: job.seed,
            scale: job.scale,
            nonce: self.nonce,
            urls: self.stage.urls.clone(),
            tenants: self.stage.tenants.clone(),
        }
    }

    async fn play(&self, job: &Job, cast: Cast) -> Result<Findings> {
        match cast {
            Cast::Alone(world, heard) => {
                let played = tokio::task::spawn_blocking(move || world.play(&heard)).await??;
                Ok(Findings {
                    record: played.record,
                    tally: played.tally,
                    samples: Vec::new(),
                    generators: Vec::new(),
                    accounted: None,
                    cut_us: played.cut_us,
                })
            }
            Cast::Several(mut coordinator) => {
                let plans: Vec<usize> = self.stage.tenants.iter().map(|tenant| tenant.plan).collect();
                let gathered = coordinator
                    .run(&job.scenario, &self.live, &self.control, &plans)
                    .await?;
                Ok(Findings {
                    record: gathered.merged.record,
                    tally: gathered.merged.tally,
                    samples: Vec::new(),
                    generators: gathered.generators,
                    accounted: Some(gathered.accounted),
                    cut_us: gathered.cut_us,
                })
            }
        }
    }
}

/// Makes one run.
pub async fn make(job: &Job) -> Result<Report> {
    let temporary = tempfile::tempdir()?;
    let place = job.place.place(temporary.path())?;
    let load_before = crate::machine::load_average();
    job.say(&format!(
        "{}: {} tenants, {} agents\n",
        job.scenario.name,
        job.scenario.tenant_count(),
        job.scenario.agent_count()
    ))?;
    // Before the cluster is there: an address that is taken is known at once.
    let coordinator = match &job.fleet {
        Some(fleet) => Some(Coordinator::new(fleet.clone()).await?),
        None => None,
    };
    let mut setting = Setting::new(job, &place).await?;
    let cast = setting.cast(job, coordinator).await?;
    let over = Arc::new(AtomicBool::new(false));
    let sampling = tokio::spawn(setting.sampler(&place, &over)?.run());
    if let Some(address) = job.metrics_addr {
        exporter::serve(address, Arc::clone(&setting.live)).await?;
    }
    let (live, control) = (Arc::clone(&setting.live), Arc::clone(&setting.control));
    let display = (!job.quiet).then(|| display::start(live, Arc::clone(&over), control, job.plain));
    let played = setting.play(job, cast).await;
    // Whatever came of it, the terminal is given back before anything is said.
    over.store(true, Ordering::Relaxed);
    if let Some(display) = display {
        display.await?;
    }
    let samples = sampling.await?;
    let found = Findings { samples, ..played? };
    let mut scenario = Scenario::clone(&job.scenario);
    if let Some(cut_us) = found.cut_us {
        let measured_ms = (cut_us / 1_000).saturating_sub(scenario.warm_up_ms);
        ensure!(measured_ms >= 1_000, "ended by hand before a second was measured");
        scenario.length_ms = measured_ms;
    }
    let environment = environment::look(&setting.stage, &place, load_before);
    let mut report = verdict::report(job, found, environment);
    report.durability.clone_from(&setting.stage.durability);
    report.prediction = prediction::predict(&scenario, job.scale);
    setting.stage.end().await?;
    Ok(report)
}
