//! Bounded ways in. ractor's mailboxes have no bound and no length: every sender goes through a [`Mailbox`], which
//! counts, measures and, when full, says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ractor::ActorRef;

use crate::limits::MAILBOX_MAX;

/// A place in a mailbox, free again when dropped.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message and its place.
#[derive(Debug)]
pub struct Posted<M> {
    message: M,
    posted_at: Instant,
    _place: Place,
}

impl<M> Posted<M> {
    /// Takes the message out: its place is free, and how long it waited is noted.
    pub fn open(self, actor_type: &'static str) -> M {
        crate::metrics::actor_mailbox_wait(actor_type, self.posted_at.elapsed());
        self.message
    }
}

/// A way into an actor. A cheap clone.
pub struct Mailbox<M: Send + 'static> {
    actor: ActorRef<Posted<M>>,
    actor_type: &'static str,
    depth: Arc<AtomicUsize>,
    limit: usize,
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            actor: self.actor.clone(),
            actor_type: self.actor_type,
            depth: self.depth.clone(),
            limit: self.limit,
        }
    }
}

/// Why a message was not taken; it was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPosted {
    /// The mailbox is at its bound.
    #[error("the mailbox is full")]
    Full,
    /// The actor is no longer there.
    #[error("the actor has ended")]
    Ended,
}

impl<M: Send + 'static> Mailbox<M> {
    /// The way into `actor`.
    pub fn new(actor: ActorRef<Posted<M>>, actor_type: &'static str) -> Self {
        Self {
            actor,
            actor_type,
            depth: Arc::default(),
            limit: MAILBOX_MAX,
        }
    }

    /// Sends a message, unless the mailbox is full.
    pub fn post(&self, message: M) -> Result<(), NotPosted> {
        let waiting = self.depth.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.depth.clone());
        if waiting >= self.limit {
            crate::metrics::actor_mailbox_rejected(self.actor_type);
            return Err(NotPosted::Full);
        }
        self.actor
            .cast(Posted {
                message,
                posted_at: Instant::now(),
                _place: place,
            })
            .map_err(|_| NotPosted::Ended)
    }

    /// Messages that wait.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// The actor itself.
    pub fn actor(&self) -> &ActorRef<Posted<M>> {
        &self.actor
    }
}
