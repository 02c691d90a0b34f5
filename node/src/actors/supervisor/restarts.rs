//! What failed is started again, but not without end: then another node shall lead.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorProcessingErr};
use tokio::task::JoinHandle;

use super::court::Child;
use super::{
    ACTOR_TYPE, ShardSupervisor, Supervising, SupervisorMessage, post_when_room, pump_events, pump_leadership,
};
use crate::actors::feed::Fed;
use crate::actors::mailbox::Mailbox;
use crate::actors::{agent, conversation, queue_manager};
use crate::calls::Followed;

/// Restarts of children within [`RESTART_WINDOW`] before the shard is handed over.
const RESTARTS_MAX: usize = 10;
/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Past [`RESTARTS_MAX`], and after a child that did not even start, so long goes by before the next start.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// Failures within [`RESTART_WINDOW`].
#[derive(Default)]
pub(super) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Notes a failure; false as long as there were too many of them.
    fn may_restart(&mut self) -> bool {
        let now = Instant::now();
        self.0.retain(|at| now.duration_since(*at) < RESTART_WINDOW);
        self.0.push_back(now);
        self.0.len() <= RESTARTS_MAX
    }
}

impl ShardSupervisor {
    /// Runs the supervisor, the watch of leadership and the pump of events, as long as the node lives; `started` gets each
    /// way in. A supervisor that fails takes its children with it and is started again, from the state; when it fails
    /// again and again, another node shall lead.
    pub async fn run(self, started: impl Fn(Mailbox<SupervisorMessage>)) {
        let mut restarts = Restarts::default();
        loop {
            match Actor::spawn(None, self.clone(), ()).await {
                Ok((actor, ended)) => {
                    let mailbox = Mailbox::new(actor, ACTOR_TYPE);
                    started(mailbox.clone());
                    let pumps = [
                        tokio::spawn(pump_events(self.feed.clone(), mailbox.clone())),
                        tokio::spawn(pump_leadership(self.shards.clone(), self.shard, mailbox)),
                    ];
                    // How it ended the actor has told.
                    let _ = ended.await;
                    pumps.iter().for_each(JoinHandle::abort);
                }
                Err(error) => tracing::error!(shard = %self.shard, %error, "the supervisor of a shard did not start"),
            }
            tracing::error!(shard = %self.shard, "the supervisor of a shard failed: it starts again, from the state");
            crate::metrics::actor_restart(ACTOR_TYPE, "failed");
            if !restarts.may_restart() {
                tracing::error!(shard = %self.shard, "the supervisor fails again and again: another node shall lead");
                self.hand_over();
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        }
    }

    pub(super) async fn child_failed(&self, cell: &ActorCell, error: &ActorProcessingErr, state: &mut Supervising) {
        let Some(court) = &mut state.court else { return };
        // One of a reign before counts as well: what fails at every start must not be started without end.
        let child = court.children.remove(&cell.get_id());
        let actor_type = match child {
            Some(Child::QueueManager(_)) => queue_manager::ACTOR_TYPE,
            Some(Child::Followed(_, Followed::Conversation(_))) => conversation::ACTOR_TYPE,
            Some(Child::Followed(_, Followed::Agent(_))) => agent::ACTOR_TYPE,
            None => "former",
        };
        tracing::error!(shard = %self.shard, actor_type, %error, "an actor failed");
        crate::metrics::actor_restart(actor_type, "failed");
        if !state.restarts.may_restart() {
            tracing::error!(shard = %self.shard, "actors fail again and again: another node shall lead");
            self.hand_over();
            // In case that nobody takes over.
            self.start_again_later(&state.myself);
            return;
        }
        match child {
            Some(Child::QueueManager(tenant)) => self.start_queue_manager(tenant, state).await,
            Some(Child::Followed(tenant, followed)) => {
                court.forget_actor(tenant, followed);
                self.start_followed(tenant, followed, state).await;
            }
            None => {}
        }
    }

    /// Begins the reign anew after a pause, if it still lasts.
    pub(super) fn start_again_later(&self, myself: &Mailbox<SupervisorMessage>) {
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(RESTART_PAUSE).await;
            post_when_room(&myself, SupervisorMessage::Fed(Fed::StartAgain)).await;
        });
    }

    fn hand_over(&self) {
        let (shards, shard) = (self.shards.clone(), self.shard);
        tokio::spawn(async move {
            let status = shards.status();
            let others = status
                .shards
                .iter()
                .find(|s| s.shard == shard)
                .map(|s| s.voters.clone())
                .unwrap_or_default();
            if let Some(to) = others.into_iter().find(|n| *n != shards.node())
                && let Err(error) = shards.transfer_leader(shard, to).await
            {
                tracing::warn!(%shard, %error, "leadership was not handed over");
            }
        });
    }
}
