//! The whole history of a run: every conversation and every agent, each on its own.

use std::fmt;
use std::io;
use std::path::Path;

use super::{Budget, Model, OperationOf, Verdict, agent, check, conversation};
use crate::history::Operation;

/// What the system may do of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// With conversations.
    pub conversation: conversation::Rules,
    /// With agents.
    pub agent: agent::Rules,
}

/// An object whose history is not linearizable, or could not be decided.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its id.
    pub object: String,
    /// What was found.
    pub verdict: Verdict,
    /// The same in words.
    pub text: String,
    /// The same as a page with a picture.
    pub html: String,
}

/// What there is to say of a whole history.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Conversations and agents.
    pub objects: usize,
    /// Their operations; one that concerns a conversation and an agent counts twice.
    pub operations: usize,
    /// Of the largest of them.
    pub largest: usize,
    /// What it took.
    pub steps: u64,
    /// Not linearizable.
    pub violations: Vec<Finding>,
    /// Not decided within the budget.
    pub undecided: Vec<Finding>,
}

/// Judges every object; the budget is each one's.
pub fn check_history(history: &[Operation], rules: &Rules, budget: Budget) -> Findings {
    let mut findings = Findings::default();
    for (name, operations) in conversation::partitions(history) {
        let model = conversation::Conversation::of(&operations, rules.conversation);
        findings.add(&name, &model, &operations, budget);
    }
    for (name, operations) in agent::partitions(history) {
        let model = agent::Agent::of(name.clone(), rules.agent);
        findings.add(&name, &model, &operations, budget);
    }
    findings
}

impl Findings {
    fn add<M: Model>(&mut self, name: &str, model: &M, operations: &[OperationOf<M>], budget: Budget) {
        let verdict = check(model, operations, budget);
        self.objects += 1;
        self.operations += operations.len();
        self.largest = self.largest.max(operations.len());
        self.steps += verdict.steps();
        if verdict.is_linearizable() {
            return;
        }
        let violated = verdict.is_violation();
        let finding = Finding {
            object: name.to_owned(),
            text: verdict.text(model, operations),
            html: verdict.html(name, model, operations),
            verdict,
        };
        match violated {
            true => self.violations.push(finding),
            false => self.undecided.push(finding),
        }
    }

    /// Whether every object was decided, and well.
    pub fn all_is_well(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }

    /// Writes words and picture of each finding into a folder, under the object's id.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        for finding in self.violations.iter().chain(&self.undecided) {
            let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            let name: String = finding.object.chars().map(safe).collect();
            std::fs::write(folder.join(format!("{name}.txt")), &finding.text)?;
            std::fs::write(folder.join(format!("{name}.html")), &finding.html)?;
        }
        Ok(())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} objects, {} operations (at most {} on one), {} steps: {} not linearizable, {} not decided",
            self.objects,
            self.operations,
            self.largest,
            self.steps,
            self.violations.len(),
            self.undecided.len()
        )?;
        for finding in self.violations.iter().chain(&self.undecided) {
            write!(f, "\n{}: {}", finding.object, finding.text)?;
        }
        Ok(())
    }
}
