//! Which queue goes first, where an agent is free for several (R15). Each queue sends the first of its own order; these are compared.
//!
//! - Priority, then age; strict rank of the queue; longest wait; earliest deadline: what they say.
//! - Weighted: stride scheduling (C. A. Waldspurger, W. E. Weihl, "Stride scheduling: deterministic proportional-share resource
//!   management", MIT/LCS/TM-528, 1995). A queue's pass grows by 1/weight with each conversation served, and the least pass goes
//!   first. A queue that had nobody to serve begins at the pass of the last one served, so that it does not save up its share.
//!   Passes are soft: a new leader's queue manager begins with equal ones.
//! - Fixed queue ratio: I. Gurvich, W. Whitt, "Queue-and-idleness-ratio controls in many-server service systems", Mathematics of
//!   Operations Research 34(2), 2009. The queue i of greatest Qᵢ − pᵢ ΣQ, of all queues of the tenant, among those that somebody
//!   is free for; Qᵢ counts what may be offered now.
//! - Generalised cµ: A. Mandelbaum, A. L. Stolyar, "Scheduling flexible servers with convex delay costs: heavy-traffic optimality
//!   of the generalized cµ-rule", Operations Research 52(6), 2004. Greatest C′(wait) × µ with C(wait) = cost × wait² and
//!   1/µ the observed mean handling time; a queue without an observation counts with the mean of those that have one.
//!
//! What is expedited (R16, R30) comes before all of these. Ties: priority, then age. All in integers, exactly.

use std::cmp::Ordering;
use std::sync::Arc;

use super::index::{Index, Queue};
use super::order::{OrderKey, Place};
use crate::ids::Millis;
use crate::settings::{CrossQueue, RoutingSettings};
use crate::view::QueueRates;

/// Pass of a queue of weight 1 per conversation.
const STRIDE: u128 = 1 << 32;
/// Waits and handling times above this (4 000 years) count as this, so that products of three stay within 127 bits.
const SPAN_MAX_MS: Millis = 1 << 47;

/// What is the same for all queues at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// That may be offered, in all queues.
    waiting: i128,
    ratios: i128,
    /// For queues without an observation.
    handle_ms: Millis,
}

/// How strongly the first of a queue asks to be served: the greater `gain / per` first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    expedited: bool,
    gain: i128,
    /// Above 0.
    per: i128,
    across: OrderKey,
}

impl Claim {
    /// Whether this one goes before the other.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        if self.expedited || other.expedited || (self.gain, self.per) == (other.gain, other.per) {
            return self.across < other.across;
        }
        match (self.gain * other.per).cmp(&(other.gain * self.per)) {
            Ordering::Equal => self.across < other.across,
            order => order == Ordering::Greater,
        }
    }
}

impl Index {
    pub(super) fn put_routing(&mut self, settings: &Arc<RoutingSettings>) {
        self.routing = Arc::clone(settings);
    }

    pub(super) fn put_rates(&mut self, rates: &QueueRates) {
        let queue = self.queue(rates.queue);
        self.queues[queue as usize].handle_ms = rates.handle_ms;
        self.queues[queue as usize].rates = *rates;
        self.touch(queue);
    }

    /// A pass over the queues, for the policies that compare each with all.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        match self.routing.cross_queue {
            CrossQueue::FixedQueueRatio => {
                for queue in self.queues.iter().filter(|queue| queue.known) {
                    totals.waiting += i128::from(queue.listed);
                    totals.ratios += i128::from(queue.terms.ratio);
                }
            }
            CrossQueue::GeneralisedCmu => {
                let observed = self.queues.iter().map(|queue| queue.handle_ms).filter(|ms| *ms > 0);
                let (sum, count) = observed.fold((0, 0), |(sum, count), ms| (sum + u128::from(ms), count + 1));
                totals.handle_ms = u64::try_from(sum / u128::max(count, 1)).unwrap_or(u64::MAX);
            }
            _ => {}
        }
        totals
    }

    /// The claim of a queue whose first stands at `place`.
    pub(super) fn claim(&self, queue: &Queue, place: &Place, totals: &Totals, now_ms: Millis) -> Claim {
        let (gain, per) = match self.routing.cross_queue {
            CrossQueue::PriorityThenAge => (0, 1),
            CrossQueue::StrictRank => (-i128::from(queue.terms.rank), 1),
            CrossQueue::Weighted => (-(self.start_pass(queue) as i128), 1),
            CrossQueue::LongestWait => (-age(place), 1),
            CrossQueue::EarliestDeadline => (-i128::from(place.since_ms) - i128::from(queue.answer_target_ms), 1),
            CrossQueue::FixedQueueRatio => {
                let share = i128::from(queue.terms.ratio) * totals.waiting;
                (i128::from(queue.listed) * totals.ratios - share, 1)
            }
            CrossQueue::GeneralisedCmu => {
                let wait_ms = now_ms.saturating_sub(place.since_ms).min(SPAN_MAX_MS);
                let handle_ms = if queue.handle_ms > 0 {
                    queue.handle_ms
                } else {
                    totals.handle_ms
                };
                // The factor 2 of the derivative is in all of them.
                let derivative = i128::from(queue.terms.cost) * i128::from(wait_ms);
                (derivative, i128::from(handle_ms.clamp(1, SPAN_MAX_MS)))
            }
        };
        Claim {
            expedited: place.expedited,
            gain,
            per,
            across: OrderKey::across(place),
        }
    }

    /// Stride scheduling: where the queue stands, were it served now.
    fn start_pass(&self, queue: &Queue) -> u128 {
        queue.pass.max(self.pass)
    }

    /// Stride scheduling: where all stand, to be put back by [`Self::put_passes`] after a trial.
    pub(super) fn passes(&self) -> Vec<u128> {
        if self.routing.cross_queue != CrossQueue::Weighted {
            return Vec::new();
        }
        let queues = self.queues.iter().map(|queue| queue.pass);
        queues.chain([self.pass]).collect()
    }

    pub(super) fn put_passes(&mut self, mut passes: Vec<u128>) {
        if let Some(pass) = passes.pop() {
            self.pass = pass;
        }
        for (queue, pass) in self.queues.iter_mut().zip(passes) {
            queue.pass = pass;
        }
    }

    /// A conversation of the queue is served: out of turn (expedited), or because its claim was the first.
    pub(super) fn charge(&mut self, queue: u32, out_of_turn: bool) {
        if self.routing.cross_queue != CrossQueue::Weighted {
            return;
        }
        let start = self.start_pass(&self.queues[queue as usize]);
        let queue = &mut self.queues[queue as usize];
        queue.pass = start + STRIDE / u128::from(queue.terms.weight.max(1));
        if !out_of_turn {
            self.pass = start;
        }
    }
}

/// The less, the longer it has waited; earlier commands first.
fn age(place: &Place) -> i128 {
    i128::from(place.since_ms) << 64 | i128::from(place.arrival)
}

/// What the policy says in an explanation, when it is not the usual.
pub(super) fn words(cross: CrossQueue) -> Option<&'static str> {
    match cross {
        CrossQueue::PriorityThenAge => None,
        CrossQueue::StrictRank => Some("rank of the queue"),
        CrossQueue::Weighted => Some("weight of the queue"),
        CrossQueue::LongestWait => Some("longest wait of all queues"),
        CrossQueue::EarliestDeadline => Some("closest deadline of all queues"),
        CrossQueue::FixedQueueRatio => Some("queue furthest above its ratio"),
        CrossQueue::GeneralisedCmu => Some("queue where serving saves most"),
    }
}
