//! What goes wrong, how often, and when it stops.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use routing::invariants::Violation;
use routing::queue_manager::Settled;

use super::leader::Leader;
use super::log::{Origin, Proposal, Replica};
use super::world::{Happening, REPLICAS, World};

/// How far a leader's clock may be off, in milliseconds.
const SKEW_MAX_MS: i64 = 2_500;

/// Of one run: some of it may be absent. Chances are in thousandths, the rest in milliseconds.
#[derive(Clone, Debug)]
pub struct Rates {
    pub pace_ms: u64,
    pub commit_ms: u64,
    pub lag_ms: u64,
    pub hear_ms: u64,
    pub reply_lost: u32,
    pub unknown: u32,
    pub full: u32,
    pub doubled: u32,
    pub sluggish: u32,
    pub misled: u32,
    pub people_go_on: bool,
    depose_ms: u64,
    restore_ms: u64,
    jump_ms: u64,
    pause_ms: u64,
    /// Faults rest.
    calm: bool,
}

impl Rates {
    pub fn drawn(rng: &mut ChaCha8Rng) -> Self {
        let mut rate = |most: u32| {
            let absent = rng.random_ratio(1, 4);
            let rate = rng.random_range(1..=most);
            if absent { 0 } else { rate }
        };
        let (reply_lost, unknown, full) = (rate(80), rate(60), rate(20));
        let (doubled, sluggish, misled) = (rate(60), rate(60), rate(120));
        Self {
            pace_ms: rng.random_range(4..30),
            commit_ms: rng.random_range(2..40),
            lag_ms: rng.random_range(5..600),
            hear_ms: rng.random_range(0..20),
            reply_lost,
            unknown,
            full,
            doubled,
            sluggish,
            misled,
            people_go_on: true,
            depose_ms: rng.random_range(400..4_000),
            restore_ms: rng.random_range(300..4_000),
            jump_ms: rng.random_range(300..6_000),
            pause_ms: rng.random_range(300..5_000),
            calm: false,
        }
    }
}

impl World {
    /// The first of each.
    pub fn plan_faults(&mut self) {
        let Rates {
            depose_ms,
            restore_ms,
            jump_ms,
            pause_ms,
            ..
        } = self.rates;
        self.plan(depose_ms, Happening::Depose);
        self.plan(restore_ms, Happening::Restore);
        self.plan(jump_ms, Happening::Jump);
        self.plan(pause_ms, Happening::Pause);
        self.plan(3_000, Happening::Weather);
    }

    pub fn fault(&mut self, what: Happening) -> Result<(), Violation> {
        match what {
            Happening::Retire { term } => _ = self.leaders.remove(&term),
            Happening::Elect { replica } => self.elect(replica)?,
            _ if self.healing => {}
            Happening::Weather => {
                self.rates.calm = !self.rates.calm && self.rng.random_ratio(1, 3);
                self.plan(2_000, Happening::Weather);
            }
            Happening::Depose => {
                self.plan_again(self.rates.depose_ms, what);
                if !self.rates.calm && self.leading().is_some() {
                    self.depose();
                }
            }
            Happening::Restore => {
                self.plan_again(self.rates.restore_ms, what);
                if !self.rates.calm {
                    self.restore()?;
                }
            }
            Happening::Jump => {
                self.plan_again(self.rates.jump_ms, what);
                self.jump();
            }
            Happening::Pause => {
                self.plan_again(self.rates.pause_ms, what);
                let replica = self.rng.random_range(0..REPLICAS);
                let leads = self
                    .leading()
                    .is_some_and(|term| self.leaders[&term].replica == replica);
                if !leads {
                    self.replicas[replica].paused_until_ms = self.now_ms + self.rng.random_range(100..2_500);
                }
            }
            other => unreachable!("no fault: {other:?}"),
        }
        Ok(())
    }

    fn plan_again(&mut self, mean_ms: u64, what: Happening) {
        let after_ms = self.rng.random_range(1..=mean_ms * 2);
        self.plan(after_ms, what);
    }

    /// The leader is cut off: of what it has proposed, a part was committed, and the rest is lost. It goes on for a while.
    pub fn depose(&mut self) {
        let Some(term) = self.leading() else { return };
        let Some(leader) = self.leaders.get_mut(&term) else {
            return;
        };
        leader.deposed = true;
        let mut pending: Vec<Proposal> = leader.pending.drain(..).collect();
        let lost = pending.split_off(self.rng.random_range(0..=pending.len()));
        for proposal in pending {
            self.commit(vec![proposal]);
        }
        for Proposal { origin, .. } in lost {
            self.counts.lost += 1;
            if let Origin::Decision { term, id } = origin {
                let result = Settled::Unknown;
                self.plan(500, Happening::Settle { term, id, result });
            }
        }
        let goes_on_ms = self.rng.random_range(0..2_500);
        self.plan(goes_on_ms, Happening::Retire { term });
        let (replica, after_ms) = (self.rng.random_range(0..REPLICAS), self.rng.random_range(0..300));
        self.plan(after_ms, Happening::Elect { replica });
    }

    /// A replica leads: it has applied all that is committed, and its queue manager starts from that.
    pub fn elect(&mut self, replica: usize) -> Result<(), Violation> {
        self.replicas[replica].paused_until_ms = 0;
        // Who led here before knows by now.
        self.leaders
            .retain(|_, leader| leader.deposed && leader.replica != replica);
        self.apply_up_to(replica, usize::MAX)?;
        self.term += 1;
        self.counts.terms += 1;
        let clock_ms = match self.healing {
            // Faults of clocks have ended: the log's time goes on from where it is.
            true => self.log_is_ahead_ms(),
            false => self.rng.random_range(-SKEW_MAX_MS / 5..=SKEW_MAX_MS / 5),
        };
        let state = &self.replicas[replica].state;
        if let Some(tenant) = self.replicas[replica].tenant() {
            let leader = Leader::new(self.term, replica, clock_ms, state.index(), tenant);
            self.leaders.insert(self.term, leader);
        }
        let term = self.term;
        self.plan(0, Happening::Hear { term });
        self.plan(200, Happening::Barrier { term });
        Ok(())
    }

    fn log_is_ahead_ms(&self) -> i64 {
        let latest_ms = self.replicas.iter().map(|replica| replica.state.at_ms()).max();
        latest_ms.unwrap_or(0).saturating_sub(self.now_ms) as i64
    }

    /// A replica on which nobody leads is replaced by the snapshot of one that is as far or further, or starts from its own.
    fn restore(&mut self) -> Result<(), Violation> {
        let replica = self.rng.random_range(0..REPLICAS);
        let source = self.rng.random_range(0..REPLICAS);
        let led = self.leaders.values().any(|leader| leader.replica == replica);
        if led || self.replicas[source].at() < self.replicas[replica].at() {
            return Ok(());
        }
        let bytes = self.replicas[source].snapshot();
        let state = Replica::restored(&bytes)?;
        self.replicas[replica].state = state;
        self.counts.restored += 1;
        self.plan_restored_check(replica, source)
    }

    fn plan_restored_check(&self, replica: usize, source: usize) -> Result<(), Violation> {
        let (restored, source) = (&self.replicas[replica], &self.replicas[source]);
        let same = restored.state.digest() == source.state.digest() && restored.at() == source.at();
        super::oracle::must('H', same, || {
            format!("a snapshot at {} is of another state", source.at())
        })
    }

    fn jump(&mut self) {
        let Some(term) = self.leading() else { return };
        let jump_ms = self.rng.random_range(-SKEW_MAX_MS..=SKEW_MAX_MS);
        if let Some(leader) = self.leaders.get_mut(&term) {
            leader.clock_ms = jump_ms;
            self.counts.jumps += 1;
            // What it waited for may be due at once.
            leader.wakes_at_ms = None;
            self.plan(0, Happening::Hear { term });
        }
    }
}
