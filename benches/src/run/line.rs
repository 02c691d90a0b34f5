//! The wires between people and the world that plays them: what a client is told becomes a piece of news with its time.

use std::fmt::Write;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use node::client::{Client, ClientError, ClientEvent, ClientEvents, PendingAck};
use node::gateway::protocol::{EntryContent, EntryFrame, ServerFrame};
use routing::event::{OfferOutcome, Phase, UnassignReason};
use routing::ids::{ConversationId, Epoch};
use tokio::runtime::Handle;

use super::account::{Side, Stream};

/// Somebody in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Agent(usize),
    /// By the number of the conversation.
    Customer(u32),
}

/// Which command an answer belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    Start(u32),
    Message(u32, Side, u32),
    /// Of a conversation.
    Close(u32),
    /// Of whatever must be done, but is not watched further.
    Other,
}

/// A turn in a conversation, by its transcript. Only told where the one side is not played by the generator that plays the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Joined,
    /// `true`: because it was passed on (which customers are not told).
    Left(bool),
    Closed,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// A message with the mark of this run: conversation, stream, number; the intended time, if it is in the text; the log's stamp.
    Message {
        of: u32,
        stream: Stream,
        number: u32,
        intended_us: Option<u64>,
        seq: u64,
        at_ms: u64,
    },
    Turned {
        conversation: ConversationId,
        turn: Turn,
    },
    Offered {
        customer: u32,
        conversation: ConversationId,
        epoch: Epoch,
    },
    /// It is not theirs.
    OfferGone {
        conversation: ConversationId,
    },
    Assigned {
        customer: u32,
        conversation: ConversationId,
        epoch: Epoch,
        at_ms: u64,
    },
    Unassigned {
        conversation: ConversationId,
        at_ms: u64,
        wanted: bool,
    },
    WrapUp {
        conversation: ConversationId,
        epoch: Epoch,
    },
    WrapUpEnded {
        conversation: ConversationId,
    },
    /// All that an agent has: conversation, customer, phase, epoch.
    Desk {
        at_ms: u64,
        has: Vec<(ConversationId, u32, Phase, Epoch)>,
    },
    Connected,
    Disconnected,
    Gap,
    /// The client has ended: its token was not accepted.
    Ended(String),
    Answered {
        purpose: Purpose,
        result: Result<(Option<ConversationId>, u64), String>,
    },
    /// A timer of the runtime was to go off then.
    Canary {
        intended: Instant,
    },
}

/// A piece of news.
#[derive(Debug)]
pub struct News {
    pub at: Instant,
    pub who: Who,
    pub what: What,
}

/// A message's text: which it is, padded to `bytes`. Another generator can only know from it when it was meant to be sent.
pub fn text_of(nonce: u32, id: (u32, Stream, u32), intended_us: Option<u64>, bytes: usize) -> String {
    let (conversation, stream, number) = id;
    let mut text = format!("{nonce:08x}:{conversation}:{}:{number}:", stream.letter());
    if let Some(intended_us) = intended_us {
        let _ = write!(text, "{intended_us}:");
    }
    while text.len() < bytes {
        text.push('x');
    }
    text
}

/// Which message of this run a text is, and when it was meant to be sent, if it says so.
pub fn id_of(text: &str, nonce: u32) -> Option<((u32, Stream, u32), Option<u64>)> {
    let mut parts = text.split(':');
    if u32::from_str_radix(parts.next()?, 16).ok()? != nonce {
        return None;
    }
    let conversation = parts.next()?.parse().ok()?;
    let stream = Stream::from_letter(parts.next()?)?;
    let number = parts.next()?.parse().ok()?;
    let intended_us = parts.next().and_then(|text| text.parse().ok());
    Some(((conversation, stream, number), intended_us))
}

/// What a customer is called.
pub fn customer_name(nonce: u32, number: u32) -> String {
    format!("{nonce:08x}-{number}")
}

fn customer_of(name: &str, nonce: u32) -> Option<u32> {
    let (run, number) = name.split_once('-')?;
    (u32::from_str_radix(run, 16).ok()? == nonce).then(|| number.parse().ok())?
}

fn of_entry(entry: &EntryFrame, nonce: u32, turns: bool) -> Option<What> {
    let turn = match &entry.content {
        EntryContent::Message { body, .. } => {
            let ((of, stream, number), intended_us) = id_of(&body.text, nonce)?;
            return Some(What::Message {
                of,
                stream,
                number,
                intended_us,
                seq: entry.seq,
                at_ms: entry.at_ms,
            });
        }
        EntryContent::Joined { .. } => Turn::Joined,
        EntryContent::Left { reason, .. } => Turn::Left(*reason == Some(UnassignReason::Transferred)),
        EntryContent::Closed { .. } => Turn::Closed,
        _ => return None,
    };
    let conversation = entry.conversation;
    turns.then_some(What::Turned { conversation, turn })
}

fn of_frame(frame: ServerFrame, nonce: u32, turns: bool) -> Option<What> {
    Some(match frame {
        ServerFrame::Entry(entry) => of_entry(&entry, nonce, turns)?,
        ServerFrame::Offered {
            conversation,
            epoch,
            customer,
            ..
        } => What::Offered {
            customer: customer_of(&customer, nonce)?,
            conversation,
            epoch,
        },
        ServerFrame::OfferEnded {
            outcome: OfferOutcome::Accepted,
            ..
        } => return None,
        ServerFrame::OfferEnded { conversation, .. } => What::OfferGone { conversation },
        ServerFrame::Assigned {
            conversation,
            epoch,
            at_ms,
            customer,
            ..
        } => What::Assigned {
            customer: customer_of(&customer, nonce)?,
            conversation,
            epoch,
            at_ms,
        },
        ServerFrame::Unassigned {
            conversation,
            at_ms,
            reason,
            ..
        } => {
            let wanted = matches!(reason, UnassignReason::Closed | UnassignReason::Transferred);
            What::Unassigned {
                conversation,
                at_ms,
                wanted,
            }
        }
        ServerFrame::WrapUp {
            conversation, epoch, ..
        } => What::WrapUp { conversation, epoch },
        ServerFrame::WrapUpEnded { conversation, .. } => What::WrapUpEnded { conversation },
        ServerFrame::Desk {
            conversations, at_ms, ..
        } => {
            let has = conversations.into_iter().filter_map(|frame| {
                let customer = customer_of(frame.customer.as_deref()?, nonce)?;
                Some((frame.conversation, customer, frame.phase, frame.epoch?))
            });
            What::Desk {
                at_ms,
                has: has.collect(),
            }
        }
        _ => return None,
    })
}

/// The way back to the world.
#[derive(Clone)]
pub struct Wire {
    news: Sender<News>,
    runtime: Handle,
    pub nonce: u32,
    /// Whether the turns of transcripts are told.
    pub turns: bool,
}

impl Wire {
    /// One, and where its news come out.
    pub fn new(nonce: u32, turns: bool) -> (Self, Receiver<News>) {
        let (news, heard) = mpsc::channel();
        let runtime = Handle::current();
        (
            Self {
                news,
                runtime,
                nonce,
                turns,
            },
            heard,
        )
    }

    fn tell(&self, who: Who, what: What) {
        // Nobody listens when the run is over.
        let _ = self.news.send(News {
            at: Instant::now(),
            who,
            what,
        });
    }

    /// A client whose news come here.
    pub fn connect(&self, urls: &[String], token: String, who: Who) -> Client {
        let _inside = self.runtime.enter();
        let (client, events) = Client::connect(urls.to_vec(), token, 1);
        self.runtime.spawn(read(events, self.clone(), who));
        client
    }

    /// Waits for an answer in the background.
    pub fn expect(&self, pending: PendingAck, who: Who, purpose: Purpose) {
        let wire = self.clone();
        self.runtime.spawn(async move {
            let result = match pending.await {
                Ok(ack) => Ok((ack.conversation, ack.seq.unwrap_or(0))),
                Err(ClientError::Refused { code, .. }) => Err(code),
                Err(ClientError::TooMany) => Err("client_full".to_owned()),
                Err(ClientError::Ended) => Err("client_ended".to_owned()),
            };
            wire.tell(who, What::Answered { purpose, result });
        });
    }

    /// Tells by how much timers are late, for as long as somebody listens.
    pub fn canary(&self) {
        const EVERY: Duration = Duration::from_millis(20);
        let wire = self.clone();
        self.runtime.spawn(async move {
            loop {
                let intended = Instant::now() + EVERY;
                tokio::time::sleep_until(intended.into()).await;
                let what = What::Canary { intended };
                if wire
                    .news
                    .send(News {
                        at: Instant::now(),
                        who: Who::Agent(0),
                        what,
                    })
                    .is_err()
                {
                    return;
                }
            }
        });
    }
}

/// Takes what one client is given, for as long as it lives.
async fn read(mut events: ClientEvents, wire: Wire, who: Who) {
    while let Some(event) = events.recv().await {
        let what = match event {
            ClientEvent::Frame(frame) => match of_frame(frame, wire.nonce, wire.turns) {
                Some(what) => what,
                None => continue,
            },
            ClientEvent::Connected { .. } => What::Connected,
            ClientEvent::Disconnected { .. } => What::Disconnected,
            ClientEvent::Gap { .. } => What::Gap,
            ClientEvent::Refused { code, detail } => What::Ended(format!("{code}: {detail}")),
        };
        wire.tell(who, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_names_carry_their_id() {
        let id = (41, Stream::agents_of(0), 1_234);
        let text = text_of(0xabc, id, None, 200);
        assert_eq!((text.len(), id_of(&text, 0xabc)), (200, Some((id, None))));
        let id = (41, Stream::agents_of(2), 7);
        let timed = text_of(0xabc, id, Some(5_000_123), 10);
        assert_eq!(id_of(&timed, 0xabc), Some((id, Some(5_000_123))));
        assert_eq!(id_of(&text, 0xabd), None, "of another run");
        assert_eq!(id_of("hello", 0xabc), None);
        assert_eq!(customer_of(&customer_name(0xabc, 7), 0xabc), Some(7));
        assert_eq!(customer_of("mia", 0xabc), None);
    }
}
