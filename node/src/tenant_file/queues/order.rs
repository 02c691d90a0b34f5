//! In which order, and to whom.

use routing::limits::{DURATION_MAX_MS, PRIORITIES};
use routing::settings::{AgentChoice, Order};

use crate::toml_input::{Item, Mistakes, Place, Raw, Reader, duration_ms, humane, suggestion};

/// Names of the orders, as files and people have them.
pub(in crate::tenant_file) const ORDERS: [&str; 4] = [
    "strict_priority",
    "linear_ageing",
    "accumulating_priority",
    "earliest_deadline",
];

/// Choices of agents by their names.
pub(in crate::tenant_file) const CHOICES: [(&str, AgentChoice); 9] = [
    ("longest_idle", AgentChoice::LongestIdle),
    ("least_loaded", AgentChoice::LeastLoaded),
    ("most_skilled", AgentChoice::MostSkilled),
    ("round_robin", AgentChoice::RoundRobin),
    ("fixed_order", AgentChoice::FixedOrder),
    ("weighted_random", AgentChoice::WeightedRandom),
    ("fewest_handled_today", AgentChoice::FewestHandledToday),
    ("least_slowdown", AgentChoice::LeastSlowdown),
    ("least_skilled", AgentChoice::LeastSkilled),
];

pub(super) fn order(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Order {
    let step = reader.duration_ms("ageing_step", DURATION_MAX_MS, mistakes);
    let (mut rates, mut targets_ms) = ([0; PRIORITIES], [0; PRIORITIES]);
    let credit = by_priority(reader, "credit", &mut rates, credit_of, mistakes);
    let targets = by_priority(reader, "targets", &mut targets_ms, target_of, mistakes);
    let name = reader.text("order", mistakes).unwrap_or(ORDERS[0]);
    let (order, mine) = match name {
        "strict_priority" => (Order::StrictPriority, ""),
        "linear_ageing" => {
            if step.is_none_or(|step| step == 0) {
                let right = "write `ageing_step = \"30s\"`: the age that one step of priority outweighs";
                reader.wrong("ageing_step", mistakes, "linear ageing needs a step", right);
            }
            let step_ms = step.unwrap_or(1);
            (Order::LinearAgeing { step_ms }, "ageing_step")
        }
        "accumulating_priority" => {
            if !credit || rates.iter().all(|rate| *rate == 0) {
                let right =
                    "write `credit = { 0 = 1, 8 = 4 }`: what a priority earns while it waits, and those above it";
                reader.wrong("credit", mistakes, "accumulating priority needs credit", right);
                rates = [1; PRIORITIES];
            } else if rates.windows(2).any(|pair| pair[0] > pair[1]) {
                reader.wrong(
                    "credit",
                    mistakes,
                    "a higher priority earns less than a lower one",
                    "let it grow",
                );
            }
            (Order::AccumulatingPriority { rates }, "credit")
        }
        "earliest_deadline" => (Order::EarliestDeadline { targets_ms }, "targets"),
        other => {
            reader.wrong(
                "order",
                mistakes,
                format!("{other:?} is no order"),
                suggestion(other, ORDERS),
            );
            return Order::StrictPriority;
        }
    };
    for (key, given, of) in [
        ("ageing_step", step.is_some(), ORDERS[1]),
        ("credit", credit, ORDERS[2]),
        ("targets", targets, ORDERS[3]),
    ] {
        if given && key != mine {
            let right = format!("remove it, or write `order = \"{of}\"`");
            reader.wrong(key, mistakes, format!("{name} has nothing of the kind"), right);
        }
    }
    order
}

/// `{ 0 = …, 8 = … }`: those between have what the lower has. Whether the key is there.
fn by_priority<T: Copy>(
    reader: &mut Reader<'_>,
    key: &'static str,
    slots: &mut [T; PRIORITIES],
    read: fn(&Item) -> Result<T, &'static str>,
    mistakes: &mut Mistakes,
) -> bool {
    let Some(mut table) = reader.table(key, mistakes) else {
        return false;
    };
    for (name, line, item) in table.entries() {
        let path = table.path_of(name);
        let Some(from) = name.parse::<usize>().ok().filter(|priority| *priority < PRIORITIES) else {
            mistakes.add(Place::Line(line), &path, "no priority", "a priority is from 0 to 9");
            continue;
        };
        match read(item) {
            Ok(value) => slots[from..].fill(value),
            Err(right) => {
                let wrong = format!("{} does not fit", item.value.describe());
                mistakes.add(Place::Line(line), &path, wrong, right);
            }
        }
    }
    true
}

fn credit_of(item: &Item) -> Result<u32, &'static str> {
    match item.value {
        Raw::Integer(number) => u32::try_from(number).ok(),
        _ => None,
    }
    .ok_or("a whole number is wanted")
}

fn target_of(item: &Item) -> Result<u64, &'static str> {
    match &item.value {
        Raw::Text(text) => duration_ms(text).filter(|ms| *ms <= DURATION_MAX_MS),
        _ => None,
    }
    .ok_or("a duration is written like \"20s\" or \"1m30s\"; at most 30d")
}

/// The table of [`by_priority`], as short as it can be.
pub(in crate::tenant_file) fn credit(rates: &[u32; PRIORITIES]) -> String {
    table(rates, |rate| rate.to_string())
}

/// See [`credit`].
pub(in crate::tenant_file) fn targets(targets_ms: &[u64; PRIORITIES]) -> String {
    table(targets_ms, |ms| format!("{:?}", humane(*ms)))
}

fn table<T: PartialEq>(slots: &[T; PRIORITIES], write: impl Fn(&T) -> String) -> String {
    let new = |at: &usize| *at == 0 || slots[*at] != slots[at - 1];
    let entries = (0..PRIORITIES)
        .filter(new)
        .map(|at| format!("{at} = {}", write(&slots[at])));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

pub(super) fn choice(reader: &mut Reader<'_>, mistakes: &mut Mistakes) -> Option<AgentChoice> {
    let text = reader.text("choice", mistakes)?;
    let found = CHOICES.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let right = suggestion(text, CHOICES.map(|(name, _)| name));
        reader.wrong("choice", mistakes, format!("{text:?} is no choice of agent"), right);
    }
    found.map(|(_, choice)| *choice)
}
