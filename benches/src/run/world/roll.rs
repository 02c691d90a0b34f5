//! Who comes in which order. Every generator of a run goes through the whole roll, and plays its share of it: so what all of them play
//! together is what one would have played.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{customers::kind, lot};
use crate::scenario::{Comes, Scenario};
use rand::Rng;

/// The part of the people that one generator plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub generator: usize,
    pub of: usize,
}

impl Share {
    /// Everybody.
    pub const WHOLE: Self = Self { generator: 0, of: 1 };

    /// Whether a customer, by the number of the conversation, or an agent, by the number over all tenants, is played here.
    pub fn has(self, number: usize) -> bool {
        number % self.of == self.generator
    }
}

/// Customers of one kind in one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassPlan {
    pub plan: usize,
    pub tenant: usize,
    /// Groups of agents who can serve them.
    pub groups: Vec<usize>,
    /// Number of the queue, over all tenants.
    pub queue: usize,
}

/// What the tenants of a run hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub classes: Vec<ClassPlan>,
    /// Places of each group of agents (those of one plan in one tenant).
    pub places: Vec<i64>,
    /// Over all tenants.
    pub queues: usize,
}

impl Layout {
    /// `tenants`: the plan of each.
    pub fn new(scenario: &Scenario, tenants: &[usize]) -> Self {
        let mut layout = Self {
            queues: tenants.len() * scenario.queues.len(),
            ..Self::default()
        };
        for (tenant, &kind) in tenants.iter().enumerate() {
            let of_tenant = || scenario.agents.iter().filter(|agents| agents.tenant == kind);
            for (plan, customers) in scenario.customers.iter().enumerate() {
                if customers.tenant != kind {
                    continue;
                }
                let able = of_tenant().enumerate().filter(|(_, agents)| {
                    let knows = |(name, level): &(String, u64)| {
                        agents.skills.iter().any(|(known, at)| known == name && at >= level)
                    };
                    agents.queues.contains(&customers.queue) && customers.skills.iter().all(knows)
                });
                layout.classes.push(ClassPlan {
                    plan,
                    tenant,
                    groups: able.map(|(n, _)| layout.places.len() + n).collect(),
                    queue: tenant * scenario.queues.len() + customers.queue,
                });
            }
            let places = of_tenant().map(|agents| (agents.count * agents.concurrency) as i64);
            layout.places.extend(places);
        }
        layout
    }
}

/// Times in seconds, in order.
pub type Times = Box<dyn Iterator<Item = f64> + Send>;

/// The schedule of each class: arrivals, or messages of standing conversations.
pub fn schedules(scenario: &Scenario, layout: &Layout, seed: u64, scale: f64, until_us: u64) -> Vec<Times> {
    let times = |(class, plan): (usize, &ClassPlan)| -> Times {
        match &scenario.customers[plan.plan].comes {
            Comes::Arriving(arrivals)
            | Comes::Standing {
                talk: Some(arrivals), ..
            } => {
                let seed = lot(seed, kind::ARRIVALS, (class as u64) << 8, 0).random();
                Box::new(arrivals.schedule(scale, until_us as f64 / 1e6, seed))
            }
            Comes::Standing { talk: None, .. } => Box::new(std::iter::empty()),
        }
    };
    layout.classes.iter().enumerate().map(times).collect()
}

/// The next of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub class: usize,
    pub start_us: u64,
    pub connect_us: u64,
}

/// The roll: arrivals in the order in which they are given their numbers. One of a class is looked up when the one before it connects.
pub struct Roll {
    classes: Vec<(Times, u64)>,
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    turn: u64,
}

impl Roll {
    /// Of classes with the times of their starts, and how long before it they connect (`None`: nobody comes).
    pub fn new(classes: Vec<Option<(Times, u64)>>) -> Self {
        let due = classes.iter().enumerate().filter(|(_, times)| times.is_some());
        let due = due.map(|(class, _)| Reverse((0, class as u64, class))).collect();
        let nobody = || -> (Times, u64) { (Box::new(std::iter::empty()), 0) };
        Self {
            turn: classes.len() as u64,
            classes: classes.into_iter().map(|times| times.unwrap_or_else(nobody)).collect(),
            due,
        }
    }

    /// When the next one has to be looked up.
    pub fn due_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((at_us, ..))| *at_us)
    }
}

impl Iterator for Roll {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let Reverse((_, _, class)) = self.due.pop()?;
            let (times, ahead_us) = &mut self.classes[class];
            let Some(at_s) = times.next() else { continue };
            let start_us = (at_s * 1e6) as u64;
            let connect_us = start_us.saturating_sub(*ahead_us);
            self.turn += 1;
            self.due.push(Reverse((connect_us, self.turn, class)));
            return Some(Arrival {
                class,
                start_us,
                connect_us,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = r#"
[scenario]
name = "t"
length = "60s"
[[tenant]]
name = "t"
count = 2
[[queue]]
name = "q"
tenant = "t"
[[agents]]
name = "a"
tenant = "t"
count = 5
concurrency = 2
queues = ["q"]
handle = { exponential = "1s" }
[[customers]]
name = "c"
tenant = "t"
queue = "q"
connect_ahead = "2s"
arrivals = { kind = "poisson", rate = 3 }
[[customers]]
name = "d"
tenant = "t"
queue = "q"
arrivals = { kind = "sine", mean = 3, amplitude = 2, period = "10s" }
"#;

    fn roll() -> Roll {
        let scenario = Scenario::parse("t", TEXT, Path::new(".")).unwrap();
        let layout = Layout::new(&scenario, &[0, 0]);
        assert_eq!(
            (layout.classes.len(), layout.places.as_slice()),
            (4, [10, 10].as_slice())
        );
        assert_eq!(
            (layout.classes[3].groups.as_slice(), layout.classes[3].queue),
            ([1].as_slice(), 1)
        );
        let times = schedules(&scenario, &layout, 7, 1.5, 60_000_000);
        let ahead = |class: usize| scenario.customers[layout.classes[class].plan].connect_ahead_ms * 1_000;
        let classes = times.into_iter().enumerate();
        Roll::new(classes.map(|(class, times)| Some((times, ahead(class)))).collect())
    }

    #[test]
    fn the_shares_of_all_generators_are_the_whole() {
        let whole: Vec<Arrival> = roll().collect();
        assert!(whole.len() > 700, "{}", whole.len());
        for of in [1, 2, 3, 5] {
            let mut together = vec![None; whole.len()];
            for generator in 0..of {
                let share = Share { generator, of };
                let played: Vec<(usize, Arrival)> =
                    roll().enumerate().filter(|(number, _)| share.has(*number)).collect();
                assert!(played.len() >= whole.len() / of, "they are alike");
                for (number, arrival) in played {
                    assert_eq!(
                        together[number].replace(arrival),
                        None,
                        "number {number} is played once"
                    );
                }
            }
            let together: Vec<Arrival> = together.into_iter().flatten().collect();
            assert_eq!(together, whole, "{of} generators");
        }
    }

    #[test]
    fn nobody_is_looked_up_too_late() {
        let mut roll = roll();
        let mut last_us = 0;
        while let Some(due_us) = roll.due_us() {
            assert!(due_us >= last_us, "in order");
            last_us = due_us;
            if let Some(arrival) = roll.next() {
                assert!(
                    arrival.connect_us >= due_us || due_us == 0,
                    "{arrival:?} after {due_us}"
                );
            }
        }
    }
}
