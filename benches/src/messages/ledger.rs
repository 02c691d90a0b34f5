//! What became of every message: latencies from the intended time of sending, and what went wrong.
//!
//! A message is settled when it is refused, or acknowledged and seen by both sides of its conversation.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::run::record::{histogram, took};

/// The two ends of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who started it.
    Customer,
    /// Who owns it.
    Agent,
}

/// Which message: of a sender (conversation × 2, + 1 for the agent), from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// Who sent it.
    pub sender: usize,
    /// How many that sender had sent before.
    pub number: usize,
}

impl MessageId {
    /// The side that sent it.
    pub fn side(self) -> Side {
        if self.sender.is_multiple_of(2) {
            Side::Customer
        } else {
            Side::Agent
        }
    }
}

/// Times of one run, microseconds from its start.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Messages that were meant to be sent earlier are not measured.
    pub from_us: u64,
    /// The schedule's end.
    pub until_us: u64,
}

/// The account of one run.
pub struct Ledger {
    window: Window,
    senders: Vec<Sender>,
    open: usize,
    sent: u64,
    acknowledged: u64,
    acknowledged_in_window: u64,
    duplicated: u64,
    misordered: u64,
    refused: BTreeMap<String, u64>,
    /// Of the last acknowledgement in the window, and the longest time without one.
    last_ack_us: u64,
    quiet_us: u64,
    ack_us: Histogram<u64>,
    delivery_us: Histogram<u64>,
    lag_us: Histogram<u64>,
}

#[derive(Default)]
struct Sender {
    messages: Vec<Message>,
    /// Highest number that each reader has seen.
    newest: [Option<usize>; 2],
}

#[derive(Default)]
struct Message {
    intended_us: u64,
    /// Place in the conversation, as first told.
    seq: Option<u64>,
    acknowledged: bool,
    refused: bool,
    seen: [bool; 2],
}

impl Message {
    fn settled(&self) -> bool {
        self.refused || (self.acknowledged && self.seen == [true; 2])
    }
}

/// What must not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Acknowledged, and not seen by both sides.
    pub lost: u64,
    /// Seen again by the same side.
    pub duplicated: u64,
    /// Seen after a later one of the same sender, or at another place than the other side or the acknowledgement says.
    pub misordered: u64,
    /// Neither acknowledged nor refused.
    pub unanswered: u64,
}

impl Faults {
    /// None at all.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

/// Latency and counts of a run.
pub struct Outcome {
    /// Messages that were sent, warm-up included.
    pub sent: u64,
    /// Acknowledged, warm-up included.
    pub acknowledged: u64,
    /// Acknowledgements that came within the measured window, per second.
    pub throughput: f64,
    /// The longest time within the measured window in which nothing was acknowledged, µs.
    pub quiet_us: u64,
    /// What must not happen.
    pub faults: Faults,
    /// Refused messages, by code.
    pub refused: BTreeMap<String, u64>,
    /// Intended sending to acknowledgement, µs.
    pub ack_us: Histogram<u64>,
    /// Intended sending to the other side's client, µs.
    pub delivery_us: Histogram<u64>,
    /// Intended to actual sending, µs.
    pub lag_us: Histogram<u64>,
}

impl Ledger {
    /// Empty.
    pub fn new(conversations: usize, window: Window) -> Self {
        Self {
            window,
            senders: (0..conversations * 2).map(|_| Sender::default()).collect(),
            open: 0,
            sent: 0,
            acknowledged: 0,
            acknowledged_in_window: 0,
            duplicated: 0,
            misordered: 0,
            refused: BTreeMap::new(),
            last_ack_us: window.from_us,
            quiet_us: 0,
            ack_us: histogram(),
            delivery_us: histogram(),
            lag_us: histogram(),
        }
    }

    /// A message goes out; its number follows on the sender's last.
    pub fn sent(&mut self, sender: usize, intended_us: u64, now_us: u64) -> MessageId {
        let messages = &mut self.senders[sender].messages;
        let id = MessageId {
            sender,
            number: messages.len(),
        };
        messages.push(Message {
            intended_us,
            ..Message::default()
        });
        self.sent += 1;
        self.open += 1;
        if intended_us >= self.window.from_us {
            took(&mut self.lag_us, now_us.saturating_sub(intended_us));
        }
        id
    }

    /// Its acknowledgement came.
    pub fn acknowledged(&mut self, id: MessageId, seq: u64, now_us: u64) {
        self.acknowledged += 1;
        if (self.window.from_us..self.window.until_us).contains(&now_us) {
            self.acknowledged_in_window += 1;
            self.quiet_us = self.quiet_us.max(now_us.saturating_sub(self.last_ack_us));
            self.last_ack_us = now_us;
        }
        let message = &mut self.senders[id.sender].messages[id.number];
        if message.intended_us >= self.window.from_us {
            took(&mut self.ack_us, now_us.saturating_sub(message.intended_us));
        }
        message.acknowledged = true;
        self.misordered += u64::from(*message.seq.get_or_insert(seq) != seq);
        self.open -= usize::from(message.settled());
    }

    /// It was refused.
    pub fn refused(&mut self, id: MessageId, code: String) {
        let message = &mut self.senders[id.sender].messages[id.number];
        message.refused = true;
        self.open -= 1;
        *self.refused.entry(code).or_default() += 1;
    }

    /// A client of one side was given it. `false`: there is no such message.
    pub fn seen(&mut self, id: MessageId, by: Side, seq: u64, now_us: u64) -> bool {
        let Some(sender) = self.senders.get_mut(id.sender) else {
            return false;
        };
        let Some(message) = sender.messages.get_mut(id.number) else {
            return false;
        };
        let reader = by as usize;
        if message.seen[reader] {
            self.duplicated += 1;
            return true;
        }
        let was_settled = message.settled();
        message.seen[reader] = true;
        let early = sender.newest[reader].is_some_and(|newest| newest > id.number);
        let elsewhere = *message.seq.get_or_insert(seq) != seq;
        self.misordered += u64::from(early || elsewhere);
        sender.newest[reader] = sender.newest[reader].max(Some(id.number));
        if by != id.side() && message.intended_us >= self.window.from_us {
            took(&mut self.delivery_us, now_us.saturating_sub(message.intended_us));
        }
        self.open -= usize::from(!was_settled && message.settled());
        true
    }

    /// Messages that are not settled.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The account, closed.
    pub fn close(self) -> Outcome {
        let all = || self.senders.iter().flat_map(|sender| &sender.messages);
        let lost = all().filter(|m| m.acknowledged && m.seen != [true; 2]).count() as u64;
        let unanswered = all().filter(|m| !m.acknowledged && !m.refused).count() as u64;
        let seconds = (self.window.until_us - self.window.from_us) as f64 / 1e6;
        Outcome {
            sent: self.sent,
            acknowledged: self.acknowledged,
            throughput: self.acknowledged_in_window as f64 / seconds,
            quiet_us: self.quiet_us.max(self.window.until_us.saturating_sub(self.last_ack_us)),
            faults: Faults {
                lost,
                duplicated: self.duplicated,
                misordered: self.misordered,
                unanswered,
            },
            refused: self.refused,
            ack_us: self.ack_us,
            delivery_us: self.delivery_us,
            lag_us: self.lag_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        from_us: 1_000,
        until_us: 2_001_000,
    };

    /// A ledger with one conversation and so many messages of the customer, 10 µs apart from 5,000 on.
    fn with(messages: u64) -> (Ledger, Vec<MessageId>) {
        let mut ledger = Ledger::new(1, WINDOW);
        let ids = (0..messages)
            .map(|n| ledger.sent(0, 5_000 + 10 * n, 5_004 + 10 * n))
            .collect();
        (ledger, ids)
    }

    fn settle(ledger: &mut Ledger, id: MessageId, seq: u64) {
        ledger.acknowledged(id, seq, 6_000);
        assert!(ledger.seen(id, Side::Customer, seq, 6_100));
        assert!(ledger.seen(id, Side::Agent, seq, 7_000));
    }

    #[test]
    fn latencies_count_from_the_intended_time() {
        let (mut ledger, ids) = with(2);
        let late = ledger.sent(1, 4_000, 9_000);
        assert_eq!(late.side(), Side::Agent);
        settle(&mut ledger, ids[0], 1);
        settle(&mut ledger, ids[1], 2);
        assert_eq!(ledger.open(), 1);
        settle(&mut ledger, late, 3);
        assert_eq!(ledger.open(), 0);
        let outcome = ledger.close();
        assert!(outcome.faults.none());
        assert_eq!(
            (outcome.ack_us.min(), outcome.ack_us.max(), outcome.ack_us.len()),
            (990, 2_000, 3)
        );
        // Of the agent's message, the customer is the other side: 6,100 - 4,000.
        assert_eq!((outcome.delivery_us.min(), outcome.delivery_us.len()), (1_990, 3));
        assert_eq!(outcome.delivery_us.max(), 2_101); // 2,100 within three digits
        assert_eq!((outcome.lag_us.min(), outcome.lag_us.max()), (4, 5_003)); // 5,000 within three digits
        assert_eq!(outcome.throughput, 1.5);
    }

    #[test]
    fn the_warm_up_is_checked_but_not_measured() {
        let mut ledger = Ledger::new(1, WINDOW);
        let id = ledger.sent(0, 500, 500);
        ledger.acknowledged(id, 1, 900);
        assert!(ledger.seen(id, Side::Customer, 1, 900));
        let outcome = ledger.close();
        assert_eq!(
            (outcome.ack_us.len(), outcome.lag_us.len(), outcome.throughput),
            (0, 0, 0.0)
        );
        assert_eq!(outcome.faults.lost, 1);
    }

    #[test]
    fn lost_and_unanswered_are_told_apart() {
        let (mut ledger, ids) = with(3);
        ledger.acknowledged(ids[0], 1, 6_000);
        assert!(ledger.seen(ids[0], Side::Customer, 1, 6_000));
        ledger.refused(ids[1], "overloaded".to_owned());
        assert_eq!(ledger.open(), 2);
        let outcome = ledger.close();
        let expected = Faults {
            lost: 1,
            unanswered: 1,
            ..Faults::default()
        };
        assert_eq!(outcome.faults, expected);
        assert_eq!(outcome.refused.get("overloaded"), Some(&1));
    }

    #[test]
    fn duplicates_and_wrong_orders_are_found() {
        let (mut ledger, ids) = with(3);
        settle(&mut ledger, ids[0], 1);
        assert!(ledger.seen(ids[0], Side::Agent, 1, 7_000));
        assert!(ledger.seen(ids[2], Side::Agent, 3, 7_000));
        assert!(ledger.seen(ids[1], Side::Agent, 2, 7_000), "after a later one");
        assert!(
            ledger.seen(ids[1], Side::Customer, 9, 7_000),
            "elsewhere than at the agent's"
        );
        assert!(ledger.seen(ids[2], Side::Customer, 3, 7_000));
        ledger.acknowledged(ids[1], 2, 7_000);
        ledger.acknowledged(ids[2], 4, 7_000); // elsewhere than both sides saw it
        let faults = ledger.close().faults;
        assert_eq!((faults.lost, faults.duplicated, faults.misordered), (0, 1, 3));
    }

    #[test]
    fn a_message_that_was_never_sent_is_none() {
        let (mut ledger, _) = with(1);
        let stranger = MessageId { sender: 9, number: 0 };
        assert!(!ledger.seen(stranger, Side::Agent, 1, 6_000));
        let future = MessageId { sender: 0, number: 1 };
        assert!(!ledger.seen(future, Side::Agent, 1, 6_000));
    }
}
