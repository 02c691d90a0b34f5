//! The faults have ended: one queue manager, prompt replicas, no losses. What waits must be served, what is due must fire, what was
//! asked must be answered, and all must agree.

use routing::ids::Millis;
use routing::invariants::Violation;
use routing::state::State;

use super::clients::Known;
use super::leader::started_from;
use super::naive::Naive;
use super::oracle::must;
use super::world::{REPLICAS, World};

/// People go on for so long.
const PEOPLE_MS: Millis = 4_000;
/// Then every client is answered within so long.
const ANSWERS_MS: Millis = 12_000;
/// I: nobody waits for longer while somebody is free for them; nothing due waits for longer.
const SERVICE_MS: Millis = 1_000;
/// How often that is looked at.
const LOOK_MS: Millis = 100;

impl World {
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.healing = true;
        self.rates.commit_ms = 5;
        self.rates.hear_ms = 2;
        for replica in &mut self.replicas {
            replica.paused_until_ms = 0;
        }
        self.depose();
        self.leaders.clear();
        self.elect((self.term % REPLICAS as u64) as usize)?;
        let ends_ms = self.now_ms + PEOPLE_MS;
        self.serve_until(ends_ms, |_| false)?;
        self.rates.people_go_on = false;
        let ends_ms = self.now_ms + ANSWERS_MS;
        self.serve_until(ends_ms, |world| world.clients.open().next().is_none())?;
        let open: Vec<_> = self
            .clients
            .open()
            .map(|at| self.clients.requests[at].clone())
            .collect();
        must('I', open.is_empty(), || format!("clients are not answered: {open:?}"))?;
        self.come_to_rest()?;
        self.all_agree()
    }

    /// Goes on for so long, or until it is enough, and watches that whoever could be served is.
    fn serve_until(&mut self, ends_ms: Millis, enough: impl Fn(&Self) -> bool) -> Result<(), Violation> {
        let (mut look_ms, mut unserved_ms) = (self.now_ms, None);
        while self.next_ms().is_some_and(|at_ms| at_ms <= ends_ms) && !enough(self) {
            self.next()?;
            if self.now_ms < look_ms {
                continue;
            }
            look_ms = self.now_ms + LOOK_MS;
            let Some(next) = self.unserved() else {
                unserved_ms = None;
                continue;
            };
            let since_ms = *unserved_ms.get_or_insert(self.now_ms);
            must('I', self.now_ms - since_ms <= SERVICE_MS, || {
                format!("for {} ms {next} could have been served", self.now_ms - since_ms)
            })?;
        }
        Ok(())
    }

    /// Somebody who could be offered now, by the state, and of whom nothing is on its way.
    fn unserved(&self) -> Option<String> {
        let leader = &self.leaders[&self.leading()?];
        let tenant = self.replicas[leader.replica].tenant()?;
        let mut naive = Naive {
            now_ms: leader.time_ms(self.now_ms),
            reserved: leader.reserved(),
            ..Naive::default()
        };
        started_from(&mut naive, &tenant.views());
        naive.next().map(|next| format!("{next:?}"))
    }

    /// Until nothing is on its way and nothing is due.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        let Some(term) = self.leading() else {
            return must('I', false, || "nobody leads".to_owned());
        };
        let latest_ms = self.now_ms + 2 * SERVICE_MS;
        loop {
            let leader = &self.leaders[&term];
            let heard = leader.has_heard(self.log.entries.len());
            let due = leader.next_wakeup_ms().is_some_and(|at_ms| at_ms <= self.now_ms + 1);
            let next_ms = self.next_ms().unwrap_or(Millis::MAX);
            // What remains on its way is what a barrier clears up.
            let quiet = leader.is_quiet() && heard && !due && next_ms > self.now_ms;
            // Who was refused a moment ago rests a little.
            let unserved = if quiet { self.unserved() } else { None };
            if quiet && unserved.is_none() {
                break;
            }
            must('I', next_ms <= latest_ms, || {
                format!("no rest is reached; {unserved:?} could be served: {leader:?}")
            })?;
            self.next()?;
        }
        self.oracle.overdue(SERVICE_MS)
    }

    /// H, A: all replicas have all, and so has one that begins with an empty log.
    fn all_agree(&mut self) -> Result<(), Violation> {
        for replica in 0..REPLICAS {
            self.apply_up_to(replica, usize::MAX)?;
        }
        let mut states: Vec<&State> = self.replicas.iter().map(|replica| &replica.state).collect();
        let mut again = State::new();
        if self.term.is_multiple_of(4) {
            for (entry, index) in self.log.entries.iter().zip(1..) {
                for proposal in &entry.proposals {
                    let _ = again.apply(index, entry.at_ms, &proposal.envelope, &mut Vec::new());
                }
            }
            states.push(&again);
        }
        let whole = |state: &State| (state.index(), state.digest(), state.full_hash());
        for state in &states[1..] {
            must('H', whole(state) == whole(states[0]), || {
                format!("{:?} and {:?} at the end", whole(state), whole(states[0]))
            })?;
        }
        self.oracle.check_whole(states[0])?;
        for request in &self.clients.requests {
            if let Known::Done(receipt) = &request.known {
                self.oracle.acknowledged(&request.key, receipt, &request.command)?;
            }
        }
        let Some(term) = self.leading() else { return Ok(()) };
        let replica = self.leaders[&term].replica;
        let (Some(leader), Some(tenant)) = (self.leaders.get_mut(&term), self.replicas[replica].tenant()) else {
            return Ok(());
        };
        leader.is_as_new(tenant)
    }
}
