//! The lab itself: what it breaks is broken, what it heals is whole, and nothing of it is left.
//!
//! Has a `main` of its own, because a lab is entered before there are threads. Arguments pick checks by parts of their
//! names; `hold` is for the check that kills a lab from outside.
#![allow(clippy::print_stdout)]

#[path = "lab_net/clocks.rs"]
mod clocks;
#[path = "lab_net/cuts.rs"]
mod cuts;
#[path = "lab_net/disturbances.rs"]
mod disturbances;
#[path = "lab_net/ends.rs"]
mod ends;
#[path = "lab_net/talk.rs"]
mod talk;

use std::time::Instant;

use anyhow::{Context, Result};
use chaos_tests::lab;

type Check = (&'static str, fn() -> Result<()>);

/// Outside, before the lab is entered.
const OUTSIDE: [Check; 3] = [
    ("killed_from_outside_all_of_a_lab_ends", ends::killed),
    ("interrupted_all_of_a_lab_ends", ends::interrupted),
    ("a_lab_ends_with_the_status_of_its_program", ends::status),
];

/// Each in a lab of its own.
const INSIDE: [Check; 14] = [
    ("everybody_hears_everybody", cuts::everybody_hears_everybody),
    ("a_cut_line_goes_on_when_healed", cuts::a_cut_line_goes_on_when_healed),
    ("partitions_cut_what_they_say", cuts::partitions_cut_what_they_say),
    ("a_reset_line_resets_the_sender", cuts::a_reset_line_resets_the_sender),
    ("resets_are_counted", cuts::resets_are_counted),
    (
        "severed_connections_end_for_both",
        cuts::severed_connections_end_for_both,
    ),
    (
        "a_stream_survives_loss_and_delay",
        disturbances::a_stream_survives_loss_and_delay,
    ),
    (
        "datagrams_come_twice_and_out_of_order",
        disturbances::datagrams_come_twice_and_out_of_order,
    ),
    ("a_fixed_delay_is_kept", disturbances::a_fixed_delay_is_kept),
    ("a_seed_repeats_what_is_lost", disturbances::a_seed_repeats_what_is_lost),
    (
        "a_rate_is_kept_and_idle_costs_nothing",
        disturbances::a_rate_is_kept_and_idle_costs_nothing,
    ),
    (
        "an_undisturbed_detour_is_fast",
        disturbances::an_undisturbed_detour_is_fast,
    ),
    (
        "the_wall_clock_jumps_and_drifts_alone",
        clocks::the_wall_clock_jumps_and_drifts_alone,
    ),
    ("all_clocks_drift", clocks::all_clocks_drift),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    match arguments.first().map(String::as_str) {
        Some("hold") => return ends::hold(),
        Some("leave") => return ends::leave(),
        Some("inside") => return inside(arguments.get(1).context("a check's name")?),
        _ => {}
    }
    if let Err(why) = lab::is_possible() {
        println!("SKIPPED, all of it: {why}");
        return Ok(());
    }
    let picked = |(name, _): &&Check| arguments.is_empty() || arguments.iter().any(|part| name.contains(part));
    for (name, check) in OUTSIDE.iter().filter(picked) {
        timed(name, *check)?;
    }
    for (name, _) in INSIDE.iter().filter(picked) {
        timed(name, || ends::in_a_lab_of_its_own(name))?;
    }
    Ok(())
}

fn timed(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    check().with_context(|| name.to_owned())?;
    println!("{name}: ok, {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn inside(name: &str) -> Result<()> {
    lab::enter()?;
    let (_, check) = INSIDE.iter().find(|check| check.0 == name).context("no such check")?;
    check()
}
