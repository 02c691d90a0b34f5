//! What happens to who waits, as time passes: escalations, relaxations, rings.

use routing::limits::{BODY_MAX_BYTES, DURATION_MAX_MS, ESCALATIONS_MAX, PRIORITY_MAX, RELAXATIONS_MAX, RINGS_MAX};
use routing::settings::{
    EscalateAction, EscalateWhen, Escalation, Relaxation, Ring, RingOpens, ShareRule, SkillChange,
};

use super::needed_duration;
use crate::tenant_file::{Names, rules};
use crate::toml_input::{Mistakes, Place, Reader};

/// The steps of a list; more than `most` are a mistake.
fn steps<'a>(reader: &mut Reader<'a>, key: &'static str, most: usize, mistakes: &mut Mistakes) -> Vec<Reader<'a>> {
    let steps = reader.tables(key, mistakes);
    if steps.len() > most {
        let right = format!("at most {most} are allowed");
        reader.wrong(key, mistakes, format!("there are {} steps", steps.len()), right);
    }
    steps
}

fn given(step: &mut Reader<'_>, keys: &[&str]) -> usize {
    step.entries().filter(|(key, _, _)| keys.contains(key)).count()
}

fn wrong_step(step: &Reader<'_>, key: &str, mistakes: &mut Mistakes, wrong: &str, right: &str) {
    mistakes.add(Place::Line(step.line()), &step.path_of(key), wrong, right);
}

pub(super) fn escalations(reader: &mut Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Vec<Escalation> {
    let steps = steps(reader, "escalations", ESCALATIONS_MAX, mistakes);
    steps
        .into_iter()
        .filter_map(|step| escalation(step, names, mistakes))
        .collect()
}

fn escalation(mut step: Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Option<Escalation> {
    let waited = step
        .duration_ms("waited", DURATION_MAX_MS, mistakes)
        .map(EscalateWhen::WaitedMs);
    if waited == Some(EscalateWhen::WaitedMs(0)) {
        step.wrong(
            "waited",
            mistakes,
            "at once is no escalation",
            "let a rule say so to begin with",
        );
    }
    let longer = step.integer("longer_than", 0..=u64::from(u32::MAX), mistakes);
    let longer = longer.map(|longer| EscalateWhen::LongerThan(longer as u32));
    let raise = step.integer("raise_priority", 0..=u64::from(PRIORITY_MAX), mistakes);
    let raise = raise.map(|priority| EscalateAction::RaisePriority(priority as u8));
    let (place, path) = (Place::Line(step.line_of("move_to")), step.path_of("move_to"));
    let named = step.text("move_to", mistakes);
    let moved = named.and_then(|name| names.queue(name, place, &path, mistakes));
    let close = step.text("close", mistakes);
    if close.is_some_and(|text| text.is_empty() || text.len() > BODY_MAX_BYTES) {
        let right = format!("say something to the customer, in at most {BODY_MAX_BYTES} bytes");
        step.wrong("close", mistakes, "empty or too long", right);
    }
    let ask = step.table("ask", mistakes).map(|mut table| {
        let required = rules::requirements(&mut table, "required", names, mistakes);
        let preferred = rules::requirements(&mut table, "preferred", names, mistakes);
        table.finish(mistakes);
        EscalateAction::Reclassify { required, preferred }
    });
    let whens = given(&mut step, &["waited", "longer_than"]);
    let actions = given(&mut step, &["raise_priority", "move_to", "close", "ask"]);
    if whens != 1 || actions != 1 {
        let right = "one of `waited`, `longer_than`, and one of `raise_priority`, `move_to`, `ask`, `close`";
        wrong_step(
            &step,
            "waited",
            mistakes,
            "a step has one condition and one action",
            right,
        );
    }
    step.finish(mistakes);
    let moved = moved.map(EscalateAction::MoveQueue);
    let close = close.map(|text| EscalateAction::Close { text: text.to_owned() });
    Some(Escalation {
        when: waited.or(longer)?,
        action: raise.or(moved).or(ask).or(close)?,
    })
}

pub(super) fn relaxations(reader: &mut Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Vec<Relaxation> {
    let steps = steps(reader, "relaxations", RELAXATIONS_MAX, mistakes);
    let read: Vec<Relaxation> = steps
        .into_iter()
        .filter_map(|step| relaxation(step, names, mistakes))
        .collect();
    if read.windows(2).any(|pair| pair[0].after_ms > pair[1].after_ms) {
        reader.wrong(
            "relaxations",
            mistakes,
            "a later step comes sooner",
            "write them in order of time",
        );
    }
    read
}

fn relaxation(mut step: Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Option<Relaxation> {
    let after_ms = needed_duration(&mut step, "after", mistakes);
    let (place, path) = (Place::Line(step.line_of("skill")), step.path_of("skill"));
    let named = step.text("skill", mistakes);
    let skill = named.map(|name| names.skill(name, place, &path, mistakes));
    let lower = step.integer("lower_by", 1..=9, mistakes);
    let lower = lower.map(|levels| SkillChange::LowerBy(levels as u8));
    let prefer = step
        .flag("prefer", mistakes)
        .and_then(|yes| yes.then_some(SkillChange::Prefer));
    let drop = step
        .flag("drop", mistakes)
        .and_then(|yes| yes.then_some(SkillChange::Drop));
    let change = lower.or(prefer).or(drop);
    if given(&mut step, &["lower_by", "prefer", "drop"]) != 1 || change.is_none() {
        let right = "one of `lower_by = 2`, `prefer = true`, `drop = true`";
        wrong_step(&step, "lower_by", mistakes, "what becomes of the skill?", right);
    }
    step.finish(mistakes);
    // A skill that is not there has been reported; `None` would stand for every skill.
    let skill = match skill {
        None => None,
        Some(known) => Some(known?),
    };
    Some(Relaxation {
        after_ms: after_ms?,
        skill,
        change: change?,
    })
}

pub(super) fn rings(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Vec<Ring> {
    let steps = steps(reader, "rings", RINGS_MAX, mistakes);
    steps.into_iter().filter_map(|step| ring(step, mistakes)).collect()
}

fn ring(mut step: Reader<'_>, mistakes: &mut Mistakes) -> Option<Ring> {
    let after = step
        .duration_ms("after", DURATION_MAX_MS, mistakes)
        .map(RingOpens::AfterMs);
    let wait = step.duration_ms("while_wait_above", DURATION_MAX_MS, mistakes);
    let length = step.integer("while_length_above", 0..=u64::from(u32::MAX), mistakes);
    let level = step.integer("while_service_level_below", 1..=100, mistakes);
    let estimate = step.duration_ms("while_estimate_above", DURATION_MAX_MS, mistakes);
    let rule = wait
        .map(ShareRule::LongestWaitAboveMs)
        .or(length.map(|length| ShareRule::LengthAbove(length as u32)))
        .or(level.map(|percent| ShareRule::ServiceLevelBelow(percent as u8)))
        .or(estimate.map(ShareRule::EstimatedWaitAboveMs));
    let keys = [
        "after",
        "while_wait_above",
        "while_length_above",
        "while_service_level_below",
        "while_estimate_above",
    ];
    if given(&mut step, &keys) != 1 {
        let right = "one of `after`, `while_wait_above`, `while_length_above`, `while_service_level_below`, \
                     `while_estimate_above`";
        wrong_step(&step, "after", mistakes, "a ring opens by one condition", right);
    }
    step.finish(mistakes);
    let opens = after.or(rule.map(RingOpens::While))?;
    Some(Ring { opens })
}
