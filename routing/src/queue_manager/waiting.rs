//! Conversations that wait, in classes of those that ask for the same.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::bits::BitSet;
use super::hashing::IdMap;
use super::index::{Index, Relation, SharedChannel};
use super::order::{self, OrderKey, Place};
use super::slab::NONE;
use crate::command::WaitEstimate;
use crate::ids::{AgentId, ConversationId, Millis};
use crate::limits::ESTIMATES_KEPT;
use crate::settings::{Order, Requirement, Selector};
use crate::view::Demand;

/// Empty classes that are kept beyond the number of filled ones: what empties and fills again costs nothing.
const EMPTY_CLASSES_KEPT: usize = 256;

/// A conversation that waits. Kept small: there may be a million.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) conversation: ConversationId,
    pub(super) since_ms: Millis,
    pub(super) arrival: u64,
    pub(super) class: u32,
    /// Of it so far.
    pub(super) offers: u32,
    pub(super) priority: u8,
    pub(super) expedited: bool,
    /// R32: the customer is gone.
    pub(super) held: bool,
    /// An offer of it is on its way.
    pub(super) proposed: bool,
    /// An offer of it was refused, and nothing has been heard since.
    pub(super) resting: bool,
    /// R35: what was estimated when it began to wait.
    pub(super) remembered: Remembered,
}

/// R35: an estimate that is kept to be measured by. Kept small: there may be a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Remembered {
    /// It began to wait before this queue manager did, or nothing could be said.
    #[default]
    Nothing,
    /// It has just come: not estimated yet. Who is offered at once waits for nothing.
    New,
    Estimate {
        p50_ms: u32,
        p90_ms: u32,
    },
}

impl From<Option<WaitEstimate>> for Remembered {
    fn from(estimate: Option<WaitEstimate>) -> Self {
        let short = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
        estimate.map_or(Self::Nothing, |estimate| Self::Estimate {
            p50_ms: short(estimate.p50_ms),
            p90_ms: short(estimate.p90_ms),
        })
    }
}

impl Remembered {
    pub(super) fn estimate(self) -> Option<WaitEstimate> {
        match self {
            Self::Nothing => None,
            Self::New => Some(WaitEstimate::default()),
            Self::Estimate { p50_ms, p90_ms } => Some(WaitEstimate {
                p50_ms: p50_ms.into(),
                p90_ms: p90_ms.into(),
            }),
        }
    }
}

/// R35: estimates of conversations that are offered, at most [`ESTIMATES_KEPT`], the oldest making room.
#[derive(Debug, Default)]
pub(super) struct KeptEstimates {
    by_conversation: IdMap<ConversationId, (u64, Remembered)>,
    in_order: VecDeque<(u64, ConversationId)>,
    last: u64,
}

impl KeptEstimates {
    fn keep(&mut self, conversation: ConversationId, remembered: Remembered) {
        self.last += 1;
        self.by_conversation.insert(conversation, (self.last, remembered));
        self.in_order.push_back((self.last, conversation));
        if self.in_order.len() > ESTIMATES_KEPT
            && let Some((number, conversation)) = self.in_order.pop_front()
            && self
                .by_conversation
                .get(&conversation)
                .is_some_and(|(kept, _)| *kept == number)
        {
            self.by_conversation.remove(&conversation);
        }
    }

    /// It waits again, or (for what it is forgotten) will not.
    pub(super) fn take(&mut self, conversation: ConversationId) -> Option<Remembered> {
        self.by_conversation
            .remove(&conversation)
            .map(|(_, remembered)| remembered)
    }
}

impl Waiting {
    pub(super) fn place(&self) -> Place {
        Place {
            expedited: self.expedited,
            priority: self.priority,
            since_ms: self.since_ms,
            arrival: self.arrival,
        }
    }

    pub(super) fn may_be_offered(&self) -> bool {
        !self.held && !self.proposed && !self.resting
    }
}

/// What conversations ask of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SpecKey {
    pub(super) queue: u32,
    pub(super) channel: SharedChannel,
    pub(super) required: Arc<[Requirement]>,
    pub(super) preferred: Arc<[Requirement]>,
    /// R3.
    pub(super) selectors: Arc<[Selector]>,
    /// R5: opened for it, as bits; what serves everybody of the queue is not in it.
    pub(super) rings: u8,
}

#[derive(Debug)]
pub(super) struct Spec {
    pub(super) key: SpecKey,
    pub(super) classes: Vec<u32>,
    /// Every profile of the queue, by handle.
    pub(super) relations: Vec<Relation>,
    /// Pools that can serve it.
    pub(super) row: BitSet,
}

/// Conversations of a spec that may be offered to the same agents. Most are of a class without constraint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassKey {
    pub(super) spec: u32,
    /// R7.
    pub(super) only: Option<AgentId>,
    /// R24; sorted.
    pub(super) excluded: Box<[AgentId]>,
    /// R13: in a queue whose order needs classes of one priority each.
    pub(super) band: Option<u8>,
}

#[derive(Debug)]
pub(super) struct Class {
    pub(super) key: ClassKey,
    /// All of it, held ones too.
    pub(super) members: u32,
    /// Those that may be offered.
    pub(super) order: BTreeSet<(OrderKey, u32)>,
}

impl Index {
    /// A conversation waits, or something of its waiting changed.
    pub(super) fn put_demand(&mut self, demand: &Demand, proposed: bool) {
        let class = self.class(demand);
        let slot = match self.waiting_of.get(&demand.conversation) {
            Some(&slot) => {
                self.delist(slot);
                self.leave_class(slot);
                slot
            }
            None => {
                let kept = self.estimates.take(demand.conversation);
                if kept.is_none() {
                    self.newcomers.push(demand.conversation);
                }
                let slot = self.waiting.insert(Waiting {
                    conversation: demand.conversation,
                    since_ms: 0,
                    arrival: 0,
                    class,
                    offers: 0,
                    priority: 0,
                    expedited: false,
                    held: false,
                    proposed: false,
                    resting: false,
                    remembered: kept.unwrap_or(Remembered::New),
                });
                self.waiting_of.insert(demand.conversation, slot);
                slot
            }
        };
        let waiting = &mut self.waiting[slot];
        waiting.since_ms = demand.since_ms;
        waiting.arrival = demand.arrival;
        waiting.offers = u32::try_from(demand.offers).unwrap_or(u32::MAX);
        waiting.priority = demand.priority;
        waiting.expedited = demand.expedited;
        waiting.held = demand.held;
        waiting.proposed = proposed;
        waiting.resting = false;
        self.join_class(slot, class);
    }

    fn join_class(&mut self, slot: u32, class: u32) {
        self.waiting[slot].class = class;
        self.classes[class].members += 1;
        self.empty_classes.remove(&class);
        self.enlist(slot);
    }

    /// Takes all of a queue out of their classes, to be put into others by [`Self::join_bands`].
    pub(super) fn leave_bands(&mut self, queue: u32) -> Vec<u32> {
        let slots = self.waiting.iter();
        let slots: Vec<u32> = slots
            .filter(|(_, waiting)| self.queue_of_class[waiting.class as usize] == queue)
            .map(|(slot, _)| slot)
            .collect();
        for &slot in &slots {
            self.delist(slot);
            self.leave_class(slot);
        }
        slots
    }

    /// Puts them into the classes that the queue's new order asks for.
    pub(super) fn join_bands(&mut self, slots: Vec<u32>) {
        for slot in slots {
            let waiting = &self.waiting[slot];
            let key = ClassKey {
                band: order::band(self.order_of(waiting.class), waiting.priority),
                ..self.classes[waiting.class].key.clone()
            };
            let class = self.class_of_key(key);
            self.join_class(slot, class);
        }
    }

    /// It waits no longer.
    pub(super) fn end_demand(&mut self, conversation: ConversationId) {
        let Some(slot) = self.waiting_of.remove(&conversation) else {
            return;
        };
        self.delist(slot);
        self.leave_class(slot);
        let remembered = self.waiting[slot].remembered;
        self.waiting.remove(slot);
        if remembered != Remembered::Nothing {
            self.estimates.keep(conversation, remembered);
        }
        if self.empty_classes.len() > EMPTY_CLASSES_KEPT + self.classes.len() / 2 {
            self.sweep_classes();
        }
    }

    /// Changes what keeps a conversation from being offered.
    pub(super) fn withhold(&mut self, conversation: ConversationId, change: impl FnOnce(&mut Waiting)) {
        if let Some(&slot) = self.waiting_of.get(&conversation) {
            self.delist(slot);
            change(&mut self.waiting[slot]);
            self.enlist(slot);
        }
    }

    fn leave_class(&mut self, slot: u32) {
        let handle = self.waiting[slot].class;
        let class = &mut self.classes[handle];
        class.members -= 1;
        if class.members == 0 {
            self.empty_classes.insert(handle);
        }
    }

    pub(super) fn order_of(&self, class: u32) -> &Order {
        &self.queues[self.queue_of_class[class as usize] as usize].order
    }

    /// Puts a conversation into its class's order, if it may be offered.
    pub(super) fn enlist(&mut self, slot: u32) {
        let waiting = &self.waiting[slot];
        if !waiting.may_be_offered() {
            return;
        }
        let class = waiting.class;
        let key = OrderKey::within(self.order_of(class), &waiting.place());
        self.classes[class].order.insert((key, slot));
        if key < self.heads.get(class) {
            self.heads.set(class, key);
        }
        self.nonempty.insert(class);
        self.fresh_classes.insert(class);
        self.list(slot, true);
    }

    /// What its queue counts.
    fn list(&mut self, slot: u32, on: bool) {
        let waiting = &self.waiting[slot];
        let handle = self.queue_of_class[waiting.class as usize];
        let queue = &mut self.queues[handle as usize];
        if on {
            queue.listed += 1;
            queue.lanes.insert(&waiting.place());
        } else {
            queue.listed -= 1;
            queue.lanes.remove(&waiting.place());
        }
        self.touch(handle);
    }

    /// Takes it out of the order, if it is there.
    pub(super) fn delist(&mut self, slot: u32) {
        let waiting = &self.waiting[slot];
        if !waiting.may_be_offered() {
            return;
        }
        let handle = waiting.class;
        let key = OrderKey::within(self.order_of(handle), &waiting.place());
        self.classes[handle].order.remove(&(key, slot));
        self.list(slot, false);
        self.renew_head(handle);
    }

    /// Takes the first out of a class's order.
    pub(super) fn pop_head(&mut self, handle: u32) {
        if let Some((_, slot)) = self.classes[handle].order.pop_first() {
            self.list(slot, false);
        }
        self.renew_head(handle);
    }

    fn renew_head(&mut self, handle: u32) {
        let class = &self.classes[handle];
        let head = class.order.first().map_or(OrderKey::LAST, |(key, _)| *key);
        if head != self.heads.get(handle) {
            self.heads.set(handle, head);
        }
        if class.order.is_empty() {
            self.nonempty.remove(handle);
        }
    }

    /// The queue's order changed.
    pub(super) fn reorder_class(&mut self, handle: u32) {
        let order = self.order_of(handle).clone();
        if order::is_common(&order) {
            self.apart.remove(handle);
        } else {
            self.apart.insert(handle);
        }
        let class = &mut self.classes[handle];
        let slots: Vec<u32> = class.order.iter().map(|(_, slot)| *slot).collect();
        class.order = slots
            .into_iter()
            .map(|slot| (OrderKey::within(&order, &self.waiting[slot].place()), slot))
            .collect();
        let head = class.order.first().map_or(OrderKey::LAST, |(key, _)| *key);
        self.heads.set(handle, head);
    }

    fn class(&mut self, demand: &Demand) -> u32 {
        let spec = self.spec(demand);
        let key = ClassKey {
            spec,
            only: demand.only,
            excluded: demand.excluded.as_slice().into(),
            band: order::band(&self.queues[self.specs[spec].key.queue as usize].order, demand.priority),
        };
        self.class_of_key(key)
    }

    fn class_of_key(&mut self, key: ClassKey) -> u32 {
        let spec = key.spec;
        if let Some(&class) = self.class_of.get(&key) {
            return class;
        }
        let class = self.classes.insert(Class {
            key: key.clone(),
            members: 0,
            order: BTreeSet::new(),
        });
        self.heads.make_room(class);
        if self.queue_of_class.len() <= class as usize {
            self.queue_of_class.resize(class as usize + 1, NONE);
        }
        self.queue_of_class[class as usize] = self.specs[spec].key.queue;
        self.empty_classes.insert(class);
        self.specs[spec].classes.push(class);
        match key.only {
            Some(agent) => self.only_classes.entry(agent).or_default().push(class),
            None => {
                for pool in self.specs[spec].row.iter() {
                    self.pools[pool].row.insert(class);
                }
            }
        }
        if !order::is_common(self.order_of(class)) {
            self.apart.insert(class);
        }
        self.class_of.insert(key, class);
        class
    }

    fn spec(&mut self, demand: &Demand) -> u32 {
        let queue = self.queue(demand.queue);
        let key = SpecKey {
            queue,
            channel: Arc::new(demand.channel.clone()),
            required: Arc::clone(&demand.required),
            preferred: Arc::clone(&demand.preferred),
            selectors: Arc::clone(&demand.selectors),
            rings: demand.rings,
        };
        if let Some(&spec) = self.spec_of.get(&key) {
            return spec;
        }
        let spec = self.specs.insert(Spec {
            key: key.clone(),
            classes: Vec::new(),
            relations: Vec::new(),
            row: BitSet::default(),
        });
        self.queues[queue as usize].specs.insert(spec);
        self.spec_of.insert(key, spec);
        self.relate_spec(spec);
        spec
    }

    /// Forgets every class that is empty, and the specs that have no class left.
    pub(super) fn sweep_classes(&mut self) {
        for handle in std::mem::take(&mut self.empty_classes) {
            let Some(class) = self.classes.remove(handle) else {
                continue;
            };
            self.class_of.remove(&class.key);
            for bits in [
                &mut self.fresh_classes,
                &mut self.reach,
                &mut self.stuck,
                &mut self.apart,
            ] {
                bits.remove(handle);
            }
            if let Some(agent) = class.key.only
                && let Some(classes) = self.only_classes.get_mut(&agent)
            {
                classes.retain(|&other| other != handle);
                if classes.is_empty() {
                    self.only_classes.remove(&agent);
                }
            }
            let spec = &mut self.specs[class.key.spec];
            for pool in spec.row.iter() {
                self.pools[pool].row.remove(handle);
            }
            spec.classes.retain(|&other| other != handle);
            if spec.classes.is_empty()
                && let Some(spec) = self.specs.remove(class.key.spec)
            {
                self.queues[spec.key.queue as usize].specs.remove(&class.key.spec);
                self.spec_of.remove(&spec.key);
            }
        }
    }
}
