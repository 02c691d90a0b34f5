//! Policies: changed as a whole at one index, versioned.
//!
//! A version keeps what it replaced, not what it is: the newest is the rows themselves, and an older one is found by taking
//! the changes since back, the last one first. So a change costs what it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::draft::{Changes, Draft};
use super::tenant::{Kept, Rules};
use super::{calendar, put, queue_settings, valid};
use crate::command::Principal;
use crate::event::Receipt;
use crate::ids::Millis;
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{Calendar, CalendarSettings, Policy, Replaced, RoutingSettings};

/// Every part is checked as it would be alone, but against the whole: what it names must be in the policy. Open hours and days
/// need not come with calendars and a zone that are written as before.
pub(crate) fn activate(
    d: &mut Draft<'_>,
    policy: &Policy,
    expected: Option<u64>,
    by: &Principal,
    note: &str,
) -> Result<Receipt, Rejection> {
    valid::supervisor(d, by)?;
    valid::at_most("note", note.len(), limits::REMARK_MAX_BYTES)?;
    let current = d.base().policy_version();
    if let Some(expected) = expected.filter(|expected| *expected != current) {
        return Err(Rejection::StaleVersion { expected, current });
    }
    skills(d, policy)?;
    for (id, given) in &policy.calendars {
        // One that is written as before keeps its open hours.
        if d.calendar(*id)
            .ok()
            .is_none_or(|row| row.given.settings != given.settings)
        {
            calendar::place(d, *id, given)?;
        }
    }
    queues(d, policy)?;
    // Only now: no queue has them any more.
    let gone: Vec<_> = d.kept().calendars.keys().copied().collect();
    for id in gone.into_iter().filter(|id| !policy.calendars.contains_key(id)) {
        calendar::remove(d, id)?;
    }
    calendar::names_differ(d)?;
    put::rules(d, &policy.rules, policy.fallback.as_ref())?;
    let now = d.routing();
    if policy.routing.day_starts_ms.is_empty() && policy.routing.zone == now.zone {
        let day_starts_ms = now.day_starts_ms.clone();
        put_routing(
            d,
            &RoutingSettings {
                day_starts_ms,
                ..policy.routing.clone()
            },
        )?;
    } else {
        put_routing(d, &policy.routing)?;
    }
    d.note(by, note);
    Ok(d.receipt())
}

fn skills(d: &mut Draft<'_>, policy: &Policy) -> Result<(), Rejection> {
    if *d.kept().skills == policy.skills {
        return Ok(());
    }
    valid::at_most("number of skills", policy.skills.len(), limits::SKILLS_MAX)?;
    for (skill, description) in &policy.skills {
        put::skill_words(skill, description)?;
    }
    let gone = d
        .kept()
        .skills
        .keys()
        .filter(|skill| !policy.skills.contains_key(*skill));
    for skill in gone {
        put::skill_is_unused(d, skill)?;
    }
    d.put_skills(policy.skills.clone());
    Ok(())
}

fn queues(d: &mut Draft<'_>, policy: &Policy) -> Result<(), Rejection> {
    valid::at_most("number of queues", policy.queues.len(), limits::QUEUES_MAX)?;
    let mut names = BTreeSet::new();
    for (id, settings) in &policy.queues {
        if !names.insert(&settings.name) {
            return Err(Rejection::AlreadyExists {
                what: format!("queue `{}`", settings.name),
            });
        }
        put::queue_row(d, *id, settings);
    }
    let gone: Vec<_> = d.kept().queues.keys().copied().collect();
    for id in gone.into_iter().filter(|id| !policy.queues.contains_key(id)) {
        put::queue_is_empty(d, id)?;
        d.put_queue(id, None);
    }
    // Those that stay as they are may name what has gone.
    policy
        .queues
        .iter()
        .try_for_each(|(id, settings)| queue_settings::check(d, *id, settings))
}

pub(crate) fn put_routing(d: &mut Draft<'_>, settings: &RoutingSettings) -> Result<Receipt, Rejection> {
    valid::at_most(
        "batch_max",
        usize::from(settings.batch_max),
        usize::from(limits::BATCH_MAX),
    )?;
    valid::text("zone", &settings.zone)?;
    valid::duration("repeat_window_ms", settings.repeat_window_ms)?;
    days(&settings.day_starts_ms)?;
    if *d.routing() != *settings {
        d.put_routing(settings.clone());
    }
    Ok(d.receipt())
}

fn days(starts_ms: &[Millis]) -> Result<(), Rejection> {
    valid::at_most("number of days", starts_ms.len(), limits::OPEN_HOURS_MAX)?;
    if starts_ms.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(valid::invalid("day_starts_ms", "they do not ascend"));
    }
    Ok(())
}

/// `starts_ms` begins with the last day that is known, so that days of another zone are not taken for more of this one's.
/// Days that are over are forgotten.
pub(crate) fn extend_days(d: &mut Draft<'_>, starts_ms: &[Millis]) -> Result<Receipt, Rejection> {
    days(starts_ms)?;
    let now = d.routing();
    let known = &now.day_starts_ms;
    let (Some(last), Some(first)) = (known.last(), starts_ms.first()) else {
        return Err(valid::invalid(
            "starts_ms",
            "there are no days to follow, or none that follow",
        ));
    };
    if last != first {
        let why = format!("{last} is the last day known, not {first}");
        return Err(valid::invalid("starts_ms", why));
    }
    let today = known.iter().rposition(|start| *start <= d.at_ms).unwrap_or(0);
    let mut all = known[today..].to_vec();
    all.extend(&starts_ms[1..]);
    days(&all)?;
    if all != *known {
        d.put_routing(RoutingSettings {
            day_starts_ms: all,
            ..RoutingSettings::clone(&now)
        });
    }
    Ok(d.receipt())
}

/// What the changes take the place of; nothing when they are none of the policy.
pub(crate) fn replaced(kept: &Kept, changes: &Changes) -> Replaced {
    let mut replaced = Replaced::default();
    if let Some(after) = &changes.skills {
        let before = &*kept.skills;
        let gone = before.iter().filter(|(skill, text)| after.get(*skill) != Some(text));
        replaced.skills = gone.map(|(skill, text)| (skill.clone(), Some(text.clone()))).collect();
        let new = after.keys().filter(|skill| !before.contains_key(*skill));
        replaced.skills.extend(new.map(|skill| (skill.clone(), None)));
    }
    for (id, after) in &changes.queues {
        let (before, after) = (
            kept.queues.get(id).map(|row| &row.settings),
            after.as_ref().map(|row| &row.settings),
        );
        let same = match (before, after) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after) || before == after,
            (before, after) => before.is_none() && after.is_none(),
        };
        if !same {
            replaced.queues.insert(*id, before.cloned());
        }
    }
    if changes.rules.as_ref().is_some_and(|after| *after != kept.rules) {
        replaced.rules = Some(kept.rules.clone());
    }
    for (id, after) in &changes.calendars {
        let before = kept.calendars.get(id).map(|row| &row.given.settings);
        if before != after.as_ref().map(|row| &row.given.settings) {
            replaced.calendars.insert(*id, before.cloned());
        }
    }
    if let Some(after) = &changes.routing {
        let (before, after) = (without_days(&kept.routing), without_days(after));
        replaced.routing = (before != after).then_some(before);
    }
    replaced
}

fn without_days(settings: &RoutingSettings) -> RoutingSettings {
    RoutingSettings {
        zone: settings.zone.clone(),
        day_starts_ms: Vec::new(),
        ..*settings
    }
}

/// As the rows have it.
pub(crate) fn in_force(kept: &Kept) -> Policy {
    Policy {
        skills: BTreeMap::clone(&kept.skills),
        queues: kept
            .queues
            .iter()
            .map(|(id, row)| (*id, (*row.settings).clone()))
            .collect(),
        rules: kept.rules.rules.clone(),
        fallback: kept.rules.fallback.clone(),
        calendars: kept
            .calendars
            .iter()
            .map(|(id, row)| (*id, row.given.clone()))
            .collect(),
        routing: RoutingSettings::clone(&kept.routing),
    }
}

pub(crate) fn of_version(kept: &Kept, version: u64) -> Option<Policy> {
    kept.policies.iter().find(|one| one.version == version)?;
    let mut policy = in_force(kept);
    for later in kept.policies.iter().rev().take_while(|one| one.version > version) {
        take_back(&mut policy, &later.replaced);
    }
    Some(policy)
}

fn take_back(policy: &mut Policy, replaced: &Replaced) {
    fn put<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, key: &K, before: Option<V>) {
        match before {
            Some(before) => _ = map.insert(key.clone(), before),
            None => _ = map.remove(key),
        }
    }
    for (skill, before) in &replaced.skills {
        put(&mut policy.skills, skill, before.clone());
    }
    for (id, before) in &replaced.queues {
        put(
            &mut policy.queues,
            id,
            before.as_ref().map(|settings| (**settings).clone()),
        );
    }
    if let Some(Rules { rules, fallback }) = replaced.rules.as_deref() {
        (policy.rules, policy.fallback) = (rules.clone(), fallback.clone());
    }
    for (id, before) in &replaced.calendars {
        let unmade = |settings: &CalendarSettings| Calendar {
            settings: settings.clone(),
            ..Calendar::default()
        };
        put(&mut policy.calendars, id, before.as_ref().map(unmade));
    }
    if let Some(before) = &replaced.routing {
        let same_zone = before.zone == policy.routing.zone;
        let day_starts_ms = std::mem::take(&mut policy.routing.day_starts_ms);
        policy.routing = RoutingSettings {
            day_starts_ms: if same_zone { day_starts_ms } else { Vec::new() },
            ..before.clone()
        };
    }
}
