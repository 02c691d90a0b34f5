//! Each invariant holds of a small run that went well, and of no run in which it was broken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use routing::event::OfferOutcome;
use routing::ids::{ConversationId, Epoch};
use serde_json::json;

use super::{ALL, Looked};
use crate::diary::{Diary, OfferNote};
use crate::oracle::{Distrust, Evidence, Line, Transcript};
use crate::watch::Watched;

const ONE: ConversationId = ConversationId(1);
const TWO: ConversationId = ConversationId(2);

fn message(seq: u64, at_ms: u64, author: &str, text: &str) -> Line {
    let content = json!({"message": {"author": author, "body": {"text": text}}});
    Line::read(&json!({"seq": seq, "at_ms": at_ms, "kind": content})).expect("an entry")
}

fn offer(at_ms: u64, ended: Option<(u64, OfferOutcome)>) -> OfferNote {
    OfferNote {
        at_ms,
        deadline_ms: at_ms + 2_000,
        ended,
    }
}

/// Two customers, one agent; the second offer ran out and was made again.
fn well() -> Evidence {
    let one: Transcript = vec![
        message(1, 10, "customer", "hello"),
        message(2, 90, "customer", "are you there"),
    ];
    let two: Transcript = vec![message(1, 20, "customer", "hi"), message(2, 95, "system", "welcome")];
    let transcripts = BTreeMap::from([(ONE, one), (TWO, two)]);
    let seen = |lines: &Transcript| lines.iter().map(|l| (l.seq, l.seq - 1, l.text.clone())).collect();
    let agent = "ann".to_owned();
    let diary = Diary {
        sent: ["hello", "are you there", "hi", "lost"].map(str::to_owned).into(),
        acknowledged: BTreeMap::from([
            ("hello".to_owned(), (ONE, 1)),
            ("are you there".to_owned(), (ONE, 2)),
            ("hi".to_owned(), (TWO, 1)),
        ]),
        refused: BTreeMap::from([("lost".to_owned(), "rate_limited".to_owned())]),
        conversations: BTreeMap::from([(ONE, 0), (TWO, 1)]),
        customers: transcripts.iter().map(|(id, lines)| (*id, seen(lines))).collect(),
        offers: BTreeMap::from([
            (
                (agent.clone(), ONE, Epoch(1)),
                offer(12, Some((50, OfferOutcome::Accepted))),
            ),
            (
                (agent.clone(), TWO, Epoch(1)),
                offer(25, Some((2_100, OfferOutcome::Expired))),
            ),
        ]),
        owned: BTreeMap::from([(agent.clone(), BTreeMap::from([(ONE, Epoch(1))]))]),
        highest_loads: BTreeMap::from([(agent.clone(), 2)]),
        ..Diary::default()
    };
    Evidence {
        diary,
        history: Vec::new(),
        transcripts: BTreeMap::from([(1, transcripts.clone()), (2, transcripts)]),
        owners: BTreeMap::from([(ONE, agent)]),
        outage: Duration::ZERO,
        watched: Some(Watched::default()),
        capacity: 2,
        distrust: Distrust::default(),
        folder: None,
    }
}

/// The letters that do not hold.
fn violated(change: impl FnOnce(&mut Evidence)) -> String {
    let mut evidence = well();
    change(&mut evidence);
    super::judge(&evidence).violated.into_keys().collect()
}

#[test]
fn all_hold_of_a_run_that_went_well() {
    let verdict = super::judge(&well());
    assert_eq!(verdict.violated, BTreeMap::new());
    assert_eq!(verdict.held[&'A'], Looked::At(3));
    assert!(matches!(verdict.held[&'K'], Looked::Skipped(_)), "no disk failed");
    assert!(matches!(verdict.held[&'B'], Looked::Skipped(_)), "the history is empty");
    let letters: BTreeSet<char> = ALL.iter().map(|invariant| invariant.letter).collect();
    assert_eq!(letters, ('A'..='L').collect());
}

#[test]
fn what_is_lost_is_noticed() {
    let lost = |evidence: &mut Evidence| {
        for transcripts in evidence.transcripts.values_mut() {
            transcripts.get_mut(&ONE).unwrap().pop();
        }
        evidence.diary.customers.get_mut(&ONE).unwrap().pop();
    };
    assert_eq!(violated(lost), "A");
    let elsewhere = |evidence: &mut Evidence| {
        let at = evidence.diary.acknowledged.get_mut("hi").unwrap();
        *at = (TWO, 2);
    };
    assert_eq!(violated(elsewhere), "A");
}

#[test]
fn two_owners_are_noticed() {
    let both = |evidence: &mut Evidence| {
        let offers = &mut evidence.diary.offers;
        offers.insert(
            ("bob".to_owned(), ONE, Epoch(1)),
            offer(12, Some((50, OfferOutcome::Accepted))),
        );
    };
    assert_eq!(violated(both), "C");
    let believes = |evidence: &mut Evidence| {
        let owned = &mut evidence.diary.owned;
        owned.insert("bob".to_owned(), BTreeMap::from([(ONE, Epoch(1))]));
    };
    assert_eq!(violated(believes), "C");
    let unheard = |evidence: &mut Evidence| drop(evidence.owners.insert(TWO, "bob".to_owned()));
    assert_eq!(violated(unheard), "C");
}

#[test]
fn too_much_for_an_agent_is_noticed() {
    let more = |evidence: &mut Evidence| {
        evidence.diary.highest_loads.insert("ann".to_owned(), 3);
    };
    assert_eq!(violated(more), "D");
}

#[test]
fn nodes_and_readers_that_disagree_are_noticed() {
    let other = |evidence: &mut Evidence| {
        let second = evidence.transcripts.get_mut(&2).unwrap();
        second.get_mut(&TWO).unwrap()[1] = message(2, 95, "system", "good day");
    };
    assert_eq!(violated(other), "E");
    let missed = |evidence: &mut Evidence| drop(evidence.diary.customers.get_mut(&TWO).unwrap().remove(0));
    assert_eq!(violated(missed), "E");
    let gap = |evidence: &mut Evidence| evidence.diary.gaps.push("a gap".to_owned());
    assert_eq!(violated(gap), "E");
}

#[test]
fn what_nobody_sent_or_was_refused_is_noticed() {
    let add = |text: &'static str| {
        move |evidence: &mut Evidence| {
            for transcripts in evidence.transcripts.values_mut() {
                transcripts
                    .get_mut(&TWO)
                    .unwrap()
                    .push(message(3, 99, "customer", text));
            }
            let seen = evidence.diary.customers.get_mut(&TWO).unwrap();
            seen.push((3, 2, Some(text.to_owned())));
        }
    };
    for text in ["who wrote this", "lost", "hello"] {
        assert_eq!(violated(add(text)), "F", "{text}");
    }
}

#[test]
fn deadlines_that_are_missed_are_noticed() {
    let set = |ended| {
        move |evidence: &mut Evidence| {
            let key = ("ann".to_owned(), TWO, Epoch(1));
            evidence.diary.offers.get_mut(&key).unwrap().ended = ended;
        }
    };
    assert_eq!(violated(set(None)), "I");
    assert_eq!(violated(set(Some((2_000, OfferOutcome::Expired)))), "I", "early");
    assert_eq!(violated(set(Some((3_100, OfferOutcome::Expired)))), "I", "late");
    let never = |evidence: &mut Evidence| {
        let left = &mut evidence.diary.wrapping_up;
        left.insert("ann".to_owned(), [TWO].into());
    };
    assert_eq!(violated(never), "I", "a wrap-up");
    let late_by_the_outage = |evidence: &mut Evidence| {
        set(Some((3_100, OfferOutcome::Expired)))(evidence);
        evidence.outage = Duration::from_secs(1);
    };
    assert_eq!(violated(late_by_the_outage), "");
}

#[test]
fn who_is_overtaken_is_noticed() {
    let overtaken = |evidence: &mut Evidence| {
        let key = ("ann".to_owned(), ONE, Epoch(1));
        evidence.diary.offers.get_mut(&key).unwrap().at_ms = 530;
    };
    assert_eq!(violated(overtaken), "J");
}

#[test]
fn disks_that_are_trusted_again_are_noticed() {
    let trusted = |evidence: &mut Evidence| evidence.distrust.violations.push("synced again".to_owned());
    assert_eq!(violated(trusted), "K");
}

#[test]
fn processes_that_grow_are_noticed() {
    let grown = |evidence: &mut Evidence| {
        let watched = evidence.watched.as_mut().unwrap();
        watched.resident_max_mib.insert(2, 4_000);
    };
    assert_eq!(violated(grown), "L");
}
