//! The coordinator's side.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc as channel;
use tokio::task::AbortHandle;

use super::clock::Clock;
use super::merge::{Merged, Part, merge};
use super::wire::{
    self, ClockFound, Frames, FromGenerator, GREETING_WITHIN, Hello, Outcome, SILENCE_MAX, Tick, ToGenerator, Welcome,
};
use super::{Fleet, GENERATORS_MAX};
use crate::report::{Accounted, GeneratorReport};
use crate::run::account::Account;
use crate::run::live::{Control, Generator, Live, SHOWN};
use crate::run::record::{self, MEASURES};
use crate::run::world::STANDING_WAIT;
use crate::run::{SIGN_IN_WITHIN, say};
use crate::scenario::Scenario;

/// Generators may come so long after the cluster is there.
const COME_WITHIN: Duration = Duration::from_secs(300);
/// From the last one's being ready to the begin.
const AHEAD: Duration = Duration::from_secs(1);
/// An early end is told so long before it, so that it is the same for all.
const STOP_AHEAD_US: u64 = 400_000;
/// Between two questions for the accounts.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// What was measured is handed over within it.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(120);
/// Every generator says it is settled at the latest so long after it has to be.
const GRACE: Duration = Duration::from_secs(30);

/// A generator, as the coordinator knows it.
struct Member {
    hello: Hello,
    here: bool,
    to: channel::UnboundedSender<ToGenerator>,
    clock: Option<ClockFound>,
    ready: bool,
    drift_us: i64,
    heard: Instant,
    /// Cores in use by it and on its machine; looks, in the measured part.
    cpu: (f64, f64, u32),
    mib: f64,
    outcome: Option<Outcome>,
}

type Connection = (Frames<OwnedReadHalf>, OwnedWriteHalf);

/// A conversation, and how many generators know of it.
#[derive(Default)]
struct Known {
    account: Account,
    by: u32,
}

enum Heard {
    Frame(FromGenerator),
    Gone(String),
}

/// Has the listener, and the generators that are its children.
pub struct Coordinator {
    fleet: Fleet,
    /// Until all are here.
    listener: Option<TcpListener>,
    address: SocketAddr,
    children: Vec<(String, Child)>,
    logs: tempfile::TempDir,
    clock: Clock,
    members: Vec<Member>,
    tasks: Vec<AbortHandle>,
    heard: channel::UnboundedReceiver<(usize, Heard)>,
    tell: channel::UnboundedSender<(usize, Heard)>,
}

/// What came of all of them.
pub struct Gathered {
    pub merged: Merged,
    pub generators: Vec<GeneratorReport>,
    pub accounted: Accounted,
    pub cut_us: Option<u64>,
}

impl Coordinator {
    /// Listens, and starts the children that it is to have.
    pub async fn new(fleet: Fleet) -> Result<Self> {
        ensure!(
            (1..=GENERATORS_MAX).contains(&fleet.count),
            "--generators is from 1 to {GENERATORS_MAX}"
        );
        let address = fleet.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the coordinator cannot listen on {address}"))?;
        let (tell, heard) = channel::unbounded_channel();
        let mut coordinator = Self {
            address: listener.local_addr()?,
            listener: Some(listener),
            tasks: Vec::new(),
            children: Vec::new(),
            logs: tempfile::tempdir()?,
            clock: Clock::new(),
            members: Vec::new(),
            heard,
            tell,
            fleet,
        };
        if coordinator.fleet.listen.is_none() {
            for n in 1..=coordinator.fleet.count {
                let name = n.to_string();
                let child = coordinator.child(&name)?;
                coordinator.children.push((name, child));
            }
        }
        Ok(coordinator)
    }

    /// Where it listens.
    #[cfg(test)]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn child(&self, name: &str) -> Result<Child> {
        let log = std::fs::File::create(self.logs.path().join(name))?;
        Command::new(std::env::current_exe()?)
            .arg("generate")
            .arg("--coordinator")
            .arg(self.address.to_string())
            .arg("--scenario")
            .arg(&self.fleet.scenario)
            .args(["--name", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("generator {name} did not start"))
    }

    /// Waits for all, and tells them what to play.
    pub async fn gather(&mut self, welcome: &Welcome) -> Result<()> {
        let wanted = self.fleet.count;
        if let Some(address) = self.fleet.listen {
            say(&format!(
                "waiting for {wanted} generators: kaiwa-bench generate --coordinator {address}\n"
            ))?;
        }
        let until = tokio::time::Instant::now() + COME_WITHIN;
        while self.members.len() < wanted {
            let waiting = tokio::time::timeout_at(until, self.next_comer()).await;
            let (hello, stream) =
                waiting.with_context(|| format!("{} of {wanted} generators came in time", self.members.len()))??;
            let names: Vec<String> = self.members.iter().map(|member| member.hello.name.clone()).collect();
            let (from, to) = stream;
            if let Some(why) = wire::refusal(&hello, &self.fleet.hash, &names, wanted) {
                say(&format!("refused generator {}: {why}\n", hello.name))?;
                refuse(to, why).await;
                continue;
            }
            let number = self.members.len();
            self.admit(hello, number, from, to)?;
            let welcome = Welcome {
                generator: number,
                of: wanted,
                ..welcome.clone()
            };
            self.send(number, ToGenerator::Welcome(Box::new(welcome)))?;
        }
        self.turn_away_others();
        self.until_ready().await
    }

    /// The next who says who it is. Who says something else is not answered.
    async fn next_comer(&mut self) -> Result<(Hello, Connection)> {
        loop {
            let (stream, _) = loop {
                let listener = self.listener.as_ref().context("nobody is waited for any more")?;
                tokio::select! {
                    came = listener.accept() => break came?,
                    () = tokio::time::sleep(Duration::from_millis(250)) => self.look_after_children()?,
                }
                // Who was admitted may fail meanwhile.
                while let Ok((number, heard)) = self.heard.try_recv() {
                    self.take(number, heard)?;
                }
            };
            if let Some(comer) = greeting(stream).await {
                return Ok(comer);
            }
        }
    }

    fn look_after_children(&mut self) -> Result<()> {
        for n in 0..self.children.len() {
            let (name, child) = &mut self.children[n];
            if let Some(status) = child.try_wait()? {
                let name = name.clone();
                bail!("generator {name} ended ({status}){}", self.last_words(&name));
            }
        }
        Ok(())
    }

    /// What a child said at the end.
    fn last_words(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.logs.path().join(name)).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(String::new, |line| format!(": {line}"))
    }

    fn admit(
        &mut self,
        hello: Hello,
        number: usize,
        mut from: Frames<OwnedReadHalf>,
        mut to: OwnedWriteHalf,
    ) -> Result<()> {
        say(&format!("generator {} is here ({} cores)\n", hello.name, hello.cores))?;
        let (sender, mut frames) = channel::unbounded_channel();
        let (clock, back) = (self.clock, sender.clone());
        let writing = tokio::spawn(async move {
            const ALIVE_EVERY: Duration = Duration::from_secs(1);
            loop {
                let frame = match tokio::time::timeout(ALIVE_EVERY, frames.recv()).await {
                    Ok(Some(ToGenerator::Pong { received_us, .. })) => ToGenerator::Pong {
                        received_us,
                        sent_us: clock.now_us(),
                    },
                    Ok(Some(frame)) => frame,
                    Ok(None) => return,
                    Err(_) => ToGenerator::Alive,
                };
                let written = tokio::time::timeout(SILENCE_MAX, wire::write(&mut to, &frame)).await;
                // The reader notices as well, and tells why.
                if !matches!(written, Ok(Ok(()))) {
                    return;
                }
            }
        });
        let tell = self.tell.clone();
        let reading = tokio::spawn(async move {
            loop {
                let heard = match from.next().await {
                    Ok(Some(FromGenerator::Ping)) => {
                        let pong = ToGenerator::Pong {
                            received_us: clock.now_us(),
                            sent_us: 0,
                        };
                        let _ = back.send(pong);
                        continue;
                    }
                    Ok(Some(frame)) => Heard::Frame(frame),
                    Ok(None) => Heard::Gone("it closed the connection".to_owned()),
                    Err(error) => Heard::Gone(format!("{error:#}")),
                };
                let gone = matches!(heard, Heard::Gone(_));
                if tell.send((number, heard)).is_err() || gone {
                    return;
                }
            }
        });
        self.tasks.extend([writing.abort_handle(), reading.abort_handle()]);
        self.members.push(Member {
            ready: false,
            here: hello.machine == wire::machine(),
            hello,
            to: sender,
            clock: None,
            drift_us: 0,
            heard: Instant::now(),
            cpu: (0.0, 0.0, 0),
            mib: 0.0,
            outcome: None,
        });
        Ok(())
    }

    fn send(&self, number: usize, frame: ToGenerator) -> Result<()> {
        let member = &self.members[number];
        let sent = member.to.send(frame).ok();
        sent.with_context(|| format!("generator {} is gone", member.hello.name))
    }

    fn tell_all(&self, frame: impl Fn() -> ToGenerator) -> Result<()> {
        (0..self.members.len()).try_for_each(|number| self.send(number, frame()))
    }

    /// Who comes later is told that they are not needed.
    fn turn_away_others(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        let (hash, wanted) = (self.fleet.hash.clone(), self.fleet.count);
        let names: Vec<String> = self.members.iter().map(|member| member.hello.name.clone()).collect();
        let turning_away = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Some((hello, (_, to))) = greeting(stream).await
                    && let Some(why) = wire::refusal(&hello, &hash, &names, wanted)
                {
                    refuse(to, why).await;
                }
            }
        });
        self.tasks.push(turning_away.abort_handle());
    }

    /// Takes what is of general use; gives back the rest.
    fn take(&mut self, number: usize, heard: Heard) -> Result<Option<FromGenerator>> {
        if let (Heard::Gone(why), None) = (&heard, &self.members[number].outcome) {
            let name = &self.members[number].hello.name;
            bail!("generator {name} is gone: {why}{}", self.last_words(name));
        }
        let member = &mut self.members[number];
        let name = &member.hello.name;
        member.heard = Instant::now();
        match heard {
            // It has done.
            Heard::Gone(_) => Ok(None),
            Heard::Frame(FromGenerator::Failed { why }) => bail!("generator {name} failed: {why}"),
            Heard::Frame(FromGenerator::Clock(found)) => {
                member.drift_us = member.clock.map_or(0, |first| found.offset_us - first.offset_us);
                let better = |first: ClockFound| {
                    if first.round_trip_us < found.round_trip_us {
                        first
                    } else {
                        found
                    }
                };
                member.clock = Some(member.clock.map_or(found, better));
                Ok(None)
            }
            Heard::Frame(FromGenerator::Ready) => {
                member.ready = true;
                Ok(None)
            }
            Heard::Frame(FromGenerator::Outcome(outcome)) => {
                member.outcome = Some(*outcome);
                Ok(None)
            }
            Heard::Frame(frame) => Ok(Some(frame)),
        }
    }

    /// What the next one says. `None`: nothing for a moment.
    async fn next(&mut self) -> Result<Option<(usize, FromGenerator)>> {
        const MOMENT: Duration = Duration::from_millis(100);
        let heard = tokio::time::timeout(MOMENT, self.heard.recv()).await;
        for member in self.members.iter().filter(|member| member.outcome.is_none()) {
            let silent = member.heard.elapsed();
            ensure!(
                silent < SILENCE_MAX,
                "generator {} has been silent for {} s",
                member.hello.name,
                silent.as_secs()
            );
        }
        match heard {
            Ok(Some((number, heard))) => Ok(self.take(number, heard)?.map(|frame| (number, frame))),
            _ => Ok(None),
        }
    }

    /// Those for whom something does not hold.
    fn without(&self, is: impl Fn(usize) -> bool) -> String {
        let names = self.members.iter().enumerate().filter(|(number, _)| !is(*number));
        names
            .map(|(_, member)| member.hello.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    async fn until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + SIGN_IN_WITHIN + STANDING_WAIT;
        while self.members.iter().any(|member| !member.ready) {
            ensure!(
                Instant::now() < until,
                "not ready in time: {}",
                self.without(|number| self.members[number].ready)
            );
            self.next().await?;
        }
        for member in &self.members {
            let clock = member.clock.unwrap_or_default();
            let place = if member.here { "this machine" } else { "another machine" };
            say(&format!(
                "generator {} is ready: {place}, clock {:+} µs, known to ±{} µs (round trip {} µs)\n",
                member.hello.name,
                clock.offset_us,
                clock.round_trip_us.div_ceil(2),
                clock.round_trip_us
            ))?;
        }
        Ok(())
    }

    /// From the begin to the end, and what came of it.
    pub async fn run(
        &mut self,
        scenario: &Scenario,
        live: &Arc<Mutex<Live>>,
        control: &Control,
        plans: &[usize],
    ) -> Result<Gathered> {
        let begin = Instant::now() + AHEAD;
        let at_us = self.clock.at_us(begin);
        self.tell_all(|| ToGenerator::Begin { at_us })?;
        live.lock().expect("nobody panics with it").started = Some(begin);
        let mut together = Together::new(self.members.len());
        let measured_us = (scenario.warm_up_ms + scenario.length_ms) * 1_000;
        let mut until = begin + Duration::from_micros(measured_us);
        let mut stops_us = None;
        let mut settled = vec![false; self.members.len()];
        while settled.contains(&false) {
            ensure!(!control.aborted(), "ended by hand");
            if control.stops_at().is_some() && stops_us.is_none() {
                let at_us = begin.elapsed().as_micros() as u64 + STOP_AHEAD_US;
                stops_us = Some(at_us);
                until = until.min(begin + Duration::from_micros(at_us));
                self.tell_all(|| ToGenerator::Stop { at_us })?;
            }
            let now = Instant::now();
            if now >= until {
                live.lock().expect("nobody panics with it").settling.get_or_insert(now);
            }
            ensure!(
                now < until + Duration::from_millis(scenario.settle_ms) + GRACE,
                "not settled in time: {}",
                self.without(|number| settled[number])
            );
            match self.next().await? {
                Some((number, FromGenerator::Settled)) => settled[number] = true,
                Some((number, FromGenerator::Tick(tick))) => self.ticked(number, *tick, &mut together, scenario, live),
                _ => {}
            }
        }
        let patience = until + Duration::from_millis(scenario.settle_ms);
        let accounts = self.accounts(patience, control).await?;
        self.tell_all(|| ToGenerator::End)?;
        let late = Instant::now() + HANDED_OVER_WITHIN;
        while self.members.iter().any(|member| member.outcome.is_none()) {
            ensure!(
                Instant::now() < late,
                "not handed over in time: {}",
                self.without(|number| self.members[number].outcome.is_some())
            );
            self.next().await?;
        }
        self.gathered(scenario, plans, accounts)
    }

    fn ticked(&mut self, number: usize, tick: Tick, together: &mut Together, scenario: &Scenario, live: &Mutex<Live>) {
        let member = &mut self.members[number];
        if tick.at_s * 1e3 > scenario.warm_up_ms as f64 && tick.at_s > 0.0 {
            let (cpu, machine, looks) = member.cpu;
            member.cpu = (cpu + tick.cpu, machine + tick.machine_cpu, looks + 1);
        }
        member.mib = tick.mib;
        let mut live = live.lock().expect("nobody panics with it");
        if live.generators.is_empty() {
            live.generators = self
                .members
                .iter()
                .map(|member| Generator {
                    name: member.hello.name.clone(),
                    here: member.here,
                    ..Generator::default()
                })
                .collect();
        }
        let generator = &mut live.generators[number];
        (generator.cpu, generator.mib) = (tick.cpu, tick.mib);
        together.tick(number, tick, &mut live);
    }

    /// What everybody knows of every conversation: asked again while something is missing that may be under way.
    async fn accounts(&mut self, patience: Instant, control: &Control) -> Result<HashMap<u32, Known>> {
        loop {
            self.tell_all(|| ToGenerator::Account)?;
            let late = Instant::now() + HANDED_OVER_WITHIN;
            let mut whole: HashMap<u32, Known> = HashMap::new();
            let mut complete = vec![false; self.members.len()];
            while complete.contains(&false) {
                ensure!(!control.aborted(), "ended by hand");
                ensure!(
                    Instant::now() < late,
                    "no account in time: {}",
                    self.without(|number| complete[number])
                );
                if let Some((number, FromGenerator::Accounts { rows, last })) = self.next().await? {
                    for (conversation, account) in rows {
                        let known = whole.entry(conversation).or_default();
                        known.account.merge(account);
                        known.by += 1;
                    }
                    complete[number] |= last;
                }
            }
            let lost: u64 = whole.values().map(|known| known.account.close().lost).sum();
            if lost == 0 || Instant::now() >= patience {
                return Ok(whole);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn gathered(&mut self, scenario: &Scenario, plans: &[usize], accounts: HashMap<u32, Known>) -> Result<Gathered> {
        let accounted = Accounted {
            conversations: accounts.len() as u64,
            across: accounts.values().filter(|known| known.by > 1).count() as u64,
            messages: accounts.values().map(|known| known.account.acknowledgements()).sum(),
        };
        let accounts = accounts.into_values().map(|known| known.account);
        let (mut parts, mut generators) = (Vec::new(), Vec::new());
        let mut cut_us = None;
        for member in &mut self.members {
            let outcome = member.outcome.take().context("a generator handed nothing over")?;
            let (cpu, machine, looks) = member.cpu;
            let clock = member.clock.unwrap_or_default();
            let part = &outcome.record;
            let p99 = |(at_s, summary): (f64, record::Summary)| (at_s, summary.p99_ms);
            generators.push(GeneratorReport {
                name: member.hello.name.clone(),
                here: member.here,
                agents: outcome.agents,
                customers: part.total(record::Count::Arrivals),
                cores: member.hello.cores,
                cpu: cpu / f64::from(looks.max(1)),
                machine_cpu: machine / f64::from(looks.max(1)),
                mib: member.mib,
                lag: part.whole(record::Measure::Lag)?,
                runtime: part.whole(record::Measure::Runtime)?,
                dropped: outcome.tally.dropped,
                clock_offset_us: clock.offset_us,
                clock_round_trip_us: clock.round_trip_us,
                clock_drift_us: member.drift_us,
                lag_over_time: part.over_time(record::Measure::Lag)?.into_iter().map(p99).collect(),
            });
            cut_us = cut_us.or(outcome.cut_us);
            parts.push(Part {
                record: outcome.record,
                tally: outcome.tally,
                books: outcome.books,
            });
        }
        Ok(Gathered {
            merged: merge(scenario, plans, parts, accounts, cut_us)?,
            generators,
            accounted,
            cut_us,
        })
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Waits for somebody to say who it is.
async fn greeting(stream: TcpStream) -> Option<(Hello, Connection)> {
    stream.set_nodelay(true).ok()?;
    let (from, to) = stream.into_split();
    let mut from = Frames::new(from);
    match tokio::time::timeout(GREETING_WITHIN, from.next()).await {
        Ok(Ok(Some(FromGenerator::Hello(hello)))) => Some((hello, (from, to))),
        _ => None,
    }
}

async fn refuse(mut to: OwnedWriteHalf, why: String) {
    // Whoever does not take the answer has gone.
    let _ = tokio::time::timeout(GREETING_WITHIN, wire::write(&mut to, &ToGenerator::Refused { why })).await;
}

/// The intervals of all generators as one, for the display.
struct Together {
    pending: Vec<VecDeque<Tick>>,
    ticks: Vec<u64>,
    so_far: [Option<Histogram<u64>>; MEASURES.len()],
}

impl Together {
    fn new(count: usize) -> Self {
        Self {
            pending: vec![VecDeque::new(); count],
            ticks: vec![0; count],
            so_far: std::array::from_fn(|_| None),
        }
    }

    fn tick(&mut self, number: usize, tick: Tick, live: &mut Live) {
        if tick.ticks == self.ticks[number] {
            return;
        }
        self.ticks[number] = tick.ticks;
        let lag = MEASURES[record::Measure::Lag as usize].1;
        let packed = tick.packed.get(lag).and_then(|text| record::unpack(text).ok());
        live.generators[number].lag = packed.as_ref().map(Into::into);
        self.pending[number].push_back(tick);
        while self.pending.iter().all(|pending| !pending.is_empty()) {
            let ticks: Vec<Tick> = self.pending.iter_mut().filter_map(VecDeque::pop_front).collect();
            self.show(&ticks, live);
        }
    }

    fn show(&mut self, ticks: &[Tick], live: &mut Live) {
        let sum = |of: fn(&Tick) -> u64| ticks.iter().map(of).sum::<u64>();
        live.at_s = ticks[0].at_s;
        live.interval_s = ticks[0].interval_s;
        live.arrivals = sum(|tick| tick.counts[0]);
        live.assigned = sum(|tick| tick.counts[1]);
        live.messages = sum(|tick| tick.counts[2]);
        live.acknowledged = sum(|tick| tick.counts[3]);
        (live.waiting, live.busy) = (sum(|tick| tick.waiting), sum(|tick| tick.busy));
        (live.present, live.refused) = (sum(|tick| tick.present), sum(|tick| tick.refused));
        live.totals = std::array::from_fn(|n| ticks.iter().map(|tick| tick.totals[n]).sum());
        live.faults = ticks.iter().fold(Default::default(), |mut faults, tick| {
            faults.add(&tick.faults);
            faults
        });
        for measure in SHOWN {
            let (at, name) = (measure as usize, MEASURES[measure as usize].1);
            let mut whole = record::histogram();
            for histogram in ticks
                .iter()
                .filter_map(|tick| record::unpack(tick.packed.get(name)?).ok())
            {
                // What does not fit is only not shown.
                let _ = whole.add(histogram);
            }
            live.last[at] = (!whole.is_empty()).then(|| (&whole).into());
            if live.at_s > live.from_s {
                let so_far = self.so_far[at].get_or_insert_with(record::histogram);
                let _ = so_far.add(whole);
                live.so_far[at] = (!so_far.is_empty()).then(|| (&*so_far).into());
            }
        }
        live.ticked();
    }
}
