//! Messages in all conversations, by one thread: each is sent at its time, whatever the cluster does, and every one is followed up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use node::client::Client;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp};
use routing::event::Phase;
use routing::ids::{ConversationId, Epoch};
use tokio::task::JoinHandle;

use super::{Crowd, People};
use crate::modes::series::Span;
use crate::run::account::{Account, Faults, Side, Stream};
use crate::run::line::{News, Purpose, What, Who, text_of};
use crate::run::record::{Summary, histogram, took};

/// After the last message, until all are settled.
const SETTLING: Duration = Duration::from_secs(30);

/// What is said.
#[derive(Clone, Debug)]
pub struct Script {
    rate: f64,
    seed: u64,
    bytes: usize,
    sides: &'static [Side],
}

impl Script {
    /// `rate` messages per second over all conversations, Poisson, each with a text of `bytes`; these `sides` speak.
    ///
    /// # Errors
    /// A rate that is none, or a text that no message may have.
    pub fn new(rate: f64, seed: u64, bytes: usize, sides: &'static [Side]) -> Result<Self> {
        ensure!(rate > 0.0 && rate.is_finite(), "--rate must be above 0");
        ensure!(bytes <= routing::limits::BODY_MAX_BYTES, "a message has at most 32 KiB");
        Ok(Self {
            rate,
            seed,
            bytes,
            sides,
        })
    }
}

/// One message, with its times in microseconds from the start; `u64::MAX`: never.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub pair: u32,
    pub side: Side,
    /// Who spoke, unless the customer.
    pub agent: Option<u32>,
    pub due_us: u64,
    /// When it was given to the client.
    pub sent_us: u64,
    /// When it was acknowledged.
    pub done_us: u64,
    /// When the other side had it.
    pub seen_us: u64,
}

impl Said {
    /// From due to acknowledged.
    pub fn span(&self) -> Span {
        Span {
            due_us: self.due_us,
            done_us: self.done_us,
        }
    }
}

/// Somebody who only listens.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// Next number that is expected of each side.
    next: [u32; 2],
    pub heard: u64,
    pub duplicated: u64,
    pub misordered: u64,
}

/// What came of it.
pub struct Talked {
    pub said: Vec<Said>,
    pub accounts: Vec<Account>,
    pub faults: Faults,
    /// By code.
    pub refused: BTreeMap<String, u64>,
    /// Connections that ended, and tries that made none.
    pub connections_lost: u64,
    /// Owners that lost a conversation against their will.
    pub owners_lost: u64,
    /// What clients said that ended.
    pub ended: BTreeMap<String, u64>,
    /// Due → sent.
    pub lag: Histogram<u64>,
    /// By how much timers of the runtime were late.
    pub late: Histogram<u64>,
    pub listeners: Vec<Listener>,
    /// Due → heard by a listener, all of them together.
    pub listened: Histogram<u64>,
}

impl Talked {
    /// Due → acknowledged, of those that are meant.
    pub fn acknowledged(&self, which: impl Fn(&Said) -> bool) -> Summary {
        self.summary(which, |said| said.done_us)
    }

    /// Due → seen by the other side, of those that are meant.
    pub fn delivered(&self, which: impl Fn(&Said) -> bool) -> Summary {
        self.summary(which, |said| said.seen_us)
    }

    fn summary(&self, which: impl Fn(&Said) -> bool, end: fn(&Said) -> u64) -> Summary {
        let mut all = histogram();
        let ended = self.said.iter().filter(|said| which(said) && end(said) != u64::MAX);
        ended.for_each(|said| took(&mut all, end(said).saturating_sub(said.due_us)));
        (&all).into()
    }
}

/// A talk that goes on.
pub struct Talk {
    pub started: Instant,
    over: Arc<AtomicBool>,
    open: Arc<AtomicU64>,
    playing: JoinHandle<Result<Talked>>,
}

impl Talk {
    /// Begins.
    pub fn begin(crowd: Crowd, script: Script) -> Self {
        // A little later, so that the first are not late.
        let started = Instant::now() + Duration::from_millis(20);
        let (over, open) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let talker = Talker::new(crowd, script, started, Arc::clone(&over), Arc::clone(&open));
        Self {
            started,
            over,
            open,
            playing: tokio::task::spawn_blocking(move || talker.play()),
        }
    }

    /// Microseconds since the start.
    pub fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Messages that are not settled.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// No further message; waits until all are settled.
    pub async fn end(self) -> Result<Talked> {
        self.over.store(true, Ordering::Relaxed);
        self.playing.await?
    }
}

struct Talker {
    people: Arc<People>,
    script: Script,
    started: Instant,
    over: Arc<AtomicBool>,
    open: Arc<AtomicU64>,
    crowd: Crowd,
    rng: ChaCha8Rng,
    next_us: u64,
    /// Positions in `said`, by conversation and side.
    numbers: Vec<[Vec<u32>; 2]>,
    talked: Talked,
    unanswered: u64,
    unsettled: u64,
}

impl Talker {
    fn new(crowd: Crowd, script: Script, started: Instant, over: Arc<AtomicBool>, open: Arc<AtomicU64>) -> Self {
        let pairs = crowd.people.pairs.len();
        Self {
            rng: ChaCha8Rng::seed_from_u64(script.seed),
            talked: Talked {
                said: Vec::new(),
                accounts: vec![Account::default(); pairs],
                faults: Faults::default(),
                refused: BTreeMap::new(),
                connections_lost: 0,
                owners_lost: 0,
                ended: BTreeMap::new(),
                lag: histogram(),
                late: histogram(),
                listeners: vec![Listener::default(); crowd.people.listeners.len()],
                listened: histogram(),
            },
            people: Arc::clone(&crowd.people),
            numbers: vec![Default::default(); pairs],
            next_us: 0,
            unanswered: 0,
            unsettled: 0,
            script,
            started,
            over,
            open,
            crowd,
        }
    }

    fn at_us(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_micros() as u64
    }

    fn play(mut self) -> Result<Talked> {
        self.crowd.wire.canary();
        for (pair, owner) in self.crowd.owners.iter().enumerate() {
            if let Some((agent, epoch)) = owner {
                self.talked.accounts[pair].assigned(epoch.0, *agent, 0);
            }
        }
        let gaps = Exp::new(self.script.rate)?;
        while !self.over.load(Ordering::Relaxed) {
            let now_us = self.at_us(Instant::now());
            if now_us >= self.next_us {
                self.say(self.next_us, now_us);
                self.next_us += (gaps.sample(&mut self.rng) * 1e6) as u64;
                self.hear_some();
            } else {
                // Not for so long that the end is overheard.
                self.hear_for(Duration::from_micros((self.next_us - now_us).min(50_000)))?;
            }
        }
        let until = Instant::now() + SETTLING;
        while (self.unsettled > 0 || self.unanswered > 0 || self.unheard()) && Instant::now() < until {
            self.hear_for(Duration::from_millis(20))?;
        }
        // What listeners and readers are still given would be one too many.
        self.hear_for(Duration::from_millis(200))?;
        for account in &self.talked.accounts {
            self.talked.faults.add(&account.close());
        }
        Ok(self.talked)
    }

    /// Somebody who listens lacks something.
    fn unheard(&self) -> bool {
        let first = self.numbers.first().map_or(0, |sides| sides.iter().map(Vec::len).sum());
        self.talked
            .listeners
            .iter()
            .any(|listener| listener.heard < first as u64)
    }

    fn say(&mut self, due_us: u64, now_us: u64) {
        let pair = self.rng.random_range(0..self.people.pairs.len());
        let side = self.script.sides[self.rng.random_range(0..self.script.sides.len())];
        let (conversation, owner) = (self.people.pairs[pair].conversation, self.crowd.owners[pair]);
        let speaker = |owner: Option<(usize, Epoch)>| -> Option<(&Client, Option<Epoch>)> {
            match (side, owner) {
                (Side::Customer, _) => Some((&self.people.pairs[pair].customer.client, None)),
                (Side::Agent, Some((agent, epoch))) => Some((&self.people.agents[agent].client, Some(epoch))),
                (Side::Agent, None) => None,
            }
        };
        // Of a conversation that nobody has at the moment, the customer speaks: the rate stays what it is.
        let (side, (client, epoch)) = match speaker(owner) {
            Some(found) => (side, found),
            None => (Side::Customer, (&self.people.pairs[pair].customer.client, None)),
        };
        let stream = Stream::of(side, 0);
        let number = self.talked.accounts[pair].sent(stream, due_us);
        let text = text_of(
            self.people.nonce,
            (pair as u32, stream, number),
            None,
            self.script.bytes,
        );
        let pending = match epoch {
            Some(epoch) => client.message_under(conversation, epoch, text),
            None => client.message(conversation, text),
        };
        let purpose = Purpose::Message(pair as u32, side, number);
        self.crowd.wire.expect(pending, Who::Customer(pair as u32), purpose);
        self.numbers[pair][side as usize].push(self.talked.said.len() as u32);
        self.talked.said.push(Said {
            pair: pair as u32,
            side,
            agent: owner.filter(|_| side == Side::Agent).map(|(agent, _)| agent as u32),
            due_us,
            sent_us: now_us,
            done_us: u64::MAX,
            seen_us: u64::MAX,
        });
        took(&mut self.talked.lag, now_us - due_us);
        self.unanswered += 1;
        self.unsettled += 1;
        self.open.store(self.unanswered, Ordering::Relaxed);
    }

    fn hear_for(&mut self, wait: Duration) -> Result<()> {
        match self.crowd.news.recv_timeout(wait) {
            Ok(first) => {
                self.hear(first);
                self.hear_some();
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("the clients have ended"),
        }
    }

    fn hear_some(&mut self) {
        // Who speaks must listen as well, even when there is always something to say.
        const AT_ONCE: usize = 64;
        for _ in 0..AT_ONCE {
            match self.crowd.news.try_recv() {
                Ok(piece) => self.hear(piece),
                Err(_) => return,
            }
        }
    }

    fn hear(&mut self, news: News) {
        let at_us = self.at_us(news.at);
        match (news.who, news.what) {
            (_, What::Canary { intended }) => {
                let late = news.at.saturating_duration_since(intended);
                took(&mut self.talked.late, late.as_micros() as u64);
            }
            (_, What::Answered { purpose, result }) => self.answered(purpose, result, at_us),
            (
                who,
                What::Message {
                    of,
                    stream,
                    number,
                    seq,
                    ..
                },
            ) => self.seen(who, (of as usize, stream.side(), number, seq), at_us),
            (_, What::Gap) => self.talked.faults.gaps += 1,
            // Before it began, everybody went to their nodes.
            (_, What::Disconnected) => self.talked.connections_lost += u64::from(news.at >= self.started),
            (_, What::Ended(why)) => *self.talked.ended.entry(why).or_default() += 1,
            (Who::Agent(agent), what) => self.agent_hears(agent, what),
            (Who::Customer(_), _) => {}
        }
    }

    fn answered(&mut self, purpose: Purpose, result: Result<(Option<ConversationId>, u64), String>, at_us: u64) {
        let Purpose::Message(pair, side, number) = purpose else {
            return;
        };
        let (account, stream) = (&mut self.talked.accounts[pair as usize], Stream::of(side, 0));
        let open = account.open();
        match result {
            Ok((_, seq)) => {
                account.acknowledged(stream, number, seq);
                let at = self.numbers[pair as usize][side as usize][number as usize];
                self.talked.said[at as usize].done_us = at_us;
            }
            Err(code) => {
                account.refused(stream, number);
                *self.talked.refused.entry(code).or_default() += 1;
            }
        }
        self.unsettled -= u64::from(open - account.open());
        self.unanswered -= 1;
        self.open.store(self.unanswered, Ordering::Relaxed);
    }

    fn seen(&mut self, who: Who, (pair, side, number, seq): (usize, Side, u32, u64), at_us: u64) {
        let agent = match who {
            Who::Agent(agent) => Some(agent),
            Who::Customer(_) => None,
        };
        let Some(position) = self
            .numbers
            .get(pair)
            .and_then(|numbers| numbers[side as usize].get(number as usize))
        else {
            return;
        };
        let said = &mut self.talked.said[*position as usize];
        if let Some(listener) = agent.and_then(|agent| agent.checked_sub(self.people.agents.len())) {
            let Some(listener) = self.talked.listeners.get_mut(listener) else {
                return;
            };
            let next = &mut listener.next[side as usize];
            listener.heard += 1;
            listener.duplicated += u64::from(number < *next);
            listener.misordered += u64::from(number > *next);
            *next = (*next).max(number + 1);
            took(&mut self.talked.listened, at_us.saturating_sub(said.due_us));
            return;
        }
        let account = &mut self.talked.accounts[pair];
        let open = account.open();
        if account.seen(Stream::of(side, 0), number, agent, seq).is_some() {
            said.seen_us = at_us;
        }
        self.unsettled -= u64::from(open - account.open());
    }

    fn pair_of(&self, conversation: ConversationId) -> Option<usize> {
        self.people
            .pairs
            .iter()
            .position(|pair| pair.conversation == conversation)
    }

    fn agent_hears(&mut self, agent: usize, what: What) {
        match what {
            What::Assigned {
                customer, epoch, at_ms, ..
            } => self.owns(customer as usize, agent, epoch, at_ms),
            What::Unassigned {
                conversation,
                at_ms,
                wanted,
            } => {
                let Some(pair) = self.pair_of(conversation) else { return };
                self.talked.accounts[pair].unassigned(agent, at_ms);
                self.talked.owners_lost += u64::from(!wanted);
                let owner = &mut self.crowd.owners[pair];
                *owner = owner.filter(|(owner, _)| *owner != agent);
            }
            What::Desk { at_ms, has } => {
                let held = has
                    .iter()
                    .filter(|(.., phase, _)| matches!(phase, Phase::Assigned | Phase::Paused));
                let held: BTreeMap<u32, Epoch> = held.map(|(_, customer, _, epoch)| (*customer, *epoch)).collect();
                for (pair, owner) in self.crowd.owners.iter_mut().enumerate() {
                    if owner.is_some_and(|(owner, _)| owner == agent) && !held.contains_key(&(pair as u32)) {
                        *owner = None;
                        self.talked.owners_lost += 1;
                        self.talked.accounts[pair].unassigned(agent, at_ms);
                    }
                }
                for (customer, epoch) in held {
                    self.owns(customer as usize, agent, epoch, at_ms);
                }
            }
            _ => {}
        }
    }

    fn owns(&mut self, pair: usize, agent: usize, epoch: Epoch, at_ms: u64) {
        let Some(owner) = self.crowd.owners.get_mut(pair) else {
            return;
        };
        if owner.is_none_or(|(_, known)| known <= epoch) {
            *owner = Some((agent, epoch));
        }
        self.talked.accounts[pair].assigned(epoch.0, agent, at_ms);
    }
}
