//! R35: how long a conversation will wait until it is offered, as a median and a ninth decile.
//!
//! From its place, from who is there, and from what has been observed of service and patience; never from the place alone. With s
//! busy slots, each served at rate µ, and n ahead of it who give up at rate θ each, the next departure comes at rate sµ + nθ, the one
//! after it at sµ + (n − 1)θ, …, and the last, which is its own turn, at sµ: the wait is a sum of independent exponential stages
//! (Whitt 1999, "Predicting queueing delays", Management Science 45, section 4). Mean and variance of that sum are sums of 1/rate and
//! 1/rate². Its quantiles are those of the gamma distribution of the same mean and variance, by the cube-root approximation of
//! Wilson and Hilferty (1931, "The distribution of chi-square", PNAS 17), which is within 2 % here, where the variance is never above
//! the square of the mean.
//!
//! What it takes for granted: service goes on as it was observed, agents stay, and nobody overtakes who is not here yet.
//! All in integers: stages in 2⁻²⁰ ms, ratios in 2⁻³².

use super::figures;
use super::index::Index;
use super::profile::Profile;
use super::waiting::{Remembered, Spec};
use crate::command::WaitEstimate;
use crate::ids::{ConversationId, Millis};
use crate::limits;
use crate::settings::Rings;

/// Fraction bits of a stage's mean.
const STAGE_BITS: u32 = 20;
/// Fraction bits of a ratio.
const RATIO_BITS: u32 = 32;
/// 0.9-quantile of the normal distribution, 1.2815515655, in 2⁻³².
const Z90: u128 = 5_504_222_062;
/// Stages are added one by one up to here, and then in blocks that grow with the place (midpoint rule: an error below 10⁻⁴).
const BLOCK_FROM: u64 = 64;
/// Beyond so many different demands in one queue, all of them count as rivals for the same agents.
const SPECS_MAX: usize = 64;
/// Longest stage that is told apart from for ever.
const STAGE_MAX: u128 = (limits::DURATION_MAX_MS as u128) << STAGE_BITS;

/// What the wait of one place follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Before it, for the same agents.
    pub(super) ahead: u64,
    /// Slots that serve it, in thousandths: a slot that serves other queues too counts in part.
    pub(super) slots_milli: u64,
    /// Agents with a slot to spare.
    pub(super) free: u64,
    /// Mean time that a conversation keeps a slot; 0: not observed.
    pub(super) handle_ms: u64,
    /// Mean patience; 0: nobody was seen to give up.
    pub(super) patience_ms: u64,
}

/// `None`: nobody is there, or nothing has been observed.
pub(super) fn wait(facts: &Facts) -> Option<WaitEstimate> {
    if facts.slots_milli == 0 {
        return None;
    }
    let Some(before) = facts.ahead.checked_sub(facts.free) else {
        return Some(WaitEstimate::default());
    };
    if facts.handle_ms == 0 {
        return None;
    }
    let (mut mean, mut variance) = (0u128, 0u128);
    let mut from = 0u64;
    while from <= before {
        let block = (from / (BLOCK_FROM / 2)).clamp(1, before - from + 1);
        let stage = stage(facts, from, block);
        mean += u128::from(block) * stage;
        variance += u128::from(block) * stage * stage;
        from += block;
    }
    Some(quantiles(mean, variance))
}

/// Mean of the stage in the middle of `block` stages from the one with `from` ahead.
fn stage(facts: &Facts, from: u64, block: u64) -> u128 {
    let (slots, handle) = (u128::from(facts.slots_milli), u128::from(facts.handle_ms));
    let patience = u128::from(facts.patience_ms);
    // Twice the number ahead, so that the middle of a block is whole.
    let twice_ahead = u128::from(2 * from + block - 1);
    let mean = match patience {
        0 => ((handle * 1_000) << STAGE_BITS) / slots,
        _ => ((2_000 * handle * patience) << STAGE_BITS) / (2 * slots * patience + 1_000 * handle * twice_ahead),
    };
    mean.min(STAGE_MAX)
}

/// Median and ninth decile of the gamma distribution of this mean and variance (variance ≤ mean²).
fn quantiles(mean: u128, variance: u128) -> WaitEstimate {
    let (mut short, mut square) = (mean, variance);
    while short >= 1 << 46 {
        (short, square) = (short >> 1, square >> 2);
    }
    let one = 1u128 << RATIO_BITS;
    let ninth = (square << RATIO_BITS) / (short * short).max(1) / 9;
    let root = (ninth << RATIO_BITS).isqrt();
    let at = |cube_root: u128| {
        let cube = (((cube_root * cube_root) >> RATIO_BITS) * cube_root) >> RATIO_BITS;
        let ms = (mean * cube) >> (RATIO_BITS + STAGE_BITS);
        u64::try_from(ms).unwrap_or(u64::MAX)
    };
    let centre = one.saturating_sub(ninth);
    WaitEstimate {
        p50_ms: at(centre),
        p90_ms: at(centre + ((Z90 * root) >> RATIO_BITS)),
    }
}

impl Index {
    /// Until it is offered, from now on.
    pub(super) fn estimate(&self, conversation: ConversationId, now_ms: Millis) -> Option<WaitEstimate> {
        let &slot = self.waiting_of.get(&conversation)?;
        self.estimate_slot(slot, now_ms)
    }

    fn estimate_slot(&self, slot: u32, now_ms: Millis) -> Option<WaitEstimate> {
        let spec = &self.specs[self.classes[self.waiting[slot].class].key.spec];
        let (slots_milli, free) = self.staffing(spec);
        let ahead = self.rivals(spec, self.ahead(slot, now_ms));
        wait(&self.facts(spec.key.queue, ahead, slots_milli, free))
    }

    /// Of somebody who would come to the queue's end now and ask for no skill. `rings` serve them.
    pub(super) fn estimate_for_newcomer(&self, queue: u32, rings: Rings) -> Option<WaitEstimate> {
        wait(&self.facts_for_newcomer(queue, rings))
    }

    /// The facts of [`Self::estimate_for_newcomer`].
    pub(super) fn facts_for_newcomer(&self, handle: u32, rings: Rings) -> Facts {
        let queue = &self.queues[handle as usize];
        let (mut slots_milli, mut free) = (0, 0);
        for &profile in &queue.profiles {
            let profile = &self.profiles[profile];
            let tier = profile.membership(queue.id).map(|membership| membership.tier);
            if profile.available > 0 && tier.is_some_and(|tier| rings.serve(tier)) {
                slots_milli += self.share(profile, handle, figures::slots(profile));
                let roomiest = profile.pools.iter().map(|&pool| self.pools[pool].by_idle.len()).max();
                free += roomiest.unwrap_or(0) as u64;
            }
        }
        self.facts(handle, queue.lanes.len(), slots_milli, free)
    }

    fn facts(&self, queue: u32, ahead: u64, slots_milli: u64, free: u64) -> Facts {
        let rates = &self.queues[queue as usize].rates;
        Facts {
            ahead,
            slots_milli,
            free,
            handle_ms: rates.handle_ms,
            patience_ms: rates.patience_ms,
        }
    }

    /// Slots of the available members that could serve it, in thousandths, and how many of these members are free.
    fn staffing(&self, spec: &Spec) -> (u64, u64) {
        let (mut slots_milli, mut free) = (0, 0);
        for relation in spec.relations.iter().filter(|relation| relation.compatible()) {
            let profile = &self.profiles[relation.profile];
            if profile.available > 0 {
                let slot = usize::from(self.pools[relation.pool].slot);
                slots_milli += self.share(profile, spec.key.queue, figures::slots_of(profile, slot));
                free += self.pools[relation.pool].by_idle.len() as u64;
            }
        }
        (slots_milli, free)
    }

    /// What this queue has of the slots of a profile's available agents: they serve each of their queues in proportion to what waits
    /// there.
    fn share(&self, profile: &Profile, queue: u32, slots: u32) -> u64 {
        let all = 1_000 * u64::from(profile.available) * u64::from(slots);
        if profile.queues.len() == 1 {
            return all;
        }
        let waits = |queue: u32| self.queues[queue as usize].lanes.len();
        let here = waits(queue).max(1);
        let others: u64 = profile
            .queues
            .iter()
            .filter(|&&other| other != queue)
            .map(|&other| waits(other))
            .sum();
        all * here / (here + others)
    }

    /// Of those ahead in the queue, those who need the same agents, as far as shares tell.
    fn rivals(&self, spec: &Spec, ahead: u64) -> u64 {
        let specs = &self.queues[spec.key.queue as usize].specs;
        if specs.len() == 1 || specs.len() > SPECS_MAX || ahead == 0 {
            return ahead;
        }
        let (mut rivals, mut all) = (0, 0);
        for &other in specs {
            let other = &self.specs[other];
            let members: u64 = other
                .classes
                .iter()
                .map(|&class| u64::from(self.classes[class].members))
                .sum();
            all += members;
            rivals += members * u64::from(other.row.meets(&spec.row));
        }
        // Rounded up.
        (ahead * rivals).div_ceil(all.max(1))
    }

    pub(super) fn remember(&mut self, conversation: ConversationId, remembered: Remembered) {
        if let Some(&slot) = self.waiting_of.get(&conversation) {
            self.waiting[slot].remembered = remembered;
        }
    }

    /// What has begun to wait since the last time, and has not been offered at once, gets the estimate that it will be measured by.
    pub(super) fn remember_estimates(&mut self, now_ms: Millis, explained: bool) {
        // Who was answered waits for somebody else, if ever again.
        for conversation in std::mem::take(&mut self.answered) {
            self.estimates.take(conversation);
        }
        for conversation in std::mem::take(&mut self.newcomers) {
            let Some(&slot) = self.waiting_of.get(&conversation) else {
                continue;
            };
            if self.waiting[slot].remembered == Remembered::New {
                let estimate = explained.then(|| self.estimate_slot(slot, now_ms)).flatten();
                self.waiting[slot].remembered = Remembered::from(estimate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(ahead: u64, slots: u64, handle_ms: u64, patience_ms: u64) -> Facts {
        Facts {
            ahead,
            slots_milli: slots * 1_000,
            free: 0,
            handle_ms,
            patience_ms,
        }
    }

    fn near(is: u64, wanted: u64, permille: u64) {
        assert!(is.abs_diff(wanted) * 1_000 <= wanted * permille, "{is} is not {wanted}");
    }

    #[test]
    fn the_head_of_the_queue_waits_for_one_departure() {
        // Exponential with mean 10 s: median 6931 ms, ninth decile 23026 ms.
        let next = wait(&facts(0, 6, 60_000, 0)).expect("observed");
        near(next.p50_ms, 6_931, 15);
        near(next.p90_ms, 23_026, 12);
    }

    #[test]
    fn without_impatience_it_is_an_erlang_distribution() {
        // 10 stages of 1 s: median 9.669 s, ninth decile 14.206 s.
        let tenth = wait(&facts(9, 60, 60_000, 0)).expect("observed");
        near(tenth.p50_ms, 9_669, 2);
        near(tenth.p90_ms, 14_206, 2);
    }

    #[test]
    fn who_gives_up_shortens_the_wait_of_those_behind() {
        // Rates 1/s + k × 0.1/s, k = 0..=9: mean 7.1877 s, variance 5.8047 s².
        let tenth = wait(&facts(9, 60, 60_000, 10_000)).expect("observed");
        let patient = wait(&facts(9, 60, 60_000, 0)).expect("observed");
        assert!(tenth.p90_ms < patient.p90_ms);
        near(tenth.p50_ms, 6_920, 10);
        near(tenth.p90_ms, 10_390, 15);
    }

    #[test]
    fn blocks_of_stages_add_up_as_single_ones_do() {
        let crowd = facts(100_000, 60, 60_000, 30_000);
        // Stages of 1,000 ms / (1 + k / 30), added up in millionths.
        let mean_ms = (0..=100_000u64).map(|k| 30_000_000_000 / (30 + k)).sum::<u64>() / 1_000_000;
        near(wait(&crowd).expect("observed").p50_ms, mean_ms, 5);
    }

    #[test]
    fn nothing_is_said_of_what_nobody_serves_or_knows_and_free_slots_mean_now() {
        assert_eq!(wait(&facts(3, 0, 60_000, 0)), None);
        assert_eq!(wait(&facts(3, 2, 0, 0)), None);
        let free = Facts {
            free: 4,
            ..facts(3, 5, 0, 0)
        };
        assert_eq!(wait(&free), Some(WaitEstimate::default()));
    }

    #[test]
    fn what_is_largest_does_not_overflow() {
        let most = Facts {
            ahead: limits::CONVERSATIONS_MAX as u64,
            slots_milli: 1,
            free: 0,
            handle_ms: limits::DURATION_MAX_MS,
            patience_ms: limits::DURATION_MAX_MS,
        };
        let long = wait(&most).expect("observed");
        assert!(long.p90_ms >= long.p50_ms && long.p50_ms > limits::DURATION_MAX_MS);
    }
}
