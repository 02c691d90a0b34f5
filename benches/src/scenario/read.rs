//! The sections of a scenario file.

use std::path::Path;

use node::toml_input::{Mistakes, Place, Raw, Reader, suggestion};

use super::arrivals::{self, share};
use super::distribution::{self, Distribution, Unit};
use super::{AgentPlan, Comes, CustomerPlan, Disconnects, QueuePlan, Scenario, SkillPlan, TenantPlan};

const DAY_MS: u64 = 24 * 3_600_000;
const PEOPLE_MAX: u64 = 1_000_000;

pub(super) fn scenario(root: &mut Reader<'_>, text: &str, folder: &Path, mistakes: &mut Mistakes) -> Scenario {
    let mut scenario = Scenario {
        name: String::new(),
        about: String::new(),
        seed: 1,
        warm_up_ms: 5_000,
        length_ms: 30_000,
        settle_ms: 30_000,
        service_level_ms: 20_000,
        tenants: Vec::new(),
        queues: Vec::new(),
        skills: Vec::new(),
        agents: Vec::new(),
        customers: Vec::new(),
        disconnects: Vec::new(),
        text: text.to_owned(),
    };
    match root.table("scenario", mistakes) {
        Some(head) => read_head(&mut scenario, head, mistakes),
        None => root.wrong(
            "scenario",
            mistakes,
            "missing",
            "a table with `name` and `length` is needed",
        ),
    }
    for mut reader in root.tables("tenant", mistakes) {
        let name = name_of(
            &mut reader,
            scenario.tenants.iter().map(|tenant| tenant.name.as_str()),
            mistakes,
        );
        let count = reader.integer("count", 1..=100_000, mistakes).unwrap_or(1) as usize;
        scenario.tenants.push(TenantPlan { name, count });
        reader.finish(mistakes);
    }
    if scenario.tenants.is_empty() {
        let name = "bench".to_owned();
        scenario.tenants.push(TenantPlan { name, count: 1 });
    }
    for mut reader in root.tables("skill", mistakes) {
        let tenant = tenant(&mut reader, &scenario, mistakes);
        let same = scenario.skills.iter().filter(|skill| skill.tenant == tenant);
        let name = name_of(&mut reader, same.map(|skill| skill.name.as_str()), mistakes);
        scenario.skills.push(SkillPlan { name, tenant });
        reader.finish(mistakes);
    }
    for reader in root.tables("queue", mistakes) {
        let queue = read_queue(reader, &scenario, mistakes);
        scenario.queues.push(queue);
    }
    for reader in root.tables("agents", mistakes) {
        let agents = read_agents(reader, &scenario, mistakes);
        scenario.agents.push(agents);
    }
    for reader in root.tables("customers", mistakes) {
        let customers = read_customers(reader, &scenario, folder, mistakes);
        scenario.customers.push(customers);
    }
    for reader in root.tables("disconnect", mistakes) {
        scenario.disconnects.push(read_disconnects(reader, mistakes));
    }
    check_whole(&scenario, mistakes);
    scenario
}

fn read_head(scenario: &mut Scenario, mut head: Reader<'_>, mistakes: &mut Mistakes) {
    scenario.name = head.needed_text("name", mistakes).unwrap_or_default().to_owned();
    scenario.about = head.text("about", mistakes).unwrap_or_default().to_owned();
    let mut set = |key, value: &mut u64| {
        if let Some(ms) = head.duration_ms(key, DAY_MS, mistakes) {
            *value = ms;
        }
    };
    set("warm_up", &mut scenario.warm_up_ms);
    set("length", &mut scenario.length_ms);
    set("settle", &mut scenario.settle_ms);
    set("service_level", &mut scenario.service_level_ms);
    if let Some(seed) = head.integer("seed", 0..=u64::MAX >> 1, mistakes) {
        scenario.seed = seed;
    }
    if scenario.length_ms < 1_000 {
        head.wrong("length", mistakes, "too short", "at least \"1s\"");
    }
    head.finish(mistakes);
}

fn check_whole(scenario: &Scenario, mistakes: &mut Mistakes) {
    let mut needs = |there: bool, path: &str, right: &str| {
        if !there {
            mistakes.add(Place::File, path, "missing", right);
        }
    };
    needs(!scenario.queues.is_empty(), "queue", "at least one [[queue]] is needed");
    needs(
        !scenario.agents.is_empty(),
        "agents",
        "at least one [[agents]] is needed",
    );
    needs(
        !scenario.customers.is_empty(),
        "customers",
        "at least one [[customers]] is needed",
    );
    for (at, tenant) in scenario.tenants.iter().enumerate() {
        let queues = scenario.queues.iter().any(|queue| queue.tenant == at);
        needs(
            queues || scenario.queues.is_empty(),
            "queue",
            &format!("tenant {} has none", tenant.name),
        );
    }
}

/// `name`, which none of `others` has.
fn name_of<'a>(reader: &mut Reader<'_>, others: impl Iterator<Item = &'a str>, mistakes: &mut Mistakes) -> String {
    let name = reader.needed_text("name", mistakes).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.chars().all(plain) {
        reader.wrong(
            "name",
            mistakes,
            format!("{name:?} has other characters"),
            "letters, digits, `-`, `_` and `.`",
        );
    }
    if others.into_iter().any(|other| other == name) {
        reader.wrong(
            "name",
            mistakes,
            format!("{name:?} is there already"),
            "names are unique",
        );
    }
    name.to_owned()
}

fn tenant(reader: &mut Reader<'_>, scenario: &Scenario, mistakes: &mut Mistakes) -> usize {
    let names = scenario.tenants.iter().map(|tenant| tenant.name.as_str());
    match reader.text("tenant", mistakes) {
        Some(wanted) => names.clone().position(|name| name == wanted).unwrap_or_else(|| {
            reader.wrong(
                "tenant",
                mistakes,
                format!("there is no tenant {wanted:?}"),
                suggestion(wanted, names),
            );
            0
        }),
        None => {
            if scenario.tenants.len() > 1 {
                reader.wrong("tenant", mistakes, "missing", "say which of the tenants");
            }
            0
        }
    }
}

fn queue_named(
    wanted: &str,
    tenant: usize,
    at: (Place, String),
    scenario: &Scenario,
    mistakes: &mut Mistakes,
) -> Option<usize> {
    let of_tenant = |queue: &&QueuePlan| queue.tenant == tenant;
    let found = scenario
        .queues
        .iter()
        .position(|queue| queue.name == wanted && of_tenant(&queue));
    if found.is_none() {
        let names = scenario
            .queues
            .iter()
            .filter(of_tenant)
            .map(|queue| queue.name.as_str());
        mistakes.add(
            at.0,
            &at.1,
            format!("there is no queue {wanted:?}"),
            suggestion(wanted, names),
        );
    }
    found
}

fn read_queue(mut reader: Reader<'_>, scenario: &Scenario, mistakes: &mut Mistakes) -> QueuePlan {
    let tenant = tenant(&mut reader, scenario, mistakes);
    let same = scenario.queues.iter().filter(|queue| queue.tenant == tenant);
    let queue = QueuePlan {
        name: name_of(&mut reader, same.map(|queue| queue.name.as_str()), mistakes),
        tenant,
        auto_accept: reader.flag("auto_accept", mistakes).unwrap_or(false),
        order: reader.text("order", mistakes).map(str::to_owned),
        choice: reader.text("choice", mistakes).map(str::to_owned),
        offer_timeout: reader.text("offer_timeout", mistakes).map(str::to_owned),
    };
    reader.finish(mistakes);
    queue
}

/// `skills = { de = 5 }`
fn skills(reader: &mut Reader<'_>, tenant: usize, scenario: &Scenario, mistakes: &mut Mistakes) -> Vec<(String, u64)> {
    let path = reader.path_of("skills");
    let Some(mut table) = reader.table("skills", mistakes) else {
        return Vec::new();
    };
    let names = scenario
        .skills
        .iter()
        .filter(|skill| skill.tenant == tenant)
        .map(|skill| skill.name.as_str());
    let mut skills = Vec::new();
    for (name, line, item) in table.entries() {
        let place = Place::Line(line);
        if !names.clone().any(|known| known == name) {
            mistakes.add(
                place,
                &path,
                format!("there is no skill {name:?}"),
                suggestion(name, names.clone()),
            );
            continue;
        }
        match item.value {
            Raw::Integer(level @ 1..=10) => skills.push((name.to_owned(), level as u64)),
            _ => mistakes.add(
                place,
                &path,
                format!("{} is no level", item.value.describe()),
                "from 1 to 10",
            ),
        }
    }
    skills
}

/// A distribution, or what is meant when it is left out.
fn drawn(reader: &mut Reader<'_>, key: &'static str, unit: Unit, absent: f64, mistakes: &mut Mistakes) -> Distribution {
    distribution::read(reader, key, unit, mistakes).unwrap_or(Distribution::Constant(absent))
}

fn bytes(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Distribution {
    let bytes = drawn(reader, "bytes", Unit::Number, 100.0, mistakes);
    if bytes.mean() > routing::limits::BODY_MAX_BYTES as f64 {
        reader.wrong("bytes", mistakes, "too many", "a message has at most 32 KiB");
    }
    bytes
}

fn read_agents(mut reader: Reader<'_>, scenario: &Scenario, mistakes: &mut Mistakes) -> AgentPlan {
    let tenant = tenant(&mut reader, scenario, mistakes);
    let path = reader.path_of("queues");
    let mut queues = Vec::new();
    match reader.texts("queues", mistakes) {
        Some(names) => {
            for (line, name) in names {
                queues.extend(queue_named(
                    name,
                    tenant,
                    (Place::Line(line), path.clone()),
                    scenario,
                    mistakes,
                ));
            }
        }
        None => reader.wrong("queues", mistakes, "missing", "say whom they serve: [\"…\"]"),
    }
    let same = scenario.agents.iter().filter(|agents| agents.tenant == tenant);
    let name = name_of(&mut reader, same.map(|agents| agents.name.as_str()), mistakes);
    let handle = distribution::read(&mut reader, "handle", Unit::Time, mistakes);
    if handle.is_none() && reader.line_of("handle") == reader.line() {
        reader.wrong(
            "handle",
            mistakes,
            "missing",
            "the time from the assignment to the close: { exponential = \"3m\" }",
        );
    }
    let mut transfer_share = 0.0;
    let mut transfer_to = None;
    if let Some(mut transfer) = reader.table("transfer", mistakes) {
        transfer_share = share(&mut transfer, "percent", mistakes);
        let line = transfer.line_of("queue");
        let path = transfer.path_of("queue");
        if let Some(name) = transfer.needed_text("queue", mistakes) {
            transfer_to = queue_named(name, tenant, (Place::Line(line), path), scenario, mistakes);
        }
        transfer.finish(mistakes);
    }
    let agents = AgentPlan {
        name,
        tenant,
        count: reader.integer("count", 1..=PEOPLE_MAX, mistakes).unwrap_or(1) as usize,
        queues,
        skills: skills(&mut reader, tenant, scenario, mistakes),
        supervisor: reader.flag("supervisor", mistakes).unwrap_or(false),
        concurrency: reader.integer("concurrency", 1..=1_000, mistakes).unwrap_or(1) as usize,
        accept: drawn(&mut reader, "accept", Unit::Time, 0.0, mistakes),
        handle: handle.unwrap_or(Distribution::Constant(0.0)),
        wrap_up: distribution::read(&mut reader, "wrap_up", Unit::Time, mistakes),
        messages: drawn(&mut reader, "messages", Unit::Number, 0.0, mistakes),
        think: drawn(&mut reader, "think", Unit::Time, 10_000.0, mistakes),
        bytes: bytes(&mut reader, mistakes),
        break_every: distribution::read(&mut reader, "break_every", Unit::Time, mistakes),
        break_length: drawn(&mut reader, "break_length", Unit::Time, 60_000.0, mistakes),
        reconnect_every: distribution::read(&mut reader, "reconnect_every", Unit::Time, mistakes),
        transfer_share,
        transfer_to,
    };
    reader.finish(mistakes);
    agents
}

fn read_customers(mut reader: Reader<'_>, scenario: &Scenario, folder: &Path, mistakes: &mut Mistakes) -> CustomerPlan {
    let tenant = tenant(&mut reader, scenario, mistakes);
    let at = (Place::Line(reader.line_of("queue")), reader.path_of("queue"));
    let queue = reader.needed_text("queue", mistakes).map(str::to_owned);
    let queue = queue.and_then(|name| queue_named(&name, tenant, at, scenario, mistakes));
    let same = scenario.customers.iter().filter(|customers| customers.tenant == tenant);
    let name = name_of(&mut reader, same.map(|customers| customers.name.as_str()), mistakes);
    let standing = reader.integer("standing", 1..=PEOPLE_MAX, mistakes);
    let arriving = arrivals::read(&mut reader, "arrivals", folder, mistakes);
    let talk = arrivals::read(&mut reader, "talk", folder, mistakes);
    let comes = match (standing, arriving) {
        (Some(count), None) => Comes::Standing {
            count: count as usize,
            talk,
        },
        (None, Some(arrivals)) => {
            if talk.is_some() {
                reader.wrong(
                    "talk",
                    mistakes,
                    "for standing conversations only",
                    "here, `messages` and `think` say who talks",
                );
            }
            Comes::Arriving(arrivals)
        }
        (standing, _) => {
            if standing.is_some() || reader.line_of("arrivals") == reader.line() {
                let wrong = if standing.is_some() {
                    "together with `standing`"
                } else {
                    "missing"
                };
                reader.wrong(
                    "arrivals",
                    mistakes,
                    wrong,
                    "say `arrivals = { kind = … }` or `standing = …`, one of them",
                );
            }
            Comes::Standing { count: 0, talk }
        }
    };
    let customers = CustomerPlan {
        name,
        tenant,
        queue: queue.unwrap_or(0),
        skills: skills(&mut reader, tenant, scenario, mistakes),
        comes,
        patience: distribution::read(&mut reader, "patience", Unit::Time, mistakes),
        messages: drawn(&mut reader, "messages", Unit::Number, 0.0, mistakes),
        think: drawn(&mut reader, "think", Unit::Time, 10_000.0, mistakes),
        bytes: bytes(&mut reader, mistakes),
        connect_ahead_ms: reader.duration_ms("connect_ahead", 60_000, mistakes).unwrap_or(1_000),
        reconnect_every: distribution::read(&mut reader, "reconnect_every", Unit::Time, mistakes),
    };
    reader.finish(mistakes);
    customers
}

fn read_disconnects(mut reader: Reader<'_>, mistakes: &mut Mistakes) -> Disconnects {
    const WHOM: [&str; 3] = ["agents", "customers", "everybody"];
    let whom = reader.needed_text("whom", mistakes).unwrap_or("everybody");
    if !WHOM.contains(&whom) {
        reader.wrong("whom", mistakes, format!("{whom:?} is nobody"), suggestion(whom, WHOM));
    }
    let disconnects = Disconnects {
        at_ms: distribution::needed(&mut reader, "at", Unit::Time, mistakes) as u64,
        share: share(&mut reader, "percent", mistakes),
        agents: whom != "customers",
        customers: whom != "agents",
    };
    reader.finish(mistakes);
    disconnects
}
