//! What rules give (R1).

use routing::command::Value;
use routing::ids::{AgentId, QueueId, SkillName};
use routing::settings::{Classification, Preference, Requirement, Rule, Selector, SelectorTest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::model::conversation::Attribute;

/// A skill that a conversation asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequirementBody {
    /// Which.
    #[schema(example = "language.ja")]
    pub skill: String,
    /// At least this level, 1–10.
    pub level: u8,
}

impl From<RequirementBody> for Requirement {
    fn from(RequirementBody { skill, level }: RequirementBody) -> Self {
        Self {
            skill: SkillName(skill),
            level,
        }
    }
}

impl From<&Requirement> for RequirementBody {
    fn from(from: &Requirement) -> Self {
        Self {
            skill: from.skill.0.clone(),
            level: from.level,
        }
    }
}

/// R3: what an attribute of the agent must be. What an agent does not have fails all but the negative tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectorBody {
    /// Which attribute of the agent.
    #[schema(example = "site")]
    pub attribute: String,
    /// What it must be.
    pub test: TestBody,
}

/// R3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum TestBody {
    Equals(Attribute),
    NotEquals(Attribute),
    Below(i64),
    AtMost(i64),
    Above(i64),
    AtLeast(i64),
    In(Vec<Attribute>),
    NotIn(Vec<Attribute>),
}

impl From<SelectorBody> for Selector {
    fn from(SelectorBody { attribute, test }: SelectorBody) -> Self {
        let all = |values: Vec<Attribute>| values.into_iter().map(Into::into).collect();
        let test = match test {
            TestBody::Equals(value) => SelectorTest::Equals(value.into()),
            TestBody::NotEquals(value) => SelectorTest::NotEquals(value.into()),
            TestBody::Below(limit) => SelectorTest::Below(limit),
            TestBody::AtMost(limit) => SelectorTest::AtMost(limit),
            TestBody::Above(limit) => SelectorTest::Above(limit),
            TestBody::AtLeast(limit) => SelectorTest::AtLeast(limit),
            TestBody::In(values) => SelectorTest::In(all(values)),
            TestBody::NotIn(values) => SelectorTest::NotIn(all(values)),
        };
        Self { attribute, test }
    }
}

impl From<&Selector> for SelectorBody {
    fn from(from: &Selector) -> Self {
        let all = |values: &[Value]| values.iter().map(Into::into).collect();
        let test = match &from.test {
            SelectorTest::Equals(value) => TestBody::Equals(value.into()),
            SelectorTest::NotEquals(value) => TestBody::NotEquals(value.into()),
            SelectorTest::Below(limit) => TestBody::Below(*limit),
            SelectorTest::AtMost(limit) => TestBody::AtMost(*limit),
            SelectorTest::Above(limit) => TestBody::Above(*limit),
            SelectorTest::AtLeast(limit) => TestBody::AtLeast(*limit),
            SelectorTest::In(values) => TestBody::In(all(values)),
            SelectorTest::NotIn(values) => TestBody::NotIn(all(values)),
        };
        Self {
            attribute: from.attribute.clone(),
            test,
        }
    }
}

/// R7: an agent to wait for before anyone else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreferenceBody {
    /// Who.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// For so long; then anybody.
    pub wait_ms: u64,
}

/// R1: what a rule gives a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassificationBody {
    /// In order of admission: the first that admits it takes it.
    #[schema(value_type = Vec<String>)]
    pub queues: Vec<QueueId>,
    /// 0–9, 9 first.
    #[serde(default = "priority_default")]
    pub priority: u8,
    /// R2: needed.
    #[serde(default)]
    pub required: Vec<RequirementBody>,
    /// R2: adds to the score.
    #[serde(default)]
    pub preferred: Vec<RequirementBody>,
    /// R7.
    #[serde(default)]
    pub preferred_agent: Option<PreferenceBody>,
    /// R3: what the agent must be; all must hold.
    #[serde(default)]
    pub selectors: Vec<SelectorBody>,
}

fn priority_default() -> u8 {
    routing::limits::PRIORITY_DEFAULT
}

impl From<ClassificationBody> for Classification {
    fn from(from: ClassificationBody) -> Self {
        Self {
            queues: from.queues,
            priority: from.priority,
            required: from.required.into_iter().map(Into::into).collect(),
            preferred: from.preferred.into_iter().map(Into::into).collect(),
            preferred_agent: from
                .preferred_agent
                .map(|PreferenceBody { agent, wait_ms }| Preference { agent, wait_ms }),
            rule: None,
            selectors: from.selectors.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&Classification> for ClassificationBody {
    fn from(from: &Classification) -> Self {
        Self {
            queues: from.queues.clone(),
            priority: from.priority,
            required: from.required.iter().map(Into::into).collect(),
            preferred: from.preferred.iter().map(Into::into).collect(),
            preferred_agent: from.preferred_agent.as_ref().map(|preference| PreferenceBody {
                agent: preference.agent,
                wait_ms: preference.wait_ms,
            }),
            selectors: from.selectors.iter().map(Into::into).collect(),
        }
    }
}

/// R1: one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// Unique in the list.
    pub name: String,
    /// A CEL expression that gives true or false.
    #[schema(example = "attributes.plan == 'gold'")]
    pub when: String,
    /// One, or the parts of a split by weight.
    pub parts: Vec<PartBody>,
}

/// A part of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartBody {
    /// Weight among the parts.
    #[serde(default = "weight_default")]
    pub weight: u32,
    /// What it gives.
    pub classification: ClassificationBody,
}

fn weight_default() -> u32 {
    1
}

/// R1: all rules, first match wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RulesBody {
    /// In order.
    pub rules: Vec<RuleBody>,
    /// For what no rule matches.
    #[serde(default)]
    pub fallback: Option<ClassificationBody>,
}

impl From<RuleBody> for Rule {
    fn from(from: RuleBody) -> Self {
        Self {
            name: from.name,
            when: from.when,
            parts: from
                .parts
                .into_iter()
                .map(|part| (part.weight, part.classification.into()))
                .collect(),
        }
    }
}

impl From<&Rule> for RuleBody {
    fn from(from: &Rule) -> Self {
        let part = |(weight, classification): &(u32, Classification)| PartBody {
            weight: *weight,
            classification: classification.into(),
        };
        Self {
            name: from.name.clone(),
            when: from.when.clone(),
            parts: from.parts.iter().map(part).collect(),
        }
    }
}
