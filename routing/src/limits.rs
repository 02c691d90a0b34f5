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
/// Queues of one agent.
pub const AGENT_QUEUES_MAX: usize = 64;
/// Lowest and highest level of a skill.
pub const SKILL_LEVELS: std::ops::RangeInclusive<u8> = 1..=10;
/// Highest priority; 0 is the lowest and the default is [`PRIORITY_DEFAULT`].
pub const PRIORITY_MAX: u8 = 9;
/// Priority of what no rule classifies.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Queues that one command may name, in order of admission.
pub const ADMISSION_QUEUES_MAX: usize = 8;
/// Channels that one agent's capacity may name.
pub const CHANNELS_MAX: usize = 16;
/// Steps of escalation of one queue.
pub const ESCALATIONS_MAX: usize = 8;
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
/// Predicates that an explanation lists.
pub const EXPLAINED_PREDICATES: usize = 32;
/// Any duration in a setting, in milliseconds: 30 days.
pub const DURATION_MAX_MS: u64 = 30 * 24 * 3_600_000;

const _: () = assert!(PRIORITY_DEFAULT <= PRIORITY_MAX);
const _: () = assert!(EXPLAINED_CANDIDATES <= 16);
