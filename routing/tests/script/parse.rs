//! From the words of a script to commands.

use std::collections::BTreeMap;
use std::error::Error;

use goldenscript::{Argument, Command as Line};
use routing::command::{Author, Body, Explanation, Override, PresenceChange, Principal, Timer, TransferTarget, Value};
use routing::command::{Command, Reader};
use routing::ids::{AgentId, Channel, ConversationId, CustomerId, Epoch, QueueId, SkillName};
use routing::settings::*;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Ids by the names that a script gives: `c1` is conversation 1, agents and queues are numbered as they come.
#[derive(Default)]
pub struct Names {
    pub conversations: Vec<String>,
    pub agents: Vec<String>,
    pub queues: Vec<String>,
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

    fn epoch(&mut self) -> Fallible<Epoch> {
        Ok(Epoch(self.number("epoch", 1)?))
    }

    /// Keys that begin with `prefix`, without it.
    fn prefixed(&mut self, prefix: &str) -> Vec<(&'a str, &'a str)> {
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

fn parts(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or("").split([',', '/']).filter(|part| !part.is_empty())
}

fn pair<'a>(text: &'a str, what: &str) -> Fallible<(&'a str, &'a str)> {
    text.split_once(['@', '>'])
        .ok_or_else(|| format!("`{text}` is no {what}").into())
}

/// `billing@5/language.ja@3`
fn requirements(text: Option<&str>) -> Fallible<Vec<Requirement>> {
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

fn principal(names: &mut Names, text: &str) -> Principal {
    match text.strip_prefix("admin@") {
        Some(admin) => Principal::Admin(admin.to_owned()),
        None => Principal::Agent(names.agent(text)),
    }
}

/// `customer`, `system`, `supervisor@mia`, `supervisor@admin@root`, or an agent (with `epoch=`).
fn author(names: &mut Names, words: &mut Words<'_>) -> Fallible<Author> {
    Ok(match words.next("author")? {
        "customer" => Author::Customer,
        "system" => Author::System,
        text => match text.strip_prefix("supervisor@") {
            Some(who) => Author::Supervisor(principal(names, who)),
            None => Author::Agent {
                agent: names.agent(text),
                epoch: words.epoch()?,
            },
        },
    })
}

fn body(text: &str) -> Body {
    Body {
        media_type: "text/plain".to_owned(),
        text: text.to_owned(),
    }
}

fn value(text: &str) -> Value {
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

/// `30s@priority-8`, `longer-5@overflow`
fn escalation(names: &mut Names, text: &str) -> Fallible<Escalation> {
    let (when, action) = pair(text, "when@action")?;
    let when = match when.strip_prefix("longer-") {
        Some(length) => EscalateWhen::LongerThan(length.parse()?),
        None => EscalateWhen::WaitedMs(millis(when)?),
    };
    let action = match action.strip_prefix("priority-") {
        Some(priority) => EscalateAction::RaisePriority(priority.parse()?),
        None => EscalateAction::MoveQueue(names.queue(action)),
    };
    Ok(Escalation { when, action })
}

fn queue(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let name = words.next("queue")?;
    let queue = names.queue(name);
    let mut s = QueueSettings::named(words.key("name").unwrap_or(name));
    if let Some(step) = words.key("ageing") {
        s.order = Order::LinearAgeing { step_ms: millis(step)? };
    }
    s.choice = match words.key("choice") {
        None | Some("longest_idle") => AgentChoice::LongestIdle,
        Some("least_loaded") => AgentChoice::LeastLoaded,
        Some("most_skilled") => AgentChoice::MostSkilled,
        Some("round_robin") => AgentChoice::RoundRobin,
        Some(other) => return Err(format!("no choice `{other}`").into()),
    };
    s.offer_timeout_ms = words.duration("offer", s.offer_timeout_ms)?;
    s.auto_accept = words.flag("auto_accept");
    s.decline_exclude_ms = words.duration("exclude", s.decline_exclude_ms)?;
    s.timeouts_until_away = words.number("timeouts", s.timeouts_until_away)?;
    s.length_max = words.number("length_max", 0)?;
    s.wait_max_ms = words.duration("wait_max", 0)?;
    if let Some(text) = words.key("offline") {
        s.at_cap = AtCap::Offline { text: text.to_owned() };
    }
    if let Some(no_reply) = words.key("no_reply") {
        let (after, exclude) = pair(no_reply, "after@exclude")?;
        s.no_reply = Some(NoReply {
            after_ms: millis(after)?,
            exclude_ms: millis(exclude)?,
        });
    }
    for step in parts(words.key("escalate")) {
        s.escalations.push(escalation(names, step)?);
    }
    if let Some(length) = words.key("wrap_up") {
        s.wrap_up = WrapUp::Timed {
            length_ms: millis(length)?,
            extension_max_ms: words.duration("extension_max", 0)?,
        };
    }
    if let Some(longest) = words.key("manual_wrap_up") {
        s.wrap_up = WrapUp::Manual {
            longest_ms: millis(longest)?,
        };
    }
    s.abandon_hold_ms = words.duration("abandon_hold", s.abandon_hold_ms)?;
    s.short_abandon_ms = words.duration("short_abandon", s.short_abandon_ms)?;
    s.reopen_window_ms = words.duration("reopen", s.reopen_window_ms)?;
    Ok(Command::PutQueue { queue, settings: s })
}

/// `agent mia queues=support skills=billing@7 total=4 chat=3 voice=1x4-alone hold=30s may_pull supervisor`: per channel
/// concurrent x cost, `-alone` for exclusive; the channels are `chat`, `email` and `voice`; without any, three chats.
fn agent(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let name = words.next("agent")?;
    let agent = names.agent(name);
    let mut capacity = Capacity {
        total: words.number("total", u32::MAX)?,
        ..Capacity::default()
    };
    for channel in ["chat", "email", "voice"] {
        let Some(text) = words.key(channel) else { continue };
        let (exclusive, text) = (text.ends_with("-alone"), text.trim_end_matches("-alone"));
        let (concurrent, cost) = text.split_once('x').unwrap_or((text, "1"));
        let limits = ChannelCapacity {
            concurrent_max: concurrent.parse()?,
            cost: cost.parse()?,
            exclusive,
        };
        capacity.channels.insert(Channel(channel.to_owned()), limits);
    }
    if capacity.channels.is_empty() {
        let chat = ChannelCapacity {
            concurrent_max: 3,
            cost: 1,
            exclusive: false,
        };
        capacity.channels.insert(Channel("chat".to_owned()), chat);
    }
    let skills = requirements(words.key("skills"))?
        .into_iter()
        .map(|r| (r.skill, r.level))
        .collect();
    let settings = AgentSettings {
        name: words.key("name").unwrap_or(name).to_owned(),
        skills,
        queues: parts(words.key("queues")).map(|queue| names.queue(queue)).collect(),
        capacity,
        may_pull: words.flag("may_pull"),
        supervisor: words.flag("supervisor"),
        lease_hold_ms: words.duration("hold", 30_000)?,
    };
    Ok(Command::PutAgent { agent, settings })
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
    })
}

fn timer(names: &mut Names, words: &mut Words<'_>) -> Fallible<Timer> {
    let kind = words.next("timer")?;
    if kind == "forget_windows" {
        return Ok(Timer::ForgetWindows);
    }
    let who = words.next("whose timer")?;
    if kind == "lease_end" {
        return Ok(Timer::LeaseEnd {
            agent: names.agent(who),
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
    Ok(Some(match name {
        "tenant" => Command::PutTenant {
            name: words.next("name")?.to_owned(),
        },
        "queue" => queue(names, words)?,
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
        "agent" => agent(names, words)?,
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
