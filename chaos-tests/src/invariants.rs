//! What must hold, one file for each letter. Each looks at the [`Evidence`] of a run, and says how much of it there was to
//! look at: an invariant that saw nothing has not held, it was *skipped*.
//!
//! Those that a state alone can show (C, D, E, H, I, J, L of single rows) are in `routing::invariants`, which the simulation calls
//! after every command and every running leader samples; what the samplers of a run's nodes found is part of the evidence.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::oracle::Evidence;

mod a_acknowledged;
mod b_linearizable;
mod c_one_owner;
mod d_capacity;
mod e_order;
mod f_nothing_else;
mod g_raft;
mod h_digests;
mod i_service;
mod j_queue;
mod k_fail_stop;
mod l_bounds;
#[cfg(test)]
mod tests;

/// One of A–L.
pub struct Invariant {
    /// Its letter.
    pub letter: char,
    /// In a few words.
    pub name: &'static str,
    check: fn(&Evidence) -> Result<Looked>,
}

/// How much there was to look at, of an invariant that holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// So many: messages, operations, samples.
    At(u64),
    /// Nothing, and why.
    Skipped(String),
}

/// All of them.
pub const ALL: &[Invariant] = &[
    Invariant {
        letter: 'A',
        name: "no acknowledged operation is lost",
        check: a_acknowledged::check,
    },
    Invariant {
        letter: 'B',
        name: "operations on a conversation or an agent are linearizable",
        check: b_linearizable::check,
    },
    Invariant {
        letter: 'C',
        name: "one active assignment per conversation, fenced by its epoch",
        check: c_one_owner::check,
    },
    Invariant {
        letter: 'D',
        name: "no agent above capacity",
        check: d_capacity::check,
    },
    Invariant {
        letter: 'E',
        name: "one order of messages for all, without gap or duplicate",
        check: e_order::check,
    },
    Invariant {
        letter: 'F',
        name: "nothing appears that nobody sent",
        check: f_nothing_else::check,
    },
    Invariant {
        letter: 'G',
        name: "Raft: one leader per term; terms, commits and what is applied never go back",
        check: g_raft::check,
    },
    Invariant {
        letter: 'H',
        name: "equal digests at equal index",
        check: h_digests::check,
    },
    Invariant {
        letter: 'I',
        name: "nobody waits while a slot is free; deadlines are kept; service comes back",
        check: i_service::check,
    },
    Invariant {
        letter: 'J',
        name: "the queue's order holds",
        check: j_queue::check,
    },
    Invariant {
        letter: 'K',
        name: "a disk that failed is never trusted again",
        check: k_fail_stop::check,
    },
    Invariant {
        letter: 'L',
        name: "memory and queues are bounded",
        check: l_bounds::check,
    },
];

/// What came of each invariant.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Those that hold.
    pub held: BTreeMap<char, Looked>,
    /// Those that do not, and how.
    pub violated: BTreeMap<char, String>,
    /// Conversations of the run.
    pub conversations: usize,
    /// Acknowledged messages.
    pub messages: usize,
    /// Offers that were made, and of these expired.
    pub offers: (usize, usize),
    /// Wrap-ups that ended.
    pub wrap_ups: u64,
}

impl Verdict {
    /// The first violation as an error.
    pub fn into_result(self) -> Result<Self> {
        if let Some((letter, how)) = self.violated.first_key_value() {
            bail!("invariant {letter} is violated: {how}");
        }
        Ok(self)
    }
}

/// Judges a run by all invariants.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict {
        conversations: evidence.diary.conversations.len(),
        messages: evidence.diary.acknowledged.len(),
        offers: (evidence.diary.offers.len(), i_service::expired(&evidence.diary)),
        wrap_ups: evidence.diary.wrap_ups,
        ..Verdict::default()
    };
    for Invariant { letter, check, .. } in ALL {
        let unseen = |looked| match &evidence.watched {
            Some(watched) => watched.no_violation(*letter).map(|()| looked),
            None => Ok(looked),
        };
        match check(evidence).and_then(unseen) {
            Ok(Looked::At(0)) => drop(
                verdict
                    .held
                    .insert(*letter, Looked::Skipped("nothing to look at".into())),
            ),
            Ok(looked) => drop(verdict.held.insert(*letter, looked)),
            Err(error) => drop(verdict.violated.insert(*letter, format!("{error:#}"))),
        }
    }
    verdict
}
