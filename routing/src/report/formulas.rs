//! The formulas of the KPIs, as exact ratios.

use super::Figures;

/// One millisecond of undivided attention, in the units of [`super::Work::attention`].
pub const ATTENTION_ONE: u64 = 1 << 16;

/// A numerator and a denominator. Nothing over nothing is no ratio, not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio {
    /// Above.
    pub of: u128,
    /// Below; 0: there is nothing to tell.
    pub all: u128,
}

impl Ratio {
    /// `of` / `all`.
    pub fn new(of: impl Into<u128>, all: impl Into<u128>) -> Self {
        Self {
            of: of.into(),
            all: all.into(),
        }
    }

    /// In thousandths, rounded to the nearest; `None` of nothing.
    pub fn per_mille(self) -> Option<u64> {
        let doubled = self.of.saturating_mul(2_000).saturating_add(self.all);
        let rounded = doubled.checked_div(self.all.saturating_mul(2))?;
        Some(u64::try_from(rounded).unwrap_or(u64::MAX))
    }

    /// The mean in whole units, rounded to the nearest; `None` of nothing.
    pub fn mean(self) -> Option<u64> {
        let rounded = self.of.saturating_add(self.all / 2).checked_div(self.all)?;
        Some(u64::try_from(rounded).unwrap_or(u64::MAX))
    }
}

impl Figures {
    /// Offered: arrived here or moved here, and neither moved on nor put off.
    pub fn offered(&self) -> u64 {
        let v = &self.visits;
        v.arrived
            .saturating_add(v.moved_in)
            .saturating_sub(v.moved_out)
            .saturating_sub(v.put_off)
    }

    /// Service level of the answered only: A_T / A.
    pub fn service_level_answered(&self) -> Ratio {
        Ratio::new(self.visits.answered_within, self.visits.answered)
    }

    /// Service level, abandonment negative: A_T / (A + B).
    pub fn service_level_abandon_negative(&self) -> Ratio {
        let v = &self.visits;
        Ratio::new(v.answered_within, u128::from(v.answered) + u128::from(v.abandoned))
    }

    /// Service level, abandonment within T ignored (the default one): A_T / (A + B − B_T).
    pub fn service_level(&self) -> Ratio {
        let v = &self.visits;
        let late = v.abandoned.saturating_sub(v.abandoned_within);
        Ratio::new(v.answered_within, u128::from(v.answered) + u128::from(late))
    }

    /// Service level, abandonment within T positive: (A_T + B_T) / (A + B).
    pub fn service_level_abandon_positive(&self) -> Ratio {
        let v = &self.visits;
        Ratio::new(
            u128::from(v.answered_within) + u128::from(v.abandoned_within),
            u128::from(v.answered) + u128::from(v.abandoned),
        )
    }

    /// Average speed of answer, in milliseconds: Σ wait of the answered / A.
    pub fn average_speed_of_answer_ms(&self) -> Ratio {
        Ratio::new(self.visits.answered_wait_ms, self.visits.answered)
    }

    /// Average handling time, in milliseconds: Σ(talk + hold + wrap) / handled.
    pub fn average_handling_time_ms(&self) -> Ratio {
        let w = &self.work;
        let all = u128::from(w.talk_ms) + u128::from(w.hold_ms) + u128::from(w.wrap_ms);
        Ratio::new(all, w.handled)
    }

    /// Attention-adjusted handling time, in milliseconds: Σ∫dt/k(t) / handled.
    pub fn attention_time_ms(&self) -> Ratio {
        let all = u128::from(self.work.handled) * u128::from(ATTENTION_ONE);
        Ratio::new(self.work.attention, all)
    }

    /// Mean time to the first human reply, in milliseconds.
    pub fn first_reply_ms(&self) -> Ratio {
        Ratio::new(self.work.first_reply_ms, self.work.replied)
    }

    /// Resolved, with and without an agent.
    pub fn resolved(&self) -> u64 {
        self.work
            .resolved_by_agent
            .saturating_add(self.work.resolved_without_agent)
    }

    /// Mean time to full resolution, in milliseconds.
    pub fn full_resolution_ms(&self) -> Ratio {
        Ratio::new(self.work.resolution_ms, self.resolved())
    }

    /// Occupancy: handling / (handling + idle).
    pub fn occupancy(&self) -> Ratio {
        let t = &self.time;
        Ratio::new(t.handling_ms, u128::from(t.handling_ms) + u128::from(t.idle_ms))
    }

    /// Utilisation: ∫used capacity / ∫offered capacity.
    pub fn utilisation(&self) -> Ratio {
        Ratio::new(self.time.used_unit_ms, self.time.offered_unit_ms)
    }

    /// Mean number of conversations at once, while there is at least one.
    pub fn concurrency(&self) -> Ratio {
        Ratio::new(self.time.concurrency_ms, self.time.handling_ms)
    }

    /// Abandonment: B / offered.
    pub fn abandonment(&self) -> Ratio {
        Ratio::new(self.visits.abandoned, self.offered())
    }

    /// Abandonment without the short ones: (B − s) / (offered − s).
    pub fn abandonment_without_short(&self) -> Ratio {
        let short = self.visits.short_abandoned;
        Ratio::new(
            self.visits.abandoned.saturating_sub(short),
            self.offered().saturating_sub(short),
        )
    }

    /// First contact resolution: resolved with no repeat / resolved. Final once the repeat window is over.
    pub fn first_contact_resolution(&self) -> Ratio {
        let resolved = self.resolved();
        Ratio::new(resolved.saturating_sub(self.work.repeated), resolved)
    }

    /// CSAT: ratings of 4 and 5 / ratings.
    pub fn satisfaction(&self) -> Ratio {
        Ratio::new(self.work.satisfied, self.work.ratings)
    }

    /// Resolution by agents: resolved and answered / closed.
    pub fn resolution_by_agent(&self) -> Ratio {
        Ratio::new(self.work.resolved_by_agent, self.work.closed)
    }

    /// Resolution without an agent: resolved and not answered / closed.
    pub fn resolution_without_agent(&self) -> Ratio {
        Ratio::new(self.work.resolved_without_agent, self.work.closed)
    }

    /// Offers that ended by the agent's doing; what was withdrawn or taken by another is not theirs.
    fn offers_ended(&self) -> u128 {
        let w = &self.work;
        u128::from(w.offers_accepted) + u128::from(w.offers_declined) + u128::from(w.offers_expired)
    }

    /// Offers accepted / (accepted + declined + expired).
    pub fn offer_acceptance(&self) -> Ratio {
        Ratio::new(self.work.offers_accepted, self.offers_ended())
    }

    /// Offers expired / (accepted + declined + expired).
    pub fn offer_timeouts(&self) -> Ratio {
        Ratio::new(self.work.offers_expired, self.offers_ended())
    }

    /// Requeued legs / assignments.
    pub fn requeues(&self) -> Ratio {
        Ratio::new(self.work.requeued, self.work.assignments)
    }

    /// Transfers, cold and warm / assignments.
    pub fn transfers(&self) -> Ratio {
        let both = u128::from(self.work.transferred_cold) + u128::from(self.work.transferred_warm);
        Ratio::new(both, self.work.assignments)
    }

    /// Skill match: levels that the agents had / levels asked for.
    pub fn skill_match(&self) -> Ratio {
        Ratio::new(self.work.levels_met, self.work.levels_asked)
    }

    /// R35, coverage of the P50: waited no longer than it / estimated and answered. Good estimates give one half.
    pub fn coverage_p50(&self) -> Ratio {
        Ratio::new(self.visits.within_p50, self.visits.estimated)
    }

    /// R35, coverage of the P90. Good estimates give nine tenths.
    pub fn coverage_p90(&self) -> Ratio {
        Ratio::new(self.visits.within_p90, self.visits.estimated)
    }
}

/// R42: Jain's index of fairness, (Σx)² / (n Σx²) (Jain, Chiu, Hawe 1984): 1 when all are equal, 1/n when one has all. Each `x` is
/// taken in millionths, so that the squares of 2^32 of them fit; `None` for those who have nothing to tell, who are left out.
pub fn jain_index(of: impl IntoIterator<Item = Ratio>) -> Ratio {
    let (mut n, mut sum, mut squares) = (0u128, 0u128, 0u128);
    for ratio in of {
        let Some(x) = ratio.of.saturating_mul(1_000_000).checked_div(ratio.all) else {
            continue;
        };
        let x = x.min(u128::from(u32::MAX));
        n += 1;
        sum += x;
        squares += x * x;
    }
    if n > 0 && squares == 0 {
        // All have the same: nothing.
        return Ratio { of: 1, all: 1 };
    }
    Ratio {
        of: sum.saturating_mul(sum),
        all: n.saturating_mul(squares),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Visits;

    /// The example of the requirements: of a hundred, 70 answered in time, 20 late, 10 abandoned in time.
    #[test]
    fn the_four_service_levels_side_by_side() {
        let figures = Figures {
            visits: Visits {
                arrived: 100,
                answered: 90,
                answered_within: 70,
                abandoned: 10,
                abandoned_within: 10,
                ..Visits::default()
            },
            ..Figures::default()
        };
        let shown = [
            figures.service_level_answered(),
            figures.service_level_abandon_negative(),
            figures.service_level(),
            figures.service_level_abandon_positive(),
        ]
        .map(Ratio::per_mille);
        assert_eq!(shown, [Some(778), Some(700), Some(778), Some(800)]);
        assert_eq!(figures.service_level(), Ratio::new(70u64, 90u64));
        assert_eq!(figures.abandonment().per_mille(), Some(100));
    }

    #[test]
    fn nothing_is_not_zero() {
        let nothing = Figures::default();
        assert_eq!(nothing.service_level().per_mille(), None);
        assert_eq!(nothing.average_speed_of_answer_ms().mean(), None);
        assert_eq!(jain_index([]).per_mille(), None);
    }

    #[test]
    fn short_abandons_can_be_left_out() {
        let mut figures = Figures::default();
        figures.visits.arrived = 20;
        figures.visits.abandoned = 5;
        figures.visits.short_abandoned = 2;
        assert_eq!(figures.abandonment(), Ratio::new(5u64, 20u64));
        assert_eq!(figures.abandonment_without_short(), Ratio::new(3u64, 18u64));
    }

    #[test]
    fn jain_is_one_for_equals_and_one_of_n_for_a_single_worker() {
        let half = Ratio::new(1u64, 2u64);
        let none = Ratio::new(0u64, 2u64);
        assert_eq!(jain_index([half, half, half]).per_mille(), Some(1_000));
        assert_eq!(jain_index([half, none, none, none]).per_mille(), Some(250));
        assert_eq!(jain_index([none, none]).per_mille(), Some(1_000));
        // Whoever was not there is no reason to call it unfair.
        assert_eq!(jain_index([half, Ratio::default(), half]).per_mille(), Some(1_000));
    }
}
