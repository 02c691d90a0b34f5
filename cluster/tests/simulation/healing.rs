//! After the faults: the cluster must heal by itself, serve, agree, and still have everything that it acknowledged.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::oracle::CommandId;
use super::world::{SHARD, World, disk_behaviour};
use cluster::status::ShardStatus;
use cluster::transport::NodeId;

/// After the faults, the cluster must serve and agree within this.
const WITHIN: Duration = Duration::from_secs(20);
/// A change of members that had begun must end within this.
const CHANGES_WITHIN: Duration = Duration::from_secs(40);
const AGAIN: Duration = Duration::from_millis(50);

impl World {
    /// Takes all faults away and demands service and agreement: I, and the rest once more.
    pub(super) async fn heal(&self, changes: JoinHandle<()>) {
        self.take_faults_away().await;
        if tokio::time::timeout(CHANGES_WITHIN, changes).await.is_err() {
            let states = self.states();
            self.oracle
                .violated(format!("I: a change of members does not end: {states:?}"));
            return;
        }
        // Nodes that were added meanwhile among them.
        self.take_faults_away().await;
        self.clients_run.store(false, Ordering::Relaxed);
        let deadline = Instant::now() + WITHIN;
        if self.is_served_everywhere(deadline).await && self.agrees(deadline).await {
            self.compare_rows();
        }
    }

    async fn take_faults_away(&self) {
        self.net.clear_up();
        for node in self.members.all() {
            let life = self.with_node(node, |node| {
                node.disk.set_behaviour(disk_behaviour(2_000));
                node.disk.fill(false);
                node.disk.fail_flushes(false);
                node.clock.drift(0);
                node.life.clone()
            });
            if life.is_none() {
                self.start_or_blame(node).await;
            }
            self.net.announce(NodeId(node));
        }
    }

    async fn is_served_everywhere(&self, deadline: Instant) -> bool {
        for node in self.members.all() {
            loop {
                if self.oracle.is_violated() {
                    return false;
                }
                if Instant::now() > deadline {
                    let states = self.states();
                    self.oracle
                        .violated(format!("I: no service through node {node}: {states:?}"));
                    return false;
                }
                if let Some(life) = self.life(node)
                    && self.propose(&life, 200).await
                {
                    break;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
        true
    }

    async fn agrees(&self, deadline: Instant) -> bool {
        while !self.all_equal() {
            if Instant::now() > deadline {
                let (wanted, states) = (self.members.all(), self.states());
                self.oracle.violated(format!(
                    "I: the replicas of {wanted:?} do not agree in time: {states:?}"
                ));
                return false;
            }
            tokio::time::sleep(AGAIN).await;
        }
        true
    }

    fn compare_rows(&self) {
        for node in self.members.all() {
            let Some(shards) = self.shards(node) else {
                continue;
            };
            let rows = shards.rows().scan(SHARD, 0, &[], &[0xff; 9], usize::MAX);
            let rows = rows.expect("rows of a running node can be read");
            let commands: BTreeSet<CommandId> = rows
                .iter()
                .map(|(key, _)| CommandId::from_le_bytes(key[..8].try_into().expect("keys are commands")))
                .collect();
            self.oracle.ends_with(node, &commands);
        }
    }

    fn states(&self) -> Vec<ShardStatus> {
        let running = self.members.all().into_iter().filter_map(|node| self.shards(node));
        running.flat_map(|shards| shards.status().shards).collect()
    }

    fn all_equal(&self) -> bool {
        let (states, members) = (self.states(), self.members.all());
        let wanted: Vec<NodeId> = members.iter().copied().map(NodeId).collect();
        let first = states.first().map(|state| (state.applied_index, state.digest));
        states.len() == members.len()
            && states
                .iter()
                .all(|state| Some((state.applied_index, state.digest)) == first && state.voters == wanted)
    }
}
