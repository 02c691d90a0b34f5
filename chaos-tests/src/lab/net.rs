//! The network of a cluster: a bridge with a namespace per node, which falls apart, resets connections and disturbs packets
//! as it is told.
//!
//! ```text
//!                clients 10.77.0.254 (the lab's own namespace)
//!                   |                                 ^
//!      -------------+------------- bridge             |
//!      |eth0        |eth0        |eth0                | tun0
//!    n1 10.77.0.1  n2 10.77.0.2  n3 10.77.0.3 …       |
//!      |tun0        |tun0        |tun0                |
//!      +------------+------------+---- [`router`] ----+
//! ```
//!
//! A cut or a reset is a rule where packets come in, by the address that they come from, whichever way they took; so a
//! cut line loses what is under way on established connections too, and nobody is told. A disturbed line leaves the bridge:
//! a route sends it through the [`router`], a program, since not every kernel has netem.
//!
//! Commands of the system are run and waited for: each call blocks for some milliseconds.

mod line;
mod partition;
mod router;
mod rules;

pub use line::{Disturbance, Tally};
pub use partition::{Line, Partition};
pub use router::Router;
pub use rules::{Fault, Met, Resets};

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::run;

/// Most nodes that the addresses have room for, with clients beside them.
const NODES_MAX: usize = 200;

/// One end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// The harness and its clients.
    Clients,
    /// A node, by its number from 1.
    Node(u8),
}

impl Host {
    /// Its address.
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.octet())
    }

    fn octet(self) -> u8 {
        match self {
            Self::Clients => 254,
            Self::Node(number) => number,
        }
    }

    fn from_address(address: [u8; 4]) -> Option<Self> {
        match address {
            [10, 77, 0, 254] => Some(Self::Clients),
            [10, 77, 0, number] if (1..=NODES_MAX).contains(&usize::from(number)) => Some(Self::Node(number)),
            _ => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clients => f.write_str("clients"),
            Self::Node(number) => write!(f, "n{number}"),
        }
    }
}

/// Bridge, namespaces, and what is broken at present. It ends with the lab.
pub struct Net {
    hosts: Mutex<Hosts>,
}

#[derive(Default)]
struct Hosts {
    nodes: Vec<Host>,
    faults: BTreeMap<Line, Fault>,
}

impl Net {
    /// A whole network with so many nodes. Once per lab.
    pub fn make(nodes: u8) -> Result<Self> {
        ensure!(
            super::is_inside()?,
            "a network is made inside a lab: call lab::enter() first"
        );
        let net = Self {
            hosts: Mutex::default(),
        };
        let pid = std::process::id().to_string();
        run(
            command("ip", &["netns", "attach", &Host::Clients.to_string(), &pid]),
            "",
        )?;
        settle_name_space()?;
        let bridge = "link add br0 type bridge mcast_snooping 0\n\
                      address add 10.77.0.254/24 dev br0\n\
                      link set br0 up\n";
        run(command("ip", &["-batch", "-"]), bridge)?;
        net.set_rules(Host::Clients, &rules::none())?;
        for _ in 0..nodes {
            net.add()?;
        }
        Ok(net)
    }

    /// One more node.
    pub fn add(&self) -> Result<Host> {
        let number = self.hosts().nodes.len() + 1;
        ensure!(number <= NODES_MAX, "no more than {NODES_MAX} nodes");
        let node = Host::Node(u8::try_from(number)?);
        let outside = format!(
            "netns add {node}\n\
             link add v{number} type veth peer name eth0 netns {node}\n\
             link set v{number} master br0 up\n"
        );
        run(command("ip", &["-batch", "-"]), &outside)?;
        self.inside(node, settle_name_space)?;
        let inside = format!(
            "link set lo up\naddress add {}/24 dev eth0\nlink set eth0 up\n",
            node.address()
        );
        run(command("ip", &["-n", &node.to_string(), "-batch", "-"]), &inside)?;
        self.set_rules(node, &rules::none())?;
        self.hosts().nodes.push(node);
        Ok(node)
    }

    /// The nodes there are.
    pub fn nodes(&self) -> Vec<Host> {
        self.hosts().nodes.clone()
    }

    /// Nodes and clients.
    pub fn everybody(&self) -> Vec<Host> {
        let mut everybody = self.nodes();
        everybody.push(Host::Clients);
        everybody
    }

    /// A command whose process lives on that host. The process is the program itself, not one that waits for it.
    pub fn command_in(&self, host: Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", name_space(host)))
            .arg("--")
            .arg(program);
        command
    }

    /// Does something on that host, on a thread of its own: sockets that it opens are the host's for ever.
    pub fn inside<T: Send>(&self, host: Host, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = name_space(host);
        let namespace = File::open(&path).with_context(|| format!("to open {path}"))?;
        let there = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            act()
        };
        std::thread::scope(|scope| scope.spawn(there).join()).map_err(|_| anyhow!("a panic on {host}"))?
    }

    /// Breaks the network so among all nodes, on top of what is broken already.
    pub fn partition(&self, how: &Partition) -> Result<()> {
        self.partition_among(how, &self.nodes())
    }

    /// The same among these nodes; others see everybody.
    pub fn partition_among(&self, how: &Partition, nodes: &[Host]) -> Result<()> {
        let lines = how.lines(nodes);
        self.change(|faults| faults.extend(lines.iter().map(|line| (*line, Fault::Cut))))
    }

    /// Cuts one line, one way.
    pub fn cut(&self, from: Host, to: Host) -> Result<()> {
        self.change(|faults| faults.extend([((from, to), Fault::Cut)]))
    }

    /// TCP segments that come from one to the other are thrown away and answered with a reset, until healed. The receiver
    /// learns of it when it next sends something itself. For both to know at once, see [`Net::sever`].
    pub fn reset(&self, from: Host, to: Host, which: Resets) -> Result<()> {
        self.change(|faults| faults.extend([((from, to), Fault::Reset(which))]))
    }

    /// Ends the TCP connections between two that stand now, and returns how many. The first finds its own aborted, the
    /// second is sent a reset. New ones may be made at once.
    pub fn sever(&self, at: Host, with: Host) -> Result<usize> {
        let mut ss = self.command_in(at, "ss");
        ss.args([
            "--kill",
            "--tcp",
            "--numeric",
            "--no-header",
            "state",
            "connected",
            "exclude",
            "time-wait",
        ]);
        let with = with.address().to_string();
        ss.args(["dst", &with]);
        Ok(run(ss, "")?.lines().filter(|line| !line.trim().is_empty()).count())
    }

    /// One line is whole again: neither cut nor reset.
    pub fn heal_line(&self, from: Host, to: Host) -> Result<()> {
        self.change(|faults| faults.retain(|line, _| *line != (from, to)))
    }

    /// All lines are whole again. What the [`Router`] does is healed there.
    pub fn heal(&self) -> Result<()> {
        self.change(BTreeMap::clear)
    }

    /// What is cut or reset at present.
    pub fn faults(&self) -> BTreeMap<Line, Fault> {
        self.hosts().faults.clone()
    }

    /// How many packets cuts and resets have met since the network was made. A fault that met none has tested nothing.
    pub fn met(&self) -> Result<Met> {
        let mut met = Met::default();
        for host in self.everybody() {
            let mut nft = self.command_in(host, "nft");
            nft.args(["--json", "list", "counters", "table", "inet", rules::TABLE]);
            met.read(host, &run(nft, "")?)?;
        }
        Ok(met)
    }

    /// Changes the faults, and the rules of those hosts that they concern: of each host at one moment, of all within
    /// milliseconds of each other.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<Line, Fault>)) -> Result<()> {
        let mut hosts = self.hosts();
        let before = hosts.faults.clone();
        change(&mut hosts.faults);
        let everybody = [Host::Clients].into_iter().chain(hosts.nodes.iter().copied());
        let rules = everybody.map(|host| (host, rules::at(host, &hosts.faults)));
        let changed: Vec<_> = rules
            .filter(|(host, rules)| *rules != rules::at(*host, &before))
            .collect();
        std::thread::scope(|scope| {
            let set = |(host, rules)| scope.spawn(move || self.set_rules(host, rules));
            let set: Vec<_> = changed
                .iter()
                .map(|(host, rules)| (*host, rules.as_str()))
                .map(set)
                .collect();
            set.into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a panic over rules"))?)
        })
    }

    fn set_rules(&self, host: Host, rules: &str) -> Result<()> {
        let mut nft = self.command_in(host, "nft");
        nft.args(["-f", "-"]);
        run(nft, rules).map(drop)
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().expect("nobody panicked")
    }
}

fn name_space(host: Host) -> String {
    format!("/run/netns/{host}")
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Settings of the namespace that this thread is in. IPv6 would only add packets that nobody asked for; packets that come
/// over a line of the router come in by another device than the route back goes out; rules of bridges would see frames that
/// are none of theirs.
fn settle_name_space() -> Result<()> {
    const SETTINGS: [(&str, &str); 6] = [
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/default/disable_ipv6", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-arptables", "0"),
    ];
    for (name, value) in SETTINGS {
        let path = Path::new("/proc/sys/net").join(name);
        if path.exists() {
            fs::write(&path, value).with_context(|| format!("to write {}", path.display()))?;
        }
    }
    Ok(())
}
