//! What can be recomputed from the rows, kept for quick answers. Never written to snapshots; rebuilt when one is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::agent::Agent;
use super::conversation::Conversation;
use super::queue::Queue;
use crate::event::Phase;
use crate::ids::{AgentId, Channel, ConversationId, CustomerId, Millis, QueueId};
use crate::settings::{Requirement, Selector};

/// Conversations per phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PhaseCounts {
    pub waiting: u32,
    pub offered: u32,
    pub assigned: u32,
    pub paused: u32,
    pub wrap_up: u32,
    pub closed: u32,
    pub scheduled: u32,
}

impl PhaseCounts {
    fn of(&mut self, phase: Phase) -> &mut u32 {
        match phase {
            Phase::Waiting => &mut self.waiting,
            Phase::Offered => &mut self.offered,
            Phase::Assigned => &mut self.assigned,
            Phase::Paused => &mut self.paused,
            Phase::WrapUp => &mut self.wrap_up,
            Phase::Closed => &mut self.closed,
            Phase::Scheduled => &mut self.scheduled,
        }
    }

    /// Waiting and offered: what the cap on a queue's length counts (R23).
    pub fn in_queue(&self) -> u32 {
        self.waiting + self.offered
    }

    /// All but the closed.
    pub fn open(&self) -> u32 {
        self.in_queue() + self.assigned + self.paused + self.wrap_up + self.scheduled
    }
}

/// One allocation for equal values, counted by the rows that hold it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interned<T: ?Sized + Ord>(BTreeMap<Arc<T>, usize>);

impl<T: ?Sized + Ord> Default for Interned<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: ?Sized + Ord> Interned<T> {
    /// The allocation of those who hold the value already, or this one.
    pub fn share(&self, value: Arc<T>) -> Arc<T> {
        self.0.get_key_value(&value).map_or(value, |(held, _)| held.clone())
    }

    fn hold(&mut self, value: &Arc<T>) {
        match self.0.get_mut(value) {
            Some(holders) => *holders += 1,
            None => _ = self.0.insert(value.clone(), 1),
        }
    }

    fn drop_one(&mut self, value: &Arc<T>) {
        if let Some(holders) = self.0.get_mut(value) {
            *holders -= 1;
            if *holders == 0 {
                self.0.remove(value);
            }
        }
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.keys()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InQueue {
    pub counts: PhaseCounts,
    /// Waiting and offered, by priority, oldest first. Without empty ones.
    pub classes: BTreeMap<u8, BTreeSet<Place>>,
}

/// Since when, tie, who.
pub(crate) type Place = (Millis, u64, ConversationId);

impl InQueue {
    /// Of all priorities.
    pub fn oldest(&self) -> Option<Place> {
        self.classes.values().filter_map(|class| class.first()).min().copied()
    }

    /// So many of the oldest of all priorities, oldest first.
    pub fn oldest_of_all(&self, most: usize) -> Vec<Place> {
        let of_each = self.classes.values().flat_map(|class| class.iter().take(most));
        let mut oldest: Vec<Place> = of_each.copied().collect();
        oldest.sort_unstable();
        oldest.truncate(most);
        oldest
    }

    fn put(&mut self, row: &Conversation) {
        let class = self.classes.entry(row.priority).or_default();
        class.insert((row.since_ms, row.arrival, row.id));
    }

    fn take(&mut self, row: &Conversation) {
        if let Some(class) = self.classes.get_mut(&row.priority) {
            class.remove(&(row.since_ms, row.arrival, row.id));
            if class.is_empty() {
                self.classes.remove(&row.priority);
            }
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub customers: BTreeSet<(Arc<CustomerId>, ConversationId)>,
    /// Whoever has to do with it: offered, owner, participant, invited, waited for until they return.
    pub owners: BTreeSet<(AgentId, ConversationId)>,
    /// R21: paused, and go on by themselves once their owner has room; of each owner the oldest first.
    pub returning: BTreeSet<(AgentId, Millis, u64, ConversationId)>,
    pub queues: BTreeMap<QueueId, InQueue>,
    pub counts: PhaseCounts,
    pub agent_names: BTreeMap<String, AgentId>,
    pub queue_names: BTreeMap<String, QueueId>,
    pub channels: Interned<Channel>,
    pub requirements: Interned<[Requirement]>,
    pub selectors: Interned<[Selector]>,
}

impl Index {
    /// Skills asked for, as rows hold them: sorted, and one allocation for equal ones.
    pub fn asks(&self, given: &[Requirement]) -> Arc<[Requirement]> {
        let mut sorted = given.to_vec();
        sorted.sort_unstable();
        self.requirements.share(sorted.into())
    }

    /// Each part moves only when what it is made of does: the usual command, a message in a chat, moves none.
    pub fn conversation(&mut self, before: Option<&Conversation>, after: Option<&Conversation>) {
        let place = |c: &Conversation| (c.stage.phase(), c.queue, c.since_ms, c.arrival, c.priority);
        let whose = |c: &Conversation| (c.stage.agent(), c.returns, c.since_ms, c.arrival);
        let (mut moved, mut changed_hands, mut asks_anew, mut is_another) = (true, true, true, true);
        if let (Some(a), Some(b)) = (before, after) {
            moved = place(a) != place(b);
            changed_hands = whose(a) != whose(b) || a.also_offered != b.also_offered || a.rare != b.rare;
            asks_anew = !a.requirements().zip(b.requirements()).all(|(a, b)| Arc::ptr_eq(a, b))
                || !Arc::ptr_eq(&a.selectors, &b.selectors);
            is_another = !Arc::ptr_eq(&a.customer, &b.customer) || !Arc::ptr_eq(&a.channel, &b.channel);
        }
        // All that goes before all that comes: parts of a row may stand in both.
        if let Some(row) = before {
            if moved {
                self.leave(row);
            }
            if changed_hands {
                self.disown(row);
            }
            if asks_anew {
                row.requirements().for_each(|asked| self.requirements.drop_one(asked));
                self.selectors.drop_one(&row.selectors);
            }
            if is_another {
                self.customers.remove(&(row.customer.clone(), row.id));
                self.channels.drop_one(&row.channel);
            }
        }
        let Some(row) = after else { return };
        if moved {
            self.enter(row);
        }
        if changed_hands {
            self.owners.extend(row.involved().map(|agent| (agent, row.id)));
            self.returning.extend(row.returning());
        }
        if asks_anew {
            row.requirements().for_each(|asked| self.requirements.hold(asked));
            self.selectors.hold(&row.selectors);
        }
        if is_another {
            self.customers.insert((row.customer.clone(), row.id));
            self.channels.hold(&row.channel);
        }
    }

    fn enter(&mut self, row: &Conversation) {
        *self.counts.of(row.stage.phase()) += 1;
        if let Some(queue) = row.queue {
            let queue = self.queues.entry(queue).or_default();
            *queue.counts.of(row.stage.phase()) += 1;
            if row.in_queue() {
                queue.put(row);
            }
        }
    }

    fn leave(&mut self, row: &Conversation) {
        *self.counts.of(row.stage.phase()) -= 1;
        if let Some(id) = row.queue
            && let Some(queue) = self.queues.get_mut(&id)
        {
            *queue.counts.of(row.stage.phase()) -= 1;
            if row.in_queue() {
                queue.take(row);
            }
            if queue.counts == PhaseCounts::default() {
                self.queues.remove(&id);
            }
        }
    }

    fn disown(&mut self, row: &Conversation) {
        for agent in row.involved() {
            self.owners.remove(&(agent, row.id));
        }
        if let Some(place) = row.returning() {
            self.returning.remove(&place);
        }
    }

    pub fn agent(&mut self, id: AgentId, before: Option<&Agent>, after: Option<&Agent>) {
        rename(
            &mut self.agent_names,
            id,
            before.map(|a| &*a.settings.name),
            after.map(|a| &*a.settings.name),
        );
    }

    pub fn queue(&mut self, id: QueueId, before: Option<&Queue>, after: Option<&Queue>) {
        rename(
            &mut self.queue_names,
            id,
            before.map(|q| &*q.settings.name),
            after.map(|q| &*q.settings.name),
        );
    }
}

/// Within one command a name may go from one row to another: only whoever has it loses it.
fn rename<Id: PartialEq>(names: &mut BTreeMap<String, Id>, id: Id, before: Option<&str>, after: Option<&str>) {
    if before == after {
        return;
    }
    if let Some(name) = before
        && names.get(name) == Some(&id)
    {
        names.remove(name);
    }
    if let Some(name) = after {
        names.insert(name.to_owned(), id);
    }
}
