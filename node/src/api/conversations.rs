//! Starting, listing and reading conversations, and why they are where they are.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use routing::command::Command;
use routing::event::{ConversationView, Phase};
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, QueueId};
use routing::limits::CUSTOMER_MAX_BYTES;
use routing::settings::Classification;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::{Caller, RequestKey};
use super::input::{Asked, At, Given};
use super::model::conversation::{Attributes, Conversation, ConversationPage, ReceiptBody, TextBody, attributes_in};
use super::model::entry::ScheduleBody;
use super::model::settings::RequirementBody;
use super::model::why::WhyBody;
use super::problem::Problem;
use super::{ApiState, Reply};
use crate::access::{self, Action, Identity, Who};
use crate::limits::PAGE_MAX;
use crate::query::{Answer, ConversationFilter, Query};
use crate::rules::{ClassifyError, Situation, Wishes, split_draw};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(start, list))
        .routes(routes!(get))
        .routes(routes!(why))
}

/// A new conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// By which channel.
    #[schema(example = "web_chat")]
    pub channel: String,
    /// For staff, and needed from them: on whose behalf.
    pub customer: Option<String>,
    /// What the rules look at, and agents see.
    #[serde(default)]
    pub attributes: Attributes,
    /// The first message.
    pub message: Option<TextBody>,
    /// Skills needed, beside those of the rule that matches.
    #[serde(default)]
    pub required: Vec<RequirementBody>,
    /// Skills wished, beside those of the rule that matches.
    #[serde(default)]
    pub preferred: Vec<RequirementBody>,
    /// For staff: instead of that of the rule; 0–9, 9 first.
    pub priority: Option<u8>,
    /// For staff: instead of those of the rule; the first that admits it takes it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub queues: Vec<QueueId>,
    /// Begins to wait later.
    pub schedule: Option<ScheduleBody>,
    /// Where the customer can be called back; who waits for a call need not stay connected.
    pub callback: Option<String>,
}

/// A conversation that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub struct Started {
    /// The acknowledgement; `receipt.conversation` is the id.
    pub receipt: ReceiptBody,
    /// The conversation, when it could be read and the caller may see it.
    pub conversation: Option<Conversation>,
}

/// Starts a conversation. The tenant's rules say where it waits. A repeat with the same key gives the first one.
#[utoipa::path(
    post, path = "/v1/conversations", tag = "conversations", request_body = StartBody,
    responses((status = 201, body = Started, headers(("Location" = String))))
)]
pub async fn start(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    key: RequestKey,
    Given(body): Given<StartBody>,
) -> Result<Response, Problem> {
    let customer = on_behalf_of(&identity, body.customer)?;
    if identity.customer().is_some() {
        only_staff(body.priority.is_some(), "/priority")?;
        only_staff(!body.queues.is_empty(), "/queues")?;
    }
    let keeps = body.schedule.is_some_and(|schedule| schedule.keep_age);
    access::permit_keep_age(&identity, keeps).map_err(|denied| Problem::from(denied).at("/schedule/keep_age"))?;
    let (channel, attributes) = (Channel(body.channel), attributes_in(body.attributes));
    let situation = Situation {
        attributes: &attributes,
        channel: &channel,
        customer: &customer,
    };
    let wishes = Wishes {
        queues: body.queues,
        priority: body.priority,
        required: body.required.into_iter().map(Into::into).collect(),
        preferred: body.preferred.into_iter().map(Into::into).collect(),
        preferred_agent: None,
    };
    let conversation = ConversationId(crate::wall_clock::new_id());
    let classification = classify(&state, &identity, conversation, situation, &wishes).await?;
    let command = Command::StartConversation {
        conversation,
        channel,
        customer,
        attributes,
        classification,
        message: body.message.map(Into::into),
        schedule: body.schedule.map(Into::into),
        callback: body.callback,
    };
    let axum::Json(receipt) = state.act(&identity, key, command).await?;
    // The receipt says which: after a repeat it is not the one proposed now.
    let id = receipt.conversation.ok_or_else(Problem::internal)?;
    let view = state
        .view(identity.tenant, id)
        .await
        .ok()
        .filter(|view| identity.may_see(view));
    let conversation = view.map(|view| Conversation::shown(&view, &identity));
    let location = [(header::LOCATION, format!("/v1/conversations/{id}"))];
    Ok((
        StatusCode::CREATED,
        location,
        axum::Json(Started { receipt, conversation }),
    )
        .into_response())
}

fn on_behalf_of(identity: &Identity, given: Option<String>) -> Result<CustomerId, Problem> {
    match (identity.customer(), given) {
        (Some(own), None) => Ok(own.clone()),
        (Some(own), Some(given)) if own.0 == given => Ok(own.clone()),
        (Some(_), Some(_)) => Err(Problem::forbidden("a customer starts only their own conversations").at("/customer")),
        (None, None) => Err(Problem::invalid("missing_field", "/customer", "on whose behalf?")),
        (None, Some(given)) if given.is_empty() || given.len() > CUSTOMER_MAX_BYTES => {
            let detail = format!("a customer's name has 1 to {CUSTOMER_MAX_BYTES} bytes");
            Err(Problem::invalid("invalid", "/customer", detail))
        }
        (None, Some(given)) => Ok(CustomerId(given)),
    }
}

fn only_staff(given: bool, pointer: &str) -> Result<(), Problem> {
    match given {
        true => Err(Problem::forbidden("this is for staff to say").at(pointer)),
        false => Ok(()),
    }
}

async fn classify(
    state: &ApiState,
    identity: &Identity,
    conversation: ConversationId,
    situation: Situation<'_>,
    wishes: &Wishes,
) -> Result<Classification, Problem> {
    let Answer::Rules { rules, fallback } = state.ask(identity.tenant, Query::Rules).await? else {
        return Err(Problem::internal());
    };
    let classified = state
        .classifier
        .classify(&rules, fallback.as_ref(), situation, wishes, split_draw(conversation))
        .map_err(|error| {
            let code = match error {
                ClassifyError::NothingMatches => "no_queue",
                ClassifyError::TooManyRequirements(_) | ClassifyError::TooManyQueues(_) => "too_large",
            };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, error.to_string())
        })?;
    for (rule, why) in &classified.failed {
        tracing::warn!(tenant = %identity.tenant, rule = %rule, why = %why, "a rule failed and was passed over");
    }
    Ok(classified.classification)
}

/// Which conversations.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Waiting or offered in this queue. For agents of the queue, and supervisors.
    #[param(value_type = Option<String>)]
    pub queue: Option<QueueId>,
    /// Of this agent. For supervisors.
    #[param(value_type = Option<String>)]
    pub agent: Option<AgentId>,
    /// Of this customer. For supervisors.
    pub customer: Option<String>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    pub cursor: Option<ConversationId>,
    /// Rows, 1–500; 100 unless given.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<usize>,
}

impl Wanted {
    /// The one filter that is given.
    pub fn filter(&self) -> Result<Option<ConversationFilter>, Problem> {
        match (self.queue, self.agent, &self.customer) {
            (None, None, None) => Ok(None),
            (Some(queue), None, None) => Ok(Some(ConversationFilter::Queue(queue))),
            (None, Some(agent), None) => Ok(Some(ConversationFilter::Agent(agent))),
            (None, None, Some(customer)) => Ok(Some(ConversationFilter::Customer(CustomerId(customer.clone())))),
            _ => Err(Problem::bad_request(
                "bad_parameter",
                "at most one of queue, agent and customer",
            )),
        }
    }
}

/// The number of rows of a page.
pub fn page_limit(wanted: Option<usize>, max: usize) -> Result<usize, Problem> {
    match wanted.unwrap_or(100.min(max)) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(Problem::bad_request("bad_parameter", format!("limit: 1 to {max}"))),
    }
}

/// A page of what the caller may see.
pub async fn page(
    state: &ApiState,
    identity: &Identity,
    filter: ConversationFilter,
    wanted: &Wanted,
) -> Reply<ConversationPage> {
    let limit = page_limit(wanted.limit, PAGE_MAX)?;
    let after = wanted.cursor;
    let Answer::Conversations(views) = state
        .ask(identity.tenant, Query::Conversations { filter, after, limit })
        .await?
    else {
        return Err(Problem::internal());
    };
    let next = views.last().filter(|_| views.len() >= limit);
    Ok(axum::Json(ConversationPage {
        next_cursor: next.map(|view| view.conversation.to_string()),
        conversations: shown(&views, identity),
    }))
}

/// Those that the caller may see, as they may see them.
pub fn shown(views: &[ConversationView], identity: &Identity) -> Vec<Conversation> {
    views
        .iter()
        .filter(|view| identity.may_see(view))
        .map(|view| Conversation::shown(view, identity))
        .collect()
}

/// Conversations: a customer's own; an agent's desk, or what waits in one of their queues; for supervisors any.
#[utoipa::path(
    get, path = "/v1/conversations", tag = "conversations", params(Wanted),
    responses((status = 200, body = ConversationPage))
)]
pub async fn list(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    Asked(wanted): Asked<Wanted>,
) -> Reply<ConversationPage> {
    let filter = match (&identity.who, wanted.filter()?) {
        (Who::Customer(customer), None) => ConversationFilter::Customer(customer.clone()),
        (Who::Customer(_), Some(_)) => return Err(Problem::forbidden("customers list only their own conversations")),
        (Who::Agent { agent, .. }, None) => ConversationFilter::Agent(*agent),
        (Who::Agent { settings, .. }, Some(ConversationFilter::Queue(queue)))
            if settings.queues.contains_key(&queue) =>
        {
            ConversationFilter::Queue(queue)
        }
        (Who::Agent { .. }, Some(_)) => {
            return Err(Problem::forbidden(
                "an agent lists their own conversations and those of their queues",
            ));
        }
        (_, filter) => filter.unwrap_or(ConversationFilter::All),
    };
    page(&state, &identity, filter, &wanted).await
}

/// One conversation; as long as it waits, with its position and how long it will wait.
#[utoipa::path(
    get, path = "/v1/conversations/{conversation}", tag = "conversations",
    params(("conversation" = String, Path, description = "`conv_…`")),
    responses((status = 200, body = Conversation))
)]
pub async fn get(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
) -> Reply<Conversation> {
    shown_whole(&state, &identity, conversation).await
}

/// One conversation, and where it stands as long as it waits (R35).
pub async fn shown_whole(state: &ApiState, identity: &Identity, conversation: ConversationId) -> Reply<Conversation> {
    let view = state.permitted(identity, Action::Read, conversation).await?;
    let mut shown = Conversation::shown(&view, identity);
    if view.phase == Phase::Waiting {
        // Not told of it is better than not told of the conversation.
        if let Ok(Answer::Waiting(place)) = state.ask(identity.tenant, Query::Waiting { conversation }).await {
            shown.waiting = place.map(Into::into);
        }
    }
    Ok(axum::Json(shown))
}

/// Of whom one asks.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WhyNot {
    /// Why not this agent?
    #[param(value_type = Option<String>)]
    pub agent: Option<AgentId>,
}

/// Why it went to whom it went, or why it still waits (R39). For staff.
#[utoipa::path(
    get, path = "/v1/conversations/{conversation}/why", tag = "conversations",
    params(("conversation" = String, Path, description = "`conv_…`"), WhyNot),
    responses((status = 200, body = WhyBody))
)]
pub async fn why(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    At(conversation): At<ConversationId>,
    Asked(WhyNot { agent }): Asked<WhyNot>,
) -> Reply<WhyBody> {
    answer_why(&state, &identity, conversation, agent).await
}

/// R39, for agents and administrators.
pub async fn answer_why(
    state: &ApiState,
    identity: &Identity,
    conversation: ConversationId,
    agent: Option<AgentId>,
) -> Reply<WhyBody> {
    state.permitted(identity, Action::Why, conversation).await?;
    match state.ask(identity.tenant, Query::Why { conversation, agent }).await? {
        Answer::Why(why) => Ok(axum::Json(why.into())),
        _ => Err(Problem::internal()),
    }
}
