//! What queueing theory says of a scenario, to be put beside what was measured.
//!
//! Queues and groups of agents that are connected are one pool: Erlang A (Palm 1957; Garnett, Mandelbaum and Reiman 2002), or Erlang C
//! where nobody loses patience. For a rate that varies, each moment is taken as if its rate had held for ever (the pointwise stationary
//! approximation, Green and Kolesar 1991): good where services are short against the changes, too lively where they are long.

use serde::{Deserialize, Serialize};

use crate::scenario::{Comes, Scenario};
use crate::sim::exact::Station;

/// Moments of a varying rate that are looked at.
const MOMENTS: u32 = 120;

/// What theory says, over all tenants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Customers per second; mean time of a place for one; mean patience (0: endless); places.
    pub arrivals_per_s: f64,
    pub service_s: f64,
    pub patience_s: f64,
    pub places: f64,
    pub wait_probability: f64,
    pub wait_s: f64,
    pub abandonment: f64,
    pub queue: f64,
    pub occupancy: f64,
    pub service_level: f64,
    /// Where the scenario is not what the formula assumes.
    pub assumptions: Vec<String>,
    /// Over time: seconds, queue, service level.
    pub over_time: Vec<(f64, f64, f64)>,
}

/// What is served together, of one tenant.
struct Pool {
    tenant: usize,
    queues: Vec<usize>,
}

fn pools(scenario: &Scenario) -> Vec<Pool> {
    let mut pools: Vec<Pool> = (0..scenario.queues.len())
        .map(|queue| Pool {
            tenant: scenario.queues[queue].tenant,
            queues: vec![queue],
        })
        .collect();
    for agents in &scenario.agents {
        let (touched, rest): (Vec<Pool>, Vec<Pool>) = pools
            .into_iter()
            .partition(|pool| pool.queues.iter().any(|queue| agents.queues.contains(queue)));
        pools = rest;
        let queues = touched.into_iter().flat_map(|pool| pool.queues).collect();
        pools.push(Pool {
            tenant: agents.tenant,
            queues,
        });
    }
    pools
}

struct Laws<'a> {
    scenario: &'a Scenario,
    pool: &'a Pool,
    scale: f64,
}

impl Laws<'_> {
    fn customers(&self) -> impl Iterator<Item = &crate::scenario::CustomerPlan> {
        self.scenario
            .customers
            .iter()
            .filter(|customers| self.pool.queues.contains(&customers.queue))
    }

    fn agents(&self) -> impl Iterator<Item = &crate::scenario::AgentPlan> {
        let serves = |queues: &[usize]| queues.iter().any(|queue| self.pool.queues.contains(queue));
        self.scenario.agents.iter().filter(move |agents| serves(&agents.queues))
    }

    fn rate(&self, at_s: f64) -> f64 {
        let rate = |customers: &crate::scenario::CustomerPlan| match &customers.comes {
            Comes::Arriving(arrivals) => arrivals.rate.at(at_s) * self.scale,
            Comes::Standing { .. } => 0.0,
        };
        self.customers().map(rate).sum()
    }

    /// Places that standing conversations hold.
    fn held(&self) -> f64 {
        let held = |customers: &crate::scenario::CustomerPlan| match customers.comes {
            Comes::Standing { count, .. } => count,
            Comes::Arriving(_) => 0,
        };
        self.customers().map(held).sum::<usize>() as f64
    }

    /// Places that they do not.
    fn places(&self) -> f64 {
        let all: usize = self.agents().map(|agents| agents.count * agents.concurrency).sum();
        (all as f64 - self.held()).max(0.0)
    }

    fn service_s(&self) -> f64 {
        let mut sums = (0.0, 0.0);
        for agents in self.agents() {
            let weight = (agents.count * agents.concurrency) as f64;
            let wrap_up = agents.wrap_up.map_or(0.0, |law| law.mean());
            let one = (agents.accept.mean() + agents.handle.mean() + wrap_up) / 1e3;
            // Who is passed on is served once more.
            sums = (sums.0 + weight * one * (1.0 + agents.transfer_share), sums.1 + weight);
        }
        sums.0 / sums.1
    }

    fn patience_s(&self) -> f64 {
        let mut rates = (0.0, 0.0);
        for customers in self.customers() {
            let Comes::Arriving(arrivals) = &customers.comes else {
                continue;
            };
            let weight = arrivals.rate.at(0.0).max(f64::MIN_POSITIVE);
            let leaves = customers.patience.map_or(0.0, |law| 1e3 / law.mean().max(1.0));
            rates = (rates.0 + weight * leaves, rates.1 + weight);
        }
        if rates.0 > 0.0 { rates.1 / rates.0 } else { 0.0 }
    }

    fn assumptions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |is: bool, text: &str| {
            if is {
                found.push(text.to_owned());
            }
        };
        let kinds = self.agents().count();
        note(
            self.pool.queues.len() > 1 || kinds > 1,
            "several queues or groups of agents are taken as one",
        );
        note(
            self.agents().any(|agents| !agents.handle.exponential()),
            "handle times are not exponential",
        );
        let patience = self.customers().filter_map(|customers| customers.patience);
        note(
            patience.into_iter().any(|law| !law.exponential()),
            "patience is not exponential",
        );
        note(
            self.agents().any(|agents| agents.break_every.is_some()),
            "breaks are left out",
        );
        note(
            self.agents().any(|agents| agents.transfer_share > 0.0),
            "who is passed on counts as one longer service",
        );
        note(
            self.customers().any(|customers| !customers.skills.is_empty()),
            "skills are left out",
        );
        let steady = |customers: &crate::scenario::CustomerPlan| match &customers.comes {
            Comes::Arriving(arrivals) => arrivals.steady_poisson(),
            Comes::Standing { .. } => true,
        };
        let varies = !self.customers().all(steady);
        note(
            varies,
            "each moment as if its rate had held for ever (pointwise stationary)",
        );
        found
    }
}

/// The prediction. `None` where nobody comes, or the queue would grow without end.
pub fn predict(scenario: &Scenario, scale: f64) -> Option<Prediction> {
    let (from_s, length_s) = (scenario.warm_up_ms as f64 / 1e3, scenario.length_ms as f64 / 1e3);
    let target_s = scenario.service_level_ms as f64 / 1e3;
    let pools = pools(scenario);
    let mut whole = Prediction::default();
    let mut over_time = vec![(0.0, 0.0, 0.0, 0.0); MOMENTS as usize + 1];
    for pool in &pools {
        let laws = Laws { scenario, pool, scale };
        let (places, service_s, patience_s) = (laws.places(), laws.service_s(), laws.patience_s());
        let alike = scenario.tenants[pool.tenant].count as f64;
        let mut last: Option<(f64, crate::sim::exact::LongRun, f64)> = None;
        for (n, moment) in over_time.iter_mut().enumerate() {
            let at_s = from_s + length_s * n as f64 / f64::from(MOMENTS);
            let lambda = laws.rate(at_s);
            moment.0 = at_s;
            if lambda <= 0.0 {
                continue;
            }
            let station = Station {
                lambda,
                mu: 1.0 / service_s.max(1e-6),
                theta: if patience_s > 0.0 { 1.0 / patience_s } else { 0.0 },
                servers: places as u32,
            };
            if !station.stable() || places < 1.0 {
                return None;
            }
            let (run, level) = match &last {
                Some((rate, run, level)) if *rate == lambda => (*run, *level),
                _ => (station.long_run(), station.service_level(target_s)),
            };
            last = Some((lambda, run, level));
            let rate = lambda * alike;
            moment.1 += run.queue * alike;
            moment.2 += level * rate;
            moment.3 += rate;
            // Averages over customers weigh by arrivals, those over time by time.
            whole.arrivals_per_s += rate;
            whole.wait_probability += run.wait_probability * rate;
            whole.wait_s += run.wait * rate;
            whole.abandonment += run.abandonment * rate;
            whole.service_level += level * rate;
            whole.service_s += service_s * rate;
            whole.patience_s += patience_s * rate;
            whole.queue += run.queue * alike;
            whole.occupancy += (run.occupancy * places + laws.held()) * alike;
        }
        whole.places += (places + laws.held()) * alike;
        whole.assumptions.extend(laws.assumptions());
    }
    let (all, moments) = (whole.arrivals_per_s, f64::from(MOMENTS + 1));
    if all <= 0.0 {
        return None;
    }
    let by_customers = [
        &mut whole.wait_probability,
        &mut whole.wait_s,
        &mut whole.abandonment,
        &mut whole.service_level,
        &mut whole.service_s,
        &mut whole.patience_s,
    ];
    by_customers.into_iter().for_each(|sum| *sum /= all);
    whole.arrivals_per_s /= moments;
    whole.queue /= moments;
    whole.occupancy /= moments * whole.places;
    whole.assumptions.sort();
    whole.assumptions.dedup();
    let level = |moment: &(f64, f64, f64, f64)| if moment.3 > 0.0 { moment.2 / moment.3 } else { 1.0 };
    whole.over_time = over_time
        .iter()
        .map(|moment| (moment.0, moment.1, level(moment)))
        .collect();
    Some(whole)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn scenario(customers: &str) -> Scenario {
        let text = format!(
            r#"
[scenario]
name = "t"
length = "60s"
service_level = "2s"
[[queue]]
name = "q"
[[agents]]
name = "a"
count = 5
concurrency = 2
queues = ["q"]
handle = {{ exponential = "1s" }}
[[customers]]
name = "c"
queue = "q"
{customers}
"#
        );
        Scenario::parse("t", &text, Path::new(".")).unwrap()
    }

    #[test]
    fn one_pool_with_steady_arrivals_is_erlang_a_itself() {
        let scenario = scenario("arrivals = { kind = \"poisson\", rate = 10 }\npatience = { exponential = \"4s\" }");
        let found = predict(&scenario, 1.0).unwrap();
        let station = Station {
            lambda: 10.0,
            mu: 1.0,
            theta: 0.25,
            servers: 10,
        };
        let exact = station.long_run();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} for {b}");
        near(found.wait_s, exact.wait);
        near(found.queue, exact.queue);
        near(found.abandonment, exact.abandonment);
        near(found.occupancy, exact.occupancy);
        near(found.service_level, station.service_level(2.0));
        assert_eq!(found.assumptions, Vec::<String>::new());
    }

    #[test]
    fn a_queue_without_end_has_no_prediction() {
        let scenario = scenario("arrivals = { kind = \"poisson\", rate = 11 }");
        assert_eq!(predict(&scenario, 1.0), None);
        assert!(predict(&scenario, 0.5).is_some());
    }

    #[test]
    fn varying_rates_are_told() {
        let scenario = scenario(
            "arrivals = { kind = \"sine\", mean = 8, amplitude = 4, period = \"60s\" }\npatience = { exponential = \"4s\" }",
        );
        let found = predict(&scenario, 1.0).unwrap();
        assert!(found.assumptions.iter().any(|text| text.contains("pointwise")));
        // At a quarter of the period the rate is 12, for which there is not enough service without those who leave.
        let station = Station {
            lambda: 12.0,
            mu: 1.0,
            theta: 0.25,
            servers: 10,
        };
        let (_, queue, level) = found.over_time.iter().find(|(at_s, ..)| *at_s == 15.0).unwrap();
        assert!((queue - station.long_run().queue).abs() < 1e-6, "{queue}");
        assert!((level - station.service_level(2.0)).abs() < 1e-6, "{level}");
    }
}
