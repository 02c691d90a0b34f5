//! What is said in a conversation: transcript, messages, notes, read cursors, attributes.

use std::collections::BTreeMap;

use axum::extract::State;
use routing::command::{Author, Command};
use routing::ids::{ConversationId, Epoch};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, RequestKey};
use super::conversations::page_limit;
use super::input::{Asked, At, Given};
use super::model::conversation::{Attribute, ReceiptBody, TextBody};
use super::model::entry::{EntryBody, EntryPage};
use super::problem::Problem;
use super::{ApiState, Reply};
use crate::access::{self, Action, Identity};
use crate::limits::ENTRIES_PAGE_MAX;
use crate::query::{Answer, Query};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(entries))
        .routes(routes!(post_message))
        .routes(routes!(post_note))
        .routes(routes!(mark_read))
        .routes(routes!(set_attributes))
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Those after this seq; from the first unless given.
    pub after: Option<u64>,
    /// Rows, 1–500; 100 unless given.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
}

/// The transcript, in order. Customers see neither notes nor moves; `prev` tells each caller of gaps.
#[utoipa::path(
    get, path = "/v1/conversations/{conversation}/entries", tag = "messages",
    params(("conversation" = String, Path, description = "`conv_…`"), Since),
    responses((status = 200, body = EntryPage))
)]
pub async fn entries(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    Asked(since): Asked<Since>,
) -> Reply<EntryPage> {
    let limit = page_limit(since.limit, ENTRIES_PAGE_MAX)?;
    state.permitted(&identity, Action::Read, conversation).await?;
    let mut after = since.after.unwrap_or(0);
    loop {
        let question = Query::Entries {
            conversation,
            after,
            limit,
        };
        let Answer::Entries(found) = state.ask(identity.tenant, question).await? else {
            return Err(Problem::internal());
        };
        let full = found.len() >= limit;
        let last = found.last().map(|entry| entry.seq);
        let entries: Vec<_> = found
            .iter()
            .filter_map(|entry| EntryBody::shown(entry, &identity))
            .collect();
        match last {
            // A page of which the caller may see nothing is not the end.
            Some(last) if full && entries.is_empty() && last > after => after = last,
            _ => {
                let next_after = last.filter(|_| full);
                return Ok(axum::Json(EntryPage { entries, next_after }));
            }
        }
    }
}

/// A message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageBody {
    /// What it says.
    pub body: TextBody,
    /// Needed from the owner: the epoch of their assignment. Left out by who takes part beside the owner, and by supervisors who
    /// speak from above.
    pub epoch: Option<u64>,
}

/// Posts a message; `receipt.seq` is its place.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/messages", tag = "messages", request_body = MessageBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn post_message(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(given): Given<MessageBody>,
) -> Reply<ReceiptBody> {
    let epoch = given.epoch.map(Epoch);
    let author = author(&state, &identity, conversation, epoch).await?;
    let command = Command::PostMessage {
        conversation,
        author,
        body: given.body.into(),
    };
    state.act(&identity, key, command).await
}

/// As whom the caller writes: see [`Identity::speaker`].
async fn author(
    state: &ApiState,
    identity: &Identity,
    conversation: ConversationId,
    epoch: Option<Epoch>,
) -> Result<Author, Problem> {
    if identity.agent().is_none() || epoch.is_some() {
        state.gate(identity, Action::PostMessage, conversation, epoch).await?;
        return Ok(identity.author(epoch)?);
    }
    let view = state.view(identity.tenant, conversation).await?;
    let view = Some(&view).filter(|view| identity.may_see(view));
    let author = identity.speaker(epoch, view)?;
    match (&author, view) {
        // The state checks the part.
        (Author::Participant { .. }, _) => {}
        (_, Some(view)) => access::permit_on(identity, Action::PostMessage, view)?,
        (_, None) => return Err(Problem::no_such_conversation()),
    }
    Ok(author)
}

/// A note.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteBody {
    /// What it says.
    pub body: TextBody,
}

/// Posts a note that customers never see. For the conversation's agent, and supervisors.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}/notes", tag = "messages", request_body = NoteBody,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn post_note(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(given): Given<NoteBody>,
) -> Reply<ReceiptBody> {
    state.permitted(&identity, Action::PostNote, conversation).await?;
    let command = Command::PostNote {
        conversation,
        agent: identity.agent().ok_or_else(Problem::internal)?,
        body: given.body.into(),
    };
    state.act(&identity, key, command).await
}

/// Up to where the caller has read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadUpTo {
    /// The last entry read.
    pub seq: u64,
}

/// Moves the caller's read cursor; it never goes back.
#[utoipa::path(
    put, path = "/v1/conversations/{conversation}/read", tag = "messages", request_body = ReadUpTo,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn mark_read(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(ReadUpTo { seq }): Given<ReadUpTo>,
) -> Reply<ReceiptBody> {
    state.permitted(&identity, Action::MarkRead, conversation).await?;
    let command = Command::MarkRead {
        conversation,
        reader: identity.reader().ok_or_else(Problem::internal)?,
        seq,
    };
    state.act(&identity, key, command).await
}

/// Attributes to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeChanges {
    /// By key; `null` removes one. Those not named stay.
    #[schema(value_type = Object)]
    pub attributes: BTreeMap<String, Option<Attribute>>,
}

/// Sets attributes of the conversation.
#[utoipa::path(
    patch, path = "/v1/conversations/{conversation}/attributes", tag = "messages", request_body = AttributeChanges,
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = ReceiptBody))
)]
pub async fn set_attributes(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    key: RequestKey,
    Given(AttributeChanges { attributes }): Given<AttributeChanges>,
) -> Reply<ReceiptBody> {
    state.permitted(&identity, Action::SetAttributes, conversation).await?;
    let changes = attributes.into_iter().map(|(key, value)| (key, value.map(Into::into)));
    let command = Command::SetAttributes {
        conversation,
        attributes: changes.collect(),
    };
    state.act(&identity, key, command).await
}
