//! Whether a run was right, and whether its numbers mean anything.

use super::Job;
use super::record::{Count, Measure, Record, Summary};
use super::sampler::Sample;
use super::world::Tally;
use crate::report::{Accounted, Environment, GeneratorReport, Report, Verdict};

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

/// Why the generator or the machine, and not the cluster, may have set the numbers.
pub fn limits(
    lag: Summary,
    runtime: Summary,
    measured: Summary,
    dropped: u64,
    samples: &[&Sample],
    cores: f64,
) -> Vec<String> {
    let mut found = lateness("the generator", lag, runtime, measured, dropped);
    found.extend(fullness(samples, cores));
    found
}

/// How late a generator may be, p99, with what it measures.
fn allowed_ms(measured: Summary) -> f64 {
    LATE_MAX_MS.max(LATE_SHARE_MAX * measured.p99_ms)
}

/// Why a generator, and not the cluster, may have set the numbers: by its own clock.
fn lateness(who: &str, lag: Summary, runtime: Summary, measured: Summary, dropped: u64) -> Vec<String> {
    let mut found = Vec::new();
    let allowed_ms = allowed_ms(measured);
    if lag.p99_ms > allowed_ms {
        found.push(format!(
            "{who} was late: p99 of its schedule lag is {:.1} ms",
            lag.p99_ms
        ));
    }
    if runtime.p99_ms > allowed_ms {
        found.push(format!(
            "{who} was short of CPU: p99 of its timers' lateness is {:.1} ms",
            runtime.p99_ms
        ));
    }
    if dropped > 0 {
        found.push(format!("{who} had no room for {dropped} arrivals"));
    }
    found
}

/// The same of one of several, which may be elsewhere.
fn of_member(generator: &GeneratorReport, measured: Summary) -> Vec<String> {
    let name = format!("generator {}", generator.name);
    let mut found = lateness(&name, generator.lag, generator.runtime, measured, generator.dropped);
    let unsure_ms = (generator.clock_round_trip_us as f64 / 2.0 + generator.clock_drift_us.abs() as f64) / 1e3;
    if unsure_ms > allowed_ms(measured) {
        found.push(format!("the clock of {name} is known to {unsure_ms:.1} ms only"));
    }
    let cores = generator.cores as f64;
    if !generator.here && generator.machine_cpu > FULL * cores {
        found.push(format!(
            "the machine of {name} was full ({:.2} of {cores} cores)",
            generator.machine_cpu
        ));
    }
    found
}

/// Why the machine, and not the cluster, may have set them.
fn fullness(samples: &[&Sample], cores: f64) -> Vec<String> {
    let mut found = Vec::new();
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

/// What a run gave.
pub struct Findings {
    pub record: Record,
    pub tally: Tally,
    pub samples: Vec<Sample>,
    /// Where there were several.
    pub generators: Vec<GeneratorReport>,
    pub accounted: Option<Accounted>,
    pub cut_us: Option<u64>,
}

/// All that is known, with the verdict. The job's scenario is as long as the run was.
pub fn report(job: &Job, found: Findings, environment: Environment) -> Report {
    let Findings {
        record,
        tally,
        samples,
        generators,
        accounted,
        cut_us,
    } = found;
    let scenario = &job.scenario;
    let (from_us, until_us) = record.bounds_us();
    let (warm_up_s, length_s) = (from_us as f64 / 1e6, (until_us - from_us) as f64 / 1e6);
    let measured: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.at_s >= warm_up_s && sample.at_s <= warm_up_s + length_s)
        .collect();
    let (ack, offer) = (record.whole(Measure::MessageAck), record.whole(Measure::StartOffer));
    let slowest = if ack.count > 0 { ack } else { offer };
    let (lag, runtime) = (record.whole(Measure::Lag), record.whole(Measure::Runtime));
    let mut invalid = if generators.is_empty() {
        lateness("the generator", lag, runtime, slowest, tally.dropped)
    } else {
        generators
            .iter()
            .flat_map(|generator| of_member(generator, slowest))
            .collect()
    };
    invalid.extend(fullness(&measured, environment.cores as f64));
    let mut reasons = failures(&tally, tally.refused.values().sum());
    let verdict = Verdict::of(&reasons, &invalid);
    reasons.extend(invalid);
    let arrivals = record.total(Count::Arrivals);
    let share = |count| (arrivals > 0).then(|| record.total(count) as f64 / arrivals as f64);
    let (service_level, abandonment) = (share(Count::InTarget), share(Count::Abandoned));
    let places = scenario.places();
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
        cut_short: cut_us.is_some(),
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
        generators,
        accounted,
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
            lateness("the generator", p99(lag), p99(runtime), p99(ack), dropped).is_empty()
                && fullness(&[sample], 2.0).is_empty()
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
    fn one_late_generator_of_several_is_named() {
        let good = GeneratorReport {
            name: "left".to_owned(),
            cores: 4,
            machine_cpu: 3.0,
            clock_round_trip_us: 80,
            ..GeneratorReport::default()
        };
        assert_eq!(of_member(&good, p99(3.0)), Vec::<String>::new());
        let found = |change: fn(&mut GeneratorReport)| {
            let mut bad = good.clone();
            change(&mut bad);
            of_member(&bad, p99(3.0)).join("; ")
        };
        assert!(found(|bad| bad.lag.p99_ms = 8.0).contains("generator left was late"));
        assert!(found(|bad| bad.runtime.p99_ms = 8.0).contains("generator left was short of CPU"));
        assert!(found(|bad| bad.machine_cpu = 3.9).contains("machine of generator left was full"));
        assert!(found(|bad| bad.clock_drift_us = -6_000).contains("clock of generator left"));
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
