//! Which calls fail or take long, and a record of those that did.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Records kept of each kind; the oldest go first.
const RECORDS_MAX: usize = 100_000;

/// Which paths a fault strikes. Paths are relative to the mount, as `shards/1/log/wal/r-000_000.wal`; the mount itself is
/// the empty path.
pub type PathMatch = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// Every path.
pub fn any_path() -> PathMatch {
    Arc::new(|_| true)
}

/// A folder and what is in it, or one file.
pub fn under(place: impl Into<PathBuf>) -> PathMatch {
    let place = place.into();
    Arc::new(move |path| path.starts_with(&place))
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// fsync and fdatasync, of files and folders, fail with EIO; what they should have written is dropped.
    SyncFails,
    /// Writes, and the making of files and folders, fail with ENOSPC.
    NoSpace,
    /// Writes fail with EIO.
    WriteFails,
    /// Reads fail with EIO.
    ReadFails,
    /// fsync and fdatasync take longer by so much.
    SlowSync(Duration),
    /// Reads take longer by so much.
    SlowRead(Duration),
}

impl Fault {
    fn strikes(self, call: Call) -> bool {
        match self {
            Self::SyncFails | Self::SlowSync(_) => call == Call::Sync,
            Self::NoSpace => matches!(call, Call::Write | Call::Make),
            Self::WriteFails => call == Call::Write,
            Self::ReadFails | Self::SlowRead(_) => call == Call::Read,
        }
    }
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// So many times, then never again.
    First(u64),
    /// Until it is disarmed.
    Always,
}

/// Names a fault that was armed, also after it was disarmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArmedFault(usize);

/// A fault that struck.
#[derive(Clone, Debug)]
pub struct Firing {
    /// Since the mount.
    pub at: Duration,
    /// Which one.
    pub armed: ArmedFault,
    /// What it was.
    pub fault: Fault,
    /// Whom it met, relative to the mount.
    pub path: PathBuf,
}

/// A sync of a file or folder, and how it ended.
#[derive(Clone, Debug)]
pub struct SyncRecord {
    /// Relative to the mount.
    pub path: PathBuf,
    /// When it began, since the mount.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// Bytes that it wrote underneath; 0 when nothing is kept back.
    pub bytes: u64,
    /// Whether it was an fdatasync.
    pub is_data_only: bool,
    /// EIO mostly, when it failed.
    pub result: Result<(), Errno>,
}

/// What a call is, as far as faults go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Sync,
    Write,
    Make,
    Read,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verdict {
    pub delay: Duration,
    pub error: Option<Errno>,
}

/// The faults of one mount; clones are the same.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

struct Inner {
    since: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    firings: VecDeque<Firing>,
    syncs: VecDeque<SyncRecord>,
}

struct Rule {
    fault: Fault,
    paths: PathMatch,
    left: u64,
    fired: u64,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                since: Instant::now(),
                state: Mutex::default(),
            }),
        }
    }

    /// Arms a fault: it strikes the next calls that it is about. Several may be armed; the first that fails a call wins,
    /// delays add up.
    pub fn arm(&self, fault: Fault, times: Times, paths: PathMatch) -> ArmedFault {
        let left = match times {
            Times::First(count) => count,
            Times::Always => u64::MAX,
        };
        let mut state = self.lock();
        state.rules.push(Rule {
            fault,
            paths,
            left,
            fired: 0,
        });
        ArmedFault(state.rules.len() - 1)
    }

    /// Takes one fault away. Calls that it met already are not called back.
    pub fn disarm(&self, armed: ArmedFault) {
        if let Some(rule) = self.lock().rules.get_mut(armed.0) {
            rule.left = 0;
        }
    }

    /// Takes all faults away.
    pub fn disarm_all(&self) {
        self.lock().rules.iter_mut().for_each(|rule| rule.left = 0);
    }

    /// How often a fault has struck.
    pub fn fired(&self, armed: ArmedFault) -> u64 {
        self.lock().rules.get(armed.0).map_or(0, |rule| rule.fired)
    }

    /// The faults that struck, oldest first; of very many the latest.
    pub fn firings(&self) -> Vec<Firing> {
        self.lock().firings.iter().cloned().collect()
    }

    /// The syncs that ended, oldest first; of very many the latest.
    pub fn syncs(&self) -> Vec<SyncRecord> {
        self.lock().syncs.iter().cloned().collect()
    }

    /// Syncs of files that had failed to sync before: nobody may trust such a file again, so a process that has not been
    /// started anew since may not try. Of a folder the same.
    pub fn syncs_after_failure(&self) -> Vec<SyncRecord> {
        let mut failed = BTreeSet::new();
        let mut again = Vec::new();
        for sync in self.syncs() {
            if failed.contains(&sync.path) {
                again.push(sync);
            } else if sync.result.is_err() {
                failed.insert(sync.path);
            }
        }
        again
    }

    /// Time since the mount: what the records count in.
    pub fn now(&self) -> Duration {
        self.inner.since.elapsed()
    }

    /// What happens to a call; the faults that decide it have struck with this.
    pub(super) fn judge(&self, call: Call, path: &Path) -> Verdict {
        let at = self.now();
        let mut verdict = Verdict::default();
        let mut state = self.lock();
        let State { rules, firings, .. } = &mut *state;
        for (number, rule) in rules.iter_mut().enumerate() {
            if rule.left == 0 || !rule.fault.strikes(call) || !(rule.paths)(path) {
                continue;
            }
            match rule.fault {
                Fault::SlowSync(delay) | Fault::SlowRead(delay) => verdict.delay += delay,
                _ if verdict.error.is_some() => continue,
                Fault::NoSpace => verdict.error = Some(Errno::NOSPC),
                Fault::SyncFails | Fault::WriteFails | Fault::ReadFails => verdict.error = Some(Errno::IO),
            }
            rule.left = rule.left.saturating_sub(u64::from(rule.left != u64::MAX));
            rule.fired += 1;
            let (armed, fault, path) = (ArmedFault(number), rule.fault, path.to_owned());
            keep(firings, Firing { at, armed, fault, path });
        }
        verdict
    }

    pub(super) fn record_sync(&self, record: SyncRecord) {
        keep(&mut self.lock().syncs, record);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let rules = state.rules.iter().map(|rule| (rule.fault, rule.left, rule.fired));
        to.debug_list().entries(rules).finish()
    }
}

fn keep<T>(records: &mut VecDeque<T>, record: T) {
    if records.len() >= RECORDS_MAX {
        records.pop_front();
    }
    records.push_back(record);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_it_was_told() {
        let faults = Faults::new();
        let log = Path::new("shards/1/log/wal/r-0.wal");
        let twice = faults.arm(Fault::SyncFails, Times::First(2), under("shards/1/log"));
        let slow = faults.arm(Fault::SlowSync(Duration::from_secs(1)), Times::Always, any_path());
        assert_eq!(faults.judge(Call::Sync, Path::new("shards/10/log")).error, None);
        assert_eq!(faults.judge(Call::Write, log).error, None);
        for expected in [Some(Errno::IO), Some(Errno::IO), None] {
            let verdict = faults.judge(Call::Sync, log);
            assert_eq!((verdict.error, verdict.delay), (expected, Duration::from_secs(1)));
        }
        assert_eq!((faults.fired(twice), faults.fired(slow)), (2, 4));
        assert_eq!(faults.firings().len(), 6);
        faults.disarm_all();
        assert_eq!(faults.judge(Call::Sync, log).delay, Duration::ZERO);
        assert_eq!(faults.fired(slow), 4);
    }
}
