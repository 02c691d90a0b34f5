//! Changing who is a member: the leader's side of each step, one at a time.
//!
//! A new node is added as a learner, and made a voter when it has caught up. A node that leads hands over before it is
//! removed. What would leave a shard without a safe quorum is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, Instant as _};
use tokio::time::Instant;

use crate::raft::TypeConfig;
use crate::raft::frames::{ChangeAnswer, ChangeFrame};
use crate::shard::{HandOver, Replica};
use crate::transport::{NodeId, PeerAddress};

/// A learner that lacks no more entries than this has caught up: it gets the rest while it becomes a voter.
const CAUGHT_UP_ENTRIES: u64 = 64;
/// For one step to be committed.
const STEP: Duration = Duration::from_secs(10);
/// Fewer voters than this survive no failure.
const SAFE_VOTERS: usize = 3;

impl Replica {
    /// One step, on the shard's leader.
    pub(crate) async fn change(&self, node: NodeId, step: ChangeFrame) -> ChangeAnswer {
        let leader = self.leader();
        if leader != Some(node) {
            return ChangeAnswer::NotLeader(leader);
        }
        // openraft follows a membership before it is committed: what seems to be done already may yet be undone.
        if !self.membership_is_committed() && !matches!(step, ChangeFrame::Transfer(_)) {
            return ChangeAnswer::Failed("another change is on its way".into());
        }
        let change = async {
            if !matches!(step, ChangeFrame::Transfer(_)) {
                match self.leave_joint().await {
                    ChangeAnswer::Done => {}
                    unfinished => return unfinished,
                }
            }
            match step {
                ChangeFrame::AddLearner(new, address) => self.add_learner(new, address).await,
                ChangeFrame::Promote(learner) => self.promote(learner).await,
                ChangeFrame::Remove(old) if old == node => self.leave_leadership(old).await,
                ChangeFrame::Remove(old) => self.remove(old).await,
                ChangeFrame::Transfer(to) => self.transfer(node, to).await,
            }
        };
        let failed = ChangeAnswer::Failed("not committed in time".into());
        tokio::time::timeout(STEP, change).await.unwrap_or(failed)
    }

    /// Ends a change of voters that a leader before this one began: until then a quorum of the old voters is needed beside one
    /// of the new, so that a single failure may stop the shard.
    async fn leave_joint(&self) -> ChangeAnswer {
        let is_joint = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().get_joint_config().len() > 1
        };
        if !is_joint {
            return ChangeAnswer::Done;
        }
        let no_more = ChangeMembers::AddVoterIds(BTreeSet::new());
        done(self.raft.change_membership(no_more, true).await.map(drop))
    }

    fn membership_is_committed(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config == metrics.committed_membership_config
    }

    fn member_sets(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.nodes().map(|(&node, _)| node).collect();
        (members, metrics.membership_config.voter_ids().collect())
    }

    async fn add_learner(&self, new: NodeId, address: PeerAddress) -> ChangeAnswer {
        if self.member_sets().0.contains(&new.0) {
            return ChangeAnswer::Done;
        }
        let at = BasicNode {
            addr: address.address.to_string(),
        };
        done(self.raft.add_learner(new.0, at, false).await.map(drop))
    }

    async fn promote(&self, learner: NodeId) -> ChangeAnswer {
        let (members, voters) = self.member_sets();
        if voters.contains(&learner.0) {
            return ChangeAnswer::Done;
        }
        if !members.contains(&learner.0) {
            return ChangeAnswer::Unknown;
        }
        let lag = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let matched = metrics
                .replication
                .as_ref()
                .and_then(|all| all.get(&learner.0).copied().flatten());
            matched.map(|id| metrics.last_log_index.unwrap_or(0).saturating_sub(id.index))
        };
        match lag {
            Some(lag) if lag <= CAUGHT_UP_ENTRIES => {
                let change = ChangeMembers::AddVoterIds(BTreeSet::from([learner.0]));
                done(self.raft.change_membership(change, true).await.map(drop))
            }
            Some(lag) => ChangeAnswer::Lagging(lag),
            None => ChangeAnswer::Lagging(u64::MAX),
        }
    }

    async fn remove(&self, old: NodeId) -> ChangeAnswer {
        let (members, voters) = self.member_sets();
        if !members.contains(&old.0) {
            return ChangeAnswer::Done;
        }
        if !voters.contains(&old.0) {
            let change = ChangeMembers::RemoveNodes(BTreeSet::from([old.0]));
            return done(self.raft.change_membership(change, false).await.map(drop));
        }
        let answering = self.answering_voters();
        let left: BTreeSet<u64> = voters.iter().copied().filter(|&voter| voter != old.0).collect();
        let left_answering = left.iter().filter(|voter| answering.contains(voter)).count();
        if left_answering < left.len() / 2 + 1 {
            let reason = format!("of the {} voters left only {left_answering} answer", left.len());
            return ChangeAnswer::QuorumAtRisk(reason);
        }
        if left.len() < SAFE_VOTERS && answering.contains(&old.0) {
            let reason = format!("{} voters would be left, fewer than {SAFE_VOTERS}", left.len());
            return ChangeAnswer::QuorumAtRisk(reason);
        }
        let change = ChangeMembers::RemoveVoters(BTreeSet::from([old.0]));
        done(self.raft.change_membership(change, false).await.map(drop))
    }

    /// Voters that answered a moment ago, this node included.
    fn answering_voters(&self) -> BTreeSet<u64> {
        let recent = Duration::from_millis(3 * self.raft.config().election_timeout_max);
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard: BTreeMap<u64, bool> = metrics
            .heartbeat
            .iter()
            .flatten()
            .map(|(&peer, at)| (peer, at.is_some_and(|at| at.elapsed() < recent)))
            .collect();
        let voters = metrics.membership_config.voter_ids();
        voters
            .filter(|voter| *voter == metrics.id || heard.get(voter) == Some(&true))
            .collect()
    }

    async fn transfer(&self, node: NodeId, to: NodeId) -> ChangeAnswer {
        if to == node {
            return ChangeAnswer::Done;
        }
        if !self.member_sets().1.contains(&to.0) {
            return ChangeAnswer::Unknown;
        }
        if !self.answering_voters().contains(&to.0) {
            return ChangeAnswer::Failed(format!("node {to} does not answer"));
        }
        match self.hand_over(to, HandOver::Asked, Instant::now() + STEP / 2).await {
            true => ChangeAnswer::NotLeader(self.leader()),
            false => ChangeAnswer::Failed(format!("node {to} did not take over")),
        }
    }

    /// The node to be removed leads: somebody else must, first.
    async fn leave_leadership(&self, old: NodeId) -> ChangeAnswer {
        let (_, voters) = self.member_sets();
        if voters.len() <= SAFE_VOTERS {
            let reason = format!("{} voters would be left, fewer than {SAFE_VOTERS}", voters.len() - 1);
            return ChangeAnswer::QuorumAtRisk(reason);
        }
        let answering = self.answering_voters();
        let successor = self
            .successors()
            .into_iter()
            .find(|voter| *voter != old && answering.contains(&voter.0));
        match successor {
            Some(to) => self.transfer(old, to).await,
            None => ChangeAnswer::QuorumAtRisk("no other voter answers".into()),
        }
    }
}

fn done(result: Result<(), RaftError<TypeConfig, ClientWriteError<TypeConfig>>>) -> ChangeAnswer {
    match result {
        Ok(()) => ChangeAnswer::Done,
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            ChangeAnswer::NotLeader(to.leader_id.map(NodeId))
        }
        Err(error) => ChangeAnswer::Failed(error.to_string()),
    }
}
