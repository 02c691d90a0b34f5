use routing::settings::{
    AgentChoice, AtCap, CrossQueue, EscalateAction, EscalateWhen, Membership, Order, ReturnWhenFull, WrapUp,
};

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
        ..Existing::default()
    };
    let Plan {
        name, policy, agents, ..
    } = file.plan(&existing).unwrap();
    assert_eq!(
        (&*name, policy.queues.len(), agents.len(), policy.skills.len()),
        ("Demo shop", 4, 9, 6)
    );
    for (queue, settings) in &policy.queues {
        for step in &settings.escalations {
            if let EscalateAction::MoveQueue(to) = step.action {
                assert!(policy.queues.contains_key(&to), "{} moves to nowhere", settings.name);
            }
        }
        assert_eq!(settings.name == "support", *queue == QueueId(77));
    }
    for (agent, settings) in &agents {
        assert!(settings.queues.keys().all(|queue| policy.queues.contains_key(queue)));
        assert!(settings.skills.keys().all(|skill| policy.skills.contains_key(skill)));
        assert_eq!(settings.name == "hana", *agent == AgentId(88));
    }
    let parts = policy
        .rules
        .iter()
        .flat_map(|rule| rule.parts.iter().map(|(_, part)| part))
        .chain(&policy.fallback);
    for part in parts {
        assert!(part.queues.iter().all(|queue| policy.queues.contains_key(queue)));
        let mut preferred = part.preferred_agent.iter();
        assert!(preferred.all(|preference| agents.iter().any(|(agent, _)| *agent == preference.agent)));
    }
}

#[test]
fn a_policy_file_prefers_agents_who_are_there_already() {
    let text = "[tenant]\nname = \"t\"\n[[queue]]\nname = \"q\"\n[[rule]]\nname = \"r\"\nwhen = \"true\"\nqueues = [\"q\"]\n\
                preferred_agent = { agent = \"hana\" }\n";
    let file = TenantFile::parse("t", text, NONE).unwrap();
    assert_eq!(file.plan(&Existing::default()), Err(PlanError("hana".to_owned())));
    let existing = Existing {
        agents: BTreeMap::from([("hana".to_owned(), AgentId(88))]),
        ..Existing::default()
    };
    let plan = file.plan(&existing).unwrap();
    let preferred = plan.policy.rules[0].parts[0].1.preferred_agent.as_ref();
    assert_eq!(preferred.map(|preference| preference.agent), Some(AgentId(88)));
    let with_agent = format!("{text}[[agent]]\nname = \"ken\"\nchannels = {{}}\n");
    assert!(mistakes(&with_agent).contains("there is no agent \"hana\" in this file"));
}

/// Everything that a file can say, and back.
const WHOLE: &str = include_str!("whole.toml");

#[test]
fn everything_that_can_be_said_is_read_and_written_back() {
    let file = TenantFile::parse("whole.toml", WHOLE, NONE).unwrap_or_else(|errors| panic!("{errors}"));
    let queue = |name: &str| file.queues.iter().find(|queue| queue.name == name).unwrap();
    let main = queue("main");
    assert_eq!(
        main.order,
        Order::AccumulatingPriority {
            rates: [1, 1, 1, 1, 1, 1, 1, 1, 4, 8]
        }
    );
    assert_eq!((main.choice, main.offers_at_once), (AgentChoice::FixedOrder, 3));
    assert_eq!(
        (main.relaxations.len(), main.rings.len(), main.escalations.len()),
        (3, 5, 4)
    );
    assert_eq!((main.idle_pause_ms, main.silent_abandon_ms), (600_000, 300_000));
    assert_eq!(
        (
            main.cross_queue.weight,
            main.cross_queue.rank,
            main.cross_queue.ratio,
            main.cross_queue.cost
        ),
        (3, 1, 2, 5)
    );
    assert_eq!(queue("bots").return_when_full, ReturnWhenFull::StayPaused);
    let mia = &file.agents[0];
    assert_eq!(
        mia.queues[&QueueId(1)],
        Membership {
            tier: 1,
            position: 2,
            weight: 3
        }
    );
    assert_eq!(
        (
            mia.rate.unwrap().max,
            mia.warm_up_ms,
            mia.capacity.total,
            mia.capacity.interruptible
        ),
        (3, 900_000, 4, 6)
    );
    let office = &file.calendars[0];
    assert_eq!((office.weekly.len(), office.exceptions.len()), (5 + 2, 3));
    assert_eq!(
        (file.routing.cross_queue, file.routing.batch_max),
        (CrossQueue::GeneralisedCmu, 16)
    );

    let plan = file.as_it_stands();
    let agents: BTreeMap<AgentId, AgentSettings> = plan.agents.iter().cloned().collect();
    let written = Named {
        tenant: &plan.name,
        policy: &plan.policy,
        agents: &agents,
        with_agents: true,
    }
    .write();
    let again = TenantFile::parse("written", &written, NONE).unwrap_or_else(|errors| panic!("{errors}\n{written}"));
    assert_eq!(again.as_it_stands(), plan, "{written}");
    assert_eq!(
        file.places.line("queue[0].rings[4].while_estimate_above"),
        Some(line_of("while_estimate_above"))
    );
    assert_eq!(
        file.places.line("queue[0].calendar.nothing[3]"),
        Some(line_of("calendar = \"office\""))
    );
}

fn line_of(text: &str) -> usize {
    WHOLE.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn mistakes_in_what_is_new_have_their_lines_too() {
    let text = "\
[tenant]
name = \"t\"
[routing]
cross_queue = \"wieghted\"
zone = \"Asia/Tokio\"
[[calendar]]
name = \"office\"
zone = \"Asia/Tokyo\"
weekly = { mon-fri = \"9-18\", tue = \"10:00-11:00\" , son = \"10:00-11:00\" }
exceptions = [
  { date = \"2026-02-30\" },
  { date = 2026-12-24, hours = \"22:00-02:00\" },
]
[[queue]]
name = \"q\"
order = \"accumulating_priority\"
credit = { 0 = 4, 9 = 1, 10 = 2 }
ageing_step = \"1s\"
relaxations = [{ after = \"2m\", drop = true }, { after = \"1m\", lower_by = 1, prefer = true }]
rings = [{ after = \"1m\", while_length_above = 3 }]
calendar = \"offcie\"
when_closed = \"offline\"
offers_at_once = 9
weight = 0
escalations = [{ waited = \"1m\", close = \"\" }]
return_when_full = \"anybody\"
return_wait = \"3s\"
[[agent]]
name = \"a\"
queues = { q = { tier = 8 }, r = {} }
rate = { max = 0, window = \"1m\" }
channels = { voice = { concurrent_max = 1, exclusive = true, interruptible = true } }
";
    let all = mistakes(text);
    for expected in [
        "line 4: `routing.cross_queue`: \"wieghted\" is no cross-queue policy; did you mean `weighted`?",
        "line 5: `routing.zone`: there is no time zone \"Asia/Tokio\"",
        "line 9: `calendar[0].weekly.mon-fri`: the text \"9-18\" are no hours of a day",
        "line 9: `calendar[0].weekly.son`: no day of the week",
        "line 11: `calendar[0].exceptions[0].date`: \"2026-02-30\" is no date",
        "line 12: `calendar[0].exceptions[1].hours`: the text \"22:00-02:00\" are no hours of a day",
        "line 17: `queue[0].credit`: a higher priority earns less than a lower one",
        "line 17: `queue[0].credit.10`: no priority",
        "line 18: `queue[0].ageing_step`: accumulating_priority has nothing of the kind",
        "line 19: `queue[0].relaxations`: a later step comes sooner",
        "line 19: `queue[0].relaxations[1].lower_by`: what becomes of the skill?",
        "line 20: `queue[0].rings[0].after`: a ring opens by one condition",
        "line 21: `queue[0].calendar`: there is no calendar \"offcie\" in this file; declare it as [[calendar]]; did you mean `office`?",
        "line 22: `queue[0].when_closed`: a closed queue that takes messages needs a text",
        "line 23: `queue[0].offers_at_once`: the number 9 does not fit",
        "line 24: `queue[0].weight`: the number 0 does not fit",
        "line 25: `queue[0].escalations[0].close`: empty or too long",
        "line 27: `queue[0].return_wait`: nobody is waited for",
        "line 30: `agent[0].queues.q.tier`: the number 8 does not fit",
        "there is no queue \"r\" in this file",
        "line 31: `agent[0].rate.max`: the number 0 does not fit",
        "line 32: `agent[0].channels.voice.interruptible`: nothing comes beside what is exclusive",
    ] {
        assert!(all.contains(expected), "missing: {expected}\nin:\n{all}");
    }
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
