//! One generator's part of a storm, in a process of its own: it is told what to do on its standard input and answers on its standard
//! output, a line of JSON each. It ends when its input does.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use node::auth::Role;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Who;
use crate::machine::Memory;
use crate::modes::raw::{Greeting, Reasons, greet, idle, source};
use crate::modes::{histogram, took};
use crate::run::line::customer_name;
use crate::run::stage::Tenant;
use crate::run::{runtime, say};

/// The hidden sub-command.
pub const COMMAND: &str = "connect-storm-share";

/// What a generator does: the connections `first`, `first + step`, … below `until`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Share {
    pub tenant: Tenant,
    pub role: Who,
    pub nonce: u32,
    pub urls: Vec<String>,
    pub first: u64,
    pub step: u64,
    pub until: u64,
    /// Of the whole storm.
    pub rate: Option<f64>,
    pub source_addresses: u64,
    pub deadline_ms: u64,
}

/// It can begin; it is told when, in microseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    pub connections: usize,
}

/// All were tried. Histograms are lists of values and how often each was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reached {
    pub connected: u64,
    pub failed: Reasons,
    /// Intended → welcome.
    pub greeted_us: Vec<(u64, u64)>,
    /// Intended → begun: what was before it is the generator's.
    pub lag_us: Vec<(u64, u64)>,
    /// Before anything was connected.
    pub memory_before: Memory,
}

impl Reached {
    /// Adds another generator's.
    pub fn add(&mut self, other: Self) {
        self.connected += other.connected;
        add(&mut self.failed, other.failed);
        self.greeted_us.extend(other.greeted_us);
        self.lag_us.extend(other.lag_us);
        self.memory_before = Memory::sum([self.memory_before, other.memory_before]);
    }
}

/// It was told to end.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Held {
    /// Connections that had ended by then.
    pub lost: Reasons,
    pub memory: Memory,
}

impl Held {
    /// Adds another generator's.
    pub fn add(&mut self, other: Self) {
        add(&mut self.lost, other.lost);
        self.memory = Memory::sum([self.memory, other.memory]);
    }
}

fn add(all: &mut Reasons, more: Reasons) {
    for (reason, count) in more {
        *all.entry(reason).or_default() += count;
    }
}

fn counted(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let recorded = histogram.iter_recorded();
    recorded
        .map(|value| (value.value_iterated_to(), value.count_at_value()))
        .collect()
}

/// Runs as a generator.
pub fn run() -> Result<ExitCode> {
    let _ = super::files_max();
    runtime()?.block_on(play())?;
    Ok(ExitCode::SUCCESS)
}

fn answer(what: &impl Serialize) -> Result<()> {
    Ok(say(&format!("{}\n", serde_json::to_string(what)?))?)
}

async fn line(input: &mut Lines<BufReader<Stdin>>) -> Result<String> {
    input.next_line().await?.context("nobody wants anything any more")
}

/// One connection to make.
struct Coming {
    number: u64,
    token: String,
}

async fn play() -> Result<()> {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let share: Share = serde_json::from_str(&line(&mut input).await?)?;
    let mut coming = Vec::new();
    for number in (share.first..share.until).step_by(share.step as usize) {
        let token = match share.role {
            Who::Customer => share
                .tenant
                .token(Role::Customer, &customer_name(share.nonce, number as u32))?,
            Who::Agent => share.tenant.token(Role::Agent, &format!("agents-{number:05}"))?,
        };
        coming.push(Coming { number, token });
    }
    answer(&Ready {
        connections: coming.len(),
    })?;
    let at_us: u64 = serde_json::from_str(&line(&mut input).await?)?;
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
    let at = Instant::now() + Duration::from_micros(at_us.saturating_sub(now_us));
    let memory_before = Memory::of(std::process::id())?;
    let (mut reached, mut ends) = storm(share, coming, at).await;
    reached.memory_before = memory_before;
    answer(&reached)?;
    line(&mut input).await?;
    let mut held = Held {
        memory: Memory::of(std::process::id())?,
        ..Held::default()
    };
    while let Ok(reason) = ends.try_recv() {
        add(&mut held.lost, Reasons::from([(reason, 1)]));
    }
    answer(&held)
}

/// Connects all by the schedule. Gives what became of them, and where those tell it that end later.
async fn storm(share: Share, coming: Vec<Coming>, at: Instant) -> (Reached, mpsc::UnboundedReceiver<String>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let share = Arc::new(share);
    let (mut reached, mut greeted_us, mut lag_us) = (Reached::default(), histogram(), histogram());
    let mut trying = JoinSet::new();
    for coming in coming {
        let after_s = share.rate.map_or(0.0, |rate| coming.number as f64 / rate);
        let intended = at + Duration::from_secs_f64(after_s);
        tokio::time::sleep_until(intended.into()).await;
        let (share, ended) = (Arc::clone(&share), ended.clone());
        trying.spawn(async move { connect(&share, coming, intended, ended).await });
    }
    while let Some(tried) = trying.join_next().await {
        let (lag, result) = tried.unwrap_or_else(|error| (Duration::ZERO, Err(error.to_string())));
        took(&mut lag_us, lag.as_micros() as u64);
        match result {
            Ok(after) => {
                reached.connected += 1;
                took(&mut greeted_us, after.as_micros() as u64);
            }
            Err(reason) => *reached.failed.entry(reason).or_default() += 1,
        }
    }
    (reached.greeted_us, reached.lag_us) = (counted(&greeted_us), counted(&lag_us));
    (reached, ends)
}

async fn connect(
    share: &Share,
    coming: Coming,
    intended: Instant,
    ended: mpsc::UnboundedSender<String>,
) -> (Duration, Result<Duration, String>) {
    let lag = intended.elapsed();
    let nodes = share.urls.len() as u64;
    let greeting = Greeting {
        url: &share.urls[(coming.number % nodes) as usize],
        token: coming.token,
        instance: 1 + coming.number,
        source: (share.source_addresses > 0).then(|| source((coming.number / nodes % share.source_addresses) as usize)),
        receive_buffer: None,
    };
    let until = intended + Duration::from_millis(share.deadline_ms);
    match tokio::time::timeout_at(until.into(), greet(&greeting)).await {
        Ok(Ok(socket)) => {
            let after = intended.elapsed();
            tokio::spawn(async move {
                let _ = ended.send(idle(socket).await);
            });
            (lag, Ok(after))
        }
        Ok(Err(reason)) => (lag, Err(reason)),
        Err(_) => (lag, Err("not greeted in time".to_owned())),
    }
}
