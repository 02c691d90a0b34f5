//! `kaiwa-bench generate`: plays its share of a coordinator's run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc as channel;

use super::clock::{self, Clock};
use super::wire::{
    self, ACCOUNTS_AT_ONCE, ClockFound, Frames, FromGenerator, GREETING_WITHIN, Hello, Outcome, PROTOCOL, SILENCE_MAX,
    Tick, ToGenerator, Welcome,
};
use crate::machine::CpuTimes;
use crate::run::environment::build;
use crate::run::line::Wire;
use crate::run::live::{Control, Live};
use crate::run::sampler::memory_mib;
use crate::run::world::roll::Share;
use crate::run::world::{Answer, Company, Order, Parts, Played, World};
use crate::run::{say, sign_in};
use crate::scenario::Scenario;

/// The coordinator is looked for so long.
const LOOKED_FOR: Duration = Duration::from_secs(60);
/// It may have a cluster to start before it answers.
const WELCOME_WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Whose run to take part in.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Where `kaiwa-bench coordinate` listens
    #[arg(long, value_name = "ADDRESS")]
    coordinator: SocketAddr,
    /// The scenario's file here, which must be the coordinator's; needed only where it names files of traces
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// What it is called in the report; the machine's name and the process if not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// Takes part.
pub fn generate(args: &GenerateArgs) -> Result<ExitCode> {
    crate::run::runtime()?.block_on(take_part(args))?;
    Ok(ExitCode::SUCCESS)
}

fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

async fn connected(address: SocketAddr) -> Result<TcpStream> {
    let until = Instant::now() + LOOKED_FOR;
    loop {
        let tried = tokio::time::timeout(GREETING_WITHIN, TcpStream::connect(address)).await;
        match tried {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) if Instant::now() > until => {
                return Err(error).with_context(|| format!("no coordinator at {address}"));
            }
            Err(_) if Instant::now() > until => bail!("no coordinator at {address}: no answer"),
            _ => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// Says who this is, and is told what to play.
pub async fn greeted(
    from: &mut Frames<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
    hello: Hello,
) -> Result<Box<Welcome>> {
    wire::write(to, &FromGenerator::Hello(hello)).await?;
    loop {
        let answer = tokio::time::timeout(WELCOME_WITHIN, from.next())
            .await
            .context("the coordinator did not answer")??;
        match answer {
            Some(ToGenerator::Welcome(welcome)) => return Ok(welcome),
            Some(ToGenerator::Refused { why }) => bail!("the coordinator refused: {why}"),
            Some(_) => {}
            None => bail!("the coordinator has closed the connection"),
        }
    }
}

async fn take_part(args: &GenerateArgs) -> Result<()> {
    let own = args.scenario.as_deref().map(crate::run::scenario).transpose()?;
    let clock = Clock::new();
    let (from, mut to) = connected(args.coordinator).await?.into_split();
    let mut from = Frames::new(from);
    let hello = Hello {
        protocol: PROTOCOL,
        version: build(),
        name: args.name.clone().unwrap_or_else(own_name),
        machine: wire::machine(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        scenario: own.as_ref().map(super::hash),
    };
    let name = hello.name.clone();
    let welcome = greeted(&mut from, &mut to, hello).await?;
    let mut scenario = match own {
        Some(scenario) => scenario,
        None => Scenario::parse(&welcome.scenario, &welcome.text, Path::new("."))
            .context("the coordinator's scenario; if it names files, give it to the generator with --scenario")?,
    };
    ensure!(
        super::hash(&scenario) == welcome.hash,
        "the coordinator's scenario is read otherwise here: use one kaiwa-bench on both sides"
    );
    (scenario.warm_up_ms, scenario.length_ms) = (welcome.warm_up_ms, welcome.length_ms);
    let found = clock::compare(&clock, &mut from, &mut to).await?;
    wire::write(&mut to, &FromGenerator::Clock(found)).await?;
    say(&format!(
        "{name}: generator {} of {} of {}; clock {:+} µs from the coordinator's, round trip {} µs\n",
        welcome.generator + 1,
        welcome.of,
        welcome.scenario,
        found.offset_us,
        found.round_trip_us
    ))?;
    let played = play(scenario, *welcome, (clock, found), &mut from, &mut to).await;
    if let Err(error) = &played {
        let why = format!("{error:#}");
        // It may be the connection itself that failed.
        let _ = tokio::time::timeout(GREETING_WITHIN, wire::write(&mut to, &FromGenerator::Failed { why })).await;
    }
    played
}

/// What goes on in the world, and with the coordinator.
async fn play<R, W>(
    scenario: Scenario,
    welcome: Welcome,
    (clock, found): (Clock, ClockFound),
    from: &mut Frames<R>,
    to: &mut W,
) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (wire, heard) = Wire::new(welcome.nonce, true);
    let (orders, given) = mpsc::channel();
    let (answers, mut told) = channel::unbounded_channel();
    let live = Arc::new(Mutex::new(Live::default()));
    let control = Arc::new(Control::default());
    let mut world = World::new(Parts {
        scenario: Arc::new(scenario),
        seed: welcome.seed,
        scale: welcome.scale,
        urls: welcome.urls,
        tenants: welcome.tenants,
        wire,
        live: Arc::clone(&live),
        control: Arc::clone(&control),
        company: Some(Company {
            share: Share {
                generator: welcome.generator,
                of: welcome.of,
            },
            orders: given,
            answers,
        }),
    });
    let _ends_with_this = EndsWorld(control.clone());
    let agents = world.agents_come()?;
    let count = agents.len();
    let mut lookout = Lookout::default();
    let mut playing = None;
    let mut signing_in = Box::pin(sign_in(agents));
    let mut world = Some((world, heard));
    let mut every = tokio::time::interval(LOOK_EVERY);
    let mut heard_at = Instant::now();
    let outcome = loop {
        tokio::select! {
            signed_in = &mut signing_in, if playing.is_none() => {
                signed_in?;
                if let Some((world, heard)) = world.take() {
                    playing = Some(tokio::task::spawn_blocking(move || world.play(&heard)));
                }
            }
            played = async { playing.as_mut().expect("it is looked at only then").await }, if playing.is_some() => {
                break played??;
            }
            Some(answer) = told.recv() => {
                for frame in of_answer(answer) {
                    wire::write(to, &frame).await?;
                }
            }
            _ = every.tick() => {
                let silent = heard_at.elapsed();
                ensure!(silent < SILENCE_MAX, "the coordinator has been silent for {} s", silent.as_secs());
                if let Some(tick) = lookout.tick(&live) {
                    wire::write(to, &FromGenerator::Tick(Box::new(tick))).await?;
                }
            }
            frame = from.next() => {
                heard_at = Instant::now();
                match frame? {
                    None => bail!("the coordinator has closed the connection"),
                    Some(ToGenerator::Begin { at_us }) => {
                        let _ = orders.send(Order::Begin(clock.moment(at_us, found)));
                    }
                    Some(ToGenerator::Stop { at_us }) => control.stop_at(at_us),
                    Some(ToGenerator::Account) => {
                        let _ = orders.send(Order::Account);
                    }
                    Some(ToGenerator::End) => {
                        let _ = orders.send(Order::End);
                    }
                    Some(_) => {}
                }
            }
        }
    };
    hand_over(outcome, count, clock, from, to).await
}

/// A world that nobody speaks for any more ends.
struct EndsWorld(Arc<Control>);

impl Drop for EndsWorld {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn hand_over<R, W>(played: Played, agents: usize, clock: Clock, from: &mut Frames<R>, to: &mut W) -> Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // Once more: clocks drift.
    let found = clock::compare(&clock, from, to).await?;
    wire::write(to, &FromGenerator::Clock(found)).await?;
    let outcome = Outcome {
        agents,
        record: played.record.pack(),
        tally: played.tally,
        books: played.books,
        cut_us: played.cut_us,
    };
    wire::write(to, &FromGenerator::Outcome(Box::new(outcome))).await?;
    say("done\n")?;
    Ok(())
}

fn of_answer(answer: Answer) -> Vec<FromGenerator> {
    match answer {
        Answer::Ready => vec![FromGenerator::Ready],
        Answer::Settled => vec![FromGenerator::Settled],
        Answer::Accounts(mut rows) => {
            let mut frames = Vec::new();
            loop {
                let rest = rows.split_off(rows.len().min(ACCOUNTS_AT_ONCE));
                let last = rest.is_empty();
                frames.push(FromGenerator::Accounts { rows, last });
                if last {
                    return frames;
                }
                rows = rest;
            }
        }
    }
}

/// Looks at this process and its machine.
#[derive(Default)]
struct Lookout {
    last: Option<(Instant, CpuTimes)>,
    /// Cores in use by this process, and of the machine.
    cpu: (f64, f64),
    told: Option<(Instant, u64)>,
}

impl Lookout {
    fn look(&mut self) {
        let now = Instant::now();
        if self.last.as_ref().is_some_and(|(at, _)| now - *at < TELL_EVERY) {
            return;
        }
        let Ok(times) = CpuTimes::now(&[std::process::id()]) else {
            return;
        };
        if let Some((before, last)) = &self.last {
            let (used, took_s) = (times.since(last), (now - *before).as_secs_f64());
            self.cpu = (used.processes[0] / took_s, used.machine / took_s);
        }
        self.last = Some((now, times));
    }

    /// What is to be told: an interval is complete, or nothing was told for a while.
    fn tick(&mut self, live: &Mutex<Live>) -> Option<Tick> {
        self.look();
        let live = live.lock().expect("nobody panics with it");
        if let Some((at, ticks)) = self.told
            && ticks == live.ticks
            && at.elapsed() < TELL_EVERY
        {
            return None;
        }
        self.told = Some((Instant::now(), live.ticks));
        Some(Tick {
            ticks: live.ticks,
            at_s: live.at_s,
            interval_s: live.interval_s,
            counts: [live.arrivals, live.assigned, live.messages, live.acknowledged],
            waiting: live.waiting,
            busy: live.busy,
            present: live.present,
            totals: live.totals,
            faults: live.faults,
            refused: live.refused,
            packed: live.packed.clone(),
            cpu: self.cpu.0,
            mib: memory_mib(std::process::id()),
            machine_cpu: self.cpu.1,
        })
    }
}
