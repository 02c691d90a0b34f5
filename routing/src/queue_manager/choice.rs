//! Which conversation is next, and the decision made of it and the best for it.

use std::sync::Arc;

use super::best::{self, Best, Rank};
use super::bits::Members;
use super::cross::{self, Claim, Totals};
use super::index::{Index, Queue, SharedChannel};
use super::order::{self, OrderKey, Standing};
use super::slab::NONE;
use super::waiting::Class;
use crate::command::Explanation;
use crate::ids::{AgentId, ConversationId, Millis};
use crate::limits::EXPLAINED_CANDIDATES;
use crate::settings::CrossQueue;

/// A conversation and who should get it; both are reserved.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) conversation: ConversationId,
    pub(super) agent: AgentId,
    /// R9: the next best, where the queue offers to several at once.
    pub(super) others: Box<[AgentId]>,
    pub(super) channel: SharedChannel,
    /// R22: nobody asked for them by name.
    pub(super) paced: bool,
    pub(super) explanation: Explanation,
}

/// Classes in vain, after which it pays to see what else is in vain: a look at every fresh pool.
const MISSES: u32 = 16;

impl Index {
    /// The next conversation in the order that somebody free may take, and the best for it; `None` once there is none.
    /// Those of a batch (R41) come one after the other, never more than `most`.
    pub(super) fn next_choice(&mut self, now_ms: Millis, most: usize, explained: bool) -> Option<Choice> {
        if self.batch.is_empty() && self.routing.batch_max > 1 {
            self.batch = self.next_batch(now_ms, most, explained);
        }
        if let Some(choice) = self.batch.pop_front() {
            return Some(choice);
        }
        loop {
            let Some(class) = self.first_class(now_ms) else {
                for bits in [
                    &mut self.fresh_pools,
                    &mut self.fresh_classes,
                    &mut self.reach,
                    &mut self.stuck,
                ] {
                    bits.clear();
                }
                self.misses = 0;
                return None;
            };
            let at_once = self.queues[self.queue_of_class[class as usize] as usize].at_once;
            let mut best = Best::of(at_once.max(if explained { EXPLAINED_CANDIDATES } else { 1 }));
            self.best_agents(class, &mut best);
            if !best.ranks().is_empty() {
                return self.take(class, &best, explained, now_ms);
            }
            self.in_vain(class);
        }
    }

    /// Nobody is free for the class.
    pub(super) fn in_vain(&mut self, class: u32) {
        self.stuck.insert(class);
        self.fresh_classes.remove(class);
        self.misses += 1;
        if self.misses >= MISSES {
            self.forget_out_of_reach();
        }
    }

    /// Classes of 64 that have something to offer and may have somebody free.
    pub(super) fn hopeful(&self, word: usize) -> Members {
        let may_have = self.reach.word(word) | self.fresh_classes.word(word);
        Members {
            bits: may_have & self.nonempty.word(word) & !self.stuck.word(word),
            base: word as u32 * 64,
        }
    }

    /// The class whose head is the first in the order, among those that may have somebody free. (It may turn out to have nobody:
    /// then the next call gives another.)
    pub(super) fn first_class(&mut self, now_ms: Millis) -> Option<u32> {
        let mut first = (OrderKey::LAST, NONE);
        self.queues_apart.clear();
        let all_apart = self.routing.cross_queue != CrossQueue::PriorityThenAge;
        for word in 0..self.nonempty.word_count() {
            let hopeful = self.hopeful(word).bits;
            let apart = if all_apart { u64::MAX } else { self.apart.word(word) };
            let base = word as u32 * 64;
            if hopeful & !apart != 0 && self.heads.bound(word) < first.0 {
                for class in (Members {
                    bits: hopeful & !apart,
                    base,
                }) {
                    let head = self.heads.get(class);
                    if head < first.0 {
                        first = (head, class);
                    }
                }
            }
            for class in (Members {
                bits: hopeful & apart,
                base,
            }) {
                let queue = self.queue_of_class[class as usize];
                let standing = (self.heads.get(class)).standing(&self.queues[queue as usize].order, now_ms);
                let first_of_queue = &mut self.firsts[queue as usize];
                if first_of_queue.1 == NONE {
                    self.queues_apart.push(queue);
                }
                if standing < first_of_queue.0 {
                    *first_of_queue = (standing, class);
                }
            }
        }
        self.first_among_queues(first, now_ms)
    }

    /// Keys of strict priority are the same within and across queues, and across queues is how they are compared unless the tenant
    /// wants another policy. A queue apart sends only its own first, and one that nobody is free for must not stand before the
    /// next of its queue: it is given, to be found out.
    fn first_among_queues(&mut self, common: (OrderKey, u32), now_ms: Millis) -> Option<u32> {
        let (mut hopeless, mut first) = (None, None);
        let mut class_of_first = common.1;
        let totals = self.totals();
        if common.1 != NONE {
            first = self.claim_of(common.1, &totals, now_ms);
        }
        for &queue in &self.queues_apart {
            let (_, class) = std::mem::replace(&mut self.firsts[queue as usize], (Standing::LAST, NONE));
            if !self.has_somebody(class) {
                hopeless = Some(class);
                continue;
            }
            let claim = self.claim_of(class, &totals, now_ms);
            if let Some(claim) = claim
                && first.as_ref().is_none_or(|first| claim.is_before(first))
            {
                (first, class_of_first) = (Some(claim), class);
            }
        }
        hopeless.or((class_of_first != NONE).then_some(class_of_first))
    }

    fn claim_of(&self, class: u32, totals: &Totals, now_ms: Millis) -> Option<Claim> {
        let (_, slot) = self.classes[class].order.first()?;
        let queue = &self.queues[self.queue_of_class[class as usize] as usize];
        Some(self.claim(queue, &self.waiting[*slot].place(), totals, now_ms))
    }

    fn has_somebody(&self, handle: u32) -> bool {
        let class = &self.classes[handle];
        let spec = &self.specs[class.key.spec];
        if let Some(only) = class.key.only {
            return self.only_agent(class, spec, only).is_some();
        }
        if class.key.excluded.is_empty() {
            return spec.row.meets(&self.free_pools);
        }
        let mut pools = spec.row.iter_both(&self.free_pools);
        pools.any(|pool| {
            let mut free = self.pools[pool].by_idle.iter();
            free.any(|(_, id, _)| !class.excludes(*id))
        })
    }

    /// Reserves the head of the class, and room for it at each to whom it is offered.
    fn take(&mut self, handle: u32, best: &Best, explained: bool, now_ms: Millis) -> Option<Choice> {
        let class = &self.classes[handle];
        let spec = &self.specs[class.key.spec];
        let queue_handle = spec.key.queue as usize;
        let &(_, slot) = class.order.first()?;
        let at_once = best.ranks().len().min(self.queues[queue_handle].at_once);
        let (&first, others) = best.ranks()[..at_once].split_first()?;
        let explanation = if explained {
            self.explanation(slot, best.ranks(), now_ms)
        } else {
            Explanation::default()
        };
        let channel = Arc::clone(&spec.key.channel);
        self.charge(queue_handle as u32, self.waiting[slot].expedited);
        let class = &self.classes[handle];
        let paced = class.key.only.is_none();
        if paced {
            // The turn has gone round to the last of them.
            self.queues[queue_handle].last_turn = Some(others.last().unwrap_or(&first).id);
        }
        self.pop_head(handle);
        let waiting = &mut self.waiting[slot];
        waiting.proposed = true;
        let conversation = waiting.conversation;
        for rank in &best.ranks()[..at_once] {
            self.reserve_for(rank.agent, &channel, paced);
        }
        Some(Choice {
            conversation,
            agent: first.id,
            others: others.iter().map(|rank| rank.id).collect(),
            channel,
            paced,
            explanation,
        })
    }

    pub(super) fn explanation(&self, slot: u32, best: &[Rank], now_ms: Millis) -> Explanation {
        let waiting = &self.waiting[slot];
        let class = &self.classes[waiting.class];
        let spec = &self.specs[class.key.spec];
        let queue = &self.queues[spec.key.queue as usize];
        let counts = self.count(class);
        Explanation {
            policy_version: self.policy_version,
            considered: counts.considered,
            removed: counts.removed(spec),
            best: (best.iter().take(EXPLAINED_CANDIDATES))
                .map(|r| (r.id, r.score(queue.choice, now_ms)))
                .collect(),
            tie_break: self.words(class, queue),
            estimate: waiting.remembered.estimate(),
            ..Explanation::default()
        }
    }

    /// What decided, in words: among queues, within the queue, among agents.
    fn words(&self, class: &Class, queue: &Queue) -> String {
        let among_agents = if class.key.only.is_some() {
            "preferred agent"
        } else {
            best::words(queue.choice)
        };
        let mut all = String::new();
        for before in [cross::words(self.routing.cross_queue), order::words(&queue.order)]
            .into_iter()
            .flatten()
        {
            all.push_str(before);
            all.push_str("; ");
        }
        all.push_str(among_agents);
        all
    }

    /// After some classes were found to have nobody: what else the pools that ran empty have taken with them.
    fn forget_out_of_reach(&mut self) {
        self.misses = 0;
        self.reach.clear();
        for pool in self.fresh_pools.iter() {
            self.reach.add_all(&self.pools[pool].row);
        }
        for word in 0..self.fresh_classes.word_count() {
            for class in (Members {
                bits: self.fresh_classes.word(word),
                base: word as u32 * 64,
            }) {
                let key = &self.classes[class].key;
                if key.only.is_none() && !self.specs[key.spec].row.meets(&self.free_pools) {
                    self.fresh_classes.remove(class);
                }
            }
        }
    }
}
