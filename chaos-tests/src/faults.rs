//! What is done to a cluster, one file for each kind of fault. A fault strikes, lasts, and is healed; healing tells whether it
//! met anything: a fault that met nothing has tested nothing.

use anyhow::Result;
use async_trait::async_trait;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::arena::Arena;

mod clients;
mod clocks;
mod disk_full;
mod fsync;
mod kill;
mod lines;
mod members;
mod panics;
mod partition;
mod pause;
mod power;
mod reset;
mod restart;
mod rot;
mod slow_disk;
mod snapshot_cut;
mod transfer;

/// Where the choices come from.
pub type Dice = ChaCha8Rng;

/// What a fault met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// Processes, packets, calls; 0: nothing.
    pub count: u64,
    /// Of what, in words.
    pub what: String,
}

impl Met {
    fn new(count: u64, what: impl Into<String>) -> Self {
        Self {
            count,
            what: what.into(),
        }
    }
}

/// A fault that can be put in and taken away.
#[async_trait(?Send)]
pub trait Fault {
    /// Breaks something; says what, or `None` when there is nothing of the kind to break now.
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>>;
    /// Mends it, and waits for nothing: the run looks for how long the cluster needs.
    async fn heal(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Met>;
}

/// What a fault takes away while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takes {
    /// Nothing: the cluster goes on serving.
    Nothing,
    /// A node, so that nothing else may be taken if service is to go on.
    Node,
    /// Service, until it is healed.
    Service,
}

/// A kind of fault.
pub struct Kind {
    /// Its name, in scenarios, logs and tables.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// The invariants that the table of faults asks for.
    pub holds: &'static str,
    /// What it takes away.
    pub takes: Takes,
    /// How long it lasts, in milliseconds: from, to.
    pub lasts_ms: (u64, u64),
    /// Nothing else is broken meanwhile: it ends with something being replaced.
    pub alone: bool,
    /// Makes one.
    pub make: fn() -> Box<dyn Fault>,
}

/// All of them.
pub const ALL: &[&[Kind]] = &[
    kill::KINDS,
    power::KINDS,
    rot::KINDS,
    disk_full::KINDS,
    fsync::KINDS,
    slow_disk::KINDS,
    partition::KINDS,
    lines::KINDS,
    reset::KINDS,
    pause::KINDS,
    clocks::KINDS,
    members::KINDS,
    snapshot_cut::KINDS,
    restart::KINDS,
    transfer::KINDS,
    clients::KINDS,
    panics::KINDS,
];

/// All kinds, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    ALL.iter().copied().flatten()
}

/// The kind of this name.
pub fn named(name: &str) -> Option<&'static Kind> {
    all().find(|kind| kind.name == name)
}

/// The leader more often than not, else any node that is awake.
async fn victim(arena: &mut Arena, dice: &mut Dice) -> Option<u64> {
    let leader = arena.leader().await.filter(|_| dice.random_bool(0.6));
    let awake = arena.awake();
    leader
        .filter(|leader| awake.contains(leader))
        .or_else(|| awake.choose(dice).copied())
}

/// One of these.
fn any(of: &[u64], dice: &mut Dice) -> Option<u64> {
    of.choose(dice).copied()
}
