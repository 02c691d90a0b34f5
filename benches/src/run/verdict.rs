//! Whether a run was right, and whether its numbers mean anything.

use super::Job;
use super::record::{Count, Measure, Record, Summary};
use super::sampler::Sample;
use super::world::Tally;
use crate::report::{Environment, Report, Verdict};

/// Refused of all commands, at most.
const REFUSED_SHARE_MAX: f64 = 0.001;
/// The generator may be late by so much, p99 …
const LATE_MAX_MS: f64 = 5.0;
/// … or by this share of what it measures, if that is more.
const LATE_SHARE_MAX: f64 = 0.2;
/// A machine is full when so much of its cores is used.
const FULL: f64 = 0.95;
/// Others may use so much of a full machine.
const OTHERS_SHARE_MAX: f64 = 0.2;
/// The generator may use so much of what is used on a full machine.
const OWN_SHARE_MAX: f64 = 0.5;

/// Why the generator, and not the cluster, may have set the numbers.
pub fn limits(
    lag: Summary,
    runtime: Summary,
    measured: Summary,
    dropped: u64,
    samples: &[&Sample],
    cores: f64,
) -> Vec<String> {
    let mut found = Vec::new();
    let allowed_ms = LATE_MAX_MS.max(LATE_SHARE_MAX * measured.p99_ms);
    if lag.p99_ms > allowed_ms {
        found.push(format!(
            "the generator was late: p99 of its schedule lag is {:.1} ms",
            lag.p99_ms
        ));
    }
    if runtime.p99_ms > allowed_ms {
        found.push(format!(
            "the generator was short of CPU: p99 of its timers' lateness is {:.1} ms",
            runtime.p99_ms
        ));
    }
    if dropped > 0 {
        found.push(format!("the generator had no room for {dropped} arrivals"));
    }
    let mean =
        |of: fn(&Sample) -> f64| samples.iter().map(|sample| of(sample)).sum::<f64>() / samples.len().max(1) as f64;
    let (own, machine) = (mean(|sample| sample.generator_cpu), mean(|sample| sample.machine_cpu));
    let nodes = mean(|sample| sample.nodes_cpu.iter().sum());
    let local = samples.iter().any(|sample| !sample.nodes_cpu.is_empty());
    let full = machine > FULL * cores;
    let others = machine - own - nodes;
    if full && local && others > OTHERS_SHARE_MAX * cores {
        found.push(format!(
            "the machine was full, and others than the nodes and the generator used {others:.2} of {machine:.2} cores"
        ));
    }
    if full && (!local || own > OWN_SHARE_MAX * (own + nodes)) {
        found.push(format!(
            "the machine was full, and the generator used {own:.2} of {machine:.2} cores"
        ));
    }
    found
}

/// What speaks against the cluster.
fn failures(tally: &Tally, refused: u64) -> Vec<String> {
    let mut found: Vec<String> = tally
        .faults
        .all()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if refused as f64 > REFUSED_SHARE_MAX * tally.commands as f64 {
        found.push(format!(
            "{refused} of {} commands refused: {:?}",
            tally.commands, tally.refused
        ));
    }
    found.extend(
        tally
            .ended
            .iter()
            .map(|(why, count)| format!("{count} clients ended: {why}")),
    );
    found
}

/// All that is known, with the verdict.
pub fn report(job: &Job, record: Record, tally: Tally, samples: Vec<Sample>, environment: Environment) -> Report {
    let scenario = &job.scenario;
    let (warm_up_s, length_s) = (scenario.warm_up_ms as f64 / 1e3, scenario.length_ms as f64 / 1e3);
    let measured: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.at_s >= warm_up_s && sample.at_s <= warm_up_s + length_s)
        .collect();
    let (ack, offer) = (record.whole(Measure::MessageAck), record.whole(Measure::StartOffer));
    let slowest = if ack.count > 0 { ack } else { offer };
    let (lag, runtime) = (record.whole(Measure::Lag), record.whole(Measure::Runtime));
    let invalid = limits(
        lag,
        runtime,
        slowest,
        tally.dropped,
        &measured,
        environment.cores as f64,
    );
    let mut reasons = failures(&tally, tally.refused.values().sum());
    let verdict = match (reasons.is_empty(), invalid.is_empty()) {
        // What is wrong is wrong, however late the generator was.
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Invalid,
        (true, true) => Verdict::Pass,
    };
    reasons.extend(invalid);
    let arrivals = record.total(Count::Arrivals);
    let share = |count| (arrivals > 0).then(|| record.total(count) as f64 / arrivals as f64);
    let (service_level, abandonment) = (share(Count::InTarget), share(Count::Abandoned));
    let places: usize = scenario
        .agents
        .iter()
        .map(|plan| plan.count * plan.concurrency * scenario.tenants[plan.tenant].count)
        .sum();
    let interval_s = record.interval_us() as f64 / 1e6;
    let (intervals, measures, counts) = record.close();
    let mut report = Report {
        format: 1,
        verdict,
        reasons,
        scenario: scenario.name.clone(),
        about: scenario.about.clone(),
        seed: job.seed,
        scale: job.scale,
        warm_up_s,
        length_s,
        interval_s,
        service_level_s: scenario.service_level_ms as f64 / 1e3,
        durability: String::new(),
        environment,
        agents: scenario.agent_count(),
        places,
        measures,
        counts,
        faults: tally.faults,
        refused: tally.refused,
        commands: tally.commands,
        overtaken: tally.overtaken,
        dropped: tally.dropped,
        connections_lost: tally.connections_lost,
        owners_lost: tally.owners_lost,
        transfers: tally.transfers,
        customers_most: tally.customers_most,
        service_level,
        abandonment,
        waiting_mean: 0.0,
        occupancy: 0.0,
        prediction: None,
        intervals,
        samples,
        scenario_text: scenario.text.clone(),
    };
    let count = report.measured().count().max(1) as f64;
    report.waiting_mean = report.measured().map(|interval| interval.waiting as f64).sum::<f64>() / count;
    report.occupancy = report.measured().map(|interval| interval.busy as f64).sum::<f64>() / count / places as f64;
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p99(ms: f64) -> Summary {
        Summary {
            p99_ms: ms,
            count: 1,
            ..Summary::default()
        }
    }

    fn sample(own: f64, nodes: f64, machine: f64) -> Sample {
        Sample {
            nodes_cpu: vec![nodes],
            generator_cpu: own,
            machine_cpu: machine,
            ..Sample::default()
        }
    }

    #[test]
    fn late_generators_make_runs_invalid() {
        let calm = sample(0.2, 0.5, 0.8);
        let valid = |lag, runtime, ack, dropped, sample: &Sample| {
            limits(p99(lag), p99(runtime), p99(ack), dropped, &[sample], 2.0).is_empty()
        };
        assert!(valid(1.0, 2.0, 3.0, 0, &calm));
        assert!(!valid(6.0, 2.0, 3.0, 0, &calm), "late");
        assert!(valid(6.0, 2.0, 40.0, 0, &calm), "little against what is measured");
        assert!(!valid(1.0, 9.0, 3.0, 0, &calm), "timers");
        assert!(!valid(1.0, 1.0, 3.0, 1, &calm), "dropped");
        assert!(
            !valid(1.0, 1.0, 3.0, 0, &sample(1.1, 0.8, 1.95)),
            "full, most of it its own"
        );
        assert!(valid(1.0, 1.0, 3.0, 0, &sample(0.6, 1.3, 1.95)), "full of nodes");
    }

    #[test]
    fn faults_fail() {
        let mut tally = Tally {
            commands: 10_000,
            ..Tally::default()
        };
        assert!(failures(&tally, 10).is_empty());
        assert_eq!(failures(&tally, 11).len(), 1);
        tally.faults.lost = 1;
        tally.faults.doubly_assigned = 2;
        assert_eq!(failures(&tally, 0), ["1 lost", "2 doubly assigned"]);
    }
}
