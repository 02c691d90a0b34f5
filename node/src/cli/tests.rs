use std::collections::BTreeMap;

use clap::CommandFactory;

use super::*;
use crate::api::admin::cluster::{ShardBody, StatusBody};

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn durations_and_roles_are_read() {
    let parsed = Cli::try_parse_from(["kaiwa", "demo", "--for", "1m30s", "--port-base", "9100"]).unwrap();
    let Command::Demo(args) = parsed.command else {
        panic!("{parsed:?}")
    };
    assert_eq!((args.for_, args.port_base), (Some(Duration::from_secs(90)), 9100));
    for wrong in [
        vec!["kaiwa", "demo", "--for", "soon"],
        vec!["kaiwa", "serve"],
        vec![
            "kaiwa", "token", "issue", "--tenant", "acme", "--role", "agent", "--sub", "a", "--kid", "k",
        ],
        vec!["kaiwa", "cluster", "init"],
    ] {
        assert!(Cli::try_parse_from(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_key_is_in_no_debug_output() {
    let parsed = Cli::try_parse_from(["kaiwa", "cluster", "status", "--key", "sesame-sesame-sesame"]).unwrap();
    assert!(!format!("{parsed:?}").contains("sesame"), "{parsed:?}");
}

fn body(node: u64, digest: &str, digest_index: u64) -> StatusBody {
    let shard = ShardBody {
        shard: 1,
        role: if node == 1 { "leader" } else { "follower" }.to_owned(),
        term: 4,
        leader: Some(1),
        voters: vec![1, 2],
        learners: Vec::new(),
        last_index: 12,
        commit_index: 11,
        applied_index: 10,
        snapshot_index: 5,
        purged_index: 2,
        digest_index,
        digest: digest.to_owned(),
        pending: 0,
        lag: if node == 1 {
            BTreeMap::from([("2".to_owned(), 3)])
        } else {
            BTreeMap::new()
        },
    };
    StatusBody {
        node,
        cluster: Some("c0ffee".to_owned()),
        nodes: [(1, "10.0.0.1:7000"), (2, "10.0.0.2:7000")]
            .map(|(n, a)| (n.to_string(), a.to_owned()))
            .into(),
        public: BTreeMap::from([("1".to_owned(), "http://one".to_owned())]),
        draining: vec![2],
        shards: vec![shard],
    }
}

#[test]
fn the_status_is_a_table() {
    let text = status::render(&[body(1, "aa", 10), body(2, "aa", 10)]);
    let expected = "\
cluster  c0ffee

NODE  CLUSTER ADDRESS  PUBLIC ADDRESS  STATE
1     10.0.0.1:7000    http://one      answered
2     10.0.0.2:7000    –               answered, draining

SHARD  ON  ROLE      LEADER  TERM  VOTERS  LEARNERS  LAST  COMMITTED  APPLIED  SNAPSHOT  PURGED  WAITING  LAG  DIGEST
1      1   leader    1       4     1,2     –         12    11         10       5         2       0        2:3  aa@10
1      2   follower  1       4     1,2     –         12    11         10       5         2       0        –    aa@10

replicas with digests of the same index agree";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn differing_digests_are_told_only_at_the_same_index() {
    assert_eq!(status::differing(&[body(1, "aa", 10), body(2, "bb", 9)]), None);
    let words = status::differing(&[body(1, "aa", 10), body(2, "bb", 10)]).unwrap();
    assert!(
        words.contains("shard 1 at index 10") && words.contains("node 1 has aa"),
        "{words}"
    );
}

#[test]
fn why_prints_sentences_or_what_there_is() {
    let read = |json| serde_json::from_value::<why::Answer>(json).unwrap();
    let old = serde_json::json!({
        "summary": "of 3 agents none could take it", "position": 2, "removed": [{"predicate": "skill:billing", "agents": 3}],
    });
    let lines = "of 3 agents none could take it\nits position is 2\n  skill:billing: removes 3";
    assert_eq!(why::render(&read(old), false), lines);
    let new = serde_json::json!({"summary": "s", "sentences": ["It waits.", "Nobody has billing."], "removed": []});
    assert_eq!(why::render(&read(new), false), "It waits.\nNobody has billing.");
    let parsed = Cli::try_parse_from([
        "kaiwa",
        "why",
        "conv_0000000000000000000000000000002a",
        "--agent",
        "aiko",
    ]);
    assert!(matches!(parsed.unwrap().command, Command::Why(_)));
    assert!(Cli::try_parse_from(["kaiwa", "why", "42"]).is_err());
}
