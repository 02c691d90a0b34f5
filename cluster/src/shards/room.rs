//! The room on the disk of the data folder. A node that has little left leads only when nobody else can: it hands
//! leadership over, stands for election last, and, when it leads all the same, refuses what clients want to add. It still
//! follows, votes and answers reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use metrics::gauge;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{HAND_OVER_DEADLINE, Inner};
use crate::limits::{DISK_LOOK_EVERY, DISK_LOW_MAX_BYTES, DISK_LOW_MIN_BYTES, DISK_LOW_PART, DISK_LOW_STANDS_AFTER};
use crate::raft::frames::kind;
use crate::shard::{HandOver, Replica};
use crate::state_machine::ShardId;
use crate::transport::NodeId;

/// A file system, as far as this process may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    free_bytes: u64,
    total_bytes: u64,
}

impl Room {
    fn of(folder: &Path) -> std::io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        Ok(Self {
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    /// Little is left; `was_low` asks for half as much again, so that nothing swings.
    fn is_low(self, was_low: bool) -> bool {
        let mark = (self.total_bytes / DISK_LOW_PART).clamp(DISK_LOW_MIN_BYTES, DISK_LOW_MAX_BYTES);
        self.free_bytes < if was_low { mark + mark / 2 } else { mark }
    }
}

/// Looks every [`DISK_LOOK_EVERY`], until `stop`.
pub(super) async fn watch(inner: Arc<Inner>, folder: PathBuf, stop: CancellationToken) {
    let mut leaderless: Vec<(ShardId, Instant)> = Vec::new();
    loop {
        let looked = {
            let folder = folder.clone();
            inner.blocking.run(move || Room::of(&folder)).await
        };
        match looked.and_then(|room| room) {
            Ok(room) => inner.note_room(room),
            Err(error) => tracing::warn!(%error, "the room on the disk is not known"),
        }
        inner.let_stand(&mut leaderless);
        inner.leave_or_refuse().await;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DISK_LOOK_EVERY) => {}
        }
    }
}

impl Inner {
    fn note_room(&self, room: Room) {
        gauge!("kaiwa_storage_free_bytes").set(room.free_bytes as f64);
        let was_low = self.disk_low.load(Ordering::Relaxed);
        let is_low = room.is_low(was_low);
        self.disk_low.store(is_low, Ordering::Relaxed);
        match (was_low, is_low) {
            (false, true) => tracing::error!(free_bytes = room.free_bytes, "the disk is nearly full"),
            (true, false) => tracing::info!(free_bytes = room.free_bytes, "there is room on the disk again"),
            _ => {}
        }
    }

    /// With little room a replica stands for election only when nobody else has led for a while.
    fn let_stand(&self, leaderless: &mut Vec<(ShardId, Instant)>) {
        let is_low = self.disk_low.load(Ordering::Relaxed);
        let replicas = self.replicas();
        leaderless.retain(|(shard, _)| {
            let led = |replica: &Arc<Replica>| replica.shard == *shard && replica.leader().is_some();
            !replicas.iter().any(led)
        });
        for replica in replicas {
            if replica.leader().is_none() && leaderless.iter().all(|(shard, _)| *shard != replica.shard) {
                leaderless.push((replica.shard, Instant::now()));
            }
            let since = leaderless.iter().find(|(shard, _)| *shard == replica.shard);
            let long = since.is_some_and(|(_, since)| since.elapsed() >= DISK_LOW_STANDS_AFTER);
            replica.raft.runtime_config().elect(!is_low || long);
        }
    }

    /// Hands over what this node leads without room for it. What nobody with room can take takes no commands of clients.
    async fn leave_or_refuse(&self) {
        let is_low = self.disk_low.load(Ordering::Relaxed);
        for replica in self.replicas() {
            let mut refuses = is_low && replica.leader() == Some(self.node);
            if refuses && let Some(to) = self.successor_with_room(&replica).await {
                tracing::warn!(shard = %replica.shard, %to, "the disk is nearly full: leadership is handed over");
                refuses = !replica
                    .hand_over(to, HandOver::NoRoom, Instant::now() + HAND_OVER_DEADLINE)
                    .await;
            }
            let refused = replica.refuses_clients.swap(refuses, Ordering::Relaxed);
            if refuses && !refused {
                tracing::error!(shard = %replica.shard, "the disk is nearly full and nobody else can lead: commands of clients are refused");
            }
        }
    }

    async fn successor_with_room(&self, replica: &Replica) -> Option<NodeId> {
        let answers = self.ask_successors::<bool>(replica, kind::ROOM).await;
        answers
            .into_iter()
            .find(|&(_, has_room)| has_room)
            .map(|(peer, _)| peer)
    }

    /// Asks all who might lead next; those that answer, in the order of [`Replica::successors`].
    pub(super) async fn ask_successors<T: DeserializeOwned>(&self, replica: &Replica, kind: u16) -> Vec<(NodeId, T)> {
        let asked = replica.successors().into_iter().map(|peer| async move {
            let answer = self.ask_peer(peer, replica.shard, kind, Duration::from_secs(1)).await?;
            Some((peer, answer))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn low(free_bytes: u64, total_bytes: u64, was_low: bool) -> bool {
        Room {
            free_bytes,
            total_bytes,
        }
        .is_low(was_low)
    }

    #[test]
    fn low_is_a_part_of_the_disk_within_bounds() {
        // Small: at least so many bytes.
        assert!(low((64 << 20) - 1, 256 << 20, false));
        assert!(!low(64 << 20, 256 << 20, false));
        // Usual: a hundredth.
        assert!(low((50 << 30) / 100 - 1, 50 << 30, false));
        assert!(!low((50 << 30) / 100, 50 << 30, false));
        // Large: a hundredth would be more than this program writes in a week.
        assert!(low((1 << 30) - 1, 10 << 40, false));
        assert!(!low(1 << 30, 10 << 40, false));
    }

    #[test]
    fn it_is_left_later_than_it_is_entered() {
        assert!(!low(80 << 20, 256 << 20, false));
        assert!(low(80 << 20, 256 << 20, true));
        assert!(!low(96 << 20, 256 << 20, true));
    }

    #[test]
    fn a_folder_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::of(folder.path()).unwrap();
        assert!(room.free_bytes > 0 && room.free_bytes <= room.total_bytes, "{room:?}");
        assert!(Room::of(&folder.path().join("none")).is_err());
    }
}
