//! What customers bring with them whatever the policy does: how much work they are and how long they would have waited.
//!
//! Both are known of some and must be drawn for the others: of who was answered, how long they would have waited at most; of who
//! left, how much work they would have been. Draws follow from the conversation's id, so that every policy meets the same people.
//!
//! Patience is estimated by Kaplan and Meier (1958), since those who were answered are censored; a draw for one of them
//! is conditional on having waited as long as they did.

use std::collections::BTreeMap;

use routing::event::CloseOutcome;
use routing::ids::{ConversationId, Millis, QueueId};
use routing::numbers::Numbers;

use super::trace::TracedConversation;

/// A queue with fewer abandonments than this is drawn from all queues together.
const ENOUGH: usize = 20;

/// How one conversation's customer would behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// Work, in milliseconds.
    pub service_ms: u64,
    /// Longest wait in milliseconds; `None`: nobody of the trace was seen to lose patience so late.
    pub patience_ms: Option<u64>,
}

/// The people of a trace.
#[derive(Debug)]
pub struct People {
    all: Sample,
    by_queue: BTreeMap<QueueId, Sample>,
}

#[derive(Debug, Default)]
struct Sample {
    /// Ascending.
    served_ms: Vec<u64>,
    /// (wait, left), ascending.
    waits: Vec<(u64, bool)>,
    survival: Vec<(u64, f64)>,
}

impl People {
    /// What the conversations of a trace tell.
    pub fn of(conversations: &[TracedConversation]) -> Self {
        let mut people = Self {
            all: Sample::default(),
            by_queue: BTreeMap::new(),
        };
        for conversation in conversations {
            people.all.add(conversation);
            if let Some(queue) = conversation.entered {
                people.by_queue.entry(queue).or_default().add(conversation);
            }
        }
        people.by_queue.values_mut().for_each(Sample::finish);
        people.all.finish();
        people
    }

    /// The person of one conversation.
    pub fn person(&self, of: &TracedConversation) -> Person {
        let own = of.entered.and_then(|queue| self.by_queue.get(&queue));
        let left = |sample: &&Sample| sample.waits.iter().filter(|(_, left)| *left).count() >= ENOUGH;
        let served = |sample: &&Sample| sample.served_ms.len() >= ENOUGH;
        let service_ms = match of.answered_at_ms {
            Some(_) => of.served_ms,
            None => own
                .filter(served)
                .unwrap_or(&self.all)
                .service_ms(draw(of.conversation, 1)),
        };
        let patience_ms = match (wait_ms(of), has_left(of)) {
            (Some(waited_ms), true) => Some(waited_ms),
            (Some(waited_ms), false) => own
                .filter(left)
                .unwrap_or(&self.all)
                .patience_ms(waited_ms, draw(of.conversation, 2)),
            (None, _) => None,
        };
        Person {
            service_ms,
            patience_ms,
        }
    }
}

impl Sample {
    fn add(&mut self, of: &TracedConversation) {
        if of.answered_at_ms.is_some() {
            self.served_ms.push(of.served_ms);
        }
        if let Some(waited_ms) = wait_ms(of) {
            self.waits.push((waited_ms, has_left(of)));
        }
    }

    fn finish(&mut self) {
        self.served_ms.sort_unstable();
        // At equal times those who left come first: the others were still there when they did.
        self.waits.sort_unstable_by_key(|(waited_ms, left)| (*waited_ms, !left));
        let (mut survival, mut at_risk) = (1.0, self.waits.len());
        for (waited_ms, left) in &self.waits {
            if *left {
                survival *= 1.0 - 1.0 / at_risk as f64;
                self.survival.push((*waited_ms, survival));
            }
            at_risk -= 1;
        }
    }

    fn service_ms(&self, u: f64) -> u64 {
        let at = (u * self.served_ms.len() as f64) as usize;
        self.served_ms.get(at).copied().unwrap_or(0)
    }

    /// The smallest time at which the share of those who wait on, of those who waited so long, falls to `u`.
    fn patience_ms(&self, waited_ms: u64, u: f64) -> Option<u64> {
        let after = self.survival.partition_point(|(at_ms, _)| *at_ms <= waited_ms);
        let now = after.checked_sub(1).map_or(1.0, |before| self.survival[before].1);
        let later = self.survival[after..].iter().find(|(_, survival)| *survival <= u * now);
        later.map(|(at_ms, _)| *at_ms)
    }
}

/// What became of somebody who came, as the reports count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Met an agent, whatever came after it.
    Answered,
    /// Left before.
    Left,
    /// Closed, refused or taken offline before.
    TurnedAway,
}

impl Fate {
    /// Of a conversation that has ended.
    pub fn of(answered_at_ms: Option<Millis>, outcome: Option<CloseOutcome>) -> Self {
        match (answered_at_ms, outcome) {
            (Some(_), _) => Self::Answered,
            (None, Some(CloseOutcome::Abandoned | CloseOutcome::ShortAbandoned)) => Self::Left,
            (None, _) => Self::TurnedAway,
        }
    }
}

/// Whether patience ended with the wait: who was silently gone when the agent came counts as answered, but had left.
fn has_left(of: &TracedConversation) -> bool {
    Fate::of(of.answered_at_ms, of.outcome) == Fate::Left || of.outcome == Some(CloseOutcome::SilentAbandoned)
}

/// How long somebody waited, until they were answered or left; `None` when they never waited (refused, taken offline).
pub fn wait_ms(of: &TracedConversation) -> Option<u64> {
    let until_ms = match (of.answered_at_ms, of.outcome) {
        (Some(answered_at_ms), _) => answered_at_ms,
        (None, Some(CloseOutcome::Offline)) | (None, None) => return None,
        (None, Some(_)) => of.ended_at_ms?,
    };
    Some(until_ms.saturating_sub(of.started_at_ms))
}

/// In [0, 1), from the id alone.
fn draw(conversation: ConversationId, stream: u64) -> f64 {
    (seed(conversation, stream) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number that follows from the id alone; the streams are few: `stream` counts along one line of numbers.
fn seed(conversation: ConversationId, stream: u64) -> u64 {
    let mut numbers = Numbers::new(conversation.0 as u64 ^ (conversation.0 >> 64) as u64);
    for _ in 0..stream {
        numbers.draw();
    }
    numbers.draw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::ids::Channel;

    fn conversation(n: u128, waited_ms: u64, left: bool) -> TracedConversation {
        TracedConversation {
            conversation: ConversationId(n),
            channel: Channel("chat".to_owned()),
            started_at_ms: 1_000,
            rule: None,
            entered: Some(QueueId(1)),
            priority: 5,
            required: Vec::new(),
            preferred: Vec::new(),
            selectors: Vec::new(),
            attributes: BTreeMap::new(),
            answered_at_ms: (!left).then_some(1_000 + waited_ms),
            ended_at_ms: Some(1_000 + waited_ms + 500),
            outcome: Some(if left {
                CloseOutcome::Abandoned
            } else {
                CloseOutcome::Answered
            }),
            served_ms: if left { 0 } else { 500 },
        }
    }

    #[test]
    fn survival_counts_the_censored_as_kaplan_and_meier_do() {
        // Of six, at 1: one leaves (5/6); at 2: one is answered; at 3: one of four leaves (× 3/4); at 4: answered; at 5: one of
        // two leaves (× 1/2); at 6 answered.
        let mut sample = Sample::default();
        let mut leaving = conversation(1, 1, true);
        leaving.ended_at_ms = Some(1_001);
        sample.add(&leaving);
        for (waited, left) in [(2, false), (3, true), (4, false), (5, true), (6, false)] {
            let mut one = conversation(2, waited, left);
            if left {
                one.ended_at_ms = Some(1_000 + waited);
            }
            sample.add(&one);
        }
        sample.finish();
        let expected = [(1, 5.0 / 6.0), (3, 5.0 / 8.0), (5, 5.0 / 16.0)];
        for (is, wanted) in sample.survival.iter().zip(expected) {
            assert_eq!(is.0, wanted.0);
            assert!((is.1 - wanted.1).abs() < 1e-12, "{is:?} is not {wanted:?}");
        }
        // Who was answered at 4 loses patience at 5 in half of the cases, and was never seen to otherwise.
        assert_eq!(sample.patience_ms(4, 0.6), Some(5));
        assert_eq!(sample.patience_ms(4, 0.4), None);
    }

    #[test]
    fn who_was_silently_gone_is_answered_and_has_lost_patience() {
        let mut silent = conversation(1, 10, false);
        assert!(!has_left(&silent));
        silent.outcome = Some(CloseOutcome::SilentAbandoned);
        assert!(has_left(&silent));
        assert_eq!(Fate::of(silent.answered_at_ms, silent.outcome), Fate::Answered);
        assert_eq!(Fate::of(None, Some(CloseOutcome::ShortAbandoned)), Fate::Left);
        assert_eq!(Fate::of(None, Some(CloseOutcome::Cancelled)), Fate::TurnedAway);
        assert_eq!(Fate::of(None, None), Fate::TurnedAway);
    }

    #[test]
    fn people_are_the_same_each_time_and_keep_what_is_known() {
        let mut all: Vec<_> = (0..50).map(|n| conversation(n, 10 + n as u64, n % 2 == 0)).collect();
        for one in &mut all {
            if one.answered_at_ms.is_none() {
                one.ended_at_ms = Some(one.started_at_ms + 10 + one.conversation.0 as u64);
            }
        }
        let people = People::of(&all);
        for one in &all {
            let person = people.person(one);
            assert_eq!(person, people.person(one));
            assert_eq!(person.service_ms, 500);
            let waited = 10 + one.conversation.0 as u64;
            match one.answered_at_ms {
                None => assert_eq!(person.patience_ms, Some(waited)),
                Some(_) => assert!(person.patience_ms.is_none_or(|patience| patience > waited)),
            }
        }
    }
}
