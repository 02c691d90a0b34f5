//! The rows of all cases with their verdicts, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::case::{Row, Run};

/// A correct engine is called wrong by one such report in a hundred: over all of its rows together (Bonferroni).
pub const FALSE_ALARM: f64 = 0.01;
/// An interval wider than this part of the exact value shows nothing.
const TOO_WIDE: f64 = 0.1;

/// What a row shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The exact value lies within the interval.
    Agrees,
    /// It does not: the engine, or the formula, is wrong.
    Differs,
    /// The interval is too wide to say so.
    TooFew,
}

/// What rows show that are `rows` in all.
pub fn verdict(row: &Row, rows: usize) -> Verdict {
    let difference = (row.simulated.mean - row.exact).abs();
    let allowed = row.simulated.half_width(FALSE_ALARM / rows.max(1) as f64);
    match () {
        () if difference.is_nan() || difference > allowed => Verdict::Differs,
        () if row.exact != 0.0 && row.simulated.half_width(0.05) > TOO_WIDE * row.exact.abs() => Verdict::TooFew,
        () => Verdict::Agrees,
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Agrees => "agrees",
        Verdict::Differs => "DIFFERS",
        Verdict::TooFew => "too few arrivals",
    }
}

fn rows_in(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.rows.len()).sum()
}

/// Whether every value agrees and nothing unexpected happened.
pub fn good(runs: &[Run]) -> bool {
    let rows = rows_in(runs);
    let agrees = |run: &Run| run.rows.iter().all(|row| verdict(row, rows) == Verdict::Agrees);
    runs.iter().all(|run| run.orderly && agrees(run))
}

/// As a table.
pub fn text(runs: &[Run]) -> String {
    let rows = rows_in(runs);
    let mut out =
        String::from("| | simulated | ± (95 %) | exact | difference | verdict |\n|---|---|---|---|---|---|\n");
    for run in runs {
        let rate = run.arrivals as f64 / run.took.as_secs_f64();
        let disorder = if run.orderly { "" } else { "; SOMETHING WAS REFUSED" };
        let _ = writeln!(
            out,
            "| **{}** | {} arrivals, {:.0}/s{disorder} | | | | |",
            run.title, run.arrivals, rate
        );
        for row in &run.rows {
            let _ = writeln!(out, "| {} |", cells(row, rows).join(" | "));
        }
    }
    let _ = writeln!(
        out,
        "\n{rows} values; verdict by {:.3} % intervals, so that all of them together call a correct engine wrong once in {:.0} times.",
        100.0 * (1.0 - FALSE_ALARM / rows.max(1) as f64),
        1.0 / FALSE_ALARM
    );
    out
}

fn cells(row: &Row, rows: usize) -> [String; 6] {
    let (mean, half) = (row.simulated.mean, row.simulated.half_width(0.05));
    let difference = match row.exact {
        0.0 => format!("{:+.6}", mean),
        exact => format!("{:+.2} %", 100.0 * (mean / exact - 1.0)),
    };
    [
        row.name.clone(),
        format!("{mean:.6}"),
        format!("{half:.6}"),
        format!("{:.6}", row.exact),
        difference,
        word(verdict(row, rows)).to_owned(),
    ]
}

/// As JSON.
pub fn json(runs: &[Run]) -> Value {
    let rows = rows_in(runs);
    let row = |row: &Row| {
        json!({
            "quantity": row.name,
            "simulated": row.simulated.mean,
            "half_width_95": row.simulated.half_width(0.05),
            "half_width_verdict": row.simulated.half_width(FALSE_ALARM / rows.max(1) as f64),
            "exact": row.exact,
            "verdict": word(verdict(row, rows)).to_lowercase(),
        })
    };
    let run = |run: &Run| {
        json!({
            "case": run.title,
            "arrivals": run.arrivals,
            "seconds": run.took.as_secs_f64(),
            "orderly": run.orderly,
            "rows": run.rows.iter().map(row).collect::<Vec<_>>(),
        })
    };
    json!({
        "false_alarm": FALSE_ALARM,
        "good": good(runs),
        "cases": runs.iter().map(run).collect::<Vec<_>>(),
    })
}
