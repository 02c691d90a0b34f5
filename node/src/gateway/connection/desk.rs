//! An agent's own stream and desk, and what they follow because of them.

use std::sync::Arc;

use routing::event::{AgentItem, AgentItemKind, ConversationView, Phase, UnassignReason};
use routing::ids::ConversationId;
use tokio::time::Instant;

use super::following::ENDED_KEPT;
use super::{Connection, Done};
use crate::access::role_in;
use crate::gateway::backend::Failure;
use crate::gateway::outbound::Outbound;
use crate::gateway::protocol::{ConversationFrame, ServerFrame};
use crate::query::{AgentStream, Answer, Query};

impl Connection {
    pub(super) fn stream_done(&mut self, result: Result<AgentStream, Failure>, out: &mut Outbound) {
        let Some(agent) = &mut self.agent else { return };
        let stream = match result {
            Ok(stream) => stream,
            Err(failure) => {
                tracing::debug!(code = %failure.code, "an agent's stream could not be read; trying again");
                agent.cursor.read_failed();
                return;
            }
        };
        let read = agent.cursor.read(&stream.items, stream.gap, stream.agent_seq);
        self.send_items(&read.items, out);
        if read.desk {
            self.desk(&stream, out);
        }
        self.send_items(&read.later, out);
    }

    fn desk(&mut self, stream: &AgentStream, out: &mut Outbound) {
        out.push(&ServerFrame::Desk {
            agent_seq: stream.agent_seq,
            at_ms: self.backend.now_ms(),
            presence: stream.presence.clone(),
            conversations: stream
                .desk
                .iter()
                .map(|view| ConversationFrame::of(view, false))
                .collect(),
        });
        let me = self.caller.identity.agent();
        let held = |view: &&ConversationView| {
            let owned = matches!(view.phase, Phase::Assigned | Phase::Paused | Phase::WrapUp) && view.agent == me;
            owned || me.is_some_and(|me| role_in(me, view).is_some())
        };
        let mine: Vec<_> = stream.desk.iter().filter(held).collect();
        let ends_at = Some(Instant::now() + ENDED_KEPT);
        for (conversation, followed) in &mut self.conversations {
            if followed.by_assignment && !mine.iter().any(|view| view.conversation == *conversation) {
                followed.ends_at = followed.ends_at.or(ends_at);
            }
        }
        for view in mine {
            self.follow(view.conversation, None, true, Some(Arc::new(view.clone())));
        }
    }

    pub(super) fn send_items(&mut self, items: &[Arc<AgentItem>], out: &mut Outbound) {
        for item in items {
            out.push(&ServerFrame::of_item(item));
            let ends_at = Some(Instant::now() + ENDED_KEPT);
            match &item.kind {
                AgentItemKind::Assigned { conversation, .. } => self.follow(*conversation, None, true, None),
                AgentItemKind::WrapUp { conversation, .. } => self.follow(*conversation, None, true, None),
                AgentItemKind::Unassigned {
                    conversation,
                    reason: UnassignReason::Closed,
                    ..
                }
                | AgentItemKind::WrapUpEnded { conversation, .. } => {
                    if let Some(followed) = self.conversations.get_mut(conversation).filter(|f| f.by_assignment) {
                        followed.ends_at = ends_at;
                    }
                }
                AgentItemKind::Joined { conversation, .. } => self.follow(*conversation, None, true, None),
                AgentItemKind::Left { conversation, .. } | AgentItemKind::InvitationEnded { conversation, .. } => {
                    self.check_again(*conversation);
                }
                AgentItemKind::Unassigned { conversation, .. } if !self.caller.identity.oversees() => {
                    self.drop_following(*conversation);
                }
                _ => {}
            }
        }
    }

    /// A part in a followed conversation is over: may they still follow it (because it is theirs now, say)?
    fn check_again(&mut self, conversation: ConversationId) {
        if !self.conversations.contains_key(&conversation) {
            return;
        }
        let (backend, tenant) = (Arc::clone(&self.backend), self.caller.identity.tenant);
        self.jobs.push(Box::pin(async move {
            let view = match backend.query(tenant, Query::Conversation(conversation)).await {
                Ok(Answer::Conversation(view)) => view.map(Box::new),
                _ => None,
            };
            Done::Checked { conversation, view }
        }));
    }

    pub(super) fn checked(&mut self, conversation: ConversationId, view: Option<&ConversationView>) {
        let identity = &self.caller.identity;
        let mine = |view: &ConversationView| {
            identity
                .agent()
                .is_some_and(|me| view.agent == Some(me) || role_in(me, view).is_some())
        };
        let ended = |view: &ConversationView| matches!(view.phase, Phase::Closed | Phase::WrapUp);
        let Some(followed) = self.conversations.get_mut(&conversation) else {
            return;
        };
        match view {
            Some(view) if mine(view) => {}
            Some(view) if identity.may_see(view) && !followed.by_assignment => {}
            // Its last entries may still be on their way.
            Some(view) if ended(view) => followed.ends_at = Some(Instant::now() + ENDED_KEPT),
            _ => self.drop_following(conversation),
        }
    }
}
