//! Figures side by side, for a terminal.

use super::figures::{Figures, Numbers};

/// A row: what it is, and how it reads in the figures of all queues, or of one.
type Row = (&'static str, fn(&Numbers) -> String);

const ROWS: [Row; 11] = [
    ("offered", |n| n.offered.to_string()),
    ("answered", |n| n.answered.to_string()),
    ("abandoned", |n| n.abandoned.to_string()),
    ("turned away", |n| n.turned_away.to_string()),
    ("service level", |n| percent(n.service_level())),
    ("abandonment", |n| percent(n.abandonment())),
    ("mean wait of the answered", |n| seconds(n.asa_ms)),
    ("median wait", |n| seconds(n.p50_ms)),
    ("90 % waited at most", |n| seconds(n.p90_ms)),
    ("99 % waited at most", |n| seconds(n.p99_ms)),
    ("longest wait", |n| seconds(n.longest_ms)),
];

/// `93.1 %`
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// `12.3 s`
fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// All runs side by side, all queues and then each.
pub fn table(runs: &[Figures]) -> String {
    let mut lines = vec![row("", runs.iter().map(|run| run.name.clone()))];
    lines.push(section("all queues"));
    for (what, read) in ROWS {
        lines.push(row(what, runs.iter().map(|run| read(&run.all))));
    }
    lines.push(row("occupancy", runs.iter().map(|run| percent(run.occupancy))));
    let fairness = |run: &Figures| run.fairness.map_or_else(|| "-".to_owned(), |jain| format!("{jain:.3}"));
    lines.push(row("fairness among agents (Jain)", runs.iter().map(fairness)));
    let beyond = |run: &Figures| run.beyond_known_patience.to_string();
    lines.push(row("beyond known patience", runs.iter().map(beyond)));
    let mut queues: Vec<&String> = runs.iter().flat_map(|run| run.queues.keys()).collect();
    queues.sort();
    queues.dedup();
    for queue in queues {
        lines.push(section(if queue == "-" { "no queue" } else { queue }));
        let nothing = Numbers::default();
        for (what, read) in ROWS {
            lines.push(row(
                what,
                runs.iter().map(|run| read(run.queues.get(queue).unwrap_or(&nothing))),
            ));
        }
    }
    lines.join("\n")
}

fn section(name: &str) -> String {
    format!("── {name}")
}

fn row(what: &str, cells: impl Iterator<Item = String>) -> String {
    let mut line = format!("  {what:<30}");
    for cell in cells {
        line += &format!(" {:>22}", cell.chars().take(22).collect::<String>());
    }
    line.trim_end().to_owned()
}
