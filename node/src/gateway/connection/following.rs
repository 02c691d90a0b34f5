//! What a connection follows: customers their own conversations, agents their own stream and what is assigned to them,
//! and both what they ask for and may see.

use std::sync::Arc;
use std::time::Duration;

use routing::command::Reader;
use routing::event::{ConversationView, Entry, Phase};
use routing::ids::{ConversationId, Seq};
use tokio::time::Instant;

use super::waiting::WaitingTold;
use super::{Connection, Done, PageRead, READ_AGAIN, fail};
use crate::access::{Action, visible_to_customer};
use crate::error::EngineError;
use crate::gateway::backend::{Backend, Failure, Guard};
use crate::gateway::commands::{self, unexpected};
use crate::gateway::delivery::{AgentCursor, EntryCursor};
use crate::gateway::hub::{ListenAs, Push};
use crate::gateway::outbound::Outbound;
use crate::gateway::protocol::{Ack, ConversationFrame, EntryContent, EntryFrame, Party, Resume, ServerFrame};
use crate::limits::{FOLLOWED_MAX, PAGE_MAX, READ_PAGE, READS_IN_FLIGHT_MAX, REMEMBERED_MAX};
use crate::metrics;
use crate::query::{Answer, ConversationFilter, Query};

/// How long an agent goes on following a conversation that has ended: its last entries may come after the word of its end.
pub(super) const ENDED_KEPT: Duration = Duration::from_secs(10);

pub(super) struct Followed {
    cursor: EntryCursor,
    /// As last told.
    pub(super) view: Option<Arc<ConversationView>>,
    view_wanted: bool,
    /// Because it is assigned to the agent, not because they asked.
    pub(super) by_assignment: bool,
    pub(super) ends_at: Option<Instant>,
    queued: bool,
    /// A view came by push since the last read of it began: that one counts, the read's may be older.
    view_pushed: bool,
    pub(super) round: u64,
    pub(super) waiting: WaitingTold,
    _guard: Guard,
}

pub(super) struct AgentFollowed {
    pub(super) cursor: AgentCursor,
    _guard: Guard,
}

impl Connection {
    pub(super) fn begin(&mut self, resume: Resume) {
        let identity = &self.caller.identity;
        let tenant = identity.tenant;
        self.remembered = resume
            .conversations
            .iter()
            .take(REMEMBERED_MAX)
            .map(|(id, seq)| (*id, *seq))
            .collect();
        if let Some(agent) = identity.agent() {
            let guard = self.backend.follow_agent(tenant, agent, self.pushes.clone());
            // Who has nothing gets the desk alone: the items before it are in it.
            let cursor = AgentCursor::new(resume.agent_seq.unwrap_or(u64::MAX));
            self.agent = Some(AgentFollowed { cursor, _guard: guard });
        } else if let Some(customer) = identity.customer().cloned() {
            for (conversation, cursor) in resume.conversations.into_iter().take(FOLLOWED_MAX) {
                self.check_follow(None, conversation, cursor);
            }
            let backend = Arc::clone(&self.backend);
            self.jobs.push(Box::pin(async move {
                Done::Mine(open_conversations(&*backend, tenant, customer).await)
            }));
        }
    }

    /// Asks whether the caller may follow it, then follows.
    pub(super) fn check_follow(&mut self, id: Option<u64>, conversation: ConversationId, cursor: Seq) {
        let (backend, caller) = (Arc::clone(&self.backend), Arc::clone(&self.caller));
        self.jobs.push(Box::pin(async move {
            let mut result = commands::view(&*backend, &caller.identity, conversation, Action::Read).await;
            if id.is_none() && result.as_ref().is_err_and(|failure| failure.retry_after_ms.is_some()) {
                tokio::time::sleep(READ_AGAIN).await; // nobody else repeats what came with the hello
                result = commands::view(&*backend, &caller.identity, conversation, Action::Read).await;
            }
            Done::Follow {
                id,
                cursor,
                conversation,
                result,
            }
        }));
    }

    pub(super) fn follow_checked(
        &mut self,
        id: Option<u64>,
        cursor: Seq,
        conversation: ConversationId,
        result: Result<Arc<ConversationView>, Failure>,
        out: &mut Outbound,
    ) {
        let result = result.and_then(|view| {
            let last = if self.for_customer() {
                view.last_seq_for_customer
            } else {
                view.last_seq
            };
            if cursor > view.last_seq {
                let detail = format!("the cursor is {cursor}, the last entry {last}");
                return Err(Failure::new("cursor_ahead", detail));
            }
            if self.conversations.len() >= FOLLOWED_MAX && !self.conversations.contains_key(&conversation) {
                let detail = format!("a connection follows at most {FOLLOWED_MAX} conversations");
                return Err(Failure::new("too_many_followed", detail));
            }
            Ok(view)
        });
        match (result, id) {
            (Ok(view), _) => {
                // Asked for: from there, whatever has been sent before.
                if id.is_some() {
                    self.drop_following(conversation);
                }
                self.follow(conversation, Some(cursor), false, Some(view));
                if let Some(id) = id {
                    out.push(&ServerFrame::Ack(Ack {
                        id,
                        conversation: Some(conversation),
                        ..self.ack_now()
                    }));
                }
            }
            (Err(failure), Some(id)) => fail(id, failure, out),
            (Err(failure), None) => {
                tracing::debug!(%conversation, code = %failure.code, "a conversation of the hello is not followed");
                // What is only out of reach for now is the connection's to lose: the client comes back with its cursors.
                if failure.retry_after_ms.is_some() {
                    out.give_up("unavailable");
                }
            }
        }
    }

    /// Follows, first; then reads. Of what is followed already nothing changes but why.
    pub(super) fn follow(
        &mut self,
        conversation: ConversationId,
        cursor: Option<Seq>,
        by_assignment: bool,
        view: Option<Arc<ConversationView>>,
    ) {
        if let Some(followed) = self.conversations.get_mut(&conversation) {
            followed.ends_at = None;
            followed.by_assignment &= by_assignment;
            return;
        }
        if self.conversations.len() >= FOLLOWED_MAX {
            self.forget_ended(true);
        }
        let remembered = self.remembered.remove(&conversation);
        let cursor = cursor.or(remembered).unwrap_or(0);
        let listen_as = if self.for_customer() {
            ListenAs::Customer
        } else {
            ListenAs::Staff
        };
        let tenant = self.caller.identity.tenant;
        let guard = self
            .backend
            .follow_conversation(tenant, conversation, listen_as, self.pushes.clone());
        self.rounds += 1;
        let followed = Followed {
            cursor: EntryCursor::new(self.for_customer(), cursor),
            view,
            view_wanted: true,
            by_assignment,
            ends_at: None,
            queued: true,
            view_pushed: false,
            round: self.rounds,
            waiting: WaitingTold::default(),
            _guard: guard,
        };
        self.conversations.insert(conversation, followed);
        self.wanting.push_back(conversation);
    }

    pub(super) fn unfollow(&mut self, conversation: ConversationId) {
        self.drop_following(conversation);
    }

    pub(super) fn drop_following(&mut self, conversation: ConversationId) {
        if let Some(followed) = self.conversations.remove(&conversation) {
            if self.remembered.len() >= REMEMBERED_MAX
                && let Some(any) = self.remembered.keys().next().copied()
            {
                self.remembered.remove(&any);
            }
            self.remembered.insert(conversation, followed.cursor.have());
        }
    }

    /// Ends the following of what has ended for long enough, or (`now`) of all that has ended.
    pub(in crate::gateway) fn forget_ended(&mut self, now: bool) {
        let at = Instant::now();
        let ended = |followed: &Followed| followed.ends_at.is_some_and(|ends_at| now || ends_at <= at);
        let over: Vec<_> = self
            .conversations
            .iter()
            .filter(|(_, f)| ended(f))
            .map(|(id, _)| *id)
            .collect();
        over.into_iter()
            .for_each(|conversation| self.drop_following(conversation));
    }

    /// A push came.
    pub(in crate::gateway) fn pushed(&mut self, push: Push, out: &mut Outbound) {
        match push {
            Push::Entry(entry) => {
                if let Some(followed) = self.conversations.get_mut(&entry.conversation) {
                    let conversation = entry.conversation;
                    let mut frames = Vec::new();
                    followed.cursor.pushed(entry, &mut frames);
                    self.send_entries(frames, out);
                    self.want_read(conversation);
                }
            }
            Push::Conversation(view) => {
                if let Some(followed) = self.conversations.get_mut(&view.conversation) {
                    followed.view_pushed = true;
                }
                self.view_changed(view, out);
            }
            Push::Read(conversation, reader, seq) => {
                let for_customer = self.for_customer();
                let followed = self.conversations.get(&conversation);
                // Who is in it unseen is not to be seen reading.
                let seen = |followed: &Followed| match (for_customer, reader) {
                    (true, Reader::Agent(agent)) => {
                        let view = followed.view.as_deref();
                        view.is_some_and(|view| visible_to_customer(agent, view))
                    }
                    _ => true,
                };
                if followed.is_some_and(seen) {
                    out.push(&ServerFrame::Read {
                        conversation,
                        reader: reader.into(),
                        seq,
                    });
                }
            }
            Push::Typing(conversation, who, typing) => {
                if self.conversations.contains_key(&conversation) && self.caller.identity.reader() != Some(who) {
                    out.push(&ServerFrame::Typing {
                        conversation,
                        who: Party::from(who),
                        typing,
                    });
                }
            }
            Push::AgentItem(item) => {
                let items = self
                    .agent
                    .as_mut()
                    .map(|agent| agent.cursor.pushed(item))
                    .unwrap_or_default();
                self.send_items(&items, out);
            }
            Push::Resync(conversation) => self.resync(conversation),
            Push::ResyncAgent(_) => {
                if let Some(agent) = &mut self.agent {
                    agent.cursor.resync();
                }
            }
            Push::Drain(_) => {} // the socket's
        }
    }

    /// Pushes may have been lost anywhere.
    pub(in crate::gateway) fn resync_all(&mut self) {
        let all: Vec<_> = self.conversations.keys().copied().collect();
        all.into_iter().for_each(|conversation| self.resync(conversation));
        if let Some(agent) = &mut self.agent {
            agent.cursor.resync();
        }
    }

    fn resync(&mut self, conversation: ConversationId) {
        if let Some(followed) = self.conversations.get_mut(&conversation) {
            followed.cursor.resync();
            followed.view_wanted = true;
            self.want_read(conversation);
        }
    }

    fn want_read(&mut self, conversation: ConversationId) {
        if let Some(followed) = self.conversations.get_mut(&conversation)
            && followed.cursor.wants_read()
            && !followed.queued
        {
            followed.queued = true;
            self.wanting.push_back(conversation);
        }
    }

    /// Starts the reads that are wanted, as far as the outbound queue has room for their pages.
    pub(in crate::gateway) fn start_reads(&mut self, out: &Outbound) {
        let (backend, tenant) = (&self.backend, self.caller.identity.tenant);
        if let Some(agent_id) = self.caller.identity.agent()
            && let Some(agent) = &mut self.agent
            && let Some(after) = agent.cursor.start_read()
        {
            let backend = Arc::clone(backend);
            self.jobs.push(Box::pin(async move {
                let result = match backend
                    .query(tenant, Query::AgentStream { agent: agent_id, after })
                    .await
                {
                    Ok(Answer::AgentStream(stream)) => Ok(stream),
                    Ok(other) => Err(unexpected(&other)),
                    Err(error) => Err(error.into()),
                };
                if result.is_err() {
                    tokio::time::sleep(READ_AGAIN).await;
                }
                Done::Stream(result)
            }));
        }
        while self.reads < READS_IN_FLIGHT_MAX && out.has_room() {
            let Some(conversation) = self.wanting.pop_front() else {
                return;
            };
            let Some(followed) = self.conversations.get_mut(&conversation) else {
                continue;
            };
            followed.queued = false;
            let Some(after) = followed.cursor.start_read() else {
                continue;
            };
            let with_view = std::mem::take(&mut followed.view_wanted);
            followed.view_pushed &= !with_view;
            let (round, backend) = (followed.round, Arc::clone(backend));
            self.reads += 1;
            self.jobs.push(Box::pin(async move {
                let result = read_page(&*backend, tenant, conversation, after, with_view).await;
                if result.is_err() {
                    tokio::time::sleep(READ_AGAIN).await;
                }
                Done::Read {
                    conversation,
                    round,
                    result,
                }
            }));
        }
    }

    pub(super) fn read_done(
        &mut self,
        conversation: ConversationId,
        round: u64,
        result: Result<PageRead, Failure>,
        out: &mut Outbound,
    ) {
        self.reads -= 1;
        let Some(followed) = self.conversations.get_mut(&conversation).filter(|f| f.round == round) else {
            return;
        };
        match result {
            Ok(page) => {
                let mut frames = Vec::new();
                followed.cursor.read(&page.entries, page.more, &mut frames);
                let view = page.view.filter(|_| !followed.view_pushed);
                self.send_entries(frames, out);
                if let Some(view) = view {
                    self.view_changed(Arc::new(view), out);
                }
            }
            Err(failure) => {
                tracing::debug!(%conversation, code = %failure.code, "a conversation could not be read; trying again");
                followed.view_wanted = true;
                followed.cursor.read_failed();
            }
        }
        self.want_read(conversation);
    }

    fn view_changed(&mut self, view: Arc<ConversationView>, out: &mut Outbound) {
        let for_customer = self.for_customer();
        let Some(followed) = self.conversations.get_mut(&view.conversation) else {
            return;
        };
        out.push(&ServerFrame::Conversation(ConversationFrame::of(&view, for_customer)));
        let begins = view.phase == Phase::Waiting
            && followed
                .view
                .as_ref()
                .is_none_or(|before| before.phase != Phase::Waiting);
        followed.view = Some(view);
        if begins {
            followed.waiting = WaitingTold::default();
            self.ask_waiting();
        }
    }

    fn send_entries(&mut self, frames: Vec<EntryFrame>, out: &mut Outbound) {
        for frame in frames {
            if matches!(frame.content, EntryContent::Message { .. } | EntryContent::Note { .. }) {
                metrics::message("out", self.role());
                // Stamp of the log against this node's clock: as exact as they agree.
                metrics::message_delivery(Duration::from_millis(self.backend.now_ms().saturating_sub(frame.at_ms)));
            }
            out.push(&ServerFrame::Entry(frame));
        }
    }

    pub(super) fn mine_done(&mut self, result: Result<Vec<ConversationView>, Failure>) {
        match result {
            Ok(open) => {
                for view in open {
                    if self.conversations.len() < FOLLOWED_MAX {
                        self.follow(view.conversation, None, false, Some(Arc::new(view)));
                    }
                }
            }
            Err(failure) => tracing::debug!(code = %failure.code, "a customer's conversations could not be listed"),
        }
    }
}

async fn read_page(
    backend: &dyn Backend,
    tenant: routing::ids::TenantId,
    conversation: ConversationId,
    after: Seq,
    with_view: bool,
) -> Result<PageRead, Failure> {
    let entries = |answer| match answer {
        Answer::Entries(entries) => Ok::<Vec<Entry>, Failure>(entries),
        other => Err(unexpected(&other)),
    };
    let entries = entries(
        backend
            .query(
                tenant,
                Query::Entries {
                    conversation,
                    after,
                    limit: READ_PAGE,
                },
            )
            .await?,
    )?;
    let view = if with_view {
        match backend.query(tenant, Query::Conversation(conversation)).await? {
            Answer::Conversation(view) => view,
            other => return Err(unexpected(&other)),
        }
    } else {
        None
    };
    Ok(PageRead {
        more: entries.len() >= READ_PAGE,
        entries,
        view,
    })
}

/// The customer's conversations that are not closed; asked again until there is an answer.
async fn open_conversations(
    backend: &dyn Backend,
    tenant: routing::ids::TenantId,
    customer: routing::ids::CustomerId,
) -> Result<Vec<ConversationView>, Failure> {
    let (mut open, mut after) = (Vec::new(), None);
    loop {
        let filter = ConversationFilter::Customer(customer.clone());
        match backend
            .query(
                tenant,
                Query::Conversations {
                    filter,
                    after,
                    limit: PAGE_MAX,
                },
            )
            .await
        {
            Ok(Answer::Conversations(page)) => {
                let full = page.len() >= PAGE_MAX;
                after = page.last().map(|view| view.conversation);
                open.extend(page.into_iter().filter(|view| view.phase != Phase::Closed));
                if !full || open.len() >= FOLLOWED_MAX {
                    return Ok(open);
                }
            }
            Ok(other) => return Err(unexpected(&other)),
            Err(EngineError::NoLeader | EngineError::OutcomeUnknown | EngineError::Overloaded { .. }) => {
                tokio::time::sleep(READ_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
