//! E: a conversation has one order of entries, without gap or duplicate, the same on every node and for every reader.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use routing::ids::{ConversationId, Seq};

use super::Looked;
use crate::diary::{Diary, Seen};
use crate::oracle::{Evidence, Transcript};

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    let first = evidence.first();
    for (node, transcripts) in &evidence.transcripts {
        for (id, transcript) in first {
            ensure!(
                transcripts.get(id) == Some(transcript),
                "{id}: node {node} tells another transcript than the first"
            );
        }
    }
    for (id, transcript) in first {
        let dense = transcript.iter().zip(1..).all(|(entry, seq)| entry.seq == seq);
        ensure!(dense, "{id}: seqs are not dense: {transcript:?}");
    }
    let diary = &evidence.diary;
    ensure!(diary.gaps.is_empty(), "clients saw gaps: {:?}", diary.gaps);
    ensure!(
        diary.muddles.is_empty(),
        "people were told what they should not have been: {:?}",
        diary.muddles
    );
    readers(diary, first)?;
    Ok(Looked::At(
        first.values().map(|transcript| transcript.len() as u64).sum(),
    ))
}

/// Each reader saw a transcript's entries once, in order, without gap.
fn readers(diary: &Diary, transcripts: &BTreeMap<ConversationId, Transcript>) -> Result<()> {
    for (id, seen) in &diary.customers {
        let Some(transcript) = transcripts.get(id) else {
            continue;
        };
        let visible: Vec<(Seq, Option<String>)> = transcript
            .iter()
            .filter(|entry| entry.for_customer)
            .map(|entry| (entry.seq, entry.text.clone()))
            .collect();
        let given: Vec<(Seq, Option<String>)> = seen.iter().map(|(seq, _, text)| (*seq, text.clone())).collect();
        let all = match diary.gone.contains(id) {
            true => visible.starts_with(&given),
            false => given == visible,
        };
        ensure!(all, "{id}: the customer was given {given:?}\ninstead of {visible:?}");
    }
    for ((agent, id), seen) in &diary.agents {
        let Some(transcript) = transcripts.get(id) else {
            continue;
        };
        agent_saw(seen, transcript).with_context(|| format!("{agent}, {id}"))?;
    }
    Ok(())
}

/// An agent begins anywhere and may leave and come back: what is given is the transcript's, once and in order. Gaps while
/// following are the client's to see, and stand in the diary.
fn agent_saw(seen: &Seen, transcript: &Transcript) -> Result<()> {
    let mut last = 0;
    for (seq, prev, text) in seen {
        let entry = transcript
            .get(*seq as usize - 1)
            .context("an entry that is not in the transcript")?;
        ensure!(
            entry.text == *text,
            "entry {seq} reads {text:?}, in the transcript {:?}",
            entry.text
        );
        ensure!(*seq > last, "entry {seq} after {last}");
        ensure!(
            last == 0 || *prev >= last,
            "entry {seq} follows {prev}, the agent had {last}"
        );
        last = *seq;
    }
    Ok(())
}
