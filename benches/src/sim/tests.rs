//! The exact results at modest size. Seeds are fixed, so that a correct core passes every time; a core that serves in another
//! order, leaves work beside a free agent or loses count of who waits does not.

use routing::settings::CrossQueue;

use super::case::{self, Case, Rates, Run};
use super::measure::Size;
use super::report::{self, Verdict, verdict};
use super::run_all;

const SIZE: Size = Size {
    arrivals: 60_000,
    batches: 30,
    seed: 1,
};

fn rates(agents: u32) -> Rates {
    Rates {
        mu: 1.0,
        theta: 0.5,
        agents,
        slots: 1,
    }
}

fn run(cases: &[Case], arrivals: u64) -> Vec<Run> {
    let size = Size { arrivals, ..SIZE };
    run_all(cases, size, 2).expect("the cases are sound")
}

/// Every value is right, and told well enough from wrong ones.
fn agree(cases: &[Case], arrivals: u64) {
    let runs = run(cases, arrivals);
    assert!(report::good(&runs), "{}", report::text(&runs));
}

/// Names of the values that are found to be wrong.
fn differ(case: &Case) -> Vec<String> {
    let runs = run(std::slice::from_ref(case), 30_000);
    let rows = runs[0].rows.iter();
    let wrong = rows.filter(|row| verdict(row, runs[0].rows.len()) == Verdict::Differs);
    wrong.map(|row| row.name.clone()).collect()
}

#[test]
fn one_class() {
    let chats = Rates {
        mu: 0.125,
        slots: 3,
        ..rates(10)
    };
    let patient = Rates {
        theta: 0.0,
        ..rates(10)
    };
    let impatient = [
        case::erlang(10.0, rates(10), 1.0 / 3.0).expect("rates"),
        case::erlang(3.6, chats, 0.5).expect("rates"),
    ];
    agree(&impatient, SIZE.arrivals);
    // Without abandonment waits hang together for longer, so that it takes more of them to know as much.
    agree(&[case::erlang(8.0, patient, 0.5).expect("rates")], 200_000);
}

#[test]
fn several_classes() {
    let cases = [
        case::priorities(&[4.0, 6.0], rates(10)).expect("rates"),
        case::priorities(&[3.0, 4.0, 5.0], rates(11)).expect("rates"),
        case::n_model([4.0, 3.0], rates(7), 3).expect("rates"),
        case::fixed_ratio([4.0, 6.0], [0.2, 0.8], rates(10)).expect("rates"),
    ];
    agree(&cases, SIZE.arrivals);
}

#[test]
fn customers_that_follow_a_sine() {
    agree(&[case::load(100.0, 60.0, 24.0, 1.0).expect("rates")], SIZE.arrivals);
}

/// What a model does that is not the one that was solved must not pass for it.
#[test]
fn a_wrong_core_is_found_out() {
    let mut upside_down = case::priorities(&[4.0, 6.0], rates(10)).expect("rates");
    upside_down.model.classes[0].priority = 0;
    let wrong = differ(&upside_down);
    assert!(wrong.contains(&"E[W] of class 1".to_owned()), "{wrong:?}");
    assert!(
        !wrong.contains(&"E[Q]".to_owned()),
        "any order has the same queue in all: {wrong:?}"
    );

    let mut anybody_first = case::n_model([4.0, 3.0], rates(7), 3).expect("rates");
    anybody_first.model.groups[0].serves = vec![(0, 2)];
    let wrong = differ(&anybody_first);
    assert!(wrong.contains(&"occupancy of group 1".to_owned()), "{wrong:?}");

    let mut by_priority = case::fixed_ratio([4.0, 6.0], [0.2, 0.8], rates(10)).expect("rates");
    by_priority.model.cross_queue = CrossQueue::PriorityThenAge;
    let wrong = differ(&by_priority);
    assert!(wrong.contains(&"share of E[Q] of class 1".to_owned()), "{wrong:?}");
    assert!(!wrong.contains(&"E[Q]".to_owned()), "{wrong:?}");

    let mut one_too_few = case::erlang(10.0, rates(10), 1.0 / 3.0).expect("rates");
    one_too_few.model.groups[0].agents = 9;
    let wrong = differ(&one_too_few);
    assert!(wrong.contains(&"E[W]".to_owned()), "{wrong:?}");
    assert!(
        !wrong.contains(&"E[Q] − λE[W]".to_owned()),
        "the laws hold for any number: {wrong:?}"
    );
}

#[test]
fn equal_seeds_give_equal_results() {
    let case = case::erlang(10.0, rates(10), 0.5).expect("rates");
    let means = |seed| {
        let size = Size {
            arrivals: 2_000,
            seed,
            ..SIZE
        };
        let run = case.run(size).expect("it runs");
        run.rows.iter().map(|row| row.simulated.mean).collect::<Vec<_>>()
    };
    assert_eq!(means(1), means(1));
    assert_ne!(means(1), means(2));
}
