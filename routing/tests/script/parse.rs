//! From the words of a script to commands.

use std::collections::BTreeMap;
use std::error::Error;

use goldenscript::{Argument, Command as Line};
use routing::command::{Author, Body, Explanation, Override, PresenceChange, Principal, Timer, TransferTarget, Value};
use routing::command::{Command, Reader};
use routing::ids::{AgentId, CalendarId, Channel, ConversationId, CustomerId, Epoch, QueueId, SkillName};
use routing::settings::*;

use crate::{participants, settings};
use participants::schedule;

pub type Fallible<T> = Result<T, Box<dyn Error>>;

/// Ids by the names that a script gives: `c1` is conversation 1, agents and queues are numbered as they come.
#[derive(Default)]
pub struct Names {
    pub conversations: Vec<String>,
    pub agents: Vec<String>,
    pub queues: Vec<String>,
    pub calendars: Vec<String>,
}

fn number(names: &mut Vec<String>, name: &str) -> u128 {
    let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    at as u128 + 1
}

fn word(names: &[String], id: u128) -> &str {
    id.checked_sub(1)
        .and_then(|at| names.get(at as usize))
        .map_or("?", String::as_str)
}

impl Names {
    pub fn conversation(&mut self, name: &str) -> ConversationId {
        ConversationId(number(&mut self.conversations, name))
    }
    pub fn agent(&mut self, name: &str) -> AgentId {
        AgentId(number(&mut self.agents, name))
    }
    pub fn queue(&mut self, name: &str) -> QueueId {
        QueueId(number(&mut self.queues, name))
    }
    pub fn calendar(&mut self, name: &str) -> CalendarId {
        CalendarId(number(&mut self.calendars, name))
    }
    pub fn k(&self, id: CalendarId) -> &str {
        word(&self.calendars, id.0)
    }
    pub fn c(&self, id: ConversationId) -> &str {
        word(&self.conversations, id.0)
    }
    pub fn a(&self, id: AgentId) -> &str {
        word(&self.agents, id.0)
    }
    pub fn q(&self, id: QueueId) -> &str {
        word(&self.queues, id.0)
    }
}

/// A line's words: positions in order, keys by name. What is left over is an error.
pub struct Words<'a> {
    positions: std::collections::VecDeque<&'a str>,
    keys: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub fn of(line: &'a Line) -> Self {
        let (mut positions, mut keys) = (std::collections::VecDeque::new(), BTreeMap::new());
        for argument in &line.args {
            match argument {
                Argument::Positional(word) => positions.push_back(word.as_str()),
                Argument::KeyValue(key, value) => _ = keys.insert(key.as_str(), value.as_str()),
                other => panic!("an argument of a new kind: {other:?}"),
            }
        }
        Self { positions, keys }
    }

    pub fn next(&mut self, what: &str) -> Fallible<&'a str> {
        self.positions
            .pop_front()
            .ok_or_else(|| format!("{what} is missing").into())
    }

    pub fn more(&mut self) -> Option<&'a str> {
        self.positions.pop_front()
    }

    pub fn key(&mut self, key: &str) -> Option<&'a str> {
        self.keys.remove(key)
    }

    /// Says a word whether it stands among the positions.
    pub fn flag(&mut self, flag: &str) -> bool {
        let at = self.positions.iter().position(|word| *word == flag);
        at.map(|at| self.positions.remove(at)).is_some()
    }

    pub fn number<T: std::str::FromStr>(&mut self, key: &str, default: T) -> Fallible<T> {
        self.key(key).map_or(Ok(default), |n| {
            n.parse().map_err(|_| format!("{key}={n} is no such number").into())
        })
    }

    pub fn duration(&mut self, key: &str, default: u64) -> Fallible<u64> {
        self.key(key).map_or(Ok(default), millis)
    }

    pub fn epoch(&mut self) -> Fallible<Epoch> {
        Ok(Epoch(self.number("epoch", 1)?))
    }

    /// Keys that begin with `prefix`, without it.
    pub fn prefixed(&mut self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let of = |key: &&'a str| key.starts_with(prefix);
        let found: Vec<_> = self.keys.keys().filter(|key| of(key)).copied().collect();
        found
            .into_iter()
            .map(|key| (&key[prefix.len()..], self.keys.remove(key).unwrap_or("")))
            .collect()
    }

    pub fn end(self) -> Fallible<()> {
        match (self.positions.front(), self.keys.first_key_value()) {
            (None, None) => Ok(()),
            (Some(word), _) => Err(format!("unexpected `{word}`").into()),
            (None, Some((key, _))) => Err(format!("unexpected `{key}=`").into()),
        }
    }
}

/// `250` (ms), `2s`, `3m`, `1h`, `2d`.
pub fn millis(text: &str) -> Fallible<u64> {
    let units = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    for (unit, factor) in units {
        if let Some(Ok(n)) = text.strip_suffix(unit).map(str::parse::<u64>) {
            return Ok(n * factor);
        }
    }
    text.parse().map_err(|_| format!("`{text}` is no duration").into())
}

pub fn parts(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or("").split([',', '/']).filter(|part| !part.is_empty())
}

pub fn pair<'a>(text: &'a str, what: &str) -> Fallible<(&'a str, &'a str)> {
    text.split_once(['@', '>'])
        .ok_or_else(|| format!("`{text}` is no {what}").into())
}

/// `billing@5/language.ja@3`
pub fn requirements(text: Option<&str>) -> Fallible<Vec<Requirement>> {
    parts(text)
        .map(|part| {
            let (skill, level) = pair(part, "skill@level")?;
            Ok(Requirement {
                skill: SkillName(skill.to_owned()),
                level: level.parse()?,
            })
        })
        .collect()
}

pub fn principal(names: &mut Names, text: &str) -> Principal {
    match text.strip_prefix("admin@") {
        Some(admin) => Principal::Admin(admin.to_owned()),
        None => Principal::Agent(names.agent(text)),
    }
}

/// `customer`, `system`, `supervisor@mia`, `supervisor@admin@root`, or an agent (with `epoch=`).
pub fn author(names: &mut Names, words: &mut Words<'_>) -> Fallible<Author> {
    Ok(match words.next("author")? {
        "customer" => Author::Customer,
        "system" => Author::System,
        text => match (text.strip_prefix("supervisor@"), text.strip_prefix("participant@")) {
            (Some(who), _) => Author::Supervisor(principal(names, who)),
            (None, Some(agent)) => Author::Participant {
                agent: names.agent(agent),
            },
            (None, None) => Author::Agent {
                agent: names.agent(text),
                epoch: words.epoch()?,
            },
        },
    })
}

pub fn body(text: &str) -> Body {
    Body {
        media_type: "text/plain".to_owned(),
        text: text.to_owned(),
    }
}

pub fn value(text: &str) -> Value {
    match (text, text.parse()) {
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        (_, Ok(number)) => Value::Number(number),
        _ => Value::Text(text.to_owned()),
    }
}

fn presence(text: Option<&str>) -> PresenceChange {
    match text {
        None | Some("available") => PresenceChange::Available,
        Some("draining") => PresenceChange::Draining,
        Some(reason) => PresenceChange::Away(reason.strip_prefix("away@").unwrap_or(reason).to_owned()),
    }
}

fn classification(names: &mut Names, words: &mut Words<'_>) -> Fallible<Classification> {
    let preferred_agent = match words.key("prefer") {
        Some(text) => {
            let (agent, wait) = pair(text, "agent@wait")?;
            Some(Preference {
                agent: names.agent(agent),
                wait_ms: millis(wait)?,
            })
        }
        None => None,
    };
    Ok(Classification {
        queues: parts(words.key("queues")).map(|queue| names.queue(queue)).collect(),
        priority: words.number("priority", 5)?,
        required: requirements(words.key("required"))?,
        preferred: requirements(words.key("wished"))?,
        preferred_agent,
        rule: words.key("rule").map(str::to_owned),
        selectors: parts(words.key("where")).map(selector).collect::<Fallible<_>>()?,
    })
}

/// `site:eq:osaka`, `site:ne:kyoto`, `years:lt:5`, `le`, `gt`, `ge`, `team:in:a|b`, `team:not:a|b`
fn selector(text: &str) -> Fallible<Selector> {
    let mut words = text.splitn(3, ':');
    let (Some(attribute), Some(test), Some(is)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("`{text}` is no attribute:test:value").into());
    };
    let values = || is.split('|').map(value).collect();
    let test = match test {
        "eq" => SelectorTest::Equals(value(is)),
        "ne" => SelectorTest::NotEquals(value(is)),
        "lt" => SelectorTest::Below(is.parse()?),
        "le" => SelectorTest::AtMost(is.parse()?),
        "gt" => SelectorTest::Above(is.parse()?),
        "ge" => SelectorTest::AtLeast(is.parse()?),
        "in" => SelectorTest::In(values()),
        "not" => SelectorTest::NotIn(values()),
        other => return Err(format!("no test `{other}`").into()),
    };
    Ok(Selector {
        attribute: attribute.to_owned(),
        test,
    })
}

fn start(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let name = words.next("conversation")?;
    Ok(Command::StartConversation {
        conversation: names.conversation(name),
        channel: Channel(words.key("channel").unwrap_or("chat").to_owned()),
        customer: CustomerId(
            words
                .key("customer")
                .map_or_else(|| format!("customer-of-{name}"), str::to_owned),
        ),
        message: words.key("message").map(body),
        attributes: words
            .prefixed("attr.")
            .into_iter()
            .map(|(k, v)| (k.to_owned(), value(v)))
            .collect(),
        classification: classification(names, words)?,
        schedule: schedule(names, words)?,
        callback: words.key("callback").map(str::to_owned),
    })
}

fn timer(names: &mut Names, words: &mut Words<'_>) -> Fallible<Timer> {
    let kind = words.next("timer")?;
    match kind {
        "forget_windows" => return Ok(Timer::ForgetWindows),
        "quarter_hour" => return Ok(Timer::QuarterHour),
        _ => {}
    }
    let who = words.next("whose timer")?;
    if kind == "lease_end" {
        return Ok(Timer::LeaseEnd {
            agent: names.agent(who),
        });
    }
    if kind == "calendar_edge" {
        return Ok(Timer::CalendarEdge {
            calendar: names.calendar(who),
        });
    }
    let conversation = names.conversation(who);
    Ok(match kind {
        "offer_deadline" => Timer::OfferDeadline {
            conversation,
            epoch: words.epoch()?,
        },
        "wrap_up_end" => Timer::WrapUpEnd {
            conversation,
            epoch: words.epoch()?,
        },
        "escalation" => Timer::Escalation {
            conversation,
            step: words.number("step", 0)?,
        },
        "no_reply" => Timer::NoReply {
            conversation,
            epoch: words.epoch()?,
        },
        "abandon_hold" => Timer::AbandonHold { conversation },
        "preference_end" => Timer::PreferenceEnd { conversation },
        "exclusion_end" => Timer::ExclusionEnd { conversation },
        "archive" => Timer::Archive { conversation },
        "relaxation" => Timer::Relaxation {
            conversation,
            step: words.number("step", 0)?,
        },
        "ring_opens" => Timer::RingOpens {
            conversation,
            ring: words.number("ring", 1)?,
        },
        "idle_pause" => Timer::IdlePause {
            conversation,
            epoch: words.epoch()?,
        },
        "silent_abandon" => Timer::SilentAbandon {
            conversation,
            epoch: words.epoch()?,
        },
        "scheduled" => Timer::Scheduled { conversation },
        "invitation_end" => Timer::InvitationEnd {
            conversation,
            agent: names.agent(words.next("agent")?),
        },
        other => return Err(format!("no timer `{other}`").into()),
    })
}

fn rules(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let mut rules = Vec::new();
    for (name, expression) in words.prefixed("rule.") {
        let (when, queue) = pair(expression, "when@queue")?;
        let given = Classification {
            queues: vec![names.queue(queue)],
            priority: 5,
            ..Classification::default()
        };
        rules.push(Rule {
            name: name.to_owned(),
            when: when.to_owned(),
            parts: vec![(1, given)],
        });
    }
    let fallback = words.key("fallback").map(|queue| names.queue(queue));
    let fallback = fallback.map(|queue| Classification {
        queues: vec![queue],
        ..Classification::default()
    });
    Ok(Command::PutRules { rules, fallback })
}

/// The command that a line means; `None` when its word is none of a command.
pub fn command(names: &mut Names, name: &str, words: &mut Words<'_>) -> Fallible<Option<Command>> {
    if let Some(of_conversation) = conversation_command(names, name, words)? {
        return Ok(Some(of_conversation));
    }
    if let Some(of_participants) = participants::command(names, name, words)? {
        return Ok(Some(of_participants));
    }
    Ok(Some(match name {
        "tenant" => Command::PutTenant {
            name: words.next("name")?.to_owned(),
        },
        "queue" => settings::queue(names, words)?,
        "remove_queue" => Command::RemoveQueue {
            queue: names.queue(words.next("queue")?),
        },
        "skill" => Command::PutSkill {
            skill: SkillName(words.next("skill")?.to_owned()),
            description: String::new(),
        },
        "remove_skill" => Command::RemoveSkill {
            skill: SkillName(words.next("skill")?.to_owned()),
        },
        "agent" => settings::agent(names, words)?,
        "routing" => settings::routing(words)?,
        "calendar" => settings::calendar(names, words)?,
        "remove_calendar" => Command::RemoveCalendar {
            calendar: names.calendar(words.next("calendar")?),
        },
        "extend_calendar" => settings::extend_calendar(names, words)?,
        "extend_days" => Command::ExtendDays {
            starts_ms: parts(Some(words.next("days")?)).map(millis).collect::<Fallible<_>>()?,
        },
        "share_ring" => settings::share_ring(names, words)?,
        "remove_agent" => Command::RemoveAgent {
            agent: names.agent(words.next("agent")?),
        },
        "rules" => rules(names, words)?,
        "sign_in" => {
            let agent = names.agent(words.next("agent")?);
            Command::SignIn {
                agent,
                presence: presence(words.more()),
            }
        }
        "sign_out" => Command::SignOut {
            agent: names.agent(words.next("agent")?),
        },
        "presence" => {
            let agent = names.agent(words.next("agent")?);
            Command::SetPresence {
                agent,
                presence: presence(Some(words.next("presence")?)),
            }
        }
        "lost" => Command::ConnectionsLost {
            agent: names.agent(words.next("agent")?),
        },
        "back" => Command::ConnectionsBack {
            agent: names.agent(words.next("agent")?),
        },
        "fire" => Command::Fire {
            timer: timer(names, words)?,
        },
        _ => return Ok(None),
    }))
}

fn conversation_command(names: &mut Names, name: &str, words: &mut Words<'_>) -> Fallible<Option<Command>> {
    if name == "start" {
        return start(names, words).map(Some);
    }
    let known = [
        "say", "note", "read", "set", "pause", "resume", "close", "reopen", "left", "returned", "override", "transfer",
        "pull", "assign", "accept", "decline", "finish", "extend", "offer",
    ];
    if !known.contains(&name) {
        return Ok(None);
    }
    let conversation = names.conversation(words.next("conversation")?);
    Ok(Some(match name {
        "say" => {
            let author = author(names, words)?;
            Command::PostMessage {
                conversation,
                author,
                body: body(words.next("text")?),
            }
        }
        "read" => {
            let who = words.next("reader")?;
            let reader = if who == "customer" {
                Reader::Customer
            } else {
                Reader::Agent(names.agent(who))
            };
            Command::MarkRead {
                conversation,
                reader,
                seq: words.next("seq")?.parse()?,
            }
        }
        "set" => {
            let given = words.prefixed("");
            let changes = given
                .into_iter()
                .map(|(k, v)| (k.to_owned(), (!v.is_empty()).then(|| value(v))));
            Command::SetAttributes {
                conversation,
                attributes: changes.collect(),
            }
        }
        "resume" => Command::Resume {
            conversation,
            by: author(names, words)?,
        },
        "close" => {
            let by = author(names, words)?;
            Command::Close {
                conversation,
                by,
                disposition: words.key("disposition").map(str::to_owned),
                resolved: None,
            }
        }
        "reopen" => Command::Reopen {
            conversation,
            by: author(names, words)?,
        },
        "left" => Command::CustomerLeft { conversation },
        "returned" => Command::CustomerReturned { conversation },
        "override" => {
            let by = principal(names, words.key("by").unwrap_or("admin@root"));
            Command::OverrideConversation {
                conversation,
                by,
                change: change(names, words)?,
            }
        }
        _ => agents_command(names, name, conversation, words)?,
    }))
}

fn change(names: &mut Names, words: &mut Words<'_>) -> Fallible<Override> {
    Ok(
        match (words.flag("expedite"), words.key("priority"), words.key("move")) {
            (true, None, None) => Override::Expedite,
            (false, Some(priority), None) => Override::Priority(priority.parse()?),
            (false, None, Some(queue)) => Override::Move(names.queue(queue)),
            _ => return Err("one of expedite, priority=, move=".into()),
        },
    )
}

/// What an agent does, or is done to them, with a conversation.
fn agents_command(
    names: &mut Names,
    name: &str,
    conversation: ConversationId,
    words: &mut Words<'_>,
) -> Fallible<Command> {
    let agent = names.agent(words.next("agent")?);
    Ok(match name {
        "note" => Command::PostNote {
            conversation,
            agent,
            body: body(words.next("text")?),
        },
        "pause" => Command::Pause {
            conversation,
            agent,
            epoch: words.epoch()?,
        },
        "transfer" => {
            let target = match (words.key("agent"), words.key("queue")) {
                (Some(to), None) => TransferTarget::Agent {
                    agent: names.agent(to),
                    wait_ms: words.duration("wait", 20_000)?,
                },
                (None, Some(to)) => TransferTarget::Queue(names.queue(to)),
                _ => return Err("one of agent=, queue=".into()),
            };
            Command::Transfer {
                conversation,
                by: agent,
                epoch: words.epoch()?,
                target,
            }
        }
        "pull" => Command::Pull { conversation, agent },
        "assign" => {
            let by = principal(names, words.key("by").unwrap_or("admin@root"));
            Command::AssignByHand {
                conversation,
                agent,
                by,
            }
        }
        "accept" => Command::AcceptOffer {
            conversation,
            agent,
            epoch: words.epoch()?,
        },
        "decline" => {
            let reason = words.key("reason").unwrap_or("busy").to_owned();
            Command::DeclineOffer {
                conversation,
                agent,
                epoch: words.epoch()?,
                reason,
            }
        }
        "finish" => {
            let disposition = words.key("disposition").map(str::to_owned);
            Command::FinishWrapUp {
                conversation,
                agent,
                epoch: words.epoch()?,
                disposition,
            }
        }
        "extend" => Command::ExtendWrapUp {
            conversation,
            agent,
            epoch: words.epoch()?,
            by_ms: words.duration("by", 0)?,
        },
        _ => Command::Offer {
            conversation,
            agent,
            explanation: Explanation::default(),
        },
    })
}
