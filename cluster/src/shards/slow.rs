//! A slow disk under a leader. The followers make the majority as long as all of them are there, but with one of them gone
//! every commit waits for that disk: so leadership goes to somebody whose log is much faster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{HAND_OVER_DEADLINE, Inner};
use crate::limits::{DISK_LOOK_EVERY, SLOW_FLUSH, SLOW_FOR, SLOW_PAUSE, SLOW_TIMES_SUCCESSOR};
use crate::raft::frames::{FlushesAnswer, kind};
use crate::shard::{HandOver, Replica};
use crate::state_machine::ShardId;
use crate::transport::NodeId;

/// Looks every [`DISK_LOOK_EVERY`], until `stop`.
pub(super) async fn watch(inner: Arc<Inner>, stop: CancellationToken) {
    // Leaderships of this node whose logs are slow, and since when.
    let mut slow: BTreeMap<ShardId, Instant> = BTreeMap::new();
    loop {
        for replica in inner.replicas() {
            let took = replica.flush_times.figure().unwrap_or_default();
            gauge!("kaiwa_storage_log_flush_seconds", "shard" => replica.shard.to_string()).set(took.as_secs_f64());
            if took <= SLOW_FLUSH || replica.leader() != Some(inner.node) {
                slow.remove(&replica.shard);
                continue;
            }
            let since = *slow.entry(replica.shard).or_insert_with(Instant::now);
            if since.elapsed() >= SLOW_FOR {
                inner.leave_if_others_are_fast(&replica, took).await;
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DISK_LOOK_EVERY) => {}
        }
    }
}

impl Inner {
    /// The answer to a leader whose disk is slow.
    pub(super) fn flushes(&self, shard: ShardId) -> Option<FlushesAnswer> {
        let took = self.replica(shard)?.flush_times.figure();
        Some(FlushesAnswer {
            took_ms: took.map(|took| took.as_millis() as u64),
            has_room: !self.disk_low.load(Ordering::Relaxed),
            left_ms_ago: self.left_ago(shard).map(|ago| ago.as_millis() as u64),
        })
    }

    /// How long ago this node left a leadership because its disk was slow.
    fn left_ago(&self, shard: ShardId) -> Option<Duration> {
        self.slow_left.lock().get(&shard).map(Instant::elapsed)
    }

    async fn leave_if_others_are_fast(&self, replica: &Replica, took: Duration) {
        if self.left_ago(replica.shard).is_some_and(|ago| ago < SLOW_PAUSE) {
            return;
        }
        let answers = self.ask_successors::<FlushesAnswer>(replica, kind::FLUSHES).await;
        let Some(to) = successor(took, &answers) else { return };
        let took_ms = took.as_millis() as u64;
        tracing::warn!(shard = %replica.shard, %to, took_ms, "the disk is slow: leadership is handed over");
        let deadline = Instant::now() + HAND_OVER_DEADLINE;
        // Noted first: the successor may ask as soon as it leads.
        let before = self.slow_left.lock().insert(replica.shard, Instant::now());
        if !replica.hand_over(to, HandOver::SlowDisk, deadline).await {
            let mut left = self.slow_left.lock();
            match before {
                Some(before) => left.insert(replica.shard, before),
                None => left.remove(&replica.shard),
            };
        }
    }
}

/// Who shall lead instead of a node whose log takes `own` for a flush; nobody, if nobody is much faster, or if somebody
/// handed the shard over for that reason a moment ago. Of two that are as fast the first.
fn successor(own: Duration, answers: &[(NodeId, FlushesAnswer)]) -> Option<NodeId> {
    let lately = |answer: &FlushesAnswer| {
        answer
            .left_ms_ago
            .is_some_and(|ago| u128::from(ago) < SLOW_PAUSE.as_millis())
    };
    if own <= SLOW_FLUSH || answers.iter().any(|(_, answer)| lately(answer)) {
        return None;
    }
    let much_faster = |took_ms: u64| own >= Duration::from_millis(took_ms).saturating_mul(SLOW_TIMES_SUCCESSOR);
    answers
        .iter()
        .filter(|(_, answer)| answer.has_room && answer.took_ms.is_none_or(much_faster))
        // Who does not know is no slower than who is, but known is better.
        .min_by_key(|(_, answer)| answer.took_ms.unwrap_or(u64::MAX))
        .map(|(node, _)| *node)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: FlushesAnswer = FlushesAnswer {
        took_ms: Some(5),
        has_room: true,
        left_ms_ago: None,
    };

    fn takes(took_ms: u64) -> FlushesAnswer {
        FlushesAnswer {
            took_ms: Some(took_ms),
            ..FAST
        }
    }

    /// The answers of nodes 1, 2, and so on.
    fn chosen(own_ms: u64, answers: &[FlushesAnswer]) -> Option<u64> {
        let answers: Vec<_> = (1..).map(NodeId).zip(answers.iter().copied()).collect();
        successor(Duration::from_millis(own_ms), &answers).map(|node| node.0)
    }

    #[test]
    fn the_fastest_leads_instead_of_a_slow_disk() {
        assert_eq!(chosen(300, &[takes(20), takes(5), takes(6)]), Some(2));
        assert_eq!(
            chosen(300, &[takes(5), takes(5)]),
            Some(1),
            "that has most of the log comes first"
        );
        assert_eq!(chosen(300, &[]), None);
    }

    #[test]
    fn a_disk_within_the_limit_is_not_slow_however_fast_the_others_are() {
        assert_eq!(chosen(100, &[takes(0)]), None);
        assert_eq!(chosen(101, &[takes(0)]), Some(1));
    }

    #[test]
    fn two_slow_disks_leave_it_as_it_is() {
        assert_eq!(chosen(300, &[takes(76), takes(300)]), None);
        assert_eq!(chosen(300, &[takes(75), takes(300)]), Some(1));
        assert_eq!(chosen(3_000, &[takes(300)]), Some(1), "slow is better than hanging");
    }

    #[test]
    fn nobody_who_left_it_lately_gets_it_back_nor_does_anybody_else() {
        let left = |ago_ms| FlushesAnswer {
            left_ms_ago: Some(ago_ms),
            ..FAST
        };
        assert_eq!(chosen(300, &[left(29_999)]), None);
        assert_eq!(chosen(300, &[left(29_999), FAST]), None);
        assert_eq!(chosen(300, &[left(30_000)]), Some(1));
    }

    #[test]
    fn who_has_no_room_does_not_get_it_and_who_knows_nothing_gets_it_last() {
        let full = FlushesAnswer {
            has_room: false,
            ..FAST
        };
        let idle = FlushesAnswer { took_ms: None, ..FAST };
        assert_eq!(chosen(300, &[full]), None);
        assert_eq!(chosen(300, &[full, idle, takes(20)]), Some(3));
        assert_eq!(chosen(300, &[full, idle, takes(200)]), Some(2));
    }
}
