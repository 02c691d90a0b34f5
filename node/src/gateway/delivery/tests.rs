use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use routing::command::{Author, Body};
use routing::event::{AgentItemKind, EntryKind};
use routing::ids::{AgentId, ConversationId, QueueId};
use routing::view::Presence;

use super::*;

/// A conversation of `length` entries, some of them not for customers.
fn transcript(length: u64, rng: &mut SmallRng) -> Vec<Entry> {
    let mut visible = 0;
    (1..=length)
        .map(|seq| {
            let kind = match rng.random_range(0..4) {
                0 => EntryKind::Note {
                    agent: AgentId(1),
                    body: body(seq),
                },
                1 => EntryKind::Moved { queue: QueueId(1) },
                _ => EntryKind::Message {
                    author: Author::Customer,
                    body: body(seq),
                },
            };
            let entry = Entry {
                conversation: ConversationId(1),
                seq,
                prev_for_customer: visible,
                at_ms: seq * 10,
                kind,
            };
            if entry.kind.for_customer() {
                visible = seq;
            }
            entry
        })
        .collect()
}

fn body(seq: u64) -> Body {
    Body {
        media_type: "text/plain".into(),
        text: seq.to_string(),
    }
}

/// Pushes with loss, doubles and overtaking between the cursor and `all`; reads that fail, are late, and see only what is
/// there when they are answered. `final_resync`: the hub says at the end that something may have been missed, as it must
/// after a loss that no later push shows.
fn deliver(all: &[Entry], cursor: &mut EntryCursor, rng: &mut SmallRng) -> Vec<EntryFrame> {
    let (mut out, mut made, mut on_the_way, mut read_from) = (Vec::new(), 0, Vec::<Arc<Entry>>::new(), None);
    let mut lost = false;
    loop {
        let quiet = made == all.len() && on_the_way.is_empty();
        if quiet && lost {
            cursor.resync();
            lost = false;
        }
        if quiet && read_from.is_none() && !cursor.wants_read() {
            return out;
        }
        match rng.random_range(0..5) {
            0 | 1 if made < all.len() => {
                for _ in 0..rng.random_range(0..3) {
                    on_the_way.push(Arc::new(all[made].clone()));
                }
                lost |= on_the_way.last().is_none_or(|last| last.seq != all[made].seq);
                made += 1;
            }
            2 | 3 if !on_the_way.is_empty() => {
                let at = rng.random_range(0..on_the_way.len().min(4));
                cursor.pushed(on_the_way.remove(at), &mut out);
            }
            _ => match read_from.take() {
                None => read_from = cursor.start_read(),
                Some(_) if rng.random_bool(0.2) => cursor.read_failed(),
                Some(after) => {
                    let limit = rng.random_range(1..8);
                    let page: Vec<_> = all[..made]
                        .iter()
                        .filter(|e| e.seq > after)
                        .take(limit)
                        .cloned()
                        .collect();
                    cursor.read(&page, page.len() == limit, &mut out);
                }
            },
        }
    }
}

#[test]
fn every_visible_entry_once_and_in_order_whatever_pushes_do() {
    for seed in 0..600 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let length = rng.random_range(0..150);
        let all = transcript(length, &mut rng);
        let for_customer = rng.random_bool(0.5);
        let resume = rng.random_range(0..=length);
        let mut cursor = EntryCursor::new(for_customer, resume);
        let out = deliver(&all, &mut cursor, &mut rng);

        let visible = |e: &&Entry| e.seq > resume && (!for_customer || e.kind.for_customer());
        let wanted: Vec<_> = all.iter().filter(visible).map(|e| e.seq).collect();
        assert_eq!(out.iter().map(|f| f.seq).collect::<Vec<_>>(), wanted, "seed {seed}");
        let mut have = resume;
        for frame in &out {
            assert!(
                frame.prev <= have,
                "seed {seed}: a reader at {have} would see a gap before {frame:?}"
            );
            have = frame.seq;
        }
    }
}

#[test]
fn an_early_entry_waits_for_the_one_before() {
    let all: Vec<_> = transcript(3, &mut SmallRng::seed_from_u64(1));
    let mut cursor = EntryCursor::new(false, 0);
    assert_eq!(cursor.start_read(), Some(0));
    let mut out = Vec::new();
    cursor.read(&[], false, &mut out);
    assert!(!cursor.wants_read());
    cursor.pushed(Arc::new(all[1].clone()), &mut out);
    assert!(out.is_empty() && cursor.wants_read());
    cursor.pushed(Arc::new(all[0].clone()), &mut out);
    assert_eq!(out.iter().map(|f| f.seq).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_customers_may_not_see_is_no_gap_for_them() {
    let mut rng = SmallRng::seed_from_u64(5);
    let all = transcript(40, &mut rng);
    let mut cursor = EntryCursor::new(true, 0);
    cursor.start_read();
    let mut out = Vec::new();
    cursor.read(&[], false, &mut out);
    all.iter().for_each(|e| cursor.pushed(Arc::new(e.clone()), &mut out));
    assert!(!cursor.wants_read(), "pushes without loss need no read");
    assert!(out.iter().all(|f| all[f.seq as usize - 1].kind.for_customer()));
    assert_eq!(out.len(), all.iter().filter(|e| e.kind.for_customer()).count());
}

fn item(agent_seq: u64) -> AgentItem {
    let kind = AgentItemKind::Presence {
        presence: Presence::Available,
    };
    AgentItem {
        agent: AgentId(1),
        agent_seq,
        at_ms: agent_seq,
        kind,
    }
}

/// What a reader of an agent's stream sees: items by number, and a desk as of a number.
#[derive(Debug, PartialEq)]
enum Seen {
    Item(u64),
    Desk(u64),
}

#[test]
fn an_agents_items_come_once_and_in_order_and_a_desk_fills_what_is_too_old() {
    for seed in 0..600 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (length, window) = (rng.random_range(0..80_u64), rng.random_range(1..40_u64));
        let resume = rng.random_range(0..100);
        let mut cursor = AgentCursor::new(resume);
        let (mut seen, mut made, mut lost, mut read_from) = (Vec::new(), 0, false, None);
        let mut on_the_way: Vec<u64> = Vec::new();
        loop {
            if made == length && on_the_way.is_empty() && read_from.is_none() {
                if lost {
                    cursor.resync();
                    lost = false;
                }
                match cursor.start_read() {
                    None => break,
                    started => read_from = started,
                }
            }
            match rng.random_range(0..5) {
                0 | 1 if made < length => {
                    made += 1;
                    let copies = rng.random_range(0..3);
                    lost |= copies == 0;
                    on_the_way.extend(std::iter::repeat_n(made, copies));
                }
                2 | 3 if !on_the_way.is_empty() => {
                    let at = rng.random_range(0..on_the_way.len().min(4));
                    let out = cursor.pushed(Arc::new(item(on_the_way.remove(at))));
                    seen.extend(out.iter().map(|i| Seen::Item(i.agent_seq)));
                }
                _ => match read_from.take() {
                    None => read_from = cursor.start_read(),
                    Some(_) if rng.random_bool(0.2) => cursor.read_failed(),
                    Some(after) => {
                        let gap = after > made || after + window < made;
                        let items: Vec<_> = (after + 1..=made).map(item).collect();
                        let read = cursor.read(if gap { &[] } else { &items }, gap, made);
                        seen.extend(read.items.iter().map(|i| Seen::Item(i.agent_seq)));
                        seen.extend(read.desk.then_some(Seen::Desk(made)));
                        seen.extend(read.later.iter().map(|i| Seen::Item(i.agent_seq)));
                    }
                },
            }
        }
        assert!(seen.iter().any(|s| matches!(s, Seen::Desk(_))), "seed {seed}: no desk");
        let mut have = resume;
        for thing in &seen {
            match thing {
                Seen::Item(seq) => {
                    assert_eq!(*seq, have + 1, "seed {seed}: {seen:?}");
                    have = *seq;
                }
                Seen::Desk(seq) => have = *seq,
            }
        }
        assert_eq!(
            have, length,
            "seed {seed}: the reader ends where the stream ends: {seen:?}"
        );
    }
}
