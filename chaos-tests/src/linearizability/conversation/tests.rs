//! Histories by hand, each with one thing wrong or just not wrong; then by chance, against a conversation that is played through.

use super::{Conversation, Rules};
use crate::history::{By, Input, Name, Operation, Outcome, Output, Phase, Shown};
use crate::linearizability::{Budget, Verdict, check};
use std::time::Duration;

mod played;
mod random;

pub(super) fn name(text: &str) -> Name {
    Name::from(text)
}

/// From one moment to another, in milliseconds.
fn done(client: &str, from: u64, to: u64, input: Input, output: Output) -> Operation {
    Operation {
        client: name(client),
        call: Duration::from_millis(from),
        returned: Some(Duration::from_millis(to)),
        input,
        outcome: Outcome::Done(output),
    }
}

fn unknown(client: &str, from: u64, input: Input) -> Operation {
    Operation {
        client: name(client),
        call: Duration::from_millis(from),
        returned: None,
        input,
        outcome: Outcome::Unknown,
    }
}

fn refused(client: &str, from: u64, to: u64, input: Input, code: &str) -> Operation {
    Operation {
        outcome: Outcome::Refused(code.to_owned()),
        ..done(client, from, to, input, ack(None, None))
    }
}

fn ack(seq: Option<u64>, epoch: Option<u64>) -> Output {
    Output::Ack { seq, epoch }
}

fn by(agent: &str, epoch: u64) -> By {
    By::Owner {
        agent: name(agent),
        epoch: Some(epoch),
    }
}

fn post(text: &str, by: By) -> Input {
    Input::Post {
        conversation: name("c"),
        text: name(text),
        by,
    }
}

/// A customer's message, acknowledged.
fn said(from: u64, to: u64, text: &str, seq: u64) -> Operation {
    done("customer", from, to, post(text, By::Customer), ack(Some(seq), None))
}

/// A read of the whole by staff: texts in order, empty ones for entries of the system.
fn read(from: u64, to: u64, texts: &[&str]) -> Operation {
    let entries = (1..).zip(texts).map(|(seq, text)| Shown {
        seq,
        text: (!text.is_empty()).then(|| name(text)),
    });
    let input = Input::Entries {
        conversation: name("c"),
        after: 0,
        staff: true,
    };
    let output = Output::Entries {
        entries: entries.collect(),
        more: false,
    };
    done("reader", from, to, input, output)
}

fn accept(agent: &str, from: u64, to: u64, epoch: u64) -> Operation {
    let input = Input::Accept {
        conversation: name("c"),
        agent: name(agent),
        epoch,
    };
    done(agent, from, to, input, ack(None, Some(epoch)))
}

fn look(from: u64, to: u64, phase: Phase, agent: Option<&str>, epoch: u64, last_seq: u64) -> Operation {
    let input = Input::Look {
        conversation: name("c"),
    };
    let agent = agent.map(name);
    let output = Output::Look {
        phase,
        agent,
        epoch,
        last_seq,
    };
    done("reader", from, to, input, output)
}

fn close(from: u64, to: u64, seq: u64) -> Operation {
    let input = Input::Close {
        conversation: name("c"),
        by: By::Customer,
    };
    done("customer", from, to, input, ack(Some(seq), None))
}

fn reopen(from: u64, to: u64, seq: u64) -> Operation {
    let input = Input::Reopen {
        conversation: name("c"),
        by: By::Customer,
    };
    done("customer", from, to, input, ack(Some(seq), None))
}

fn judged(operations: &[Operation], rules: Rules) -> (Verdict, String) {
    let model = Conversation::of(operations, rules);
    let verdict = check(&model, operations, Budget::default());
    let text = verdict.text(&model, operations);
    (verdict, text)
}

fn good(operations: &[Operation]) {
    let (verdict, text) = judged(operations, Rules::default());
    assert!(verdict.is_linearizable(), "{text}");
}

/// It is not, and the explanation says this.
fn bad(operations: &[Operation], why: &str) {
    bad_by(operations, Rules::default(), why);
}

fn bad_by(operations: &[Operation], rules: Rules, why: &str) {
    let (verdict, text) = judged(operations, rules);
    assert!(verdict.is_violation(), "{text}");
    assert!(text.contains(why), "`{why}` is not said in:\n{text}");
}

#[test]
fn concurrent_messages_in_either_order() {
    good(&[said(0, 10, "a", 2), said(1, 9, "b", 1), read(20, 21, &["b", "a"])]);
    good(&[
        said(0, 10, "a", 1),
        said(1, 9, "b", 4),
        read(20, 21, &["a", "", "", "b", ""]),
    ]);
}

#[test]
fn a_read_that_overlaps_may_come_before_or_after() {
    good(&[said(0, 10, "a", 1), read(2, 3, &["a"]), read(4, 5, &["a"])]);
    good(&[said(0, 10, "a", 1), read(2, 3, &[]), read(4, 5, &["a"])]);
}

#[test]
fn a_stale_read() {
    bad(
        &[said(0, 10, "a", 1), read(2, 3, &["a"]), read(4, 5, &[])],
        "it lacks `a` at 1",
    );
    bad(
        &[said(0, 1, "a", 1), said(2, 3, "b", 2), read(4, 5, &["a"])],
        "it lacks `b` at 2",
    );
    // No message is missing, but the close is.
    bad(
        &[said(0, 1, "a", 1), close(2, 3, 2), read(4, 5, &["a"])],
        "it ends with 1",
    );
}

#[test]
fn an_acknowledged_message_that_is_lost() {
    bad(
        &[said(0, 1, "a", 1), said(2, 3, "b", 2), read(4, 5, &["", "b"])],
        "it lacks `a` at 1",
    );
}

#[test]
fn a_message_twice() {
    bad(&[said(0, 1, "a", 1), read(4, 5, &["a", "a"])], "it gives `a` at 2");
    bad(
        &[said(0, 1, "a", 1), said(2, 3, "b", 1)],
        "its seq is 1, and there was 1 before",
    );
}

#[test]
fn a_message_that_nobody_sent_and_one_that_was_refused() {
    bad(&[said(0, 1, "a", 1), read(4, 5, &["a", "b"])], "it gives `b` at 2");
    let refused = refused("customer", 2, 3, post("b", By::Customer), "rate_limited");
    good(&[said(0, 1, "a", 1), refused.clone(), read(4, 5, &["a"])]);
    bad(
        &[said(0, 1, "a", 1), refused, read(4, 5, &["a", "b"])],
        "it gives `b` at 2",
    );
}

#[test]
fn seqs_that_go_back() {
    bad(&[said(0, 1, "a", 2), said(2, 3, "b", 1)], "`b` at 1 has not come yet");
    // Nor may they go below what was only read.
    bad(
        &[read(0, 1, &["", ""]), said(2, 3, "a", 2)],
        "there are entries up to 2, and `a` at 2 has not come yet",
    );
}

#[test]
fn an_unknown_message_appears_late_or_never() {
    let lost = unknown("customer", 0, post("u", By::Customer));
    good(&[
        lost.clone(),
        said(1, 2, "a", 1),
        read(3, 4, &["a"]),
        said(5, 6, "b", 3),
        read(7, 8, &["a", "u", "b"]),
    ]);
    good(&[lost.clone(), said(1, 2, "a", 1), read(3, 4, &["a"]), read(7, 8, &["a"])]);
    bad(
        &[
            lost.clone(),
            said(1, 2, "a", 1),
            read(3, 4, &["a", "u"]),
            read(7, 8, &["a"]),
        ],
        "it lacks `u` at 2",
    );
    let mut early = lost;
    early.call = Duration::from_millis(5);
    bad(
        &[said(1, 2, "a", 1), read(3, 4, &["a", "u"]), early],
        "it gives `u` at 2",
    );
}

#[test]
fn pages() {
    let page = |from, after, texts: &[&str], more| {
        let mut page = read(from, from + 1, texts);
        if let (Input::Entries { after: at, .. }, Outcome::Done(Output::Entries { entries, more: goes_on })) =
            (&mut page.input, &mut page.outcome)
        {
            (*at, *goes_on) = (after, more);
            entries.iter_mut().for_each(|entry| entry.seq += after);
        }
        page
    };
    let all = [said(0, 1, "a", 1), said(2, 3, "b", 2), said(4, 5, "c", 3)];
    let with = |page: Operation| [all.to_vec(), vec![page]].concat();
    good(&with(page(6, 0, &["a", "b"], true)));
    good(&with(page(6, 2, &["c"], false)));
    bad(&with(page(6, 0, &["a", "b"], false)), "it lacks `c` at 3");
    bad(&with(page(6, 1, &["c"], true)), "it gives `c` at 2");
}

#[test]
fn two_winners_under_one_epoch() {
    good(&[accept("ann", 0, 5, 1), accept("bob", 2, 3, 3)]);
    bad(&[accept("ann", 0, 5, 1), accept("bob", 2, 3, 1)], "epoch 1 is ");
}

#[test]
fn epochs_only_rise() {
    bad(&[accept("ann", 0, 1, 2), accept("bob", 2, 3, 1)], "epoch 1 is over");
    let late = done("ann", 4, 5, post("late", by("ann", 1)), ack(Some(1), None));
    good(&[accept("ann", 0, 1, 1), late.clone()]);
    bad(
        &[accept("ann", 0, 1, 1), accept("bob", 2, 3, 3), late],
        "epoch 1 is over",
    );
    // What is lost under one epoch waits under the next, and is offered under the one after that.
    bad(
        &[accept("ann", 0, 1, 1), accept("bob", 2, 3, 2)],
        "under epoch 2 it was taken from its owner",
    );
    bad(
        &[
            look(0, 1, Phase::Offered, None, 3, 0),
            look(2, 3, Phase::Waiting, None, 2, 0),
        ],
        "epoch 2 is over",
    );
}

#[test]
fn a_message_under_an_epoch_that_was_handed_on() {
    let transfer = Input::Transfer {
        conversation: name("c"),
        by: by("ann", 1),
    };
    let transfer = done("ann", 2, 3, transfer, ack(Some(2), Some(2)));
    let late = |epoch| done("ann", 4, 5, post("late", by("ann", epoch)), ack(Some(3), None));
    bad(&[accept("ann", 0, 1, 1), transfer.clone(), late(1)], "epoch 1 is over");
    bad(
        &[accept("ann", 0, 1, 1), transfer.clone(), late(2)],
        "nobody has it under epoch 2",
    );
    good(&[
        accept("ann", 0, 1, 1),
        transfer.clone(),
        accept("ann", 3, 4, 3),
        late(3),
    ]);
    // A warm one gives it to whom it names.
    let warm = Input::CompleteTransfer {
        conversation: name("c"),
        by: by("ann", 1),
        to: name("bob"),
    };
    let warm = done("ann", 2, 3, warm, ack(Some(2), Some(2)));
    let says = |agent: &str| done(agent, 4, 5, post("hello", by(agent, 2)), ack(Some(3), None));
    good(&[accept("ann", 0, 1, 1), warm.clone(), says("bob")]);
    bad(&[accept("ann", 0, 1, 1), warm, says("ann")], "epoch 2 is bob's");
}

#[test]
fn what_is_waiting_has_no_owner_under_its_epoch() {
    bad(
        &[look(0, 1, Phase::Waiting, None, 3, 0), accept("ann", 2, 3, 3)],
        "it was waiting under epoch 3",
    );
    bad(
        &[accept("ann", 0, 1, 3), look(2, 3, Phase::Waiting, None, 3, 0)],
        "epoch 3 was ann's",
    );
    good(&[accept("ann", 0, 1, 3), look(2, 3, Phase::Waiting, None, 4, 1)]);
}

#[test]
fn an_offer_that_is_over_is_not_taken() {
    let accept_input = accept("ann", 0, 1, 3).input;
    let over = refused("ann", 0, 1, accept_input.clone(), "offer_over");
    bad(&[over, accept("ann", 2, 3, 3)], "the offer of epoch 3 to ann was over");
    let taken = refused("ann", 0, 1, accept_input, "offer_taken");
    good(&[taken.clone(), accept("bob", 2, 3, 3)]);
    bad(&[taken, accept("ann", 2, 3, 3)], "the offer of epoch 3 to ann was over");
    let decline = Input::Decline {
        conversation: name("c"),
        agent: name("ann"),
        epoch: 3,
    };
    let decline = done("ann", 0, 1, decline, ack(None, Some(3)));
    good(&[decline.clone(), accept("bob", 2, 3, 3)]);
    bad(
        &[decline, accept("ann", 2, 3, 3)],
        "the offer of epoch 3 to ann was over",
    );
}

#[test]
fn a_refusal_as_stale_is_never_taken_back() {
    let stale = refused("ann", 2, 3, post("x", by("ann", 1)), "stale_epoch");
    let again = done("ann", 4, 5, post("y", by("ann", 1)), ack(Some(1), None));
    good(&[accept("ann", 0, 1, 1), stale.clone()]);
    bad(&[accept("ann", 0, 1, 1), stale.clone(), again], "epoch 1 is over");
    let strict = Rules {
        unassigns: false,
        ..Rules::default()
    };
    bad_by(&[accept("ann", 0, 1, 1), stale], strict, "nobody took it from ann");
}

#[test]
fn nothing_is_said_in_a_closed_one() {
    bad(
        &[close(0, 1, 1), said(2, 3, "a", 2)],
        "the conversation was closed before",
    );
    good(&[close(0, 1, 1), reopen(2, 3, 2), said(4, 5, "a", 3)]);
    // Closed by whom, nobody says; that it was is not taken back.
    let refused = refused("customer", 0, 1, post("x", By::Customer), "wrong_state");
    good(std::slice::from_ref(&refused));
    bad(
        &[refused.clone(), said(2, 3, "a", 1)],
        "the conversation was closed before",
    );
    let strict = Rules {
        closes: false,
        ..Rules::default()
    };
    bad_by(&[refused], strict, "nobody closed it");
    // An unknown reopening can explain it.
    let reopening = unknown("customer", 0, reopen(0, 0, 0).input);
    good(&[close(0, 1, 1), reopening, said(2, 3, "a", 3)]);
}

#[test]
fn the_header_is_as_new_as_the_entries() {
    bad(
        &[said(0, 1, "a", 4), look(2, 3, Phase::Waiting, None, 0, 3)],
        "its last seq is 3",
    );
    bad(
        &[look(2, 3, Phase::Waiting, None, 0, 4), said(4, 5, "a", 4)],
        "`a` at 4 has not come yet",
    );
    bad(
        &[close(0, 1, 4), look(2, 3, Phase::Waiting, None, 0, 4)],
        "it is open, and was closed before",
    );
}

#[test]
fn the_explanation_names_who_and_when() {
    let (_, text) = judged(
        &[
            said(0, 1, "a", 1),
            said(2, 3, "b", 2),
            read(4, 5, &["a"]),
            said(6, 7, "c", 3),
        ],
        Rules::default(),
    );
    let expected = "\
not linearizable: of 4 operations at most 2 can be placed in an order (3 steps)
      1. 0.000000 s – 0.001000 s  customer: post `a` by the customer → ack seq 1
      2. 0.002000 s – 0.003000 s  customer: post `b` by the customer → ack seq 2
then it is: open, 2 messages, seq at least 2, epoch at least 0 (nobody's)
and none of these can be next:
       ✗ 0.004000 s – 0.005000 s  reader: read after 0 as staff → [1 `a`]
         it lacks `b` at 2
while 1 with an answer were called later
";
    assert_eq!(text, expected);
}
