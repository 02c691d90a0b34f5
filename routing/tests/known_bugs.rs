//! Tests of the tests: bugs that are known are put back in, one after the other, and the simulation must find each.
//!
//! One test in a program of its own, because the switches (crate `fail`, feature `failpoints`) hold for the whole process.

#[path = "simulation/harness.rs"]
mod harness;

use harness::run::{Settings, run};

/// Within so many seeds a bug that was put in must have been found.
const SEEDS: u64 = 60;

/// Where the switch is, and the letters of which one must be violated; `P`: the core itself notices.
const BUGS: [(&str, &str); 19] = [
    ("routing::epoch_unchecked", "C"),
    ("routing::offer_unchecked", "C"),
    ("routing::capacity_unchecked", "D"),
    ("routing::repeat_done_again", "A"),
    ("routing::windows_lost_in_snapshot", "AH"),
    ("routing::snapshot_without_side_tables", "EH"),
    ("routing::timers_only_in_memory", "HI"),
    ("routing::index_not_rebuilt", "HP"),
    ("routing::diverges", "H"),
    ("routing::deadline_unchecked", "I"),
    ("routing::clock_unclamped", "B"),
    ("routing::age_lost", "J"),
    ("queue_manager::newest_first", "J"),
    ("queue_manager::reservation_forgotten", "C"),
    ("queue_manager::room_unreserved", "D"),
    ("queue_manager::overdue_forgotten", "I"),
    ("queue_manager::timers_unheard", "I"),
    ("queue_manager::available_unheard", "I"),
    ("queue_manager::unknown_forgotten", "I"),
];

#[test]
fn every_known_bug_is_found() {
    // Panics of the core are findings here, not noise.
    std::panic::set_hook(Box::new(|_| {}));
    let mut table = String::from("| bug | seed | violated | steps until found | how |\n|---|---|---|---|---|\n");
    let mut missed = Vec::new();
    for (bug, letters) in BUGS {
        fail::cfg(bug, "return").expect("a switch");
        let found = (0..SEEDS).find_map(|seed| Some((seed, run(&Settings::new(seed)).found?)));
        fail::remove(bug);
        let Some((seed, found)) = found else {
            missed.push(format!("{bug} went unnoticed"));
            continue;
        };
        let how: String = found.what.chars().take(140).collect();
        table += &format!("| {bug} | {seed} | {} | {} | {how} |\n", found.letter, found.step);
        if !letters.contains(found.letter) {
            missed.push(format!("{bug} was taken for {found:?}"));
        }
    }
    let _ = std::panic::take_hook();
    eprintln!("{table}");
    assert!(missed.is_empty(), "{missed:#?}");
}
