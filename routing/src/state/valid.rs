//! Checks that more than one command makes; each gives the refusal that says what is wrong.

use std::collections::BTreeMap;

use super::arrive::Newcomer;
use super::conversation::{Conversation, Stage};
use super::draft::Draft;
use super::schedule;
use crate::command::{Body, Explanation, Principal, Value};
use crate::ids::{AgentId, Channel, ConversationId, Epoch};
use crate::known_bugs;
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{Classification, Requirement, Selector, SelectorTest};

pub(crate) fn invalid(what: &str, why: impl Into<String>) -> Rejection {
    Rejection::Invalid {
        what: what.to_owned(),
        why: why.into(),
    }
}

pub(crate) fn wrong_state(row: &Conversation, needs: &str) -> Rejection {
    Rejection::WrongState {
        is: row.stage.word().to_owned(),
        needs: needs.to_owned(),
    }
}

pub(crate) fn not_yours() -> Rejection {
    Rejection::NotPermitted {
        why: "the conversation is not the agent's".to_owned(),
    }
}

pub(crate) fn at_most(what: &str, is: usize, max: usize) -> Result<(), Rejection> {
    if is <= max {
        return Ok(());
    }
    Err(Rejection::TooLarge {
        what: what.to_owned(),
        is: is as u64,
        max: max as u64,
    })
}

/// Something short that is not empty.
pub(crate) fn name(what: &str, text: &str) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(invalid(what, "empty"));
    }
    self::text(what, text)
}

/// Something short.
pub(crate) fn text(what: &str, text: &str) -> Result<(), Rejection> {
    at_most(what, text.len(), limits::NAME_MAX_BYTES)
}

pub(crate) fn duration(what: &str, ms: u64) -> Result<(), Rejection> {
    if ms <= limits::DURATION_MAX_MS {
        return Ok(());
    }
    Err(Rejection::TooLarge {
        what: what.to_owned(),
        is: ms,
        max: limits::DURATION_MAX_MS,
    })
}

pub(crate) fn priority(priority: u8) -> Result<(), Rejection> {
    at_most("priority", usize::from(priority), usize::from(limits::PRIORITY_MAX))
}

pub(crate) fn level(level: u8) -> Result<(), Rejection> {
    if limits::SKILL_LEVELS.contains(&level) {
        return Ok(());
    }
    Err(invalid("level", format!("{level} is not from 1 to 10")))
}

pub(crate) fn channel(channel: &Channel) -> Result<(), Rejection> {
    name("channel", &channel.0)
}

pub(crate) fn body(body: &Body) -> Result<(), Rejection> {
    name("media type", &body.media_type)?;
    at_most("body", body.text.len(), limits::BODY_MAX_BYTES)
}

pub(crate) fn attributes(attributes: &BTreeMap<String, Value>) -> Result<(), Rejection> {
    at_most("number of attributes", attributes.len(), limits::ATTRIBUTES_MAX)?;
    attributes
        .iter()
        .try_for_each(|(key, value)| attribute(key, Some(value)))
}

pub(crate) fn explanation(why: &Explanation) -> Result<(), Rejection> {
    at_most(
        "candidates in the explanation",
        why.best.len(),
        limits::EXPLAINED_CANDIDATES,
    )?;
    at_most(
        "predicates in the explanation",
        why.removed.len(),
        limits::EXPLAINED_PREDICATES,
    )?;
    for (predicate, _) in &why.removed {
        at_most("predicate", predicate.len(), 2 * limits::NAME_MAX_BYTES)?;
    }
    at_most("tie-break", why.tie_break.len(), limits::EXPLANATION_WORDS_MAX_BYTES)
}

pub(crate) fn newcomer(d: &Draft<'_>, who: &Newcomer<'_>) -> Result<(), Rejection> {
    channel(who.channel)?;
    if who.customer.0.is_empty() {
        return Err(invalid("customer", "empty"));
    }
    at_most("customer", who.customer.0.len(), limits::CUSTOMER_MAX_BYTES)?;
    attributes(who.attributes)?;
    who.schedule.map(|given| schedule::valid(d, given)).transpose()?;
    who.callback.map(schedule::valid_contact).transpose()?;
    classification(d, who.classification)
}

/// The parts that hold whenever it is used; whether its queues exist is asked by the caller.
pub(crate) fn classification(d: &Draft<'_>, given: &Classification) -> Result<(), Rejection> {
    if given.queues.is_empty() {
        return Err(invalid("queues", "none is named"));
    }
    at_most("number of queues", given.queues.len(), limits::ADMISSION_QUEUES_MAX)?;
    priority(given.priority)?;
    at_most(
        "number of skills asked for",
        given.required.len() + given.preferred.len(),
        limits::REQUIREMENTS_MAX,
    )?;
    requirements(d, &given.required)?;
    requirements(d, &given.preferred)?;
    given
        .preferred_agent
        .as_ref()
        .map(|p| duration("wait_ms", p.wait_ms))
        .transpose()?;
    given.rule.as_deref().map(|rule| text("rule", rule)).transpose()?;
    selectors(&given.selectors)?;
    Ok(())
}

/// R3.
fn selectors(given: &[Selector]) -> Result<(), Rejection> {
    at_most("number of selectors", given.len(), limits::SELECTORS_MAX)?;
    for selector in given {
        let values = match &selector.test {
            SelectorTest::Equals(value) | SelectorTest::NotEquals(value) => std::slice::from_ref(value),
            SelectorTest::In(values) | SelectorTest::NotIn(values) => values.as_slice(),
            SelectorTest::Below(_) | SelectorTest::AtMost(_) | SelectorTest::Above(_) | SelectorTest::AtLeast(_) => &[],
        };
        at_most("values of a selector", values.len(), limits::SELECTORS_MAX)?;
        attribute(&selector.attribute, None)?;
        values
            .iter()
            .try_for_each(|value| attribute(&selector.attribute, Some(value)))?;
    }
    Ok(())
}

fn attribute(key: &str, value: Option<&Value>) -> Result<(), Rejection> {
    if key.is_empty() {
        return Err(invalid("attribute key", "empty"));
    }
    at_most("attribute key", key.len(), limits::ATTRIBUTE_KEY_MAX_BYTES)?;
    match value {
        Some(Value::Text(text)) => at_most("attribute value", text.len(), limits::ATTRIBUTE_VALUE_MAX_BYTES),
        _ => Ok(()),
    }
}

/// R3: an agent's own.
pub(crate) fn agent_attributes(attributes: &BTreeMap<String, Value>) -> Result<(), Rejection> {
    at_most("number of attributes", attributes.len(), limits::AGENT_ATTRIBUTES_MAX)?;
    attributes
        .iter()
        .try_for_each(|(key, value)| attribute(key, Some(value)))
}

pub(crate) fn requirements(d: &Draft<'_>, asked: &[Requirement]) -> Result<(), Rejection> {
    for (at, one) in asked.iter().enumerate() {
        level(one.level)?;
        if !d.skills().contains_key(&one.skill) {
            return Err(Rejection::UnknownSkill(one.skill.0.clone()));
        }
        if asked[..at].iter().any(|earlier| earlier.skill == one.skill) {
            return Err(invalid("skill asked for", format!("{} is named twice", one.skill.0)));
        }
    }
    Ok(())
}

/// A supervisor, or an administrator.
pub(crate) fn supervisor(d: &Draft<'_>, by: &Principal) -> Result<(), Rejection> {
    match by {
        Principal::Admin(_) => Ok(()),
        Principal::Agent(agent) if d.agent(*agent)?.settings.supervisor => Ok(()),
        Principal::Agent(_) | Principal::Customer(_) => Err(Rejection::NotPermitted {
            why: "only a supervisor or an administrator may".to_owned(),
        }),
    }
}

/// R36: what acts under an old epoch is refused.
pub(crate) fn current(row: &Conversation, epoch: Epoch) -> Result<(), Rejection> {
    // A known bug, for the tests of the tests.
    if epoch == row.epoch || known_bugs::put_in("routing::epoch_unchecked") {
        return Ok(());
    }
    Err(Rejection::StaleEpoch {
        given: epoch,
        current: row.epoch,
    })
}

/// The agent owns it (assigned or paused), under this epoch.
pub(crate) fn owner(d: &Draft<'_>, id: ConversationId, agent: AgentId, epoch: Epoch) -> Result<Stage, Rejection> {
    d.agent(agent)?;
    let row = d.conversation(id)?;
    current(row, epoch)?;
    match row.stage {
        Stage::Assigned { agent: owner, .. } | Stage::Paused { agent: owner, .. } if owner == agent => Ok(row.stage),
        Stage::Assigned { .. } | Stage::Paused { .. } => Err(not_yours()),
        _ => Err(wrong_state(row, "assigned")),
    }
}
