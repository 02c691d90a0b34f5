//! R39: why a conversation went to whom it went, and why it still waits; the words are [`routing::words`]'s, the names are the
//! tenant's.

use routing::event::{ConversationView, Phase};
use routing::ids::{AgentId, Millis, QueueId};
use routing::queue_manager::{Failed, WhyNot};
use routing::state::Tenant;
use routing::words::{self, Offer, why_not_chosen, why_this, why_waiting};

use crate::query::Why;

/// Of a waiting conversation (`waiting`), why not yet; of any other, why so, and why not `asked`. `now_ms`: the log's time.
pub(super) fn explained(
    tenant: &Tenant,
    now_ms: Millis,
    view: &ConversationView,
    asked: Option<AgentId>,
    waiting: Option<&WhyNot>,
) -> Why {
    let names = Names(tenant);
    match waiting {
        Some(not) => {
            let sentences = why_waiting(not, now_ms, &names);
            let removed = match &not.agent {
                Some(asked) => asked.failed.iter().map(|predicate| (predicate.clone(), 1)).collect(),
                None => not.removed.clone(),
            };
            Why {
                decided: None,
                position: Some(not.ahead + 1),
                removed,
                summary: sentences.join(" "),
                sentences,
            }
        }
        None => {
            let sentences = decided(tenant, view, asked);
            Why {
                decided: view.explanation.clone(),
                position: None,
                removed: Vec::new(),
                summary: sentences.first().cloned().unwrap_or_default(),
                sentences,
            }
        }
    }
}

fn decided(tenant: &Tenant, view: &ConversationView, asked: Option<AgentId>) -> Vec<String> {
    let chosen = view.explanation.as_deref().and_then(|why| {
        // It may be somebody else's by now, given by hand; and of a batch the best for one need not have got it.
        let among = |agent: &AgentId| why.best.iter().any(|(best, _)| best == agent);
        let agent = view.agent.filter(among).or(why.best.first().map(|(best, _)| *best))?;
        Some((why, agent, view.queue?))
    });
    let Some((why, agent, queue)) = chosen else {
        return vec![match view.phase {
            Phase::Scheduled => "It is put off; nothing has been decided yet.".to_owned(),
            _ => "It was not decided by the queue manager: by hand, or not yet.".to_owned(),
        }];
    };
    let membership = tenant
        .agent(agent)
        .and_then(|of| of.settings.queues.get(&queue).copied());
    let offer = Offer {
        agent,
        queue,
        tier: membership.map_or(0, |membership| membership.tier),
        relaxed: view.relaxed,
    };
    let names = Names(tenant);
    let mut sentences = why_this(&offer, why, &names);
    if let Some(asked) = asked.filter(|asked| *asked != agent) {
        sentences.extend(why_not_chosen(asked, why, &lacking(tenant, view, queue, asked), &names));
    }
    sentences
}

/// What of an agent's settings keeps them from a conversation of a queue.
fn lacking(tenant: &Tenant, view: &ConversationView, queue: QueueId, asked: AgentId) -> Vec<Failed> {
    let Some(agent) = tenant.agent(asked) else {
        return vec![Failed::Unknown];
    };
    let settings = &agent.settings;
    let member = settings.queues.contains_key(&queue);
    let skills = view.required.iter().filter_map(|wanted| {
        let has = settings.skills.get(&wanted.skill).copied().unwrap_or(0);
        (has < wanted.level).then(|| Failed::Skill {
            skill: wanted.skill.0.clone(),
            needs: wanted.level,
            has,
        })
    });
    let attributes = view.selectors.iter().filter(|one| !one.holds(&settings.attributes));
    let attributes = attributes.map(|one| Failed::Attribute {
        attribute: one.attribute.clone(),
    });
    let channel = &view.channel;
    let served = settings.capacity.channels.contains_key(channel);
    (!member)
        .then_some(Failed::Queue { queue })
        .into_iter()
        .chain(skills)
        .chain(attributes)
        .chain((!served).then(|| Failed::Channel {
            channel: channel.0.to_string(),
        }))
        .collect()
}

struct Names<'a>(&'a Tenant);

impl words::Names for Names<'_> {
    fn agent(&self, id: AgentId) -> String {
        let found = self.0.agent(id);
        found.map_or_else(|| id.to_string(), |view| view.settings.name.clone())
    }

    fn queue(&self, id: QueueId) -> String {
        let found = self.0.queue(id);
        found.map_or_else(|| id.to_string(), |view| view.settings.name.clone())
    }
}
