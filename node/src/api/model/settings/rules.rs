//! What rules give (R1).

use routing::ids::{AgentId, QueueId, SkillName};
use routing::settings::{Classification, Preference, Requirement, Rule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
