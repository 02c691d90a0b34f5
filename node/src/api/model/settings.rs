//! Settings of a tenant: queues, agents, rules, calendars, whole policies. Durations in milliseconds; defaults are those of routing.

mod agent;
mod passing;
mod policy;
mod queue;
mod rules;
#[cfg(test)]
mod tests;

pub use agent::{AgentBody, CapacityBody, ChannelBody, MembershipBody, RateBody};
pub use passing::{
    ActionBody, EscalationBody, RelaxationBody, RingBody, RingOpensBody, ShareRuleBody, SkillChangeBody, WhenBody,
};
pub use policy::{CalendarBody, CrossQueuePolicyBody, ExceptionBody, HoursBody, PolicyBody, RoutingBody, WeeklyBody};
pub use queue::{
    AtCapBody, ChoiceBody, CrossQueueBody, NoReplyBody, OrderBody, QueueBody, ReturnBody, WhenClosedBody, WrapUpBody,
};
pub use rules::{ClassificationBody, PartBody, PreferenceBody, RequirementBody, RuleBody, RulesBody};
