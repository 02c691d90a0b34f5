//! One greeted connection, without its socket: commands in order, what is followed, what is sent.
//!
//! All that waits is a future in `jobs`; its result comes back as a [`Done`]. Commands about one conversation are a lane:
//! the next starts when the one before is answered. [`super::socket`] drives this and moves the bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use routing::event::{ConversationView, Entry, Receipt};
use routing::ids::{ConversationId, Seq};
use tokio::sync::mpsc;

use self::following::{AgentFollowed, Followed};
use super::backend::{Backend, Caller, Failure, Guard};
use super::commands::{self, Job, unexpected};
use super::hub::Push;
use super::outbound::Outbound;
use super::protocol::{Ack, AgentTarget, ClientFrame, ErrorFrame, FromClient, QueueTarget, Resume, ServerFrame, Text};
use crate::access::{Action, permit};
use crate::limits::{COMMANDS_IN_FLIGHT_MAX, PAGE_MAX};
use crate::metrics;
use crate::query::{AgentStream, Answer, Query, WaitingPlace};

mod desk;
mod following;
mod waiting;

/// A lane: commands about one conversation, or (`None`) about none.
type Lane = Option<ConversationId>;

/// What came of a job.
pub(super) enum Done {
    Command {
        id: u64,
        lane: Lane,
        started: bool,
        result: Result<Receipt, Failure>,
    },
    /// May this conversation be followed, from after `cursor`?
    Follow {
        id: Option<u64>,
        cursor: Seq,
        conversation: ConversationId,
        result: Result<Arc<ConversationView>, Failure>,
    },
    /// A page of entries, and the view where it was asked for. `round` tells a following from an earlier one of the same
    /// conversation.
    Read {
        conversation: ConversationId,
        round: u64,
        result: Result<PageRead, Failure>,
    },
    /// Whether an agent may still follow this; `None`: nobody could say.
    Checked {
        conversation: ConversationId,
        view: Option<Box<ConversationView>>,
    },
    /// R35: where a followed conversation stands; `None`: it does not wait, or nobody could say.
    Waiting {
        conversation: ConversationId,
        round: u64,
        place: Option<WaitingPlace>,
    },
    Stream(Result<AgentStream, Failure>),
    /// The customer's open conversations.
    Mine(Result<Vec<ConversationView>, Failure>),
    Targets {
        id: u64,
        result: Result<(Vec<QueueTarget>, Vec<AgentTarget>), Failure>,
    },
}

/// A page of a conversation.
pub(super) struct PageRead {
    entries: Vec<Entry>,
    more: bool,
    view: Option<ConversationView>,
}

/// A greeted connection.
pub(super) struct Connection {
    backend: Arc<dyn Backend>,
    caller: Arc<Caller>,
    instance: u64,
    pushes: mpsc::Sender<Push>,
    pub(super) jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    lanes: HashMap<Lane, VecDeque<(u64, ClientFrame)>>,
    commands: usize,
    conversations: HashMap<ConversationId, Followed>,
    /// Cursors of conversations that are not followed (yet, or any more).
    remembered: HashMap<ConversationId, Seq>,
    /// Followed conversations that want a read.
    wanting: VecDeque<ConversationId>,
    reads: usize,
    rounds: u64,
    agent: Option<AgentFollowed>,
    _drain: Guard,
}

impl Connection {
    /// Begins to follow what its caller follows by themselves.
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        caller: Arc<Caller>,
        instance: u64,
        resume: Resume,
        pushes: mpsc::Sender<Push>,
    ) -> Self {
        let drain = backend.watch_drain(pushes.clone());
        let mut connection = Self {
            backend,
            caller,
            instance,
            pushes,
            jobs: FuturesUnordered::new(),
            lanes: HashMap::new(),
            commands: 0,
            conversations: HashMap::new(),
            remembered: HashMap::new(),
            wanting: VecDeque::new(),
            reads: 0,
            rounds: 0,
            agent: None,
            _drain: drain,
        };
        connection.begin(resume);
        connection
    }

    /// Whether it takes another frame now; otherwise the socket is not read.
    pub(super) fn takes_more(&self) -> bool {
        self.commands < COMMANDS_IN_FLIGHT_MAX
    }

    fn for_customer(&self) -> bool {
        self.caller.identity.customer().is_some()
    }

    /// A frame came.
    pub(super) fn frame(&mut self, FromClient { id, frame }: FromClient, out: &mut Outbound) {
        match frame {
            ClientFrame::Ping {} => out.push(&ServerFrame::Pong {
                id,
                at_ms: self.backend.now_ms(),
            }),
            ClientFrame::Hello { .. } => {
                fail(
                    id,
                    Failure::new("already_greeted", "hello is the first frame, and the only one"),
                    out,
                );
            }
            ClientFrame::Typing { conversation, typing } => self.typing(id, conversation, typing, out),
            ClientFrame::Follow { conversation, cursor } => self.check_follow(Some(id), conversation, cursor),
            ClientFrame::Unfollow { conversation } => {
                self.unfollow(conversation);
                out.push(&ServerFrame::Ack(Ack {
                    id,
                    conversation: Some(conversation),
                    ..self.ack_now()
                }));
            }
            ClientFrame::Targets {} => self.targets(id, out),
            frame => {
                if let Some(body) = too_long(&frame) {
                    return fail(id, body, out);
                }
                if matches!(
                    frame,
                    ClientFrame::Message { .. } | ClientFrame::Note { .. } | ClientFrame::Whisper { .. }
                ) {
                    metrics::message("in", self.role());
                }
                self.commands += 1;
                let lane = frame.conversation();
                match self.lanes.get_mut(&lane) {
                    Some(waiting) => waiting.push_back((id, frame)),
                    None => {
                        self.lanes.insert(lane, VecDeque::new());
                        self.carry_out(id, lane, frame);
                    }
                }
            }
        }
    }

    pub(super) fn role(&self) -> &'static str {
        role_of(&self.caller)
    }

    fn ack_now(&self) -> Ack {
        Ack {
            at_ms: self.backend.now_ms(),
            ..Ack::default()
        }
    }

    fn carry_out(&mut self, id: u64, lane: Lane, frame: ClientFrame) {
        let known = lane
            .and_then(|id| self.conversations.get(&id))
            .and_then(|followed| followed.view.clone());
        let started = matches!(frame, ClientFrame::Start { .. });
        let job = Job {
            frame,
            instance: self.instance,
            known,
        };
        let work = commands::carry_out(Arc::clone(&self.backend), Arc::clone(&self.caller), job);
        self.jobs.push(Box::pin(async move {
            Done::Command {
                id,
                lane,
                started,
                result: work.await,
            }
        }));
    }

    /// A job is done.
    pub(super) fn done(&mut self, done: Done, out: &mut Outbound) {
        match done {
            Done::Command {
                id,
                lane,
                started,
                result,
            } => self.command_done(id, lane, started, result, out),
            Done::Follow {
                id,
                cursor,
                conversation,
                result,
            } => self.follow_checked(id, cursor, conversation, result, out),
            Done::Read {
                conversation,
                round,
                result,
            } => self.read_done(conversation, round, result, out),
            Done::Checked { conversation, view } => self.checked(conversation, view.as_deref()),
            Done::Waiting {
                conversation,
                round,
                place,
            } => self.waiting_told(conversation, round, place, out),
            Done::Stream(result) => self.stream_done(result, out),
            Done::Mine(result) => self.mine_done(result),
            Done::Targets { id, result } => match result {
                Ok((queues, agents)) => out.push(&ServerFrame::Targets { id, queues, agents }),
                Err(failure) => fail(id, failure, out),
            },
        }
    }

    fn command_done(
        &mut self,
        id: u64,
        lane: Lane,
        started: bool,
        result: Result<Receipt, Failure>,
        out: &mut Outbound,
    ) {
        self.commands -= 1;
        match result {
            Ok(receipt) => {
                if let (true, Some(conversation)) = (started, receipt.conversation) {
                    self.follow(conversation, None, false, None);
                }
                if receipt.repeated {
                    metrics::messages_redelivered(1);
                }
                out.push(&ServerFrame::Ack(Ack::of(id, &receipt)));
            }
            Err(failure) => {
                // Those behind it must not overtake it when it is repeated.
                if failure.retry_after_ms.is_some() {
                    for (behind, _) in self.lanes.get_mut(&lane).map(std::mem::take).unwrap_or_default() {
                        self.commands -= 1;
                        fail(behind, failure.clone(), out);
                    }
                }
                fail(id, failure, out);
            }
        }
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some((id, frame)) => self.carry_out(id, lane, frame),
            None => drop(self.lanes.remove(&lane)),
        }
    }

    fn typing(&mut self, id: u64, conversation: ConversationId, typing: bool, out: &mut Outbound) {
        let identity = &self.caller.identity;
        let seen = self
            .conversations
            .get(&conversation)
            .and_then(|followed| followed.view.as_ref());
        let allowed = seen.is_some_and(|view| crate::access::permit_on(identity, Action::Typing, view).is_ok());
        match (allowed, identity.reader()) {
            (true, Some(who)) => self.backend.typing(identity.tenant, conversation, who, typing),
            _ => fail(
                id,
                Failure::new("not_following", "typing is told to those who follow the conversation"),
                out,
            ),
        }
    }

    fn targets(&mut self, id: u64, out: &mut Outbound) {
        if self.caller.identity.agent().is_none() || permit(&self.caller.identity, Action::Transfer).is_err() {
            return fail(id, Failure::new("forbidden", "this is for agents"), out);
        }
        let (backend, tenant) = (Arc::clone(&self.backend), self.caller.identity.tenant);
        self.jobs.push(Box::pin(async move {
            let ask = async {
                let queues = match backend.query(tenant, Query::Queues).await? {
                    Answer::Queues(queues) => queues,
                    other => return Err(unexpected(&other)),
                };
                let agents = match backend
                    .query(
                        tenant,
                        Query::Agents {
                            after: None,
                            limit: PAGE_MAX,
                        },
                    )
                    .await?
                {
                    Answer::Agents(agents) => agents,
                    other => return Err(unexpected(&other)),
                };
                let queues = queues.into_iter().map(|q| QueueTarget {
                    queue: q.queue,
                    name: q.settings.name.clone(),
                    waiting: q.waiting,
                });
                let agents = agents.into_iter().map(|a| AgentTarget {
                    agent: a.agent,
                    name: a.settings.name.clone(),
                    presence: a.presence,
                });
                Ok((queues.collect(), agents.collect()))
            };
            Done::Targets { id, result: ask.await }
        }));
    }
}

/// `customer`, `agent`, `supervisor`: labels of metrics, and the word in the welcome.
pub(super) fn role_of(caller: &Caller) -> &'static str {
    match &caller.identity.who {
        crate::access::Who::Customer(_) => "customer",
        crate::access::Who::Agent { .. } => "agent",
        crate::access::Who::Supervisor { .. } => "supervisor",
        crate::access::Who::Admin(_) => "admin",
    }
}

/// Tells a failure.
pub(super) fn fail(id: u64, failure: Failure, out: &mut Outbound) {
    out.push(&ServerFrame::Error(ErrorFrame {
        id: Some(id),
        code: failure.code.into_owned(),
        detail: failure.detail,
        retry_after_ms: failure.retry_after_ms,
    }));
}

/// Refused before the log is troubled with it.
fn too_long(frame: &ClientFrame) -> Option<Failure> {
    let body: &Text = match frame {
        ClientFrame::Message { body, .. } | ClientFrame::Note { body, .. } | ClientFrame::Whisper { body, .. } => body,
        ClientFrame::Start {
            message: Some(body), ..
        } => body,
        _ => return None,
    };
    let max = routing::limits::BODY_MAX_BYTES;
    (body.text.len() > max).then(|| Failure::new("too_large", format!("a body has at most {max} bytes")))
}

/// Between a failed read and the next try.
const READ_AGAIN: Duration = Duration::from_millis(150);
