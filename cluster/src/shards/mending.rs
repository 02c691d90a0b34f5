//! What becomes of replicas whose raft core ended by itself.
//!
//! ```text
//!   no room              ──► closed ──► there is room ──► rows, then replicas, opened again as after a crash
//!   any other failure    ──► the node stops: what is on its disk is known only when everything is read again
//!   no failure at all    ──► a fault of this program: the node goes on without the replica, and says so
//! ```
//!
//! The rows are one store for all replicas. When they failed, rows that were in memory are gone, and every replica must
//! apply its log again from its last snapshot: all are closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Inner;
use crate::error::StartError;
use crate::limits::{MEND_PAUSE_MAX, MEND_PAUSE_MIN};
use crate::raft::frames::ReadAnswer;
use crate::raft::trouble::Cause;
use crate::shard::Replica;
use crate::status::Role;
use crate::storage::is_full;

/// Between two looks while something is closed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// For asking another node who leads.
const ASK_DEADLINE: Duration = Duration::from_secs(1);

/// Mends or gives up, until `stop`.
pub(super) async fn mend(inner: Arc<Inner>, stop: CancellationToken) {
    let mut pause = MEND_PAUSE_MIN;
    let mut tried = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = inner.ended.notified() => {}
        }
        let mut why = inner.close_ended().await;
        if tried.elapsed() > 2 * MEND_PAUSE_MAX {
            pause = MEND_PAUSE_MIN;
        }
        while why.is_none() && inner.waits_for_room() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            inner.learn_leaders().await;
            if inner.disk_low.load(Ordering::Relaxed) {
                pause = MEND_PAUSE_MIN;
            } else if tried.elapsed() >= pause {
                // A file system may have other bounds than the one that is watched, so that it fails again at once.
                pause = (2 * pause).min(MEND_PAUSE_MAX);
                tried = Instant::now();
                why = match inner.close_ended().await {
                    None => inner.open_closed().await.err(),
                    broken => broken,
                };
            }
        }
        if let Some(why) = why {
            tracing::error!(
                why,
                "storage has failed: this node must stop, and read again what is on its disk"
            );
            inner.broken.send_replace(Some(why));
            return;
        }
    }
}

impl Inner {
    fn waits_for_room(&self) -> bool {
        !self.closed.lock().is_empty()
    }

    /// Closes what ended for want of room. Tells why the node must stop, if it must.
    async fn close_ended(&self) -> Option<String> {
        let mut ended = Vec::new();
        for replica in self.replicas() {
            match replica.trouble.cause() {
                Some(Cause::Full) if replica.has_ended() => ended.push(replica),
                Some(Cause::Broken(why)) if replica.has_ended() => {
                    return Some(format!("shard {}: {why}", replica.shard));
                }
                _ => {}
            }
        }
        match self.rows.check() {
            Err(error) if is_full(&error) => ended = self.replicas(),
            Err(error) => return Some(format!("rows: {error}")),
            Ok(()) => {}
        }
        for replica in ended {
            self.close(&replica).await;
        }
        None
    }

    async fn close(&self, replica: &Replica) {
        tracing::error!(shard = %replica.shard, "no room on the disk: the replica is closed until there is some");
        let status = crate::status::ShardStatus {
            role: Role::Stopped,
            leader: None,
            ..replica.status()
        };
        self.closed.lock().insert(replica.shard, status);
        self.replicas.write().remove(&replica.shard);
        replica.stop().await;
    }

    /// Who leads what is closed here: the others know. Clients of this node are served by way of them.
    async fn learn_leaders(self: &Arc<Self>) {
        let closed: Vec<_> = self.closed.lock().keys().copied().collect();
        let nodes = self.identity.get().map(|known| known.nodes).unwrap_or_default();
        let others: Vec<_> = nodes.into_keys().filter(|&node| node != self.node).collect();
        for shard in closed {
            let deadline = Instant::now() + ASK_DEADLINE;
            let asked = others.iter().map(|&node| async move {
                match self.read_once(node, shard, deadline).await {
                    ReadAnswer::Index(_) => Some(node),
                    ReadAnswer::NotLeader(leader) => leader.filter(|&leader| leader != self.node),
                }
            });
            let leader = join_all(asked).await.into_iter().flatten().next();
            if let Some(leadership) = self.leaderships.lock().get(&shard) {
                leadership.send_if_modified(|now| std::mem::replace(&mut now.leader, leader) != leader);
            }
        }
    }

    /// Opens what is closed; what finds no room again stays closed. Fails when the node must stop.
    async fn open_closed(&self) -> Result<(), String> {
        let rows = self.rows.clone();
        let reopened = self.blocking.run(move || rows.reopen()).await;
        match reopened.and_then(|reopened| reopened) {
            Ok(()) => {}
            Err(error) if may_pass(&error) => {
                tracing::warn!(%error, "the rows cannot be opened again yet");
                return Ok(());
            }
            Err(error) => return Err(format!("rows: {error}")),
        }
        let closed: Vec<_> = self.closed.lock().keys().copied().collect();
        for shard in closed {
            match self.open(shard).await {
                Ok(()) => {
                    tracing::info!(%shard, "there is room again: the replica is open");
                    self.closed.lock().remove(&shard);
                }
                Err(StartError::Storage(error)) if may_pass(&error) => {
                    tracing::warn!(%shard, %error, "the replica cannot be opened again yet");
                }
                Err(error) => return Err(format!("shard {shard}: {error}")),
            }
        }
        Ok(())
    }
}

/// No room, or somebody who still holds the files of before.
fn may_pass(error: &io::Error) -> bool {
    is_full(error) || error.kind() == io::ErrorKind::ResourceBusy
}
