//! What must hold after every command, by a plain model of what the events have told: no look at the rows of the state, except
//! by its own invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::command::{Author, Body, Command, Envelope, IdempotencyKey, Timer};
use routing::event::{AgentItem, AgentItemKind, Entry, EntryKind, Event, Receipt};
use routing::ids::{AgentId, ConversationId, Epoch, Millis, QueueId, Seq};
use routing::invariants::{self, History, Violation};
use routing::rejection::Rejection;
use routing::settings::QueueSettings;
use routing::state::State;

use super::log::Outcome;
use super::run::Counts;
use super::world::TENANT;

/// What does not hold unless it does.
pub fn must(letter: char, holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation { letter, what: what() })
    }
}

/// Who acts, under which epoch.
type Act = (ConversationId, AgentId, Epoch);

/// A command's claim to a conversation.
enum Claim {
    /// Of an offer.
    Accepts(Act),
    Declines(Act),
    /// Of an assignment.
    Owns(Act),
    WrapsUp(Act),
}

/// The model.
#[derive(Debug, Default)]
pub struct Oracle {
    history: History,
    at_ms: Millis,
    commands: u64,
    /// A: the first answer to each key.
    first: BTreeMap<IdempotencyKey, Receipt>,
    timers: BTreeMap<Timer, Millis>,
    queues: BTreeMap<QueueId, Arc<QueueSettings>>,
    /// C: by conversation, of all that ever was.
    owners: BTreeMap<ConversationId, (AgentId, Epoch)>,
    epochs: BTreeMap<ConversationId, Epoch>,
    offers: BTreeSet<Act>,
    wrap_ups: BTreeSet<Act>,
    /// F: what clients have sent, and where.
    sent: BTreeMap<String, ConversationId>,
    /// E: where it has appeared.
    appeared: BTreeMap<String, Seq>,
}

impl Oracle {
    /// A client sends these words to this conversation.
    pub fn sends(&mut self, words: &str, to: ConversationId) {
        self.sent.insert(words.to_owned(), to);
    }

    /// Whether the next command is one of those that are looked at more closely.
    pub fn samples(&self) -> bool {
        self.commands.is_multiple_of(16)
    }

    /// After a command: `before` is the hash of the rows before it, if it was taken.
    pub fn applied(
        &mut self,
        state: &State,
        at_ms: Millis,
        envelope: &Envelope,
        outcome: &Outcome,
        before: Option<u64>,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        self.commands += 1;
        counts.commands += 1;
        counts.clamped += u64::from(at_ms < self.at_ms);
        self.at_ms = self.at_ms.max(at_ms);
        must('B', state.at_ms() == self.at_ms, || {
            format!("the state's time is {}, the log's {}", state.at_ms(), self.at_ms)
        })?;
        let done = self.answered(envelope, outcome, counts)?;
        if !done {
            let same = outcome.events.is_empty() && before.is_none_or(|before| state.rows_hash() == before);
            must('F', same, || {
                format!("{envelope:?} was not done and did something: {outcome:?}")
            })?;
        } else {
            self.done(&envelope.command, counts)?;
        }
        for event in &outcome.events {
            self.history.observe(event)?;
            self.learn(event)?;
        }
        if done {
            self.has_said(&envelope.command, outcome)?;
        }
        let after = outcome.result.as_ref().ok().and_then(|receipt| receipt.conversation);
        let after = after.map_or(u128::from(self.commands) * 7_919 % 65_521, |id| id.0.saturating_sub(1));
        invariants::check_some(state, ConversationId(after), 4)
    }

    /// A: once done, a command is never done again, and its answer never changes. Whether it was done now.
    fn answered(&mut self, envelope: &Envelope, outcome: &Outcome, counts: &mut Counts) -> Result<bool, Violation> {
        let first = envelope.key.as_ref().and_then(|key| self.first.get(key));
        match &outcome.result {
            Ok(receipt) if receipt.repeated => {
                counts.repeats += 1;
                let repeat = first.map(|first| Receipt {
                    repeated: true,
                    ..first.clone()
                });
                must('A', repeat.as_ref() == Some(receipt), || {
                    format!("{envelope:?} was answered {first:?} and then {receipt:?}")
                })?;
                Ok(false)
            }
            Ok(receipt) => {
                must('A', first.is_none(), || format!("{envelope:?} was done twice"))?;
                must('B', receipt.at_ms == self.at_ms, || {
                    format!("{receipt:?} has another stamp than {}", self.at_ms)
                })?;
                if let Some(key) = &envelope.key {
                    self.first.insert(key.clone(), receipt.clone());
                }
                Ok(true)
            }
            Err(why) => {
                counts.too_old += u64::from(matches!(why, Rejection::TooOld { .. }));
                counts.not_due += u64::from(matches!(why, Rejection::NotDue { .. }));
                counts.stale += u64::from(matches!(
                    why,
                    Rejection::StaleEpoch { .. } | Rejection::OfferOver { .. }
                ));
                Ok(false)
            }
        }
    }

    /// What a command that was done must have had the right to, before its events.
    fn done(&mut self, command: &Command, counts: &mut Counts) -> Result<(), Violation> {
        if let Command::Fire { timer } = command {
            counts.fired += 1;
            let due_ms = self.timers.get(timer).copied();
            must('I', due_ms.is_some_and(|due_ms| due_ms <= self.at_ms), || {
                format!("{timer:?} fired at {}, due {due_ms:?}", self.at_ms)
            })?;
        }
        let Some(claim) = claim(command) else { return Ok(()) };
        let owns = |(conversation, agent, epoch): &Act| self.owners.get(conversation) == Some(&(*agent, *epoch));
        let right = match &claim {
            Claim::Accepts(act) => self.offers.contains(act) || owns(act),
            Claim::Declines(act) => self.offers.contains(act),
            Claim::Owns(act) => owns(act),
            Claim::WrapsUp(act) => self.wrap_ups.contains(act),
        };
        must('C', right, || format!("{command:?} was done without the right to it"))
    }

    fn learn(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::Queue(view) => _ = self.queues.insert(view.queue, view.settings.clone()),
            Event::QueueEnded { queue } => _ = self.queues.remove(queue),
            Event::TimerSet(due) => _ = self.timers.insert(due.timer, due.at_ms),
            Event::TimerCleared { timer } => _ = self.timers.remove(timer),
            &Event::Assigned {
                conversation,
                agent,
                epoch,
                ..
            } => {
                let last = self.epochs.insert(conversation, epoch);
                must('C', last.is_none_or(|last| last < epoch), || {
                    format!("{conversation} goes to {agent} under {epoch:?} after {last:?}")
                })?;
                let owner = self.owners.insert(conversation, (agent, epoch));
                must('C', owner.is_none(), || {
                    format!("{conversation} goes to {agent} and is {owner:?}'s")
                })?;
            }
            Event::Unassigned { conversation, .. } => _ = self.owners.remove(conversation),
            Event::Agent(item) => self.learn_item(item)?,
            Event::Entry(entry) => self.learn_entry(entry)?,
            // Its number may be given again to another, which then begins anew.
            Event::Archived { conversation, .. } => _ = self.epochs.remove(conversation),
            _ => {}
        }
        Ok(())
    }

    fn learn_item(&mut self, item: &AgentItem) -> Result<(), Violation> {
        let agent = item.agent;
        match item.kind {
            AgentItemKind::Offered {
                conversation,
                epoch,
                deadline_ms,
                queue,
                ..
            } => {
                self.offers.insert((conversation, agent, epoch));
                let wanted = self.queues.get(&queue).map(|queue| self.at_ms + queue.offer_timeout_ms);
                must('I', wanted == Some(deadline_ms), || {
                    format!("the offer of {conversation} ends at {deadline_ms}, not {wanted:?}")
                })
            }
            AgentItemKind::OfferEnded {
                conversation, epoch, ..
            } => {
                self.offers.remove(&(conversation, agent, epoch));
                Ok(())
            }
            AgentItemKind::WrapUp {
                conversation, epoch, ..
            } => {
                self.wrap_ups.insert((conversation, agent, epoch));
                Ok(())
            }
            AgentItemKind::WrapUpEnded { conversation, epoch } => {
                self.wrap_ups.remove(&(conversation, agent, epoch));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// F, E: what appears was sent to this conversation, and appears once.
    fn learn_entry(&mut self, entry: &Entry) -> Result<(), Violation> {
        let body = match &entry.kind {
            EntryKind::Message { author, .. } if *author == Author::System => return Ok(()),
            EntryKind::Message { body, .. } | EntryKind::Note { body, .. } | EntryKind::Whisper { body, .. } => body,
            _ => return Ok(()),
        };
        let to = self.sent.get(&body.text);
        must('F', to == Some(&entry.conversation), || {
            format!("{entry:?} was sent to {to:?}")
        })?;
        let before = self.appeared.insert(body.text.clone(), entry.seq);
        must('A', before.is_none(), || {
            format!("{entry:?} appeared before, as {before:?}")
        })
    }

    /// A, E: the words of a message that was done are where its receipt says.
    fn has_said(&self, command: &Command, outcome: &Outcome) -> Result<(), Violation> {
        let (Some((_, body)), Ok(receipt)) = (words(command), &outcome.result) else {
            return Ok(());
        };
        let is = self.appeared.get(&body.text).copied();
        let there = is.is_some() && (receipt.seq.is_none() || receipt.seq == is);
        must('A', there, || {
            format!("{command:?} was answered {receipt:?} and its words are at {is:?}")
        })
    }

    /// A client was told so.
    pub fn acknowledged(&self, key: &IdempotencyKey, receipt: &Receipt, command: &Command) -> Result<(), Violation> {
        let first = self.first.get(key);
        let same = first.is_some_and(|first| {
            let repeated = receipt.repeated;
            Receipt {
                repeated,
                ..first.clone()
            } == *receipt
        });
        must('A', same, || {
            format!("a client was told {receipt:?}, done was {first:?}")
        })?;
        match words(command) {
            Some((_, body)) => must('A', self.appeared.contains_key(&body.text), || {
                format!("{command:?} is acknowledged and nowhere")
            }),
            None => Ok(()),
        }
    }

    /// All invariants on all rows, and what the events told against what is.
    pub fn check_whole(&self, state: &State) -> Result<(), Violation> {
        invariants::check(state)?;
        let Some(tenant) = state.tenant(TENANT) else {
            return Ok(());
        };
        self.history.check(tenant)?;
        for view in tenant.conversations(None) {
            let last = self.owners.get(&view.conversation);
            let is = view.agent.filter(|_| {
                use routing::event::Phase;
                matches!(view.phase, Phase::Assigned | Phase::Paused)
            });
            must('C', last.copied() == is.map(|agent| (agent, view.epoch)), || {
                format!(
                    "{} is {is:?}'s under {:?}, told was {last:?}",
                    view.conversation, view.epoch
                )
            })?;
        }
        Ok(())
    }

    /// Deadlines that have passed for longer than `grace_ms`.
    pub fn overdue(&self, grace_ms: u64) -> Result<(), Violation> {
        let late = self.timers.iter().find(|(_, due_ms)| **due_ms + grace_ms < self.at_ms);
        must('I', late.is_none(), || {
            format!("it is {}, and {late:?} has not fired", self.at_ms)
        })
    }
}

/// The words that a command carries, and where to.
pub fn words(command: &Command) -> Option<(ConversationId, &Body)> {
    match command {
        Command::PostMessage { conversation, body, .. }
        | Command::PostNote { conversation, body, .. }
        | Command::PostWhisper { conversation, body, .. } => Some((*conversation, body)),
        Command::StartConversation {
            conversation, message, ..
        } => message.as_ref().map(|body| (*conversation, body)),
        _ => None,
    }
}

fn claim(command: &Command) -> Option<Claim> {
    Some(match command {
        &Command::AcceptOffer {
            conversation,
            agent,
            epoch,
        } => Claim::Accepts((conversation, agent, epoch)),
        &Command::DeclineOffer {
            conversation,
            agent,
            epoch,
            ..
        } => Claim::Declines((conversation, agent, epoch)),
        &Command::FinishWrapUp {
            conversation,
            agent,
            epoch,
            ..
        }
        | &Command::ExtendWrapUp {
            conversation,
            agent,
            epoch,
            ..
        } => Claim::WrapsUp((conversation, agent, epoch)),
        &Command::Pause {
            conversation,
            agent,
            epoch,
        } => Claim::Owns((conversation, agent, epoch)),
        &Command::Transfer {
            conversation,
            by,
            epoch,
            ..
        }
        | &Command::Invite {
            conversation,
            by,
            epoch,
            ..
        }
        | &Command::RemoveParticipant {
            conversation,
            by,
            epoch,
            ..
        }
        | &Command::CompleteTransfer {
            conversation,
            by,
            epoch,
            ..
        } => Claim::Owns((conversation, by, epoch)),
        Command::PostMessage {
            conversation,
            author: Author::Agent { agent, epoch },
            ..
        }
        | Command::Close {
            conversation,
            by: Author::Agent { agent, epoch },
            ..
        }
        | Command::Resume {
            conversation,
            by: Author::Agent { agent, epoch },
        }
        | Command::Schedule {
            conversation,
            by: Author::Agent { agent, epoch },
            ..
        } => Claim::Owns((*conversation, *agent, *epoch)),
        _ => return None,
    })
}
