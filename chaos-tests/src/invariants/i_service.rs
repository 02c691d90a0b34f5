//! I: offers expire between their deadline and the deadline plus the outage plus a second; wrap-ups end; nobody waits for more than a second while a
//! slot is free that may take them; service is back in time after a fault.

use anyhow::{Result, bail, ensure};
use routing::event::OfferOutcome;

use super::Looked;
use crate::diary::Diary;
use crate::oracle::Evidence;

/// What a deadline may be late beyond the outage.
const GRACE_MS: u64 = 1_000;

/// Offers that expired.
pub(super) fn expired(diary: &Diary) -> usize {
    let ended = diary.offers.values().filter_map(|offer| offer.ended.as_ref());
    ended.filter(|(_, outcome)| *outcome == OfferOutcome::Expired).count()
}

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    let grace_ms = evidence.outage.as_millis() as u64 + GRACE_MS;
    for ((agent, id, epoch), offer) in &evidence.diary.offers {
        let Some((at_ms, outcome)) = &offer.ended else {
            bail!("{id}: {agent}'s offer of epoch {epoch:?} never ended")
        };
        if *outcome == OfferOutcome::Expired {
            let window = offer.deadline_ms..=offer.deadline_ms + grace_ms;
            ensure!(
                window.contains(at_ms),
                "{id}: the offer expired at {at_ms}, should have in {window:?}"
            );
        }
    }
    if evidence.watched.is_some() {
        // Where the run waited until all had come to its end.
        for (agent, left) in &evidence.diary.wrapping_up {
            ensure!(left.is_empty(), "{agent}'s wrap-up of {left:?} never ended");
        }
    }
    Ok(Looked::At(evidence.diary.offers.len() as u64))
}
