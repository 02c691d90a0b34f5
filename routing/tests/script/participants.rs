//! Participants, schedules, callbacks, ratings, parallel offers, in the words of a script.

use routing::command::{Command, Explanation, Role, Schedule, ScheduleUntil};

use crate::parse::{Fallible, Names, Words, author, body, millis, pair, parts};

fn role(text: &str) -> Fallible<Role> {
    Ok(match text {
        "consult" => Role::Consult,
        "conference" => Role::Conference,
        "monitor" => Role::Monitor,
        "whisper" => Role::Whisper,
        "barge" => Role::Barge,
        other => return Err(format!("no role `{other}`").into()),
    })
}

/// `at=1h`, or `returns=mia@2h`; `keep_age`.
pub fn schedule(names: &mut Names, words: &mut Words<'_>) -> Fallible<Option<Schedule>> {
    let keep_age = words.flag("keep_age");
    if let Some(at) = words.key("at") {
        let until = ScheduleUntil::At { at_ms: millis(at)? };
        return Ok(Some(Schedule { until, keep_age }));
    }
    let Some(text) = words.key("returns") else {
        return Ok(None);
    };
    let (agent, latest) = pair(text, "agent@latest")?;
    let until = ScheduleUntil::AgentReturns {
        agent: names.agent(agent),
        latest_ms: millis(latest)?,
    };
    Ok(Some(Schedule { until, keep_age }))
}

/// - `offer_many c1 mia/noor`
/// - `invite c1 mia epoch=1 noor consult`, `answer c1 noor yes|no`, `join c1 sue monitor`, `leave c1 noor`
/// - `remove c1 mia epoch=1 noor`, `complete c1 mia epoch=1 noor`, `whisper c1 sue "calm down"`
/// - `schedule c1 mia epoch=1 at=1h keep_age`, `unschedule c1 customer`, `callback c1 customer "+81…"`, `rate c1 5 comment=…`
pub fn command(names: &mut Names, name: &str, words: &mut Words<'_>) -> Fallible<Option<Command>> {
    let known = [
        "offer_many",
        "invite",
        "answer",
        "join",
        "leave",
        "remove",
        "complete",
        "whisper",
        "schedule",
        "unschedule",
        "callback",
        "rate",
    ];
    if !known.contains(&name) {
        return Ok(None);
    }
    let conversation = names.conversation(words.next("conversation")?);
    Ok(Some(match name {
        "offer_many" => Command::OfferToMany {
            conversation,
            agents: parts(Some(words.next("agents")?))
                .map(|agent| names.agent(agent))
                .collect(),
            explanation: Explanation::default(),
        },
        "invite" => Command::Invite {
            conversation,
            by: names.agent(words.next("owner")?),
            epoch: words.epoch()?,
            agent: names.agent(words.next("agent")?),
            role: role(words.next("role")?)?,
        },
        "answer" => Command::AnswerInvitation {
            conversation,
            agent: names.agent(words.next("agent")?),
            accept: words.next("yes or no")? == "yes",
        },
        "join" => Command::JoinAs {
            conversation,
            agent: names.agent(words.next("agent")?),
            role: role(words.next("role")?)?,
        },
        "leave" => Command::LeaveConversation {
            conversation,
            agent: names.agent(words.next("agent")?),
        },
        "remove" => Command::RemoveParticipant {
            conversation,
            by: names.agent(words.next("owner")?),
            epoch: words.epoch()?,
            agent: names.agent(words.next("agent")?),
        },
        "complete" => Command::CompleteTransfer {
            conversation,
            by: names.agent(words.next("owner")?),
            epoch: words.epoch()?,
            to: names.agent(words.next("agent")?),
        },
        "whisper" => Command::PostWhisper {
            conversation,
            agent: names.agent(words.next("agent")?),
            body: body(words.next("text")?),
        },
        "schedule" => Command::Schedule {
            conversation,
            by: author(names, words)?,
            schedule: schedule(names, words)?.ok_or("at= or returns= is missing")?,
        },
        "unschedule" => Command::CancelSchedule {
            conversation,
            by: author(names, words)?,
        },
        "callback" => Command::RequestCallback {
            conversation,
            by: author(names, words)?,
            contact: words.next("contact")?.to_owned(),
        },
        _ => Command::Rate {
            conversation,
            rating: words.next("rating")?.parse()?,
            comment: words.key("comment").map(str::to_owned),
        },
    }))
}
