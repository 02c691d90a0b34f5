//! One run: a safety phase with faults, a healing phase without; then everything is judged.
//!
//! ```text
//!   people chat ──────────────────────────────────────────────► silence ─► judged
//!     │ quiet │ fault (and another) │ quiet │ fault │ …  │ all healed: serve, converge │ killed once more: scan
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::arena::{Arena, ArenaOptions, PATIENCE};
use crate::faults::{self, Dice, Fault, Kind, Takes};
use crate::history;
use crate::invariants::{self, Looked};
use crate::oracle::{self, Evidence};
use crate::report::{Fired, Outcome};
use crate::scenarios::Scenario;
use crate::world::World;

/// After the faults: how long people go on before all must have gone well.
const CALM: Duration = Duration::from_secs(6);
/// Service must be back within this once a fault is healed.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Decides which faults strike what, and when.
    pub seed: u64,
    /// How long faults are put in; longer if some have not had their turn.
    pub faults_for: Duration,
    /// Where everything is kept.
    pub folder: PathBuf,
    /// `FAILPOINTS` of every node.
    pub failpoints: Option<String>,
    /// An older build that the nodes start with.
    pub old_binary: Option<PathBuf>,
    /// Only these faults.
    pub only: Vec<String>,
}

/// Runs a scenario. What goes wrong is in the outcome; an error is a run that could not be made.
pub async fn run(scenario: &Scenario, options: &RunOptions) -> Result<Outcome> {
    let began = Instant::now();
    let mut arena = Arena::start(arena_options(scenario, options))
        .await
        .context("the arena was not made")?;
    let mut play = Play::new(scenario, options)?;
    let recorder = arena.people.recorder.clone();
    arena.people.wait_until_owned(arena.options.customers / 2).await?;
    let mut violations = BTreeMap::new();
    let evidence = match play.through(&mut arena).await {
        Ok(evidence) => Some(evidence),
        Err(error) => {
            violations.insert('I', format!("{error:#}"));
            None
        }
    };
    history::write(&recorder.history(), &options.folder.join("history.jsonl"))?;
    let mut outcome = Outcome {
        scenario: scenario.name.to_owned(),
        seed: options.seed,
        fired: play.fired,
        skipped: play.skipped,
        violations,
        ..Outcome::default()
    };
    if let Some(evidence) = evidence {
        let verdict = invariants::judge(&evidence);
        outcome.messages = verdict.messages;
        outcome.conversations = verdict.conversations;
        outcome.operations = evidence.history.len();
        outcome.offers = verdict.offers.0;
        outcome.violations.extend(verdict.violated);
        for (letter, looked) in verdict.held {
            match looked {
                Looked::At(count) => drop(outcome.held.insert(letter, count)),
                Looked::Skipped(why) => drop(outcome.not_looked_at.insert(letter, why)),
            }
        }
    }
    let watched = arena.watch.watched();
    outcome.terms = watched.terms_led;
    outcome.samples = watched.samples;
    outcome.took_s = began.elapsed().as_secs();
    Ok(outcome)
}

fn arena_options(scenario: &Scenario, options: &RunOptions) -> ArenaOptions {
    ArenaOptions {
        folder: options.folder.clone(),
        disks: scenario.disks.to_vec(),
        clocks: scenario.clocks.iter().copied().collect(),
        customers: 32,
        agents: 10,
        concurrent: 4,
        seed: options.seed,
        failpoints: options.failpoints.clone(),
        // Only where it is replaced: it may lack what the other faults ask for.
        old_binary: options.old_binary.clone().filter(|_| {
            let mut faults = scenario.faults.iter();
            faults.any(|(name, _)| *name == "upgrade-rolling")
        }),
    }
}

/// Faults of one family would heal what the other broke.
fn family(kind: &Kind) -> &'static str {
    match kind.name.split('-').next() {
        Some("partition" | "reset") => "net",
        Some(first) => first,
        None => kind.name,
    }
}

/// A fault that is on.
struct On {
    kind: &'static Kind,
    fault: Box<dyn Fault>,
    struck: Instant,
    what: String,
}

struct Play {
    dice: Dice,
    end: Instant,
    began: Instant,
    weights: Vec<(&'static Kind, u32)>,
    /// Those that have not had their turn yet.
    first: Vec<&'static Kind>,
    fired: Vec<Fired>,
    skipped: BTreeMap<String, String>,
    log: File,
    longest_pause: Duration,
}

impl Play {
    fn new(scenario: &Scenario, options: &RunOptions) -> Result<Self> {
        let mut dice = Dice::seed_from_u64(options.seed);
        let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
        let weights: Vec<_> = scenario
            .faults
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, weight)| {
                Ok((
                    faults::named(name).context("scenarios name faults that there are")?,
                    *weight,
                ))
            })
            .collect::<Result<_>>()?;
        ensure!(!weights.is_empty(), "{} has none of these faults", scenario.name);
        let mut first: Vec<_> = weights.iter().map(|(kind, _)| *kind).collect();
        first.shuffle(&mut dice);
        Ok(Self {
            dice,
            end: Instant::now() + options.faults_for,
            began: Instant::now(),
            weights,
            first,
            fired: Vec::new(),
            skipped: BTreeMap::new(),
            log: File::create(options.folder.join("faults.log"))?,
            longest_pause: Duration::ZERO,
        })
    }

    fn note(&mut self, what: &str) -> Result<()> {
        let line = format!("{:8.3} {what}", self.began.elapsed().as_secs_f64());
        tracing::info!("{line}");
        Ok(writeln!(self.log, "{line}")?)
    }

    async fn pause(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.dice.random_range(ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn next_kind(&mut self) -> &'static Kind {
        self.first.pop().unwrap_or_else(|| {
            let kind = self.weights.choose_weighted(&mut self.dice, |(_, weight)| *weight);
            kind.expect("weights are above zero").0
        })
    }

    async fn through(&mut self, arena: &mut Arena) -> Result<Evidence> {
        self.safety(arena).await?;
        self.healing(arena).await
    }

    /// Faults, one or two at a time, with quiet between.
    async fn safety(&mut self, arena: &mut Arena) -> Result<()> {
        self.end = Instant::now() + (self.end - self.began);
        self.began = Instant::now();
        while Instant::now() < self.end || !self.first.is_empty() {
            self.pause(500..2_500).await;
            let kind = self.next_kind();
            arena.people.diary.lock().await.watch_pause();
            let Some(first) = self.strike(arena, kind).await? else {
                continue;
            };
            let mut on = vec![first];
            // Another that takes nothing away, at the same time.
            if !kind.alone && self.dice.random_bool(0.4) {
                let beside = self.beside(kind);
                self.pause(0..800).await;
                if let Some(kind) = beside {
                    on.extend(self.strike(arena, kind).await?);
                }
            }
            let (from_ms, to_ms) = kind.lasts_ms;
            self.pause(from_ms..to_ms).await;
            self.heal(arena, on).await?;
        }
        Ok(())
    }

    fn beside(&mut self, kind: &Kind) -> Option<&'static Kind> {
        let others: Vec<_> = self
            .weights
            .iter()
            .map(|(other, _)| *other)
            .filter(|other| other.takes == Takes::Nothing && !other.alone && other.name != kind.name)
            .filter(|other| family(other) != family(kind))
            .collect();
        others.choose(&mut self.dice).copied()
    }

    async fn strike(&mut self, arena: &mut Arena, kind: &'static Kind) -> Result<Option<On>> {
        let mut fault = (kind.make)();
        let struck = Instant::now();
        let what = fault
            .strike(arena, &mut self.dice)
            .await
            .with_context(|| format!("{} could not strike", kind.name))?;
        let Some(what) = what else {
            self.note(&format!("{}: nothing to strike now", kind.name))?;
            let why = match kind.name == "upgrade-rolling" {
                true => "no older build was given (`--old COMMIT`)",
                false => "there was nothing of the kind to break",
            };
            self.skipped.entry(kind.name.to_owned()).or_insert(why.to_owned());
            return Ok(None);
        };
        self.note(&format!("{}: {what}", kind.name))?;
        Ok(Some(On {
            kind,
            fault,
            struck,
            what,
        }))
    }

    /// Heals what is on, the latest first, and waits until there is service.
    async fn heal(&mut self, arena: &mut Arena, on: Vec<On>) -> Result<()> {
        let mut healed = Vec::new();
        for mut on in on.into_iter().rev() {
            let met = on.fault.heal(arena, &mut self.dice).await;
            let met = met.with_context(|| format!("{} ({}) was not healed", on.kind.name, on.what))?;
            healed.push((on, met, Instant::now()));
        }
        let names: Vec<&str> = healed.iter().map(|(on, _, _)| on.kind.name).collect();
        let (whole, before) = (Instant::now(), arena.people.acknowledged().await);
        let served = async |arena: &mut Arena| arena.people.acknowledged().await > before;
        arena
            .until(&format!("service after {}", names.join(" and ")), BACK_WITHIN, served)
            .await?;
        let back = whole.elapsed();
        let stood_still = arena.people.diary.lock().await.longest_pause;
        self.longest_pause = self.longest_pause.max(stood_still);
        for (on, met, at) in healed {
            self.note(&format!("{}: healed, met {} {}", on.kind.name, met.count, met.what))?;
            if met.count > 0 {
                self.skipped.remove(on.kind.name);
            }
            self.fired.push(Fired {
                fault: on.kind.name.to_owned(),
                what: on.what,
                met: met.count,
                lasted_ms: (at - on.struck).as_millis() as u64,
                back_ms: back.as_millis() as u64,
                stood_still_ms: stood_still.as_millis() as u64,
            });
        }
        self.note(&format!("served again after {back:?}, stood still for {stood_still:?}"))
    }

    /// All faults end; the cluster must serve, converge, and still have everything after it was killed once more.
    async fn healing(&mut self, arena: &mut Arena) -> Result<Evidence> {
        self.note("all faults end")?;
        arena.make_whole().await?;
        let before = arena.people.acknowledged().await;
        arena.watch.set_calm(true);
        tokio::time::sleep(CALM).await;
        arena.watch.set_calm(false);
        ensure!(
            arena.people.acknowledged().await > before,
            "nothing was acknowledged for {CALM:?} after all faults had ended"
        );
        self.note("people fall silent")?;
        ensure!(
            arena.people.fall_silent(PATIENCE).await,
            "commands were not settled within {PATIENCE:?}"
        );
        arena.people.wait_until_offers_ended().await?;
        arena.world.wait_quiet(PATIENCE).await?;
        arena.people.wait_until_offers_ended().await?;
        arena.world.wait_equal(PATIENCE).await?;
        let diary = arena.people.diary.clone();
        let mut evidence = Evidence::gather(&mut arena.world, &diary, self.longest_pause).await?;
        self.note("all are killed once more, for the durability scan")?;
        arena.world.cluster.kill_all()?;
        for node in arena.members() {
            arena.start_node(node)?;
        }
        arena.make_whole().await?;
        scan(&mut arena.world, &evidence).await?;
        evidence.watched = Some(arena.watch.watched());
        evidence.distrust = arena.distrust.clone();
        evidence.folder = Some(arena.options.folder.clone());
        Ok(evidence)
    }
}

/// What there was before a restart of all nodes is there after it.
async fn scan(world: &mut World, evidence: &Evidence) -> Result<()> {
    let conversations: Vec<_> = evidence.first().keys().copied().collect();
    for node in world.cluster.running() {
        let now = oracle::transcripts(world, node, &conversations).await?;
        for (id, before) in evidence.first() {
            ensure!(
                now.get(id).is_some_and(|now| now.starts_with(before)),
                "A: {id} has lost entries on node {node} when all nodes were killed: before {before:?}, after {:?}",
                now.get(id)
            );
        }
    }
    Ok(())
}
