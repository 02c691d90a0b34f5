//! `kaiwa-bench compare A B`: whether B is slower or faster than A, or no difference was found.

mod statistics;

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::report::{Report, Verdict};
use crate::run::record::Summary;
use statistics::{Mean, by_chance, holm, of_runs, of_series};

/// B is worse than A.
const EXIT_WORSE: u8 = 1;
/// From so many runs of each on, they are compared as wholes.
const RUNS_FOR_WHOLES: usize = 3;
/// A series of fewer intervals says nothing.
const INTERVALS_MIN: usize = 10;

/// What to compare.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Reports (folders or report.json) before the change, separated by commas
    #[arg(value_name = "A", value_delimiter = ',', required = true, num_args = 1)]
    before: Vec<PathBuf>,
    /// Reports after it
    #[arg(value_name = "B", value_delimiter = ',', required = true, num_args = 1)]
    after: Vec<PathBuf>,
    /// Chance of a false alarm, over all measures together
    #[arg(long, default_value_t = 0.01)]
    alpha: f64,
    /// Differences below so many percent do not count, however certain
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    least: f64,
    /// Compares runs of different scenarios, rates, or machines as well
    #[arg(long)]
    force: bool,
}

/// One measure of a run.
struct Quantity {
    name: &'static str,
    /// More is worse.
    more_is_worse: bool,
    whole: fn(&Report) -> Option<f64>,
    series: fn(&Report) -> Vec<f64>,
}

fn of_intervals(report: &Report, name: &str, pick: fn(&Summary) -> f64) -> Vec<f64> {
    report
        .measured()
        .filter_map(|interval| interval.measures.get(name))
        .map(pick)
        .collect()
}

fn node_cpu(report: &Report) -> Vec<f64> {
    report
        .sampled()
        .filter(|s| !s.nodes_cpu.is_empty())
        .map(|s| s.nodes_cpu.iter().sum())
        .collect()
}

fn node_memory(report: &Report) -> Vec<f64> {
    report
        .sampled()
        .filter(|s| !s.nodes_mib.is_empty())
        .map(|s| s.nodes_mib.iter().sum())
        .collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Latencies by interval and as a whole, and what the nodes used.
const QUANTITIES: [Quantity; 9] = [
    Quantity {
        name: "message ack, mean ms",
        more_is_worse: true,
        whole: |r| Some(r.measures.get("message_ack")?.mean_ms),
        series: |r| of_intervals(r, "message_ack", |s| s.mean_ms),
    },
    Quantity {
        name: "message ack, p50 ms",
        more_is_worse: true,
        whole: |r| Some(r.measures.get("message_ack")?.p50_ms),
        series: |r| of_intervals(r, "message_ack", |s| s.p50_ms),
    },
    Quantity {
        name: "message ack, p99 ms",
        more_is_worse: true,
        whole: |r| Some(r.measures.get("message_ack")?.p99_ms),
        series: |r| of_intervals(r, "message_ack", |s| s.p99_ms),
    },
    Quantity {
        name: "message delivery, p50 ms",
        more_is_worse: true,
        whole: |r| Some(r.measures.get("message_delivery")?.p50_ms),
        series: |r| of_intervals(r, "message_delivery", |s| s.p50_ms),
    },
    Quantity {
        name: "message delivery, p99 ms",
        more_is_worse: true,
        whole: |r| Some(r.measures.get("message_delivery")?.p99_ms),
        series: |r| of_intervals(r, "message_delivery", |s| s.p99_ms),
    },
    Quantity {
        name: "start to offer, p50 ms",
        more_is_worse: true,
        whole: |r| Some(r.measures.get("start_offer")?.p50_ms),
        series: |r| of_intervals(r, "start_offer", |s| s.p50_ms),
    },
    Quantity {
        name: "messages acked per second",
        more_is_worse: false,
        whole: |r| (r.counts.get("messages")? > &0).then(|| r.counts["acknowledged"] as f64 / r.length_s),
        series: |r| {
            let of = |interval: &crate::run::record::Interval| interval.counts.get("acknowledged").copied();
            let any = r.counts.get("messages").is_some_and(|count| *count > 0);
            r.measured()
                .filter(|_| any)
                .map(|i| of(i).unwrap_or(0) as f64 / r.interval_s)
                .collect()
        },
    },
    Quantity {
        name: "CPU of the nodes, cores",
        more_is_worse: true,
        whole: |r| mean(&node_cpu(r)),
        series: node_cpu,
    },
    Quantity {
        name: "memory of the nodes, MiB",
        more_is_worse: true,
        whole: |r| node_memory(r).last().copied(),
        // It grows over a run: its mean is no mean of chance values. One value each.
        series: |r| node_memory(r).last().copied().into_iter().collect(),
    },
];

/// What is said of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Worse,
    Better,
    Same,
}

/// A measure, compared.
struct Row {
    name: &'static str,
    medians: (f64, f64),
    chance: f64,
    word: Word,
    /// Independent values that either side is worth.
    worth: (f64, f64),
}

/// Compares, prints, and gives the exit code.
pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    let read = |paths: &[PathBuf]| paths.iter().map(|path| Report::read(path)).collect::<Result<Vec<_>>>();
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    check(&before, &after, args.force)?;
    let rows = compare(&before, &after, args.alpha, args.least / 100.0);
    ensure!(!rows.is_empty(), "the reports have no measure in common");
    crate::run::say(&text(&before, &after, &rows, args))?;
    let worse = rows.iter().any(|row| row.word == Word::Worse);
    Ok(if worse {
        ExitCode::from(EXIT_WORSE)
    } else {
        ExitCode::SUCCESS
    })
}

/// That they can be compared at all.
fn check(before: &[Report], after: &[Report], force: bool) -> Result<()> {
    if let Some(report) = before
        .iter()
        .chain(after)
        .find(|report| report.verdict == Verdict::Invalid)
        && !force
    {
        bail!(
            "a run is invalid: {} (--force compares it all the same)",
            report.reasons.join("; ")
        );
    }
    let conditions = |r: &Report| {
        let machine = format!("{}, {} cores", r.environment.machine, r.environment.cores);
        let build = r.environment.build.clone();
        (
            r.scenario_text.clone(),
            r.scale.to_bits(),
            r.length_s.to_bits(),
            r.durability.clone(),
            machine,
            build,
        )
    };
    let first = conditions(&before[0]);
    if !force && before.iter().chain(after).any(|report| conditions(report) != first) {
        bail!(
            "the runs differ in scenario, rate, length, durability, machine or build (--force compares them all the same)"
        );
    }
    Ok(())
}

/// One side of a comparison. With several runs, each is one value: how much equal runs differ is then known. With fewer, the intervals
/// of the runs speak for them, and how much equal runs differ is not known.
fn side(reports: &[Report], quantity: &Quantity, wholes: bool) -> Option<Mean> {
    if wholes {
        let values: Vec<f64> = reports.iter().filter_map(quantity.whole).collect();
        return (values.len() == reports.len()).then(|| of_runs(&values));
    }
    let means: Vec<Mean> = reports
        .iter()
        .map(|report| (quantity.series)(report))
        .filter(|series| series.len() >= INTERVALS_MIN)
        .map(|series| of_series(&series))
        .collect();
    let count = means.len() as f64;
    (!means.is_empty() && means.len() == reports.len()).then(|| Mean {
        mean: means.iter().map(|mean| mean.mean).sum::<f64>() / count,
        variance: means.iter().map(|mean| mean.variance).sum::<f64>() / count / count,
        worth: means.iter().map(|mean| mean.worth).sum(),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

fn compare(before: &[Report], after: &[Report], alpha: f64, least: f64) -> Vec<Row> {
    let wholes = before.len().min(after.len()) >= RUNS_FOR_WHOLES;
    let mut rows = Vec::new();
    for quantity in &QUANTITIES {
        let (Some(a), Some(b)) = (side(before, quantity, wholes), side(after, quantity, wholes)) else {
            continue;
        };
        let of = |reports: &[Report]| median(reports.iter().filter_map(quantity.whole).collect());
        let worse = (b.mean > a.mean) == quantity.more_is_worse;
        rows.push(Row {
            name: quantity.name,
            medians: (of(before), of(after)),
            chance: by_chance(a, b),
            word: if worse { Word::Worse } else { Word::Better },
            worth: (a.worth, b.worth),
        });
    }
    let corrected = holm(&rows.iter().map(|row| row.chance).collect::<Vec<_>>());
    for (row, chance) in rows.iter_mut().zip(corrected) {
        row.chance = chance;
        let (a, b) = row.medians;
        if chance >= alpha || (b - a).abs() < least * a.abs().max(f64::MIN_POSITIVE) {
            row.word = Word::Same;
        }
    }
    rows
}

fn text(before: &[Report], after: &[Report], rows: &[Row], args: &CompareArgs) -> String {
    let mut out = String::new();
    let about = |reports: &[Report]| {
        let mut commits: Vec<&str> = reports
            .iter()
            .map(|report| report.environment.commit.as_str())
            .collect();
        commits.dedup();
        format!("{} runs, commit {}", reports.len(), commits.join(", "))
    };
    let _ = writeln!(out, "A: {}; B: {}; {}", about(before), about(after), before[0].scenario);
    let _ = writeln!(
        out,
        "{:<28} {:>12} {:>12} {:>7} {:>9} {:>13}",
        "medians", "A", "B", "B/A", "chance", "worth"
    );
    for row in rows {
        let word = match row.word {
            Word::Worse => "slower",
            Word::Better => "faster",
            Word::Same => "no difference found",
        };
        let word = match (row.word, row.name.starts_with("CPU") || row.name.starts_with("memory")) {
            (Word::Worse, true) => "more",
            (Word::Better, true) => "less",
            _ => word,
        };
        let (a, b) = row.medians;
        let worth = format!("{:.0} / {:.0}", row.worth.0, row.worth.1);
        let _ = writeln!(
            out,
            "{:<28} {a:>12.3} {b:>12.3} {:>7.3} {:>9.2e} {worth:>13}  {word}",
            row.name,
            b / a,
            row.chance
        );
    }
    if before.len().min(after.len()) < RUNS_FOR_WHOLES {
        let _ = writeln!(
            out,
            "Fewer than {RUNS_FOR_WHOLES} runs of each: compared by their intervals. How much runs of one and the same build differ is not \
             known from this; a difference found here may be one between two moments of the machine."
        );
    }
    let has = |wanted: &[Word]| rows.iter().any(|row| wanted.contains(&row.word));
    let verdict = match (has(&[Word::Worse]), has(&[Word::Better])) {
        (true, false) => "B is slower",
        (false, true) => "B is faster",
        (true, true) => "B is slower in some and faster in others",
        (false, false) => "no difference found",
    };
    let _ = writeln!(
        out,
        "{verdict} (differences of {} % or more, {} chance of a false alarm in all)",
        args.least, args.alpha
    );
    out
}

#[cfg(test)]
mod tests;
