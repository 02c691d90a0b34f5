//! Histories of an agent by hand, each with one thing wrong or just not wrong.

use std::time::Duration;

use super::{Agent, Rules};
use crate::history::{By, Held, Input, Name, Operation, Outcome, Output, Phase, Presence};
use crate::linearizability::{Budget, check};

fn name(text: &str) -> Name {
    Name::from(text)
}

/// From one moment to the next, in milliseconds.
fn done(at: u64, input: Input, output: Output) -> Operation {
    Operation {
        client: name("ann"),
        call: Duration::from_millis(at),
        returned: Some(Duration::from_millis(at + 1)),
        input,
        outcome: Outcome::Done(output),
    }
}

fn acknowledged(at: u64, input: Input, epoch: Option<u64>) -> Operation {
    done(at, input, Output::Ack { seq: None, epoch })
}

fn set(at: u64, presence: Presence) -> Operation {
    let agent = name("ann");
    acknowledged(at, Input::SetPresence { agent, presence }, None)
}

fn sign_in(at: u64) -> Operation {
    let input = Input::SignIn {
        agent: name("ann"),
        presence: Presence::Available,
    };
    acknowledged(at, input, None)
}

fn away(reason: &str) -> Presence {
    Presence::Away(name(reason))
}

fn record(at: u64, presence: Presence, load: u32, agent_seq: u64) -> Operation {
    let output = Output::Record {
        presence,
        load,
        agent_seq,
    };
    done(at, Input::Record { agent: name("ann") }, output)
}

fn desk(at: u64, held: &[(&str, Phase, u64)]) -> Operation {
    let conversations = held.iter().map(|(conversation, phase, epoch)| Held {
        conversation: name(conversation),
        phase: *phase,
        epoch: *epoch,
        own: true,
    });
    let conversations = conversations.collect();
    done(at, Input::Desk { agent: name("ann") }, Output::Desk { conversations })
}

fn accept(at: u64, conversation: &str, epoch: u64) -> Operation {
    let input = Input::Accept {
        conversation: name(conversation),
        agent: name("ann"),
        epoch,
    };
    acknowledged(at, input, Some(epoch))
}

fn by(epoch: u64) -> By {
    By::Owner {
        agent: name("ann"),
        epoch: Some(epoch),
    }
}

fn transfer(at: u64, conversation: &str, epoch: u64) -> Operation {
    let conversation = name(conversation);
    acknowledged(
        at,
        Input::Transfer {
            conversation,
            by: by(epoch),
        },
        Some(epoch + 1),
    )
}

fn unknown(operation: Operation) -> Operation {
    Operation {
        returned: None,
        outcome: Outcome::Unknown,
        ..operation
    }
}

fn refused(operation: Operation, code: &str) -> Operation {
    Operation {
        outcome: Outcome::Refused(code.to_owned()),
        ..operation
    }
}

/// Judged by these rules; `None`: it is linearizable.
fn judged(operations: &[Operation], rules: Rules, why: Option<&str>) {
    let model = Agent::of(name("ann"), rules);
    let verdict = check(&model, operations, Budget::default());
    let text = verdict.text(&model, operations);
    match why {
        None => assert!(verdict.is_linearizable(), "{text}"),
        Some(why) => {
            assert!(verdict.is_violation(), "{text}");
            assert!(text.contains(why), "`{why}` is not said in:\n{text}");
        }
    }
}

fn good(operations: &[Operation]) {
    judged(operations, Rules::default(), None);
}

fn bad(operations: &[Operation], why: &str) {
    judged(operations, Rules::default(), Some(why));
}

#[test]
fn a_stale_presence() {
    good(&[sign_in(0), set(2, away("lunch")), record(4, away("lunch"), 0, 2)]);
    bad(
        &[sign_in(0), set(2, away("lunch")), record(4, Presence::Available, 0, 1)],
        "it gives available, and the agent was away (lunch) before",
    );
    bad(
        &[
            record(0, Presence::Available, 0, 7),
            record(2, Presence::Available, 0, 6),
        ],
        "its agent seq is 6, and there was 7 before",
    );
}

#[test]
fn an_unknown_change_shows_late_or_never() {
    let lost = unknown(set(2, away("lunch")));
    let is = |at, presence| record(at, presence, 0, 1);
    good(&[
        sign_in(0),
        lost.clone(),
        is(4, Presence::Available),
        is(6, away("lunch")),
        is(8, away("lunch")),
    ]);
    good(&[sign_in(0), lost.clone(), is(4, Presence::Available)]);
    bad(
        &[sign_in(0), lost, is(4, away("lunch")), is(6, Presence::Available)],
        "it gives available",
    );
}

#[test]
fn a_thousand_unknown_changes_do_not_matter() {
    let reasons = ["lunch", "talk", "break"];
    let mut operations = vec![sign_in(0)];
    for at in 0..1_000 {
        let presence = match at % 4 {
            3 => Presence::Available,
            reason => away(reasons[reason as usize]),
        };
        operations.push(unknown(set(2 + at, presence)));
    }
    for at in 0..300 {
        operations.push(record(2_000 + 2 * at, away(reasons[(at % 3) as usize]), 0, at));
    }
    good(&operations);
    operations.push(record(4_000, away("holidays"), 0, 400));
    bad(&operations, "it gives away (holidays)");
}

#[test]
fn what_the_system_does_of_itself() {
    let was = |presence: Presence, is: Presence| [set(0, presence), record(2, is, 0, 1)];
    good(&was(Presence::Available, away("offer_timeouts")));
    bad(
        &was(Presence::Draining, away("offer_timeouts")),
        "it gives away (offer_timeouts)",
    );
    good(&was(Presence::Draining, away("drained")));
    bad(&was(Presence::Available, away("drained")), "it gives away (drained)");
    good(&was(Presence::Available, Presence::Suspect));
    good(&[
        set(0, away("lunch")),
        record(2, Presence::Suspect, 0, 1),
        record(4, away("lunch"), 0, 2),
    ]);
    bad(
        &[
            set(0, away("lunch")),
            record(2, Presence::Suspect, 0, 1),
            record(4, Presence::Available, 0, 2),
        ],
        "it gives available",
    );
    good(&[sign_in(0), record(2, Presence::Offline, 0, 1), sign_in(4)]);
    bad(
        &[
            sign_in(0),
            record(2, Presence::Offline, 0, 1),
            set(4, Presence::Available),
        ],
        "the agent was offline",
    );
    let held = Rules {
        leases_end: false,
        ..Rules::default()
    };
    judged(
        &was(Presence::Available, Presence::Offline),
        held,
        Some("it gives offline"),
    );
    let not_there = refused(set(2, Presence::Available), "wrong_presence");
    good(&[sign_in(0), not_there.clone()]);
    bad(
        &[sign_in(0), not_there, record(4, Presence::Available, 0, 1)],
        "it gives available",
    );
}

#[test]
fn offers_are_for_who_is_available() {
    good(&[sign_in(0), accept(2, "c", 1)]);
    bad(
        &[sign_in(0), set(2, away("lunch")), accept(4, "c", 1)],
        "the agent was away (lunch) before",
    );
    bad(
        &[set(2, away("lunch")), desk(4, &[("c", Phase::Offered, 1)])],
        "c is offered, and the agent was away",
    );
    // What is theirs stays theirs, and is confirmed once more.
    good(&[sign_in(0), accept(2, "c", 1), set(4, away("lunch")), accept(6, "c", 1)]);
    let sign_out = acknowledged(4, Input::SignOut { agent: name("ann") }, None);
    bad(
        &[
            sign_in(0),
            accept(2, "c", 1),
            sign_out,
            desk(6, &[("c", Phase::Assigned, 1)]),
        ],
        "c is assigned, and the agent was offline",
    );
}

#[test]
fn a_conversation_does_not_come_back_under_its_epoch() {
    let owned = desk(6, &[("c", Phase::Assigned, 1)]);
    good(&[accept(0, "c", 1), owned.clone()]);
    bad(
        &[accept(0, "c", 1), transfer(2, "c", 1), owned.clone()],
        "c under epoch 1 was over before",
    );
    bad(
        &[accept(0, "c", 1), desk(2, &[]), owned.clone()],
        "c under epoch 1 was over before",
    );
    bad(&[accept(0, "c", 2), owned], "c: epoch 1 is over");
    good(&[accept(0, "c", 1), desk(2, &[]), desk(6, &[("c", Phase::Assigned, 3)])]);
    bad(
        &[accept(0, "c", 1), desk(2, &[("c", Phase::Offered, 1)])],
        "c under epoch 1 was owned before",
    );
    bad(
        &[
            desk(0, &[("c", Phase::WrapUp, 1)]),
            desk(2, &[("c", Phase::Assigned, 1)]),
        ],
        "c under epoch 1 was closed before",
    );
    let finish = Input::FinishWrapUp {
        conversation: name("c"),
        agent: name("ann"),
        epoch: 1,
    };
    let finish = acknowledged(2, finish, Some(1));
    bad(
        &[
            desk(0, &[("c", Phase::WrapUp, 1)]),
            finish,
            desk(4, &[("c", Phase::WrapUp, 1)]),
        ],
        "c under epoch 1 was over before",
    );
}

#[test]
fn capacity() {
    let room_for_two = Rules {
        capacity: Some(2),
        ..Rules::default()
    };
    let full = |third| {
        desk(
            4,
            &[("a", Phase::Assigned, 1), ("b", Phase::WrapUp, 1), ("c", third, 1)],
        )
    };
    judged(&[full(Phase::Paused)], room_for_two, None);
    judged(
        &[full(Phase::Offered)],
        room_for_two,
        Some("3 conversations, and room for 2"),
    );
    judged(
        &[record(0, Presence::Available, 3, 1)],
        room_for_two,
        Some("3 conversations by the load"),
    );
    // Acknowledged accepts alone tell nothing, as long as others may end what was accepted.
    let three = [accept(0, "a", 1), accept(2, "b", 1), accept(4, "c", 1)];
    judged(&three, room_for_two, None);
    let alone = Rules {
        ends_by_others: false,
        ..room_for_two
    };
    judged(&three, alone, Some("3 conversations owned, and room for 2"));
    let handed_on = [
        accept(0, "a", 1),
        accept(2, "b", 1),
        transfer(3, "a", 1),
        accept(4, "c", 1),
    ];
    judged(&handed_on, alone, None);
    let maybe = [
        accept(0, "a", 1),
        accept(2, "b", 1),
        unknown(transfer(3, "a", 1)),
        accept(4, "c", 1),
    ];
    judged(&maybe, alone, None);
    judged(
        &[accept(0, "a", 1), desk(2, &[])],
        alone,
        Some("it lacks a, owned under 1"),
    );
}
