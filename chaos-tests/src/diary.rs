//! What people write down: everything that they are told, and everything that they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use node::client::{ClientError, ClientEvent};
use node::gateway::protocol::{Ack, EntryContent, EntryFrame, ServerFrame};
use routing::event::{OfferOutcome, Phase};
use routing::ids::{ConversationId, Epoch, Millis, Seq};
use tokio::sync::Mutex as AsyncMutex;

use crate::history::Recorder;

/// What one reader saw of one conversation: (seq, prev, text of a message).
pub type Seen = Vec<(Seq, Seq, Option<String>)>;

/// An offer, as its agent was told.
#[derive(Clone, Debug)]
pub struct OfferNote {
    /// When it was made.
    pub at_ms: Millis,
    /// When it should expire.
    pub deadline_ms: Millis,
    /// How it ended, and when.
    pub ended: Option<(Millis, OfferOutcome)>,
}

/// Everything that people were told.
#[derive(Default)]
pub struct Diary {
    /// Every text that was sent.
    pub sent: BTreeSet<String>,
    /// Acknowledged messages: text → (conversation, seq).
    pub acknowledged: BTreeMap<String, (ConversationId, Seq)>,
    /// Refused messages: text → code.
    pub refused: BTreeMap<String, String>,
    /// Conversations, by their customer's number.
    pub conversations: BTreeMap<ConversationId, usize>,
    /// What customers saw.
    pub customers: BTreeMap<ConversationId, Seen>,
    /// What agents saw.
    pub agents: BTreeMap<(String, ConversationId), Seen>,
    /// Offers, by agent, conversation and epoch: several agents may be asked under one epoch (R9).
    pub offers: BTreeMap<(String, ConversationId, Epoch), OfferNote>,
    /// Customers who went for good: what they were given is only the beginning of what there is to see.
    pub gone: BTreeSet<ConversationId>,
    /// What each agent owns, by what they were told.
    pub owned: BTreeMap<String, BTreeMap<ConversationId, Epoch>>,
    /// Gaps that a client saw: a fault of ours, even though the client mends it.
    pub gaps: Vec<String>,
    /// What an agent's stream said twice, and whose token was refused.
    pub muddles: Vec<String>,
    /// When the last acknowledgement came.
    pub last_acknowledged: Option<Instant>,
    /// The longest time without any acknowledgement since [`Diary::watch_pause`].
    pub longest_pause: Duration,
    /// Wrap-ups that ended.
    pub wrap_ups: u64,
    /// Wrap-ups that did not end yet, by agent.
    pub wrapping_up: BTreeMap<String, BTreeSet<ConversationId>>,
    /// The most offers and conversations that each agent had at a time, by their stream.
    pub highest_loads: BTreeMap<String, usize>,
    pub(crate) open_offers: BTreeMap<String, BTreeSet<(ConversationId, Epoch)>>,
    /// What people asked for, and when it was answered.
    pub recorder: Recorder,
}

impl Diary {
    /// Begins to measure the longest pause anew.
    pub fn watch_pause(&mut self) {
        self.last_acknowledged = Some(Instant::now());
        self.longest_pause = Duration::ZERO;
    }

    /// What became of a message.
    pub(crate) fn answered(&mut self, text: String, conversation: ConversationId, answer: Result<Ack, ClientError>) {
        match answer {
            Ok(ack) => {
                self.acknowledged_now();
                self.acknowledged.insert(text, (conversation, ack.seq.unwrap_or(0)));
            }
            Err(ClientError::Refused { code, .. }) => drop(self.refused.insert(text, code)),
            Err(ClientError::Ended | ClientError::TooMany) => {}
        }
    }

    pub(crate) fn acknowledged_now(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_acknowledged.replace(now) {
            self.longest_pause = self.longest_pause.max(now.duration_since(last));
        }
    }
}

impl Diary {
    /// What a customer was told.
    pub(crate) fn customer_told(&mut self, customer: &str, event: &ClientEvent) {
        match event {
            ClientEvent::Frame(ServerFrame::Entry(entry)) => {
                let seen = self.customers.entry(entry.conversation).or_default();
                seen.push((entry.seq, entry.prev, text_of(entry)));
            }
            trouble => self.trouble_told(customer, trouble),
        }
    }

    /// What nobody should be told.
    fn trouble_told(&mut self, name: &str, event: &ClientEvent) {
        match event {
            ClientEvent::Gap {
                conversation,
                have,
                prev,
            } => self
                .gaps
                .push(format!("{name}: {conversation}: have {have}, prev {prev}")),
            ClientEvent::Refused { code, detail } => self
                .muddles
                .push(format!("{name} was sent away for good: {code}: {detail}")),
            _ => {}
        }
    }

    /// What an agent was told; `subject`: their id, as the welcome has it.
    pub(crate) fn agent_told(&mut self, name: &str, subject: &str, event: &ClientEvent) {
        match event {
            ClientEvent::Frame(ServerFrame::Entry(entry)) => {
                let seen = self.agents.entry((name.to_owned(), entry.conversation)).or_default();
                seen.push((entry.seq, entry.prev, text_of(entry)));
            }
            ClientEvent::Frame(frame) => {
                self.offer_told(name, frame);
                self.ownership_told(name, subject, frame);
                self.load_told(name, frame);
            }
            trouble => self.trouble_told(name, trouble),
        }
    }

    /// Offers and what is owned, together: what the capacity must hold.
    fn load_told(&mut self, name: &str, frame: &ServerFrame) {
        let open = self.open_offers.entry(name.to_owned()).or_default();
        match frame {
            ServerFrame::Offered {
                conversation, epoch, ..
            } => drop(open.insert((*conversation, *epoch))),
            ServerFrame::OfferEnded {
                conversation, epoch, ..
            }
            | ServerFrame::Assigned {
                conversation, epoch, ..
            } => drop(open.remove(&(*conversation, *epoch))),
            ServerFrame::Desk { conversations, .. } => {
                *open = conversations
                    .iter()
                    .filter(|c| c.phase == Phase::Offered)
                    .map(|c| (c.conversation, c.epoch.unwrap_or_default()))
                    .collect();
            }
            _ => return,
        }
        let load = open.len() + self.owned.get(name).map_or(0, BTreeMap::len);
        let highest = self.highest_loads.entry(name.to_owned()).or_default();
        *highest = load.max(*highest);
    }

    fn offer_told(&mut self, name: &str, frame: &ServerFrame) {
        match frame {
            ServerFrame::Offered {
                conversation,
                epoch,
                deadline_ms,
                at_ms,
                ..
            } => {
                let note = OfferNote {
                    at_ms: *at_ms,
                    deadline_ms: *deadline_ms,
                    ended: None,
                };
                let key = (name.to_owned(), *conversation, *epoch);
                if self.offers.insert(key, note).is_some() {
                    let muddle = format!("{name}: {conversation} was offered twice under {epoch:?}");
                    self.muddles.push(muddle);
                }
            }
            ServerFrame::OfferEnded {
                conversation,
                epoch,
                outcome,
                at_ms,
                ..
            } => {
                let key = (name.to_owned(), *conversation, *epoch);
                let ended = match self.offers.get_mut(&key) {
                    // A desk stood in the place of the items.
                    None => return,
                    Some(offer) => offer.ended.replace((*at_ms, outcome.clone())),
                };
                if let Some(before) = ended {
                    let muddle = format!("{name}: the offer of {conversation}, {epoch:?}, ended before: {before:?}");
                    self.muddles.push(muddle);
                }
            }
            _ => {}
        }
    }

    fn ownership_told(&mut self, name: &str, subject: &str, frame: &ServerFrame) {
        let owned = self.owned.entry(name.to_owned()).or_default();
        let wrapping_up = self.wrapping_up.entry(name.to_owned()).or_default();
        match frame {
            ServerFrame::Assigned {
                conversation, epoch, ..
            } => {
                owned.insert(*conversation, *epoch);
                wrapping_up.remove(conversation);
            }
            ServerFrame::Unassigned { conversation, .. } => {
                owned.remove(conversation);
            }
            ServerFrame::WrapUp { conversation, .. } => {
                owned.remove(conversation);
                wrapping_up.insert(*conversation);
            }
            ServerFrame::WrapUpEnded { conversation, .. } => {
                owned.remove(conversation);
                wrapping_up.remove(conversation);
                self.wrap_ups += 1;
            }
            ServerFrame::Desk { conversations, .. } => {
                *wrapping_up = conversations
                    .iter()
                    .filter(|c| c.phase == Phase::WrapUp && c.agent.is_some_and(|owner| owner.to_string() == subject))
                    .map(|c| c.conversation)
                    .collect();
                *owned = conversations
                    .iter()
                    .filter(|c| matches!(c.phase, Phase::Assigned | Phase::Paused))
                    // In some of the desk's conversations they only take part.
                    .filter(|c| c.agent.is_some_and(|owner| owner.to_string() == subject))
                    .map(|c| (c.conversation, c.epoch.unwrap_or_default()))
                    .collect();
            }
            _ => {}
        }
    }
}

/// A diary that all share.
pub type SharedDiary = Arc<AsyncMutex<Diary>>;

fn text_of(frame: &EntryFrame) -> Option<String> {
    match &frame.content {
        EntryContent::Message { body, .. } => Some(body.text.clone()),
        _ => None,
    }
}
