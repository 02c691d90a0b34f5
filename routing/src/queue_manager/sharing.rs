//! R6: agents who are lent to a queue while a rule holds.
//!
//! A ring is shared as soon as its rule holds, and kept for at least [`RING_SHARED_AT_LEAST_MS`], so that what flickers does not flap.
//! Estimates for the rule leave out the agents who are lent: else lending them would end what they were lent for.

use std::collections::{BTreeMap, BTreeSet};

use super::DecisionId;
use super::index::Index;
use super::wait_estimate::wait;
use crate::ids::{Millis, QueueId};
use crate::limits::{RING_SHARED_AT_LEAST_MS, SERVICE_LEVEL_SAMPLE_MIN};
use crate::settings::{QueueSettings, RingOpens, ShareRule};

/// How long nothing is proposed again after a refusal.
const REFUSED_REST_MS: u64 = 1_000;

/// A ring, by its queue's handle and its tier.
type RingKey = (u32, u8);

/// What is known of a ring beyond the pictures. Soft: a new leader's queue manager counts the time from its own beginning.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Since when it is shared.
    since_ms: Option<Millis>,
    proposed: Option<(DecisionId, bool)>,
    not_before_ms: Millis,
}

/// A ring should be shared from now on, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) queue: QueueId,
    pub(super) handle: u32,
    pub(super) ring: u8,
    pub(super) shared: bool,
    pub(super) why: String,
}

/// Which rings should be shared, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    rings: BTreeMap<RingKey, Known>,
    wakes: BTreeSet<(Millis, u32)>,
    wake_of: BTreeMap<u32, Millis>,
}

/// Rings with a rule, by tier from 1.
pub(super) fn rules(settings: &QueueSettings) -> Vec<(u8, ShareRule)> {
    let numbered = (1..).zip(&settings.rings);
    numbered
        .filter_map(|(tier, ring)| match ring.opens {
            RingOpens::While(rule) => Some((tier, rule)),
            RingOpens::AfterMs(_) => None,
        })
        .collect()
}

impl Sharing {
    /// The next ring to share, or to share no longer. It is looked at again once [`Self::propose`] has been told.
    pub(super) fn next(&mut self, index: &mut Index, now_ms: Millis) -> Option<Share> {
        while let Some(&(due_ms, queue)) = self.wakes.first()
            && due_ms <= now_ms
        {
            self.set_wake(queue, None);
            index.touched.insert(queue);
        }
        while let Some(&queue) = index.touched.first() {
            if let Some(share) = self.look(index, queue, now_ms) {
                return Some(share);
            }
            index.touched.remove(&queue);
        }
        None
    }

    pub(super) fn next_wake_ms(&self) -> Option<Millis> {
        self.wakes.first().map(|(wake_ms, _)| *wake_ms)
    }

    fn set_wake(&mut self, queue: u32, wake_ms: Option<Millis>) {
        if let Some(before_ms) = self.wake_of.remove(&queue) {
            self.wakes.remove(&(before_ms, queue));
        }
        if let Some(wake_ms) = wake_ms {
            self.wake_of.insert(queue, wake_ms);
            self.wakes.insert((wake_ms, queue));
        }
    }

    fn look(&mut self, index: &Index, handle: u32, now_ms: Millis) -> Option<Share> {
        let queue = &index.queues[handle as usize];
        let mut wake_ms: Option<Millis> = None;
        let mut wake = |at_ms: Millis| wake_ms = Some(wake_ms.map_or(at_ms, |other_ms| other_ms.min(at_ms)));
        for &(ring, rule) in &queue.share_rules {
            let known = self.rings.entry((handle, ring)).or_default();
            let shared = queue.shared_rings >> ring & 1 == 1;
            known.since_ms = shared.then(|| known.since_ms.unwrap_or(now_ms));
            if known.proposed.is_some() {
                continue;
            }
            let (holds, why, later_ms) = index.holds(handle, rule, now_ms);
            later_ms.into_iter().for_each(&mut wake);
            let kept_until_ms = known
                .since_ms
                .map_or(0, |since_ms| since_ms.saturating_add(RING_SHARED_AT_LEAST_MS));
            let from_ms = known.not_before_ms.max(kept_until_ms);
            if holds == shared {
                continue;
            }
            if now_ms < from_ms {
                wake(from_ms);
                continue;
            }
            return Some(Share {
                queue: queue.id,
                handle,
                ring,
                shared: holds,
                why,
            });
        }
        self.set_wake(handle, wake_ms);
        None
    }

    /// It is on its way.
    pub(super) fn propose(&mut self, id: DecisionId, share: &Share) {
        self.rings.entry((share.handle, share.ring)).or_default().proposed = Some((id, share.shared));
    }

    /// A queue's picture came: which proposals it settles, and since when its rings are shared.
    pub(super) fn hear(&mut self, handle: u32, shared_rings: u8, now_ms: Millis) -> Vec<DecisionId> {
        let mut settled = Vec::new();
        for (&(_, ring), known) in self.rings.range_mut((handle, 0)..=(handle, u8::MAX)) {
            let shared = shared_rings >> ring & 1 == 1;
            known.since_ms = shared.then(|| known.since_ms.unwrap_or(now_ms));
            if let Some((id, wanted)) = known.proposed
                && wanted == shared
            {
                known.proposed = None;
                settled.push(id);
            }
        }
        settled
    }

    /// The proposal came to nothing; looked at again after a moment (`refused`), or at once.
    pub(super) fn forget(&mut self, key: RingKey, id: DecisionId, refused: bool, now_ms: Millis) {
        if let Some(known) = self.rings.get_mut(&key)
            && known.proposed.is_some_and(|(proposed, _)| proposed == id)
        {
            known.proposed = None;
            if refused {
                known.not_before_ms = now_ms.saturating_add(REFUSED_REST_MS);
            }
        }
    }
}

impl Index {
    /// Whether a rule holds, in words, and when time alone will make it hold.
    fn holds(&self, handle: u32, rule: ShareRule, now_ms: Millis) -> (bool, String, Option<Millis>) {
        let queue = &self.queues[handle as usize];
        let length = queue.lanes.len();
        let said = |holds: bool, is: String, rule: String| {
            let now = if holds { "" } else { "no longer " };
            format!("{is}, {now}{rule}")
        };
        match rule {
            ShareRule::LengthAbove(most) => {
                let holds = length > u64::from(most);
                (
                    holds,
                    said(holds, format!("{length} wait"), format!("more than {most}")),
                    None,
                )
            }
            ShareRule::LongestWaitAboveMs(most_ms) => {
                let oldest_ms = queue.lanes.oldest_since_ms();
                let wait_ms = oldest_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
                let holds = oldest_ms.is_some() && wait_ms > most_ms;
                let later_ms = oldest_ms.map(|since_ms| since_ms.saturating_add(most_ms).saturating_add(1));
                let is = format!("the oldest has waited {wait_ms} ms");
                (
                    holds,
                    said(holds, is, format!("above {most_ms} ms")),
                    later_ms.filter(|_| !holds),
                )
            }
            ShareRule::ServiceLevelBelow(percent) => {
                let (within, offered) = (queue.rates.recent_within, queue.rates.recent_offered);
                let enough = offered >= SERVICE_LEVEL_SAMPLE_MIN;
                let holds = enough && u64::from(within) * 100 < u64::from(percent) * u64::from(offered);
                let is = format!("{within} of {offered} within the target");
                (holds, said(holds, is, format!("below {percent} %")), None)
            }
            ShareRule::EstimatedWaitAboveMs(most_ms) => {
                let facts = self.facts_for_newcomer(handle, queue.rings_unshared);
                let estimate = wait(&facts);
                let nobody = facts.slots_milli == 0 && length > 0;
                let holds = nobody || estimate.is_some_and(|estimate| estimate.p50_ms > most_ms);
                let is = match estimate {
                    _ if nobody => format!("{length} wait for nobody"),
                    Some(estimate) => format!("a wait of {} ms is estimated", estimate.p50_ms),
                    None => "no wait is estimated".to_owned(),
                };
                (holds, said(holds, is, format!("above {most_ms} ms")), None)
            }
        }
    }
}
