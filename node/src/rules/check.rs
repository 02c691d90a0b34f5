//! What is checked of a rule before it is saved, so that it cannot surprise when it is evaluated.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr};
use cel::{ExecutionError, Program};
use routing::ids::{Channel, CustomerId};
use routing::limits::{RULE_MAX_BYTES, RULES_MAX};
use routing::settings::{Classification, Rule};

use super::{Classifier, Situation};
use crate::toml_input::{nearest, suggestion};

/// Names that a rule may use.
const VARIABLES: [&str; 3] = ["attributes", "channel", "customer"];
/// Functions that a rule may call; operators and macros (`has`, `all`, `exists`, `exists_one`, `map`, `filter`) beside them.
const FUNCTIONS: [&str; 10] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "int",
    "uint",
    "double",
    "string",
    "type",
    "dyn",
];
/// Nodes of the syntax tree of one rule.
const NODES_MAX: usize = 1_000;

/// A place in an expression, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    /// Line of the expression.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Too long.
    #[error("the expression has {0} bytes; at most {RULE_MAX_BYTES} are allowed")]
    TooLong(usize),
    /// Not CEL.
    #[error("{position}: {message}")]
    Syntax {
        /// Where.
        position: Position,
        /// What the parser says.
        message: String,
    },
    /// A name that is no variable.
    #[error("{position}: there is no `{name}`; {right}")]
    UnknownVariable {
        /// Where.
        position: Position,
        /// The name.
        name: String,
        /// What would be right.
        right: String,
    },
    /// A function that is not there.
    #[error("{position}: there is no function `{name}`; {right}")]
    UnknownFunction {
        /// Where.
        position: Position,
        /// The name.
        name: String,
        /// What would be right.
        right: String,
    },
    /// A loop within a loop, whose cost would multiply.
    #[error("{0}: `all`, `exists`, `map` and `filter` may not stand within each other")]
    NestedLoops(Position),
    /// Too large a tree.
    #[error("the expression has more than {NODES_MAX} parts; split it into several rules")]
    TooComplex,
    /// Not a boolean.
    #[error("the expression gives {0}; a rule gives true or false, by a comparison for example")]
    NotBoolean(String),
    /// It can never be evaluated.
    #[error("the expression cannot be evaluated: {0}")]
    Failing(String),
    /// No parts, or no weight.
    #[error("a rule needs at least one part with a weight above zero")]
    NoParts,
    /// A part without a queue.
    #[error("part {0} names no queue")]
    NoQueue(usize),
    /// Two rules of one name.
    #[error("there is another rule `{0}`; names must differ, they stand in explanations")]
    DuplicateName(String),
    /// Too many.
    #[error("there are {0} rules; at most {RULES_MAX} are allowed")]
    TooMany(usize),
}

/// Checks a list as a whole. Gives every mistake, with the index of its rule (`None`: the list or the fallback).
pub fn check_all(rules: &[Rule], fallback: Option<&Classification>) -> Vec<(Option<usize>, RuleError)> {
    let mut found = Vec::new();
    if rules.len() > RULES_MAX {
        found.push((None, RuleError::TooMany(rules.len())));
    }
    if fallback.is_some_and(|fallback| fallback.queues.is_empty()) {
        found.push((None, RuleError::NoQueue(0)));
    }
    for (at, rule) in rules.iter().enumerate().take(RULES_MAX) {
        if rules[..at].iter().any(|other| other.name == rule.name) {
            found.push((Some(at), RuleError::DuplicateName(rule.name.clone())));
        }
        if let Err(error) = check(rule) {
            found.push((Some(at), error));
        }
    }
    found
}

/// Checks one rule.
pub fn check(rule: &Rule) -> Result<(), RuleError> {
    check_expression(&rule.when)?;
    if rule.parts.iter().all(|(weight, _)| *weight == 0) {
        return Err(RuleError::NoParts);
    }
    match rule
        .parts
        .iter()
        .position(|(_, classification)| classification.queues.is_empty())
    {
        Some(at) => Err(RuleError::NoQueue(at)),
        None => Ok(()),
    }
}

/// Checks an expression: compiles it, walks it, and tries it on a conversation without attributes.
pub(crate) fn check_expression(when: &str) -> Result<(), RuleError> {
    let program = compile(when)?;
    let classifier = Classifier::default();
    let (attributes, channel, customer) = (
        BTreeMap::new(),
        Channel("web_chat".to_owned()),
        CustomerId("customer".to_owned()),
    );
    let situation = Situation {
        attributes: &attributes,
        channel: &channel,
        customer: &customer,
    };
    let context = classifier.context(situation);
    let result = catch_unwind(AssertUnwindSafe(|| program.execute(&context)));
    match result.map_err(|_| RuleError::Failing("the interpreter panicked".to_owned()))? {
        // An attribute that is not there is what most rules meet here.
        Ok(cel::Value::Bool(_)) | Err(ExecutionError::NoSuchKey(_)) => Ok(()),
        Ok(other) => Err(RuleError::NotBoolean(other.type_of().to_string())),
        Err(error) => Err(RuleError::Failing(without_values(&error))),
    }
}

/// The value of an expression that looks at nothing of the conversation.
pub fn constant(when: &str) -> Option<bool> {
    let program = compile(when).ok()?;
    if program
        .references()
        .variables()
        .iter()
        .any(|name| VARIABLES.contains(name))
    {
        return None;
    }
    let context = cel::Context::default();
    match catch_unwind(AssertUnwindSafe(|| program.execute(&context))).ok()? {
        Ok(cel::Value::Bool(value)) => Some(value),
        _ => None,
    }
}

/// Compiles an expression and walks its tree.
pub(super) fn compile(when: &str) -> Result<Program, RuleError> {
    if when.len() > RULE_MAX_BYTES {
        return Err(RuleError::TooLong(when.len()));
    }
    let parsed = catch_unwind(AssertUnwindSafe(|| Program::compile(when)));
    let start = Position { line: 1, column: 1 };
    let program = match parsed {
        Ok(Ok(program)) => program,
        Ok(Err(errors)) => {
            let place = |at: (isize, isize)| Position {
                line: at.0.max(1) as usize,
                column: at.1.max(1) as usize,
            };
            let first = errors.errors.first();
            let position = first.map_or(start, |error| place(error.pos));
            let message = first.map_or_else(|| "not an expression".to_owned(), |error| error.msg.clone());
            return Err(RuleError::Syntax { position, message });
        }
        Err(_) => {
            return Err(RuleError::Syntax {
                position: start,
                message: "the parser panicked".to_owned(),
            });
        }
    };
    Walk {
        program: &program,
        when,
        nodes: 0,
        bound: Vec::new(),
        loops: 0,
    }
    .expr(program.expression())?;
    Ok(program)
}

/// What went wrong in an evaluation, without the values that it went wrong with: they are customers' data.
pub(super) fn without_values(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::UndeclaredReference(name) => format!("there is no `{name}`"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("{expected} arguments are wanted, {actual} given")
        }
        ExecutionError::UnexpectedType { got, want } => format!("{got} is given, {want} is wanted"),
        ExecutionError::NotSupportedAsMethod { method, .. } => format!("`{method}` cannot be called on this"),
        ExecutionError::FunctionError { function, .. } => format!("`{function}` failed"),
        ExecutionError::ValuesNotComparable(..) => "values of different types are compared".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(operator, ..) => format!("overflow of `{operator}`"),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".to_owned(),
        _ => "types do not fit".to_owned(),
    }
}

struct Walk<'a> {
    program: &'a Program,
    when: &'a str,
    nodes: usize,
    bound: Vec<&'a str>,
    loops: usize,
}

impl<'a> Walk<'a> {
    fn position(&self, id: u64) -> Position {
        let offset = self
            .program
            .source_info()
            .offset_for(id)
            .map_or(0, |(start, _)| start as usize);
        let before: String = self.when.chars().take(offset).collect();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn expr(&mut self, node: &'a IdedExpr) -> Result<(), RuleError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(RuleError::TooComplex);
        }
        match &node.expr {
            Expr::Ident(name) => self.ident(node.id, name),
            Expr::Call(call) => {
                self.function(node.id, &call.func_name)?;
                call.target
                    .iter()
                    .map(AsRef::as_ref)
                    .chain(&call.args)
                    .try_for_each(|part| self.expr(part))
            }
            Expr::Select(select) => self.expr(&select.operand),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.expr(element)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => {
                let (position, name) = (self.position(node.id), made.type_name.clone());
                let right = "rules make no structures".to_owned();
                Err(RuleError::UnknownFunction { position, name, right })
            }
            Expr::Comprehension(looped) => self.comprehension(node.id, looped),
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr) -> Result<(), RuleError> {
        match entry {
            EntryExpr::StructField(field) => self.expr(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expr(&entry.key)?;
                self.expr(&entry.value)
            }
        }
    }

    fn comprehension(&mut self, id: u64, looped: &'a ComprehensionExpr) -> Result<(), RuleError> {
        if self.loops > 0 {
            return Err(RuleError::NestedLoops(self.position(id)));
        }
        self.loops += 1;
        self.expr(&looped.iter_range)?;
        self.expr(&looped.accu_init)?;
        let before = self.bound.len();
        self.bound.extend([looped.iter_var.as_str(), looped.accu_var.as_str()]);
        self.bound.extend(looped.iter_var2.as_deref());
        for part in [&looped.loop_cond, &looped.loop_step, &looped.result] {
            self.expr(part)?;
        }
        self.bound.truncate(before);
        self.loops -= 1;
        Ok(())
    }

    fn ident(&self, id: u64, name: &str) -> Result<(), RuleError> {
        const TYPES: [&str; 8] = ["bool", "bytes", "double", "int", "list", "map", "string", "uint"];
        if self.bound.contains(&name) || VARIABLES.contains(&name) || TYPES.contains(&name) || name == "null_type" {
            return Ok(());
        }
        let right = match nearest(name, VARIABLES) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!(
                "an attribute is written `attributes.{name}`; known are {}",
                VARIABLES.join(", ")
            ),
        };
        Err(RuleError::UnknownVariable {
            position: self.position(id),
            name: name.to_owned(),
            right,
        })
    }

    fn function(&self, id: u64, name: &str) -> Result<(), RuleError> {
        let operator = !name.chars().all(|c| c.is_ascii_alphanumeric());
        if operator || FUNCTIONS.contains(&name) {
            return Ok(());
        }
        let right = suggestion(name, FUNCTIONS);
        Err(RuleError::UnknownFunction {
            position: self.position(id),
            name: name.to_owned(),
            right,
        })
    }
}
