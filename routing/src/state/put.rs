//! What an operator sets: tenants, queues, skills, agents, rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::agent::{self, Agent};
use super::draft::Draft;
use super::queue::Queue;
use super::queue_settings;
use super::tenant::Rules;
use super::{calendar, participants, relax, valid};
use crate::event::Receipt;
use crate::ids::{AgentId, QueueId, SkillName};
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{AgentSettings, Classification, QueueSettings, Requirement, Rule};
use crate::view::{Presence, QueueRates};

pub(crate) fn tenant(d: &mut Draft<'_>, name: &str) -> Result<Receipt, Rejection> {
    valid::name("name", name)?;
    d.put_name(name);
    Ok(d.receipt())
}

pub(crate) fn queue(d: &mut Draft<'_>, id: QueueId, settings: &QueueSettings) -> Result<Receipt, Rejection> {
    if d.base().queue_named(&settings.name).is_some_and(|other| other != id) {
        return Err(Rejection::AlreadyExists {
            what: format!("queue `{}`", settings.name),
        });
    }
    let is_new = d.queue(id).is_err();
    if is_new {
        valid::at_most("number of queues", d.kept().queues.len() + 1, limits::QUEUES_MAX)?;
    }
    queue_row(d, id, settings);
    queue_settings::check(d, id, settings)?;
    Ok(d.receipt())
}

/// The row of a queue with these settings, whether they are right or not.
pub(crate) fn queue_row(d: &mut Draft<'_>, id: QueueId, settings: &QueueSettings) {
    let before = d.queue(id).ok();
    if before.as_ref().is_some_and(|row| *row.settings == *settings) {
        return;
    }
    let version = d.index.max(before.as_ref().map_or(0, |row| row.version + 1));
    d.put_queue(
        id,
        Some(Arc::new(Queue {
            settings: Arc::new(settings.clone()),
            version,
            shared_rings: relax::still_shared(settings, before.as_ref().map_or(0, |row| row.shared_rings)),
            open: calendar::is_open(d, settings.calendar),
            rates: before.as_ref().map_or(
                QueueRates {
                    queue: id,
                    ..QueueRates::default()
                },
                |row| row.rates,
            ),
        })),
    );
}

pub(crate) fn remove_queue(d: &mut Draft<'_>, id: QueueId) -> Result<Receipt, Rejection> {
    d.queue(id)?;
    let in_use = |by: &str| Err(queue_in_use(id, by));
    queue_is_empty(d, id)?;
    let moves_here = |queue: &Queue| queue_settings::leads_to(&queue.settings).any(|to| to == id);
    if d.kept()
        .queues
        .iter()
        .any(|(other, queue)| *other != id && moves_here(queue))
    {
        return in_use("escalations");
    }
    if classifications(&d.kept().rules).any(|given| given.queues.contains(&id)) {
        return in_use("rules");
    }
    d.put_queue(id, None);
    Ok(d.receipt())
}

fn queue_in_use(id: QueueId, by: &str) -> Rejection {
    Rejection::InUse {
        what: format!("queue {id}"),
        by: by.to_owned(),
    }
}

/// Nothing is in it and nobody serves it.
pub(crate) fn queue_is_empty(d: &Draft<'_>, id: QueueId) -> Result<(), Rejection> {
    if d.base().queue_counts(id).open() > 0 {
        return Err(queue_in_use(id, "conversations"));
    }
    let mut agents = d.kept().agents.iter();
    if agents.any(|(_, agent)| agent.settings.queues.contains_key(&id)) {
        return Err(queue_in_use(id, "agents"));
    }
    Ok(())
}

fn classifications(rules: &Rules) -> impl Iterator<Item = &Classification> {
    let parts = rules.rules.iter().flat_map(|rule| &rule.parts).map(|(_, given)| given);
    parts.chain(&rules.fallback)
}

pub(crate) fn skill(d: &mut Draft<'_>, skill: &SkillName, description: &str) -> Result<Receipt, Rejection> {
    skill_words(skill, description)?;
    let mut skills = (*d.kept().skills).clone();
    skills.insert(skill.clone(), description.to_owned());
    valid::at_most("number of skills", skills.len(), limits::SKILLS_MAX)?;
    d.put_skills(skills);
    Ok(d.receipt())
}

pub(crate) fn skill_words(skill: &SkillName, description: &str) -> Result<(), Rejection> {
    valid::name("skill", &skill.0)?;
    valid::at_most("description", description.len(), limits::ATTRIBUTE_VALUE_MAX_BYTES)
}

pub(crate) fn remove_skill(d: &mut Draft<'_>, skill: &SkillName) -> Result<Receipt, Rejection> {
    let mut skills = (*d.kept().skills).clone();
    if skills.remove(skill).is_none() {
        return Err(Rejection::UnknownSkill(skill.0.clone()));
    }
    skill_is_unused(d, skill)?;
    if classifications(&d.kept().rules).any(|given| asked_for(given).any(|one| one.skill == *skill)) {
        return Err(skill_in_use(skill, "rules"));
    }
    let mut queues = d.kept().queues.values();
    if queues.any(|queue| queue_settings::skills(&queue.settings).any(|named| named == skill)) {
        return Err(skill_in_use(skill, "queues"));
    }
    d.put_skills(skills);
    Ok(d.receipt())
}

fn asked_for(given: &Classification) -> impl Iterator<Item = &Requirement> {
    given.required.iter().chain(&given.preferred)
}

fn skill_in_use(skill: &SkillName, by: &str) -> Rejection {
    Rejection::InUse {
        what: format!("skill `{}`", skill.0),
        by: by.to_owned(),
    }
}

/// No agent has it and no conversation asks for it.
pub(crate) fn skill_is_unused(d: &Draft<'_>, skill: &SkillName) -> Result<(), Rejection> {
    let mut agents = d.kept().agents.iter();
    if agents.any(|(_, agent)| agent.settings.skills.contains_key(skill)) {
        return Err(skill_in_use(skill, "agents"));
    }
    let mut asked = d.base().index.requirements.values();
    if asked.any(|asked| asked.iter().any(|one| one.skill == *skill)) {
        return Err(skill_in_use(skill, "conversations"));
    }
    Ok(())
}

pub(crate) fn agent(d: &mut Draft<'_>, id: AgentId, settings: &AgentSettings) -> Result<Receipt, Rejection> {
    agent_settings(d, id, settings)?;
    let settings = Arc::new(settings.clone());
    match d.agent(id).is_ok() {
        true => {
            let supervises = settings.supervisor;
            let row = d.agent_mut(id)?;
            row.settings = settings;
            row.forget_recent();
            if !supervises {
                participants::loses_rights(d, id)?;
            }
        }
        false => {
            valid::at_most("number of agents", d.kept().agents.len() + 1, limits::AGENTS_MAX)?;
            let row = Agent::new(settings, d.at_ms);
            d.put_agent(id, Some(row));
        }
    }
    Ok(d.receipt())
}

fn agent_settings(d: &Draft<'_>, id: AgentId, s: &AgentSettings) -> Result<(), Rejection> {
    valid::name("name", &s.name)?;
    if d.base().agent_named(&s.name).is_some_and(|other| other != id) {
        return Err(Rejection::AlreadyExists {
            what: format!("agent `{}`", s.name),
        });
    }
    valid::at_most("number of skills", s.skills.len(), limits::AGENT_SKILLS_MAX)?;
    for (skill, level) in &s.skills {
        valid::level(*level)?;
        if !d.kept().skills.contains_key(skill) {
            return Err(Rejection::UnknownSkill(skill.0.clone()));
        }
    }
    valid::at_most("number of queues", s.queues.len(), limits::AGENT_QUEUES_MAX)?;
    for (queue, membership) in &s.queues {
        d.queue(*queue)?;
        valid::at_most("tier", usize::from(membership.tier), limits::RINGS_MAX)?;
        if membership.weight == 0 {
            return Err(valid::invalid("weight", "0: the least is 1"));
        }
    }
    valid::agent_attributes(&s.attributes)?;
    valid::at_most("number of channels", s.capacity.channels.len(), limits::CHANNELS_MAX)?;
    for (channel, limits) in &s.capacity.channels {
        valid::channel(channel)?;
        if limits.exclusive && limits.interruptible {
            let why = format!("{} cannot be exclusive and interruptible", channel.0);
            return Err(valid::invalid("channel", why));
        }
    }
    if let Some(rate) = s.rate {
        if rate.max == 0 || rate.window_ms == 0 {
            return Err(valid::invalid(
                "rate",
                "at least 1 within at least 1 ms; none at all: no rate",
            ));
        }
        valid::at_most("rate", usize::from(rate.max), usize::from(limits::RATE_MAX))?;
        valid::duration("window_ms", rate.window_ms)?;
    }
    valid::duration("warm_up_ms", s.warm_up_ms)?;
    valid::duration("lease_hold_ms", s.lease_hold_ms)
}

pub(crate) fn remove_agent(d: &mut Draft<'_>, id: AgentId) -> Result<Receipt, Rejection> {
    let row = d.agent(id)?;
    if row.presence != Presence::Offline {
        let is = agent::presence_word(&row.presence).to_owned();
        return Err(Rejection::WrongPresence {
            is,
            needs: "offline".to_owned(),
        });
    }
    if d.base().conversations_of_agent(id).next().is_some() {
        return Err(Rejection::InUse {
            what: format!("agent {id}"),
            by: "conversations".to_owned(),
        });
    }
    d.put_agent(id, None);
    Ok(d.receipt())
}

pub(crate) fn rules(
    d: &mut Draft<'_>,
    rules: &[Rule],
    fallback: Option<&Classification>,
) -> Result<Receipt, Rejection> {
    valid::at_most("number of rules", rules.len(), limits::RULES_MAX)?;
    let mut names = BTreeSet::new();
    for rule in rules {
        valid::name("rule", &rule.name)?;
        if !names.insert(&rule.name) {
            return Err(valid::invalid("rule", format!("`{}` is named twice", rule.name)));
        }
        valid::at_most("rule's expression", rule.when.len(), limits::RULE_MAX_BYTES)?;
        valid::at_most("parts of a rule", rule.parts.len(), limits::RULE_PARTS_MAX)?;
        if rule.parts.iter().all(|(weight, _)| *weight == 0) {
            return Err(valid::invalid(
                "rule",
                format!("`{}` has no part with a weight", rule.name),
            ));
        }
    }
    let new = Rules {
        rules: rules.to_vec(),
        fallback: fallback.cloned(),
    };
    for given in classifications(&new) {
        valid::classification(d, given)?;
        for queue in &given.queues {
            d.queue(*queue)?;
        }
    }
    if *d.kept().rules != new {
        d.put_rules(new);
    }
    Ok(d.receipt())
}
