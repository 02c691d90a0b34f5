//! Simulated agents: they sign in, think about offers, answer, close, wrap up; now and then they decline, miss an offer,
//! pass a conversation on, or take a break.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use routing::event::{OfferOutcome, Phase, UnassignReason};
use routing::ids::{ConversationId, Epoch, QueueId};
use routing::view::Presence;
use tokio::time::{sleep_until, timeout};

use super::ledger::Speaker;
use super::stage::{Connected, Stage, between, percent};
use super::story::{self, Language};
use super::ticker::Kind;
use crate::auth::Role;
use crate::client::{Client, ClientEvent};
use crate::gateway::protocol::WantedPresence;
use crate::gateway::protocol::{ClientFrame, ConversationFrame, EntryContent, EntryFrame, Party, ServerFrame};

/// A conversation in which the customer says nothing for so long is closed: at first …
const SILENCE_EARLY: Duration = Duration::from_secs(25);
/// … and once the matter has been talked over.
const SILENCE_LATE: Duration = Duration::from_secs(9);

/// How long the colleague to whom a conversation is passed on is the only one to be offered it.
const ALONE_MS: u64 = 8_000;

/// Plays one agent until the curtain falls.
pub async fn play(stage: Arc<Stage>, name: String) {
    let (client, events) = match stage.client(Role::Agent, &name) {
        Ok(connected) => connected,
        Err(error) => return stage.ticker.tell(Kind::Fault, format!("No token for {name}: {error}")),
    };
    let mut desk = Desk {
        stage: &stage,
        client: &client,
        name: &name,
        todo: BTreeMap::new(),
        todo_count: 0,
        chats: HashMap::new(),
        presence: Presence::Offline,
        going: false,
    };
    desk.later(Duration::ZERO, Todo::SignIn);
    desk.run(events).await;
    client.close();
}

/// What an agent is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    SignIn,
    Decide(ConversationId, Epoch),
    Reply(ConversationId),
    Close(ConversationId),
    /// Unless something was said since.
    CloseIfSilent(ConversationId, u64),
    FinishWrapUp(ConversationId, Epoch),
}

struct Conversing {
    language: Language,
    queue: Option<QueueId>,
    epoch: Epoch,
    replies: usize,
    heard: u64,
}

struct Desk<'a> {
    stage: &'a Stage,
    client: &'a Client,
    name: &'a str,
    todo: BTreeMap<(Instant, u64), Todo>,
    todo_count: u64,
    chats: HashMap<ConversationId, Conversing>,
    presence: Presence,
    going: bool,
}

impl Desk<'_> {
    async fn run(&mut self, mut events: Connected) {
        let curtain = self.stage.curtain.clone();
        loop {
            let next = self.todo.first_key_value().map(|((at, _), _)| *at);
            let far = Instant::now() + Duration::from_secs(3_600);
            tokio::select! {
                event = events.next(self.stage) => match event {
                    None | Some(ClientEvent::Refused { .. }) => return,
                    Some(ClientEvent::Frame(frame)) => self.heard(frame),
                    Some(_) => {}
                },
                () = sleep_until(next.unwrap_or(far).into()) => {
                    if let Some((_, todo)) = self.todo.pop_first() {
                        self.act(todo).await;
                    }
                }
                () = curtain.cancelled() => {
                    let _ = timeout(Duration::from_secs(3), self.client.sign_out()).await;
                    return;
                }
            }
        }
    }

    fn later(&mut self, after: Duration, todo: Todo) {
        self.todo_count += 1;
        self.todo.insert((Instant::now() + after, self.todo_count), todo);
    }

    fn tell(&self, kind: Kind, text: String) {
        self.stage.ticker.tell(kind, text);
    }

    fn heard(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Desk {
                presence,
                conversations,
                ..
            } => {
                self.presence_is(presence);
                self.take_over(conversations);
            }
            ServerFrame::Offered {
                conversation,
                epoch,
                queue,
                customer,
                ..
            } => {
                let queue = self.stage.queue(queue);
                self.tell(
                    Kind::Offered,
                    format!("{customer} ({queue}) is offered to {}", self.name),
                );
                self.later(between(400, 2_500), Todo::Decide(conversation, epoch));
            }
            ServerFrame::OfferEnded { outcome, .. } => self.offer_ended(&outcome),
            ServerFrame::Assigned {
                conversation,
                epoch,
                queue,
                customer,
                ..
            } => {
                let name = self.stage.queue(queue);
                self.tell(Kind::Assigned, format!("{} has {customer} ({name})", self.name));
                self.take(conversation, epoch, Some(queue));
                self.later(between(500, 2_000), Todo::Reply(conversation));
            }
            ServerFrame::Unassigned {
                conversation, reason, ..
            } => self.lost(conversation, &reason),
            ServerFrame::WrapUp {
                conversation, epoch, ..
            } => {
                self.chats.remove(&conversation);
                self.later(between(1_000, 4_000), Todo::FinishWrapUp(conversation, epoch));
            }
            ServerFrame::Presence { presence, .. } => self.presence_is(presence),
            ServerFrame::Conversation(frame) => self.seen(&frame),
            ServerFrame::Entry(entry) => self.read(&entry),
            _ => {}
        }
    }

    /// What was on the desk before: after a reconnect it is known, after a restart of the demo it is not.
    fn take_over(&mut self, conversations: Vec<ConversationFrame>) {
        for frame in conversations {
            let epoch = frame.epoch.unwrap_or_default();
            match frame.phase {
                Phase::Offered => self.later(between(300, 1_500), Todo::Decide(frame.conversation, epoch)),
                Phase::WrapUp => self.later(between(500, 2_000), Todo::FinishWrapUp(frame.conversation, epoch)),
                Phase::Assigned | Phase::Paused if !self.chats.contains_key(&frame.conversation) => {
                    self.take(frame.conversation, epoch, frame.queue);
                    self.seen(&frame);
                    // Its numbers of replies are not known any more: nothing is said twice if nothing is said.
                    self.later(between(4_000, 9_000), Todo::CloseIfSilent(frame.conversation, 0));
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, conversation: ConversationId, epoch: Epoch, queue: Option<QueueId>) {
        let chat = self.chats.entry(conversation).or_insert(Conversing {
            language: Language::English,
            queue,
            epoch,
            replies: 0,
            heard: 0,
        });
        chat.epoch = epoch;
    }

    fn seen(&mut self, frame: &ConversationFrame) {
        if let Some(chat) = self.chats.get_mut(&frame.conversation)
            && !frame.attributes.is_empty()
        {
            chat.language = story::language(&frame.attributes);
        }
    }

    fn read(&mut self, entry: &EntryFrame) {
        let EntryContent::Message {
            author: Party::Customer,
            ..
        } = &entry.content
        else {
            return;
        };
        let conversation = entry.conversation;
        let Some(chat) = self.chats.get_mut(&conversation) else {
            return;
        };
        chat.heard += 1;
        // The first is answered when it is taken; it is there already then.
        let waits = self.todo.values().any(|todo| *todo == Todo::Reply(conversation));
        if chat.replies > 0 && !waits {
            self.client.read(conversation, entry.seq);
            self.client.typing(conversation, true);
            self.later(between(1_000, 4_000), Todo::Reply(conversation));
        }
    }

    fn offer_ended(&mut self, outcome: &OfferOutcome) {
        match outcome {
            OfferOutcome::Accepted => {}
            OfferOutcome::TakenByAnother => {
                self.tell(Kind::OfferEnded, format!("{} was not the first to accept", self.name));
            }
            OfferOutcome::Declined { reason } => {
                self.tell(Kind::OfferEnded, format!("{} declines: {reason}", self.name));
            }
            OfferOutcome::Expired => self.tell(Kind::OfferEnded, format!("{} let an offer pass", self.name)),
            OfferOutcome::Withdrawn { why } => {
                self.tell(
                    Kind::OfferEnded,
                    format!("an offer to {} is taken back: {why}", self.name),
                );
            }
        }
    }

    fn lost(&mut self, conversation: ConversationId, reason: &UnassignReason) {
        self.chats.remove(&conversation);
        match reason {
            UnassignReason::Closed | UnassignReason::Transferred => {}
            other => self.tell(Kind::Agent, format!("{} loses a conversation: {other:?}", self.name)),
        }
    }

    fn presence_is(&mut self, presence: Presence) {
        if self.presence != presence {
            let name = self.name;
            match &presence {
                Presence::Available => self.tell(Kind::Agent, format!("{name} is available")),
                Presence::Away(reason) if reason.is_empty() => self.tell(Kind::Agent, format!("{name} is away")),
                Presence::Away(reason) => self.tell(Kind::Agent, format!("{name} is away: {reason}")),
                Presence::Draining => self.tell(Kind::Agent, format!("{name} finishes, then takes a break")),
                Presence::Offline => self.tell(Kind::Agent, format!("{name} is offline")),
                Presence::Suspect { .. } => self.tell(Kind::Agent, format!("{name} has no connection")),
            }
        }
        let back = match &presence {
            Presence::Away(_) => Some(between(6_000, 15_000)),
            Presence::Offline if self.presence != Presence::Offline => Some(between(500, 2_000)),
            _ => None,
        };
        self.presence = presence;
        if let Some(back) = back.filter(|_| !self.going) {
            self.later(back, Todo::SignIn);
        }
    }

    async fn act(&mut self, todo: Todo) {
        match todo {
            Todo::SignIn => {
                let signed_in = match self.presence {
                    Presence::Away(_) | Presence::Draining => self.say_presence(WantedPresence::Available).await,
                    Presence::Available => true,
                    _ => self.stage.done(self.client.sign_in()).await.is_ok(),
                };
                if !signed_in {
                    self.later(between(1_000, 3_000), Todo::SignIn);
                }
            }
            Todo::Decide(conversation, epoch) => self.decide(conversation, epoch).await,
            Todo::Reply(conversation) => self.reply(conversation).await,
            Todo::Close(conversation) => self.close(conversation).await,
            Todo::CloseIfSilent(conversation, heard) => {
                if self.chats.get(&conversation).is_some_and(|chat| chat.heard == heard) {
                    self.close(conversation).await;
                }
            }
            Todo::FinishWrapUp(conversation, epoch) => {
                let _ = self.stage.done(self.client.finish_wrap_up(conversation, epoch)).await;
                if percent(6) && self.presence == Presence::Available && !self.stage.closing_time.is_cancelled() {
                    let reason = "tea".to_owned();
                    self.say_presence(WantedPresence::Away { reason }).await;
                }
            }
        }
    }

    async fn say_presence(&self, presence: WantedPresence) -> bool {
        let frame = ClientFrame::Presence { number: 0, presence };
        self.stage.done(self.client.command(frame)).await.is_ok()
    }

    /// Of a hundred offers, 88 are accepted, 8 declined, 4 left alone until they expire.
    async fn decide(&mut self, conversation: ConversationId, epoch: Epoch) {
        let hurry = self.stage.closing_time.is_cancelled();
        // A refusal means that the offer is gone; what became of it comes over the stream.
        if hurry || percent(88) {
            let _ = self.stage.done(self.client.accept(conversation, epoch)).await;
        } else if percent(66) {
            let why = "at lunch in a minute";
            let _ = self.stage.done(self.client.decline(conversation, epoch, why)).await;
        }
    }

    async fn reply(&mut self, conversation: ConversationId) {
        let Some(chat) = self.chats.get_mut(&conversation) else {
            return;
        };
        let (n, heard, language) = (chat.replies, chat.heard, chat.language);
        chat.replies += 1;
        let epoch = chat.epoch;
        let passes_on = n == 1 && percent(8) && !self.stage.closing_time.is_cancelled();
        if passes_on && self.pass_on(conversation).await {
            return;
        }
        // The epoch makes the sentence this assignment's own, should the conversation come back to the same agent.
        let text = story::answer(language, n, &format!("{}·{}", self.name, epoch.0));
        self.stage.say(self.client, conversation, Speaker::Agent, &text).await;
        self.client.typing(conversation, false);
        if n >= 5 || self.stage.closing_time.is_cancelled() {
            self.later(between(2_000, 4_000), Todo::Close(conversation));
        } else {
            let silence = if n > 1 { SILENCE_LATE } else { SILENCE_EARLY };
            self.later(silence, Todo::CloseIfSilent(conversation, heard));
        }
    }

    /// To a colleague in the same queue, who has it alone for a while.
    async fn pass_on(&mut self, conversation: ConversationId) -> bool {
        let queue = self.chats.get(&conversation).and_then(|chat| chat.queue);
        let colleagues = queue.and_then(|queue| self.stage.cast.members.get(&queue));
        let colleagues: Vec<_> = colleagues
            .into_iter()
            .flatten()
            .filter(|(_, name)| name != self.name)
            .collect();
        let Some((colleague, name)) = colleagues.choose(&mut rand::rng()) else {
            return false;
        };
        let transfer = self.client.transfer_to_agent(conversation, *colleague, ALONE_MS);
        let passed = self.stage.done(transfer).await;
        if passed.is_ok() {
            self.chats.remove(&conversation);
            self.tell(
                Kind::Transferred,
                format!("{} passes a conversation on to {name}", self.name),
            );
        }
        passed.is_ok()
    }

    async fn close(&mut self, conversation: ConversationId) {
        if self.chats.remove(&conversation).is_none() {
            return;
        }
        if self
            .stage
            .done(self.client.close_conversation(conversation))
            .await
            .is_ok()
        {
            self.stage.ledger.closed(conversation);
            self.tell(Kind::Closed, format!("{} closes a conversation", self.name));
        }
    }
}
