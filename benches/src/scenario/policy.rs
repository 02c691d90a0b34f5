//! A scenario's tenants as tenant files.

use std::fmt::Write;

use super::{AgentPlan, Scenario};

/// What agents are called, from 0 in each group.
pub fn agent_name(agents: &AgentPlan, number: usize) -> String {
    format!("{}-{number:05}", agents.name)
}

/// The attribute by which customers of a kind find their queue.
pub const KIND: &str = "bench_kind";

/// The tenant file of one tenant of kind `tenant`, called `name`, whose tokens are signed with `secret`.
pub fn tenant_file(scenario: &Scenario, tenant: usize, name: &str, kid: &str, secret: &str) -> String {
    let mut file =
        format!("[tenant]\nname = {name:?}\n\n[[key]]\nkid = {kid:?}\nalgorithm = \"HS256\"\nsecret = {secret:?}\n");
    for skill in scenario.skills.iter().filter(|skill| skill.tenant == tenant) {
        let _ = write!(file, "\n[[skill]]\nname = {:?}\n", skill.name);
    }
    for (at, queue) in scenario
        .queues
        .iter()
        .enumerate()
        .filter(|(_, queue)| queue.tenant == tenant)
    {
        let _ = write!(
            file,
            "\n[[queue]]\nname = {:?}\nauto_accept = {}\n",
            queue.name, queue.auto_accept
        );
        let further = [
            ("order", &queue.order),
            ("choice", &queue.choice),
            ("offer_timeout", &queue.offer_timeout),
        ];
        for (key, value) in further.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            let _ = writeln!(file, "{key} = {value:?}");
        }
        if scenario
            .agents
            .iter()
            .any(|agents| agents.wrap_up.is_some() && agents.queues.contains(&at))
        {
            file.push_str("wrap_up = { manual_longest = \"10m\" }\n");
        }
    }
    for agents in scenario.agents.iter().filter(|agents| agents.tenant == tenant) {
        let queues: Vec<&str> = agents
            .queues
            .iter()
            .map(|queue| scenario.queues[*queue].name.as_str())
            .collect();
        for number in 0..agents.count {
            let _ = write!(
                file,
                "\n[[agent]]\nname = {:?}\nsupervisor = {}\nqueues = {queues:?}\nskills = {{ {} }}\n\
                 channels = {{ web_chat = {{ concurrent_max = {} }} }}\n",
                agent_name(agents, number),
                agents.supervisor,
                levels(&agents.skills),
                agents.concurrency,
            );
        }
    }
    let mut fallback = None;
    for customers in scenario.customers.iter().filter(|customers| customers.tenant == tenant) {
        let queue = &scenario.queues[customers.queue].name;
        let _ = write!(
            file,
            "\n[[rule]]\nname = {:?}\nwhen = \"attributes.{KIND} == '{}'\"\nqueues = [{queue:?}]\nrequired = {{ {} }}\n",
            customers.name,
            customers.name,
            levels(&customers.skills),
        );
        fallback.get_or_insert(queue);
    }
    let any = scenario
        .queues
        .iter()
        .find(|queue| queue.tenant == tenant)
        .map(|queue| &queue.name);
    if let Some(queue) = fallback.or(any) {
        let _ = write!(file, "\n[fallback]\nqueues = [{queue:?}]\n");
    }
    file
}

fn levels(skills: &[(String, u64)]) -> String {
    let levels: Vec<String> = skills
        .iter()
        .map(|(name, level)| format!("{name:?} = {level}"))
        .collect();
    levels.join(", ")
}
