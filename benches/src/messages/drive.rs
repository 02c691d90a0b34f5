//! One run: sends by the schedule, waits until everything is settled, and looks at the machine before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use node::local::Scrape;

use super::ledger::{Ledger, MessageId, Outcome, Side, Window};
use super::schedule::{Arrivals, Schedule};
use super::stage::{Board, Current, Noted, Pair, Stage};
use super::talker::Spoken;
use crate::machine::{CpuTimes, load_average};

/// Messages that are not settled when a run gives up, in seconds of its rate.
const BEHIND_MAX_S: f64 = 3.0;
/// A sender that is so late at the end gives up.
const LATE_MAX: Duration = Duration::from_secs(2);
/// After the last message, until all are settled.
const SETTLING: Duration = Duration::from_secs(30);

/// A run to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Number of the run, from 1.
    pub run: u64,
    /// Messages per second, both ways together.
    pub rate: f64,
    /// Before anything is measured.
    pub warm_up: Duration,
    /// That is measured.
    pub length: Duration,
    /// How arrivals are spread.
    pub arrivals: Arrivals,
    /// Of the schedule.
    pub seed: u64,
    /// Of a message's text.
    pub bytes: usize,
}

/// What came of it.
pub struct Run {
    /// As planned.
    pub plan: Plan,
    /// Latencies, counts, faults.
    pub outcome: Outcome,
    /// Gaps and ended connections in this run.
    pub noted: Noted,
    /// The schedule was broken off: too much was not settled.
    pub broken_off: bool,
    /// Of the measured time, in seconds.
    pub measured_s: f64,
    /// CPU in that time: this process first, then the nodes.
    pub cpu: CpuTimes,
    /// The nodes' metrics around that time, by number of the node from 1.
    pub metrics: Vec<(Scrape, Scrape)>,
    /// Load averages before and after.
    pub load: (String, String),
    /// The leader of the tenant's shard.
    pub leader: u64,
}

impl Run {
    /// Nothing was lost, doubled, misordered, left without an answer or refused.
    pub fn correct(&self) -> bool {
        self.outcome.faults.none() && self.noted.gaps == 0 && self.outcome.refused.is_empty()
    }

    /// Whether the generator, rather than the cluster, set the numbers; and why.
    pub fn generator_limited(&self) -> Option<String> {
        let lag_ms = self.outcome.lag_us.value_at_quantile(0.99) as f64 / 1e3;
        let ack_ms = self.outcome.ack_us.value_at_quantile(0.99) as f64 / 1e3;
        if lag_ms > 5.0 && lag_ms > ack_ms / 5.0 {
            return Some(format!("messages were sent late: p99 of the lag is {lag_ms:.1} ms"));
        }
        let all: f64 = self.cpu.processes.iter().sum();
        let own = self.cpu.processes.first().copied().unwrap_or(0.0);
        (own > all / 2.0).then(|| format!("it used {:.0} % of the run's CPU", own / all * 100.0))
    }
}

async fn scrape(stage: &Stage) -> Result<Vec<Scrape>> {
    let mut scrapes = Vec::new();
    for id in stage.cluster.ids() {
        scrapes.push(stage.cluster.metrics(id).await?);
    }
    Ok(scrapes)
}

fn pids(stage: &Stage) -> Vec<u32> {
    let nodes = stage.cluster.ids().into_iter().filter_map(|id| stage.cluster.pid(id));
    [std::process::id()].into_iter().chain(nodes).collect()
}

/// The machine and the nodes at a time.
async fn look(stage: &Stage, at: Instant) -> Result<(CpuTimes, Vec<Scrape>, Instant)> {
    tokio::time::sleep_until(at.into()).await;
    Ok((CpuTimes::now(&pids(stage))?, scrape(stage).await?, Instant::now()))
}

/// Makes a run.
pub async fn run(stage: &Stage, plan: Plan) -> Result<Run> {
    let window = Window {
        from_us: plan.warm_up.as_micros() as u64,
        until_us: (plan.warm_up + plan.length).as_micros() as u64,
    };
    let noted = stage.board.noted();
    let load_before = load_average();
    // A little later, so that the first messages are not late.
    let started = Instant::now() + Duration::from_millis(20);
    stage.board.begin(Current {
        run: plan.run,
        started,
        ledger: Ledger::new(stage.pairs.len(), window),
    });
    let over = Arc::new(AtomicBool::new(false));
    let sender = Sender {
        pairs: Arc::clone(&stage.pairs),
        board: stage.board.clone(),
        plan,
        started,
        over: Arc::clone(&over),
    };
    let sending = tokio::task::spawn_blocking(move || sender.send_all());
    let before = look(stage, started + plan.warm_up).await?;
    let after = look(stage, started + plan.warm_up + plan.length).await?;
    over.store(true, Ordering::Relaxed);
    let broken_off = sending.await?;
    settle(stage, plan.run).await;
    let current = stage.board.end().context("the run has an account")?;
    let noted_after = stage.board.noted();
    Ok(Run {
        plan,
        outcome: current.ledger.close(),
        noted: Noted {
            gaps: noted_after.gaps - noted.gaps,
            disconnects: noted_after.disconnects - noted.disconnects,
        },
        broken_off,
        measured_s: after.2.duration_since(before.2).as_secs_f64(),
        cpu: after.0.since(&before.0),
        metrics: before.1.into_iter().zip(after.1).collect(),
        load: (load_before, load_average()),
        leader: stage.leader().await?,
    })
}

/// Has a thread of its own, so that nothing but the machine makes it late.
struct Sender {
    pairs: Arc<Vec<Pair>>,
    board: Board,
    plan: Plan,
    started: Instant,
    /// The measured time is over.
    over: Arc<AtomicBool>,
}

impl Sender {
    /// Sends every message at its time, or as soon after it as this thread gets to it. `true`: broken off.
    fn send_all(self) -> bool {
        let Plan { run, rate, .. } = self.plan;
        let length = self.plan.warm_up + self.plan.length;
        let senders = self.pairs.len() * 2;
        let behind_max = (rate * BEHIND_MAX_S) as usize + senders;
        let mut schedule = Schedule::new(self.plan.arrivals, rate, senders, length, self.plan.seed).peekable();
        let mut due = Vec::new();
        while let Some(first) = schedule.peek() {
            let wait = (self.started + first.at).saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                thread::sleep(wait);
            }
            let now = self.started.elapsed();
            while let Some(planned) = schedule.next_if(|planned| planned.at <= now) {
                due.push(planned);
            }
            let sent = self.board.ledger(run, |ledger, now_us| {
                let ids = due.drain(..).map(|planned| {
                    let intended_us = planned.at.as_micros() as u64;
                    ledger.sent(planned.sender, intended_us, now_us)
                });
                (ids.collect::<Vec<_>>(), ledger.open())
            });
            let Some((ids, open)) = sent else { return true };
            ids.into_iter().for_each(|id| self.send(id));
            let late = self.over.load(Ordering::Relaxed) && self.started.elapsed() > length + LATE_MAX;
            if open > behind_max || late {
                return true;
            }
        }
        false
    }

    fn send(&self, id: MessageId) {
        let pair = &self.pairs[id.sender / 2];
        let (talker, epoch) = match id.side() {
            Side::Customer => (&pair.customer, None),
            Side::Agent => (&pair.agent, Some(pair.epoch)),
        };
        talker.say(Spoken {
            run: self.plan.run,
            id,
            conversation: Arc::clone(&pair.conversation),
            epoch,
            bytes: self.plan.bytes,
        });
    }
}

async fn settle(stage: &Stage, run: u64) {
    let until = Instant::now() + SETTLING;
    while Instant::now() < until {
        match stage.board.ledger(run, |ledger, _| ledger.open()) {
            Some(open) if open > 0 => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => return,
        }
    }
}
