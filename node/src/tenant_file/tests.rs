use routing::settings::{AgentChoice, AtCap, EscalateWhen, Order, WrapUp};

use super::*;

const DEMO: &str = include_str!("../../../ops/demo-tenant.toml");
const NONE: [(String, String); 0] = [];

fn demo() -> TenantFile {
    TenantFile::parse("ops/demo-tenant.toml", DEMO, NONE).unwrap_or_else(|errors| panic!("{errors}"))
}

fn mistakes(text: &str) -> String {
    TenantFile::parse("t", text, NONE)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn the_sample_file_is_read() {
    let file = demo();
    assert_eq!(
        (
            file.skills.len(),
            file.queues.len(),
            file.agents.len(),
            file.rules.len()
        ),
        (6, 4, 9, 8)
    );
    assert_eq!(file.queues[1].order, Order::LinearAgeing { step_ms: 30_000 });
    assert_eq!(file.queues[1].choice, AgentChoice::MostSkilled);
    assert_eq!(file.queues[1].wrap_up, WrapUp::Manual { longest_ms: 120_000 });
    assert_eq!(file.queues[0].escalations[0].when, EscalateWhen::WaitedMs(45_000));
    assert!(matches!(file.queues[2].at_cap, AtCap::Offline { .. }));
    assert_eq!(file.agents[1].skills[&SkillName("language.ja".to_owned())], 10);
    assert_eq!(file.agents[5].capacity.total, 3);
    assert_eq!(
        file.rules[7]
            .parts
            .iter()
            .map(|(weight, _)| *weight)
            .collect::<Vec<_>>(),
        [80, 20]
    );
    assert!(file.agents[8].supervisor);
}

#[test]
fn the_plan_keeps_existing_ids_and_refers_to_none_that_is_not_there() {
    let file = demo();
    let existing = Existing {
        queues: BTreeMap::from([("support".to_owned(), QueueId(77))]),
        agents: BTreeMap::from([("hana".to_owned(), AgentId(88))]),
    };
    let plan = file.plan(&existing);
    let mut queues: Vec<QueueId> = existing.queues.values().copied().collect();
    let mut agents = Vec::new();
    let mut skills = Vec::new();
    for command in &plan.commands {
        match command {
            Command::PutTenant { name } => assert_eq!(name, "Demo shop"),
            Command::PutSkill { skill, .. } => skills.push(skill.clone()),
            Command::PutQueue { queue, settings } => {
                for step in &settings.escalations {
                    if let EscalateAction::MoveQueue(to) = step.action {
                        assert!(queues.contains(&to), "{} refers ahead", settings.name);
                    }
                }
                assert_eq!(settings.name == "support", *queue == QueueId(77));
                queues.push(*queue);
            }
            Command::PutAgent { agent, settings } => {
                assert!(settings.queues.keys().all(|queue| queues.contains(queue)));
                assert!(settings.skills.keys().all(|skill| skills.contains(skill)));
                assert_eq!(settings.name == "hana", *agent == AgentId(88));
                agents.push(*agent);
            }
            Command::PutRules { rules, fallback } => {
                let parts = rules
                    .iter()
                    .flat_map(|rule| rule.parts.iter().map(|(_, part)| part))
                    .chain(fallback);
                for part in parts {
                    assert!(part.queues.iter().all(|queue| queues.contains(queue)));
                    assert!(
                        part.preferred_agent
                            .iter()
                            .all(|preference| agents.contains(&preference.agent))
                    );
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        (agents.len(), skills.len(), plan.commands.len()),
        (9, 6, 1 + 6 + 4 + 9 + 1)
    );
    assert!(matches!(plan.commands.last(), Some(Command::PutRules { .. })));
}

#[test]
fn a_queue_that_escalates_ahead_is_put_twice() {
    let plan = demo().plan(&Existing::default());
    let sales: Vec<usize> = plan
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::PutQueue { settings, .. } if settings.name == "sales" => Some(settings.escalations.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sales, [0, 2]);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let text = "\
[tenant]
name = \"\"
[[skill]]
name = \"billing\"
[[skill]]
name = \"billing\"
[[queue]]
name = \"sales\"
order = \"agin\"
offer_timeout = \"20 s\"
choice = \"longest_idel\"
wrap_up = { timed = \"10s\", manual_longest = \"1m\" }
escalations = [{ waited = \"1m\" }, { waited = \"1m\", move_to = \"sale\" }]
lenght_max = 3
[[agent]]
name = \"ann\"
skills = { biling = 5, billing = 11 }
queues = [\"sales\", \"spport\"]
[[rule]]
name = \"r\"
when = \"atributes.x == 1\"
queues = [\"sales\"]
priority = 10
[[rule]]
name = \"r\"
when = \"true\"
[fallback]
queues = [\"nowhere\"]
[[key]]
kid = \"k\"
algorithm = \"RS256\"
secret = \"short\"
[[kee]]
";
    let all = mistakes(text);
    for expected in [
        "line 2: `tenant.name`: empty",
        "line 6: `skill[1].name`: there is another skill \"billing\"",
        "line 9: `queue[0].order`: \"agin\" is no order",
        "line 10: `queue[0].offer_timeout`: the text \"20 s\" is no duration; a duration is written like \"20s\"",
        "line 11: `queue[0].choice`: \"longest_idel\" is no choice of agent; did you mean `longest_idle`?",
        "line 12: `queue[0].wrap_up.timed`: wrap-up is timed or manual",
        "line 13: `queue[0].escalations[0].waited`: a step has one condition and one action",
        "line 13: `queue[0].escalations[1].move_to`: there is no queue \"sale\" in this file; declare it as [[queue]]; did you mean `sales`?",
        "line 14: `queue[0].lenght_max`: unknown key; did you mean `length_max`?",
        "there is no skill \"biling\" in this file; declare it as [[skill]]; did you mean `billing`?",
        "line 17: `agent[0].skills.billing`: the number 11 is no level; a level is a whole number from 1 to 10",
        "line 18: `agent[0].queues`: there is no queue \"spport\" in this file",
        "line 15: `agent[0].channels`: missing",
        "line 21: `rule[0].when`: line 1, column 1: there is no `atributes`; did you mean `attributes`?",
        "line 23: `rule[0].priority`: the number 10 does not fit; a whole number from 0 to 9 is wanted",
        "line 25: `rule`: there is another rule \"r\"",
        "line 24: `rule[1].queues`: missing",
        "line 28: `fallback.queues`: there is no queue \"nowhere\" in this file",
        "line 31: `key[0].algorithm`: \"RS256\" is no algorithm",
        "line 33: `kee`: unknown key; did you mean `key`?",
    ] {
        assert!(all.contains(expected), "missing: {expected}\nin:\n{all}");
    }
    assert!(!all.contains("short"), "{all}");
}

#[test]
fn an_unquoted_dot_is_explained() {
    let text = "[tenant]\nname = \"t\"\n[[skill]]\nname = \"language.ja\"\n[[agent]]\nname = \"a\"\n\
                channels = { web_chat = { concurrent_max = 1 } }\nskills = { language.ja = 5 }\n";
    assert!(
        mistakes(text).contains("a name with a dot is written in quotation marks"),
        "{}",
        mistakes(text)
    );
}

#[test]
fn keys_come_from_the_file_or_a_variable() {
    let text = "[tenant]\nname = \"t\"\n[[key]]\nkid = \"k\"\nalgorithm = \"HS256\"\nsecret_env = \"S\"\n";
    let environment = [("S".to_owned(), "0123456789abcdef0123456789abcdef".to_owned())];
    let file = TenantFile::parse("t", text, environment).unwrap();
    assert_eq!(file.keys[0].material.len(), 32);
    assert!(!format!("{file:?}").contains("0123456789abcdef"));
    assert!(mistakes(text).contains("the variable S is not set"));
    let short = text.replace("secret_env = \"S\"", "secret = \"sesame\"");
    assert!(mistakes(&short).contains("at least 32 bytes") && !mistakes(&short).contains("sesame"));
}
