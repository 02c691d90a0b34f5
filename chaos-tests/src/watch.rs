//! What is seen of the nodes while a run goes on: every node's view of its shards some times a second, its metrics now and then.
//! Folded as it comes; what does not fit together is a violation at once, with the time and the two views.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use node::api::admin::cluster::{ShardBody, StatusBody};
use node::local::Scrape;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// Between two looks at the nodes.
const EVERY: Duration = Duration::from_millis(200);
/// Each so many looks the metrics are read as well.
const SCRAPE_EVERY: u32 = 4;
/// A node that does not answer within this is not waited for.
const PATIENCE: Duration = Duration::from_millis(900);
/// Digests that are remembered for each shard.
const DIGESTS_KEPT: usize = 4_096;
/// The promise is a second; a look comes only every so often, and the gauges are a little old.
const WAITING_MAX: Duration = Duration::from_millis(3_000);

/// Where a node is asked, and which of its lives this is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its number.
    pub node: u64,
    /// How often it was started.
    pub life: u32,
    /// URL of its admin API.
    pub url: String,
}

/// Everything that was seen, folded.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Views of nodes.
    pub samples: u64,
    /// Readings of metrics.
    pub scrapes: u64,
    /// Digests that were compared with another node's.
    pub digests_compared: u64,
    /// Highest resident memory of each node.
    pub resident_max_mib: BTreeMap<u64, u64>,
    /// Terms that had a leader.
    pub terms_led: u64,
    leaders: BTreeMap<(u32, u64), u64>,
    digests: BTreeMap<u32, BTreeMap<u64, (String, BTreeSet<u64>)>>,
    progress: BTreeMap<(u64, u32), Progress>,
    sampled: BTreeMap<char, String>,
    violations: BTreeMap<char, Vec<String>>,
    /// Since when work waits beside a free slot.
    idle_beside_work: Option<Instant>,
    /// The longest that it did.
    pub longest_idle_beside_work: Duration,
    /// While faults are on, waiting is no violation.
    calm: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    life: u32,
    was_closed: bool,
    term: u64,
    commit: u64,
    applied: u64,
}

impl Watched {
    /// An error if something of this letter was seen, by the watch or by a leader's own sampler.
    pub fn no_violation(&self, letter: char) -> Result<()> {
        let seen = self.violations.get(&letter).and_then(|all| all.first());
        match seen.or(self.sampled.get(&letter)) {
            Some(what) => bail!("{what}"),
            None => Ok(()),
        }
    }

    fn violated(&mut self, letter: char, what: String) {
        tracing::error!(%letter, what, "violation");
        self.violations.entry(letter).or_default().push(what);
    }

    fn saw(&mut self, target: &Target, status: &StatusBody) {
        self.samples += 1;
        for shard in &status.shards {
            self.saw_leader(target.node, shard);
            self.saw_progress(target, shard);
            self.saw_digest(target.node, shard);
        }
    }

    fn saw_leader(&mut self, node: u64, shard: &ShardBody) {
        if shard.role != "leader" {
            return;
        }
        let key = (shard.shard, shard.term);
        match self.leaders.get(&key) {
            None => {
                self.leaders.insert(key, node);
                self.terms_led += 1;
            }
            Some(other) if *other != node => {
                let what = format!(
                    "shard {}, term {}: nodes {other} and {node} both say that they lead",
                    shard.shard, shard.term
                );
                self.violated('G', what);
            }
            Some(_) => {}
        }
    }

    fn saw_progress(&mut self, target: &Target, shard: &ShardBody) {
        let before = self.progress.entry((target.node, shard.shard)).or_default();
        if target.life < before.life {
            return;
        }
        if shard.role == "stopped" {
            // Opened again, as after a crash, it reads its log again.
            before.was_closed = true;
            return;
        }
        let before = *before;
        let same_life = before.life == target.life && !before.was_closed;
        let mut back = Vec::new();
        if shard.term < before.term {
            back.push(("term", before.term, shard.term));
        }
        if same_life && shard.commit_index < before.commit {
            back.push(("commit index", before.commit, shard.commit_index));
        }
        if same_life && shard.applied_index < before.applied {
            back.push(("applied index", before.applied, shard.applied_index));
        }
        for (what, before, now) in back {
            let what = format!(
                "node {}, shard {}: the {what} went from {before} back to {now}",
                target.node, shard.shard
            );
            self.violated('G', what);
        }
        let now = Progress {
            life: target.life,
            was_closed: false,
            term: shard.term,
            commit: shard.commit_index,
            applied: shard.applied_index,
        };
        self.progress.insert((target.node, shard.shard), now);
    }

    fn saw_digest(&mut self, node: u64, shard: &ShardBody) {
        if shard.digest_index == 0 {
            return;
        }
        let known = self.digests.entry(shard.shard).or_default();
        let (digest, nodes) = known
            .entry(shard.digest_index)
            .or_insert_with(|| (shard.digest.clone(), BTreeSet::new()));
        let differs = *digest != shard.digest;
        let what = format!(
            "shard {}, index {}: node {node} has the digest {}, nodes {nodes:?} have {digest}",
            shard.shard, shard.digest_index, shard.digest
        );
        self.digests_compared += u64::from(nodes.insert(node) && nodes.len() > 1);
        while known.len() > DIGESTS_KEPT {
            known.pop_first();
        }
        if differs {
            self.violated('H', what);
        }
    }

    fn scraped(&mut self, target: &Target, scrape: &Scrape) {
        self.scrapes += 1;
        let mib = scrape.sum("process_resident_memory_bytes", "") as u64 >> 20;
        let highest = self.resident_max_mib.entry(target.node).or_default();
        *highest = mib.max(*highest);
        for letter in 'A'..='L' {
            let count = scrape.sum("kaiwa_invariant_violations_total", &format!("invariant=\"{letter}\""));
            if count > 0.0 {
                let what = format!("node {} found {count} violations itself, see its log", target.node);
                self.sampled.entry(letter).or_insert(what);
            }
        }
    }

    /// Of all nodes at one time: whether somebody waits beside a free slot.
    fn queues(&mut self, scrapes: &[Scrape]) {
        let waiting: f64 = scrapes.iter().map(|scrape| scrape.sum("kaiwa_queue_depth", "")).sum();
        let free: f64 = scrapes
            .iter()
            .map(|scrape| scrape.sum("kaiwa_queue_eligible_free_slots", ""))
            .sum();
        if !self.calm || waiting == 0.0 || free == 0.0 {
            self.idle_beside_work = None;
            return;
        }
        let since = *self.idle_beside_work.get_or_insert_with(Instant::now);
        self.longest_idle_beside_work = self.longest_idle_beside_work.max(since.elapsed());
        if since.elapsed() > WAITING_MAX {
            let what = format!(
                "{waiting} conversations wait beside {free} free slots, for {:.1} s already",
                since.elapsed().as_secs_f64()
            );
            self.violated('I', what);
            self.idle_beside_work = None;
        }
    }
}

/// A watch that goes on until it is dropped.
pub struct Watch {
    watched: Arc<Mutex<Watched>>,
    targets: Arc<Mutex<Vec<Target>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins, with nobody to look at. `key`: that of the admin APIs.
    pub fn start(key: &str) -> Self {
        let (watched, targets) = (Arc::<Mutex<Watched>>::default(), Arc::<Mutex<Vec<Target>>>::default());
        let http = reqwest::Client::builder().timeout(PATIENCE);
        let eyes = Eyes {
            http: http.build().expect("a client can be made"),
            key: key.to_owned(),
            watched: watched.clone(),
            targets: targets.clone(),
        };
        let task = tokio::spawn(eyes.look());
        Self { watched, targets, task }
    }

    /// Who is looked at from now on: nodes that run.
    pub fn set_targets(&self, targets: Vec<Target>) {
        *self.targets.lock() = targets;
    }

    /// A node that was replaced or whose disk is another now: what it was before does not bind it.
    pub fn forget(&self, node: u64) {
        self.watched.lock().progress.retain(|(of, _), _| *of != node);
    }

    /// Whether all is well: then nobody may wait beside a free slot.
    pub fn set_calm(&self, calm: bool) {
        let mut watched = self.watched.lock();
        watched.calm = calm;
        watched.idle_beside_work = None;
    }

    /// What was seen so far.
    pub fn watched(&self) -> Watched {
        self.watched.lock().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Eyes {
    http: reqwest::Client,
    key: String,
    watched: Arc<Mutex<Watched>>,
    targets: Arc<Mutex<Vec<Target>>>,
}

impl Eyes {
    async fn look(self) {
        for round in 0u32.. {
            let targets = self.targets.lock().clone();
            let looks = targets.iter().map(|target| self.status(target));
            for (target, status) in targets.iter().zip(futures::future::join_all(looks).await) {
                if let Some(status) = status {
                    self.watched.lock().saw(target, &status);
                }
            }
            if round.is_multiple_of(SCRAPE_EVERY) {
                self.scrape(&targets).await;
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn scrape(&self, targets: &[Target]) {
        let reads = targets.iter().map(|target| self.get(target, "/metrics"));
        let mut scrapes = Vec::new();
        for (target, text) in targets.iter().zip(futures::future::join_all(reads).await) {
            if let Some(text) = text {
                let scrape = Scrape::parse(&text);
                self.watched.lock().scraped(target, &scrape);
                scrapes.push(scrape);
            }
        }
        // A leader that did not answer would look like an empty queue.
        if scrapes.len() == targets.len() {
            self.watched.lock().queues(&scrapes);
        }
    }

    async fn status(&self, target: &Target) -> Option<StatusBody> {
        serde_json::from_str(&self.get(target, "/v1/admin/cluster/status").await?).ok()
    }

    async fn get(&self, target: &Target, path: &str) -> Option<String> {
        let request = self.http.get(format!("{}{path}", target.url)).bearer_auth(&self.key);
        request.send().await.ok()?.error_for_status().ok()?.text().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Scrape, Target, Watched};
    use node::api::admin::cluster::{ShardBody, StatusBody};

    fn seen(watched: &mut Watched, node: u64, life: u32, change: impl FnOnce(&mut ShardBody)) {
        let mut shard = ShardBody {
            shard: 1,
            role: "follower".into(),
            term: 5,
            leader: None,
            voters: vec![1, 2, 3],
            learners: vec![],
            last_index: 10,
            commit_index: 10,
            applied_index: 10,
            snapshot_index: 0,
            purged_index: 0,
            digest_index: 10,
            digest: "aa".into(),
            pending: 0,
            lag: BTreeMap::new(),
        };
        change(&mut shard);
        let status = StatusBody {
            node,
            cluster: None,
            nodes: BTreeMap::new(),
            public: BTreeMap::new(),
            draining: vec![],
            shards: vec![shard],
        };
        let target = Target {
            node,
            life,
            url: String::new(),
        };
        watched.saw(&target, &status);
    }

    #[test]
    fn two_leaders_of_one_term_are_noticed() {
        let mut watched = Watched::default();
        seen(&mut watched, 1, 1, |shard| shard.role = "leader".into());
        seen(&mut watched, 1, 2, |shard| shard.role = "leader".into());
        assert!(watched.no_violation('G').is_ok());
        seen(&mut watched, 2, 1, |shard| shard.role = "leader".into());
        assert!(watched.no_violation('G').is_err());
    }

    #[test]
    fn what_goes_back_is_noticed() {
        let mut watched = Watched::default();
        seen(&mut watched, 1, 1, |_| {});
        // After a restart the log is read again; the term is kept.
        seen(&mut watched, 1, 2, |shard| {
            (shard.commit_index, shard.applied_index) = (3, 3)
        });
        assert!(watched.no_violation('G').is_ok());
        // So it is when a replica was closed and opened again.
        seen(&mut watched, 1, 2, |shard| shard.role = "stopped".into());
        seen(&mut watched, 1, 2, |shard| {
            (shard.commit_index, shard.applied_index) = (2, 2)
        });
        assert!(watched.no_violation('G').is_ok());
        seen(&mut watched, 1, 2, |shard| shard.applied_index = 1);
        assert!(watched.no_violation('G').is_err());
        let mut watched = Watched::default();
        seen(&mut watched, 1, 1, |_| {});
        seen(&mut watched, 1, 2, |shard| shard.term = 4);
        assert!(watched.no_violation('G').is_err());
    }

    #[test]
    fn digests_are_compared_at_equal_index() {
        let mut watched = Watched::default();
        seen(&mut watched, 1, 1, |_| {});
        seen(&mut watched, 2, 1, |shard| {
            (shard.digest_index, shard.digest) = (11, "bb".into())
        });
        assert!(watched.no_violation('H').is_ok());
        assert_eq!(watched.digests_compared, 0);
        seen(&mut watched, 3, 1, |shard| shard.digest = "bb".into());
        assert!(watched.no_violation('H').is_err());
    }

    #[test]
    fn what_leaders_found_themselves_is_noticed() {
        let mut watched = Watched::default();
        let target = Target {
            node: 1,
            life: 1,
            url: String::new(),
        };
        watched.scraped(
            &target,
            &Scrape::parse("kaiwa_invariant_violations_total{invariant=\"D\"} 2\n"),
        );
        assert!(watched.no_violation('C').is_ok());
        assert!(watched.no_violation('D').is_err());
    }
}
