//! The search on the smallest of models, a register, against all orders tried one by one.

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::{Budget, Model, OperationOf, Rules, Verdict, check, check_history};
use crate::history::{By, Input, Output};
use crate::history::{Name, Operation, Outcome, Recorder};

/// Holds a number, and forgets it now and then: a read may give 0 instead, and it is 0 from then on.
struct Register {
    forgets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ask {
    Write(u8),
    Read,
    /// Adds one, or adds two.
    Add,
}

impl Model for Register {
    type State = u8;
    type Input = Ask;
    type Output = u8;

    fn start(&self) -> u8 {
        0
    }

    fn step(&self, state: &u8, input: &Ask, outcome: &Outcome<u8>) -> Result<Vec<u8>, String> {
        match (input, outcome) {
            (_, Outcome::Refused(_)) => Ok(vec![*state]),
            (Ask::Write(number), _) => Ok(vec![*number]),
            (Ask::Add, _) => Ok(vec![state + 1, state + 2]),
            (Ask::Read, Outcome::Done(given)) if given == state => Ok(vec![*state]),
            (Ask::Read, Outcome::Done(0)) if self.forgets => Ok(vec![0]),
            (Ask::Read, _) => Err(format!("it is {state}")),
        }
    }

    fn observes(&self, input: &Ask, outcome: &Outcome<u8>) -> bool {
        matches!(outcome, Outcome::Refused(_)) || (*input == Ask::Read && !self.forgets)
    }

    fn words(&self, input: &Ask, outcome: &Outcome<u8>) -> String {
        format!("{input:?} → {outcome:?}")
    }

    fn state_words(&self, state: &u8) -> String {
        state.to_string()
    }
}

/// Every order that real time allows, with every set of the unknown.
fn by_brute_force(model: &Register, operations: &[OperationOf<Register>], placed: u32, state: u8) -> bool {
    let rest = || (0..operations.len()).filter(|at| placed & (1 << at) == 0);
    let Some(first_return) = rest().filter_map(|at| operations[at].ends()).min() else {
        return true;
    };
    rest().filter(|at| operations[*at].call <= first_return).any(|at| {
        let after = model.step(&state, &operations[at].input, &operations[at].outcome);
        let mut after = after.into_iter().flatten();
        after.any(|state| by_brute_force(model, operations, placed | 1 << at, state))
    })
}

fn operation() -> impl Strategy<Value = OperationOf<Register>> {
    let ask = prop_oneof![
        3 => (1u8..4).prop_map(Ask::Write),
        4 => Just(Ask::Read),
        1 => Just(Ask::Add),
    ];
    let become_of = prop_oneof![
        6 => (0u8..5).prop_map(Outcome::Done),
        1 => Just(Outcome::Refused("no".to_owned())),
        2 => Just(Outcome::Unknown),
    ];
    (ask, become_of, 0u64..12, 0u64..6).prop_map(|(input, outcome, call, long)| Operation {
        client: Name::from("client"),
        call: Duration::from_millis(call),
        returned: Some(Duration::from_millis(call + long)),
        input,
        outcome,
    })
}

/// The order keeps real time, holds each with an answer once, and leads from state to state.
fn is_an_order(model: &Register, operations: &[OperationOf<Register>], order: &[usize]) -> bool {
    let placed: HashSet<usize> = order.iter().copied().collect();
    let all = (0..operations.len()).all(|at| placed.contains(&at) || operations[at].ends().is_none());
    let in_time = order.iter().enumerate().all(|(place, one)| {
        let later = &order[place + 1..];
        later.iter().all(|other| {
            operations[*other]
                .ends()
                .is_none_or(|ends| ends >= operations[*one].call)
        })
    });
    let mut states = HashSet::from([model.start()]);
    for at in order {
        let step = |state: &u8| model.step(state, &operations[*at].input, &operations[*at].outcome);
        states = states.iter().flat_map(step).flatten().collect();
    }
    all && in_time && placed.len() == order.len() && !states.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn as_by_brute_force(operations in prop::collection::vec(operation(), 0..8), forgets: bool) {
        let model = Register { forgets };
        let verdict = check(&model, &operations, Budget::default());
        prop_assert_eq!(verdict.is_linearizable(), by_brute_force(&model, &operations, 0, 0), "{}", verdict.text(&model, &operations));
        if let Verdict::Linearizable { order, .. } = &verdict {
            prop_assert!(is_an_order(&model, &operations, order), "{:?}", order);
        }
    }
}

fn at(call: u64, returned: u64, input: Ask, output: u8) -> OperationOf<Register> {
    Operation {
        client: Name::from("<b>"),
        call: Duration::from_millis(call),
        returned: Some(Duration::from_millis(returned)),
        input,
        outcome: Outcome::Done(output),
    }
}

#[test]
fn a_budget_that_is_spent_is_no_verdict() {
    let operations: Vec<_> = (0..9)
        .map(|_| at(0, 9, Ask::Add, 0))
        .chain([at(10, 11, Ask::Read, 0)])
        .collect();
    let model = Register { forgets: false };
    let verdict = check(&model, &operations, Budget { steps: 15 });
    assert!(matches!(verdict, Verdict::Unknown { steps: 15, .. }), "{verdict:?}");
    assert!(check(&model, &operations, Budget::default()).is_violation());
}

#[test]
fn what_touches_may_overlap() {
    let model = Register { forgets: false };
    let touching = [at(0, 5, Ask::Write(1), 0), at(5, 6, Ask::Read, 0)];
    assert!(check(&model, &touching, Budget::default()).is_linearizable());
    let apart = [at(0, 4, Ask::Write(1), 0), at(5, 6, Ask::Read, 0)];
    assert!(check(&model, &apart, Budget::default()).is_violation());
}

#[test]
fn the_picture_stands_alone() {
    let operations = [
        at(0, 4, Ask::Write(1), 0),
        at(5, 6, Ask::Read, 0),
        at(7, 8, Ask::Read, 1),
    ];
    let model = Register { forgets: false };
    let page = check(&model, &operations, Budget::default()).html("a & b", &model, &operations);
    assert_eq!(page.matches("<rect").count(), 2, "the last comes after what is wrong");
    assert_eq!(page.matches("class=\"stuck\"").count(), 1);
    assert_eq!(page.matches("<circle").count(), 1);
    assert!(page.contains("a &amp; b") && page.contains("&lt;b&gt;") && !page.contains("<b>"));
    assert!(page.contains("it is 1") && page.ends_with("</html>\n"));
    assert!(!page.contains("href") && !page.contains("src="));
}

#[test]
fn a_whole_history_is_judged_by_its_objects() {
    let recorder = Recorder::new();
    let conversation = Name::from("conv_1");
    for (agent, epoch) in [("agt_1", 1), ("agt_2", 3), ("agt_3", 3)] {
        let (conversation, agent) = (conversation.clone(), Name::from(agent));
        let accept = Input::Accept {
            conversation,
            agent: agent.clone(),
            epoch,
        };
        recorder.call(agent, accept).done(Output::Ack {
            seq: None,
            epoch: Some(epoch),
        });
        std::thread::yield_now();
    }
    let text = Name::from("hello");
    let by = By::Customer;
    recorder
        .call("customer", Input::Post { conversation, text, by })
        .unknown();
    let findings = check_history(&recorder.history(), &Rules::default(), Budget::default());
    assert_eq!((findings.objects, findings.operations, findings.largest), (4, 7, 4));
    assert!(!findings.all_is_well() && findings.undecided.is_empty());
    let [finding] = &findings.violations[..] else {
        panic!("{findings}");
    };
    assert_eq!(finding.object, "conv_1");
    assert!(
        findings.to_string().contains("epoch 3 is agt_2's, not agt_3's"),
        "{findings}"
    );
    let folder = std::env::temp_dir().join(format!("findings-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    findings.write(&folder).expect("they can be written");
    let text = std::fs::read_to_string(folder.join("conv_1.txt"));
    let html = std::fs::read_to_string(folder.join("conv_1.html"));
    std::fs::remove_dir_all(&folder).expect("it can be removed");
    assert_eq!(
        (text.ok(), html.ok()),
        (Some(finding.text.clone()), Some(finding.html.clone()))
    );
}
