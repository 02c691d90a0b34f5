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

/// Whatever is combined, what a queue manager decides the state must take: a decision that is refused is taken again for ever.
#[test]
fn every_combination_of_policies_is_served() {
    let cross = "priority_then_age strict_rank weighted longest_wait deadline ratio cmu";
    let orders = ["", "ageing=30s", "credit=0@1/5@2/8@4", "targets=0@90s/5@30s"];
    let choices = "longest_idle least_loaded most_skilled least_skilled round_robin fixed_order weighted_random fewest_today \
                   least_slowdown";
    for cross in cross.split_whitespace() {
        for order in orders {
            for choice in choices.split_whitespace() {
                let script = format!(
                    "quiet decisions\ntenant acme\nrouting cross={cross} batch=8\nskill billing\n\
                     queue support choice={choice} {order}\n\
                     agent zoe queues=support skills=billing@9 chat=2\nagent ken queues=support skills=billing@8 chat=2\n\
                     start c1 queues=support required=billing@1\nstart c2 queues=support required=billing@5\nstart c3 queues=support\n\
                     sign_in zoe\nsign_in ken\nrun\nstart c4 queues=support\nrun\nshow decision c1\nshow decision c4\n---\n"
                );
                let printed = goldenscript::generate(&mut runner::Runner::new(), &script)
                    .unwrap_or_else(|error| panic!("{cross} {order} {choice}: {error}"));
                let offers = printed
                    .lines()
                    .filter(|line| line.starts_with("decided: offer"))
                    .count();
                assert_eq!(offers, 4, "{cross} {order} {choice}:\n{printed}");
                assert!(!printed.contains("refused"), "{cross} {order} {choice}:\n{printed}");
            }
        }
    }
}
