//! Commands on their way: which may go out now, which to repeat, which wait.
//!
//! A command gets its number when it first goes out. Two rules bound what is out: at most one per lane (conversation), so
//! that order survives every retry, and numbers within [`SPAN_MAX`], so that no retry falls out of the window in which the
//! cluster remembers first answers.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use routing::ids::ConversationId;
use tokio::time::Instant;

use super::{ClientError, Reply};
use crate::gateway::protocol::{Ack, ClientFrame, ErrorFrame, FromClient};

/// Between the oldest number without an answer and the next.
pub(super) const SPAN_MAX: u64 = 48;
const _: () = assert!((SPAN_MAX as usize) < routing::limits::IDEMPOTENCY_WINDOW);

/// `None`: what is about no conversation.
type Lane = Option<ConversationId>;

#[derive(Debug)]
pub(super) struct Outbox {
    next_number: u64,
    waiting: VecDeque<(ClientFrame, Reply)>,
    out: BTreeMap<u64, Out>,
    busy: HashSet<Lane>,
}

#[derive(Debug)]
struct Out {
    frame: ClientFrame,
    reply: Reply,
    /// `None`: it is with the node.
    repeat_at: Option<Instant>,
}

impl Outbox {
    pub(super) fn new(first_number: u64) -> Self {
        Self {
            next_number: first_number.max(1),
            waiting: VecDeque::new(),
            out: BTreeMap::new(),
            busy: HashSet::new(),
        }
    }

    pub(super) fn push(&mut self, frame: ClientFrame, reply: Reply) {
        self.waiting.push_back((frame, reply));
    }

    /// A new connection: nothing is with a node any more.
    pub(super) fn reconnected(&mut self, now: Instant) {
        for out in self.out.values_mut() {
            out.repeat_at = Some(now);
        }
    }

    /// The next frame to send, if any may go now. Repeats go before what is new, in the order of their numbers.
    pub(super) fn next(&mut self, now: Instant) -> Option<FromClient> {
        let due = self
            .out
            .iter_mut()
            .find(|(_, out)| out.repeat_at.is_some_and(|at| at <= now));
        if let Some((&number, out)) = due {
            out.repeat_at = None;
            return Some(FromClient {
                id: number,
                frame: out.frame.clone(),
            });
        }
        let oldest = self.out.keys().next().copied().unwrap_or(self.next_number);
        if self.next_number - oldest >= SPAN_MAX {
            return None;
        }
        let mut passed: HashSet<Lane> = HashSet::new();
        let at = self.waiting.iter().position(|(frame, _)| {
            let lane = frame.conversation();
            !self.busy.contains(&lane) && passed.insert(lane)
        })?;
        let (mut frame, reply) = self.waiting.remove(at)?;
        let number = self.next_number;
        self.next_number += 1;
        if let Some(place) = frame.number_mut() {
            *place = number;
        }
        self.busy.insert(frame.conversation());
        self.out.insert(
            number,
            Out {
                frame: frame.clone(),
                reply,
                repeat_at: None,
            },
        );
        Some(FromClient { id: number, frame })
    }

    /// When the next repeat is due.
    pub(super) fn repeat_at(&self) -> Option<Instant> {
        self.out.values().filter_map(|out| out.repeat_at).min()
    }

    /// An acknowledgement. Gives the frame that it is for.
    pub(super) fn acknowledged(&mut self, ack: Ack) -> Option<ClientFrame> {
        let out = self.out.remove(&ack.id)?;
        self.busy.remove(&out.frame.conversation());
        out.reply.settle(Ok(ack));
        Some(out.frame)
    }

    /// A refusal. `true`: it was for a command of ours.
    pub(super) fn refused(&mut self, error: &ErrorFrame, now: Instant) -> bool {
        let Some(id) = error.id else { return false };
        if let Some(after_ms) = error.retry_after_ms {
            let Some(out) = self.out.get_mut(&id) else { return false };
            out.repeat_at = Some(now + Duration::from_millis(after_ms));
            return true;
        }
        let Some(out) = self.out.remove(&id) else { return false };
        self.busy.remove(&out.frame.conversation());
        out.reply.settle(Err(ClientError::Refused {
            code: error.code.clone(),
            detail: error.detail.clone(),
        }));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gateway::protocol::Text;

    fn push(outbox: &mut Outbox, conversation: u128) -> super::super::PendingAck {
        let (to, receiver) = tokio::sync::oneshot::channel();
        let waiting = Arc::new(std::sync::atomic::AtomicUsize::new(1));
        let frame = ClientFrame::Message {
            number: 0,
            conversation: ConversationId(conversation),
            body: Text::plain("x"),
            epoch: None,
        };
        outbox.push(frame, Reply { to: Some(to), waiting });
        super::super::PendingAck(receiver)
    }

    fn sent(outbox: &mut Outbox, now: Instant) -> Vec<(u64, u128)> {
        std::iter::from_fn(|| outbox.next(now))
            .map(|f| (f.id, f.frame.conversation().unwrap().0))
            .collect()
    }

    fn ack(id: u64) -> Ack {
        Ack { id, ..Ack::default() }
    }

    #[tokio::test]
    async fn one_at_a_time_per_conversation_and_others_pass() {
        let now = Instant::now();
        let mut outbox = Outbox::new(1);
        let first = push(&mut outbox, 1);
        let (_b, _c) = (push(&mut outbox, 1), push(&mut outbox, 2));
        assert_eq!(sent(&mut outbox, now), [(1, 1), (2, 2)]);
        assert!(outbox.acknowledged(ack(1)).is_some());
        assert_eq!(first.await.unwrap().id, 1);
        assert_eq!(sent(&mut outbox, now), [(3, 1)]);
    }

    #[tokio::test]
    async fn what_has_no_answer_is_repeated_with_its_number() {
        let now = Instant::now();
        let mut outbox = Outbox::new(7);
        let _pending: Vec<_> = (0..3).map(|n| push(&mut outbox, n)).collect();
        assert_eq!(sent(&mut outbox, now), [(7, 0), (8, 1), (9, 2)]);
        outbox.acknowledged(ack(8));
        outbox.reconnected(now);
        assert_eq!(sent(&mut outbox, now), [(7, 0), (9, 2)]);
        let again = ErrorFrame {
            id: Some(9),
            code: "no_leader".into(),
            detail: String::new(),
            retry_after_ms: Some(50),
        };
        assert!(outbox.refused(&again, now));
        assert_eq!(sent(&mut outbox, now), []);
        let then = outbox.repeat_at().unwrap();
        assert_eq!(sent(&mut outbox, then), [(9, 2)]);
    }

    #[tokio::test]
    async fn numbers_stay_within_the_window_of_the_oldest() {
        let now = Instant::now();
        let mut outbox = Outbox::new(1);
        let _pending: Vec<_> = (0..200).map(|n| push(&mut outbox, n)).collect();
        assert_eq!(sent(&mut outbox, now).len() as u64, SPAN_MAX);
        (2..=SPAN_MAX).for_each(|n| drop(outbox.acknowledged(ack(n))));
        assert_eq!(sent(&mut outbox, now), [], "number 1 has no answer yet");
        outbox.acknowledged(ack(1));
        assert_eq!(sent(&mut outbox, now).len() as u64, SPAN_MAX);
    }

    #[tokio::test]
    async fn a_refusal_settles_and_frees_the_lane() {
        let now = Instant::now();
        let mut outbox = Outbox::new(1);
        let (refused, _next) = (push(&mut outbox, 1), push(&mut outbox, 1));
        assert_eq!(sent(&mut outbox, now), [(1, 1)]);
        let error = ErrorFrame {
            id: Some(1),
            code: "wrong_state".into(),
            detail: "closed".into(),
            retry_after_ms: None,
        };
        assert!(outbox.refused(&error, now));
        assert!(matches!(refused.await, Err(ClientError::Refused { code, .. }) if code == "wrong_state"));
        assert_eq!(sent(&mut outbox, now), [(2, 1)]);
    }
}
