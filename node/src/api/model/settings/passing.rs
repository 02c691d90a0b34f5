//! What happens to who waits, as time passes: escalations, relaxations, rings.

use routing::ids::SkillName;
use routing::settings::{
    EscalateAction, EscalateWhen, Escalation, Relaxation, Requirement, Ring, RingOpens, ShareRule, SkillChange,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::rules::RequirementBody;
use crate::api::model::QueueRef;

/// R27: one step of escalation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EscalationBody {
    /// When.
    pub when: WhenBody,
    /// What.
    pub action: ActionBody,
}

/// When an escalation step is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenBody {
    /// The conversation has waited for so long in this queue.
    WaitedMs(u64),
    /// More than so many wait when the conversation joins.
    LongerThan(u32),
}

/// What an escalation step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionBody {
    /// Sets the priority, if it is lower.
    RaisePriority(u8),
    /// Moves the conversation to another queue.
    MoveQueue(QueueRef),
    /// Closes it with these words.
    Close(String),
    /// Asks for other skills from here on.
    Reclassify {
        /// R2: needed.
        required: Vec<RequirementBody>,
        /// R2: wished.
        preferred: Vec<RequirementBody>,
    },
}

impl From<&Escalation> for EscalationBody {
    fn from(from: &Escalation) -> Self {
        Self {
            when: match from.when {
                EscalateWhen::WaitedMs(ms) => WhenBody::WaitedMs(ms),
                EscalateWhen::LongerThan(length) => WhenBody::LongerThan(length),
            },
            action: match &from.action {
                EscalateAction::RaisePriority(priority) => ActionBody::RaisePriority(*priority),
                EscalateAction::MoveQueue(queue) => ActionBody::MoveQueue(QueueRef(*queue)),
                EscalateAction::Close { text } => ActionBody::Close(text.clone()),
                EscalateAction::Reclassify { required, preferred } => ActionBody::Reclassify {
                    required: required.iter().map(RequirementBody::from).collect(),
                    preferred: preferred.iter().map(RequirementBody::from).collect(),
                },
            },
        }
    }
}

impl From<EscalationBody> for Escalation {
    fn from(from: EscalationBody) -> Self {
        Self {
            when: match from.when {
                WhenBody::WaitedMs(ms) => EscalateWhen::WaitedMs(ms),
                WhenBody::LongerThan(length) => EscalateWhen::LongerThan(length),
            },
            action: match from.action {
                ActionBody::RaisePriority(priority) => EscalateAction::RaisePriority(priority),
                ActionBody::MoveQueue(QueueRef(queue)) => EscalateAction::MoveQueue(queue),
                ActionBody::Close(text) => EscalateAction::Close { text },
                ActionBody::Reclassify { required, preferred } => EscalateAction::Reclassify {
                    required: required.into_iter().map(Requirement::from).collect(),
                    preferred: preferred.into_iter().map(Requirement::from).collect(),
                },
            },
        }
    }
}

/// R4: one step of relaxation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RelaxationBody {
    /// After so long in this queue.
    pub after_ms: u64,
    /// Which required skill; absent: every one.
    #[serde(default)]
    pub skill: Option<String>,
    /// What becomes of it.
    pub change: SkillChangeBody,
}

/// R4: what becomes of a required skill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkillChangeBody {
    /// So many levels less are asked for, at least 1.
    LowerBy(u8),
    /// It adds to the score, and is not needed.
    Prefer,
    /// It is not asked for.
    Drop,
}

impl From<&Relaxation> for RelaxationBody {
    fn from(from: &Relaxation) -> Self {
        Self {
            after_ms: from.after_ms,
            skill: from.skill.as_ref().map(|skill| skill.0.clone()),
            change: match from.change {
                SkillChange::LowerBy(levels) => SkillChangeBody::LowerBy(levels),
                SkillChange::Prefer => SkillChangeBody::Prefer,
                SkillChange::Drop => SkillChangeBody::Drop,
            },
        }
    }
}

impl From<RelaxationBody> for Relaxation {
    fn from(from: RelaxationBody) -> Self {
        Self {
            after_ms: from.after_ms,
            skill: from.skill.map(SkillName),
            change: match from.change {
                SkillChangeBody::LowerBy(levels) => SkillChange::LowerBy(levels),
                SkillChangeBody::Prefer => SkillChange::Prefer,
                SkillChangeBody::Drop => SkillChange::Drop,
            },
        }
    }
}

/// R5, R6: a further group of agents: those whose tier is the ring's position, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RingBody {
    /// When it serves.
    pub opens: RingOpensBody,
}

/// When a ring serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RingOpensBody {
    /// R5: for each conversation, after so long in this queue.
    AfterMs(u64),
    /// R6: for all of the queue, while a rule holds.
    While(ShareRuleBody),
}

/// R6: when agents are lent to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareRuleBody {
    /// While the oldest has waited longer.
    LongestWaitAboveMs(u64),
    /// While more than so many wait.
    LengthAbove(u32),
    /// While the service level of this and the last quarter hour is below so many percent.
    ServiceLevelBelow(u8),
    /// While the estimated wait of who would come now is above this.
    EstimatedWaitAboveMs(u64),
}

impl From<&Ring> for RingBody {
    fn from(from: &Ring) -> Self {
        let opens = match from.opens {
            RingOpens::AfterMs(ms) => RingOpensBody::AfterMs(ms),
            RingOpens::While(rule) => RingOpensBody::While(match rule {
                ShareRule::LongestWaitAboveMs(ms) => ShareRuleBody::LongestWaitAboveMs(ms),
                ShareRule::LengthAbove(length) => ShareRuleBody::LengthAbove(length),
                ShareRule::ServiceLevelBelow(percent) => ShareRuleBody::ServiceLevelBelow(percent),
                ShareRule::EstimatedWaitAboveMs(ms) => ShareRuleBody::EstimatedWaitAboveMs(ms),
            }),
        };
        Self { opens }
    }
}

impl From<RingBody> for Ring {
    fn from(from: RingBody) -> Self {
        let opens = match from.opens {
            RingOpensBody::AfterMs(ms) => RingOpens::AfterMs(ms),
            RingOpensBody::While(rule) => RingOpens::While(match rule {
                ShareRuleBody::LongestWaitAboveMs(ms) => ShareRule::LongestWaitAboveMs(ms),
                ShareRuleBody::LengthAbove(length) => ShareRule::LengthAbove(length),
                ShareRuleBody::ServiceLevelBelow(percent) => ShareRule::ServiceLevelBelow(percent),
                ShareRuleBody::EstimatedWaitAboveMs(ms) => ShareRule::EstimatedWaitAboveMs(ms),
            }),
        };
        Self { opens }
    }
}
