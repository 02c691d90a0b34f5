//! The Rust client of the WebSocket protocol: one task per client, hundreds of clients per process.
//!
//! It reconnects to the next node when a connection ends, resumes by cursor, and repeats what was not acknowledged with
//! the same number, so that each command is done exactly once however often the connection breaks. Commands about one
//! conversation keep their order: the next is sent when the one before is settled. Plain `ws://` only.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use routing::command::Role;
use routing::ids::{AgentId, ConversationId, Epoch, QueueId, Seq};
use tokio::sync::{mpsc, oneshot, watch};

use crate::gateway::protocol::{
    Ack, Attribute, ClientFrame, Later, Resume, ServerFrame, Target, Text, WantedPresence, Welcome, web_chat,
};

mod connection;
mod outbox;

/// Commands of one client that wait for their acknowledgement; past it [`ClientError::TooMany`].
pub const COMMANDS_WAITING_MAX: usize = 1_024;
/// Events that wait to be taken; past it the client stops reading from its socket.
pub const EVENTS_WAITING_MAX: usize = 1_024;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Nodes: `ws://host:port` or `http://host:port`; those of the welcome are added.
    pub urls: Vec<String>,
    /// JWT.
    pub token: String,
    /// Names this client for ever, together with the token's principal. Below 2^53; never used by two clients at once.
    pub instance: u64,
    /// First number that is used; above all that this instance has used before.
    pub first_number: u64,
    /// Where to go on reading.
    pub resume: Resume,
    /// A try to connect takes at most so long, greeting included.
    pub connect_deadline: Duration,
    /// Longest pause between two tries.
    pub pause_max: Duration,
    /// A connection on which nothing arrives for so long (pings go out in between) is given up.
    pub silence_max: Duration,
}

impl ClientOptions {
    /// With defaults for the rest.
    pub fn new(urls: Vec<String>, token: impl Into<String>, instance: u64) -> Self {
        Self {
            urls,
            token: token.into(),
            instance,
            first_number: 1,
            resume: Resume::default(),
            connect_deadline: Duration::from_secs(2),
            pause_max: Duration::from_secs(2),
            silence_max: Duration::from_secs(10),
        }
    }
}

/// What a client learns.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// Connected, and greeted.
    Connected {
        /// To which of the nodes.
        url: String,
        /// What it said.
        welcome: Welcome,
    },
    /// The connection is gone, or could not be made; the next try follows.
    Disconnected {
        /// To which of the nodes.
        url: String,
        /// In a sentence.
        why: String,
    },
    /// Anything but `welcome`, `ack` and `pong`. Entries and items of the agent's stream come in order, without duplicates.
    Frame(ServerFrame),
    /// An entry did not follow on the one before it. A fault of the node's: the client drops it and reads from its cursor again.
    Gap {
        /// Where.
        conversation: ConversationId,
        /// Last entry that the client has.
        have: Seq,
        /// What the entry says comes before it.
        prev: Seq,
    },
    /// The token is not accepted, or has ended: there is no further try.
    Refused {
        /// Stable.
        code: String,
        /// In a sentence.
        detail: String,
    },
}

/// Why a command gave no acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// It was refused; nothing changed.
    #[error("{code}: {detail}")]
    Refused {
        /// Stable.
        code: String,
        /// In a sentence.
        detail: String,
    },
    /// The client was closed, or its token refused: whether it was done is not known.
    #[error("the client has ended")]
    Ended,
    /// Too many commands wait; it was not sent.
    #[error("more than {COMMANDS_WAITING_MAX} commands wait")]
    TooMany,
}

/// The events of one client. Dropping it is allowed; the events are then thrown away.
pub type ClientEvents = mpsc::Receiver<ClientEvent>;

/// A client. A cheap clone; when the last one is dropped, the connection ends.
#[derive(Clone, Debug)]
pub struct Client {
    orders: mpsc::UnboundedSender<Order>, // bounded by `waiting`
    waiting: Arc<AtomicUsize>,
    connected: watch::Receiver<Option<String>>,
}

/// What the task is told.
#[derive(Debug)]
enum Order {
    Command(ClientFrame, Reply),
    Say(ClientFrame),
    Break,
    Close,
}

/// Where a command's acknowledgement goes. Counts as waiting until it is dropped.
#[derive(Debug)]
struct Reply {
    to: Option<oneshot::Sender<Result<Ack, ClientError>>>,
    waiting: Arc<AtomicUsize>,
}

impl Reply {
    fn settle(mut self, result: Result<Ack, ClientError>) {
        if let Some(to) = self.to.take() {
            let _ = to.send(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The acknowledgement to come. Dropping it does not take the command back.
#[derive(Debug)]
pub struct PendingAck(oneshot::Receiver<Result<Ack, ClientError>>);

impl Future for PendingAck {
    type Output = Result<Ack, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|received| received.unwrap_or(Err(ClientError::Ended)))
    }
}

impl Client {
    /// Starts a client on this runtime and returns at once; [`ClientEvent::Connected`] tells when it is there.
    pub fn connect(urls: Vec<String>, token: impl Into<String>, instance: u64) -> (Self, ClientEvents) {
        Self::connect_with(ClientOptions::new(urls, token, instance))
    }

    /// The same, with every option.
    pub fn connect_with(options: ClientOptions) -> (Self, ClientEvents) {
        let (orders, taken) = mpsc::unbounded_channel();
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let (connected_tx, connected) = watch::channel(None);
        tokio::spawn(connection::run(options, taken, events, connected_tx));
        (
            Self {
                orders,
                waiting: Arc::default(),
                connected,
            },
            receiver,
        )
    }

    /// Sends a command; its `number` is set by the client.
    pub fn command(&self, frame: ClientFrame) -> PendingAck {
        let (to, receiver) = oneshot::channel();
        let full = self.waiting.fetch_add(1, Ordering::Relaxed) >= COMMANDS_WAITING_MAX;
        let reply = Reply {
            to: Some(to),
            waiting: Arc::clone(&self.waiting),
        };
        if full {
            reply.settle(Err(ClientError::TooMany));
        } else if let Err(mpsc::error::SendError(Order::Command(_, reply))) =
            self.orders.send(Order::Command(frame, reply))
        {
            reply.settle(Err(ClientError::Ended));
        }
        PendingAck(receiver)
    }

    /// Says something that is not a command (`typing`, `read`, `follow`, `unfollow`, `targets`). Lost when there is no
    /// connection, except that `follow` and `unfollow` are remembered.
    pub fn say(&self, frame: ClientFrame) {
        let _ = self.orders.send(Order::Say(frame));
    }

    /// A customer comes; the acknowledgement names the conversation, which is followed from then on.
    pub fn start(&self, attributes: BTreeMap<String, Attribute>, message: Option<&str>) -> PendingAck {
        let message = message.map(Text::plain);
        self.command(ClientFrame::Start {
            number: 0,
            channel: web_chat(),
            attributes,
            message,
            schedule: None,
            callback: None,
        })
    }

    /// A customer wants to talk later (R33): at a time, or when an agent is back; `callback`: where they can be called.
    pub fn start_later(&self, message: Option<&str>, schedule: Option<Later>, callback: Option<&str>) -> PendingAck {
        self.command(ClientFrame::Start {
            number: 0,
            channel: web_chat(),
            attributes: BTreeMap::new(),
            message: message.map(Text::plain),
            schedule,
            callback: callback.map(str::to_owned),
        })
    }

    /// A customer's message, or an agent's (under the epoch that the gateway knows).
    pub fn message(&self, conversation: ConversationId, text: impl Into<String>) -> PendingAck {
        self.command(ClientFrame::Message {
            number: 0,
            conversation,
            body: Text::plain(text),
            epoch: None,
        })
    }

    /// An agent's message under an epoch.
    pub fn message_under(&self, conversation: ConversationId, epoch: Epoch, text: impl Into<String>) -> PendingAck {
        self.command(ClientFrame::Message {
            number: 0,
            conversation,
            body: Text::plain(text),
            epoch: Some(epoch),
        })
    }

    /// A note.
    pub fn note(&self, conversation: ConversationId, text: impl Into<String>) -> PendingAck {
        self.command(ClientFrame::Note {
            number: 0,
            conversation,
            body: Text::plain(text),
        })
    }

    /// Read up to `seq`.
    pub fn read(&self, conversation: ConversationId, seq: Seq) {
        self.say(ClientFrame::Read { conversation, seq });
    }

    /// Types, or stopped.
    pub fn typing(&self, conversation: ConversationId, typing: bool) {
        self.say(ClientFrame::Typing { conversation, typing });
    }

    /// Ends a conversation.
    pub fn close_conversation(&self, conversation: ConversationId) -> PendingAck {
        self.close_as(conversation, None, None)
    }

    /// Ends a conversation: what came of it, and whether the customer was helped.
    pub fn close_as(
        &self,
        conversation: ConversationId,
        disposition: Option<String>,
        resolved: Option<bool>,
    ) -> PendingAck {
        self.command(ClientFrame::Close {
            number: 0,
            conversation,
            epoch: None,
            disposition,
            resolved,
        })
    }

    /// An agent is there.
    pub fn sign_in(&self) -> PendingAck {
        self.command(ClientFrame::SignIn {
            number: 0,
            presence: WantedPresence::Available,
        })
    }

    /// An agent goes.
    pub fn sign_out(&self) -> PendingAck {
        self.command(ClientFrame::SignOut { number: 0 })
    }

    /// Takes an offer.
    pub fn accept(&self, conversation: ConversationId, epoch: Epoch) -> PendingAck {
        self.command(ClientFrame::Accept {
            number: 0,
            conversation,
            epoch,
        })
    }

    /// Leaves an offer to others.
    pub fn decline(&self, conversation: ConversationId, epoch: Epoch, reason: impl Into<String>) -> PendingAck {
        self.command(ClientFrame::Decline {
            number: 0,
            conversation,
            epoch,
            reason: reason.into(),
        })
    }

    /// Ends a wrap-up.
    pub fn finish_wrap_up(&self, conversation: ConversationId, epoch: Epoch) -> PendingAck {
        self.command(ClientFrame::FinishWrapUp {
            number: 0,
            conversation,
            epoch,
            disposition: None,
        })
    }

    /// Passes a conversation on to a queue.
    pub fn transfer_to_queue(&self, conversation: ConversationId, queue: QueueId) -> PendingAck {
        let to = Target::Queue { queue };
        self.command(ClientFrame::Transfer {
            number: 0,
            conversation,
            epoch: None,
            to,
        })
    }

    /// Passes a conversation on to an agent, who has `wait_ms` for it before anybody else.
    pub fn transfer_to_agent(&self, conversation: ConversationId, agent: AgentId, wait_ms: u64) -> PendingAck {
        let to = Target::Agent { agent, wait_ms };
        self.command(ClientFrame::Transfer {
            number: 0,
            conversation,
            epoch: None,
            to,
        })
    }

    /// Asks another agent in (R31): [`Role::Consult`] or [`Role::Conference`].
    pub fn invite(&self, conversation: ConversationId, agent: AgentId, role: Role) -> PendingAck {
        self.command(ClientFrame::Invite {
            number: 0,
            conversation,
            epoch: None,
            agent,
            role,
        })
    }

    /// Answers an invitation.
    pub fn answer_invitation(&self, conversation: ConversationId, accept: bool) -> PendingAck {
        self.command(ClientFrame::AnswerInvitation {
            number: 0,
            conversation,
            accept,
        })
    }

    /// A supervisor comes in, or changes role: [`Role::Monitor`], [`Role::Whisper`] or [`Role::Barge`].
    pub fn join_as(&self, conversation: ConversationId, role: Role) -> PendingAck {
        self.command(ClientFrame::Join {
            number: 0,
            conversation,
            role,
        })
    }

    /// A participant goes.
    pub fn leave(&self, conversation: ConversationId) -> PendingAck {
        self.command(ClientFrame::Leave {
            number: 0,
            conversation,
        })
    }

    /// The owner lets a participant go, or takes an invitation back.
    pub fn remove_participant(&self, conversation: ConversationId, agent: AgentId) -> PendingAck {
        self.command(ClientFrame::Remove {
            number: 0,
            conversation,
            epoch: None,
            agent,
        })
    }

    /// Warm transfer: a participant becomes the owner.
    pub fn complete_transfer(&self, conversation: ConversationId, to: AgentId) -> PendingAck {
        self.command(ClientFrame::CompleteTransfer {
            number: 0,
            conversation,
            epoch: None,
            to,
        })
    }

    /// To the agents in the conversation.
    pub fn whisper(&self, conversation: ConversationId, text: impl Into<String>) -> PendingAck {
        self.command(ClientFrame::Whisper {
            number: 0,
            conversation,
            body: Text::plain(text),
        })
    }

    /// Puts a conversation off (R33).
    pub fn schedule(&self, conversation: ConversationId, schedule: Later) -> PendingAck {
        self.command(ClientFrame::Schedule {
            number: 0,
            conversation,
            epoch: None,
            schedule,
        })
    }

    /// What was put off waits now.
    pub fn cancel_schedule(&self, conversation: ConversationId) -> PendingAck {
        self.command(ClientFrame::CancelSchedule {
            number: 0,
            conversation,
        })
    }

    /// A waiting customer wants to be called back.
    pub fn request_callback(&self, conversation: ConversationId, contact: impl Into<String>) -> PendingAck {
        self.command(ClientFrame::Callback {
            number: 0,
            conversation,
            contact: contact.into(),
        })
    }

    /// The customer's rating, 1–5.
    pub fn rate(&self, conversation: ConversationId, rating: u8, comment: Option<String>) -> PendingAck {
        self.command(ClientFrame::Rate {
            number: 0,
            conversation,
            rating,
            comment,
        })
    }

    /// The node that it is connected to, as it changes.
    pub fn connected(&self) -> watch::Receiver<Option<String>> {
        self.connected.clone()
    }

    /// Waits until there is a connection. `false`: there will be none.
    pub async fn ready(&self) -> bool {
        self.connected.clone().wait_for(Option::is_some).await.is_ok()
    }

    /// Commands without acknowledgement.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Drops the connection without a goodbye, as a broken network does; the client reconnects.
    pub fn break_connection(&self) {
        let _ = self.orders.send(Order::Break);
    }

    /// Ends the client with a goodbye. Commands without acknowledgement end with [`ClientError::Ended`].
    pub fn close(&self) {
        let _ = self.orders.send(Order::Close);
    }
}
