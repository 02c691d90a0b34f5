//! What an operator sets for a tenant: queues, agents, skills, rules, calendars, policies. Durations in milliseconds.

mod agent;
mod classification;
mod policy;
mod queue;

pub use agent::{AgentSettings, AssignmentRate, Capacity, ChannelCapacity, Membership};
pub use classification::{Classification, Preference, Requirement, Rule, Selector, SelectorTest};
pub(crate) use policy::Replaced;
pub use policy::{
    Calendar, CalendarException, CalendarSettings, ChangedParts, CrossQueue, OpenHours, Policy, PolicyVersion,
    RoutingSettings, WeeklyHours,
};
pub use queue::{
    AgentChoice, AtCap, CrossQueueTerms, EscalateAction, EscalateWhen, Escalation, NoReply, Order, QueueSettings,
    Relaxation, ReturnWhenFull, Ring, RingOpens, Rings, ShareRule, SkillChange, WhenClosed, WrapUp,
};
