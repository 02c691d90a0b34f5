//! Everybody in a run, played by one thread: what is planned happens at its time, whatever the cluster does; what the cluster says
//! is taken in as it comes.
//!
//! One of several generators plays its share of the people. Of conversations between its people and those of others it knows the one
//! side: customers see in their transcript when somebody joins, leaves and closes.

mod agents;
pub mod books;
mod company;
mod customers;
pub mod roll;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use node::client::Client;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use routing::ids::{ConversationId, Epoch};
use serde::{Deserialize, Serialize};

use super::account::{Account, Faults};
use super::line::{News, Turn, What, Who, Wire};
use super::live::{Control, Live, SHOWN};
use super::record::{Count, Measure, Record};
use super::stage::Tenant;
use crate::scenario::{Comes, Scenario};
use books::Books;
pub use company::{Answer, Company, Order};
use roll::{Layout, Roll, Share, Times};

/// Open at the same time; who comes beyond it is turned away by the generator, and counted.
const CUSTOMERS_MAX: usize = 200_000;
/// Until all standing conversations are there.
pub const STANDING_WAIT: Duration = Duration::from_secs(180);
/// It is looked so often whether the run is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Something to be done at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// The next of the roll is due.
    Comes,
    Start(u32),
    LosesPatience(u32),
    CustomerSays(u32),
    AgentSays(u32, u64),
    Accept(u32, u64),
    HandleOver(u32, u64),
    WrapUpOver(u32, usize, u64),
    /// By the schedule of all standing conversations of a class.
    Talk(usize),
    Break(usize),
    Back(usize),
    ReconnectAgent(usize),
    ReconnectCustomer(u32),
    Disconnects(usize),
    Retire(u32),
    Tick,
}

/// Where a conversation is, as the generator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Coming,
    Waiting,
    Served,
    Closing,
    Gone,
}

/// One conversation and its customer.
pub(super) struct Conversation {
    class: usize,
    /// As its customer knows it.
    phase: Phase,
    /// As the agents know it; the same, unless others play the one or the other.
    at_desk: Phase,
    intended_us: u64,
    id: Option<ConversationId>,
    client: Option<Client>,
    /// Somebody was free when it came, and nobody before it.
    had_room: bool,
    offered: bool,
    /// When the offer was to be answered.
    accept_us: Option<u64>,
    answered: bool,
    abandoned: bool,
    transferred: bool,
    /// Agent and epoch.
    owner: Option<(usize, Epoch)>,
    /// Since when the last owner here has had it, by the log. What is older they only read up on.
    owned_ms: Option<u64>,
    /// The customer saw the end of the transcript.
    saw_end: bool,
    account: Account,
    said: [u32; 2],
    to_say: [u32; 2],
    broke_us: Option<u64>,
    retire_tries: u32,
}

/// One agent.
pub(super) struct Agent {
    /// Over all tenants and generators.
    pub id: usize,
    pub plan: usize,
    pub tenant: usize,
    /// Agents of one plan and tenant.
    pub group: usize,
    pub client: Client,
    pub available: bool,
    /// Conversations offered to, assigned to, or wrapped up by them.
    pub has: Vec<u32>,
    pub broke_us: Option<u64>,
}

/// Customers of one kind in one tenant.
pub(super) struct Class {
    pub plan: usize,
    pub tenant: usize,
    /// Groups of agents who can serve them.
    groups: Vec<usize>,
    /// Number of the queue, over all tenants.
    queue: usize,
    standing: Vec<u32>,
    /// When messages of standing conversations are due, and how many were.
    talk: Times,
    talked: u64,
}

/// What came of a run, beside the record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub faults: Faults,
    /// Refused commands, by code.
    pub refused: BTreeMap<String, u64>,
    /// Refused because the conversation had ended or moved on a moment before.
    pub overtaken: u64,
    /// Commands sent.
    pub commands: u64,
    /// Arrivals that the generator had no room for.
    pub dropped: u64,
    /// Connections that ended without being asked to.
    pub connections_lost: u64,
    /// Owners that lost a conversation against their will.
    pub owners_lost: u64,
    pub transfers: u64,
    pub customers_most: usize,
    /// What clients said that ended.
    pub ended: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds that of another generator.
    pub fn add(&mut self, other: Self) {
        let add = |sum: &mut BTreeMap<String, u64>, more: BTreeMap<String, u64>| {
            for (name, count) in more {
                *sum.entry(name).or_default() += count;
            }
        };
        self.faults.add(&other.faults);
        add(&mut self.refused, other.refused);
        add(&mut self.ended, other.ended);
        self.overtaken += other.overtaken;
        self.commands += other.commands;
        self.dropped += other.dropped;
        self.connections_lost += other.connections_lost;
        self.owners_lost += other.owners_lost;
        self.transfers += other.transfers;
        self.customers_most += other.customers_most;
    }
}

/// The world.
pub struct World {
    pub(super) scenario: Arc<Scenario>,
    pub(super) seed: u64,
    pub(super) urls: Vec<String>,
    pub(super) tenants: Vec<Tenant>,
    pub(super) wire: Wire,
    pub(super) agents: Vec<Agent>,
    /// Free places of each group.
    pub(super) free: Vec<i64>,
    classes: Vec<Class>,
    roll: Roll,
    conversations: Vec<Conversation>,
    ids: HashMap<ConversationId, u32>,
    /// Who waits, by queue.
    waiting: Vec<i64>,
    present: usize,
    tasks: BinaryHeap<Reverse<(u64, u64, Task)>>,
    tasks_count: u64,
    started: Instant,
    /// Nothing new is begun from here on.
    until_us: u64,
    outstanding: i64,
    record: Record,
    tally: Tally,
    live: Arc<Mutex<Live>>,
    control: Arc<Control>,
    pub(super) share: Share,
    company: Option<Company>,
    /// Where it is one of several.
    books: Option<Books>,
    begun: bool,
}

/// What a world is made of.
pub struct Parts {
    pub scenario: Arc<Scenario>,
    pub seed: u64,
    pub scale: f64,
    pub urls: Vec<String>,
    pub tenants: Vec<Tenant>,
    pub wire: Wire,
    pub live: Arc<Mutex<Live>>,
    pub control: Arc<Control>,
    /// `None`: it plays everybody.
    pub company: Option<Company>,
}

/// What a world leaves behind.
pub struct Played {
    pub record: Record,
    pub tally: Tally,
    pub books: Books,
    /// When the schedule ended, if that was earlier than planned.
    pub cut_us: Option<u64>,
}

/// A generator of one conversation's or person's own, whatever else happens.
pub(super) fn lot(seed: u64, kind: u64, number: u64, turn: u64) -> ChaCha8Rng {
    let mut mixed = seed;
    for part in [kind, number, turn] {
        // splitmix64's finish, by Steele, Lea and Flood (2014).
        mixed = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    ChaCha8Rng::seed_from_u64(mixed)
}

impl World {
    /// With nobody in it.
    pub fn new(parts: Parts) -> Self {
        let scenario = parts.scenario;
        let from_us = scenario.warm_up_ms * 1_000;
        let until_us = from_us + scenario.length_ms * 1_000;
        let plans: Vec<usize> = parts.tenants.iter().map(|tenant| tenant.plan).collect();
        let layout = Layout::new(&scenario, &plans);
        let (mut classes, mut arriving) = (Vec::new(), Vec::new());
        let times = roll::schedules(&scenario, &layout, parts.seed, parts.scale, until_us);
        for (plan, times) in layout.classes.iter().zip(times) {
            let customers = &scenario.customers[plan.plan];
            let arrives = matches!(customers.comes, Comes::Arriving(_));
            let nobody: Times = Box::new(std::iter::empty());
            let (coming, talk) = if arrives { (Some(times), nobody) } else { (None, times) };
            arriving.push(coming.map(|times| (times, customers.connect_ahead_ms * 1_000)));
            classes.push(Class {
                plan: plan.plan,
                tenant: plan.tenant,
                groups: plan.groups.clone(),
                queue: plan.queue,
                standing: Vec::new(),
                talk,
                talked: 0,
            });
        }
        let alone = parts.company.is_none();
        Self {
            waiting: vec![0; layout.queues],
            free: layout.places,
            record: if alone {
                Record::new(from_us, until_us)
            } else {
                Record::in_part(from_us, until_us)
            },
            scenario,
            seed: parts.seed,
            urls: parts.urls,
            tenants: parts.tenants,
            wire: parts.wire,
            agents: Vec::new(),
            classes,
            roll: Roll::new(arriving),
            conversations: Vec::new(),
            ids: HashMap::new(),
            present: 0,
            tasks: BinaryHeap::new(),
            tasks_count: 0,
            started: Instant::now(),
            until_us,
            outstanding: 0,
            tally: Tally::default(),
            live: parts.live,
            control: parts.control,
            share: parts.company.as_ref().map_or(Share::WHOLE, |company| company.share),
            books: (!alone).then(Books::default),
            company: parts.company,
            begun: false,
        }
    }

    pub(super) fn at_us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    fn now_us(&self) -> u64 {
        self.at_us(Instant::now())
    }

    pub(super) fn plan(&mut self, at_us: u64, task: Task) {
        self.tasks_count += 1;
        self.tasks.push(Reverse((at_us, self.tasks_count, task)));
    }

    /// Plays until all is over.
    pub fn play(mut self, news: &Receiver<News>) -> Result<Played> {
        let planned_us = self.until_us;
        self.gather_standing(news)?;
        // A little later, so that the first are not late.
        self.started = match &self.company {
            None => Instant::now() + Duration::from_millis(20),
            Some(company) => {
                let _ = company.answers.send(Answer::Ready);
                self.wait_for_begin(news)?
            }
        };
        self.begun = true;
        self.live.lock().expect("nobody panics with it").started = Some(self.started);
        self.wire.canary();
        self.open_doors();
        loop {
            let now_us = self.now_us();
            ensure!(!self.control.aborted(), "ended by hand");
            if let Some(stop_us) = self.control.stops_at().filter(|stop_us| *stop_us < self.until_us) {
                // Whoever ends it now cannot end what has been.
                self.until_us = stop_us.max(now_us);
                self.record.ends_at(self.until_us);
            }
            if now_us >= self.until_us {
                break;
            }
            let next_us = match self.tasks.peek() {
                Some(Reverse((at_us, ..))) if *at_us <= now_us => {
                    let Some(Reverse((at_us, _, task))) = self.tasks.pop() else {
                        continue;
                    };
                    self.act(at_us, task);
                    // Who speaks must listen as well, even when there is always something to do.
                    self.hear_some(news);
                    continue;
                }
                Some(Reverse((at_us, ..))) => (*at_us).min(self.until_us),
                None => self.until_us,
            };
            self.hear_for(news, Duration::from_micros(next_us - now_us).min(LOOK_EVERY))?;
        }
        self.settle(news)?;
        Ok(Played {
            cut_us: (self.until_us < planned_us).then_some(self.until_us),
            record: self.record,
            tally: self.tally,
            books: self.books.unwrap_or_default(),
        })
    }

    /// Does what is due, before the run begins.
    fn act_due(&mut self) {
        let now_us = self.now_us();
        while let Some(Reverse((at_us, ..))) = self.tasks.peek()
            && *at_us <= now_us
            && let Some(Reverse((at_us, _, task))) = self.tasks.pop()
        {
            self.act(at_us, task);
        }
    }

    fn hear_for(&mut self, news: &Receiver<News>, wait: Duration) -> Result<()> {
        match news.recv_timeout(wait) {
            Ok(first) => {
                self.hear(first);
                self.hear_some(news);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the clients have ended"),
        }
    }

    fn hear_some(&mut self, news: &Receiver<News>) {
        const AT_ONCE: usize = 64;
        for _ in 0..AT_ONCE {
            match news.try_recv() {
                Ok(piece) => self.hear(piece),
                Err(_) => return,
            }
        }
    }

    /// After the last arrival: until every message is settled and every command answered.
    fn settle(&mut self, news: &Receiver<News>) -> Result<()> {
        self.live.lock().expect("nobody panics with it").settling = Some(Instant::now());
        let until = Instant::now() + Duration::from_millis(self.scenario.settle_ms);
        loop {
            self.hear_for(news, Duration::from_millis(20))?;
            ensure!(!self.control.aborted(), "ended by hand");
            let open: u32 = self
                .conversations
                .iter()
                .map(|conversation| conversation.account.open())
                .sum();
            if open == 0 && self.outstanding <= 0 || Instant::now() > until {
                break;
            }
        }
        if self.company.is_some() {
            self.stay(news)?;
        }
        self.tally.faults.unanswered += self.outstanding.max(0) as u64;
        let mut unanswered_messages = 0;
        // Of several generators, none can judge alone.
        for conversation in self.conversations.iter().filter(|_| self.books.is_none()) {
            let faults = conversation.account.close();
            unanswered_messages += faults.unanswered;
            self.tally.faults.add(&faults);
        }
        // They are among the commands outstanding.
        self.tally.faults.unanswered -= unanswered_messages.min(self.tally.faults.unanswered);
        for client in self
            .conversations
            .iter()
            .filter_map(|conversation| conversation.client.as_ref())
        {
            client.close();
        }
        self.agents.iter().for_each(|agent| agent.client.close());
        Ok(())
    }

    fn gather_standing(&mut self, news: &Receiver<News>) -> Result<()> {
        let wanted = self.start_standing();
        let until = Instant::now() + STANDING_WAIT;
        let mut served = 0;
        while served < wanted {
            ensure!(
                Instant::now() < until,
                "only {served} of {wanted} standing conversations were assigned in time"
            );
            self.act_due();
            self.hear_for(news, Duration::from_millis(2))?;
            ensure!(!self.control.aborted(), "ended by hand");
            let mine = self.conversations.iter().enumerate();
            served = mine
                .filter(|(number, conversation)| self.share.has(*number) && conversation.phase == Phase::Served)
                .count();
        }
        Ok(())
    }

    fn act(&mut self, at_us: u64, task: Task) {
        match task {
            Task::Comes => self.comes(at_us),
            Task::Start(number) => self.start(number, at_us),
            Task::LosesPatience(number) => self.loses_patience(number, at_us),
            Task::CustomerSays(number) => self.customer_says(number, at_us),
            Task::AgentSays(number, epoch) => self.agent_says(number, epoch, at_us),
            Task::Accept(number, epoch) => self.accept(number, epoch, at_us),
            Task::HandleOver(number, epoch) => self.handle_over(number, epoch, at_us),
            Task::WrapUpOver(number, agent, epoch) => self.wrap_up_over(number, agent, epoch, at_us),
            Task::Talk(class) => self.talk(class, at_us),
            Task::Break(agent) => self.take_break(agent, at_us),
            Task::Back(agent) => self.come_back(agent, at_us),
            Task::ReconnectAgent(agent) => self.reconnect_agent(agent, at_us),
            Task::ReconnectCustomer(number) => self.reconnect_customer(number, at_us),
            Task::Disconnects(number) => self.disconnects(number, at_us),
            Task::Retire(number) => self.retire(number, at_us),
            Task::Tick => self.tick(at_us),
        }
    }

    /// What was to be done at `at_us` is done now.
    pub(super) fn done(&mut self, at_us: u64) -> u64 {
        let now_us = self.now_us();
        self.record.took(Measure::Lag, at_us, now_us);
        now_us
    }

    /// Whether there is such a conversation. Another generator may have begun it a moment before it is due here.
    fn knows(&mut self, number: u32) -> bool {
        while self.conversations.len() <= number as usize {
            if !self.next_of_roll() {
                return false;
            }
        }
        true
    }

    fn hear(&mut self, news: News) {
        let at_us = self.at_us(news.at);
        let known = match &news.what {
            What::Message { of: number, .. }
            | What::Offered { customer: number, .. }
            | What::Assigned { customer: number, .. } => self.knows(*number),
            What::Desk { has, .. } => has.iter().all(|(_, number, ..)| self.knows(*number)),
            _ => true,
        };
        if !known {
            return;
        }
        match (news.who, news.what) {
            (_, What::Canary { intended }) => {
                let intended_us = self.at_us(intended);
                self.record.took(Measure::Runtime, intended_us, at_us);
            }
            (who, What::Answered { purpose, result }) => self.answered(who, purpose, result, at_us),
            (
                who,
                What::Message {
                    of,
                    stream,
                    number,
                    intended_us,
                    seq,
                    at_ms,
                },
            ) => {
                let agent = match who {
                    Who::Agent(agent) => Some(self.agents[agent].id),
                    Who::Customer(_) => None,
                };
                let shared = self.shared();
                let conversation = &mut self.conversations[of as usize];
                if let Some(own_us) = conversation.account.seen(stream, number, agent, seq) {
                    // Others may have seen it before whoever takes it over from them.
                    let read_up =
                        shared && agent.is_some() && conversation.owned_ms.is_none_or(|from_ms| at_ms < from_ms);
                    if !read_up {
                        let intended_us = intended_us.unwrap_or(own_us);
                        self.record.took(Measure::MessageDelivery, intended_us, at_us);
                    }
                }
            }
            (Who::Customer(number), What::Turned { turn, .. }) => self.customer_learns(number, turn, at_us),
            (Who::Agent(_), What::Turned { conversation, turn }) => {
                if turn == Turn::Left(true)
                    && let Some(&number) = self.ids.get(&conversation)
                {
                    self.conversations[number as usize].transferred = true;
                }
            }
            (_, What::Gap) => self.tally.faults.gaps += 1,
            (_, What::Ended(why)) => *self.tally.ended.entry(why).or_default() += 1,
            (who, What::Connected) => self.connected(who, at_us),
            (who, What::Disconnected) => self.disconnected(who, at_us),
            (Who::Agent(agent), what) => self.agent_hears(agent, what, at_us),
            (Who::Customer(_), _) => {}
        }
    }

    fn connected(&mut self, who: Who, at_us: u64) {
        let broke_us = match who {
            Who::Agent(agent) => self.agents[agent].broke_us.take(),
            Who::Customer(number) => self.conversations[number as usize].broke_us.take(),
        };
        if let Some(broke_us) = broke_us {
            self.record.took(Measure::Reconnect, broke_us, at_us);
        }
    }

    fn disconnected(&mut self, who: Who, at_us: u64) {
        let broke_us = match who {
            Who::Agent(agent) => &mut self.agents[agent].broke_us,
            Who::Customer(number) => &mut self.conversations[number as usize].broke_us,
        };
        if broke_us.is_none() {
            *broke_us = Some(at_us);
            self.tally.connections_lost += 1;
        }
    }

    fn tick(&mut self, at_us: u64) {
        let waiting: i64 = self.waiting.iter().sum();
        let busy: usize = self.agents.iter().map(|agent| agent.has.len()).sum();
        let every_us = self.record.interval_us();
        self.record
            .level(at_us.saturating_sub(1), waiting.max(0) as u64, busy as u64);
        let present = self.present;
        // The second before: most of it is known.
        let shown_us = at_us.saturating_sub(every_us + 1);
        let mut live = self.live.lock().expect("nobody panics with it");
        live.at_s = at_us as f64 / 1e6;
        live.interval_s = every_us as f64 / 1e6;
        live.arrivals = self.record.counted(Count::Arrivals, shown_us);
        live.assigned = self.record.counted(Count::Assigned, shown_us);
        live.messages = self.record.counted(Count::Messages, shown_us);
        live.acknowledged = self.record.counted(Count::Acknowledged, shown_us);
        for measure in SHOWN {
            live.last[measure as usize] = self.record.at(measure, shown_us);
            if live.watched {
                let whole = self.record.whole(measure);
                live.so_far[measure as usize] = (whole.count > 0).then_some(whole);
            }
        }
        if self.books.is_some() {
            live.packed = self.record.packed_at(&SHOWN, shown_us);
        }
        (live.waiting, live.busy, live.present) = (waiting.max(0) as u64, busy as u64, present as u64);
        live.totals =
            [Count::Arrivals, Count::InTarget, Count::Abandoned, Count::Messages].map(|count| self.record.total(count));
        live.faults = self.tally.faults;
        live.refused = self.tally.refused.values().sum();
        live.ticked();
        drop(live);
        self.plan(at_us + every_us, Task::Tick);
    }
}
