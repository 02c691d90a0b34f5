//! What the machine says of a run: CPU by process and thread, load, and the nodes' own metrics before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Unit of CPU times in `/proc`: Linux shows them at 100 per second on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
const PAGE_KIB: f64 = 4.0;

/// CPU time so far, seconds.
#[derive(Clone, Debug, Default)]
pub struct CpuTimes {
    /// Busy time of all cores, whoever used it.
    pub machine: f64,
    /// By process, in the order asked.
    pub processes: Vec<f64>,
    /// By process and name of thread (threads of one name together).
    pub threads: Vec<BTreeMap<String, f64>>,
}

impl CpuTimes {
    /// Of these processes, now.
    pub fn now(pids: &[u32]) -> Result<Self> {
        let mut times = Self {
            machine: machine_busy(&fs::read_to_string("/proc/stat")?).context("/proc/stat is not as expected")?,
            ..Self::default()
        };
        for pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a process has ended")?;
            times.processes.push(name_and_time(&stat).map_or(0.0, |(_, time)| time));
            let mut threads = BTreeMap::new();
            for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                // A thread may end meanwhile.
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                if let Some((name, time)) = name_and_time(&stat) {
                    *threads.entry(name).or_default() += time;
                }
            }
            times.threads.push(threads);
        }
        Ok(times)
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let threads = |(now, before): (&BTreeMap<String, f64>, &BTreeMap<String, f64>)| {
            let used = |(name, time): (&String, &f64)| (name.clone(), time - before.get(name).copied().unwrap_or(0.0));
            now.iter().map(used).collect()
        };
        Self {
            machine: self.machine - earlier.machine,
            processes: self
                .processes
                .iter()
                .zip(&earlier.processes)
                .map(|(now, before)| now - before)
                .collect(),
            threads: self.threads.iter().zip(&earlier.threads).map(threads).collect(),
        }
    }
}

/// User, nice, system, irq, softirq and steal of the first line.
fn machine_busy(stat: &str) -> Option<f64> {
    let mut ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let mut next = || ticks.next()?.parse::<f64>().ok();
    let (user, nice, system, _idle, _wait) = (next()?, next()?, next()?, next()?, next()?);
    let (irq, softirq, steal) = (next()?, next()?, next()?);
    Some((user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND)
}

/// Of a `stat` file of a process or thread. The name is in brackets and may hold anything.
fn name_and_time(stat: &str) -> Option<(String, f64)> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    let (user, system) = (next()?, next()?);
    Some((name.to_owned(), (user + system) / TICKS_PER_SECOND))
}

/// Memory of a process, KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident.
    pub rss_kib: f64,
    /// Resident, shared pages divided among those who share them.
    pub pss_kib: f64,
    /// Neither file nor shared: heap and stacks.
    pub anonymous_kib: f64,
}

/// A field of a file of `/proc` such as `Rss:  1780 kB`, in KiB.
fn field_kib(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Memory {
    /// Of a process, now.
    pub fn of(pid: u32) -> Result<Self> {
        let file = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&file).context(file)?;
        let field = |name| field_kib(&text, name).unwrap_or(0.0);
        Ok(Self {
            rss_kib: field("Rss"),
            pss_kib: field("Pss"),
            anonymous_kib: field("Anonymous"),
        })
    }

    /// Of several together.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            rss_kib: sum.rss_kib + one.rss_kib,
            pss_kib: sum.pss_kib + one.pss_kib,
            anonymous_kib: sum.anonymous_kib + one.anonymous_kib,
        })
    }
}

/// What the kernel keeps for everybody on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KernelMemory {
    /// TCP sockets in use.
    pub tcp_sockets: f64,
    /// What waits in their buffers, KiB.
    pub tcp_buffers_kib: f64,
    /// Objects of the kernel, sockets among them, KiB …
    pub slab_kib: f64,
    /// … and those that are not caches.
    pub unreclaimable_kib: f64,
    /// So far: connections that came while the queue of their listener was full.
    pub listen_overflows: f64,
}

/// A counter of `/proc/net/netstat`: a line of names, and one of values below it.
fn event(events: &str, name: &str) -> Option<f64> {
    let mut lines = events.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let at = lines.next()?.split_whitespace().position(|known| known == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

impl KernelMemory {
    /// Now.
    pub fn now() -> Result<Self> {
        let sockets = fs::read_to_string("/proc/net/sockstat").context("/proc/net/sockstat")?;
        let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let events = fs::read_to_string("/proc/net/netstat").context("/proc/net/netstat")?;
        Ok(Self::parse(&sockets, &memory, &events))
    }

    fn parse(sockets: &str, memory: &str, events: &str) -> Self {
        let tcp = sockets
            .lines()
            .find_map(|line| line.strip_prefix("TCP:"))
            .unwrap_or_default();
        let mut words = tcp.split_whitespace();
        let mut after = |name| -> Option<f64> {
            words.by_ref().find(|word| *word == name)?;
            words.next()?.parse().ok()
        };
        Self {
            tcp_sockets: after("inuse").unwrap_or(0.0),
            tcp_buffers_kib: after("mem").unwrap_or(0.0) * PAGE_KIB,
            slab_kib: field_kib(memory, "Slab").unwrap_or(0.0),
            unreclaimable_kib: field_kib(memory, "SUnreclaim").unwrap_or(0.0),
            listen_overflows: event(events, "ListenOverflows").unwrap_or(0.0),
        }
    }
}

/// Load averages of 1, 5 and 15 minutes.
pub fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Kind of the file system that holds a path.
pub fn file_system(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let of_path = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (_, mount, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(mount).then_some((mount.len(), kind))
    });
    of_path.max().map_or("unknown", |(_, kind)| kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let stat = "7 (tokio (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 150 0 0 20 0 4 0 100 1000 10";
        assert_eq!(name_and_time(stat), Some(("tokio (a) b".to_owned(), 4.0)));
        let stat = "cpu  100 200 300 4000 50 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 9 9\n";
        assert_eq!(machine_busy(stat), Some(6.21));
        let this = CpuTimes::now(&[std::process::id()]).unwrap();
        assert_eq!((this.processes.len(), this.threads.len()), (1, 1));
        assert!(!this.threads[0].is_empty());
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(
            memory.rss_kib >= memory.pss_kib && memory.anonymous_kib > 0.0,
            "{memory:?}"
        );
        let sockets = "sockets: used 10\nTCP: inuse 7 orphan 0 tw 700 alloc 9 mem 3\nUDP: inuse 1 mem 5\n";
        let kernel = KernelMemory::parse(
            sockets,
            "MemTotal: 100 kB\nSlab:   434460 kB\nSUnreclaim:  55148 kB\n",
            "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: A\nIpExt: 5\n",
        );
        let expected = KernelMemory {
            tcp_sockets: 7.0,
            tcp_buffers_kib: 12.0,
            slab_kib: 434_460.0,
            unreclaimable_kib: 55_148.0,
            listen_overflows: 22.0,
        };
        assert_eq!(kernel, expected);
    }
}
