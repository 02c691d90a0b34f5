//! What came of runs: one outcome each, and tables over many.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::faults;
use crate::invariants;

/// A fault that struck and was healed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// Its kind.
    pub fault: String,
    /// What it did.
    pub what: String,
    /// How much it met; 0: it tested nothing.
    pub met: u64,
    /// From strike to healing.
    pub lasted_ms: u64,
    /// From healing to the next acknowledgement.
    pub back_ms: u64,
    /// The longest time without any acknowledgement while it was on, and until service was back.
    pub stood_still_ms: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Of which scenario.
    pub scenario: String,
    /// Of which seed.
    pub seed: u64,
    /// Invariants that hold, and how much was looked at.
    pub held: BTreeMap<char, u64>,
    /// Invariants that had nothing to look at, and why.
    pub not_looked_at: BTreeMap<char, String>,
    /// Invariants that do not hold, and how.
    pub violations: BTreeMap<char, String>,
    /// Faults that struck.
    pub fired: Vec<Fired>,
    /// Faults that could not, and why.
    pub skipped: BTreeMap<String, String>,
    /// Conversations.
    pub conversations: usize,
    /// Acknowledged messages.
    pub messages: usize,
    /// Operations in the history.
    pub operations: usize,
    /// Offers.
    pub offers: usize,
    /// Terms that had a leader.
    pub terms: u64,
    /// Views of nodes.
    pub samples: u64,
    /// Wall time.
    pub took_s: u64,
}

impl Outcome {
    /// Reads one that was written.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, serde_json::to_string_pretty(self)?)?)
    }

    /// Whether everything held, and something happened.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.messages > 0 && self.fired.iter().any(|fired| fired.met > 0)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} (seed {}): {} conversations, {} acknowledged messages, {} operations, {} offers, {} terms, {} faults in {} s",
            self.scenario,
            self.seed,
            self.conversations,
            self.messages,
            self.operations,
            self.offers,
            self.terms,
            self.fired.len(),
            self.took_s
        );
        for invariant in invariants::ALL {
            let letter = &invariant.letter;
            let _ = match (
                self.violations.get(letter),
                self.held.get(letter),
                self.not_looked_at.get(letter),
            ) {
                (Some(how), ..) => writeln!(text, "  {letter} VIOLATED: {how}"),
                (None, Some(count), _) => writeln!(text, "  {letter} holds ({count}): {}", invariant.name),
                (None, None, Some(why)) => writeln!(text, "  {letter} skipped: {why}"),
                (None, None, None) => writeln!(text, "  {letter} not judged"),
            };
        }
        for (fault, why) in &self.skipped {
            let _ = writeln!(text, "  SKIPPED {fault}: {why}");
        }
        for fired in self.fired.iter().filter(|fired| fired.met == 0) {
            let _ = writeln!(text, "  met nothing: {} ({})", fired.fault, fired.what);
        }
        text
    }
}

/// Faults × invariants over many outcomes, as a Markdown table. A cell names the scenarios that ran it, says why it was
/// skipped, or is `–`: not asked for by the table of faults.
pub fn matrix(outcomes: &[Outcome]) -> String {
    let mut table = String::from("| fault |");
    for invariant in invariants::ALL {
        let _ = write!(table, " {} |", invariant.letter);
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(invariants::ALL.len()));
    table.push('\n');
    let mut notes: Vec<String> = Vec::new();
    for kind in faults::all() {
        let _ = write!(table, "| `{}` |", kind.name);
        for invariant in invariants::ALL {
            let cell = match cell(outcomes, kind.name, invariant.letter) {
                Cell::Ran(scenarios) => scenarios.into_iter().collect::<Vec<_>>().join(", "),
                _ if !kind.holds.contains(invariant.letter) => "–".to_owned(),
                Cell::Skipped(why) => {
                    let at = notes.iter().position(|note| *note == why).unwrap_or_else(|| {
                        notes.push(why);
                        notes.len() - 1
                    });
                    format!("skipped ({})", at + 1)
                }
            };
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    for (number, note) in (1..).zip(&notes) {
        let _ = writeln!(table, "\n({number}) {note}");
    }
    table
}

enum Cell {
    Ran(BTreeSet<String>),
    Skipped(String),
}

fn cell(outcomes: &[Outcome], fault: &str, letter: char) -> Cell {
    let met = |outcome: &&Outcome| outcome.fired.iter().any(|fired| fired.fault == fault && fired.met > 0);
    let ran: BTreeSet<String> = outcomes
        .iter()
        .filter(met)
        .filter(|outcome| outcome.held.contains_key(&letter))
        .map(|outcome| outcome.scenario.clone())
        .collect();
    if !ran.is_empty() {
        return Cell::Ran(ran);
    }
    let why = outcomes
        .iter()
        .filter(met)
        .find_map(|outcome| outcome.not_looked_at.get(&letter).cloned())
        .or_else(|| outcomes.iter().find_map(|outcome| outcome.skipped.get(fault).cloned()))
        .unwrap_or_else(|| "the fault was not in these runs".to_owned());
    Cell::Skipped(why)
}

/// Figures of each fault over many outcomes: how often it struck, the longest that service stood still and took to come back.
pub fn figures(outcomes: &[Outcome]) -> String {
    let mut table = String::from(
        "| fault | struck | met | median stood still | worst stood still | worst back after healing |\n|---|---|---|---|---|---|\n",
    );
    for kind in faults::all() {
        let all = outcomes.iter().flat_map(|outcome| &outcome.fired);
        let fired: Vec<&Fired> = all.filter(|fired| fired.fault == kind.name).collect();
        if fired.is_empty() {
            continue;
        }
        let mut still: Vec<u64> = fired.iter().map(|fired| fired.stood_still_ms).collect();
        still.sort_unstable();
        let back = fired.iter().map(|fired| fired.back_ms).max().unwrap_or(0);
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} ms | {} ms | {back} ms |",
            kind.name,
            fired.len(),
            fired.iter().map(|fired| fired.met).sum::<u64>(),
            still[still.len() / 2],
            still[still.len() - 1],
        );
    }
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    let lost = outcomes
        .iter()
        .filter(|outcome| outcome.violations.contains_key(&'A'))
        .count();
    let _ = writeln!(
        table,
        "\n{} runs, {} s: {} conversations, {} acknowledged messages, {} operations checked, {} faults; runs that lost an acknowledged \
         operation: {lost}",
        outcomes.len(),
        outcomes.iter().map(|outcome| outcome.took_s).sum::<u64>(),
        sum(|outcome| outcome.conversations),
        sum(|outcome| outcome.messages),
        sum(|outcome| outcome.operations),
        sum(|outcome| outcome.fired.len()),
    );
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Fired, Outcome, figures, matrix};

    fn outcome(met: u64) -> Outcome {
        let fired = Fired {
            fault: "pause".into(),
            what: "stopped 1".into(),
            met,
            lasted_ms: 10,
            back_ms: 20,
            stood_still_ms: 30,
        };
        Outcome {
            scenario: "time".into(),
            held: BTreeMap::from([('B', 5)]),
            not_looked_at: BTreeMap::from([('C', "nothing to look at".into())]),
            fired: vec![fired],
            messages: 1,
            ..Outcome::default()
        }
    }

    fn row<'a>(table: &'a str, fault: &str) -> Vec<&'a str> {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{fault}`")));
        row.expect("every fault has a row").split('|').map(str::trim).collect()
    }

    #[test]
    fn cells_say_what_ran_and_what_did_not() {
        let table = matrix(&[outcome(1)]);
        let pause = row(&table, "pause");
        assert_eq!((pause[2], pause[3]), ("–", "time"), "{table}");
        assert!(pause[4].starts_with("skipped ("), "{table}");
        assert!(row(&table, "kill-all")[2].starts_with("skipped"), "{table}");
        assert!(table.contains(") nothing to look at"), "{table}");
    }

    #[test]
    fn what_met_nothing_did_not_run() {
        let table = matrix(&[outcome(0)]);
        assert!(row(&table, "pause")[3].starts_with("skipped"), "{table}");
        assert!(!outcome(0).is_good() && outcome(1).is_good());
    }

    #[test]
    fn figures_are_of_all_runs() {
        let table = figures(&[outcome(1), outcome(2)]);
        assert_eq!(
            row(&table, "pause")[2..7],
            ["2", "3", "30 ms", "30 ms", "20 ms"],
            "{table}"
        );
    }
}
