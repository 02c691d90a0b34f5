//! `kaiwa-bench drain`: conversations wait with nobody there, then agents sign in: how long until all are assigned, how many per second,
//! and whether the oldest came first.

mod order;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use node::auth::Role;
use node::client::Client;
use routing::ids::ConversationId;
use serde::Deserialize;
use serde_json::json;

use super::{Against, Finding, Output, Setting, Watch, cpu, histogram, row, took};
use crate::machine::load_average;
use crate::run::line::{News, Purpose, What, Who, Wire, customer_name};
use crate::run::record::Summary;
use crate::run::sampler::Sample;
use crate::run::stage::{Stage, client};
use crate::run::{self, PlaceArgs};
use crate::scenario::Scenario;
use crate::scenario::policy::{KIND, agent_name};

/// Conversations that are started at a time.
const AT_ONCE: usize = 48;
/// A call is repeated for so long.
const REPEATED_FOR: Duration = Duration::from_secs(30);
/// After the last assignment, for what should not come.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Who waits for whom.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Conversations that wait
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    backlog: u64,
    /// Agents who sign in
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    agents: u64,
    /// Conversations that each agent takes at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    slots: u64,
    /// From the assignment to the close, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0)]
    handle_ms: u64,
    /// An older conversation may be assigned so much after a younger one: decisions of one moment are on their way side by side
    #[arg(long, value_name = "MS", default_value_t = 100)]
    overtaken_ms: u64,
    /// Gives up after so long
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = run::time)]
    within: u64,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: Output,
}

/// Drains and tells.
pub fn run(args: &DrainArgs) -> Result<ExitCode> {
    let finding = run::runtime()?.block_on(make(args))?;
    args.output.end(&finding)
}

fn scenario(args: &DrainArgs) -> Result<Scenario> {
    let text = format!(
        "[scenario]\nname = \"drain\"\n\n[[queue]]\nname = \"general\"\nauto_accept = true\n\n\
         [[agents]]\nname = \"agents\"\nqueues = [\"general\"]\ncount = {}\nconcurrency = {}\nhandle = \"1s\"\n\n\
         [[customers]]\nname = \"waiting\"\nqueue = \"general\"\nstanding = 1\n",
        args.agents, args.slots
    );
    Scenario::parse("drain", &text, Path::new("."))
}

async fn make(args: &DrainArgs) -> Result<Finding> {
    let temporary = tempfile::tempdir()?;
    let place = args.place.place(temporary.path())?;
    let (load_before, nonce) = (load_average(), rand::random());
    let scenario = scenario(args)?;
    let mut stage = Stage::set(&place, &scenario, nonce).await?;
    args.output.introduce(&stage)?;
    let (wire, news) = Wire::new(nonce, false);
    let since = Instant::now();
    let started = fill(args, &stage, nonce).await?;
    let filling_s = since.elapsed().as_secs_f64();
    args.output.say(&format!(
        "{} conversations wait after {filling_s:.1} s ({:.0} per second)\n",
        args.backlog,
        args.backlog as f64 / filling_s
    ))?;
    let mut agents = Vec::new();
    for number in 0..args.agents as usize {
        let token = stage.tenants[0].token(Role::Agent, &agent_name(&scenario.agents[0], number))?;
        agents.push(wire.connect(&stage.urls, token, Who::Agent(number)));
    }
    for agent in &agents {
        ensure!(agent.ready().await, "an agent could not connect");
    }
    let watch = Watch::begin(&stage.pids(), &[std::process::id()])?;
    let shop = Shop::open(args, started, agents, wire);
    let drained = tokio::task::spawn_blocking(move || shop.play(&news)).await?;
    let sample = watch.end()?;
    let finding = tell(
        args,
        &drained,
        filling_s,
        &sample,
        Setting::of(&stage, &place, load_before),
    );
    stage.end().await?;
    Ok(finding)
}

#[derive(Deserialize)]
struct Started {
    receipt: Receipt,
}

#[derive(Deserialize)]
struct Receipt {
    at_ms: u64,
}

/// Starts the backlog over REST, by customers who do not stay. Gives the stamp of each in the log.
async fn fill(args: &DrainArgs, stage: &Stage, nonce: u32) -> Result<Vec<u64>> {
    let http = client()?;
    let starting = futures::stream::iter(0..args.backlog as u32).map(|number| {
        let http = &http;
        async move {
            let token = stage.tenants[0].token(Role::Customer, &customer_name(nonce, number))?;
            let body = json!({ "channel": "web_chat", "attributes": { KIND: "waiting" } });
            let until = Instant::now() + REPEATED_FOR;
            let mut at = number as usize;
            loop {
                let url = format!("{}/v1/conversations", stage.urls[at % stage.urls.len()]);
                // The same key for every try: it is done once.
                let request = http.post(&url).bearer_auth(&token).header("idempotency-key", "1-1");
                match request.json(&body).send().await {
                    Ok(answer) if answer.status().is_success() => {
                        let started: Started = answer.json().await.context("what was started")?;
                        return anyhow::Ok(started.receipt.at_ms);
                    }
                    Ok(answer) if Instant::now() > until => {
                        let status = answer.status();
                        anyhow::bail!("{url}: {status}: {}", answer.text().await.unwrap_or_default());
                    }
                    Err(error) if Instant::now() > until => return Err(error).context(url),
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
                at += 1;
            }
        }
    });
    starting.buffered(AT_ONCE).try_collect().await
}

/// What came of it.
struct Drained {
    /// By the number of the conversation: its start and its first assignment by the log, and when that was heard after the signing in.
    assigned: BTreeMap<u32, Assigned>,
    again: u64,
    over_capacity: u64,
    refused: BTreeMap<String, u64>,
    /// The agents' wish to sign in → its acknowledgement.
    signed_in_us: hdrhistogram::Histogram<u64>,
    /// A close → its acknowledgement.
    closed_us: hdrhistogram::Histogram<u64>,
    unanswered: u64,
    starts: usize,
}

#[derive(Clone, Copy)]
struct Assigned {
    started_ms: u64,
    assigned_ms: u64,
    heard_us: u64,
}

/// Agents at work.
struct Shop {
    started: Vec<u64>,
    agents: Vec<Client>,
    wire: Wire,
    opened: Instant,
    until: Instant,
    handle: Duration,
    slots: usize,
    has: Vec<usize>,
    closing: HashMap<u32, Instant>,
    closes: Vec<(Instant, usize, ConversationId, u32)>,
    drained: Drained,
}

impl Shop {
    fn open(args: &DrainArgs, started: Vec<u64>, agents: Vec<Client>, wire: Wire) -> Self {
        let opened = Instant::now();
        Self {
            has: vec![0; agents.len()],
            opened,
            until: opened + Duration::from_millis(args.within),
            handle: Duration::from_millis(args.handle_ms),
            slots: args.slots as usize,
            closing: HashMap::new(),
            closes: Vec::new(),
            drained: Drained {
                assigned: BTreeMap::new(),
                again: 0,
                over_capacity: 0,
                refused: BTreeMap::new(),
                signed_in_us: histogram(),
                closed_us: histogram(),
                unanswered: 0,
                starts: started.len(),
            },
            started,
            agents,
            wire,
        }
    }

    fn play(mut self, news: &Receiver<News>) -> Drained {
        for (number, agent) in self.agents.iter().enumerate() {
            self.wire.expect(agent.sign_in(), Who::Agent(number), Purpose::Other);
            self.drained.unanswered += 1;
        }
        let mut done_at = None;
        loop {
            if let Ok(piece) = news.recv_timeout(Duration::from_millis(5)) {
                self.hear(piece);
                while let Ok(piece) = news.try_recv() {
                    self.hear(piece);
                }
            }
            self.close_due();
            let all = self.drained.assigned.len() == self.started.len();
            if all && self.closes.is_empty() && self.drained.unanswered == 0 {
                let done_at = *done_at.get_or_insert_with(Instant::now);
                if done_at.elapsed() >= AFTERWARDS {
                    break;
                }
            }
            if Instant::now() > self.until {
                break;
            }
        }
        self.agents.iter().for_each(Client::close);
        self.drained
    }

    fn close_due(&mut self) {
        let now = Instant::now();
        // All stay for the same time: those that came first are due first.
        let due = self.closes.iter().take_while(|(at, ..)| *at <= now).count();
        for (at, agent, conversation, number) in self.closes.drain(..due) {
            self.closing.insert(number, at);
            let pending = self.agents[agent].close_conversation(conversation);
            self.wire.expect(pending, Who::Agent(agent), Purpose::Close(number));
            self.drained.unanswered += 1;
        }
    }

    fn hear(&mut self, news: News) {
        let us = |from: Instant| news.at.saturating_duration_since(from).as_micros() as u64;
        match (news.who, news.what) {
            (_, What::Answered { purpose, result }) => {
                self.drained.unanswered -= 1;
                match (purpose, result) {
                    (_, Err(code)) => *self.drained.refused.entry(code).or_default() += 1,
                    (Purpose::Close(number), Ok(_)) => {
                        if let Some(at) = self.closing.remove(&number) {
                            took(&mut self.drained.closed_us, us(at));
                        }
                    }
                    (_, Ok(_)) => took(&mut self.drained.signed_in_us, us(self.opened)),
                }
            }
            (
                Who::Agent(agent),
                What::Assigned {
                    customer,
                    conversation,
                    at_ms,
                    ..
                },
            ) => {
                self.has[agent] += 1;
                self.drained.over_capacity += u64::from(self.has[agent] > self.slots);
                let Some(started_ms) = self.started.get(customer as usize).copied() else {
                    return;
                };
                let assigned = Assigned {
                    started_ms,
                    assigned_ms: at_ms,
                    heard_us: us(self.opened),
                };
                if self.drained.assigned.insert(customer, assigned).is_some() {
                    self.drained.again += 1;
                }
                self.closes.push((news.at + self.handle, agent, conversation, customer));
            }
            (Who::Agent(agent), What::Unassigned { .. }) => self.has[agent] = self.has[agent].saturating_sub(1),
            _ => {}
        }
    }
}

fn tell(args: &DrainArgs, drained: &Drained, filling_s: f64, sample: &Sample, setting: Setting) -> Finding {
    let mut against = Against::default();
    let left = (drained.starts - drained.assigned.len()) as u64;
    let order: Vec<(u64, u64)> = drained
        .assigned
        .values()
        .map(|assigned| (assigned.started_ms, assigned.assigned_ms))
        .collect();
    let overtaken = order::overtaken(&order, args.overtaken_ms);
    against.fault("never assigned", left);
    against.fault("assigned again", drained.again);
    against.fault("over capacity", drained.over_capacity);
    against.fault("overtaken for too long", overtaken.too_long);
    against.fault("unanswered", drained.unanswered);
    let refused: u64 = drained.refused.values().sum();
    if refused > 0 {
        against.fails(format!("{refused} commands refused: {:?}", drained.refused));
    }
    against.machine(&[sample]);
    let (mut heard_us, mut last_us) = (histogram(), 0);
    for assigned in drained.assigned.values() {
        took(&mut heard_us, assigned.heard_us);
        last_us = last_us.max(assigned.heard_us);
    }
    let drain_s = last_us as f64 / 1e6;
    let per_s = drained.assigned.len() as f64 / drain_s.max(1e-9);
    let places = args.agents * args.slots;
    let mut out = format!(
        "\ndrain: {} conversations by {} agents with {} places each ({places}), {} ms in each; auto-accepted\n  \
         drained in {drain_s:.2} s: {per_s:.0} assignments per second\n",
        args.backlog, args.agents, args.slots, args.handle_ms
    );
    row(&mut out, "signing in → acknowledged", &(&drained.signed_in_us).into());
    row(
        &mut out,
        "signing in → assigned, each conversation",
        &(&heard_us).into(),
    );
    row(&mut out, "close → acknowledged", &(&drained.closed_us).into());
    let _ = writeln!(
        out,
        "  overtaken in the queue {}, by at most {} ms (up to {} are no fault)",
        overtaken.all, overtaken.most_ms, args.overtaken_ms
    );
    let _ = writeln!(out, "  {}", cpu(sample));
    let figures = json!({
        "backlog": args.backlog, "agents": args.agents, "slots": args.slots, "handle_ms": args.handle_ms,
        "filling_s": filling_s, "drain_s": drain_s, "assignments_per_s": per_s,
        "signed_in": Summary::from(&drained.signed_in_us), "assigned": Summary::from(&heard_us),
        "closed": Summary::from(&drained.closed_us), "overtaken": overtaken, "refused": drained.refused, "cpu": sample,
    });
    Finding::new("drain", setting, against, figures, out)
}
