//! R1, classification: ordered rules over what a conversation brings with it. Evaluated before the log; what comes out
//! is carried in the command, so that replicas replay the result and never the rule.
//!
//! A rule's `when` is a CEL expression over `attributes` (a map of the conversation's attributes), `channel` and
//! `customer` (texts). The first rule that gives `true` wins. A rule that asks for an attribute that is not there does
//! not match (`has(attributes.x)` asks first); one whose evaluation fails otherwise does not match either, and is
//! counted. Programs are bounded when they are saved ([`check`]): size, depth, and loops within loops.

mod check;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program};
use parking_lot::Mutex;
use routing::command::Value;
use routing::ids::{Channel, ConversationId, CustomerId, QueueId};
use routing::limits::{ADMISSION_QUEUES_MAX, PRIORITY_DEFAULT, REQUIREMENTS_MAX};
use routing::numbers::Numbers;
use routing::settings::{Classification, Preference, Requirement, Rule};

pub use check::{Position, RuleError, check, check_all, constant};

/// Compiled programs that are kept; past it the cache begins anew.
const PROGRAMS_KEPT: usize = 4_096;

/// What rules may look at.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The conversation's attributes.
    pub attributes: &'a BTreeMap<String, Value>,
    /// Its channel.
    pub channel: &'a Channel,
    /// Its customer.
    pub customer: &'a CustomerId,
}

/// What the start request asks for by itself; it goes over what the rules give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Instead of the rules' queues, if not empty.
    pub queues: Vec<QueueId>,
    /// Instead of the rules' priority.
    pub priority: Option<u8>,
    /// Beside the rules'; of two levels the higher counts.
    pub required: Vec<Requirement>,
    /// Beside the rules'.
    pub preferred: Vec<Requirement>,
    /// Instead of the rules'.
    pub preferred_agent: Option<Preference>,
}

/// The result of classification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// For the command.
    pub classification: Classification,
    /// Rules that failed on the way, with what went wrong.
    pub failed: Vec<(String, String)>,
}

/// Why there is no classification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassifyError {
    /// No rule matched, there is no fallback, and no queue was asked for.
    #[error("no rule matches, and the tenant has no fallback queue")]
    NothingMatches,
    /// Rules and wishes together ask for too much.
    #[error("rules and request together ask for {0} skills; at most {REQUIREMENTS_MAX} are allowed")]
    TooManyRequirements(usize),
    /// Too many queues were asked for.
    #[error("{0} queues are named; at most {ADMISSION_QUEUES_MAX} are allowed")]
    TooManyQueues(usize),
}

/// Classifies, with a cache of compiled programs. One per node.
pub struct Classifier {
    env: Arc<Env>,
    programs: Mutex<HashMap<String, Option<Arc<Program>>>>,
}

impl Default for Classifier {
    fn default() -> Self {
        Self {
            env: Arc::new(Env::stdlib()),
            programs: Mutex::default(),
        }
    }
}

/// The draw that decides between the parts of a split: it follows from the conversation's id, so that whoever classifies it again
/// finds the same part.
pub fn split_draw(conversation: ConversationId) -> u64 {
    const SPLITS: u64 = 0x73_706c_6974;
    Numbers::new(conversation.0 as u64 ^ (conversation.0 >> 64) as u64 ^ SPLITS).draw()
}

impl Classifier {
    /// Evaluates the rules in order. `draw` decides between the parts of a split: [`split_draw`].
    pub fn classify(
        &self,
        rules: &[Rule],
        fallback: Option<&Classification>,
        situation: Situation<'_>,
        wishes: &Wishes,
        draw: u64,
    ) -> Result<Classified, ClassifyError> {
        let mut failed = Vec::new();
        let context = self.context(situation);
        let mut found = None;
        for rule in rules {
            match self.matches(rule, &context) {
                Ok(true) => {
                    found = part(rule, draw).map(|part| (part, Some(rule.name.clone())));
                    break;
                }
                Ok(false) => {}
                Err(why) => failed.push((rule.name.clone(), why)),
            }
        }
        let (mut classification, rule) = match (found, fallback) {
            (Some((part, rule)), _) => (part.clone(), rule),
            (None, Some(fallback)) => (fallback.clone(), None),
            (None, None) if wishes.queues.is_empty() => return Err(ClassifyError::NothingMatches),
            (None, None) => (
                Classification {
                    priority: PRIORITY_DEFAULT,
                    ..Classification::default()
                },
                None,
            ),
        };
        classification.rule = rule;
        grant(wishes, &mut classification)?;
        Ok(Classified { classification, failed })
    }

    fn context<'v>(&self, situation: Situation<'_>) -> Context<'static, 'v> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        let attributes = situation
            .attributes
            .iter()
            .map(|(key, value)| (Key::from(key.clone()), cel_value(value)));
        let attributes: HashMap<Key, cel::Value> = attributes.collect();
        context.add_variable_from_value(
            "attributes",
            cel::Value::Map(Map {
                map: Arc::new(attributes),
            }),
        );
        context.add_variable_from_value("channel", situation.channel.0.clone());
        context.add_variable_from_value("customer", situation.customer.0.clone());
        context
    }

    fn matches(&self, rule: &Rule, context: &Context<'_, '_>) -> Result<bool, String> {
        let program = self.program(&rule.when).ok_or("it does not compile")?;
        // The interpreter is not ours: a panic in it must not take more than this rule with it.
        let result = catch_unwind(AssertUnwindSafe(|| program.execute(context)));
        match result.map_err(|_| "the interpreter panicked".to_owned())? {
            Ok(cel::Value::Bool(truth)) => Ok(truth),
            Ok(other) => Err(format!("it gives {}, not true or false", other.type_of())),
            Err(ExecutionError::NoSuchKey(_)) => Ok(false),
            Err(error) => Err(check::without_values(&error)),
        }
    }

    fn program(&self, when: &str) -> Option<Arc<Program>> {
        if let Some(known) = self.programs.lock().get(when) {
            return known.clone();
        }
        // Compiled outside the lock: a slow rule of one tenant is not everybody's.
        let program = check::compile(when).ok().map(Arc::new);
        let mut programs = self.programs.lock();
        if programs.len() >= PROGRAMS_KEPT {
            programs.clear();
        }
        programs.insert(when.to_owned(), program.clone());
        program
    }
}

/// The part of a rule that `draw` falls on.
fn part(rule: &Rule, draw: u64) -> Option<&Classification> {
    let total: u64 = rule.parts.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let mut left = draw.checked_rem(total)?;
    for (weight, classification) in &rule.parts {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => return Some(classification),
        }
    }
    None
}

fn grant(wishes: &Wishes, classification: &mut Classification) -> Result<(), ClassifyError> {
    if !wishes.queues.is_empty() {
        classification.queues = wishes.queues.clone();
    }
    if let Some(priority) = wishes.priority {
        classification.priority = priority;
    }
    if wishes.preferred_agent.is_some() {
        classification.preferred_agent = wishes.preferred_agent.clone();
    }
    merge(&mut classification.required, &wishes.required);
    merge(&mut classification.preferred, &wishes.preferred);
    let asked = classification.required.len() + classification.preferred.len();
    if asked > REQUIREMENTS_MAX {
        return Err(ClassifyError::TooManyRequirements(asked));
    }
    if classification.queues.len() > ADMISSION_QUEUES_MAX {
        return Err(ClassifyError::TooManyQueues(classification.queues.len()));
    }
    Ok(())
}

/// Adds `wished`; of two levels of a skill the higher stays. Sorted, each skill once.
fn merge(given: &mut Vec<Requirement>, wished: &[Requirement]) {
    let mut levels: BTreeMap<_, u8> = BTreeMap::new();
    for requirement in given.drain(..).chain(wished.iter().cloned()) {
        let level = levels.entry(requirement.skill).or_default();
        *level = requirement.level.max(*level);
    }
    given.extend(levels.into_iter().map(|(skill, level)| Requirement { skill, level }));
}

fn cel_value(value: &Value) -> cel::Value {
    match value {
        Value::Text(text) => text.clone().into(),
        Value::Number(number) => cel::Value::Int(*number),
        Value::Bool(truth) => cel::Value::Bool(*truth),
    }
}

#[cfg(test)]
mod tests;
