//! Whether a history could have been made by one object that does one thing at a time, each operation at some moment between
//! its call and its return (invariant B).
//!
//! The search is Wing and Gong's, with Lowe's memory of configurations that led nowhere, in the shape that Athalye's porcupine
//! gave it: the calls and returns lie in a linked list, from which an operation is lifted when it is placed. By locality each
//! object is judged on its own: [`conversation`] and [`agent`] are the models, [`check_history`] judges all of a run.
//!
//! What is done differently, and why it may be:
//! - *Unknown operations* lie in a list of their own and are tried only when nothing else fits. Whoever is never placed never
//!   took effect. Of equal ones only the first called is tried: all that were called stay possible for ever, so it does not matter which.
//! - A configuration is remembered as (operations with an answer that are placed, state), and with it the sets of unknown ones that
//!   had been used. Who comes again having used more has nothing that the one before had not, and is turned away. So a thousand
//!   unknown operations do not make 2^1000 configurations.
//! - What only tells of the object ([`Model::observes`]) is placed without an alternative where it fits and changes nothing: to place
//!   it later would hinder others, and help nobody.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use crate::history::{Operation, Outcome};

pub mod agent;
pub mod conversation;
mod explain;
mod picture;
mod search;
mod whole;

pub use whole::{Finding, Findings, Rules, check_history};

/// What one object does, one operation at a time.
pub trait Model {
    /// All that decides what it may answer.
    type State: Clone + Eq + Hash;
    /// What is asked of it. Equal inputs with unknown outcome must be interchangeable.
    type Input: Eq + Hash;
    /// What it answers.
    type Output;

    /// Before the first operation.
    fn start(&self) -> Self::State;

    /// The states after this operation, had it been done in this state: several, where the object is free to choose; or why
    /// it cannot have been, in words. `Unknown`: how it would have been, had it taken effect.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        outcome: &Outcome<Self::Output>,
    ) -> Result<Vec<Self::State>, String>;

    /// Whether it only tells of the object: whatever can follow it can follow without it. An unknown one is then left out, and
    /// one with an answer placed without an alternative where it fits and changes nothing. No is always right, and slower.
    fn observes(&self, _input: &Self::Input, _outcome: &Outcome<Self::Output>) -> bool {
        false
    }

    /// An operation, in a few words.
    fn words(&self, input: &Self::Input, outcome: &Outcome<Self::Output>) -> String;

    /// A state, in a few words.
    fn state_words(&self, state: &Self::State) -> String;
}

/// Operations of a model.
pub type OperationOf<M> = Operation<<M as Model>::Input, <M as Model>::Output>;

/// How far to search.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// So many times at most an operation is tried in a state.
    pub steps: u64,
}

impl Default for Budget {
    fn default() -> Self {
        // Some seconds, and some hundred megabytes at worst.
        Self { steps: 3_000_000 }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Linearizable {
        /// An order, as indexes of operations. Unknown ones that are not in it need not have taken effect.
        order: Vec<usize>,
        /// What it took.
        steps: u64,
    },
    /// It is not.
    Violation(Violation),
    /// The budget is spent.
    Unknown {
        /// The longest order that was found.
        order: Vec<usize>,
        /// What it took.
        steps: u64,
    },
}

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The longest order that goes well, as indexes of operations.
    pub order: Vec<usize>,
    /// What would have to be next and fits nowhere.
    pub stuck: Vec<Stuck>,
    /// The state that the order leads to, in words.
    pub state: String,
    /// Operations with an answer that are called later.
    pub later: usize,
    /// What it took.
    pub steps: u64,
}

/// An operation that could not be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Index of the operation.
    pub operation: usize,
    /// Why not, in words.
    pub why: String,
}

/// Judges the operations of one object.
pub fn check<M: Model>(model: &M, operations: &[OperationOf<M>], budget: Budget) -> Verdict {
    search::Search::new(model, operations, budget).run()
}

impl Verdict {
    /// Whether an order of all was found.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable { .. })
    }

    /// Whether there is none.
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Violation(_))
    }

    /// The order, or the longest beginning of one.
    pub fn order(&self) -> &[usize] {
        match self {
            Self::Linearizable { order, .. } | Self::Unknown { order, .. } => order,
            Self::Violation(violation) => &violation.order,
        }
    }

    /// Times that an operation was tried in a state.
    pub fn steps(&self) -> u64 {
        match self {
            Self::Linearizable { steps, .. } | Self::Unknown { steps, .. } => *steps,
            Self::Violation(violation) => violation.steps,
        }
    }

    fn stuck(&self) -> &[Stuck] {
        match self {
            Self::Violation(violation) => &violation.stuck,
            _ => &[],
        }
    }

    /// The verdict for people: the end of the order, and what did not fit.
    pub fn text<M: Model>(&self, model: &M, operations: &[OperationOf<M>]) -> String {
        explain::text(self, model, operations)
    }

    /// A page with a picture of the operations as bars over time, and the order as a line through them. It stands alone.
    pub fn html<M: Model>(&self, title: &str, model: &M, operations: &[OperationOf<M>]) -> String {
        picture::page(self, title, model, operations)
    }
}

/// A moment of a run.
struct Moment(Duration);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
