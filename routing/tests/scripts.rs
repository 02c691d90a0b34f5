//! Runs `tests/scripts/*.txt`: commands in, full trace out. After every command all invariants are checked, the events are
//! folded and compared with the state, a refusal must have changed nothing, and the state must survive being written and read.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p kaiwa-routing --test scripts` regenerates the traces; read them before they are committed.

#[path = "script/parse.rs"]
mod parse;
#[path = "script/participants.rs"]
mod participants;
#[path = "script/policy.rs"]
mod policy;
#[path = "script/runner.rs"]
mod runner;
#[path = "script/settings.rs"]
mod settings;
#[path = "script/trace.rs"]
mod trace;

use std::path::Path;

fn run(part: impl Fn(&str) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| {
            entry
                .expect("an entry of it")
                .file_name()
                .into_string()
                .expect("a name in UTF-8")
        })
        .filter(|name| name.ends_with(".txt") && part(name))
        .collect();
    names.sort();
    for name in names {
        goldenscript::run(&mut runner::Runner::new(), folder.join(&name))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn scripts_of_the_state() {
    run(|name| !name.starts_with("qm_"));
}

#[test]
fn scripts_of_the_queue_manager() {
    run(|name| name.starts_with("qm_"));
}
