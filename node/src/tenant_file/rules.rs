//! `[[rule]]` and `[fallback]`.

use routing::limits::{
    ADMISSION_QUEUES_MAX, DURATION_MAX_MS, PRIORITY_DEFAULT, PRIORITY_MAX, REQUIREMENTS_MAX, RULES_MAX,
};
use routing::settings::{Classification, Preference, Requirement, Rule, Selector, SelectorTest};

use super::{Names, agents, name_of};
use crate::rules::{RuleError, check};
use crate::toml_input::{Mistakes, Place, Raw, Reader};

pub(super) fn read(
    root: &mut Reader<'_>,
    names: &Names,
    mistakes: &mut Mistakes,
) -> (Vec<Rule>, Option<Classification>) {
    let readers = root.tables("rule", mistakes);
    if readers.len() > RULES_MAX {
        let right = format!("at most {RULES_MAX} are allowed");
        root.wrong("rule", mistakes, format!("there are {}", readers.len()), right);
    }
    let mut rules: Vec<Rule> = Vec::new();
    for reader in readers {
        let place = Place::Line(reader.line_of("name"));
        let rule = rule(reader, names, mistakes);
        if !rule.name.is_empty() && rules.iter().any(|other| other.name == rule.name) {
            mistakes.add(
                place,
                "rule",
                format!("there is another rule {:?}", rule.name),
                "names must differ",
            );
        }
        rules.push(rule);
    }
    let fallback = root.table("fallback", mistakes).map(|mut table| {
        let fallback = classification(&mut table, names, mistakes);
        table.finish(mistakes);
        fallback
    });
    (rules, fallback)
}

fn rule(mut reader: Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Rule {
    let name = name_of(&mut reader, mistakes);
    let when = reader.needed_text("when", mistakes).unwrap_or_default().to_owned();
    let split = reader.tables("parts", mistakes);
    let mut parts: Vec<(u32, Classification)> = Vec::new();
    if reader.entries().any(|(key, _, _)| key == "parts") {
        for mut part in split {
            let weight = part.integer("weight", 0..=1_000_000, mistakes);
            if !part.entries().any(|(key, _, _)| key == "weight") {
                part.wrong(
                    "weight",
                    mistakes,
                    "missing",
                    "a split needs weights, 80 and 20 for example",
                );
            }
            parts.push((weight.unwrap_or(1) as u32, classification(&mut part, names, mistakes)));
            part.finish(mistakes);
        }
    } else {
        parts.push((1, classification(&mut reader, names, mistakes)));
    }
    let rule = Rule { name, when, parts };
    // A queue that is missing has been reported where it is missing.
    match check(&rule) {
        Err(RuleError::NoQueue(_)) | Ok(()) => {}
        Err(_) if rule.when.is_empty() => {}
        Err(error @ RuleError::NoParts) => reader.wrong("parts", mistakes, error.to_string(), ""),
        Err(error) => reader.wrong("when", mistakes, error.to_string(), ""),
    }
    reader.finish(mistakes);
    rule
}

fn classification(reader: &mut Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Classification {
    let path = reader.path_of("queues");
    let present = reader.entries().any(|(key, _, _)| key == "queues");
    let queues = reader.texts("queues", mistakes).unwrap_or_default();
    if queues.len() > ADMISSION_QUEUES_MAX {
        let right = format!("at most {ADMISSION_QUEUES_MAX} are allowed");
        reader.wrong("queues", mistakes, format!("{} are too many", queues.len()), right);
    }
    if queues.is_empty() {
        let wrong = if present { "empty" } else { "missing" };
        reader.wrong(
            "queues",
            mistakes,
            wrong,
            "write queues = [\"…\"]: the first that admits it takes it",
        );
    }
    let queues = queues
        .into_iter()
        .filter_map(|(line, name)| names.queue(name, Place::Line(line), &path, mistakes));
    let queues = queues.collect();
    let priority = reader.integer("priority", 0..=u64::from(PRIORITY_MAX), mistakes);
    let required = requirements(reader, "required", names, mistakes);
    let preferred = requirements(reader, "preferred", names, mistakes);
    if required.len() + preferred.len() > REQUIREMENTS_MAX {
        let right = format!("at most {REQUIREMENTS_MAX}, required and preferred together");
        reader.wrong("required", mistakes, "too many skills are asked for", right);
    }
    Classification {
        queues,
        priority: priority.map_or(PRIORITY_DEFAULT, |priority| priority as u8),
        required,
        preferred,
        preferred_agent: preference(reader, names, mistakes),
        rule: None,
        selectors: selectors(reader, mistakes),
    }
}

/// R3: `[{ attribute = "site", equals = "osaka" }, { attribute = "years", at_least = 5 }]`; a table may hold several tests.
fn selectors(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for mut table in reader.tables("agent_where", mistakes) {
        let attribute = table.needed_text("attribute", mistakes).unwrap_or_default().to_owned();
        let mut tests = Vec::new();
        for (key, line, item) in table.entries().filter(|(key, ..)| *key != "attribute") {
            match test(key, &item.value) {
                Some(test) => tests.push(test),
                None => {
                    let wrong = format!("{} is no test of an attribute", item.value.describe());
                    let right = "equals, not_equals, in, not_in (texts, whole numbers, true or false), below, at_most, above, \
                                 at_least (whole numbers)";
                    mistakes.add(Place::Line(line), &table.path_of(key), wrong, right);
                }
            }
        }
        if tests.is_empty() {
            let right = "give a test: equals, not_equals, in, not_in, below, at_most, above or at_least";
            mistakes.add(Place::Line(table.line()), &table.path_of("attribute"), "no test", right);
        }
        selectors.extend(tests.into_iter().map(|test| Selector {
            attribute: attribute.clone(),
            test,
        }));
    }
    selectors
}

fn test(key: &str, raw: &Raw) -> Option<SelectorTest> {
    let number = || match raw {
        Raw::Integer(number) => Some(*number),
        _ => None,
    };
    let values = || match raw {
        Raw::List(items) => items
            .iter()
            .map(|item| agents::attribute(&item.value))
            .collect::<Option<Vec<_>>>(),
        _ => None,
    };
    Some(match key {
        "equals" => SelectorTest::Equals(agents::attribute(raw)?),
        "not_equals" => SelectorTest::NotEquals(agents::attribute(raw)?),
        "below" => SelectorTest::Below(number()?),
        "at_most" => SelectorTest::AtMost(number()?),
        "above" => SelectorTest::Above(number()?),
        "at_least" => SelectorTest::AtLeast(number()?),
        "in" => SelectorTest::In(values()?),
        "not_in" => SelectorTest::NotIn(values()?),
        _ => return None,
    })
}

pub(super) fn requirements(
    reader: &mut Reader<'_>,
    key: &'static str,
    names: &Names,
    mistakes: &mut Mistakes,
) -> Vec<Requirement> {
    let Some(table) = reader.table(key, mistakes) else {
        return Vec::new();
    };
    let skills = agents::skills(table, names, mistakes);
    skills
        .into_iter()
        .map(|(skill, level)| Requirement { skill, level })
        .collect()
}

fn preference(reader: &mut Reader<'_>, names: &Names, mistakes: &mut Mistakes) -> Option<Preference> {
    let mut table = reader.table("preferred_agent", mistakes)?;
    let (place, path) = (Place::Line(table.line_of("agent")), table.path_of("agent"));
    let agent = table.needed_text("agent", mistakes);
    let agent = agent.and_then(|name| names.agent(name, place, &path, mistakes));
    let wait_ms = table.duration_ms("wait", DURATION_MAX_MS, mistakes).unwrap_or(30_000);
    table.finish(mistakes);
    Some(Preference { agent: agent?, wait_ms })
}
