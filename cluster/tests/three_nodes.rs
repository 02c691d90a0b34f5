//! Three real nodes in one process: links over loopback TCP, logs and rows on disk.

#[path = "three_nodes/full_disk.rs"]
mod full_disk;
#[path = "three_nodes/harness.rs"]
mod harness;
#[path = "three_nodes/slow_disk.rs"]
mod slow_disk;
#[path = "three_nodes/slow_line.rs"]
mod slow_line;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster::error::MembershipError;
use cluster::shards::Shards;
use cluster::state_machine::ShardId;
use cluster::transport::NodeId;

use full_disk::Disk;
use harness::{Cluster, propose, propose_surely};
use slow_disk::SlowDisk;
use slow_line::Line;

const SHARD: ShardId = ShardId(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_takes_commands_and_reads_are_linearizable() {
    let mut cluster = Cluster::start(1, 1_000).await;
    let mut acked = Vec::new();
    for round in 0..30 {
        let node = round % 3 + 1;
        let command = format!("c{round}");
        let proposed = propose(&cluster.shards(node), SHARD, &command).await.unwrap();
        acked.push(command.clone());
        assert_eq!(proposed.reply, Bytes::from(acked.len().to_string()));
        // Another node, at once: its barrier must show what was just acknowledged.
        let reader = cluster.shards((round + 1) % 3 + 1);
        let index = reader.read_barrier(SHARD, Duration::from_secs(5)).await.unwrap();
        assert!(index >= proposed.index);
        assert!(reader.rows().get(SHARD, 1, command.as_bytes()).unwrap().is_some());
    }
    let echoed = cluster
        .shards(1)
        .call(NodeId(2), 1_000, Bytes::from_static(b"hi"), Duration::from_secs(5))
        .await;
    assert_eq!(echoed.unwrap(), "1:1000:hi");
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    for node in 1..=3 {
        cluster.close(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restart_from_disk() {
    let mut cluster = Cluster::start(2, 40).await;
    let mut acked = Vec::new();
    for round in 0..100 {
        let command = format!("c{round}");
        propose_surely(&cluster.shards(1), SHARD, &command).await;
        acked.push(command);
    }
    let before = cluster.shards(1).cluster_id();
    for node in 1..=3 {
        cluster.close(node).await;
    }
    for node in 1..=3 {
        cluster.open(node).await;
    }
    cluster.leader(SHARD).await;
    cluster.leader(ShardId(0)).await;
    assert_eq!(cluster.shards(1).cluster_id(), before);
    propose_surely(&cluster.shards(2), SHARD, "after").await;
    acked.push("after".into());
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    assert!(cluster.status(1, SHARD).snapshot_index > 0, "no snapshot was taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up_by_log_and_by_snapshot() {
    let mut cluster = Cluster::start(1, 50).await;
    let mut acked = Vec::new();
    let next = |acked: &mut Vec<String>| {
        acked.push(format!("c{}", acked.len()));
        acked.last().unwrap().clone()
    };
    propose_surely(&cluster.shards(1), SHARD, &next(&mut acked)).await;
    // A few entries: they are still in the leader's log.
    cluster.close(3).await;
    for _ in 0..5 {
        propose_surely(&cluster.shards(1), SHARD, &next(&mut acked)).await;
    }
    cluster.open(3).await;
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    // Many: the leader has purged them, so state and rows come as a snapshot.
    cluster.close(3).await;
    for _ in 0..300 {
        propose_surely(&cluster.shards(1), SHARD, &next(&mut acked)).await;
    }
    let lacks = acked.len() as u64 / 2;
    cluster
        .wait("the log to be purged", || {
            (cluster.status(1, SHARD).purged_index > lacks).then_some(())
        })
        .await;
    cluster.open(3).await;
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    assert!(cluster.status(3, SHARD).snapshot_index > lacks);
    // And what came as a snapshot is still there after a restart.
    cluster.close(3).await;
    cluster.open(3).await;
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over() {
    let cluster = Cluster::start(2, 1_000).await;
    for to in [2, 3, 1, 3] {
        cluster.shards(1).transfer_leader(SHARD, NodeId(to)).await.unwrap();
        assert_eq!(cluster.leader(SHARD).await, to);
        propose(&cluster.shards(2), SHARD, &format!("to{to}")).await.unwrap();
    }
    cluster.shards(3).hand_over_all().await.unwrap();
    for shard in [0, 1, 2].map(ShardId) {
        assert_ne!(cluster.leader(shard).await, 3);
    }
    let unknown = cluster.shards(1).transfer_leader(SHARD, NodeId(9)).await;
    assert_eq!(unknown, Err(MembershipError::UnknownNode(NodeId(9))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_joins_and_the_first_leaves_under_traffic() {
    let mut cluster = Cluster::start(1, 100).await;
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = traffic(cluster.shards(2), &stop);
    let refused = cluster.shards(3).remove_node(NodeId(1)).await;
    assert!(
        matches!(refused, Err(MembershipError::QuorumAtRisk { .. })),
        "{refused:?}"
    );
    cluster.add_config(4);
    cluster.open(4).await;
    let address = cluster.addresses()[&NodeId(4)].clone();
    cluster.shards(2).add_node(NodeId(4), address).await.unwrap();
    assert_eq!(cluster.status(2, SHARD).voters, [1, 2, 3, 4].map(NodeId));
    cluster.shards(3).remove_node(NodeId(1)).await.unwrap();
    cluster.close(1).await;
    let left = |node| cluster.status(node, SHARD).voters == [2, 3, 4].map(NodeId);
    cluster
        .wait("the new membership", || [2, 3, 4].into_iter().all(left).then_some(()))
        .await;
    stop.store(true, Ordering::Relaxed);
    let acked = traffic.await.unwrap();
    assert!(!acked.is_empty());
    cluster.assert_equal(SHARD, &[2, 3, 4], &acked).await;
    assert_eq!(cluster.shards(4).cluster_id(), cluster.shards(2).cluster_id());
    assert!(!cluster.shards(2).status().nodes.contains_key(&NodeId(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_over_mutual_tls() {
    let mut cluster = Cluster::start_with_tls(1).await;
    let mut acked = Vec::new();
    for round in 0..10 {
        let command = format!("c{round}");
        propose(&cluster.shards(round % 3 + 1), SHARD, &command).await.unwrap();
        acked.push(command);
    }
    cluster.close(3).await;
    propose_surely(&cluster.shards(1), SHARD, "meanwhile").await;
    acked.push("meanwhile".into());
    cluster.open(3).await;
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_disk_was_emptied_is_not_taken_back() {
    let mut cluster = Cluster::start(0, 1_000).await;
    propose_surely(&cluster.shards(1), ShardId(0), "before").await;
    cluster.close(3).await;
    std::fs::remove_dir_all(&cluster.nodes[&3].config.data_dir).unwrap();
    cluster.open(3).await;
    let address = cluster.addresses()[&NodeId(3)].clone();
    let refused = cluster.shards(1).add_node(NodeId(3), address).await;
    assert!(
        matches!(refused, Err(MembershipError::Unreachable(NodeId(3), _))),
        "{refused:?}"
    );
    assert!(cluster.shards(3).local_shards().is_empty());
    propose_surely(&cluster.shards(1), ShardId(0), "after").await;
}

/// A leader hears nothing new for a while, as one that was stopped. An entry was under way: the answer of one follower makes it
/// committed, of which the leader tells both; then comes the answer of the other, to the entry and not to that. It says
/// nothing of who leads now, when a successor has acknowledged something since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_from_before_a_read_do_not_confirm_it() {
    /// How frames of openraft that carry entries are numbered.
    const APPEND: u16 = 1;
    const A_MOMENT: Duration = Duration::from_millis(10);
    let mut cluster = Cluster::start(1, 1_000).await;
    let line = Line::new();
    cluster.lead_with(SHARD, |environment| line.under(environment)).await;
    propose_surely(&cluster.shards(3), SHARD, "before").await;

    line.keep_answers();
    let under_way = cluster.status(3, SHARD).last_index + 1;
    let leader = cluster.shards(3);
    let proposing = tokio::spawn(async move { propose(&leader, SHARD, "under way").await });
    cluster
        .wait("an entry on all disks", || {
            let answered = |node| line.kept(node, APPEND) > 0 && cluster.status(node, SHARD).last_index == under_way;
            (answered(1) && answered(2)).then_some(())
        })
        .await;
    line.cut();
    let successor = cluster
        .wait("a successor", || {
            let leads = |&node: &u64| {
                let leadership = cluster.shards(node).leadership(SHARD);
                leadership.is_some_and(|now| now.borrow().ready)
            };
            [1, 2].into_iter().find(leads)
        })
        .await;
    let acknowledged = propose_surely(&cluster.shards(successor), SHARD, "after").await.index;

    let reader = cluster.shards(3);
    assert_eq!(cluster.status(3, SHARD).leader, Some(NodeId(3)), "it knows of nothing");
    let reading = tokio::spawn(async move { reader.read_barrier(SHARD, Duration::from_secs(10)).await });
    // The read has reached the core, and time has passed, before anything else comes.
    tokio::time::sleep(A_MOMENT).await;
    line.let_through(1);
    cluster
        .wait("the entry to be committed where nobody leads any more", || {
            (cluster.status(3, SHARD).commit_index >= under_way).then_some(())
        })
        .await;
    tokio::time::sleep(A_MOMENT).await;
    line.let_through(2);
    tokio::time::sleep(A_MOMENT).await;
    line.heal();
    let index = reading.await.unwrap().unwrap();
    assert!(index >= acknowledged, "read at {index}, acknowledged at {acknowledged}");
    // Whatever became of it.
    let _ = proposing.await.unwrap();
}

/// How often `one` is done in a second by so many at a time, over three seconds; it is told who does it, and how often they did.
async fn rate<F: Future<Output: Send> + Send + 'static>(
    in_flight: u32,
    one: impl Fn(u32, u64) -> F + Clone + Send + 'static,
) -> f64 {
    let started = std::time::Instant::now();
    let clients = (0..in_flight).map(|client| {
        let one = one.clone();
        tokio::spawn(async move {
            let mut count = 0_u64;
            while started.elapsed() < Duration::from_secs(3) {
                one(client, count).await;
                count += 1;
            }
            count
        })
    });
    let counts = futures::future::join_all(clients.collect::<Vec<_>>()).await;
    let total: u64 = counts.into_iter().map(Result::unwrap).sum();
    total as f64 / started.elapsed().as_secs_f64()
}

/// Not a test but a measurement: `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    for in_flight in [1_u32, 64, 512] {
        let cluster = Cluster::start(1, 1_000_000).await;
        let leader = cluster.leader(SHARD).await;
        let (here, there) = (cluster.shards(leader), cluster.shards(leader % 3 + 1));
        let writes = rate(in_flight, move |client, count| {
            let here = here.clone();
            async move { propose_surely(&here, SHARD, &format!("{client:05}-{count:0194}")).await }
        });
        let writes = writes.await;
        let here = cluster.shards(leader);
        let mut reads = Vec::new();
        for reader in [here, there] {
            let read = move |_, _| {
                let reader = reader.clone();
                async move { reader.read_barrier(SHARD, Duration::from_secs(5)).await.unwrap() }
            };
            reads.push(rate(in_flight, read).await);
        }
        eprintln!(
            "{in_flight} in flight, all three nodes in one process: {writes:.0} writes/s of 200 bytes, {:.0} reads/s on the \
             leader, {:.0} reads/s on a follower",
            reads[0], reads[1]
        );
    }
}

/// Node 3 on a disk that can be made to fail; it leads.
async fn with_a_disk(kind: std::io::ErrorKind) -> (Cluster, Disk) {
    let mut cluster = Cluster::start(1, 1_000).await;
    let disk = Disk::failing_with(kind);
    cluster.lead_with(SHARD, |environment| disk.under(environment)).await;
    (cluster, disk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_closes_replicas_and_room_opens_them_again() {
    let (mut cluster, disk) = with_a_disk(std::io::ErrorKind::StorageFull).await;
    let mut acked = Vec::new();
    for round in 0..20 {
        let command = format!("before{round}");
        propose_surely(&cluster.shards(3), SHARD, &command).await;
        acked.push(command);
    }
    let mut leadership = cluster.shards(3).leadership(SHARD).unwrap();
    disk.set_failing(true);
    for round in 0..20 {
        let command = format!("during{round}");
        // By way of the node without room too: it knows the others.
        propose_surely(&cluster.shards(round % 3 + 1), SHARD, &command).await;
        acked.push(command);
    }
    cluster
        .wait("the replica to be closed", || {
            (cluster.shards(3).closed_shards().contains(&SHARD)).then_some(())
        })
        .await;
    assert_eq!(cluster.status(3, SHARD).role, cluster::status::Role::Stopped);
    assert!(
        cluster
            .shards(3)
            .read_barrier(SHARD, Duration::from_secs(1))
            .await
            .is_err()
    );
    cluster.assert_equal(SHARD, &[1, 2], &acked).await;

    disk.set_failing(false);
    cluster
        .wait("everything to be open", || {
            cluster.shards(3).closed_shards().is_empty().then_some(())
        })
        .await;
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    cluster
        .shards(3)
        .read_barrier(SHARD, Duration::from_secs(5))
        .await
        .unwrap();
    // Who watched before sees who leads now.
    let led = leadership.wait_for(|now| now.leader.is_some());
    tokio::time::timeout(Duration::from_secs(5), led)
        .await
        .unwrap()
        .unwrap();
    for node in 1..=3 {
        cluster.close(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_stops_the_node_and_is_not_tried_again() {
    let (mut cluster, disk) = with_a_disk(std::io::ErrorKind::Other).await;
    propose_surely(&cluster.shards(1), SHARD, "before").await;
    disk.set_failing(true);
    propose_surely(&cluster.shards(1), SHARD, "during").await;
    let broken = cluster.shards(3);
    let why = tokio::time::timeout(Duration::from_secs(10), broken.broken())
        .await
        .unwrap();
    assert!(why.starts_with("shard "), "{why}");
    // Were the disk well again: what is on it is known only when it is read by a new start.
    disk.set_failing(false);
    propose_surely(&cluster.shards(1), SHARD, "after").await;
    assert_eq!(cluster.status(3, SHARD).role, cluster::status::Role::Stopped);
    drop(broken);
    cluster.close(3).await;
    cluster.open(3).await;
    let acked = ["before", "during", "after"].map(str::to_owned);
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    for node in 1..=3 {
        cluster.close(node).await;
    }
}

/// Proposes by way of a node until told to stop; gives back what was acknowledged.
fn traffic(shards: Shards, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<String>> {
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut acked = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let command = format!("t{}", acked.len());
            propose_surely(&shards, SHARD, &command).await;
            acked.push(command);
        }
        acked
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_away_from_a_slow_disk_and_stays_away() {
    let mut cluster = Cluster::start(1, 1_000).await;
    let disk = SlowDisk::default();
    cluster.lead_with(SHARD, |environment| disk.under(environment)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let traffic = traffic(cluster.shards(1), &stop);
    disk.set_delay(Some(Duration::from_millis(300)));
    cluster
        .wait("another leader", || {
            (cluster.status(1, SHARD).leader != Some(NodeId(3))).then_some(())
        })
        .await;
    let leader = cluster.leader(SHARD).await;
    let term = cluster.status(leader, SHARD).term;
    // The slow node follows, and is slow for longer than a leader may be; then the disk is well again.
    let since = cluster.status(leader, SHARD).applied_index;
    let long = Duration::from_secs(5);
    let moved = tokio::time::timeout(long, async {
        let mut leadership = cluster.shards(leader).leadership(SHARD).unwrap();
        leadership.wait_for(|now| now.term != term).await.map(|now| *now)
    });
    assert!(moved.await.is_err(), "it did not stay");
    assert!(cluster.status(leader, SHARD).applied_index > since);
    disk.set_delay(None);
    stop.store(true, Ordering::Relaxed);
    let acked = traffic.await.unwrap();
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    assert_eq!(cluster.leader(SHARD).await, leader);
    assert_eq!(cluster.status(leader, SHARD).term, term);
    for node in 1..=3 {
        cluster.close(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_away_from_a_disk_that_hangs() {
    let mut cluster = Cluster::start(1, 1_000).await;
    let disk = SlowDisk::default();
    cluster.lead_with(SHARD, |environment| disk.under(environment)).await;
    propose_surely(&cluster.shards(1), SHARD, "before").await;
    disk.set_delay(Some(Duration::from_secs(3_600)));
    // One command is enough: the flush under way is what tells.
    propose_surely(&cluster.shards(1), SHARD, "during").await;
    let elsewhere = |node| {
        let leader = cluster.status(node, SHARD).leader;
        leader.filter(|&leader| leader != NodeId(3))
    };
    cluster
        .wait("another leader", || {
            elsewhere(1).filter(|_| elsewhere(1) == elsewhere(2))
        })
        .await;
    propose_surely(&cluster.shards(1), SHARD, "after").await;
    disk.set_delay(None);
    let acked = ["before", "during", "after"].map(str::to_owned);
    cluster.assert_equal(SHARD, &[1, 2, 3], &acked).await;
    for node in 1..=3 {
        cluster.close(node).await;
    }
}
