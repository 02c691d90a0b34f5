//! A router in user space: what netem does, where the kernel has none.
//!
//! Each host has a second device, `tun0`, which leads to one thread here. A disturbed line is one with a route through that
//! device, so that lines without fault go on over the bridge at full speed and never come by. The thread sleeps in `ppoll`
//! until a packet comes or one is due. What a host sends faster than the thread takes it stays in the device's queue, and
//! is dropped there when that is full: [`Router::missed`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use serde_json::Value;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::line::{Disturbance, LineState, Tally};
use super::{Host, Line, Net, command};
use crate::lab::run;

const DEVICE: &str = "tun0";
const MTU: u16 = 1500;
/// Packets that wait in a device for the router.
const DEVICE_QUEUE: u32 = 4096;
/// Packets taken from one device before the others have their turn.
const TURN: usize = 64;

/// The router, which ends with this value.
pub struct Router {
    shared: Arc<Shared>,
    diverted: Mutex<BTreeSet<Line>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    seed: u64,
    state: Mutex<State>,
    /// Written to when the thread should look up from its devices.
    wake: OwnedFd,
}

#[derive(Default)]
struct State {
    ports: BTreeMap<Host, Arc<SyncDevice>>,
    lines: BTreeMap<Line, LineState>,
    /// Packets that are no line's: not IPv4, or from or to somebody unknown.
    strays: u64,
    ends: bool,
}

impl Router {
    /// A router for all hosts of a network, with nothing disturbed. What befalls each line depends on the seed alone.
    pub fn start(net: &Net, seed: u64) -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("to make an eventfd")?;
        let state = Mutex::default();
        let shared = Arc::new(Shared { seed, state, wake });
        let theirs = Arc::clone(&shared);
        let work = move || Worker::new(theirs).work();
        let thread = std::thread::Builder::new().name("router".into()).spawn(work)?;
        let router = Self {
            shared,
            diverted: Mutex::default(),
            thread: Some(thread),
        };
        for host in net.everybody() {
            router.add(net, host)?;
        }
        Ok(router)
    }

    /// Reaches a host that was added to the network later.
    pub fn add(&self, net: &Net, host: Host) -> Result<()> {
        // No virtio headers: the kernel then cuts what it sends to the MTU and fills in all checksums itself.
        let device = net.inside(host, || {
            let builder = DeviceBuilder::new().name(DEVICE).offload(false);
            let device = builder
                .mtu(MTU)
                .tx_queue_len(DEVICE_QUEUE)
                .build_sync()
                .context("to make a TUN device")?;
            device.set_nonblocking(true)?;
            Ok(device)
        })?;
        self.shared.state().ports.insert(host, Arc::new(device));
        self.shared.wake()
    }

    /// Disturbs a line, one way; it replaces what was wrong with it before.
    pub fn disturb(&self, from: Host, to: Host, how: &Disturbance) -> Result<()> {
        {
            let mut state = self.shared.state();
            let known = state.ports.contains_key(&from) && state.ports.contains_key(&to) && from != to;
            ensure!(known, "no line from {from} to {to}");
            state.line((from, to), self.shared.seed).disturb(how.clone());
        }
        let route = format!("route replace {}/32 dev {DEVICE} src {}", to.address(), from.address());
        routes(from, &route)?;
        self.diverted().insert((from, to));
        Ok(())
    }

    /// Disturbs both ways between two.
    pub fn disturb_between(&self, a: Host, b: Host, how: &Disturbance) -> Result<()> {
        self.disturb(a, b, how)?;
        self.disturb(b, a, how)
    }

    /// A line goes over the bridge again. Packets under way still arrive in their time.
    pub fn heal(&self, from: Host, to: Host) -> Result<()> {
        if !self.diverted().remove(&(from, to)) {
            return Ok(());
        }
        routes(from, &format!("route del {}/32 dev {DEVICE}", to.address()))?;
        self.shared
            .state()
            .line((from, to), self.shared.seed)
            .disturb(Disturbance::default());
        Ok(())
    }

    /// All lines do.
    pub fn heal_all(&self) -> Result<()> {
        let lines = self.disturbed();
        lines.into_iter().try_for_each(|(from, to)| self.heal(from, to))
    }

    /// The lines that come by here.
    pub fn disturbed(&self) -> BTreeSet<Line> {
        self.diverted().clone()
    }

    /// What has befallen one line since the router was started.
    pub fn tally(&self, from: Host, to: Host) -> Tally {
        let state = self.shared.state();
        state.lines.get(&(from, to)).map(LineState::tally).unwrap_or_default()
    }

    /// Of all lines that were ever disturbed.
    pub fn tallies(&self) -> BTreeMap<Line, Tally> {
        let state = self.shared.state();
        state.lines.iter().map(|(line, state)| (*line, state.tally())).collect()
    }

    /// Packets that were no line's.
    pub fn strays(&self) -> u64 {
        self.shared.state().strays
    }

    /// Packets of a host that its device dropped because the router was too slow.
    pub fn missed(&self, host: Host) -> Result<u64> {
        let arguments = ["-n", &host.to_string(), "-j", "-s", "link", "show", DEVICE];
        let links: Value = serde_json::from_str(&run(command("ip", &arguments), "")?)?;
        links[0]["stats64"]["tx"]["dropped"]
            .as_u64()
            .context("a device counts what it drops")
    }

    fn diverted(&self) -> MutexGuard<'_, BTreeSet<Line>> {
        self.diverted.lock().expect("nobody panicked")
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.state().ends = true;
        let woken = self.shared.wake();
        if let (Ok(()), Some(thread)) = (woken, self.thread.take()) {
            let _its_panic_was_printed = thread.join();
        }
        // The devices go with the last file, and routes with their device.
    }
}

fn routes(host: Host, change: &str) -> Result<()> {
    run(command("ip", &["-n", &host.to_string(), "-batch", "-"]), change).map(drop)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }

    fn wake(&self) -> Result<()> {
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).context("to wake the router")?;
        Ok(())
    }
}

impl State {
    fn line(&mut self, line: Line, seed: u64) -> &mut LineState {
        self.lines.entry(line).or_insert_with(|| LineState::new(line, seed))
    }
}

/// A packet that is under way; the first to go is the greatest.
struct Waiting {
    due: Instant,
    /// Packets due at the same moment go in the order in which they came.
    order: u64,
    line: Line,
    number: u64,
    packet: Vec<u8>,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

/// What the thread has to itself.
struct Worker {
    shared: Arc<Shared>,
    waiting: BinaryHeap<Waiting>,
    order: u64,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Self {
        let (waiting, order) = (BinaryHeap::new(), 0);
        let buffer = vec![0; usize::from(MTU)];
        Self {
            shared,
            waiting,
            order,
            buffer,
        }
    }

    fn work(mut self) {
        loop {
            let ports: Vec<_> = {
                let state = self.shared.state();
                if state.ends {
                    return;
                }
                state
                    .ports
                    .iter()
                    .map(|(host, device)| (*host, Arc::clone(device)))
                    .collect()
            };
            let readable = self.sleep(&ports);
            for ((_, device), _) in ports.iter().zip(readable).filter(|(_, readable)| *readable) {
                self.take(device);
            }
            self.deliver();
        }
    }

    /// Until a packet comes, one is due, or something changes. Which devices have packets.
    fn sleep(&self, ports: &[(Host, Arc<SyncDevice>)]) -> Vec<bool> {
        let devices = ports.iter().map(|(_, device)| PollFd::new(&**device, PollFlags::IN));
        let wake = PollFd::new(&self.shared.wake, PollFlags::IN);
        let mut all: Vec<_> = devices.chain([wake]).collect();
        let until = self
            .waiting
            .peek()
            .map(|first| first.due.saturating_duration_since(Instant::now()));
        let until = until.map(|time| Timespec::try_from(time.min(Duration::from_secs(60))).expect("a minute fits"));
        let interrupted = poll(&mut all, until.as_ref()).is_err();
        let ready = |polled: &PollFd<'_>| !interrupted && polled.revents().contains(PollFlags::IN);
        if all.last().is_some_and(ready) {
            let mut count = [0; 8];
            let _nobody_else_reads = rustix::io::read(&self.shared.wake, &mut count);
        }
        all[..ports.len()].iter().map(ready).collect()
    }

    /// Takes what a device has, in its turn.
    fn take(&mut self, device: &SyncDevice) {
        for _ in 0..TURN {
            match device.recv(&mut self.buffer) {
                Ok(bytes) => self.route(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return, // empty; a device that is gone goes from the ports too
            }
        }
    }

    /// Decides about the packet in the buffer. Nothing is kept of one that goes out at once.
    fn route(&mut self, bytes: usize) {
        let now = Instant::now();
        let mut state = self.shared.state.lock().expect("nobody panicked");
        let packet = &self.buffer[..bytes];
        let Some(line) = line_of(packet).filter(|(_, to)| state.ports.contains_key(to)) else {
            state.strays += 1;
            return;
        };
        let fate = state.line(line, self.shared.seed).decide(now, bytes);
        let Some(due) = fate.due else { return };
        for _ in 0..1 + u32::from(fate.twice) {
            if due <= now {
                send(&mut state, line, fate.number, packet);
            } else {
                self.order += 1;
                let (order, number, packet) = (self.order, fate.number, packet.to_vec());
                self.waiting.push(Waiting {
                    due,
                    order,
                    line,
                    number,
                    packet,
                });
            }
        }
    }

    /// Sends what is due.
    fn deliver(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|first| first.due <= now) {
            let Some(first) = self.waiting.pop() else { return };
            send(&mut self.shared.state(), first.line, first.number, &first.packet);
        }
    }
}

fn send(state: &mut State, line: Line, number: u64, packet: &[u8]) {
    let accepted = state
        .ports
        .get(&line.1)
        .is_some_and(|device| device.send(packet).is_ok());
    if let Some(line) = state.lines.get_mut(&line) {
        line.went_out(number, packet.len(), accepted);
    }
}

/// Whose packet it is, by the addresses of an IPv4 header.
fn line_of(packet: &[u8]) -> Option<Line> {
    let (version, from, to) = (packet.first()? >> 4, packet.get(12..16)?, packet.get(16..20)?);
    let host = |address: &[u8]| Host::from_address(address.try_into().ok()?);
    (version == 4).then_some(())?;
    Some((host(from)?, host(to)?))
}
