//! Policies in a script: `draft` collects what a whole policy is to be, `activate` gives it.
//!
//! - `draft COMMAND …`: any command that changes a part (`queue`, `remove_queue`, `skill`, `remove_skill`, `rules`, `routing`,
//!   `calendar`, `remove_calendar`), on a copy of the policy in force. `draft of=N` begins with version N instead.
//! - `activate [expected=N] [by=admin@root] [note=…]`.
//! - `extend_days 24h/48h`.
//! - `show policies`, `show policy VERSION`.

use routing::command::{Command, Principal};
use routing::settings::{Calendar, Policy, PolicyVersion};
use routing::state::Tenant;

use crate::parse::{self, Fallible, Names, Words};
use crate::trace;

/// Makes the part of `policy` what the command makes it of a tenant.
fn change(policy: &mut Policy, command: Command) -> Fallible<()> {
    match command {
        Command::PutQueue { queue, settings } => _ = policy.queues.insert(queue, settings),
        Command::RemoveQueue { queue } => _ = policy.queues.remove(&queue),
        Command::PutSkill { skill, description } => _ = policy.skills.insert(skill, description),
        Command::RemoveSkill { skill } => _ = policy.skills.remove(&skill),
        Command::PutRules { rules, fallback } => (policy.rules, policy.fallback) = (rules, fallback),
        Command::PutRouting { settings } => policy.routing = settings,
        Command::PutCalendar { calendar, given } => _ = policy.calendars.insert(calendar, given),
        Command::RemoveCalendar { calendar } => _ = policy.calendars.remove(&calendar),
        other => return Err(format!("not a part of a policy: {other:?}").into()),
    }
    Ok(())
}

/// One `draft` line.
pub fn draft(
    drafted: &mut Option<Policy>,
    tenant: Option<&Tenant>,
    names: &mut Names,
    words: &mut Words<'_>,
) -> Fallible<()> {
    if let Some(version) = words.key("of") {
        let whole = tenant.and_then(|tenant| tenant.policy_of(version.parse().ok()?));
        *drafted = Some(whole.ok_or("no such version")?);
        return Ok(());
    }
    let now = || tenant.map(Tenant::policy).unwrap_or_default();
    let name = words.next("command")?;
    let command = parse::command(names, name, words)?.ok_or("no command")?;
    change(drafted.get_or_insert_with(now), command)
}

/// The `activate` line.
pub fn activate(drafted: Option<Policy>, names: &mut Names, words: &mut Words<'_>) -> Fallible<Command> {
    let by = words.key("by").unwrap_or("admin@root");
    Ok(Command::ActivatePolicy {
        policy: Box::new(drafted.ok_or("nothing is drafted")?),
        expected: words.key("expected").map(str::parse).transpose()?,
        by: parse::principal(names, by),
        note: words.key("note").unwrap_or_default().to_owned(),
    })
}

/// One line of `show policies`.
pub fn version(names: &Names, version: &PolicyVersion) -> String {
    let by = match &version.by {
        None => "somebody".to_owned(),
        Some(Principal::Agent(agent)) => names.a(*agent).to_owned(),
        Some(Principal::Admin(name)) => format!("admin {name}"),
        Some(Principal::Customer(customer)) => format!("customer {}", customer.0),
    };
    let changed = version.changed();
    let mut parts: Vec<String> = changed
        .skills
        .iter()
        .map(|skill| format!("skill {}", skill.0))
        .collect();
    parts.extend(changed.queues.iter().map(|queue| format!("queue {}", names.q(*queue))));
    parts.extend(
        changed
            .calendars
            .iter()
            .map(|calendar| format!("calendar {}", names.k(*calendar))),
    );
    parts.extend(changed.rules.then(|| "rules".to_owned()));
    parts.extend(changed.routing.then(|| "routing".to_owned()));
    format!(
        "{} since index {} at {} by {by} {:?}: {}",
        version.version,
        version.index,
        trace::time(version.at_ms),
        version.note,
        parts.join(", ")
    )
}

/// `show policy VERSION`: in short.
pub fn whole(names: &Names, policy: &Policy) -> String {
    let mut lines = vec![format!(
        "skills={:?} rules={:?} routing={:?}",
        policy.skills.keys().map(|skill| &*skill.0).collect::<Vec<_>>(),
        policy.rules.iter().map(|rule| &*rule.name).collect::<Vec<_>>(),
        policy.routing.cross_queue
    )];
    lines.extend(policy.queues.iter().map(|(id, queue)| {
        let (offer, target) = (trace::time(queue.offer_timeout_ms), trace::time(queue.answer_target_ms));
        format!(
            "queue {} named {} offer={offer} target={target}",
            names.q(*id),
            queue.name
        )
    }));
    lines.extend(policy.calendars.iter().map(|(id, calendar)| {
        let Calendar { settings, hours, .. } = calendar;
        format!(
            "calendar {} in {} with {} hours",
            names.k(*id),
            settings.zone,
            hours.len()
        )
    }));
    lines.join("\n")
}
