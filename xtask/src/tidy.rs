//! House rules, held by tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

/// The arrows between the crates of the house; whoever adds one has to say so here.
const ARROWS: &[(&str, &str)] = &[
    ("kaiwa", "kaiwa-cluster"),
    ("kaiwa", "kaiwa-routing"),
    ("kaiwa-bench", "kaiwa"),
    ("kaiwa-bench", "kaiwa-routing"),
    ("kaiwa-chaos-tests", "kaiwa"),
    ("kaiwa-chaos-tests", "kaiwa-routing"),
];

/// Words that may not stand in the sources of a crate, and why.
const BANNED: &[(&str, &str, &str)] = &[
    (
        "cluster/src",
        "LeaseRead",
        "a lease read is unsafe once a dead leader's lease is dropped early: use `shards/reading.rs`",
    ),
    (
        "cluster/src",
        "ReadPolicy",
        "openraft's ReadIndex can count answers from before the read: use `shards/reading.rs`",
    ),
    (
        "cluster/src",
        "inearizer",
        "openraft's ReadIndex can count answers from before the read: use `shards/reading.rs`",
    ),
    ("routing/src", "std::time", "the log's stamp is the time"),
    ("routing/src", "HashMap", "its order could leak into what decides"),
    ("routing/src", "f64", "floats differ between machines"),
    ("routing/src", "tokio", "routing is plain values"),
];

/// Where a banned word may stand all the same, and why.
const ALLOWED: &[(&str, &str, &str)] = &[(
    "routing/src/queue_manager/hashing.rs",
    "HashMap",
    "a private map with a fixed hash, only ever looked into",
)];

/// Longest source file, in lines: past it a file is asked to become two.
const FILE_LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

fn sources(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for part in ["routing", "cluster", "node", "benches", "chaos-tests", "xtask"] {
        sources(&root().join(part), &mut found);
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

#[test]
fn arrows_between_crates_are_those_of_the_house() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata answers");
    let members: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut arrows = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| members.contains(d.name.as_str()))
        {
            arrows.insert((package.name.as_str(), dependency.name.as_str()));
        }
    }
    let expected: BTreeSet<(&str, &str)> = ARROWS.iter().copied().collect();
    assert_eq!(arrows, expected, "an arrow between crates was added or removed");
}

#[test]
fn banned_words_are_absent() {
    let mut found = Vec::new();
    for &(part, word, why) in BANNED {
        let mut files = Vec::new();
        sources(&root().join(part), &mut files);
        let allowed = |file: &Path| {
            ALLOWED
                .iter()
                .any(|(path, banned, _)| *banned == word && file.ends_with(path))
        };
        for file in files.into_iter().filter(|file| !allowed(file)) {
            let text = fs::read_to_string(&file).expect("a source can be read");
            for (number, line) in text.lines().enumerate() {
                if line.contains(word) && !line.trim_start().starts_with("//") {
                    found.push(format!("{}:{}: `{word}`: {why}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_are_short_and_named_after_their_module() {
    let mut found = Vec::new();
    for file in all_sources() {
        let lines = fs::read_to_string(&file).expect("a source can be read").lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines; at most {FILE_LINES_MAX}", file.display()));
        }
        if file.file_name().is_some_and(|name| name == "mod.rs") {
            found.push(format!("{}: write `name.rs` beside `name/`", file.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_crate_takes_the_shared_lints() {
    for part in ["routing", "cluster", "node", "benches", "chaos-tests", "xtask"] {
        let manifest = fs::read_to_string(root().join(part).join("Cargo.toml")).expect("a manifest can be read");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{part}/Cargo.toml lacks the shared lints"
        );
    }
}

/// `ops/routing-capabilities.md` names every row R1–R44 once, in order, and only scripts that exist; every script is named or
/// stands for more than one row.
#[test]
fn every_capability_has_its_script() {
    let page = fs::read_to_string(root().join("ops/routing-capabilities.md")).expect("the page of capabilities");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| R"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let numbers: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let wanted: Vec<String> = (1..=44).map(|n| format!("R{n}")).collect();
    assert_eq!(numbers, wanted);
    for row in &rows {
        assert_eq!(row.len(), 5, "{}: number, capability, script, used by, seen in", row[0]);
        let scripts: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        let said_elsewhere = ["R40", "R43"].contains(&row[0]);
        assert!(said_elsewhere || !scripts.is_empty(), "{} has no script", row[0]);
        for script in scripts {
            let file = root().join("routing/tests/scripts").join(format!("{script}.txt"));
            assert!(file.exists(), "{}: there is no script {}", row[0], file.display());
        }
    }
}
