//! What one fault did to the load, read out of the messages around it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Strike;
use crate::modes::pairs::Said;
use crate::modes::series::{Span, longest_gap_us, median, normal_after_us, owed, quantile};
use crate::run::account::Side;

/// p99 is looked at in intervals of so long.
const INTERVAL_US: u64 = 100_000;
/// The area of a dip is taken over so long at least: a short one may not show in p99 at all.
const DIP_LEAST_US: u64 = 1_000_000;
/// What of the time around a fault is drawn.
const BEFORE_US: u64 = 2_000_000;
const AFTER_US: u64 = 10_000_000;
/// Normal is up to so many times the p99 of the calm before.
const NORMAL: u64 = 2;

/// On one shard, milliseconds from the fault.
#[derive(Clone, Debug, Serialize)]
pub struct ShardDip {
    /// The next acknowledgement of a message that was sent after the fault; `None`: there was none.
    pub next_ack_ms: Option<f64>,
    /// The same, of clients who were on other nodes …
    pub others_next_ack_ms: Option<f64>,
    /// … and of those who were on the node that failed.
    pub own_next_ack_ms: Option<f64>,
    /// The longest time without any acknowledgement.
    pub gap_ms: f64,
}

/// On all shards that the node led; where there is one value, that of the slowest.
#[derive(Clone, Debug, Serialize)]
pub struct Dip {
    pub node: u64,
    pub at_s: f64,
    pub shards: BTreeMap<u32, ShardDip>,
    pub next_ack_ms: Option<f64>,
    pub others_next_ack_ms: Option<f64>,
    pub own_next_ack_ms: Option<f64>,
    pub gap_ms: f64,
    pub p99_before_ms: f64,
    /// Until p99 is normal for good; `None`: not before the next fault was prepared.
    pub normal_ms: Option<f64>,
    /// The same, of clients who were on other nodes.
    pub others_normal_ms: Option<f64>,
    /// Messages due and not acknowledged, integrated until then, beyond what is normal.
    pub dip_message_s: f64,
    /// Until the node was there again and had caught up.
    pub back_s: f64,
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// The longest; `None` if there is one without end.
fn worst(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.reduce(|a, b| Some(a?.max(b?))).flatten()
}

/// What `strike` did. `shards`: of each conversation.
pub(super) fn of(strike: &Strike, said: &[Said], shards: &[u32]) -> Dip {
    let led: Vec<&Said> = said
        .iter()
        .filter(|said| strike.led.contains(&shards[said.pair as usize]))
        .collect();
    let spans: Vec<Span> = led.iter().map(|said| said.span()).collect();
    let (calm_us, at_us) = (strike.calm_from_us, strike.at_us);
    let mut calm: Vec<u64> = spans
        .iter()
        .filter(|span| (calm_us..at_us).contains(&span.due_us) && span.done_us < at_us)
        .map(Span::took_us)
        .collect();
    let p99_us = quantile(&mut calm, 0.99).unwrap_or(0);
    let normal_us = normal_after_us(&spans, at_us, strike.until_us, INTERVAL_US, NORMAL * p99_us);
    let others: Vec<Span> = led
        .iter()
        .filter(|said| !hit(strike, said))
        .map(|said| said.span())
        .collect();
    let others_us = normal_after_us(&others, at_us, strike.until_us, INTERVAL_US, NORMAL * p99_us);
    let over_us = normal_us.map_or(strike.until_us, |normal_us| at_us + normal_us.max(DIP_LEAST_US));
    let usual = owed(&spans, calm_us, at_us) / (at_us - calm_us).max(1) as f64;
    let dip = owed(&spans, at_us, over_us) - usual * (over_us - at_us) as f64;
    let by_shard: BTreeMap<u32, ShardDip> = strike
        .led
        .iter()
        .map(|shard| {
            let of_shard = led.iter().copied().filter(|said| shards[said.pair as usize] == *shard);
            (*shard, on_shard(strike, of_shard))
        })
        .collect();
    Dip {
        node: strike.node,
        at_s: at_us as f64 / 1e6,
        next_ack_ms: worst(by_shard.values().map(|shard| shard.next_ack_ms)),
        others_next_ack_ms: worst(by_shard.values().map(|shard| shard.others_next_ack_ms)),
        own_next_ack_ms: worst(by_shard.values().map(|shard| shard.own_next_ack_ms)),
        gap_ms: by_shard.values().map(|shard| shard.gap_ms).fold(0.0, f64::max),
        shards: by_shard,
        p99_before_ms: ms(p99_us),
        normal_ms: normal_us.map(ms),
        others_normal_ms: others_us.map(ms),
        dip_message_s: dip.max(0.0),
        back_s: (strike.back_us - at_us) as f64 / 1e6,
    }
}

/// Its sender was connected to the node that failed.
fn hit(strike: &Strike, said: &Said) -> bool {
    match (said.side, said.agent) {
        (Side::Agent, Some(agent)) => strike.agents_hit[agent as usize],
        _ => strike.customers_hit[said.pair as usize],
    }
}

/// A line of a picture: seconds from the fault, and a value.
pub(super) type Curve = Vec<(f64, f64)>;

/// Around a fault, by intervals of 100 ms: acknowledgements per second, and the p99 of messages that were due.
pub(super) fn curves(strike: &Strike, said: &[Said]) -> (Curve, Curve) {
    let from_us = strike.at_us.saturating_sub(BEFORE_US);
    let until_us = strike.until_us.min(strike.at_us + AFTER_US);
    let intervals = ((until_us - from_us) / INTERVAL_US) as usize;
    let (mut acknowledged, mut took_us) = (vec![0.0; intervals], vec![Vec::new(); intervals]);
    let at = |us: u64| Some((us.checked_sub(from_us)? / INTERVAL_US) as usize);
    for span in said.iter().map(Said::span) {
        if let Some(count) = at(span.done_us).and_then(|at| acknowledged.get_mut(at)) {
            *count += 1e6 / INTERVAL_US as f64;
        }
        if let Some(taken) = at(span.due_us).and_then(|at| took_us.get_mut(at)) {
            taken.push(span.took_us());
        }
    }
    let second = |at: usize| (from_us + at as u64 * INTERVAL_US) as f64 / 1e6 - strike.at_us as f64 / 1e6;
    let rates = acknowledged.into_iter().enumerate().map(|(n, rate)| (second(n), rate));
    let p99s = took_us
        .iter_mut()
        .enumerate()
        .filter_map(|(n, taken)| Some((second(n), ms(quantile(taken, 0.99)?))));
    (rates.collect(), p99s.collect())
}

fn on_shard<'a>(strike: &Strike, said: impl Iterator<Item = &'a Said> + Clone) -> ShardDip {
    let until_us = strike.until_us;
    let after = said
        .clone()
        .filter(|said| said.sent_us >= strike.done_us && said.done_us < until_us);
    let next = |which: &dyn Fn(&Said) -> bool| {
        let first = after.clone().filter(|said| which(said)).map(|said| said.done_us).min();
        first.map(|done_us| ms(done_us - strike.at_us))
    };
    ShardDip {
        next_ack_ms: next(&|_| true),
        others_next_ack_ms: next(&|said| !hit(strike, said)),
        own_next_ack_ms: next(&|said| hit(strike, said)),
        gap_ms: ms(longest_gap_us(said.map(|said| said.done_us), strike.at_us, until_us)),
    }
}

/// Of each figure over the repetitions. A repetition without an end counts as infinitely long, and `None` is said of a median that is.
pub(super) fn medians(dips: &[Dip]) -> BTreeMap<&'static str, Option<f64>> {
    let figure = |of: fn(&Dip) -> Option<f64>| {
        let values: Vec<f64> = dips.iter().map(|dip| of(dip).unwrap_or(f64::INFINITY)).collect();
        median(&values).filter(|median| median.is_finite())
    };
    BTreeMap::from([
        ("next_ack_ms", figure(|dip| dip.next_ack_ms)),
        ("others_next_ack_ms", figure(|dip| dip.others_next_ack_ms)),
        ("own_next_ack_ms", figure(|dip| dip.own_next_ack_ms)),
        ("gap_ms", figure(|dip| Some(dip.gap_ms))),
        ("p99_before_ms", figure(|dip| Some(dip.p99_before_ms))),
        ("normal_ms", figure(|dip| dip.normal_ms)),
        ("others_normal_ms", figure(|dip| dip.others_normal_ms)),
        ("dip_message_s", figure(|dip| Some(dip.dip_message_s))),
        ("back_s", figure(|dip| Some(dip.back_s))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::sampler::Sample;

    #[test]
    fn a_fault_is_read_out_of_the_messages_around_it() {
        // Two conversations on shards 1 and 2, a message every 10 ms on each; the fault at 2 s; shard 1 goes on at 2.2 s, shard 2 at 2.3 s.
        let strike = Strike {
            node: 3,
            calm_from_us: 1_000_000,
            at_us: 2_000_000,
            done_us: 2_001_000,
            back_us: 4_000_000,
            until_us: 5_000_000,
            led: vec![1, 2],
            customers_hit: vec![false, true],
            agents_hit: Vec::new(),
            sample: Sample::default(),
        };
        let said: Vec<Said> = (0..600)
            .flat_map(|n| [(n, 0), (n, 1)])
            .map(|(n, pair)| {
                let due_us = n * 10_000;
                let again_us = if pair == 0 { 2_200_000 } else { 2_300_000 };
                let done_us = if due_us + 2_000 < 2_000_000 {
                    due_us + 2_000
                } else {
                    (due_us + 2_000).max(again_us)
                };
                Said {
                    pair,
                    side: Side::Customer,
                    agent: None,
                    due_us,
                    sent_us: due_us,
                    done_us,
                    seen_us: done_us,
                }
            })
            .collect();
        let dip = of(&strike, &said, &[1, 2]);
        let next: Vec<_> = dip.shards.values().map(|shard| shard.next_ack_ms).collect();
        assert_eq!(next, [Some(200.0), Some(300.0)]);
        assert_eq!(
            (dip.next_ack_ms, dip.shards[&2].own_next_ack_ms),
            (Some(300.0), Some(300.0))
        );
        // Nobody of shard 1 was on the node, and everybody of shard 2.
        assert_eq!((dip.others_next_ack_ms, dip.own_next_ack_ms), (None, None));
        assert_eq!((dip.p99_before_ms, dip.normal_ms, dip.back_s), (2.0, Some(300.0), 2.0));
        // 20 messages for 0.1 s in the mean, 30 for 0.15 s.
        assert!((dip.dip_message_s - 6.5).abs() < 0.3, "{}", dip.dip_message_s);
        let (rates, p99s) = curves(&strike, &said);
        let at = |curve: &Curve, second: f64| curve.iter().find(|(x, _)| (x - second).abs() < 1e-6).unwrap().1;
        assert_eq!((at(&rates, -1.0).round(), at(&rates, 0.1).round()), (200.0, 0.0));
        assert_eq!((at(&p99s, -1.0), at(&p99s, 0.0)), (2.0, 300.0));
        assert_eq!(medians(&[dip.clone(), dip.clone()])["normal_ms"], Some(300.0));
        assert_eq!(medians(&[dip])["others_next_ack_ms"], None);
    }
}
