//! R43 for a part of the policy that is saved alone: the linter looks at the settings as they would be after it.
//!
//! What is wrong elsewhere does not keep a part from being saved, or no tenant could be built piece by piece: only an error of the
//! part itself refuses it, and a circle of queues that it closes. Agents may come after the rules that ask for them, so errors that
//! lean on who they are refuse nothing here. Names that lead nowhere are left to the state, which refuses those that must be
//! known by then, each with a code of its own. All of it is told.

use axum::http::StatusCode;
use routing::command::Command;
use routing::ids::{CalendarId, Millis, QueueId, SkillName};
use routing::settings::{Calendar, CalendarSettings, Classification, Policy, QueueSettings, RoutingSettings, Rule};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::policy::{setting, shown};
use crate::access::Identity;
use crate::api::caller::RequestKey;
use crate::api::model::conversation::ReceiptBody;
use crate::api::problem::{FieldProblem, Problem};
use crate::api::{ApiState, Reply};
use crate::calendars::{CalendarError, day_starts, made};
use crate::policy_lint::{Agents, Finding, Severity, Shown, Spot, Thing, lint};
use crate::wall_clock::now_ms;

/// How a part of the policy is saved.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub struct PartSaving {
    /// Saved although the linter finds errors.
    pub force: bool,
}

/// A part of the policy that was saved.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartSaved {
    /// The acknowledgement.
    #[serde(flatten)]
    pub receipt: ReceiptBody,
    /// What the linter says of it, and of the rest what it did not say before.
    pub findings: Vec<Shown>,
}

/// What is saved.
pub(super) enum Part {
    Skill(SkillName, String),
    Queue(QueueId, Box<QueueSettings>),
    Rules(Vec<Rule>, Option<Classification>),
    Calendar(CalendarId, CalendarSettings),
    Routing(RoutingSettings),
}

impl Part {
    fn is(&self, thing: &Thing) -> bool {
        match (self, thing) {
            (Self::Skill(skill, _), Thing::Skill(other)) => skill == other,
            (Self::Queue(queue, _), Thing::Queue(other)) => queue == other,
            (Self::Rules(..), Thing::Rule(..) | Thing::Fallback) => true,
            (Self::Calendar(calendar, _), Thing::Calendar(other)) => calendar == other,
            (Self::Routing(_), Thing::Routing) => true,
            _ => false,
        }
    }

    /// The policy with it. Hours and days are as they were: the linter makes its own.
    fn put_into(&self, policy: &mut Policy) {
        match self {
            Self::Skill(skill, text) => _ = policy.skills.insert(skill.clone(), text.clone()),
            Self::Queue(queue, settings) => _ = policy.queues.insert(*queue, QueueSettings::clone(settings)),
            Self::Rules(rules, fallback) => {
                policy.rules.clone_from(rules);
                policy.fallback.clone_from(fallback);
            }
            Self::Calendar(calendar, settings) => {
                policy.calendars.entry(*calendar).or_default().settings = settings.clone();
            }
            Self::Routing(settings) => policy.routing = settings.clone(),
        }
    }

    /// With its hours or days, where they are not those in force.
    fn command(self, before: &Policy, now_ms: Millis) -> Result<Command, CalendarError> {
        Ok(match self {
            Self::Skill(skill, description) => Command::PutSkill { skill, description },
            Self::Queue(queue, settings) => Command::PutQueue {
                queue,
                settings: *settings,
            },
            Self::Rules(rules, fallback) => Command::PutRules { rules, fallback },
            Self::Calendar(calendar, settings) => {
                let same = |there: &&Calendar| there.settings == settings;
                let given = match before.calendars.get(&calendar).filter(same) {
                    Some(there) => there.clone(),
                    None => made(&settings, now_ms)?,
                };
                Command::PutCalendar { calendar, given }
            }
            Self::Routing(mut settings) => {
                settings.day_starts_ms = if settings.zone == before.routing.zone {
                    before.routing.day_starts_ms.clone()
                } else {
                    day_starts(&settings.zone, now_ms)?
                };
                Command::PutRouting { settings }
            }
        })
    }

    /// Where a finding is in the body of the request.
    fn pointer(&self, spot: &Spot) -> String {
        if !self.is(&spot.thing) {
            return String::new();
        }
        let pointer = spot.pointer();
        let whole = Spot {
            thing: spot.thing.clone(),
            key: "",
            step: None,
        };
        match self {
            Self::Rules(..) => pointer,
            _ => pointer.strip_prefix(&whole.pointer()).unwrap_or_default().to_owned(),
        }
    }

    fn refused_by(&self, finding: &Finding, known: &[Finding]) -> bool {
        let closes_circle = matches!((self, &finding.spot.thing), (Self::Queue(..), Thing::Queue(_)));
        finding.severity == Severity::Error
            && !finding.code.starts_with("unknown_")
            && (self.is(&finding.spot.thing) || (closes_circle && !known.contains(finding)))
    }

    /// `alone`: what the linter says of the policy whoever its agents are.
    fn refusal(&self, alone: &[Finding], known: &[Finding]) -> Option<Problem> {
        let errors: Vec<&Finding> = alone.iter().filter(|finding| self.refused_by(finding, known)).collect();
        let first = errors.first()?;
        let mut problem = refused(format!("{}: {}", first.of, first.message));
        let field = |one: &&Finding| FieldProblem {
            pointer: self.pointer(&one.spot),
            detail: format!("{}: {}: {}", one.code, one.of, one.message),
        };
        problem.errors = errors.iter().map(field).collect();
        Some(problem)
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "policy_refused", detail)
}

/// Looks at the settings with it, and saves it.
pub(super) async fn save(
    state: &ApiState,
    identity: &Identity,
    key: RequestKey,
    saving: PartSaving,
    part: Part,
) -> Reply<PartSaved> {
    let (before, agents) = setting(state, identity.tenant).await?;
    let now_ms = now_ms();
    let mut after = before.clone();
    part.put_into(&mut after);
    let known = lint(&before, &agents, now_ms);
    let mut findings = lint(&after, &agents, now_ms);
    findings.retain(|finding| part.is(&finding.spot.thing) || !known.contains(finding));
    let alone = lint(&after, &Agents::new(), now_ms);
    if let Some(problem) = part.refusal(&alone, &known).filter(|_| !saving.force) {
        return Err(problem);
    }
    let command = part.command(&before, now_ms);
    let command = command.map_err(|error| refused(error.to_string()))?;
    let axum::Json(receipt) = state.act(identity, key, command).await?;
    Ok(axum::Json(PartSaved {
        receipt,
        findings: shown(&findings),
    }))
}
