//! What a conversation asks for, and the rules that say so (R1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::command::Value;
use crate::ids::{AgentId, QueueId, SkillName};

/// A skill that a conversation asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Requirement {
    /// Which.
    pub skill: SkillName,
    /// At least this level (1–10).
    pub level: u8,
}

/// R3: what an attribute of the agent must be. All selectors of a conversation must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Selector {
    /// Which attribute of the agent.
    pub attribute: String,
    /// What it must be.
    pub test: SelectorTest,
}

/// R3: a test of an attribute. One that the agent does not have, or that is of another kind, fails all of them but the negative ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectorTest {
    /// =
    Equals(Value),
    /// ≠
    NotEquals(Value),
    /// <
    Below(i64),
    /// ≤
    AtMost(i64),
    /// >
    Above(i64),
    /// ≥
    AtLeast(i64),
    /// One of these.
    In(Vec<Value>),
    /// None of these.
    NotIn(Vec<Value>),
}

impl Selector {
    /// Whether an agent with these attributes passes.
    pub fn holds(&self, attributes: &BTreeMap<String, Value>) -> bool {
        let is = attributes.get(&self.attribute);
        let number = |holds: fn(i64, i64) -> bool, limit: &i64| match is {
            Some(Value::Number(number)) => holds(*number, *limit),
            _ => false,
        };
        match &self.test {
            SelectorTest::Equals(value) => is == Some(value),
            SelectorTest::NotEquals(value) => is != Some(value),
            SelectorTest::Below(limit) => number(|a, b| a < b, limit),
            SelectorTest::AtMost(limit) => number(|a, b| a <= b, limit),
            SelectorTest::Above(limit) => number(|a, b| a > b, limit),
            SelectorTest::AtLeast(limit) => number(|a, b| a >= b, limit),
            SelectorTest::In(values) => is.is_some_and(|is| values.contains(is)),
            SelectorTest::NotIn(values) => is.is_none_or(|is| !values.contains(is)),
        }
    }
}

/// R7: an agent to wait for before anyone else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// Who.
    pub agent: AgentId,
    /// For so long; then anybody.
    pub wait_ms: u64,
}

/// R1: what classification gives a conversation; evaluated before the log, carried in the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classification {
    /// In order of admission: the first that admits it takes it. Never empty in a valid command.
    pub queues: Vec<QueueId>,
    /// 0–9, 9 first.
    pub priority: u8,
    /// R2: needed.
    pub required: Vec<Requirement>,
    /// R2: adds to the score.
    pub preferred: Vec<Requirement>,
    /// R7.
    pub preferred_agent: Option<Preference>,
    /// The rule that matched, for the explanation.
    pub rule: Option<String>,
    /// R3: what the agent must be.
    pub selectors: Vec<Selector>,
}

/// R1: one rule; kept in the state, evaluated in `node`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Name, unique in the list.
    pub name: String,
    /// A CEL expression over the conversation's attributes that gives a boolean.
    pub when: String,
    /// Each rule may be one part of a split: (weight, classification). One part is the usual case. Which part is
    /// taken follows from the conversation's id; the gateway finds it and records it in the command.
    pub parts: Vec<(u32, Classification)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_say_what_they_say() {
        let attributes = BTreeMap::from([
            ("site".to_owned(), Value::Text("osaka".to_owned())),
            ("years".to_owned(), Value::Number(5)),
        ]);
        let text = |text: &str| Value::Text(text.to_owned());
        let cases = [
            ("site", SelectorTest::Equals(text("osaka")), true),
            ("site", SelectorTest::Equals(text("kyoto")), false),
            ("site", SelectorTest::NotEquals(text("kyoto")), true),
            ("site", SelectorTest::In(vec![text("kyoto"), text("osaka")]), true),
            ("site", SelectorTest::NotIn(vec![text("osaka")]), false),
            ("site", SelectorTest::AtLeast(1), false),
            ("years", SelectorTest::Below(5), false),
            ("years", SelectorTest::AtMost(5), true),
            ("years", SelectorTest::Above(5), false),
            ("years", SelectorTest::AtLeast(5), true),
            ("gone", SelectorTest::Equals(text("x")), false),
            ("gone", SelectorTest::NotEquals(text("x")), true),
            ("gone", SelectorTest::In(vec![text("x")]), false),
            ("gone", SelectorTest::NotIn(vec![text("x")]), true),
            ("gone", SelectorTest::AtMost(9), false),
        ];
        for (attribute, test, expected) in cases {
            let selector = Selector {
                attribute: attribute.to_owned(),
                test,
            };
            assert_eq!(selector.holds(&attributes), expected, "{selector:?}");
        }
    }
}
