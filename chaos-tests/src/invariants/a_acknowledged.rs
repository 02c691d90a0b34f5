//! A: every acknowledged message is there, in its conversation, at the seq that the acknowledgement named; on every node.

use anyhow::{Result, bail, ensure};

use super::Looked;
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    for (node, transcripts) in &evidence.transcripts {
        for (text, (conversation, seq)) in &evidence.diary.acknowledged {
            let Some(transcript) = transcripts.get(conversation) else {
                bail!("node {node}: {conversation}, where `{text}` was acknowledged, is not there");
            };
            let there = transcript.iter().find(|line| line.text.as_ref() == Some(text));
            let Some(line) = there else {
                bail!("node {node}: `{text}` was acknowledged at {conversation}, {seq}, and is not there");
            };
            ensure!(
                line.seq == *seq,
                "node {node}: `{text}` was acknowledged at {conversation}, {seq}, and is at {}",
                line.seq
            );
        }
    }
    Ok(Looked::At(evidence.diary.acknowledged.len() as u64))
}
