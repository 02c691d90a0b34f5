//! The matching structure: classes of conversations, profiles of agents, and who could serve whom.
//!
//! ```text
//!   conversation ∈ class ── spec (queue, channel, skills) ──┐ row: pools that can serve it
//!                                                           ├─ compatibility, a bit matrix
//!   agent ∈ profile ─── pool (profile, channel) ────────────┘ row: classes that it can serve
//! ```
//!
//! Properties, each checked against a naive quadratic oracle by the tests:
//!
//! 1. A conversation is in its class's order if, and only if, it may be offered now (not held, proposed or resting).
//! 2. An agent is in a pool's free sets if, and only if, one more conversation of that channel fits, reservations counted.
//! 3. Once [`Index::next_choice`] has said `None`, no conversation in any order has an agent who is free for it. Only what
//!    arrives (`fresh_classes`) or becomes free (`fresh_pools`) after that can change it, and only that is looked at.
//! 4. The choice made is the first of the naive order: for each queue its first conversation that somebody free may take,
//!    among those heads the first by the tenant's policy (`cross.rs`), and for it the first agent by the queue's choice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::agent::Agent;
use super::bits::BitSet;
use super::choice::Choice;
use super::hashing::IdMap;
use super::lanes::Lanes;
use super::order::{self, OrderKey, Standing};
use super::pool::Pool;
use super::profile::{Profile, ProfileKey};
use super::sharing;
use super::slab::{NONE, Slab};
use super::waiting::{Class, ClassKey, KeptEstimates, Spec, SpecKey, Waiting};
use crate::ids::{AgentId, ConversationId, Millis, QueueId};
use crate::limits::OFFERS_AT_ONCE_MAX;
use crate::settings::{AgentChoice, CrossQueueTerms, Order, QueueSettings, Rings, RoutingSettings, ShareRule};
use crate::view::{QueueRates, QueueView};

/// A queue, as matching sees it.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) id: QueueId,
    /// Told, and not ended.
    pub(super) known: bool,
    /// Targets resolved.
    pub(super) order: Order,
    pub(super) choice: AgentChoice,
    pub(super) terms: CrossQueueTerms,
    pub(super) answer_target_ms: Millis,
    /// As observed; 0: not.
    pub(super) handle_ms: Millis,
    /// R9: offered to so many at once, at least 1; 1 where nobody is asked.
    pub(super) at_once: usize,
    /// Round robin: who had the last turn. Soft: a new leader's queue manager begins with the first.
    pub(super) last_turn: Option<AgentId>,
    /// Stride scheduling: where its next turn begins. Soft, too.
    pub(super) pass: u128,
    /// Conversations that may be offered.
    pub(super) listed: u32,
    /// R5, R6: serve whatever waits here.
    pub(super) rings: Rings,
    /// The same without those that are shared.
    pub(super) rings_unshared: Rings,
    /// R6: as bits.
    pub(super) shared_rings: u8,
    /// R6: by tier.
    pub(super) share_rules: Vec<(u8, ShareRule)>,
    /// R34.
    pub(super) open: bool,
    /// R35: as observed.
    pub(super) rates: QueueRates,
    /// The same, by age.
    pub(super) lanes: Lanes,
    pub(super) settings: Arc<QueueSettings>,
    pub(super) profiles: BTreeSet<u32>,
    pub(super) specs: BTreeSet<u32>,
}

/// All indexes of one tenant.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) queues: Vec<Queue>,
    pub(super) queue_of: BTreeMap<QueueId, u32>,

    /// Queues whose rules for sharing are to be asked again.
    pub(super) touched: BTreeSet<u32>,

    pub(super) waiting: Slab<Waiting>,
    /// Began to wait since the last decision.
    pub(super) newcomers: Vec<ConversationId>,
    /// Were assigned since then.
    pub(super) answered: Vec<ConversationId>,
    /// R35: of conversations that wait no longer, but may again after an offer that came to nothing.
    pub(super) estimates: KeptEstimates,
    pub(super) waiting_of: IdMap<ConversationId, u32>,
    pub(super) specs: Slab<Spec>,
    pub(super) spec_of: BTreeMap<SpecKey, u32>,
    pub(super) classes: Slab<Class>,
    pub(super) class_of: BTreeMap<ClassKey, u32>,
    /// Classes whose conversations are for one agent alone (R7).
    pub(super) only_classes: BTreeMap<AgentId, Vec<u32>>,
    /// Classes without a conversation, to be swept.
    pub(super) empty_classes: BTreeSet<u32>,
    /// By class: the first of its order.
    pub(super) heads: Heads,
    /// By class.
    pub(super) queue_of_class: Vec<u32>,
    /// Classes whose order is not empty.
    pub(super) nonempty: BitSet,
    /// Classes of queues whose order is not comparable with other queues'.
    pub(super) apart: BitSet,
    /// What holds for all (R15, days).
    pub(super) routing: Arc<RoutingSettings>,
    /// Version of the policy in force, for explanations.
    pub(super) policy_version: u64,
    /// R41: decided, and given one by one.
    pub(super) batch: VecDeque<Choice>,
    /// Start of the day.
    pub(super) today_ms: Millis,
    /// Stride scheduling: where the last turn began.
    pub(super) pass: u128,

    pub(super) agents: Slab<Agent>,
    pub(super) agent_of: IdMap<AgentId, u32>,
    pub(super) profiles: Slab<Profile>,
    pub(super) profile_of: BTreeMap<ProfileKey, u32>,
    /// Profiles without an agent, to be swept.
    pub(super) empty_profiles: BTreeSet<u32>,
    pub(super) pools: Slab<Pool>,

    /// R22: agents to whom nothing comes of itself until then.
    pub(super) paces: BTreeSet<(Millis, AgentId)>,
    pub(super) now_ms: Millis,

    /// Pools with somebody free.
    pub(super) free_pools: BitSet,
    /// Pools that somebody became free in since the last quiet.
    pub(super) fresh_pools: BitSet,
    /// Classes that something joined since the last quiet.
    pub(super) fresh_classes: BitSet,
    /// At least the classes that a fresh pool can serve.
    pub(super) reach: BitSet,
    /// Classes found to have nobody free, since somebody became free.
    pub(super) stuck: BitSet,
    /// Classes found so since `reach` was computed.
    pub(super) misses: u32,
    /// By queue: its first class, while a first class of all is looked for.
    pub(super) firsts: Vec<(Standing, u32)>,
    /// Queues that have one.
    pub(super) queues_apart: Vec<u32>,
}

impl Index {
    /// The handle of a queue; one that was only named by others so far has default settings.
    pub(super) fn queue(&mut self, id: QueueId) -> u32 {
        if let Some(&queue) = self.queue_of.get(&id) {
            return queue;
        }
        let queue = self.queues.len() as u32;
        self.queues.push(Queue {
            id,
            known: false,
            order: Order::default(),
            choice: AgentChoice::default(),
            terms: CrossQueueTerms::default(),
            answer_target_ms: 0,
            handle_ms: 0,
            at_once: 1,
            last_turn: None,
            pass: 0,
            listed: 0,
            rings: QueueSettings::named("").rings_always(0),
            rings_unshared: QueueSettings::named("").rings_always(0),
            shared_rings: 0,
            share_rules: Vec::new(),
            open: true,
            rates: QueueRates::default(),
            lanes: Lanes::default(),
            settings: Arc::new(QueueSettings::named("")),
            profiles: BTreeSet::new(),
            specs: BTreeSet::new(),
        });
        self.firsts.push((Standing::LAST, NONE));
        self.queue_of.insert(id, queue);
        queue
    }

    /// A queue is new or changed: its classes are put in the new order, its pools get the orders that its choice needs.
    pub(super) fn put_queue(&mut self, view: &QueueView) {
        let handle = self.queue(view.queue);
        let order = order::resolved(&view.settings);
        let queue = &mut self.queues[handle as usize];
        queue.known = true;
        queue.terms = view.settings.cross_queue;
        queue.answer_target_ms = view.settings.answer_target_ms;
        let rechosen = queue.choice != view.settings.choice;
        queue.choice = view.settings.choice;
        queue.rings_unshared = view.settings.rings_always(0);
        queue.shared_rings = view.shared_rings;
        queue.share_rules = sharing::rules(&view.settings);
        queue.open = view.open;
        queue.settings = Arc::clone(&view.settings);
        let rings = view.settings.rings_always(view.shared_rings);
        let opened = std::mem::replace(&mut queue.rings, rings) != rings;
        queue.at_once = match view.settings.auto_accept {
            true => 1,
            false => usize::from(view.settings.offers_at_once).clamp(1, OFFERS_AT_ONCE_MAX),
        };
        if queue.order != order {
            self.put_order(handle, order);
        }
        if rechosen {
            let profiles: Vec<u32> = self.queues[handle as usize].profiles.iter().copied().collect();
            for profile in profiles {
                self.reorder_pools(profile);
            }
        }
        if opened {
            self.relate_anew(handle);
        }
        self.touch(handle);
    }

    /// Something changed that a rule for sharing may ask for.
    pub(super) fn touch(&mut self, queue: u32) {
        if !self.queues[queue as usize].share_rules.is_empty() {
            self.touched.insert(queue);
        }
    }

    /// Who serves the queue changed: each cell of its specs is filled anew.
    fn relate_anew(&mut self, queue: u32) {
        let specs: Vec<u32> = self.queues[queue as usize].specs.iter().copied().collect();
        for handle in specs {
            let spec = &mut self.specs[handle];
            spec.relations.clear();
            let row = std::mem::take(&mut spec.row);
            for &class in &spec.classes {
                for pool in row.iter() {
                    self.pools[pool].row.remove(class);
                }
                self.stuck.remove(class);
                if self.nonempty.contains(class) {
                    self.fresh_classes.insert(class);
                }
            }
            self.relate_spec(handle);
        }
    }

    fn put_order(&mut self, handle: u32, order: Order) {
        let queue = &self.queues[handle as usize];
        let other_bands = order::band(&queue.order, 0) != order::band(&order, 0);
        let moved = if other_bands {
            self.leave_bands(handle)
        } else {
            Vec::new()
        };
        let queue = &mut self.queues[handle as usize];
        queue.order = order;
        let specs = queue.specs.iter();
        let classes: Vec<u32> = specs.flat_map(|&spec| &self.specs[spec].classes).copied().collect();
        classes.into_iter().for_each(|class| self.reorder_class(class));
        self.join_bands(moved);
    }

    pub(super) fn end_queue(&mut self, id: QueueId) {
        if let Some(&queue) = self.queue_of.get(&id) {
            self.queues[queue as usize].known = false;
            self.queues[queue as usize].share_rules.clear();
        }
    }

    /// Who could serve a class of this spec, were they free: every profile of its queue, whether it can or not, for explanations.
    pub(super) fn relate_spec(&mut self, spec: u32) {
        let profiles: Vec<u32> = self.queues[self.specs[spec].key.queue as usize]
            .profiles
            .iter()
            .copied()
            .collect();
        for profile in profiles {
            self.relate(spec, profile);
        }
    }

    /// Fills one cell of the compatibility matrix.
    pub(super) fn relate(&mut self, spec_handle: u32, profile_handle: u32) {
        let spec = &mut self.specs[spec_handle];
        let queue = &self.queues[spec.key.queue as usize];
        let rings = queue.rings.and(spec.key.rings);
        let relation = self.profiles[profile_handle].relation(profile_handle, &spec.key, queue.id, rings);
        let at = spec.relations.partition_point(|r| r.profile < profile_handle);
        spec.relations.insert(at, relation);
        if !relation.compatible() {
            return;
        }
        spec.row.insert(relation.pool);
        let pool = &mut self.pools[relation.pool];
        for &class in spec
            .classes
            .iter()
            .filter(|&&class| self.classes[class].key.only.is_none())
        {
            pool.row.insert(class);
        }
    }

    /// A canonical picture of the indexes, for tests that compare one kept up with events with one made from views.
    pub(super) fn picture(&self) -> String {
        use std::fmt::Write as _;
        let mut lines = Vec::new();
        for (handle, class) in self.classes.iter().filter(|(_, class)| class.members > 0) {
            let spec = &self.specs[class.key.spec];
            let queue = &self.queues[spec.key.queue as usize];
            let order: Vec<_> = class
                .order
                .iter()
                .map(|(key, slot)| (key, self.waiting[*slot].conversation))
                .collect();
            let head = class.order.first().map_or(OrderKey::LAST, |(key, _)| *key);
            assert_eq!(head, self.heads.get(handle), "a head is not the first of its order");
            assert_eq!(self.nonempty.contains(handle), !class.order.is_empty());
            let mut serving = Vec::new();
            for pool in spec.row.iter() {
                let profile = &self.profiles[self.pools[pool].profile];
                assert_eq!(self.pools[pool].row.contains(handle), class.key.only.is_none());
                if profile.agents > 0 {
                    serving.push(&profile.key);
                }
            }
            serving.sort();
            lines.push(format!(
                "class {} {:?} {:?} {:?} rings {:b} only {:?} excluded {:?} band {:?}: {} members {order:?} served by {serving:?}",
                queue.id,
                spec.key.channel,
                spec.key.required,
                spec.key.preferred,
                spec.key.rings,
                class.key.only,
                class.key.excluded,
                class.key.band,
                class.members
            ));
        }
        for (handle, pool) in self.pools.iter() {
            assert_eq!(self.free_pools.contains(handle), !pool.by_idle.is_empty());
            let profile = &self.profiles[pool.profile];
            if profile.agents > 0 {
                let free: Vec<_> = pool.by_idle.iter().map(|(idle, id, _)| (idle, id)).collect();
                let by_load: Option<Vec<_>> = pool
                    .by_load
                    .as_ref()
                    .map(|set| set.iter().map(|(used, idle, id, _)| (used, idle, id)).collect());
                let by_id: Option<Vec<_>> = pool.by_id.as_ref().map(|set| set.iter().map(|(id, _)| id).collect());
                let by_today: Option<Vec<_>> = pool
                    .by_today
                    .as_ref()
                    .map(|set| set.iter().map(|(today, idle, id, _)| (today, idle, id)).collect());
                let by_slowdown: Option<Vec<_>> = (pool.by_slowdown.as_ref())
                    .map(|set| set.iter().map(|(slowdown, idle, id, _)| (slowdown, idle, id)).collect());
                let ranked: Option<Vec<_>> = (pool.ranked.as_ref()).map(|set| set.iter().map(|(id, _)| id).collect());
                lines.push(format!(
                    "pool {:?} {} of {} available, slot {}: {free:?} {by_load:?} {by_id:?} {by_today:?} {by_slowdown:?} {ranked:?}",
                    profile.key, profile.available, profile.agents, pool.slot
                ));
            }
        }
        for queue in self.queues.iter().filter(|queue| queue.known) {
            lines.push(format!(
                "queue {} {:?} {:?} at once {} {:?} {} {} {} {:?} {:?}",
                queue.id,
                queue.order,
                queue.choice,
                queue.at_once,
                queue.terms,
                queue.answer_target_ms,
                queue.handle_ms,
                queue.listed,
                queue.rings,
                queue.share_rules
            ));
        }
        lines.push(format!("{:?}, day {}", self.routing, self.today_ms));
        lines.sort();
        lines.iter().fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "{line}");
            all
        })
    }
}

/// The first of each class's order, and a bound on those of 64 classes together, so that most need not be looked at.
#[derive(Debug, Default)]
pub(super) struct Heads {
    keys: Vec<OrderKey>,
    /// By word of a bit set: the least of its keys.
    bounds: Vec<OrderKey>,
}

impl Heads {
    pub(super) fn get(&self, class: u32) -> OrderKey {
        self.keys[class as usize]
    }

    pub(super) fn bound(&self, word: usize) -> OrderKey {
        self.bounds[word]
    }

    pub(super) fn make_room(&mut self, class: u32) {
        let words = class as usize / 64 + 1;
        if words > self.bounds.len() {
            self.bounds.resize(words, OrderKey::LAST);
            self.keys.resize(words * 64, OrderKey::LAST);
        }
    }

    pub(super) fn set(&mut self, class: u32, key: OrderKey) {
        let word = class as usize / 64;
        let was = std::mem::replace(&mut self.keys[class as usize], key);
        if key <= self.bounds[word] {
            self.bounds[word] = key;
        } else if was == self.bounds[word] {
            let least = self.keys[word * 64..][..64].iter().min();
            self.bounds[word] = least.copied().unwrap_or(OrderKey::LAST);
        }
    }
}

/// How a profile stands to a spec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relation {
    pub(super) profile: u32,
    /// The profile's pool for the spec's channel.
    pub(super) pool: u32,
    pub(super) fails: Fails,
    /// Sum of the levels in the skills asked for, required and preferred.
    pub(super) score: u32,
}

impl Relation {
    pub(super) fn compatible(&self) -> bool {
        self.fails == Fails::Nothing
    }
}

/// The first predicate of a spec that a profile fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    Nothing,
    /// Their ring is not open (R5, R6).
    Ring,
    /// R3: the selector of this position.
    Selector(u8),
    /// The required skill of this position.
    Skill(u8),
    Channel,
}

/// Shared with the settings that it comes from.
pub(super) type SharedChannel = Arc<crate::ids::Channel>;
