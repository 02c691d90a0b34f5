//! What is so, what the links say, and whether the two fit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::transport::{CallError, Caller, NodeId, Purpose};
use parking_lot::Mutex;

/// A refusal is remembered by a link until it tries again: its longest back-off, a handshake, and a bit.
const REMEMBERED: Duration = Duration::from_millis(3_500);
const TICK: Duration = Duration::from_millis(2);
pub(super) const PORT: u16 = 7_000;

/// What a run gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) violations: Vec<String>,
    pub(super) trace: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    pub(super) fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Life {
    incarnation: u64,
    is_dead: bool,
    deaths: u64,
    last_dead: Duration,
    stops: bool,
}

#[derive(Default)]
struct State {
    seen: Seen,
    now: Duration,
    lives: BTreeMap<u64, Life>,
    /// The last frame of every connection, and every frame.
    last: BTreeMap<(u64, Caller, u8), u64>,
    came: BTreeSet<(u64, u64)>,
    /// When each node last answered each other.
    answered: BTreeMap<(u64, u64), Duration>,
    stops: bool,
}

/// Clones are the same.
#[derive(Clone)]
pub(super) struct Truth(Arc<Mutex<State>>);

impl State {
    fn note(&mut self, what: &'static str, words: &[u64]) {
        *self.seen.counts.entry(what).or_default() += 1;
        let now = self.now.as_micros() as u64;
        for &word in [now, what.len() as u64].iter().chain(words) {
            self.seen.trace = (self.seen.trace ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    fn demand(&mut self, holds: bool, reason: impl FnOnce() -> String) {
        if !holds && self.seen.violations.len() < 20 {
            let at = format!("{} ms: {}", self.now.as_millis(), reason());
            self.seen.violations.push(at);
        }
    }

    fn was_dead_lately(&self, node: u64) -> bool {
        self.lives
            .get(&node)
            .is_none_or(|life| life.is_dead || life.stops || life.deaths > 0 && self.now <= life.last_dead + REMEMBERED)
            || self.now < REMEMBERED
    }
}

/// turmoil gives its hosts addresses in the order in which they are made.
fn node_at(address: SocketAddr) -> u64 {
    match address.ip() {
        std::net::IpAddr::V4(ip) => u64::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => 0,
    }
}

impl Truth {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn now(&self, now: Duration) {
        self.0.lock().now = now;
    }

    pub(super) fn fired(&self, fault: &'static str) {
        self.0.lock().note(fault, &[]);
    }

    pub(super) fn dies(&self, node: u64) {
        let life = &mut *self.0.lock();
        let now = life.now;
        let life = life.lives.entry(node).or_default();
        (life.is_dead, life.deaths, life.last_dead) = (true, life.deaths + 1, now);
    }

    pub(super) fn lives(&self, node: u64) {
        let state = &mut *self.0.lock();
        let now = state.now;
        let life = state.lives.entry(node).or_default();
        (life.is_dead, life.last_dead) = (false, now);
    }

    /// A process begins; its incarnation.
    pub(super) fn begins(&self, node: u64) -> u64 {
        let mut state = self.0.lock();
        let life = state.lives.entry(node).or_default();
        life.incarnation += 1;
        node * 1_000 + life.incarnation
    }

    pub(super) fn deaths_at(&self, address: SocketAddr) -> u64 {
        let state = self.0.lock();
        state.lives.get(&node_at(address)).map_or(0, |life| life.deaths)
    }

    pub(super) fn lived_since(&self, address: SocketAddr, deaths: u64) -> bool {
        let state = self.0.lock();
        let life = state.lives.get(&node_at(address));
        life.is_some_and(|life| !life.is_dead && !life.stops && life.deaths == deaths && life.incarnation > 0)
    }

    /// A frame came: in order on its connection, and never before.
    pub(super) fn came(&self, at: u64, from: Caller, purpose: Purpose, number: u64) {
        let state = &mut *self.0.lock();
        state.note("came", &[at, from.node.0, number]);
        let before = state.last.insert((at, from, purpose as u8), number).unwrap_or(0);
        state.demand(number > before, || {
            format!("node {at}: frame {number} of {from:?} came after {before}")
        });
        let is_new = state.came.insert((from.node.0, number));
        state.demand(is_new, || format!("node {at}: frame {number} of {from:?} came twice"));
    }

    /// A call ended.
    pub(super) fn ended(
        &self,
        from: u64,
        to: u64,
        sent: &[u8],
        result: Result<&[u8], &CallError>,
        took: Duration,
        deadline: Duration,
    ) {
        let state = &mut *self.0.lock();
        state.demand(took <= deadline + TICK, || {
            format!("a call of node {from} took {took:?}, its deadline was {deadline:?}")
        });
        let what = match result {
            Ok(reply) => {
                state.demand(reply == sent, || format!("node {from}: a reply to another call"));
                let now = state.now;
                state.answered.insert((from, to), now);
                "answered"
            }
            Err(CallError::Refused(NodeId(peer))) => {
                let was_dead = state.was_dead_lately(*peer);
                state.demand(was_dead, || {
                    format!("node {from}: node {peer} refuses, though it lives")
                });
                "refused"
            }
            Err(CallError::Unreachable(..)) => "unreachable",
            Err(CallError::OutcomeUnknown(..)) => "unknown",
            Err(CallError::Busy(_)) => "busy",
        };
        state.note(what, &[from, to, took.as_micros() as u64]);
    }

    pub(super) fn link_up(&self, at: u64, peer: u64, incarnation: u64) {
        let state = &mut *self.0.lock();
        state.note("up", &[at, peer, incarnation]);
        let newest = state.lives.get(&peer).map_or(0, |life| life.incarnation);
        state.demand((1..=newest).contains(&(incarnation - peer * 1_000)), || {
            format!("node {at} met incarnation {incarnation} of node {peer}, which there never was")
        });
    }

    pub(super) fn link_down(&self, at: u64, peer: u64, goodbye: bool) {
        let state = &mut *self.0.lock();
        state.note(if goodbye { "goodbye" } else { "down" }, &[at, peer]);
        let stops = state.lives.get(&peer).is_some_and(|life| life.stops);
        state.demand(!goodbye || stops, || {
            format!("node {at} heard a goodbye of node {peer}, which did not stop")
        });
    }

    pub(super) fn refused(&self, at: u64, peer: u64) {
        let state = &mut *self.0.lock();
        state.note("reported gone", &[at, peer]);
        let was_dead = state.was_dead_lately(peer);
        state.demand(was_dead, || format!("node {at} reports node {peer} gone, which lives"));
    }

    /// More frames were given than a link may keep.
    pub(super) fn flooded(&self, from: u64, taken: usize, most: usize) {
        let state = &mut *self.0.lock();
        state.note("flooded", &[from, taken as u64]);
        state.demand(taken <= most, || {
            format!("node {from}: a link took {taken} frames at once; at most {most} may wait")
        });
    }

    pub(super) fn busy(&self) {
        self.0.lock().note("busy", &[]);
    }

    /// Every node was answered by every other, lately.
    pub(super) fn demand_service(&self, lately: Duration, now: Duration) {
        let state = &mut *self.0.lock();
        for from in super::NODES {
            for to in super::NODES.into_iter().filter(|&to| to != from) {
                let last = state.answered.get(&(from, to)).copied();
                state.demand(last.is_some_and(|last| last + lately >= now), || {
                    format!("node {from} hears nothing of node {to} since {last:?}")
                });
            }
        }
    }

    /// All stop, one after the other, with a goodbye.
    pub(super) fn stop(&self) {
        self.0.lock().stops = true;
    }

    pub(super) fn is_to_stop(&self, node: u64) -> bool {
        let mut state = self.0.lock();
        let stops = state.stops;
        state.lives.entry(node).or_default().stops |= stops;
        stops
    }

    pub(super) fn seen(&self) -> Seen {
        self.0.lock().seen.clone()
    }
}
