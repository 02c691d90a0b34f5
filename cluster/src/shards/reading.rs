//! Reads that see everything acknowledged before they began: ReadIndex (Ongaro's thesis, section 6.4).
//!
//! ```text
//!   reads ──► wait for the next round ──► leader: term, and what is applied ──► "what have you promised?" ──► voters
//!                 (one at a time)                                                                               │
//!             answered, all at once   ◄── no majority has promised a newer term ◄───────────────────────────────┘
//! ```
//!
//! A voter that has promised no newer term at a moment after the round began cannot have helped to elect a newer leader before it:
//! with a majority of such, nobody else has acknowledged anything yet. openraft's own ReadIndex is not used: its replication
//! takes an answer to an earlier append for one to a later append that ends at the same entry, so that a leader which was
//! stopped (SIGSTOP) and woke could be confirmed by what it had been told before.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Inner;
use crate::known_bugs::put_in;
use crate::limits::ROUND;
use crate::raft::frames::{ReadAnswer, kind};
use crate::shard::Replica;
use crate::state_machine::ShardId;
use crate::transport::NodeId;

/// Reads of one shard that wait for the next round.
#[derive(Default)]
pub(crate) struct Rounds(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    reads: Vec<oneshot::Sender<ReadAnswer>>,
    /// A round runs, and another begins after it if anybody waits.
    runs: bool,
}

impl Rounds {
    /// Waits for the next round; the answer comes by the receiver. `true`: nobody runs rounds, so the caller must.
    fn join(&self) -> (oneshot::Receiver<ReadAnswer>, bool) {
        let (read, answer) = oneshot::channel();
        let waiting = &mut *self.0.lock();
        waiting.reads.push(read);
        (answer, !std::mem::replace(&mut waiting.runs, true))
    }

    /// Those whom the round that begins now answers; `None` when nobody waits, and the rounds end.
    fn next(&self) -> Option<Vec<oneshot::Sender<ReadAnswer>>> {
        let waiting = &mut *self.0.lock();
        waiting.reads.retain(|read| !read.is_closed());
        waiting.runs = !waiting.reads.is_empty();
        waiting.runs.then(|| std::mem::take(&mut waiting.reads))
    }
}

/// Whether these are a majority of each set.
fn is_quorum(sets: &[BTreeSet<NodeId>], nodes: &BTreeSet<NodeId>) -> bool {
    sets.iter().all(|set| set.intersection(nodes).count() > set.len() / 2)
}

impl Inner {
    /// The index that a read which begins now must see, if this node leads the shard.
    pub(super) async fn read_index(self: &Arc<Self>, shard: ShardId, deadline: Instant) -> ReadAnswer {
        let Some(replica) = self.replica(shard) else {
            return ReadAnswer::NotLeader(None);
        };
        let leader = replica.leader();
        if leader != Some(self.node) {
            return ReadAnswer::NotLeader(leader);
        }
        let (answer, must_run) = replica.rounds.join();
        if must_run {
            self.tasks.spawn(self.clone().run_rounds(replica));
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => ReadAnswer::NotLeader(None),
        }
    }

    async fn run_rounds(self: Arc<Self>, replica: Arc<Replica>) {
        while let Some(reads) = replica.rounds.next() {
            let answer = self.round(&replica).await;
            for read in reads {
                // Whose deadline has passed hears nothing more.
                let _ = read.send(answer.clone());
            }
        }
    }

    /// One answer for all reads that began before.
    async fn round(&self, replica: &Replica) -> ReadAnswer {
        let now = *replica.leadership.borrow();
        if now.leader != Some(self.node) {
            return ReadAnswer::NotLeader(now.leader);
        }
        // Before its first entry a leader may lack what its predecessors acknowledged.
        if !now.ready {
            return ReadAnswer::NotLeader(None);
        }
        // What this leader acknowledged is applied here.
        let index = replica.mark.borrow().index;
        if put_in("cluster::lease_read") || self.is_followed(replica, now.term).await {
            return ReadAnswer::Index(index);
        }
        ReadAnswer::NotLeader(replica.leader().filter(|&leader| leader != self.node))
    }

    /// Whether a majority has promised no term after `term`, at a moment after the call.
    async fn is_followed(&self, replica: &Replica, term: u64) -> bool {
        if replica.promised.term() > term {
            return false;
        }
        let sets = replica.voter_sets();
        let mut follow = BTreeSet::from([self.node]);
        let voters: BTreeSet<NodeId> = sets.iter().flatten().copied().collect();
        let asked = voters
            .into_iter()
            .filter(|&voter| voter != self.node)
            .map(|voter| async move {
                let promised = self.ask_peer::<u64>(voter, replica.shard, kind::PROMISED, ROUND);
                (voter, promised.await)
            });
        let mut answers: FuturesUnordered<_> = asked.collect();
        while !is_quorum(&sets, &follow) {
            let Some((voter, promised)) = answers.next().await else {
                return false;
            };
            match promised {
                Some(promised) if promised > term => return false,
                Some(_) => {
                    follow.insert(voter);
                }
                None => {}
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes<const N: usize>(nodes: [u64; N]) -> BTreeSet<NodeId> {
        nodes.map(NodeId).into()
    }

    #[test]
    fn a_quorum_is_a_majority_of_every_set() {
        let sets = [nodes([1, 2, 3]), nodes([3, 4, 5, 6])];
        assert!(!is_quorum(&sets[..1], &nodes([1])));
        assert!(is_quorum(&sets[..1], &nodes([1, 3])));
        assert!(!is_quorum(&sets, &nodes([1, 3, 4])));
        assert!(!is_quorum(&sets, &nodes([3, 4, 5])));
        assert!(is_quorum(&sets, &nodes([1, 3, 4, 5])));
        assert!(is_quorum(&[nodes([1])], &nodes([1])));
        // Who is no voter does not count.
        assert!(!is_quorum(&[nodes([1, 2])], &nodes([1, 9])));
    }

    #[test]
    fn reads_that_come_during_a_round_wait_for_the_next() {
        let rounds = Rounds::default();
        let (mut early, must_run) = rounds.join();
        assert!(must_run);
        let first = rounds.next().unwrap();
        let (mut late, must_run) = rounds.join();
        assert!(!must_run);
        first.into_iter().for_each(|read| drop(read.send(ReadAnswer::Index(7))));
        assert!(matches!(early.try_recv(), Ok(ReadAnswer::Index(7))));
        assert!(late.try_recv().is_err());
        assert_eq!(rounds.next().map(|reads| reads.len()), Some(1));
        assert!(rounds.next().is_none());
        // And then somebody else must run them.
        let (gone, must_run) = rounds.join();
        assert!(must_run);
        drop(gone);
        assert!(rounds.next().is_none(), "nobody waits any more");
        assert!(rounds.join().1);
    }
}
