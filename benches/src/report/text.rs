//! A report in short, for the terminal.

use std::fmt::Write;

use super::{Report, Verdict};
use crate::run::record::{MEASURES, Summary};

/// Some lines.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "\n{}: seed {}, scale {}, {:.0} s measured after {:.0} s of warm-up{}; commit {}, {}",
        report.scenario,
        report.seed,
        report.scale,
        report.length_s,
        report.warm_up_s,
        if report.cut_short { ", then ended by hand" } else { "" },
        report.environment.commit,
        report.environment.build,
    );
    for (_, name, what) in MEASURES {
        if let Some(m) = report.measures.get(name) {
            latency(&mut out, what, m);
        }
    }
    let counts: Vec<String> = report
        .counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let _ = writeln!(
        out,
        "  {}; commands {}, overtaken {}",
        counts.join(", "),
        report.commands,
        report.overtaken
    );
    let faults: Vec<String> = report
        .faults
        .all()
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let _ = writeln!(out, "  {}; refused {:?}", faults.join(", "), report.refused);
    let _ = writeln!(
        out,
        "  connections lost {}, owners lost {}, transfers {}, most customers at a time {}",
        report.connections_lost, report.owners_lost, report.transfers, report.customers_most
    );
    queueing(&mut out, report);
    processes(&mut out, report);
    let _ = writeln!(out, "  durability: {}", report.durability);
    judgement(&mut out, report.verdict, &report.reasons);
    out
}

/// The last line: the verdict, and why it is not a pass.
pub fn judgement(out: &mut String, verdict: Verdict, reasons: &[String]) {
    let colon = if reasons.is_empty() { "" } else { ": " };
    let _ = writeln!(out, "{}{colon}{}", verdict.word(), reasons.join("; "));
}

/// A line of a table of latencies.
pub fn latency(out: &mut String, what: &str, m: &Summary) {
    let _ = writeln!(
        out,
        "  {what:<46} p50 {:>8.2}  p90 {:>8.2}  p99 {:>8.2}  p99.9 {:>8.2}  max {:>8.2} ms  ({})",
        m.p50_ms, m.p90_ms, m.p99_ms, m.p999_ms, m.max_ms, m.count
    );
}

fn queueing(out: &mut String, report: &Report) {
    let (Some(level), Some(abandonment)) = (report.service_level, report.abandonment) else {
        return;
    };
    let _ = writeln!(
        out,
        "  within {:.0} s {:.1} %, abandoned {:.1} %, waiting {:.2}, occupancy {:.1} %",
        report.service_level_s,
        level * 1e2,
        abandonment * 1e2,
        report.waiting_mean,
        report.occupancy * 1e2
    );
    if let Some(theory) = &report.prediction {
        let _ = writeln!(
            out,
            "  theory: {:.1} %, abandoned {:.1} %, waiting {:.2}, occupancy {:.1} %{}{}",
            theory.service_level * 1e2,
            theory.abandonment * 1e2,
            theory.queue,
            theory.occupancy * 1e2,
            if theory.assumptions.is_empty() { "" } else { "; " },
            theory.assumptions.join("; ")
        );
    }
}

fn processes(out: &mut String, report: &Report) {
    let samples: Vec<_> = report.sampled().collect();
    let Some(last) = samples.last() else { return };
    let mean = |of: &dyn Fn(&super::Sample) -> f64| samples.iter().map(|s| of(s)).sum::<f64>() / samples.len() as f64;
    let nodes: Vec<String> = (0..last.nodes_cpu.len())
        .map(|n| {
            format!(
                "{:.2} cores {:.0} MiB",
                mean(&|s| s.nodes_cpu.get(n).copied().unwrap_or(0.0)),
                last.nodes_mib[n]
            )
        })
        .collect();
    let _ = writeln!(
        out,
        "  nodes: {}; {}: {:.2} cores {:.0} MiB; the machine: {:.2} of {} cores",
        nodes.join(", "),
        if report.generators.is_empty() {
            "generator"
        } else {
            "generators and coordinator here"
        },
        mean(&|s| s.generator_cpu),
        last.generator_mib,
        mean(&|s| s.machine_cpu),
        report.environment.cores
    );
    if let Some(accounted) = &report.accounted {
        let _ = writeln!(
            out,
            "  accounts of {} generators: {} conversations, {} of them between several; {} acknowledged messages, warm-up included",
            report.generators.len(),
            accounted.conversations,
            accounted.across,
            accounted.messages
        );
    }
    for generator in &report.generators {
        let _ = writeln!(
            out,
            "  generator {} ({}): {} agents, {} customers; lag p99 {:.2} ms, late timers p99 {:.2} ms; {:.2} of {} cores; clock {:+} µs, round trip {} µs, drift {:+} µs",
            generator.name,
            if generator.here {
                "this machine"
            } else {
                "another machine"
            },
            generator.agents,
            generator.customers,
            generator.lag.p99_ms,
            generator.runtime.p99_ms,
            generator.cpu,
            generator.cores,
            generator.clock_offset_us,
            generator.clock_round_trip_us,
            generator.clock_drift_us,
        );
    }
}
