//! R39 in words: why this agent, why not that one, why it still waits; for people who do not read codes.
//!
//! Pure: from an [`Explanation`] (what the log has of an offer) or a [`WhyNot`] (what a queue manager says of one that waits) to
//! sentences. Names of agents and queues are the caller's to resolve.

use crate::command::{Explanation, WaitEstimate};
use crate::ids::{AgentId, Millis, QueueId};
use crate::queue_manager::{Failed, NextStep, WhyNot};
use crate::view::NoRoom;

/// Who an id is, in words.
pub trait Names {
    /// An agent.
    fn agent(&self, agent: AgentId) -> String;
    /// A queue.
    fn queue(&self, queue: QueueId) -> String;
}

/// What an explanation does not carry of the offer that it explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// To whom.
    pub agent: AgentId,
    /// From which queue.
    pub queue: QueueId,
    /// R5: the agent's tier there, if it is known.
    pub tier: u8,
    /// R4: steps of relaxation that had been taken, as bits.
    pub relaxed: u8,
}

/// Why this agent.
pub fn why_this(offer: &Offer, why: &Explanation, names: &impl Names) -> Vec<String> {
    let (agent, queue) = (names.agent(offer.agent), names.queue(offer.queue));
    let mut said = vec![format!(
        "{agent} was chosen among {} of queue {queue}, under version {} of the policy.",
        counted(why.considered, "member"),
        why.policy_version
    )];
    if !why.removed.is_empty() {
        said.push(format!("Not in question: {}.", removed(&why.removed)));
    }
    if !why.tie_break.is_empty() {
        said.push(format!("What decided: {}.", why.tie_break));
    }
    let best: Vec<String> = (why.best.iter())
        .map(|(agent, score)| format!("{} ({score})", names.agent(*agent)))
        .collect();
    if best.len() > 1 {
        said.push(format!("The best, with their scores: {}.", best.join(", ")));
    }
    if offer.tier > 0 {
        said.push(format!(
            "{agent} is of ring {}, which had opened or was lent.",
            offer.tier
        ));
    }
    if offer.relaxed != 0 {
        let steps = counted(offer.relaxed.count_ones(), "step");
        said.push(format!("What was asked for had been lowered by {steps} by then."));
    }
    if why.batch > 1 {
        said.push(format!(
            "{} were matched together; this one's part of the gain over one by one is {}.",
            counted(why.batch.into(), "conversation"),
            why.batch_gain
        ));
    }
    if let Some(estimate) = why.estimate {
        said.push(format!("When it began to wait, {} was estimated.", wait(estimate)));
    }
    said
}

/// Why somebody else was not chosen for what has been decided: what of their settings (as they are now) keeps them from it, or what
/// the explanation has of them.
pub fn why_not_chosen(asked: AgentId, why: &Explanation, lacking: &[Failed], names: &impl Names) -> Vec<String> {
    let who = names.agent(asked);
    if let Some(place) = why.best.iter().position(|(agent, _)| *agent == asked) {
        let (_, score) = why.best[place];
        let nth = match place {
            0 => "1st",
            1 => "2nd",
            _ => "3rd or later",
        };
        return vec![format!(
            "{who} could have taken it, and came {nth} in order, with {score}."
        )];
    }
    if lacking.is_empty() {
        return vec![format!(
            "{who} may serve it, and was then either not in question (see the counts) or not among the best; more is not kept of a choice."
        )];
    }
    let reasons = lacking.iter();
    reasons
        .map(|failed| format!("{who} {}.", reason(failed, names)))
        .collect()
}

/// Why it still waits, and why the agent that was asked about does not get it.
pub fn why_waiting(why: &WhyNot, now_ms: Millis, names: &impl Names) -> Vec<String> {
    let queue = names.queue(why.queue);
    let mut said = vec![match why.ahead {
        0 => format!("It is the next in queue {queue}."),
        1 => format!("One in queue {queue} is before it."),
        ahead => format!("{ahead} in queue {queue} are before it."),
    }];
    for reason in &why.withheld {
        said.push(
            match *reason {
                "held" => "Its customer is gone; the place is kept.",
                "proposed" => "An offer is on its way.",
                "refused" => "An offer was refused a moment ago; it is tried again soon.",
                other => other,
            }
            .to_owned(),
        );
    }
    if why.closed {
        said.push(format!("Queue {queue} is closed."));
    }
    if let Some(agent) = why.awaited {
        let until = why
            .awaited_until_ms
            .map(|until_ms| format!(" until {}", clock(until_ms)));
        said.push(format!(
            "It waits for {} alone{}.",
            names.agent(agent),
            until.unwrap_or_default()
        ));
    }
    said.push(match (why.eligible, why.considered) {
        (0, 0) => format!("Nobody serves queue {queue}."),
        (0, _) => format!("Nobody could take it now: {}.", removed(&why.removed)),
        (some, _) => format!("{} could take it now.", counted(some, "agent")),
    });
    if let Some(step) = &why.next_step {
        said.push(next_step(step, now_ms));
    }
    // An estimate asks for agents, not for customers who are gone or for one agent alone.
    if let Some(estimate) = why
        .estimate
        .filter(|_| why.withheld.is_empty() && why.awaited.is_none())
    {
        said.push(format!("Estimated from now: {}.", wait(estimate)));
    }
    if let Some(one) = &why.agent {
        let who = names.agent(one.agent);
        if one.reasons.is_empty() {
            said.push(format!("{who} could take it now."));
        }
        said.extend(
            one.reasons
                .iter()
                .map(|failed| format!("{who} {}.", reason(failed, names))),
        );
    }
    said
}

fn next_step(step: &NextStep, now_ms: Millis) -> String {
    let when = match step.at_ms.saturating_sub(now_ms) {
        0 => "Now".to_owned(),
        later_ms => format!("In {}", duration(later_ms)),
    };
    let more = match step.more_eligible {
        0 => "nobody more".to_owned(),
        more => counted(more, "more agent"),
    };
    match step.ring {
        Some(ring) => format!("{when} ring {ring} opens: {more} could take it."),
        None => format!("{when} it asks for less: {more} could take it."),
    }
}

/// A predicate that an agent fails, after their name.
fn reason(failed: &Failed, names: &impl Names) -> String {
    match failed {
        Failed::Unknown => "is not known".to_owned(),
        Failed::Presence { is } => format!("is {is}"),
        Failed::Queue { queue } => format!("does not serve queue {}", names.queue(*queue)),
        Failed::Ring { ring } => format!("is of ring {ring}, which is not open"),
        Failed::Skill { skill, needs, has: 0 } => format!("lacks {skill}, which is needed at level {needs}"),
        Failed::Skill { skill, needs, has } => format!("has {skill} at level {has}; level {needs} is needed"),
        Failed::Attribute { attribute } => format!("is not as asked in the attribute {attribute}"),
        Failed::Channel { channel } => format!("does not serve channel {channel}"),
        Failed::Room {
            why,
            channel,
            held,
            most,
        } => match why {
            NoRoom::ChannelFull => format!("has as many of channel {channel} as allowed: {held} of {most}"),
            NoRoom::TotalFull => "has no capacity left".to_owned(),
            NoRoom::ExclusiveNeedsAll => format!("has other work, and {channel} bears none beside it"),
            NoRoom::ExclusiveHeld => "has work that bears none beside it".to_owned(),
            NoRoom::ChannelNotServed => format!("does not serve channel {channel}"),
            NoRoom::InterruptibleFull => "has as much interruptible work as fits".to_owned(),
            NoRoom::RateReached => "has had as many as their rate allows for now".to_owned(),
            NoRoom::WarmingUp => "is warming up after their sign-in".to_owned(),
        },
        Failed::Pace { until_ms } => format!("takes no more until {}, by their rate or warm-up", clock(*until_ms)),
        Failed::Resting => "refused an offer a moment ago".to_owned(),
        Failed::Excluded => "declined it, let it time out or lost it, and is left out for a while".to_owned(),
        Failed::Preference { agent } => format!("is not {}, who is waited for", names.agent(*agent)),
    }
}

/// `3 are not available, 2 lack the skill billing`
fn removed(removed: &[(String, u32)]) -> String {
    let words: Vec<String> = (removed.iter())
        .map(|(predicate, count)| {
            let (is, s) = if *count == 1 { ("is", "s") } else { ("are", "") };
            match predicate.split_once(':') {
                Some(("skill", skill)) => {
                    let lack = if *count == 1 { "lacks" } else { "lack" };
                    format!("{count} {lack} the skill {skill} at the level needed")
                }
                Some(("attribute", attribute)) => {
                    format!("{count} {is} not as asked in the attribute {attribute}")
                }
                _ => match predicate.as_str() {
                    "presence" => format!("{count} {is} not available"),
                    "ring" => format!("{count} {is} of a ring that is not open"),
                    "channel" => format!("{count} serve{s} other channels"),
                    "capacity" => format!("{count} {is} full"),
                    "rate" => format!("{count} take{s} no more for a while, by rate or warm-up"),
                    "excluded" => format!("{count} declined it, timed out or lost it"),
                    "preference" => format!("{count} {is} not the one who is waited for"),
                    other => format!("{count} by {other}"),
                },
            }
        })
        .collect();
    if words.is_empty() {
        return "no one is left".to_owned();
    }
    words.join(", ")
}

fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn wait(estimate: WaitEstimate) -> String {
    if estimate == WaitEstimate::default() {
        return "no wait".to_owned();
    }
    let (half, most) = (duration(estimate.p50_ms), duration(estimate.p90_ms));
    format!("a wait of at most {half} with even odds, of at most {most} in nine of ten cases")
}

/// `12 s`, `1 min 5 s`; rounded up to whole seconds.
fn duration(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Time of day, UTC.
fn clock(at_ms: Millis) -> String {
    let seconds = at_ms / 1_000;
    format!(
        "{:02}:{:02}:{:02} UTC",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ConversationId;
    use crate::queue_manager::AgentWhyNot;

    struct Short;

    impl Names for Short {
        fn agent(&self, agent: AgentId) -> String {
            format!("agent{}", agent.0)
        }

        fn queue(&self, queue: QueueId) -> String {
            format!("queue{}", queue.0)
        }
    }

    #[test]
    fn why_this_agent() {
        let why = Explanation {
            policy_version: 7,
            considered: 9,
            removed: vec![("presence".to_owned(), 5), ("skill:billing".to_owned(), 1)],
            best: vec![(AgentId(1), 30), (AgentId(2), 20)],
            tie_break: "longest idle".to_owned(),
            estimate: Some(WaitEstimate {
                p50_ms: 61_000,
                p90_ms: 7_200_000,
            }),
            batch: 4,
            batch_gain: 17,
        };
        let offer = Offer {
            agent: AgentId(1),
            queue: QueueId(3),
            tier: 2,
            relaxed: 0b101,
        };
        assert_eq!(
            why_this(&offer, &why, &Short),
            [
                "agent1 was chosen among 9 members of queue queue3, under version 7 of the policy.",
                "Not in question: 5 are not available, 1 lacks the skill billing at the level needed.",
                "What decided: longest idle.",
                "The best, with their scores: agent1 (30), agent2 (20).",
                "agent1 is of ring 2, which had opened or was lent.",
                "What was asked for had been lowered by 2 steps by then.",
                "4 conversations were matched together; this one's part of the gain over one by one is 17.",
                "When it began to wait, a wait of at most 1 min 1 s with even odds, of at most 2 h 0 min in nine of ten cases was estimated.",
            ]
        );
    }

    #[test]
    fn why_somebody_else_was_not_chosen() {
        let why = Explanation {
            best: vec![(AgentId(1), 30), (AgentId(2), 20)],
            ..Explanation::default()
        };
        let skill = Failed::Skill {
            skill: "billing".to_owned(),
            needs: 3,
            has: 0,
        };
        let lacking = [Failed::Queue { queue: QueueId(3) }, skill];
        assert_eq!(
            why_not_chosen(AgentId(2), &why, &lacking, &Short),
            ["agent2 could have taken it, and came 2nd in order, with 20."]
        );
        assert_eq!(
            why_not_chosen(AgentId(7), &why, &lacking, &Short),
            [
                "agent7 does not serve queue queue3.",
                "agent7 lacks billing, which is needed at level 3."
            ]
        );
        let unclear = why_not_chosen(AgentId(7), &why, &[], &Short);
        assert!(unclear[0].starts_with("agent7 may serve it"), "{unclear:?}");
    }

    #[test]
    fn why_it_waits_and_why_not_that_agent() {
        let why = WhyNot {
            conversation: ConversationId(1),
            queue: QueueId(3),
            policy_version: 7,
            ahead: 2,
            withheld: vec!["held"],
            considered: 3,
            eligible: 0,
            removed: vec![("ring".to_owned(), 2), ("capacity".to_owned(), 1)],
            closed: true,
            awaited: Some(AgentId(4)),
            awaited_until_ms: Some(37_930_000),
            next_step: Some(NextStep {
                at_ms: 12_000,
                ring: None,
                more_eligible: 2,
            }),
            estimate: None,
            agent: Some(AgentWhyNot {
                agent: AgentId(5),
                failed: Vec::new(),
                reasons: vec![
                    Failed::Skill {
                        skill: "billing".to_owned(),
                        needs: 5,
                        has: 3,
                    },
                    Failed::Room {
                        why: NoRoom::ChannelFull,
                        channel: "chat".to_owned(),
                        held: 3,
                        most: 3,
                    },
                ],
            }),
        };
        assert_eq!(
            why_waiting(&why, 0, &Short),
            [
                "2 in queue queue3 are before it.",
                "Its customer is gone; the place is kept.",
                "Queue queue3 is closed.",
                "It waits for agent4 alone until 10:32:10 UTC.",
                "Nobody could take it now: 2 are of a ring that is not open, 1 is full.",
                "In 12 s it asks for less: 2 more agents could take it.",
                "agent5 has billing at level 3; level 5 is needed.",
                "agent5 has as many of channel chat as allowed: 3 of 3.",
            ]
        );
    }
}
