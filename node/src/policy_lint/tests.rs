use super::*;
use crate::tenant_file::TenantFile;

/// 2026-11-21.
const NOW_MS: Millis = 1_795_219_200_000;

/// What is said of a file, errors first; without lines.
fn said(text: &str) -> Vec<String> {
    let text = format!("[tenant]\nname = \"t\"\n{text}");
    let file = TenantFile::parse("t", &text, []).unwrap_or_else(|errors| panic!("{errors}"));
    let plan = file.as_it_stands();
    let findings = lint(&plan.policy, &plan.agents.into_iter().collect(), NOW_MS);
    findings
        .iter()
        .map(|one| format!("{:?} {}: {}", one.severity, one.code, one.of))
        .collect()
}

const QUEUE: &str = "[[queue]]\nname = \"q\"\n";
const FALLBACK: &str = "[fallback]\nqueues = [\"q\"]\n";

fn agent(name: &str, more: &str) -> String {
    format!("[[agent]]\nname = \"{name}\"\nchannels = {{ web_chat = {{ concurrent_max = 3 }} }}\n{more}\n")
}

#[test]
fn what_is_sound_is_not_found_fault_with() {
    assert_eq!(
        said(&format!("{QUEUE}{FALLBACK}{}", agent("a", "queues = [\"q\"]"))),
        [""; 0]
    );
    assert_eq!(
        said(&format!("{QUEUE}{FALLBACK}")),
        [""; 0],
        "a policy file has no agents to look at"
    );
}

#[test]
fn a_rule_that_nobody_can_satisfy() {
    let skills = "[[skill]]\nname = \"billing\"\n";
    let rule = "[[rule]]\nname = \"r\"\nwhen = \"attributes.x == 1\"\nqueues = [\"q\"]\nrequired = { billing = 5 }\n";
    let able = agent("a", "queues = [\"q\"]\nskills = { billing = 3 }");
    let base = |queue: &str| format!("{skills}{QUEUE}{queue}{rule}{FALLBACK}{able}");
    assert_eq!(said(&base("")), ["Error rule_unsatisfiable: rule `r`"]);
    let relaxed = "relaxations = [{ after = \"1m\", skill = \"billing\", lower_by = 2 }]\n";
    assert_eq!(said(&base(relaxed)), [""; 0], "the level sinks to hers");
    let dropped = "relaxations = [{ after = \"1m\", drop = true }]\n";
    assert_eq!(said(&base(dropped)), [""; 0]);
    let closed = "escalations = [{ waited = \"5m\", close = \"Sorry.\" }]\n";
    assert_eq!(said(&base(closed)), ["Warning rule_needs_escalation: rule `r`"]);
    let asked = "escalations = [{ waited = \"5m\", ask = { required = { billing = 3 } } }]\n";
    assert_eq!(said(&base(asked)), ["Warning rule_needs_escalation: rule `r`"]);
    let tier = able.replace("[\"q\"]", "{ q = { tier = 1 } }");
    let in_ring = format!("{skills}{QUEUE}rings = [{{ after = \"1m\" }}]\n{rule}{FALLBACK}{tier}")
        .replace("billing = 5", "billing = 3");
    assert_eq!(said(&in_ring), ["Warning queue_without_first_tier: queue `q`"]);
}

#[test]
fn rules_behind_others() {
    let rule = |name: &str, when: &str| format!("[[rule]]\nname = \"{name}\"\nwhen = \"{when}\"\nqueues = [\"q\"]\n");
    let text = [
        QUEUE,
        &rule("first", "attributes.x == 1"),
        &rule("again", "attributes.x == 1"),
        &rule("never", "1 == 2"),
        &rule("all", "1 + 1 == 2"),
        &rule("late", "attributes.y == 1"),
    ];
    assert_eq!(
        said(&text.concat()),
        [
            "Warning rule_shadowed: rule `again`",
            "Warning rule_never: rule `never`",
            "Warning rule_shadowed: rule `late`",
        ]
    );
    assert_eq!(
        said(&format!("{QUEUE}{}", rule("r", "attributes.x == 1"))),
        ["Warning fallback_missing: fallback"]
    );
}

#[test]
fn circles_of_moves() {
    let queue = |name: &str, to: &str| {
        format!("[[queue]]\nname = \"{name}\"\nescalations = [{{ waited = \"1m\", move_to = \"{to}\" }}]\n")
    };
    let text = format!("{}{}{}{FALLBACK}", queue("q", "b"), queue("b", "c"), queue("c", "b"));
    assert_eq!(said(&text), ["Error escalation_loop: queue `b`"]);
    let calendar = "[[calendar]]\nname = \"k\"\nzone = \"UTC\"\nweekly = { mon = \"09:00-10:00\" }\n\
                    [[calendar]]\nname = \"l\"\nzone = \"UTC\"\nweekly = { tue = \"09:00-10:00\" }\n";
    let closed = |name: &str, to: &str, calendar: &str| {
        format!(
            "[[queue]]\nname = \"{name}\"\ncalendar = \"{calendar}\"\nwhen_closed = \"move\"\nclosed_move_to = \"{to}\"\n"
        )
    };
    let text = format!("{calendar}{}{}{FALLBACK}", closed("q", "b", "k"), closed("b", "q", "l"));
    assert_eq!(said(&text), ["Error closed_loop: queue `q`"]);
    let text = format!(
        "{calendar}{}{}calendar = \"l\"\n{FALLBACK}",
        closed("q", "b", "k"),
        queue("b", "q")
    );
    assert_eq!(said(&text), ["Warning mixed_loop: queue `q`"]);
}

#[test]
fn business_hours() {
    let calendar = |name: &str, more: &str| format!("[[calendar]]\nname = \"{name}\"\nzone = \"Asia/Tokyo\"\n{more}\n");
    let with = "[[queue]]\nname = \"b\"\ncalendar = \"k\"\nescalations = [{ longer_than = 3, move_to = \"q\" }]\n";
    let open = "weekly = { mon-fri = \"09:00-18:00\" }\n";
    let fallback = "[fallback]\nqueues = [\"b\"]\n";
    let text = |calendars: &str| format!("{calendars}{QUEUE}{with}{fallback}");
    assert_eq!(
        said(&text(&calendar("k", open))),
        ["Warning queue_without_hours: queue `q`"]
    );
    assert_eq!(
        said(&text(
            &[
                calendar("k", "exceptions = [{ date = \"2020-01-01\", hours = \"09:00-10:00\" }]"),
                calendar("l", open)
            ]
            .concat()
        )),
        [
            "Error calendar_never_open: calendar `k`",
            "Warning calendar_holidays_end: calendar `k`",
            "Warning calendar_unused: calendar `l`",
            "Warning queue_without_hours: queue `q`",
        ]
    );
    let closed = format!("{QUEUE}when_closed = \"wait\"\n{FALLBACK}");
    assert_eq!(said(&closed), ["Warning closed_without_calendar: queue `q`"]);
    let same = "[[queue]]\nname = \"q\"\ncalendar = \"k\"\nwhen_closed = \"move\"\nclosed_move_to = \"b\"\n[[queue]]\nname = \"b\"\ncalendar = \"k\"\n";
    assert_eq!(
        said(&format!("{}{same}{FALLBACK}", calendar("k", open))),
        ["Warning closed_moves_to_closed: queue `q`"]
    );
}

#[test]
fn times_and_steps_that_do_not_fit() {
    let queue = "[[queue]]\nname = \"q\"\noffer_timeout = \"40s\"\nshort_abandon = \"1m\"\nsilent_abandon = \"10m\"\nidle_pause = \"5m\"\n\
                 wait_max = \"20s\"\noffers_at_once = 3\nrings = [{ after = \"3m\" }, { after = \"20s\" }]\n\
                 order = \"accumulating_priority\"\ncredit = { 1 = 3 }\n\
                 relaxations = [{ after = \"2m\", drop = true }]\nweight = 2\n\
                 escalations = [{ waited = \"2m\", close = \"Sorry.\" }, { waited = \"3m\", raise_priority = 9 }]\n";
    let rule = "[[rule]]\nname = \"r\"\nwhen = \"attributes.x == 1\"\nparts = [\n{ weight = 0, queues = [\"q\"] },\n\
                { weight = 1, queues = [\"q\"], preferred_agent = { agent = \"a\", wait = \"5m\" } },\n]\n";
    let people = [
        agent("a", "queues = { q = { tier = 1 } }"),
        agent("b", "queues = { q = { tier = 3 } }"),
        agent("c", ""),
    ];
    assert_eq!(
        said(&format!("{queue}{rule}{FALLBACK}{}", people.concat())),
        [
            "Warning queue_without_first_tier: queue `q`",
            "Warning priority_without_credit: queue `q`",
            "Warning step_never_reached: queue `q`",
            "Warning offer_timeout_beyond_target: queue `q`",
            "Warning offers_beyond_agents: queue `q`",
            "Warning step_never_reached: queue `q`",
            "Warning return_wait_beyond_wait_max: queue `q`",
            "Warning step_never_reached: queue `q`",
            "Warning ring_without_members: queue `q`",
            "Warning short_abandon_beyond_target: queue `q`",
            "Warning silent_abandon_after_idle_pause: queue `q`",
            "Warning terms_not_asked_for: queue `q`",
            "Warning tier_without_ring: agent `b`",
            "Warning agent_without_queues: agent `c`",
            "Warning split_part_never: rule `r`, part 1",
            "Warning preference_beyond_target: rule `r`, part 2",
        ]
    );
}

#[test]
fn people_and_names() {
    let skills = "[[skill]]\nname = \"cooking\"\n[[skill]]\nname = \"art\"\n";
    let rule = "[[rule]]\nname = \"r\"\nwhen = \"attributes.x == 1\"\nqueues = [\"q\"]\npreferred = { art = 3 }\n";
    let full = "[[agent]]\nname = \"a\"\ncapacity = 2\nqueues = [\"q\"]\nchannels = { voice = { concurrent_max = 1, cost = 3 } }\n";
    assert_eq!(
        said(&format!(
            "[routing]\ncross_queue = \"fixed_queue_ratio\"\n{skills}{QUEUE}ratio = 0\n[[queue]]\nname = \"alone\"\nratio = 0\n{rule}{FALLBACK}{full}"
        )),
        [
            "Error weights_all_zero: routing",
            "Error channel_never_fits: agent `a`",
            "Warning skill_unasked: skill `cooking`",
            "Warning queue_unreached: queue `alone`",
            "Warning queue_without_agents: queue `alone`",
            "Warning preferred_skill_unknown_to_all: rule `r`",
        ]
    );
    // Only the API can name what is not there.
    let mut policy = Policy::default();
    let mut queue = QueueSettings::named("q");
    queue.calendar = Some(CalendarId(9));
    queue.when_closed = routing::settings::WhenClosed::MoveQueue(QueueId(8));
    policy.queues.insert(QueueId(1), queue);
    policy.fallback = Some(routing::settings::Classification {
        queues: vec![QueueId(7)],
        required: vec![Requirement {
            skill: SkillName("x".to_owned()),
            level: 3,
        }],
        ..Default::default()
    });
    let findings = lint(&policy, &Agents::new(), NOW_MS);
    let codes: Vec<(&str, String)> = findings.iter().map(|one| (one.code, one.spot.pointer())).collect();
    let queue = format!("/queues/{}", QueueId(1));
    assert_eq!(
        codes,
        [
            ("unknown_calendar", format!("{queue}/calendar")),
            ("unknown_queue", format!("{queue}/when_closed")),
            ("unknown_queue", "/fallback/queues".to_owned()),
            ("unknown_skill", "/fallback/required".to_owned()),
            ("queue_unreached", queue),
        ]
    );
    assert!(refused(&findings));
}

#[test]
fn findings_have_the_lines_of_the_file() {
    let text = format!("[tenant]\nname = \"t\"\n{QUEUE}offer_timeout = \"40s\"\n{FALLBACK}");
    let file = TenantFile::parse("t", &text, []).unwrap();
    let plan = file.as_it_stands();
    let findings = lint(&plan.policy, &plan.agents.into_iter().collect(), NOW_MS);
    let shown: Vec<String> = findings
        .iter()
        .map(|one| one.shown_in(&file.places).to_string())
        .collect();
    assert_eq!(
        shown,
        [
            "line 5: warning[offer_timeout_beyond_target]: queue `q`: one offer may take 40000 ms, longer than the answer target of 30000 ms"
        ]
    );
}

#[test]
fn the_worked_policy_is_clean() {
    let text = include_str!("../../../ops/policy-contact-centre.toml");
    let file = TenantFile::parse("policy-contact-centre.toml", text, []).unwrap_or_else(|errors| panic!("{errors}"));
    let plan = file.as_it_stands();
    let findings = lint(&plan.policy, &plan.agents.into_iter().collect(), NOW_MS);
    let shown: Vec<String> = findings
        .iter()
        .map(|one| one.shown_in(&file.places).to_string())
        .collect();
    assert_eq!(shown, [""; 0]);
    assert_eq!((plan.policy.queues.len(), file.agents.len()), (9, 60));
}
