//! Settings in the words of a script: queues, agents, calendars, what holds for all.

use routing::command::Command;
use routing::ids::{Channel, SkillName};
use routing::limits::PRIORITIES;
use routing::settings::*;

use crate::parse::{Fallible, Names, Words, millis, pair, parts, requirements, value};

/// `0@1/9@4`: by priority; those between take what the lower has.
fn fill<T: Copy>(text: &str, slots: &mut [T], read: impl Fn(&str) -> Fallible<T>) -> Fallible<()> {
    for part in parts(Some(text)) {
        let (priority, is) = pair(part, "priority@value")?;
        let from: usize = priority.parse()?;
        slots.get_mut(from..).ok_or("no such priority")?.fill(read(is)?);
    }
    Ok(())
}

/// `30s@billing-2`, `1m@billing-prefer`, `2m@all-drop`
fn relaxation(text: &str) -> Fallible<Relaxation> {
    let (after, what) = pair(text, "after@skill-change")?;
    let (skill, change) = what.rsplit_once('-').ok_or("skill-change is missing")?;
    Ok(Relaxation {
        after_ms: millis(after)?,
        skill: (skill != "all").then(|| SkillName(skill.to_owned())),
        change: match change {
            "prefer" => SkillChange::Prefer,
            "drop" => SkillChange::Drop,
            by => SkillChange::LowerBy(by.parse()?),
        },
    })
}

/// `20s`, `wait-30s`, `length-5`, `level-80`, `estimate-30s`
fn ring_opens(text: &str) -> Fallible<RingOpens> {
    let Some((rule, value)) = text.split_once('-') else {
        return Ok(RingOpens::AfterMs(millis(text)?));
    };
    Ok(RingOpens::While(match rule {
        "wait" => ShareRule::LongestWaitAboveMs(millis(value)?),
        "length" => ShareRule::LengthAbove(value.parse()?),
        "level" => ShareRule::ServiceLevelBelow(value.parse()?),
        "estimate" => ShareRule::EstimatedWaitAboveMs(millis(value)?),
        other => return Err(format!("no rule `{other}`").into()),
    }))
}

/// `support`, `support:tier`, `support:tier:position`, `support:tier:position:weight`
fn membership(names: &mut Names, text: &str) -> Fallible<(routing::ids::QueueId, Membership)> {
    let mut words = text.split(':');
    let queue = names.queue(words.next().unwrap_or_default());
    let mut membership = Membership::default();
    if let Some(tier) = words.next() {
        membership.tier = tier.parse()?;
    }
    if let Some(position) = words.next() {
        membership.position = position.parse()?;
    }
    if let Some(weight) = words.next() {
        membership.weight = weight.parse()?;
    }
    Ok((queue, membership))
}

/// `routing cross=weighted batch=16 zone=Asia/Tokyo days=0/24h repeat=7d`
pub fn routing(words: &mut Words<'_>) -> Fallible<Command> {
    let cross_queue = match words.key("cross") {
        None | Some("priority_then_age") => CrossQueue::PriorityThenAge,
        Some("strict_rank") => CrossQueue::StrictRank,
        Some("weighted") => CrossQueue::Weighted,
        Some("longest_wait") => CrossQueue::LongestWait,
        Some("deadline") => CrossQueue::EarliestDeadline,
        Some("ratio") => CrossQueue::FixedQueueRatio,
        Some("cmu") => CrossQueue::GeneralisedCmu,
        Some(other) => return Err(format!("no cross-queue policy `{other}`").into()),
    };
    let settings = RoutingSettings {
        cross_queue,
        batch_max: words.number("batch", 0)?,
        zone: words.key("zone").unwrap_or_default().to_owned(),
        day_starts_ms: parts(words.key("days")).map(millis).collect::<Fallible<_>>()?,
        repeat_window_ms: words.duration("repeat", 0)?,
    };
    Ok(Command::PutRouting { settings })
}

/// `9h-17h/33h-41h`
fn hours(text: Option<&str>) -> Fallible<Vec<OpenHours>> {
    parts(text)
        .map(|part| {
            let (from, to) = part.split_once('-').ok_or("from-to is missing")?;
            Ok(OpenHours {
                from_ms: millis(from)?,
                to_ms: millis(to)?,
            })
        })
        .collect()
}

/// `calendar office hours=9h-17h/33h-41h until=48h zone=UTC`
pub fn calendar(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let name = words.next("calendar")?;
    let given = Calendar {
        settings: CalendarSettings {
            name: name.to_owned(),
            zone: words.key("zone").unwrap_or("UTC").to_owned(),
            weekly: Vec::new(),
            exceptions: Vec::new(),
        },
        hours: hours(words.key("hours"))?,
        covered_until_ms: words.duration("until", 0)?,
    };
    Ok(Command::PutCalendar {
        calendar: names.calendar(name),
        given,
    })
}

/// `extend_calendar office version=3 hours=57h-65h until=72h`
pub fn extend_calendar(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    Ok(Command::ExtendCalendar {
        calendar: names.calendar(words.next("calendar")?),
        version: words.number("version", 0)?,
        hours: hours(words.key("hours"))?,
        covered_until_ms: words.duration("until", 0)?,
    })
}

/// `share_ring support 1 on why=…`
pub fn share_ring(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    Ok(Command::ShareRing {
        queue: names.queue(words.next("queue")?),
        ring: words.next("ring")?.parse()?,
        shared: words.flag("on"),
        why: words.key("why").unwrap_or("by hand").to_owned(),
    })
}

/// `30s@priority-8`, `longer-5@overflow`, `60s@close-sorry`, `60s@ask-billing:3`
fn escalation(names: &mut Names, text: &str) -> Fallible<Escalation> {
    let (when, action) = pair(text, "when@action")?;
    let when = match when.strip_prefix("longer-") {
        Some(length) => EscalateWhen::LongerThan(length.parse()?),
        None => EscalateWhen::WaitedMs(millis(when)?),
    };
    let action = match action.split_once('-') {
        Some(("priority", priority)) => EscalateAction::RaisePriority(priority.parse()?),
        Some(("close", text)) => EscalateAction::Close { text: text.to_owned() },
        Some(("ask", skill)) => EscalateAction::Reclassify {
            required: requirements(Some(&skill.replace(':', "@")))?,
            preferred: Vec::new(),
        },
        _ => EscalateAction::MoveQueue(names.queue(action)),
    };
    Ok(Escalation { when, action })
}

pub fn queue(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let name = words.next("queue")?;
    let queue = names.queue(name);
    let mut s = QueueSettings::named(words.key("name").unwrap_or(name));
    if let Some(step) = words.key("ageing") {
        s.order = Order::LinearAgeing { step_ms: millis(step)? };
    }
    if let Some(rates) = words.key("credit") {
        let mut by_priority = [0; PRIORITIES];
        fill(rates, &mut by_priority, |rate| Ok(rate.parse()?))?;
        s.order = Order::AccumulatingPriority { rates: by_priority };
    }
    if let Some(targets) = words.key("targets") {
        let mut targets_ms = [0; PRIORITIES];
        fill(targets, &mut targets_ms, millis)?;
        s.order = Order::EarliestDeadline { targets_ms };
    }
    s.choice = match words.key("choice") {
        None | Some("longest_idle") => AgentChoice::LongestIdle,
        Some("least_loaded") => AgentChoice::LeastLoaded,
        Some("most_skilled") => AgentChoice::MostSkilled,
        Some("least_skilled") => AgentChoice::LeastSkilled,
        Some("round_robin") => AgentChoice::RoundRobin,
        Some("fixed_order") => AgentChoice::FixedOrder,
        Some("weighted_random") => AgentChoice::WeightedRandom,
        Some("fewest_today") => AgentChoice::FewestHandledToday,
        Some("least_slowdown") => AgentChoice::LeastSlowdown,
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
    s.answer_target_ms = words.duration("target", s.answer_target_ms)?;
    s.offers_at_once = words.number("at_once", 1)?;
    for step in parts(words.key("relax")) {
        s.relaxations.push(relaxation(step)?);
    }
    for opens in parts(words.key("rings")) {
        s.rings.push(Ring {
            opens: ring_opens(opens)?,
        });
    }
    s.return_when_full = match words.key("full") {
        None => s.return_when_full,
        Some("anybody") => ReturnWhenFull::Anybody,
        Some("stay") => ReturnWhenFull::StayPaused,
        Some(wait) => ReturnWhenFull::WaitForOwnerMs(millis(wait)?),
    };
    s.idle_pause_ms = words.duration("idle_pause", 0)?;
    s.silent_abandon_ms = words.duration("silent", 0)?;
    s.calendar = words.key("calendar").map(|name| names.calendar(name));
    s.when_closed = match words.key("closed") {
        None | Some("refuse") => WhenClosed::Refuse,
        Some("wait") => WhenClosed::Wait,
        Some(text) => match text.strip_prefix("move@") {
            Some(other) => WhenClosed::MoveQueue(names.queue(other)),
            None => WhenClosed::Offline { text: text.to_owned() },
        },
    };
    s.cross_queue = CrossQueueTerms {
        weight: words.number("weight", 1)?,
        rank: words.number("rank", 0)?,
        ratio: words.number("ratio", 1)?,
        cost: words.number("cost", 1)?,
    };
    Ok(Command::PutQueue { queue, settings: s })
}

/// `agent mia queues=support skills=billing@7 total=4 chat=3 voice=1x4-alone hold=30s may_pull supervisor`: per channel
/// concurrent x cost, `-alone` for exclusive; the channels are `chat`, `email` and `voice`; without any, three chats.
pub fn agent(names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let name = words.next("agent")?;
    let agent = names.agent(name);
    let mut capacity = Capacity {
        total: words.number("total", u32::MAX)?,
        interruptible: words.number("interruptible", 0)?,
        ..Capacity::default()
    };
    for channel in ["chat", "email", "voice"] {
        let Some(text) = words.key(channel) else { continue };
        let (exclusive, text) = (text.ends_with("-alone"), text.trim_end_matches("-alone"));
        let (interruptible, text) = (text.ends_with("-soft"), text.trim_end_matches("-soft"));
        let (concurrent, cost) = text.split_once('x').unwrap_or((text, "1"));
        let limits = ChannelCapacity {
            concurrent_max: concurrent.parse()?,
            cost: cost.parse()?,
            exclusive,
            interruptible,
        };
        capacity.channels.insert(Channel(channel.to_owned()), limits);
    }
    if capacity.channels.is_empty() {
        let chat = ChannelCapacity {
            concurrent_max: 3,
            cost: 1,
            exclusive: false,
            interruptible: false,
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
        queues: parts(words.key("queues"))
            .map(|text| membership(names, text))
            .collect::<Fallible<_>>()?,
        capacity,
        may_pull: words.flag("may_pull"),
        supervisor: words.flag("supervisor"),
        lease_hold_ms: words.duration("hold", 30_000)?,
        rate: match words.key("rate") {
            Some(text) => {
                let (max, window) = pair(text, "max@window")?;
                Some(AssignmentRate {
                    max: max.parse()?,
                    window_ms: millis(window)?,
                })
            }
            None => None,
        },
        warm_up_ms: words.duration("warm_up", 0)?,
        attributes: words
            .prefixed("attr.")
            .into_iter()
            .map(|(key, is)| (key.to_owned(), value(is)))
            .collect(),
    };
    Ok(Command::PutAgent { agent, settings })
}
