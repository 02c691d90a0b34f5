//! One run: the people and the shifts of a trace under a policy, in the simulator that drives the real routing core.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::command::{Command, PresenceChange, Principal};
use routing::event::CloseOutcome;
use routing::ids::{AgentId, CustomerId, Millis, QueueId};
use routing::settings::{AgentSettings, Classification, Policy};
use routing::simulation::{Arrival, Input, Patience, Reply, Service, SimulationError, What, World};
use routing::view::Presence;

use super::figures::{Figures, Gatherer, Queues};
use super::people::People;
use super::trace::{Trace, TracedConversation};
use crate::calendars::{CalendarError, prepare};
use crate::rules::{Classifier, Situation, Wishes, split_draw};

/// A policy to be tried.
pub struct Plan {
    /// What it is called in the comparison.
    pub name: String,
    /// The policy; queues that the trace knows have the trace's ids.
    pub policy: Policy,
    /// The agents; those that the trace knows have the trace's ids. Nobody of the trace's shifts is missing.
    pub agents: Vec<(AgentId, Arc<AgentSettings>)>,
    /// The rules are those of the trace: what they gave is taken as it was.
    pub as_classified: bool,
}

/// Why a rehearsal cannot be.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The policy or an agent was refused, or the core would not be quiet.
    #[error("{name}: {error}")]
    Simulation {
        /// Which plan.
        name: String,
        /// Why.
        error: SimulationError,
    },
    /// Opening hours cannot be made.
    #[error("{name}: calendar {calendar}: {error}")]
    Calendar {
        /// Which plan.
        name: String,
        /// Which calendar.
        calendar: String,
        /// Why.
        error: CalendarError,
    },
}

/// Runs a trace under a plan. `accept_ms`: how long agents take to answer an offer.
pub fn rehearse(trace: &Trace, people: &People, plan: &Plan, accept_ms: u64) -> Result<Figures, RehearsalError> {
    let failed = |error| RehearsalError::Simulation {
        name: plan.name.clone(),
        error,
    };
    let mut world = World::new(trace.from_ms).map_err(failed)?;
    world
        .set_up(Command::ActivatePolicy {
            policy: Box::new(plan.policy.clone()),
            expected: None,
            by: Principal::Admin("replay".to_owned()),
            note: plan.name.clone(),
        })
        .map_err(failed)?;
    for (agent, settings) in &plan.agents {
        let settings = AgentSettings::clone(settings);
        world
            .set_up(Command::PutAgent {
                agent: *agent,
                settings,
            })
            .map_err(failed)?;
    }
    let mut inputs = shifts(trace, plan);
    let classifier = Classifier::default();
    for conversation in &trace.conversations {
        let Some(classification) = classification(&classifier, plan, conversation) else {
            continue;
        };
        inputs.push(Input {
            at_ms: conversation.started_at_ms.max(trace.from_ms),
            what: What::Arrival(Box::new(arrival(people, conversation, classification, accept_ms))),
        });
    }
    inputs.sort_by_key(|input| input.at_ms);
    let mut gatherer = Gatherer::new(Queues::of(&plan.policy), trace.from_ms, trace.until_ms);
    world.run(inputs, &mut gatherer).map_err(failed)?;
    Ok(gatherer.finish(plan.name.clone()))
}

fn arrival(people: &People, of: &TracedConversation, classification: Classification, accept_ms: u64) -> Arrival {
    let person = people.person(of);
    let reply = Reply {
        after_ms: accept_ms,
        declines: None,
    };
    Arrival {
        customer: CustomerId(of.conversation.to_string()),
        attributes: of.attributes.clone(),
        service: Service::Takes(person.service_ms),
        patience: match (person.patience_ms, of.outcome) {
            // Closed by a supervisor, or turned away: nothing is known of their patience.
            (None, Some(CloseOutcome::Cancelled | CloseOutcome::Offline)) => Patience::Endless,
            (None, _) => Patience::AtLeast(super::people::wait_ms(of).unwrap_or(0)),
            (Some(patience_ms), _) => Patience::Closes(patience_ms),
        },
        replies: vec![reply; if accept_ms > 0 { 8 } else { 0 }],
        // The recorded service has the wrap-up in it.
        wrap_up_ms: Some(0),
        ..Arrival::new(of.conversation, of.channel.clone(), classification)
    }
}

/// As it was, or by the plan's rules; `None` when they give it no queue and the trace's is gone.
fn classification(classifier: &Classifier, plan: &Plan, of: &TracedConversation) -> Option<Classification> {
    // A trace does not say whom the rule preferred: the rule does, if it is this plan's too.
    let preferred_agent = |entered| {
        let mut rules = plan.policy.rules.iter();
        let rule = rules.find(|rule| of.rule.as_ref() == Some(&rule.name))?;
        let mut parts = rule.parts.iter();
        let (_, part) = parts.find(|(_, part)| part.queues.contains(&entered))?;
        part.preferred_agent.clone()
    };
    let as_it_was = || {
        let entered = of.entered.filter(|queue| plan.policy.queues.contains_key(queue));
        entered.map(|queue| Classification {
            queues: vec![queue],
            priority: of.priority,
            required: of.required.clone(),
            preferred: of.preferred.clone(),
            preferred_agent: preferred_agent(queue),
            rule: of.rule.clone(),
            selectors: of.selectors.clone(),
        })
    };
    // Who was given a queue by name, not by a rule, asks for it again.
    if (plan.as_classified || of.rule.is_none())
        && let Some(given) = as_it_was()
    {
        return Some(given);
    }
    let customer = CustomerId(of.conversation.to_string());
    let situation = Situation {
        attributes: &of.attributes,
        channel: &of.channel,
        customer: &customer,
    };
    let (rules, fallback) = (&plan.policy.rules, plan.policy.fallback.as_ref());
    let found = classifier.classify(
        rules,
        fallback,
        situation,
        &Wishes::default(),
        split_draw(of.conversation),
    );
    found.ok().map(|found| found.classification).or_else(as_it_was)
}

/// The trace's presences as what agents do. Presences that followed from another policy (away after missed offers) are
/// taken as they were: who was not there then is not there now.
fn shifts(trace: &Trace, plan: &Plan) -> Vec<Input> {
    let known: Vec<AgentId> = plan.agents.iter().map(|(agent, _)| *agent).collect();
    let mut now: BTreeMap<AgentId, Presence> = BTreeMap::new();
    let mut inputs = Vec::new();
    let mut began = false;
    for (agent, at_ms, presence) in &trace.presences {
        if !known.contains(agent) {
            continue;
        }
        if !began && *at_ms >= trace.from_ms {
            began = true;
            inputs.extend(opening(trace.from_ms, &now));
        }
        if began {
            let was = now.get(agent).cloned().unwrap_or_default();
            let acts = acts(*agent, &was, presence);
            inputs.extend(acts.into_iter().map(|command| input(*at_ms, command)));
        }
        now.insert(*agent, presence.clone());
    }
    if !began {
        inputs.extend(opening(trace.from_ms, &now));
    }
    inputs
}

fn opening(from_ms: Millis, now: &BTreeMap<AgentId, Presence>) -> Vec<Input> {
    let acts = now
        .iter()
        .flat_map(|(agent, presence)| acts(*agent, &Presence::Offline, presence));
    acts.map(|command| input(from_ms, command)).collect()
}

fn input(at_ms: Millis, command: Command) -> Input {
    Input {
        at_ms,
        what: What::Command(Box::new(command)),
    }
}

/// What an agent does to become that.
fn acts(agent: AgentId, was: &Presence, presence: &Presence) -> Vec<Command> {
    let wanted = match presence {
        Presence::Offline => return vec![Command::SignOut { agent }],
        Presence::Suspect { .. } if *was == Presence::Offline => return Vec::new(),
        Presence::Suspect { .. } => return vec![Command::ConnectionsLost { agent }],
        Presence::Available => PresenceChange::Available,
        Presence::Away(reason) => PresenceChange::Away(reason.clone()),
        Presence::Draining => PresenceChange::Draining,
    };
    match was {
        Presence::Offline => vec![Command::SignIn {
            agent,
            presence: wanted,
        }],
        Presence::Suspect { .. } => vec![
            Command::ConnectionsBack { agent },
            Command::SetPresence {
                agent,
                presence: wanted,
            },
        ],
        _ => vec![Command::SetPresence {
            agent,
            presence: wanted,
        }],
    }
}

/// With the opening hours and the days of the trace's period. What a node has made begins when the calendar was saved, and what
/// was over may have been forgotten since.
fn in_period(trace: &Trace, name: &str, mut policy: Policy) -> Result<Policy, RehearsalError> {
    let made = prepare(&mut policy, None, trace.from_ms);
    made.map_err(|(calendar, error)| RehearsalError::Calendar {
        name: name.to_owned(),
        calendar,
        error,
    })?;
    Ok(policy)
}

/// The plan that was in force: the trace's own setting, its classifications taken as they were.
pub fn as_it_was(trace: &Trace) -> Result<Plan, RehearsalError> {
    let name = "as it was set".to_owned();
    Ok(Plan {
        policy: in_period(trace, &name, (*trace.setting.policy).clone())?,
        name,
        agents: trace.setting.agents.clone(),
        as_classified: true,
    })
}

/// A policy of a file. Its queues take the ids of the trace's queues of the same name; without agents of its own, the trace's
/// serve the queues of the same names. Says what of the trace's agents does not fit.
pub fn of_file(
    trace: &Trace,
    name: &str,
    policy: Policy,
    agents: Vec<(AgentId, Arc<AgentSettings>)>,
) -> Result<(Plan, Vec<String>), RehearsalError> {
    let policy = in_period(trace, name, policy)?;
    let mut lost = Vec::new();
    let ids: BTreeMap<&str, QueueId> = policy.queues.iter().map(|(id, s)| (s.name.as_str(), *id)).collect();
    let own: Vec<AgentId> = agents.iter().map(|(agent, _)| *agent).collect();
    let mut all = agents;
    for (agent, settings) in &trace.setting.agents {
        if own.contains(agent) {
            continue;
        }
        let mut settings = AgentSettings::clone(settings);
        let before = std::mem::take(&mut settings.queues);
        for (queue, membership) in before {
            let named = trace.setting.policy.queues.get(&queue).map(|s| s.name.as_str());
            match named.and_then(|named| ids.get(named)) {
                Some(id) => _ = settings.queues.insert(*id, membership),
                None => lost.push(format!(
                    "{} serves {}, which is not in {name}",
                    settings.name,
                    named.unwrap_or("?")
                )),
            }
        }
        settings.skills.retain(|skill, _| {
            let known = policy.skills.contains_key(skill);
            if !known {
                lost.push(format!(
                    "{} has the skill {}, which is not in {name}",
                    settings.name, skill.0
                ));
            }
            known
        });
        all.push((*agent, Arc::new(settings)));
    }
    let plan = Plan {
        name: name.to_owned(),
        policy,
        agents: all,
        as_classified: false,
    };
    Ok((plan, lost))
}
