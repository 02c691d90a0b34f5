//! Answers to queries, from a replica's state and rows.

use cluster::state_machine::ShardId;
use cluster::storage::RowStore;
use routing::event::{ConversationView, Phase};
use routing::ids::{AgentId, CalendarId, ConversationId, Millis, QueueId, TenantId};
use routing::queue_manager::WhyNot;
use routing::settings::PolicyVersion;
use routing::state::Tenant;
use routing::view::Presence;

use super::why;
use crate::error::EngineError;
use crate::limits::{ENTRIES_PAGE_MAX, GATEWAY_CLOCK_SKEW_MS, PAGE_MAX};
use crate::query::{AgentRecord, AgentStream, Answer, ConversationFilter, PolicyVersionRecord, Query, QueueRecord};
use crate::reports;
use crate::shard_host::{
    CLOSED, ENTRIES, PRESENCES, SharedState, conversation_key, entry_key, open_entry, open_presence, open_view,
    presence_key,
};

/// Rows are read after the state's lock is let go: they are only ever added.
pub fn answer(
    state: &SharedState,
    rows: &dyn RowStore,
    shard: ShardId,
    tenant_id: TenantId,
    query: Query,
    waiting: Option<WhyNot>,
) -> Result<Answer, EngineError> {
    let archived = |id: ConversationId| -> Result<Option<ConversationView>, EngineError> {
        let row = rows
            .get(shard, CLOSED, &conversation_key(tenant_id, id))
            .map_err(internal)?;
        row.map(|row| open_view(&row)).transpose().map_err(internal)
    };
    let with = |f: &dyn Fn(&Tenant) -> Answer| -> Result<Answer, EngineError> {
        state.read().tenant(tenant_id).map(f).ok_or(EngineError::UnknownTenant)
    };
    match query {
        Query::Conversation(id) => {
            let here = with(&|tenant| Answer::Conversation(tenant.conversation(id)))?;
            match here {
                Answer::Conversation(None) => archived(id).map(Answer::Conversation),
                found => Ok(found),
            }
        }
        Query::Entries {
            conversation,
            after,
            limit,
        } => {
            let (from, until) = (
                entry_key(tenant_id, conversation, after.saturating_add(1)),
                entry_key(tenant_id, conversation, u64::MAX),
            );
            let found = rows
                .scan(shard, ENTRIES, &from, &until, limit.clamp(1, ENTRIES_PAGE_MAX))
                .map_err(internal)?;
            let entries: Result<Vec<_>, _> = found.iter().map(|(_, row)| open_entry(row)).collect();
            entries.map(Answer::Entries).map_err(internal)
        }
        Query::Conversations { filter, after, limit } => {
            with(&|tenant| Answer::Conversations(conversations(tenant, &filter, after, limit.clamp(1, PAGE_MAX))))
        }
        Query::Closed {
            from_ms,
            until_ms,
            after,
            limit,
        } => closed(
            rows,
            shard,
            tenant_id,
            (from_ms, until_ms),
            after,
            limit.clamp(1, PAGE_MAX),
        ),
        Query::Presences {
            from_ms,
            until_ms,
            limit,
        } => {
            let key = |at_ms| presence_key(tenant_id, at_ms, AgentId(0), 0);
            let limit = limit.clamp(1, PAGE_MAX);
            let found = rows
                .scan(shard, PRESENCES, &key(from_ms), &key(until_ms), limit)
                .map_err(internal)?;
            let presences: Result<Vec<_>, _> = found.iter().map(|(_, row)| open_presence(row)).collect();
            presences.map(Answer::Presences).map_err(internal)
        }
        Query::Setting => with(&|tenant| Answer::Setting {
            policy: Box::new(tenant.policy()),
            agents: tenant.agents().map(|view| (view.agent, view.settings)).collect(),
        }),
        Query::Policy { version } => with(&|tenant| policy(tenant, version)),
        Query::PolicyVersions => with(&|tenant| Answer::PolicyVersions(policy_versions(tenant))),
        Query::Agent(id) => with(&|tenant| Answer::Agent(agent(tenant, id))),
        Query::AgentNamed(name) => {
            with(&|tenant| Answer::Agent(tenant.agent_named(&name).and_then(|id| agent(tenant, id))))
        }
        Query::Agents { after, limit } => with(&|tenant| {
            let after = after.unwrap_or(AgentId(0));
            let all = tenant
                .agents()
                .filter(|a| a.agent > after)
                .take(limit.clamp(1, PAGE_MAX));
            Answer::Agents(all.filter_map(|a| agent(tenant, a.agent)).collect())
        }),
        Query::AgentStream { agent, after } => with(&|tenant| Answer::AgentStream(stream(tenant, agent, after))),
        Query::Queues => with(&|tenant| Answer::Queues(queues(tenant))),
        Query::Skills => with(&|tenant| Answer::Skills(tenant.skills().clone())),
        Query::Rules => with(&|tenant| {
            let (rules, fallback) = tenant.rules();
            Answer::Rules {
                rules: rules.to_vec(),
                fallback: fallback.cloned(),
            }
        }),
        Query::Report(question) => reports::read(state, rows, shard, tenant_id, &question).map(Answer::Report),
        Query::ReportLive => {
            let state = state.read();
            let tenant = state.tenant(tenant_id).ok_or(EngineError::UnknownTenant)?;
            Ok(Answer::ReportLive(Box::new(reports::live(tenant, state.at_ms()))))
        }
        // The leader's queue manager knows, and was asked before.
        Query::Waiting { .. } => Ok(Answer::Waiting(None)),
        Query::Why { conversation, agent } => {
            let view = match with(&|tenant| Answer::Conversation(tenant.conversation(conversation)))? {
                Answer::Conversation(Some(view)) => Some(view),
                _ => archived(conversation)?,
            };
            let view = view.ok_or(EngineError::Rejected(
                routing::rejection::Rejection::UnknownConversation(conversation),
            ))?;
            let now_ms = state.read().at_ms();
            with(&|tenant| Answer::Why(why::explained(tenant, now_ms, &view, agent, waiting.as_ref())))
        }
    }
}

/// Ids are UUIDv7, so they are in the order of time; their clocks are the gateways', so the state's own stamp decides at the edges.
fn closed(
    rows: &dyn RowStore,
    shard: ShardId,
    tenant: TenantId,
    (from_ms, until_ms): (Millis, Millis),
    after: Option<ConversationId>,
    limit: usize,
) -> Result<Answer, EngineError> {
    let id_at = |at_ms: Millis| ConversationId(u128::from(at_ms & ((1 << 48) - 1)) << 80);
    let from = after.map_or_else(
        || id_at(from_ms.saturating_sub(GATEWAY_CLOCK_SKEW_MS)),
        |after| ConversationId(after.0.saturating_add(1)),
    );
    let until = id_at(until_ms.saturating_add(GATEWAY_CLOCK_SKEW_MS));
    let (from, until) = (conversation_key(tenant, from), conversation_key(tenant, until));
    let found = rows.scan(shard, CLOSED, &from, &until, limit).map_err(internal)?;
    let views: Result<Vec<ConversationView>, _> = found.iter().map(|(_, row)| open_view(row)).collect();
    views.map(Answer::Conversations).map_err(internal)
}

fn internal(error: std::io::Error) -> EngineError {
    EngineError::Internal(error.to_string())
}

fn conversations(
    tenant: &Tenant,
    filter: &ConversationFilter,
    after: Option<ConversationId>,
    limit: usize,
) -> Vec<ConversationView> {
    let later = |id: &ConversationId| after.is_none_or(|after| *id > after);
    let views = |ids: &mut dyn Iterator<Item = ConversationId>| -> Vec<ConversationView> {
        ids.filter(later)
            .filter_map(|id| tenant.conversation(id))
            .take(limit)
            .collect()
    };
    match filter {
        ConversationFilter::All => tenant.conversations(after).take(limit).collect(),
        ConversationFilter::Customer(customer) => views(&mut tenant.conversations_of_customer(customer)),
        ConversationFilter::Agent(agent) => views(&mut tenant.conversations_of_agent(*agent)),
        ConversationFilter::Queue(queue) => tenant
            .conversations(after)
            .filter(|view| view.queue == Some(*queue) && matches!(view.phase, Phase::Waiting | Phase::Offered))
            .take(limit)
            .collect(),
    }
}

/// The policy in force, or a version that is kept.
pub(crate) fn policy(tenant: &Tenant, version: Option<u64>) -> Answer {
    let in_force = tenant.policy_version();
    let version = version.unwrap_or(in_force);
    let policy = match version == in_force {
        true => Some(tenant.policy()),
        false => tenant.policy_of(version),
    };
    Answer::Policy {
        version,
        policy: policy.map(Box::new),
    }
}

/// The versions that are kept, with what they changed by name.
pub(crate) fn policy_versions(tenant: &Tenant) -> Vec<PolicyVersionRecord> {
    let record = |version: &PolicyVersion| {
        let changed = version.changed();
        let queue = |id: &QueueId| {
            let known = tenant.queue(*id);
            format!(
                "queue {}",
                known.map_or_else(|| id.to_string(), |view| view.settings.name.clone())
            )
        };
        let calendar = |id: &CalendarId| {
            let known = tenant.calendars().find(|(known, ..)| known == id);
            format!(
                "calendar {}",
                known.map_or_else(|| id.to_string(), |(_, given, ..)| given.settings.name.clone())
            )
        };
        let mut parts: Vec<String> = changed
            .skills
            .iter()
            .map(|skill| format!("skill {}", skill.0))
            .collect();
        parts.extend(changed.queues.iter().map(queue));
        parts.extend(changed.calendars.iter().map(calendar));
        parts.extend(changed.rules.then(|| "rules".to_owned()));
        parts.extend(changed.routing.then(|| "routing".to_owned()));
        PolicyVersionRecord {
            version: version.version,
            index: version.index,
            at_ms: version.at_ms,
            by: version.by.clone(),
            note: version.note.clone(),
            changed: parts,
        }
    };
    tenant.policies().iter().map(record).collect()
}

fn agent(tenant: &Tenant, id: AgentId) -> Option<AgentRecord> {
    let view = tenant.agent(id)?;
    Some(AgentRecord {
        agent: view.agent,
        settings: view.settings,
        presence: view.presence,
        load: view.load,
        used: view.used,
        agent_seq: view.agent_seq,
    })
}

fn stream(tenant: &Tenant, id: AgentId, after: u64) -> AgentStream {
    let view = tenant.agent(id);
    let (agent_seq, presence) = view.map_or((0, Presence::Offline), |view| (view.agent_seq, view.presence));
    let items = tenant.agent_stream(id, after);
    let desk = tenant
        .conversations_of_agent(id)
        .filter_map(|id| tenant.conversation(id))
        .collect();
    AgentStream {
        gap: items.is_err(),
        items: items.unwrap_or_default(),
        agent_seq,
        presence,
        desk,
    }
}

fn queues(tenant: &Tenant) -> Vec<QueueRecord> {
    let record = |queue: routing::view::QueueView| QueueRecord {
        queue: queue.queue,
        settings: queue.settings,
        waiting: u64::from(tenant.queue_counts(queue.queue).in_queue()),
        oldest_since_ms: tenant.oldest_in_queue(queue.queue),
    };
    tenant.queues().map(record).collect()
}
