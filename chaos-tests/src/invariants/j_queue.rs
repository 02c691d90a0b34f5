//! J: the queue's order holds. There is one queue, first come, first served: who came earlier is asked for earlier, by the stamps of the log
//! (the first offers only: who is offered again is older than the rest). The leaders' samplers look at the bound on overtaking in
//! every state, and the simulation of `routing` after every command.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use routing::ids::{ConversationId, Epoch, Millis};

use super::Looked;
use crate::oracle::Evidence;

/// An offer may be refused by the state (its agent has just gone, or another leader was quicker) and is then made again at once, after
/// those that were decided with it.
const MADE_AGAIN_MS: Millis = 500;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    if evidence.watched.is_none() {
        return Ok(Looked::Skipped(
            "there is more than one queue, or nobody watched".into(),
        ));
    }
    let mut first_offers: BTreeMap<ConversationId, Millis> = BTreeMap::new();
    for ((_, id, epoch), offer) in &evidence.diary.offers {
        if *epoch == Epoch(1) {
            let at_ms = first_offers.entry(*id).or_insert(offer.at_ms);
            *at_ms = offer.at_ms.min(*at_ms);
        }
    }
    let came = |id: &ConversationId| evidence.first().get(id)?.first().map(|line| line.at_ms);
    let mut in_order: Vec<(Millis, Millis, ConversationId)> = first_offers
        .iter()
        .filter_map(|(id, offered_ms)| Some((came(id)?, *offered_ms, *id)))
        .collect();
    in_order.sort_unstable();
    let mut latest: Option<(Millis, Millis, ConversationId)> = None;
    for (came_ms, offered_ms, id) in &in_order {
        if let Some((before_ms, before_offered_ms, before)) = latest {
            ensure!(
                *came_ms == before_ms || *offered_ms + MADE_AGAIN_MS >= before_offered_ms,
                "{id} came at {came_ms} and was offered at {offered_ms}; {before} had come at {before_ms}, and was offered only at \
                 {before_offered_ms}"
            );
        }
        if latest.is_none_or(|(_, highest, _)| *offered_ms >= highest) {
            latest = Some((*came_ms, *offered_ms, *id));
        }
    }
    Ok(Looked::At(in_order.len() as u64))
}
