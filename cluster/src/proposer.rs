//! The proposer of a shard: gathers commands into batches, one log entry each, stamped once.
//!
//! Wanted: no batch waits for company while the log is idle, and small ones do not crowd it when it is not (what has gathered
//! while others were on their way goes out together); decisions
//! and timers go first, but leave clients half of every batch; no client group starves another; everything is bounded,
//! and whoever finds the bound is told when to come back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::ShardClock;
use crate::limits::{
    BATCH_MAX_BYTES, BATCH_MAX_COMMANDS, BATCH_WORTH_IT, COMMAND_MAX_BYTES, PROPOSER_QUEUE, PROPOSER_QUEUE_BYTES,
    PROPOSER_RESERVED,
};
use crate::raft::Raft;
use crate::raft::entry::CommandBatch;
use crate::raft::frames::{ProposeAnswer, pack};
use crate::shards::{Lane, Proposed};
use crate::state_machine::ShardId;
use crate::transport::{NodeId, Reply};

/// What a caller at the bound is told to wait.
const RETRY_AFTER_MS: u64 = 100;

struct Waiting {
    command: Bytes,
    deadline: Instant,
    answer: Answer,
}

/// Who waits for an answer. When it is dropped they read "outcome unknown".
pub(crate) enum Answer {
    /// Somebody on this node.
    Here(oneshot::Sender<ProposeAnswer>),
    /// Another node, which keeps the deadline itself: no task of ours waits with it.
    There(ShardId, Reply),
}

impl Answer {
    pub(crate) fn send(self, answer: ProposeAnswer) {
        match self {
            // A caller that stopped waiting is no error.
            Self::Here(to) => _ = to.send(answer),
            Self::There(shard, reply) => reply.send(pack(shard, &answer)),
        }
    }
}

#[derive(Default)]
struct Queues {
    decisions: VecDeque<Waiting>,
    groups: BTreeMap<u64, VecDeque<Waiting>>,
    /// Groups with something waiting, in the order of their turns.
    turns: VecDeque<u64>,
    commands: usize,
    bytes: usize,
    closed: bool,
}

impl Queues {
    fn push(&mut self, group: u64, lane: Lane, waiting: Waiting) {
        self.commands += 1;
        self.bytes += waiting.command.len();
        match lane {
            Lane::Decision => self.decisions.push_back(waiting),
            Lane::Client => {
                let queue = self.groups.entry(group).or_default();
                if queue.is_empty() {
                    self.turns.push_back(group);
                }
                queue.push_back(waiting);
            }
        }
    }

    fn took(&mut self, waiting: &Waiting) {
        self.commands -= 1;
        self.bytes -= waiting.command.len();
    }

    fn next_client(&mut self) -> Option<Waiting> {
        let group = self.turns.pop_front()?;
        let queue = self.groups.get_mut(&group)?;
        let waiting = queue.pop_front();
        if queue.is_empty() {
            self.groups.remove(&group);
        } else {
            self.turns.push_back(group);
        }
        waiting
    }

    /// The next batch. Decisions first, but never more than half of it while clients wait.
    fn take_batch(&mut self, now: Instant) -> Vec<Waiting> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let decisions_most = if self.turns.is_empty() {
            BATCH_MAX_COMMANDS
        } else {
            BATCH_MAX_COMMANDS / 2
        };
        while batch.len() < BATCH_MAX_COMMANDS && bytes < BATCH_MAX_BYTES - COMMAND_MAX_BYTES {
            let decision = (batch.len() < decisions_most)
                .then(|| self.decisions.pop_front())
                .flatten();
            let next = match decision {
                Some(waiting) => Some(waiting),
                None => self.next_client().or_else(|| self.decisions.pop_front()),
            };
            let Some(waiting) = next else {
                break;
            };
            self.took(&waiting);
            if waiting.deadline <= now {
                waiting.answer.send(ProposeAnswer::Overloaded {
                    retry_after_ms: RETRY_AFTER_MS,
                });
                continue;
            }
            bytes += waiting.command.len();
            batch.push(waiting);
        }
        batch
    }

    fn take_all(&mut self) -> Vec<Waiting> {
        self.commands = 0;
        self.bytes = 0;
        self.turns.clear();
        let groups = std::mem::take(&mut self.groups);
        self.decisions.drain(..).chain(groups.into_values().flatten()).collect()
    }
}

/// Takes commands on the shard's leader.
pub(crate) struct Proposer {
    shard: ShardId,
    queues: Mutex<Queues>,
    arrived: Notify,
}

impl Proposer {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            queues: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    /// Queues a command; the answer comes when it is applied or refused, or at once when there is no room for it.
    pub(crate) fn offer(&self, group: u64, lane: Lane, command: Bytes, deadline: Instant, answer: Answer) {
        if command.len() > COMMAND_MAX_BYTES {
            return answer.send(ProposeAnswer::TooLarge);
        }
        let mut queues = self.queues.lock();
        let most = match lane {
            Lane::Client => PROPOSER_QUEUE - PROPOSER_RESERVED,
            Lane::Decision => PROPOSER_QUEUE,
        };
        let refused = if queues.closed {
            ProposeAnswer::NotLeader(None)
        } else if queues.commands >= most || queues.bytes + command.len() > PROPOSER_QUEUE_BYTES {
            ProposeAnswer::Overloaded {
                retry_after_ms: RETRY_AFTER_MS,
            }
        } else {
            let waiting = Waiting {
                command,
                deadline,
                answer,
            };
            queues.push(group, lane, waiting);
            drop(queues);
            self.arrived.notify_one();
            return;
        };
        drop(queues);
        answer.send(refused);
    }

    /// Commands that wait.
    pub(crate) fn pending(&self) -> usize {
        self.queues.lock().commands
    }

    /// Refuses everything that waits: it was certainly not proposed.
    pub(crate) fn refuse_all(&self, leader: Option<NodeId>) {
        let all = self.queues.lock().take_all();
        for waiting in all {
            waiting.answer.send(ProposeAnswer::NotLeader(leader));
        }
    }

    /// Proposes what arrives, until `stop`.
    pub(crate) async fn run(self: Arc<Self>, raft: Raft, clock: Arc<ShardClock>, stop: CancellationToken) {
        let mut in_flight: FuturesUnordered<JoinHandle<()>> = FuturesUnordered::new();
        loop {
            while self.may_propose(in_flight.len()) {
                let batch = self.queues.lock().take_batch(Instant::now());
                if batch.is_empty() {
                    break;
                }
                let outcome = self.clone().propose(raft.clone(), clock.now_ms(), batch).await;
                in_flight.push(tokio::spawn(outcome));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = in_flight.next() => {}
                () = self.arrived.notified(), if in_flight.len() < BATCH_WORTH_IT.len() => {}
            }
        }
        self.queues.lock().closed = true;
        self.refuse_all(None);
        // What is on its way is answered, or dropped, which its callers read as "outcome unknown".
    }

    /// Whether another batch may go out while so many are on their way.
    fn may_propose(&self, in_flight: usize) -> bool {
        BATCH_WORTH_IT
            .get(in_flight)
            .is_some_and(|&least| self.pending() >= least)
    }

    /// Hands a batch to openraft; the future that is returned waits for its outcome and answers everybody.
    async fn propose(
        self: Arc<Self>,
        raft: Raft,
        at_ms: u64,
        batch: Vec<Waiting>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let entry = CommandBatch::new(at_ms, batch.iter().map(|waiting| &waiting.command));
        let shard = self.shard.to_string();
        metrics::histogram!("kaiwa_raft_batch_entries", "shard" => shard.clone(), "stage" => "propose")
            .record(batch.len() as f64);
        let started = Instant::now();
        let (responder, outcome) = ProgressResponder::complete_only();
        let sent = raft.client_write_ff(entry, Some(responder)).await;
        async move {
            let outcome = match sent {
                Ok(()) => outcome.await.ok(),
                Err(_) => None,
            };
            let result = answer_all(batch, outcome);
            metrics::counter!("kaiwa_raft_proposals_total", "shard" => shard.clone(), "result" => result).increment(1);
            metrics::histogram!("kaiwa_raft_commit_duration_seconds", "shard" => shard)
                .record(started.elapsed().as_secs_f64());
        }
    }
}

type Outcome = openraft::raft::ClientWriteResult<crate::raft::TypeConfig>;

fn answer_all(batch: Vec<Waiting>, outcome: Option<Outcome>) -> &'static str {
    let (answer, result) = match outcome {
        Some(Ok(written)) => {
            let index = written.log_id.index;
            for (waiting, reply) in batch.into_iter().zip(written.data.0) {
                waiting.answer.send(ProposeAnswer::Done(Proposed { index, reply }));
            }
            return "applied";
        }
        // openraft says so before it appends anything.
        Some(Err(ClientWriteError::ForwardToLeader(to))) => {
            (ProposeAnswer::NotLeader(to.leader_id.map(NodeId)), "not_leader")
        }
        Some(Err(_)) | None => (ProposeAnswer::Unknown, "unknown"),
    };
    for waiting in batch {
        waiting.answer.send(answer.clone());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answers = Vec<oneshot::Receiver<ProposeAnswer>>;

    fn filled(commands: &[(u64, Lane, &'static [u8])]) -> (Proposer, Answers) {
        let proposer = Proposer::new(ShardId(1));
        let later = Instant::now() + std::time::Duration::from_secs(60);
        let offer = |&(group, lane, bytes): &(u64, Lane, &'static [u8])| offer(&proposer, group, lane, bytes, later);
        let answers = commands.iter().map(offer).collect();
        (proposer, answers)
    }

    fn offer(
        proposer: &Proposer,
        group: u64,
        lane: Lane,
        command: &'static [u8],
        deadline: Instant,
    ) -> oneshot::Receiver<ProposeAnswer> {
        let (answer, answered) = oneshot::channel();
        proposer.offer(group, lane, Bytes::from_static(command), deadline, Answer::Here(answer));
        answered
    }

    fn batch(proposer: &Proposer) -> Vec<Bytes> {
        proposer
            .queues
            .lock()
            .take_batch(Instant::now())
            .into_iter()
            .map(|waiting| waiting.command)
            .collect()
    }

    #[tokio::test]
    async fn groups_take_turns_and_decisions_go_first() {
        let (proposer, _answers) = filled(&[
            (7, Lane::Client, b"a1"),
            (7, Lane::Client, b"a2"),
            (7, Lane::Client, b"a3"),
            (9, Lane::Client, b"b1"),
            (0, Lane::Decision, b"d"),
        ]);
        assert_eq!(batch(&proposer), ["d", "a1", "b1", "a2", "a3"]);
        assert_eq!(proposer.pending(), 0);
    }

    #[tokio::test]
    async fn decisions_leave_clients_half_of_a_batch() {
        let mut commands = vec![(0, Lane::Decision, &b"d"[..]); 1000];
        commands.extend(vec![(1, Lane::Client, &b"c"[..]); 1000]);
        let (proposer, _answers) = filled(&commands);
        let batch = batch(&proposer);
        assert_eq!(batch.len(), BATCH_MAX_COMMANDS);
        assert_eq!(
            batch.iter().filter(|command| &command[..] == b"c").count(),
            BATCH_MAX_COMMANDS / 2
        );
    }

    #[tokio::test]
    async fn clients_find_the_bound_while_decisions_have_room() {
        let commands = vec![(1, Lane::Client, &b"c"[..]); PROPOSER_QUEUE - PROPOSER_RESERVED];
        let (proposer, _answers) = filled(&commands);
        let later = Instant::now() + std::time::Duration::from_secs(60);
        let refused = |lane| offer(&proposer, 2, lane, b"x", later).try_recv().ok();
        let overloaded = Some(ProposeAnswer::Overloaded { retry_after_ms: 100 });
        assert_eq!(refused(Lane::Client), overloaded);
        for _ in 0..PROPOSER_RESERVED {
            // Nothing yet; its other end is let go, which is no matter here.
            assert_eq!(refused(Lane::Decision), None);
        }
        assert_eq!(refused(Lane::Decision), overloaded);
    }

    #[tokio::test]
    async fn small_batches_do_not_crowd_the_log() {
        let (proposer, _answers) = filled(&[(1, Lane::Client, &b"c"[..]); 10]);
        let may: Vec<_> = (0..10).map(|in_flight| proposer.may_propose(in_flight)).collect();
        assert_eq!(
            may,
            [true, true, false, false, false, false, false, false, false, false]
        );
        let (proposer, _answers) = filled(&[(1, Lane::Client, &b"c"[..]); 256]);
        assert!((0..BATCH_WORTH_IT.len()).all(|in_flight| proposer.may_propose(in_flight)));
        assert!(!proposer.may_propose(BATCH_WORTH_IT.len()), "as many as there may be");
        assert!(!Proposer::new(ShardId(1)).may_propose(0), "of nothing");
    }

    #[tokio::test]
    async fn a_batch_keeps_its_bytes_and_large_commands_are_refused() {
        let big: &'static [u8] = &[7; COMMAND_MAX_BYTES];
        let (proposer, _answers) = filled(&[(1, Lane::Client, big), (1, Lane::Client, big), (1, Lane::Client, big)]);
        let first: usize = batch(&proposer).iter().map(Bytes::len).sum();
        assert!(first <= BATCH_MAX_BYTES);
        let later = Instant::now() + std::time::Duration::from_secs(60);
        let too_large: &'static [u8] = &[0; COMMAND_MAX_BYTES + 1];
        let refused = offer(&proposer, 2, Lane::Client, too_large, later).await;
        assert_eq!(refused, Ok(ProposeAnswer::TooLarge));
    }

    #[tokio::test]
    async fn what_waited_too_long_is_certainly_not_proposed() {
        let proposer = Proposer::new(ShardId(1));
        let answer = offer(&proposer, 1, Lane::Client, b"x", Instant::now());
        assert!(batch(&proposer).is_empty());
        assert!(matches!(answer.await, Ok(ProposeAnswer::Overloaded { .. })));
    }
}
