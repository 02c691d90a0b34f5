//! Every limit of this crate, on one page, with the relations between them asserted.

/// A message's or note's body, in bytes.
pub const BODY_MAX_BYTES: usize = 32 << 10;
/// A customer's name, in bytes.
pub const CUSTOMER_MAX_BYTES: usize = 128;
/// Any other name (queue, agent, skill, channel, reason, rule), in bytes.
pub const NAME_MAX_BYTES: usize = 64;
/// Attributes of one conversation.
pub const ATTRIBUTES_MAX: usize = 64;
/// An attribute's key, in bytes.
pub const ATTRIBUTE_KEY_MAX_BYTES: usize = 64;
/// An attribute's text value, in bytes.
pub const ATTRIBUTE_VALUE_MAX_BYTES: usize = 1024;
/// Skills that one conversation may ask for, required and preferred together.
pub const REQUIREMENTS_MAX: usize = 16;
/// Skills of one agent.
pub const AGENT_SKILLS_MAX: usize = 64;
/// Attributes of one agent.
pub const AGENT_ATTRIBUTES_MAX: usize = 32;
/// Selectors of one conversation, and values that one of them names.
pub const SELECTORS_MAX: usize = 16;
/// Queues of one agent.
pub const AGENT_QUEUES_MAX: usize = 64;
/// Lowest and highest level of a skill.
pub const SKILL_LEVELS: std::ops::RangeInclusive<u8> = 1..=10;
/// Highest priority; 0 is the lowest and the default is [`PRIORITY_DEFAULT`].
pub const PRIORITY_MAX: u8 = 9;
/// Number of priorities.
pub const PRIORITIES: usize = PRIORITY_MAX as usize + 1;
/// Priority of what no rule classifies.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Queues that one command may name, in order of admission.
pub const ADMISSION_QUEUES_MAX: usize = 8;
/// Channels that one agent's capacity may name.
pub const CHANNELS_MAX: usize = 16;
/// Steps of escalation of one queue.
pub const ESCALATIONS_MAX: usize = 8;
/// Steps of relaxation of one queue (R4).
pub const RELAXATIONS_MAX: usize = 8;
/// Rings of one queue, tier 0 not counted (R5).
pub const RINGS_MAX: usize = 7;
/// Conversations of a queue that begin anew with its escalations, relaxations and rings when those change; the oldest.
pub const REARM_MAX: usize = 10_000;
/// R6: a ring that is shared stays so for at least so long, in milliseconds, however soon its rule ends.
pub const RING_SHARED_AT_LEAST_MS: u64 = 60_000;
/// R6: a service level over fewer conversations than this lends nobody.
pub const SERVICE_LEVEL_SAMPLE_MIN: u32 = 5;
/// R35: estimates of conversations that are offered, and may wait again, that the queue manager remembers.
pub const ESTIMATES_KEPT: usize = 4_096;
/// Agents to whom one conversation is offered at once (R9).
pub const OFFERS_AT_ONCE_MAX: usize = 8;
/// Participants of one conversation beside its customer and its owner, invited ones counted (R31).
pub const PARTICIPANTS_MAX: usize = 8;
/// How long an invitation (R31) waits where the queue's offers need no answer, in milliseconds.
pub const INVITATION_MS: u64 = 20_000;
/// Highest number of new assignments in a window that a rate may name (R22).
pub const RATE_MAX: u8 = 32;
/// Conversations and agents that are matched together, at most (R41).
pub const BATCH_MAX: u8 = 64;
/// Calendars of one tenant.
pub const CALENDARS_MAX: usize = 256;
/// Weekly hours of one calendar.
pub const WEEKLY_HOURS_MAX: usize = 64;
/// Exceptions of one calendar.
pub const EXCEPTIONS_MAX: usize = 512;
/// Open intervals that one calendar may carry.
pub const OPEN_HOURS_MAX: usize = 4_096;
/// Versions of a tenant's policy that the state keeps whole.
pub const POLICY_VERSIONS_KEPT: usize = 16;
/// What a change of the policy was for, a contact for a callback, a comment with a rating, in bytes.
pub const REMARK_MAX_BYTES: usize = 512;
/// How far ahead a conversation may be scheduled, in milliseconds: a year.
pub const SCHEDULE_MAX_MS: u64 = 366 * 24 * 3_600_000;
/// How long who was put off until an agent's return waits for that agent alone, in milliseconds.
pub const RETURNED_AGENT_WAIT_MS: u64 = 60_000;
/// Highest rating (CSAT); 4 and 5 are satisfied.
pub const RATING_MAX: u8 = 5;
/// Quarter hours of KPIs that the state keeps, the current one not counted.
pub const REPORT_QUARTERS_KEPT: u64 = 4;
/// Rows of KPIs that the state keeps of one tenant; beyond them the oldest leave early.
pub const REPORT_ROWS_MAX: usize = 100_000;
/// Resolutions that the state remembers of one tenant, to count who comes back; beyond them the oldest count as not repeated.
pub const RESOLUTIONS_MAX: usize = 200_000;
/// First contact resolution: who does not come back within so long was helped, in milliseconds: seven days.
pub const REPEAT_WINDOW_MS: u64 = 7 * 24 * 3_600_000;
/// An agent's time is measured over at most so long at once, in milliseconds: a day.
pub const REPORT_SPAN_MAX_MS: u64 = 24 * 3_600_000;
/// Rules of one tenant.
pub const RULES_MAX: usize = 256;
/// Parts of one rule.
pub const RULE_PARTS_MAX: usize = 16;
/// A rule's expression, in bytes.
pub const RULE_MAX_BYTES: usize = 2048;
/// Queues, agents, skills of one tenant.
pub const QUEUES_MAX: usize = 4_096;
/// Agents of one tenant.
pub const AGENTS_MAX: usize = 100_000;
/// Skills of one tenant.
pub const SKILLS_MAX: usize = 4_096;
/// Open conversations of one tenant.
pub const CONVERSATIONS_MAX: usize = 2_000_000;
/// Answers that the state remembers per idempotency key (principal and instance).
pub const IDEMPOTENCY_WINDOW: usize = 64;
/// Windows of one principal; the one not used for longest makes room for another.
pub const WINDOWS_PER_PRINCIPAL_MAX: usize = 64;
/// How long an unused idempotency window is kept, in milliseconds.
pub const IDEMPOTENCY_KEPT_MS: u64 = 24 * 3_600_000;
/// Items of an agent's own stream that the state keeps for those who reconnect.
pub const AGENT_STREAM_WINDOW: usize = 256;
/// Best candidates that an explanation lists.
pub const EXPLAINED_CANDIDATES: usize = 5;
/// Agents that declined one conversation and are remembered.
pub const DECLINES_MAX: usize = 32;
/// Who may have a read cursor in one conversation.
pub const READERS_MAX: usize = 64;
/// How long a reopened or resumed conversation waits for its last agent alone, in milliseconds.
pub const LAST_AGENT_WAIT_MS: u64 = 30_000;
/// What decided, in the words of an explanation: three of the policy and one of a batch, each a short phrase.
pub const EXPLANATION_WORDS_MAX_BYTES: usize = 256;
/// Predicates that an explanation lists: every skill and attribute asked for, and those that are not about one.
pub const EXPLAINED_PREDICATES: usize = 48;
/// Any duration in a setting, in milliseconds: 30 days.
pub const DURATION_MAX_MS: u64 = 30 * 24 * 3_600_000;

const _: () = assert!(PRIORITY_DEFAULT <= PRIORITY_MAX);
const _: () = assert!(EXPLAINED_CANDIDATES <= 16);
const _: () = assert!(REQUIREMENTS_MAX + SELECTORS_MAX + 12 <= EXPLAINED_PREDICATES);
