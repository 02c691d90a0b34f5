//! R39 in words: why a conversation went to whom it went, and why it still waits. One sentence a fact, names for ids.

use routing::command::Explanation;
use routing::event::{ConversationView, Phase};
use routing::ids::{AgentId, QueueId};
use routing::queue_manager::WhyNot;
use routing::state::Tenant;

use crate::query::Why;

/// Of a waiting conversation (`waiting`), why not yet; of any other, why so.
pub(super) fn explained(tenant: &Tenant, view: &ConversationView, waiting: Option<&WhyNot>) -> Why {
    let names = Names(tenant);
    match waiting {
        Some(not) => why_not(&names, not),
        None => {
            let sentences = decided(&names, view);
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

struct Names<'a>(&'a Tenant);

impl Names<'_> {
    fn agent(&self, id: AgentId) -> String {
        self.0
            .agent(id)
            .map_or_else(|| id.to_string(), |view| view.settings.name.clone())
    }

    fn queue(&self, id: QueueId) -> String {
        let found = self.0.queues().find(|queue| queue.queue == id);
        found.map_or_else(|| id.to_string(), |queue| queue.settings.name.clone())
    }
}

fn why_not(names: &Names<'_>, not: &WhyNot) -> Why {
    let queue = names.queue(not.queue);
    let mut sentences = vec![match not.ahead {
        0 => format!("It waits in {queue}, before all others."),
        1 => format!("It waits in {queue}; one conversation is before it."),
        ahead => format!("It waits in {queue}; {ahead} conversations are before it."),
    }];
    sentences.extend(not.withheld.iter().map(|why| withheld(why).to_owned()));
    let removed = match &not.agent {
        Some(asked) => {
            let name = names.agent(asked.agent);
            sentences.extend(asked.failed.iter().map(|predicate| against_one(&name, predicate)));
            if asked.failed.is_empty() {
                sentences.push(format!("{name} could take it: nothing stands against it."));
            }
            asked.failed.iter().map(|predicate| (predicate.clone(), 1)).collect()
        }
        None => {
            sentences.extend(against_many(not.considered, &not.removed));
            sentences.push(match not.eligible {
                0 => "Nobody could take it now.".to_owned(),
                1 => "One agent could take it now.".to_owned(),
                eligible => format!("{eligible} agents could take it now."),
            });
            not.removed.clone()
        }
    };
    // The first sentence says where it is; what decides about it is the last.
    let summary = sentences.last().cloned().unwrap_or_default();
    Why {
        decided: None,
        position: Some(not.ahead + 1),
        removed,
        summary,
        sentences,
    }
}

fn decided(names: &Names<'_>, view: &ConversationView) -> Vec<String> {
    let Some(why) = view.explanation.as_deref() else {
        return vec![match view.phase {
            Phase::Scheduled => "It is put off; nothing has been decided yet.".to_owned(),
            _ => "It was not decided by the queue manager: by hand, or not yet.".to_owned(),
        }];
    };
    let mut sentences = vec![chosen(names, why)];
    sentences.extend(against_many(why.considered, &why.removed));
    let others: Vec<String> = why
        .best
        .iter()
        .skip(1)
        .map(|&(agent, score)| format!("{} ({score})", names.agent(agent)))
        .collect();
    if !others.is_empty() {
        sentences.push(format!("Next would have been {}.", others.join(", ")));
    }
    if let Some(estimate) = why.estimate {
        let (p50_s, p90_s) = (estimate.p50_ms.div_ceil(1_000), estimate.p90_ms.div_ceil(1_000));
        sentences.push(format!(
            "When it began to wait, half were expected to wait at most {p50_s} s, nine of ten at most {p90_s} s."
        ));
    }
    if why.batch > 1 {
        sentences.push(format!(
            "It was matched together with {} others; together they scored {} better than one by one.",
            why.batch - 1,
            why.batch_gain
        ));
    }
    sentences.push(format!("Version {} of the policy was in force.", why.policy_version));
    sentences
}

fn chosen(names: &Names<'_>, why: &Explanation) -> String {
    match why.best.first() {
        Some(&(agent, score)) if why.tie_break.is_empty() => {
            format!("{} was chosen, with a score of {score}.", names.agent(agent))
        }
        Some(&(agent, score)) => {
            let by = &why.tie_break;
            format!("{} was chosen, with a score of {score}, by: {by}.", names.agent(agent))
        }
        None => "It was given by hand, or to the only one who could take it.".to_owned(),
    }
}

fn withheld(why: &str) -> &'static str {
    match why {
        "held" => "It keeps its place and is not offered: the customer is gone.",
        "proposed" => "An offer is on its way at this moment.",
        "refused" => "An offer was refused a moment ago; it is offered again at once.",
        _ => "It is withheld.",
    }
}

/// What removed agents of the queue, and how many each.
fn against_many(considered: u32, removed: &[(String, u32)]) -> Option<String> {
    if considered == 0 {
        return Some("No agent serves the queue.".to_owned());
    }
    let reasons: Vec<String> = removed
        .iter()
        .map(|(predicate, count)| many(predicate, *count))
        .collect();
    let serve = match considered {
        1 => "One agent serves the queue".to_owned(),
        considered => format!("{considered} agents serve the queue"),
    };
    Some(match reasons.is_empty() {
        true => format!("{serve}."),
        false => format!("{serve}: {}.", reasons.join(", ")),
    })
}

fn many(predicate: &str, count: u32) -> String {
    let (is, have) = if count == 1 { ("is", "has") } else { ("are", "have") };
    match predicate.split_once(':').unwrap_or((predicate, "")) {
        ("presence", _) => format!("{count} {is} not available"),
        ("ring", _) => format!("{count} {is} of a ring that is not open yet"),
        ("skill", skill) => format!(
            "{count} {} {skill} at the level asked",
            if count == 1 { "lacks" } else { "lack" }
        ),
        ("channel", _) => format!("{count} {is} not set up for its channel"),
        ("capacity", _) => format!("{count} {have} no room"),
        ("excluded", _) => format!("{count} {have} turned it down or lost it"),
        ("preference", _) => format!("{count} must wait while somebody else is asked first"),
        ("selector", what) => format!("{count} {is} not as asked ({what})"),
        _ => format!("{count} {is} removed by {predicate}"),
    }
}

fn against_one(name: &str, predicate: &str) -> String {
    match predicate.split_once(':').unwrap_or((predicate, "")) {
        ("unknown", _) => format!("{name} is no agent of this tenant."),
        ("presence", _) => format!("{name} is not available."),
        ("queue", _) => format!("{name} does not serve the queue."),
        ("ring", _) => format!("{name} serves a ring of the queue that is not open for it yet."),
        ("skill", skill) => format!("{name} lacks {skill} at the level asked."),
        ("channel", _) => format!("{name} is not set up for its channel."),
        ("capacity", _) => format!("{name} has no room."),
        ("excluded", _) => format!("{name} turned it down or lost it, and is not asked again yet."),
        ("preference", _) => format!("{name} must wait: somebody else is asked first."),
        ("selector", what) => format!("{name} is not as asked ({what})."),
        _ => format!("{name} is removed by {predicate}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_in_words() {
        let removed = [
            ("presence".to_owned(), 5),
            ("skill:billing".to_owned(), 1),
            ("capacity".to_owned(), 2),
        ];
        assert_eq!(
            against_many(9, &removed).unwrap(),
            "9 agents serve the queue: 5 are not available, 1 lacks billing at the level asked, 2 have no room."
        );
        assert_eq!(against_many(0, &[]).unwrap(), "No agent serves the queue.");
        assert_eq!(against_many(1, &[]).unwrap(), "One agent serves the queue.");
    }

    #[test]
    fn every_predicate_has_its_sentence() {
        for predicate in [
            "unknown",
            "presence",
            "queue",
            "ring",
            "skill:x",
            "channel",
            "capacity",
            "excluded",
            "preference",
        ] {
            let sentence = against_one("mia", predicate);
            assert!(!sentence.contains("removed by"), "{sentence}");
        }
        assert_eq!(against_one("mia", "moon"), "mia is removed by moon.");
    }
}
