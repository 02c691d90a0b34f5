//! F: nothing appears that nobody sent, nothing twice, and nothing that was refused.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::Looked;
use crate::oracle::Evidence;

pub(super) fn check(evidence: &Evidence) -> Result<Looked> {
    let diary = &evidence.diary;
    let mut looked = 0;
    let mut found = BTreeMap::new();
    for (id, transcript) in evidence.first() {
        for line in transcript.iter().filter(|line| !line.of_the_system()) {
            let (seq, Some(text)) = (line.seq, &line.text) else {
                continue;
            };
            looked += 1;
            ensure!(diary.sent.contains(text), "{id}: nobody sent `{text}`");
            ensure!(
                !diary.refused.contains_key(text),
                "{id}: `{text}` was refused and is there"
            );
            if let Some(before) = found.insert(text, (*id, seq)) {
                bail!("`{text}` is there twice: {before:?} and {:?}", (id, seq));
            }
        }
    }
    Ok(Looked::At(looked))
}
