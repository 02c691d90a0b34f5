//! How long a shard is without service when its leader's process is killed: three processes, kill -9.
//!
//! The test binary starts itself again for nodes 2 and 3; node 1 lives in the test and proposes.

#[path = "three_nodes/harness.rs"]
#[allow(dead_code, reason = "shared with three_nodes.rs, which uses all of it")]
mod harness;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::config::{Config, RaftTimes};
use cluster::shards::{Lane, Shards};
use cluster::state_machine::{ShardId, StateMachine};
use cluster::transport::{NodeId, PeerAddress};

use harness::{Echo, Ledger, propose_surely};

const SHARD: ShardId = ShardId(1);
const ROUNDS: usize = 5;
const CHILD: &str = "KAIWA_TEST_CHILD";

fn config(node: u64, data: &Path, address: SocketAddr) -> Config {
    Config {
        node: NodeId(node),
        data_dir: data.join(node.to_string()),
        listen: address,
        advertise: address,
        tls: None,
        raft: RaftTimes::default(),
        snapshot_entries: 1_000,
        keep_entries: 100,
    }
}

async fn start(config: Config) -> Shards {
    harness::init_tracing();
    let factory = Arc::new(|_| Box::<Ledger>::default() as Box<dyn StateMachine>);
    Shards::start(config, factory, Arc::new(Echo)).await.unwrap()
}

/// Not a test: a node, when [`CHILD`] says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Ok(child) = std::env::var(CHILD) else {
        return;
    };
    let mut parts = child.split('|');
    let node = parts.next().unwrap().parse().unwrap();
    let address = parts.next().unwrap().parse().unwrap();
    let _shards = start(config(node, Path::new(parts.next().unwrap()), address)).await;
    // Until it is killed, or the test's process is gone.
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Process(Child);

impl Process {
    fn spawn(node: u64, data: &Path, address: SocketAddr) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["child_process", "--exact", "--nocapture"])
            .env(CHILD, format!("{node}|{address}|{}", data.display()))
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes this node the leader and waits until both others have what it has.
async fn all_caught_up(shards: &Shards, round: usize) {
    shards.transfer_leader(SHARD, NodeId(1)).await.unwrap();
    let index = propose_surely(shards, SHARD, &format!("all{round}")).await.index;
    let started = Instant::now();
    loop {
        let status = shards
            .status()
            .shards
            .into_iter()
            .find(|status| status.shard == SHARD)
            .unwrap();
        if status.peers.len() == 2 && status.peers.values().all(|peer| peer.matched >= index) {
            return;
        }
        assert!(started.elapsed() < harness::DEADLINE, "not caught up: {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Tries until a command is acknowledged.
async fn time_to_next_ack(shards: &Shards, round: usize, started: Instant) -> Duration {
    for attempt in 0.. {
        let command = Bytes::from(format!("after{round}-{attempt}"));
        if shards
            .propose(SHARD, 1, Lane::Client, command, Duration::from_secs(10))
            .await
            .is_ok()
        {
            break;
        }
        assert!(started.elapsed() < harness::DEADLINE, "no service after the kill");
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_before_the_election_timeout() {
    let data = tempfile::tempdir().unwrap();
    let addresses: Vec<SocketAddr> = (0..3).map(|_| harness::free_address()).collect();
    let mut processes: Vec<Process> = [2, 3]
        .map(|node| Process::spawn(node, data.path(), addresses[node as usize - 1]))
        .into();
    let shards = start(config(1, data.path(), addresses[0])).await;
    let nodes = (1..=3)
        .map(|node| {
            (
                NodeId(node),
                PeerAddress {
                    address: addresses[node as usize - 1],
                },
            )
        })
        .collect();
    shards.init(nodes, 1).await.unwrap();
    let mut outages = Vec::new();
    for round in 0..ROUNDS {
        let victim = round % 2;
        let node = victim as u64 + 2;
        all_caught_up(&shards, round).await;
        shards.transfer_leader(SHARD, NodeId(node)).await.unwrap();
        propose_surely(&shards, SHARD, &format!("before{round}")).await;
        let started = Instant::now();
        processes[victim].kill();
        outages.push(time_to_next_ack(&shards, round, started).await);
        processes[victim] = Process::spawn(node, data.path(), addresses[node as usize - 1]);
    }
    outages.sort();
    eprintln!("kill -9 of the leader to the next acknowledged write: {outages:?}");
    shards.stop().await;
    // The timeouts alone need election_max (the lease) and then at least election_min.
    let times = RaftTimes::default();
    let by_timeout = Duration::from_millis(times.election_max_ms + times.election_min_ms);
    assert!(
        outages[0] < by_timeout,
        "even the shortest outage of {outages:?} waited for the election timeout"
    );
}
