//! A file out of a policy: what [`TenantFile::parse`] reads back as the same. Keys are left out: nobody writes secrets down.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use routing::command::Value;
use routing::ids::{AgentId, QueueId};
use routing::settings::{
    AgentSettings, AtCap, CalendarSettings, Classification, CrossQueueTerms, EscalateAction, EscalateWhen, Escalation,
    Membership, Order, Policy, QueueSettings, Relaxation, Requirement, ReturnWhenFull, Ring, RingOpens, Selector,
    SelectorTest, ShareRule, SkillChange, WhenClosed, WrapUp,
};

use super::calendars::{CROSS_QUEUE, WEEKDAYS};
use super::queues::{CHOICES, ORDERS, credit, targets};
use crate::calendars::clock;
use crate::toml_input::humane;

/// What a policy names by id.
pub struct Named<'a> {
    /// The tenant's name.
    pub tenant: &'a str,
    /// The policy.
    pub policy: &'a Policy,
    /// All agents whom it prefers, and those to be written down.
    pub agents: &'a BTreeMap<AgentId, AgentSettings>,
    /// Whether agents are written down: without them it is a policy file.
    pub with_agents: bool,
}

/// Lines of `key = value`, each only when it says something.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, key: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn text(&mut self, key: &str, value: &str) {
        self.put(key, quoted(value));
    }

    fn ms(&mut self, key: &str, ms: u64, usual: u64) {
        if ms != usual {
            self.text(key, &humane(ms));
        }
    }

    fn number(&mut self, key: &str, number: impl Into<u64>, usual: impl Into<u64>) {
        let number = number.into();
        if number != usual.into() {
            self.put(key, number);
        }
    }

    fn flag(&mut self, key: &str, flag: bool) {
        if flag {
            self.put(key, flag);
        }
    }

    fn list(&mut self, key: &str, items: &[String]) {
        match items {
            [] => {}
            // One to a line.
            [first, ..] if first.starts_with('\n') => self.put(key, format!("[{},\n]", items.join(","))),
            items => self.put(key, format!("[{}]", items.join(", "))),
        }
    }

    fn section(&mut self, header: &str) {
        let _ = writeln!(self.0, "\n{header}");
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn ms(ms: u64) -> String {
    quoted(&humane(ms))
}

impl Named<'_> {
    /// The text of the file.
    pub fn write(&self) -> String {
        let mut out = Lines("[tenant]\n".to_owned());
        out.text("name", self.tenant);
        self.routing(&mut out);
        for calendar in self.policy.calendars.values() {
            write_calendar(&mut out, &calendar.settings);
        }
        for (skill, description) in &self.policy.skills {
            out.section("[[skill]]");
            out.text("name", &skill.0);
            if !description.is_empty() {
                out.text("description", description);
            }
        }
        for queue in self.policy.queues.values() {
            self.queue(&mut out, queue);
        }
        if self.with_agents {
            for agent in self.agents.values() {
                self.agent(&mut out, agent);
            }
        }
        for rule in &self.policy.rules {
            out.section("[[rule]]");
            out.text("name", &rule.name);
            out.text("when", &rule.when);
            match rule.parts.as_slice() {
                [(1, only)] => self
                    .classification(only)
                    .into_iter()
                    .for_each(|(key, value)| out.put(key, value)),
                parts => {
                    let part = |(weight, part): &(u32, Classification)| {
                        let said = self
                            .classification(part)
                            .into_iter()
                            .map(|(key, value)| format!("{key} = {value}"));
                        let said: Vec<String> = std::iter::once(format!("weight = {weight}")).chain(said).collect();
                        format!("\n    {{ {} }}", said.join(", "))
                    };
                    out.list("parts", &parts.iter().map(part).collect::<Vec<_>>());
                }
            }
        }
        if let Some(fallback) = &self.policy.fallback {
            out.section("[fallback]");
            self.classification(fallback)
                .into_iter()
                .for_each(|(key, value)| out.put(key, value));
        }
        out.0
    }

    fn routing(&self, out: &mut Lines) {
        let routing = &self.policy.routing;
        out.section("[routing]");
        if let Some((name, _)) = CROSS_QUEUE.iter().find(|(_, one)| *one == routing.cross_queue) {
            out.text("cross_queue", name);
        }
        out.number("batch_max", routing.batch_max, 0u8);
        if !routing.zone.is_empty() {
            out.text("zone", &routing.zone);
        }
        out.ms("repeat_window", routing.repeat_window_ms, 0);
    }

    fn queue_name(&self, id: QueueId) -> String {
        let known = self.policy.queues.get(&id);
        quoted(known.map_or("", |queue| &queue.name))
    }

    fn queue(&self, out: &mut Lines, queue: &QueueSettings) {
        let usual = QueueSettings::named(&queue.name);
        out.section("[[queue]]");
        out.text("name", &queue.name);
        order(out, &queue.order);
        if let Some((name, _)) = CHOICES.iter().find(|(_, one)| *one == queue.choice) {
            out.text("choice", name);
        }
        out.ms("offer_timeout", queue.offer_timeout_ms, usual.offer_timeout_ms);
        out.flag("auto_accept", queue.auto_accept);
        out.ms("decline_exclude", queue.decline_exclude_ms, usual.decline_exclude_ms);
        out.number(
            "timeouts_until_away",
            queue.timeouts_until_away,
            usual.timeouts_until_away,
        );
        out.number("offers_at_once", queue.offers_at_once, usual.offers_at_once);
        out.number("length_max", queue.length_max, usual.length_max);
        out.ms("wait_max", queue.wait_max_ms, usual.wait_max_ms);
        if let AtCap::Offline { text } = &queue.at_cap {
            out.text("at_cap", "offline");
            out.text("offline_text", text);
        }
        if let Some(no_reply) = &queue.no_reply {
            let (after, exclude) = (ms(no_reply.after_ms), ms(no_reply.exclude_ms));
            out.put("no_reply", format!("{{ after = {after}, exclude = {exclude} }}"));
        }
        out.list(
            "escalations",
            &queue
                .escalations
                .iter()
                .map(|step| self.escalation(step))
                .collect::<Vec<_>>(),
        );
        out.list(
            "relaxations",
            &queue.relaxations.iter().map(relaxation).collect::<Vec<_>>(),
        );
        out.list("rings", &queue.rings.iter().map(ring).collect::<Vec<_>>());
        match queue.wrap_up {
            WrapUp::None => {}
            WrapUp::Timed {
                length_ms,
                extension_max_ms,
            } => {
                let (length, extension) = (ms(length_ms), ms(extension_max_ms));
                out.put(
                    "wrap_up",
                    format!("{{ timed = {length}, extension_max = {extension} }}"),
                );
            }
            WrapUp::Manual { longest_ms } => out.put("wrap_up", format!("{{ manual_longest = {} }}", ms(longest_ms))),
        }
        out.ms("abandon_hold", queue.abandon_hold_ms, usual.abandon_hold_ms);
        out.ms("short_abandon", queue.short_abandon_ms, usual.short_abandon_ms);
        out.ms("reopen_window", queue.reopen_window_ms, usual.reopen_window_ms);
        out.ms("answer_target", queue.answer_target_ms, usual.answer_target_ms);
        match queue.return_when_full {
            ReturnWhenFull::WaitForOwnerMs(wait_ms) => {
                if queue.return_when_full != usual.return_when_full {
                    out.text("return_wait", &humane(wait_ms));
                }
            }
            ReturnWhenFull::Anybody => out.text("return_when_full", "anybody"),
            ReturnWhenFull::StayPaused => out.text("return_when_full", "stay_paused"),
        }
        out.ms("idle_pause", queue.idle_pause_ms, 0);
        out.ms("silent_abandon", queue.silent_abandon_ms, 0);
        self.hours_and_weights(out, queue);
    }

    fn hours_and_weights(&self, out: &mut Lines, queue: &QueueSettings) {
        let calendar = queue.calendar.and_then(|id| self.policy.calendars.get(&id));
        if let Some(calendar) = calendar {
            out.text("calendar", &calendar.settings.name);
        }
        match &queue.when_closed {
            WhenClosed::Refuse => {}
            WhenClosed::Wait => out.text("when_closed", "wait"),
            WhenClosed::Offline { text } => {
                out.text("when_closed", "offline");
                out.text("closed_text", text);
            }
            WhenClosed::MoveQueue(to) => {
                out.text("when_closed", "move");
                out.put("closed_move_to", self.queue_name(*to));
            }
        }
        let (is, usual) = (queue.cross_queue, CrossQueueTerms::default());
        out.number("weight", is.weight, usual.weight);
        out.number("rank", is.rank, usual.rank);
        out.number("ratio", is.ratio, usual.ratio);
        out.number("cost", is.cost, usual.cost);
    }

    fn escalation(&self, step: &Escalation) -> String {
        let when = match step.when {
            EscalateWhen::WaitedMs(waited_ms) => format!("waited = {}", ms(waited_ms)),
            EscalateWhen::LongerThan(length) => format!("longer_than = {length}"),
        };
        let action = match &step.action {
            EscalateAction::RaisePriority(priority) => format!("raise_priority = {priority}"),
            EscalateAction::MoveQueue(to) => format!("move_to = {}", self.queue_name(*to)),
            EscalateAction::Close { text } => format!("close = {}", quoted(text)),
            EscalateAction::Reclassify { required, preferred } => {
                let (required, preferred) = (levels(required), levels(preferred));
                format!("ask = {{ required = {required}, preferred = {preferred} }}")
            }
        };
        format!("\n    {{ {when}, {action} }}")
    }

    fn classification(&self, given: &Classification) -> Vec<(&'static str, String)> {
        let queues: Vec<String> = given.queues.iter().map(|id| self.queue_name(*id)).collect();
        let mut said = vec![
            ("queues", format!("[{}]", queues.join(", "))),
            ("priority", given.priority.to_string()),
        ];
        for (key, asked) in [("required", &given.required), ("preferred", &given.preferred)] {
            if !asked.is_empty() {
                said.push((key, levels(asked)));
            }
        }
        if let Some(preference) = &given.preferred_agent {
            let agent = self.agents.get(&preference.agent).map_or("", |agent| &agent.name);
            let (agent, wait) = (quoted(agent), ms(preference.wait_ms));
            said.push(("preferred_agent", format!("{{ agent = {agent}, wait = {wait} }}")));
        }
        if !given.selectors.is_empty() {
            let tests: Vec<String> = given.selectors.iter().map(selector).collect();
            said.push(("agent_where", format!("[{}]", tests.join(", "))));
        }
        said
    }

    fn agent(&self, out: &mut Lines, agent: &AgentSettings) {
        out.section("[[agent]]");
        out.text("name", &agent.name);
        if !agent.skills.is_empty() {
            let skills = agent
                .skills
                .iter()
                .map(|(skill, level)| format!("{} = {level}", quoted(&skill.0)));
            out.put("skills", format!("{{ {} }}", skills.collect::<Vec<_>>().join(", ")));
        }
        if agent.queues.values().all(|how| *how == Membership::default()) {
            out.list(
                "queues",
                &agent.queues.keys().map(|id| self.queue_name(*id)).collect::<Vec<_>>(),
            );
        } else {
            let queues = agent
                .queues
                .iter()
                .map(|(id, how)| format!("{} = {}", self.queue_name(*id), membership(how)));
            out.put("queues", format!("{{ {} }}", queues.collect::<Vec<_>>().join(", ")));
        }
        out.put("capacity", agent.capacity.total);
        out.number("interruptible", agent.capacity.interruptible, 0u32);
        let channels = agent.capacity.channels.iter().map(|(channel, one)| {
            let mut said = format!("concurrent_max = {}, cost = {}", one.concurrent_max, one.cost);
            for (key, flag) in [("exclusive", one.exclusive), ("interruptible", one.interruptible)] {
                if flag {
                    said.push_str(&format!(", {key} = true"));
                }
            }
            format!("{} = {{ {said} }}", quoted(&channel.0))
        });
        out.put("channels", format!("{{ {} }}", channels.collect::<Vec<_>>().join(", ")));
        out.flag("may_pull", agent.may_pull);
        out.flag("supervisor", agent.supervisor);
        out.text("lease_hold", &humane(agent.lease_hold_ms));
        if let Some(rate) = agent.rate {
            out.put(
                "rate",
                format!("{{ max = {}, window = {} }}", rate.max, ms(rate.window_ms)),
            );
        }
        out.ms("warm_up", agent.warm_up_ms, 0);
        if !agent.attributes.is_empty() {
            let attributes = agent.attributes.iter();
            let said = attributes.map(|(key, value)| format!("{} = {}", quoted(key), attribute(value)));
            out.put("attributes", format!("{{ {} }}", said.collect::<Vec<_>>().join(", ")));
        }
    }
}

fn order(out: &mut Lines, order: &Order) {
    let name = |at: usize| ORDERS[at];
    match order {
        Order::StrictPriority => out.text("order", name(0)),
        Order::LinearAgeing { step_ms } => {
            out.text("order", name(1));
            out.text("ageing_step", &humane(*step_ms));
        }
        Order::AccumulatingPriority { rates } => {
            out.text("order", name(2));
            out.put("credit", credit(rates));
        }
        Order::EarliestDeadline { targets_ms } => {
            out.text("order", name(3));
            out.put("targets", targets(targets_ms));
        }
    }
}

fn relaxation(step: &Relaxation) -> String {
    let skill = step
        .skill
        .as_ref()
        .map_or_else(String::new, |skill| format!(", skill = {}", quoted(&skill.0)));
    let change = match step.change {
        SkillChange::LowerBy(levels) => format!("lower_by = {levels}"),
        SkillChange::Prefer => "prefer = true".to_owned(),
        SkillChange::Drop => "drop = true".to_owned(),
    };
    format!("\n    {{ after = {}{skill}, {change} }}", ms(step.after_ms))
}

fn ring(ring: &Ring) -> String {
    let opens = match ring.opens {
        RingOpens::AfterMs(after_ms) => format!("after = {}", ms(after_ms)),
        RingOpens::While(ShareRule::LongestWaitAboveMs(above_ms)) => format!("while_wait_above = {}", ms(above_ms)),
        RingOpens::While(ShareRule::LengthAbove(length)) => format!("while_length_above = {length}"),
        RingOpens::While(ShareRule::ServiceLevelBelow(percent)) => format!("while_service_level_below = {percent}"),
        RingOpens::While(ShareRule::EstimatedWaitAboveMs(above_ms)) => {
            format!("while_estimate_above = {}", ms(above_ms))
        }
    };
    format!("\n    {{ {opens} }}")
}

fn levels(asked: &[Requirement]) -> String {
    let asked = asked
        .iter()
        .map(|one| format!("{} = {}", quoted(&one.skill.0), one.level));
    format!("{{ {} }}", asked.collect::<Vec<_>>().join(", "))
}

fn membership(how: &Membership) -> String {
    let usual = Membership::default();
    let mut said = Vec::new();
    for (key, is, usual) in [
        ("tier", u16::from(how.tier), u16::from(usual.tier)),
        ("position", how.position, usual.position),
        ("weight", how.weight, usual.weight),
    ] {
        if is != usual {
            said.push(format!("{key} = {is}"));
        }
    }
    if said.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", said.join(", "))
    }
}

fn write_calendar(out: &mut Lines, calendar: &CalendarSettings) {
    out.section("[[calendar]]");
    out.text("name", &calendar.name);
    out.text("zone", &calendar.zone);
    let of_day = |hours: &[(u16, u16)]| {
        let hours = hours
            .iter()
            .map(|(from, to)| quoted(&format!("{}-{}", clock(*from), clock(*to))));
        format!("[{}]", hours.collect::<Vec<_>>().join(", "))
    };
    let mut days = Vec::new();
    for (at, day) in WEEKDAYS.iter().enumerate() {
        let hours = calendar
            .weekly
            .iter()
            .filter(|hours| usize::from(hours.weekday) == at + 1);
        let hours: Vec<(u16, u16)> = hours.map(|hours| (hours.from_minute, hours.to_minute)).collect();
        if !hours.is_empty() {
            days.push(format!("{day} = {}", of_day(&hours)));
        }
    }
    if !days.is_empty() {
        out.put("weekly", format!("{{ {} }}", days.join(", ")));
    }
    let exceptions = calendar.exceptions.iter().map(|exception| {
        let mut said = format!("date = {}", quoted(&exception.date));
        if !exception.name.is_empty() {
            said.push_str(&format!(", name = {}", quoted(&exception.name)));
        }
        if !exception.hours.is_empty() {
            said.push_str(&format!(", hours = {}", of_day(&exception.hours)));
        }
        format!("\n    {{ {said} }}")
    });
    out.list("exceptions", &exceptions.collect::<Vec<_>>());
}

/// R3.
fn selector(selector: &Selector) -> String {
    let list = |values: &[Value]| {
        let values: Vec<String> = values.iter().map(attribute).collect();
        format!("[{}]", values.join(", "))
    };
    let (test, value) = match &selector.test {
        SelectorTest::Equals(value) => ("equals", attribute(value)),
        SelectorTest::NotEquals(value) => ("not_equals", attribute(value)),
        SelectorTest::Below(limit) => ("below", limit.to_string()),
        SelectorTest::AtMost(limit) => ("at_most", limit.to_string()),
        SelectorTest::Above(limit) => ("above", limit.to_string()),
        SelectorTest::AtLeast(limit) => ("at_least", limit.to_string()),
        SelectorTest::In(values) => ("in", list(values)),
        SelectorTest::NotIn(values) => ("not_in", list(values)),
    };
    format!("{{ attribute = {}, {test} = {value} }}", quoted(&selector.attribute))
}

fn attribute(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
    }
}
