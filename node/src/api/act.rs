//! One act on one conversation, as most of the routes take it: who, on which, under which key, and what the body says of it.

use axum::extract::{FromRequest, FromRequestParts, Request};
use routing::command::{Author, Command};
use routing::event::ConversationView;
use routing::ids::{AgentId, ConversationId, Epoch};
use serde::de::DeserializeOwned;

use super::caller::{Caller, RequestKey};
use super::input::{At, Given};
use super::model::conversation::ReceiptBody;
use super::problem::Problem;
use super::{ApiState, Reply};
use crate::access::{self, Action, Identity};

/// An act and the body of its request.
pub struct Act<T>(pub Acting, pub T);

/// Who acts on which conversation.
pub struct Acting {
    /// Who.
    pub identity: Identity,
    /// Of the path.
    pub conversation: ConversationId,
    key: RequestKey,
    state: ApiState,
}

impl<T: DeserializeOwned> FromRequest<ApiState> for Act<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let Caller(identity) = Caller::from_request_parts(&mut parts, state).await?;
        let At(conversation) = At::from_request_parts(&mut parts, state).await?;
        let key = RequestKey::from_request_parts(&mut parts, state).await?;
        let Given(body) = Given::<T>::from_request(Request::from_parts(parts, body), state).await?;
        let acting = Acting {
            identity,
            conversation,
            key,
            state: state.clone(),
        };
        Ok(Self(acting, body))
    }
}

impl Acting {
    /// The agent who acts under an epoch or their own part; the state checks both.
    pub(super) fn agent(&self, action: Action) -> Result<AgentId, Problem> {
        access::permit(&self.identity, action)?;
        let agent = self.identity.agent();
        agent.ok_or_else(|| Problem::forbidden("this needs an agent"))
    }

    /// Whether they may do this under the epoch that they name: by role, and by object unless the state itself fences the act.
    pub(super) async fn gate(&self, action: Action, epoch: Option<Epoch>) -> Result<(), Problem> {
        let (identity, conversation) = (&self.identity, self.conversation);
        self.state.gate(identity, action, conversation, epoch).await
    }

    /// The same, and as whom they then act.
    pub(super) async fn author(&self, action: Action, epoch: Option<u64>) -> Result<Author, Problem> {
        let epoch = epoch.map(Epoch);
        self.gate(action, epoch).await?;
        Ok(self.identity.author(epoch)?)
    }

    /// The conversation, if they may do this to it.
    pub(super) async fn permitted(&self, action: Action) -> Result<ConversationView, Problem> {
        self.state.permitted(&self.identity, action, self.conversation).await
    }

    /// Has it carried out.
    pub(super) async fn submit(self, command: Command) -> Reply<ReceiptBody> {
        self.state.act(&self.identity, self.key, command).await
    }
}
