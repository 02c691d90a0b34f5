//! Virtual time, and everything that happens on it.
//!
//! ```text
//!   clients ──► leader ──► pending ──► log ──► replicas ──► events ──► queue manager ──► decisions ──► leader
//!                  ▲                                                        (a deposed one's: by way of the new leader, or lost)
//!                  └── replies, lost now and then: the client asks again under the same key
//! ```

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use routing::command::{COMMAND_SCHEMA, Command, Envelope, IdempotencyKey};
use routing::event::Receipt;
use routing::ids::{Millis, TenantId};
use routing::invariants::Violation;
use routing::queue_manager::{Decision, DecisionId, Settled};
use routing::rejection::Rejection;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::clients::{Clients, Known, setting_up};
use super::faults::Rates;
use super::leader::Leader;
use super::log::{Entry, Log, Origin, Proposal, Replica};
use super::oracle::Oracle;
use super::run::{Counts, Settings};

pub const TENANT: TenantId = TenantId(7);
pub const REPLICAS: usize = 3;
/// A batch in the log.
const BATCH_MAX: usize = 4;

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Somebody wants something.
    Want,
    /// A request reaches a leader.
    Arrive { request: usize },
    /// A client has waited for long enough.
    TimeOut { request: usize, attempt: u32 },
    /// An answer reaches its client.
    Reply {
        request: usize,
        result: Result<Receipt, Rejection>,
    },
    /// The first of what a leader has proposed is committed.
    Commit { term: u64 },
    /// A replica looks at the log.
    Apply { replica: usize },
    /// A queue manager hears what its replica has applied.
    Hear { term: u64 },
    /// It wakes.
    Wake { term: u64 },
    /// It learns what became of a decision.
    Settle { term: u64, id: DecisionId, result: Settled },
    /// It asks for a read barrier.
    Barrier { term: u64 },
    /// The leader is no leader any more, and does not know.
    Depose,
    /// A replica leads.
    Elect { replica: usize },
    /// A deposed leader learns that it is.
    Retire { term: u64 },
    /// A replica is replaced by a snapshot.
    Restore,
    /// The leader's clock jumps.
    Jump,
    /// A replica stands still for a while.
    Pause,
    /// Faults begin, or rest.
    Weather,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub rng: ChaCha8Rng,
    pub now_ms: Millis,
    agenda: BTreeMap<(Millis, u64), Happening>,
    planned: u64,
    pub log: Log,
    pub replicas: Vec<Replica>,
    /// By term; those that are deposed and do not know, too.
    pub leaders: BTreeMap<u64, Leader>,
    pub term: u64,
    pub clients: Clients,
    pub oracle: Oracle,
    pub rates: Rates,
    /// The faults have ended.
    pub healing: bool,
    /// Chained over everything that happened, byte by byte.
    pub trace: u64,
    pub counts: Counts,
}

/// Into the trace, byte by byte.
pub fn hash_into<T: Serialize>(trace: &mut u64, what: &T) {
    *trace = xxh3_64_with_seed(&bincode::serialize(what).expect("it is plain data"), *trace);
}

impl World {
    pub fn new(settings: &Settings) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let (clients, rates) = (Clients::new(&mut rng), Rates::drawn(&mut rng));
        Self {
            rng,
            // A moment before a quarter hour ends.
            now_ms: 1_790_000,
            agenda: BTreeMap::new(),
            planned: 0,
            log: Log::default(),
            replicas: (0..REPLICAS).map(|_| Replica::default()).collect(),
            leaders: BTreeMap::new(),
            term: 0,
            clients,
            oracle: Oracle::default(),
            rates,
            healing: false,
            trace: 0,
            counts: Counts::default(),
        }
    }

    /// Faults and what people do, until the log is long enough; then the faults end, and everything must heal.
    pub fn run(&mut self, settings: &Settings) -> Result<(), Violation> {
        for command in setting_up() {
            let at_ms = self.now_ms;
            let (origin, envelope) = (Origin::Request { request: 0, term: 0 }, envelope(command, None));
            self.commit(vec![Proposal {
                envelope,
                origin,
                stamp_ms: at_ms,
            }]);
        }
        self.elect(0)?;
        self.plan(0, Happening::Want);
        self.plan_faults();
        while self.log.entries.len() < settings.entries {
            self.next()?;
        }
        self.heal()
    }

    /// After so long.
    pub fn plan(&mut self, after_ms: u64, what: Happening) {
        self.planned += 1;
        self.agenda.insert((self.now_ms + after_ms, self.planned), what);
    }

    /// When something happens next.
    pub fn next_ms(&self) -> Option<Millis> {
        self.agenda.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    pub fn next(&mut self) -> Result<(), Violation> {
        let Some(((at_ms, _), what)) = self.agenda.pop_first() else {
            return Ok(());
        };
        self.now_ms = at_ms;
        self.counts.happenings += 1;
        match what {
            Happening::Want => self.want(),
            Happening::Arrive { request } => self.arrive(request),
            Happening::TimeOut { request, attempt } => self.time_out(request, attempt),
            Happening::Reply { request, result } => self.reply(request, result)?,
            Happening::Commit { term } => self.commit_first_of(term),
            Happening::Apply { replica } => self.apply(replica)?,
            Happening::Hear { term } => self.hear(term)?,
            Happening::Wake { term } => self.wake(term)?,
            Happening::Settle { term, id, result } => self.settle(term, id, &result)?,
            Happening::Barrier { term } => self.barrier(term),
            fault => self.fault(fault)?,
        }
        Ok(())
    }

    /// The leader that leads.
    pub fn leading(&self) -> Option<u64> {
        let last = self.leaders.last_key_value();
        last.filter(|(_, leader)| !leader.deposed).map(|(term, _)| *term)
    }

    // ---- clients

    fn want(&mut self) {
        let pace_ms = if self.healing { 40 } else { self.rates.pace_ms };
        let after_ms = self.rng.random_range(0..=pace_ms * 2);
        if !self.healing || self.rates.people_go_on {
            self.plan(after_ms, Happening::Want);
        }
        let replica = self.rng.random_range(0..REPLICAS);
        let Some(tenant) = self.replicas[replica].tenant() else {
            return;
        };
        let Some(request) = self.clients.want(tenant, self.now_ms, &mut self.rng, &mut self.oracle) else {
            return;
        };
        self.ask(request);
        if self.chance(self.rates.doubled) {
            self.plan(7, Happening::Arrive { request });
        }
    }

    fn ask(&mut self, request: usize) {
        let asked = &mut self.clients.requests[request];
        asked.attempts += 1;
        let attempt = asked.attempts;
        self.counts.retries += u64::from(attempt > 1);
        let on_the_way_ms = self.rng.random_range(0..12);
        let patience_ms = match self.chance(self.rates.sluggish) {
            true => self.rng.random_range(4_000..9_000),
            false => self.rng.random_range(300..1_200),
        };
        self.plan(on_the_way_ms, Happening::Arrive { request });
        self.plan(patience_ms, Happening::TimeOut { request, attempt });
    }

    fn time_out(&mut self, request: usize, attempt: u32) {
        let asked = &self.clients.requests[request];
        if asked.known == Known::Open && asked.attempts == attempt {
            self.ask(request);
        }
    }

    fn arrive(&mut self, request: usize) {
        let terms: Vec<u64> = self.leaders.keys().copied().collect();
        let leading = match self.chance(self.rates.misled) {
            // Some node still sends its clients to an old one.
            true => terms.first().copied(),
            false => self.leading(),
        };
        let asked = &self.clients.requests[request];
        let envelope = envelope(asked.command.clone(), Some(asked.key.clone()));
        match leading {
            Some(term) => self.propose(term, envelope, Origin::Request { request, term }),
            None => self.counts.lost += 1,
        }
    }

    fn reply(&mut self, request: usize, result: Result<Receipt, Rejection>) -> Result<(), Violation> {
        hash_into(&mut self.trace, &(self.now_ms, request as u64, &result));
        let asked = &mut self.clients.requests[request];
        let known = match result {
            Ok(receipt) => {
                self.oracle.acknowledged(&asked.key, &receipt, &asked.command)?;
                Known::Done(receipt)
            }
            Err(why) => Known::Refused(why),
        };
        if asked.known == Known::Open {
            self.counts.acknowledged += u64::from(matches!(known, Known::Done(_)));
            asked.known = known;
        }
        Ok(())
    }

    // ---- log

    pub fn propose(&mut self, term: u64, envelope: Envelope, origin: Origin) {
        let now_ms = self.now_ms;
        let Some(leader) = self.leaders.get_mut(&term) else {
            return;
        };
        let stamp_ms = leader.time_ms(now_ms);
        leader.pending.push_back(Proposal {
            envelope,
            origin,
            stamp_ms,
        });
        let after_ms = self.rng.random_range(1..=self.rates.commit_ms);
        self.plan(after_ms, Happening::Commit { term });
    }

    fn commit_first_of(&mut self, term: u64) {
        let most = self.rng.random_range(1..=BATCH_MAX);
        let Some(leader) = self.leaders.get_mut(&term).filter(|leader| !leader.deposed) else {
            return;
        };
        let batch: Vec<Proposal> = leader.pending.drain(..most.min(leader.pending.len())).collect();
        self.commit(batch);
    }

    pub fn commit(&mut self, proposals: Vec<Proposal>) {
        // Stamped once, when the last of them has come: none is older than its own decision.
        let Some(at_ms) = proposals.iter().map(|proposal| proposal.stamp_ms).max() else {
            return;
        };
        self.log.entries.push(Entry { at_ms, proposals });
        for replica in 0..REPLICAS {
            self.look(replica);
        }
    }

    /// The replica will look at the log, a leader's sooner than others'.
    fn look(&mut self, replica: usize) {
        if self.replicas[replica].planned {
            return;
        }
        let leads = self
            .leading()
            .is_some_and(|term| self.leaders[&term].replica == replica);
        let lag_ms = if leads || self.healing { 3 } else { self.rates.lag_ms };
        let after_ms = self.rng.random_range(0..=lag_ms);
        let paused_ms = self.replicas[replica].paused_until_ms.saturating_sub(self.now_ms);
        self.replicas[replica].planned = true;
        self.plan(after_ms.max(paused_ms), Happening::Apply { replica });
    }

    fn apply(&mut self, replica: usize) -> Result<(), Violation> {
        self.replicas[replica].planned = false;
        let most = match self.rng.random_bool(0.8) || self.healing {
            true => usize::MAX,
            false => self.rng.random_range(1..8),
        };
        self.apply_up_to(replica, most)?;
        if self.replicas[replica].at() < self.log.entries.len() {
            self.look(replica);
        }
        Ok(())
    }

    /// Applies entries, and tells who waits for their outcome.
    pub fn apply_up_to(&mut self, replica: usize, most: usize) -> Result<(), Violation> {
        let until = self
            .log
            .entries
            .len()
            .min(self.replicas[replica].at().saturating_add(most));
        while self.replicas[replica].at() < until {
            let at = self.replicas[replica].at();
            let one = &mut self.replicas[replica];
            one.apply_next(&mut self.log, &mut self.oracle, &mut self.counts, &mut self.trace)?;
            for n in 0..self.log.entries[at].proposals.len() {
                let origin = self.log.entries[at].proposals[n].origin;
                let result = self.log.applied[at].outcomes[n].result.clone();
                self.tell(replica, origin, result);
            }
        }
        let here: Vec<u64> = (self.leaders.values())
            .filter(|leader| leader.replica == replica && !leader.hears)
            .map(|leader| leader.term)
            .collect();
        here.into_iter().for_each(|term| self.will_hear(term));
        Ok(())
    }

    /// Whoever waits for the outcome at this replica learns it.
    fn tell(&mut self, replica: usize, origin: Origin, result: Result<Receipt, Rejection>) {
        let (Origin::Request { term, .. } | Origin::Decision { term, .. }) = origin;
        if self.leaders.get(&term).is_none_or(|leader| leader.replica != replica) {
            return;
        }
        let after_ms = self.rng.random_range(0..8);
        match origin {
            Origin::Request { .. } if self.chance(self.rates.reply_lost) => self.counts.replies_lost += 1,
            Origin::Request { request, .. } => self.plan(after_ms, Happening::Reply { request, result }),
            Origin::Decision { term, id } => {
                let result = match result {
                    _ if self.chance(self.rates.unknown) => Settled::Unknown,
                    Ok(_) => Settled::Applied,
                    Err(why) => Settled::Rejected(why),
                };
                self.plan(after_ms, Happening::Settle { term, id, result });
            }
        }
    }

    // ---- queue managers

    fn will_hear(&mut self, term: u64) {
        let Some(leader) = self.leaders.get_mut(&term) else {
            return;
        };
        leader.hears = true;
        let late_ms = if leader.deposed { 400 } else { self.rates.hear_ms };
        let after_ms = self.rng.random_range(0..=late_ms);
        self.plan(after_ms, Happening::Hear { term });
    }

    fn hear(&mut self, term: u64) -> Result<(), Violation> {
        let few = !self.healing && self.rng.random_bool(0.15);
        let entries = if few { self.rng.random_range(1..4) } else { usize::MAX };
        let Some(leader) = self.leaders.get_mut(&term) else {
            return Ok(());
        };
        leader.hears = false;
        let until = self.replicas[leader.replica].at();
        leader.hear(&self.log, until, entries, &mut self.counts);
        if !leader.has_heard(until) {
            self.will_hear(term);
        }
        self.decide(term)
    }

    fn wake(&mut self, term: u64) -> Result<(), Violation> {
        let Some(leader) = self.leaders.get_mut(&term) else {
            return Ok(());
        };
        if leader.wakes_at_ms.is_none_or(|at_ms| at_ms > self.now_ms) {
            return Ok(());
        }
        leader.wakes_at_ms = None;
        self.decide(term)
    }

    fn settle(&mut self, term: u64, id: DecisionId, result: &Settled) -> Result<(), Violation> {
        let Some(leader) = self.leaders.get_mut(&term) else {
            return Ok(());
        };
        leader.settle(id, result, &mut self.counts);
        self.decide(term)
    }

    fn barrier(&mut self, term: u64) {
        let Some(leader) = self.leaders.get_mut(&term).filter(|leader| !leader.deposed) else {
            return;
        };
        leader.begin_barrier(self.log.entries.len());
        if !leader.hears {
            self.will_hear(term);
        }
        let after_ms = self.rng.random_range(100..900);
        self.plan(after_ms, Happening::Barrier { term });
    }

    fn decide(&mut self, term: u64) -> Result<(), Violation> {
        let limit = self.rng.random_range(1..12);
        let now_ms = self.now_ms;
        let Some(leader) = self.leaders.get_mut(&term) else {
            return Ok(());
        };
        let decisions = leader.decide(now_ms, limit, &mut self.counts)?;
        let full = decisions.len() == limit;
        for Decision { id, command } in decisions {
            hash_into(&mut self.trace, &(now_ms, term, id.0, &command));
            self.send(term, id, command);
        }
        let Some(leader) = self.leaders.get_mut(&term) else {
            return Ok(());
        };
        let wakes_ms = leader.next_wakeup_ms().map(|at_ms| at_ms.max(now_ms + 1));
        let next_ms = if full { Some(now_ms + 1) } else { wakes_ms };
        if let Some(at_ms) = next_ms.filter(|at_ms| leader.wakes_at_ms.is_none_or(|before| before > *at_ms)) {
            leader.wakes_at_ms = Some(at_ms);
            self.plan(at_ms - now_ms, Happening::Wake { term });
        }
        Ok(())
    }

    /// A decision goes to the log: by way of whoever leads now, if its own leader does not any more.
    fn send(&mut self, term: u64, id: DecisionId, command: Command) {
        let deposed = self.leaders[&term].deposed;
        let (envelope, origin) = (envelope(command, None), Origin::Decision { term, id });
        if self.chance(self.rates.full) {
            let result = Settled::NotProposed;
            self.plan(2, Happening::Settle { term, id, result });
        } else if self.chance(self.rates.unknown) {
            // Lost on the way to the log, and nobody says so: only a barrier tells.
            self.counts.lost += 1;
            let result = Settled::Unknown;
            self.plan(60, Happening::Settle { term, id, result });
        } else if !deposed {
            self.propose(term, envelope, origin);
        } else if let Some(leading) = self.leading().filter(|_| self.rng.random_bool(0.6)) {
            self.propose(leading, envelope, origin);
        } else {
            self.counts.lost += 1;
            let result = Settled::Unknown;
            self.plan(400, Happening::Settle { term, id, result });
        }
    }

    /// One in a thousand, `rate` times; never once the faults have ended.
    pub fn chance(&mut self, rate: u32) -> bool {
        !self.healing && rate > 0 && self.rng.random_range(0..1_000) < rate
    }
}

fn envelope(command: Command, key: Option<IdempotencyKey>) -> Envelope {
    Envelope {
        schema: COMMAND_SCHEMA,
        tenant: TENANT,
        key,
        command,
    }
}
