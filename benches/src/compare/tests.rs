use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::*;
use crate::report::Environment;
use crate::run::account::Faults;
use crate::run::record::Interval;

/// A run of a minute whose latencies are around `ms`, with values that hang together and runs that differ a little.
fn run(ms: f64, seed: u64) -> Report {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let law = LogNormal::new(0.0, 0.15).unwrap();
    let of_run = 1.0 + 0.1 * (law.sample(&mut rng) - 1.0);
    let mut last = 1.0;
    let mut intervals = Vec::new();
    for at in 0..60 {
        last = 0.5 * last + 0.5 * law.sample(&mut rng);
        let p50_ms = ms * last * of_run;
        let ack = Summary {
            count: 100,
            mean_ms: p50_ms * 1.1,
            p50_ms,
            p99_ms: p50_ms * 4.0,
            ..Summary::default()
        };
        let measures = BTreeMap::from([("message_ack".to_owned(), ack)]);
        intervals.push(Interval {
            at_s: f64::from(at),
            measures,
            ..Interval::default()
        });
    }
    let mean = |pick: fn(&Summary) -> f64| {
        intervals
            .iter()
            .map(|interval| pick(&interval.measures["message_ack"]))
            .sum::<f64>()
            / 60.0
    };
    let whole = Summary {
        count: 6_000,
        mean_ms: mean(|s| s.mean_ms),
        p50_ms: mean(|s| s.p50_ms),
        p99_ms: mean(|s| s.p99_ms),
        ..Summary::default()
    };
    Report {
        format: 1,
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        scenario: "t".to_owned(),
        about: String::new(),
        seed,
        scale: 1.0,
        warm_up_s: 0.0,
        cut_short: false,
        length_s: 60.0,
        interval_s: 1.0,
        service_level_s: 1.0,
        durability: String::new(),
        environment: environment(),
        agents: 1,
        places: 1,
        measures: BTreeMap::from([("message_ack".to_owned(), whole)]),
        counts: BTreeMap::new(),
        faults: Faults::default(),
        refused: BTreeMap::new(),
        commands: 6_000,
        overtaken: 0,
        dropped: 0,
        connections_lost: 0,
        owners_lost: 0,
        transfers: 0,
        customers_most: 0,
        service_level: None,
        abandonment: None,
        waiting_mean: 0.0,
        occupancy: 0.0,
        prediction: None,
        intervals,
        samples: Vec::new(),
        generators: Vec::new(),
        accounted: None,
        scenario_text: String::new(),
    }
}

fn environment() -> Environment {
    Environment {
        at: String::new(),
        machine: String::new(),
        cores: 2,
        memory_gib: 1.0,
        kernel: String::new(),
        file_system: String::new(),
        commit: "abc".to_owned(),
        build: String::new(),
        binary: String::new(),
        nodes: Vec::new(),
        load_before: String::new(),
        load_after: String::new(),
    }
}

fn words(before_ms: f64, after_ms: f64, runs: u64, seed: u64) -> Vec<Word> {
    let all = |ms: f64, seed: u64| (0..runs).map(|n| run(ms, seed + n)).collect::<Vec<_>>();
    let rows = compare(
        &all(before_ms, 1_000 * seed),
        &all(after_ms, 1_000 * seed + 500),
        0.01,
        0.05,
    );
    assert_eq!(rows.len(), 3);
    rows.iter().map(|row| row.word).collect()
}

#[test]
fn a_planted_slowdown_is_found_in_every_measure() {
    for runs in [1, 5] {
        let found = (0..20)
            .filter(|seed| words(5.0, 6.5, runs, *seed) == [Word::Worse; 3])
            .count();
        assert!(found >= 19, "{found} of 20 with {runs} runs");
        let found = (0..20)
            .filter(|seed| words(6.5, 5.0, runs, *seed) == [Word::Better; 3])
            .count();
        assert!(found >= 19, "{found} of 20 with {runs} runs");
    }
}

#[test]
fn nothing_is_found_between_equal_builds() {
    for runs in [1, 5] {
        let found = (0..100)
            .filter(|seed| words(5.0, 5.0, runs, *seed) != [Word::Same; 3])
            .count();
        assert!(found <= 4, "{found} of 100 with {runs} runs");
    }
}

#[test]
fn small_differences_do_not_count_however_certain() {
    let before: Vec<Report> = (0..20).map(|seed| run(5.0, seed)).collect();
    let after: Vec<Report> = (100..120).map(|seed| run(5.2, seed)).collect();
    assert!(
        compare(&before, &after, 0.01, 0.01)
            .iter()
            .all(|row| row.word == Word::Worse)
    );
    assert!(
        compare(&before, &after, 0.01, 0.10)
            .iter()
            .all(|row| row.word == Word::Same)
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let (a, mut b) = (run(5.0, 1), run(5.0, 2));
    check(std::slice::from_ref(&a), std::slice::from_ref(&b), false).unwrap();
    b.scale = 2.0;
    let message = check(std::slice::from_ref(&a), std::slice::from_ref(&b), false)
        .unwrap_err()
        .to_string();
    assert!(message.contains("rate"), "{message}");
    b.verdict = Verdict::Invalid;
    assert!(check(std::slice::from_ref(&a), std::slice::from_ref(&b), false).is_err());
    check(&[a], &[b], true).unwrap();
}

#[test]
fn reports_are_read_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(5.0, 1);
    report.write(dir.path()).unwrap();
    let read = Report::read(dir.path()).unwrap();
    assert_eq!((read.intervals.len(), read.measures), (60, report.measures));
    assert!(
        std::fs::read_to_string(dir.path().join("report.html"))
            .unwrap()
            .contains("<svg")
    );
}
