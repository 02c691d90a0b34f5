//! C: at most one active assignment per conversation, and a later one has a later epoch. By the transcripts (an owner joins, and leaves or
//! hands over, before the next), by what agents were told (one taker for each epoch), and by who believes to own what in the end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use routing::event::OfferOutcome;
use routing::ids::{ConversationId, Epoch};

use super::Looked;
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    one_taker(evidence)?;
    owners_know(evidence)?;
    Ok(Looked::At(evidence.diary.offers.len() as u64))
}

/// One agent takes an offer, and who is told that another took it is told the truth.
fn one_taker(evidence: &Evidence) -> Result<()> {
    let mut takers: BTreeMap<(ConversationId, Epoch), &String> = BTreeMap::new();
    for ((agent, id, epoch), offer) in &evidence.diary.offers {
        let Some((_, outcome)) = &offer.ended else { continue };
        if *outcome == OfferOutcome::Accepted
            && let Some(other) = takers.insert((*id, *epoch), agent)
        {
            bail!("{id}: {other} and {agent} both took the offer of epoch {epoch:?}");
        }
    }
    for ((agent, id, epoch), offer) in &evidence.diary.offers {
        let taken = matches!(offer.ended, Some((_, OfferOutcome::TakenByAnother)));
        ensure!(
            !taken || takers.contains_key(&(*id, *epoch)),
            "{id}: {agent} was told that another took the offer of epoch {epoch:?}, and nobody did"
        );
    }
    Ok(())
}

/// The nodes' owners are those who were told so, and nobody else believes to own anything.
fn owners_know(evidence: &Evidence) -> Result<()> {
    let diary = &evidence.diary;
    let told: BTreeSet<ConversationId> = diary.owned.values().flat_map(|owned| owned.keys().copied()).collect();
    for id in evidence.owners.keys().filter(|id| diary.conversations.contains_key(id)) {
        ensure!(told.contains(id), "{id} has an owner who was not told");
    }
    for (agent, owned) in &diary.owned {
        for id in owned.keys() {
            ensure!(
                evidence.owners.contains_key(id),
                "{agent} believes to own {id}, which is not assigned"
            );
        }
    }
    let owners: usize = diary.owned.values().map(BTreeMap::len).sum();
    ensure!(owners == told.len(), "two agents believe to own the same conversation");
    Ok(())
}
