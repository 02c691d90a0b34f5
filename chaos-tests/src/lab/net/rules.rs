//! Cuts and resets as nftables rules of the host that packets come in at, and the counters of what they met.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Host, Line};

/// The table of our own in each namespace.
pub(super) const TABLE: &str = "lab";

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing arrives.
    Cut,
    /// TCP segments are answered with a reset instead of arriving; other packets pass.
    Reset(Resets),
}

/// Which TCP segments are answered with a reset. Resets themselves always pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resets {
    /// All, so that connections cannot be made either.
    Every,
    /// Only so many, then no more.
    First(u32),
    /// One in so many; connections are made, and end somewhere in the middle of what they carry.
    OneIn(u32),
}

/// How many packets faults have met, by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Packets that a cut threw away.
    pub cut: BTreeMap<Line, u64>,
    /// Segments that were answered with a reset.
    pub reset: BTreeMap<Line, u64>,
}

impl Met {
    /// Of all lines together.
    pub fn total(&self) -> u64 {
        self.cut.values().chain(self.reset.values()).sum()
    }

    /// What was met since an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cut: less(&self.cut, &earlier.cut),
            reset: less(&self.reset, &earlier.reset),
        }
    }

    /// Adds what `nft --json list counters` printed on a host.
    pub(super) fn read(&mut self, to: Host, printed: &str) -> Result<()> {
        let printed: Value = serde_json::from_str(printed).context("counters as JSON")?;
        let all = printed["nftables"].as_array().context("a list of counters")?;
        for counter in all
            .iter()
            .map(|item| &item["counter"])
            .filter(|counter| counter.is_object())
        {
            let name = counter["name"].as_str().context("a counter has a name")?;
            let packets = counter["packets"].as_u64().context("a counter counts")?;
            let (kind, octet) = name.split_once('_').context("a counter of ours")?;
            let from = Host::from_address([10, 77, 0, octet.parse()?]).context("a host of ours")?;
            let lines = if kind == "cut" { &mut self.cut } else { &mut self.reset };
            lines.insert((from, to), packets);
        }
        Ok(())
    }
}

fn less(now: &BTreeMap<Line, u64>, earlier: &BTreeMap<Line, u64>) -> BTreeMap<Line, u64> {
    let since = |line: &Line, packets: &u64| packets - earlier.get(line).unwrap_or(&0);
    now.iter()
        .map(|(line, packets)| (*line, since(line, packets)))
        .collect()
}

/// A host without faults. `add` leaves alone what is there, counters included.
pub(super) fn none() -> String {
    format!(
        "add table inet {TABLE}\n\
         add chain inet {TABLE} faults {{ type filter hook input priority 0; policy accept; }}\n\
         flush chain inet {TABLE} faults\n"
    )
}

/// The rules of a host, to be put in the place of those that it has. The kernel takes them all at one moment.
pub(super) fn at(to: Host, faults: &BTreeMap<Line, Fault>) -> String {
    let mut script = none();
    for ((from, _), fault) in faults.iter().filter(|((_, end), _)| *end == to) {
        let (kind, what) = match fault {
            Fault::Cut => ("cut", String::new()),
            Fault::Reset(which) => ("reset", format!("tcp flags & rst == 0 {}", only(*which))),
        };
        let verdict = if kind == "cut" { "drop" } else { "reject with tcp reset" };
        let (address, octet) = (from.address(), from.octet());
        let _infallible = writeln!(
            script,
            "add counter inet {TABLE} {kind}_{octet}\n\
             add rule inet {TABLE} faults ip saddr {address} {what} counter name {kind}_{octet} {verdict}"
        );
    }
    script
}

fn only(which: Resets) -> String {
    match which {
        Resets::Every => String::new(),
        // The allowance is the burst; what the rate gives back in a run is nothing. A burst counts from 1.
        Resets::First(count) => format!("limit rate 1/week burst {} packets", count.max(1)),
        Resets::OneIn(count) => format!("numgen inc mod {0} {1}", count.max(1), count.max(1) - 1),
    }
}
