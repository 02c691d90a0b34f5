use super::*;

const NONE: [(String, String); 0] = [];

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn mistakes_of(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let errors = NodeConfig::parse("test.toml", text, environment(variables)).expect_err("must be refused");
    errors.mistakes.iter().map(ToString::to_string).collect()
}

const SMALLEST: &str = "[node]\nid = 1\ndata_dir = \"/d\"\n[tls]\ninsecure_plaintext = true\n";

#[test]
fn the_default_file_is_a_valid_configuration() {
    let file = reference::default_file();
    let config = NodeConfig::parse("default", &file, NONE).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.node.id, NodeId(1));
    assert_eq!(config.cluster.shard_count, 4);
    assert!(config.tls.is_some());
    for setting in SETTINGS {
        assert!(
            file.contains(&format!("{} = ", setting.key)),
            "{} is missing",
            setting.path()
        );
    }
}

#[test]
fn every_default_is_taken() {
    let environment = [];
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        let mut draft = Draft::new(&environment);
        let value = toml_input::parse_value(setting.default).unwrap_or_else(|| panic!("{}", setting.path()));
        assert!(setting.kind.read(&value, &mut draft).is_ok(), "{}", setting.path());
    }
}

#[test]
fn what_is_not_written_has_its_default() {
    let config = NodeConfig::parse("t", SMALLEST, NONE).unwrap();
    assert_eq!(config.node.cluster_advertise, "127.0.0.1:7000".parse().unwrap());
    assert_eq!(config.node.api_advertise, "http://127.0.0.1:8000");
    assert_eq!(config.tls, None);
    assert_eq!(config.auth.audience, "kaiwa");
    let cluster = config.to_cluster_config();
    assert_eq!((cluster.node, cluster.snapshot_entries), (NodeId(1), 20_000));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = "\
[cluster]
heartbeat_ms = \"fast\"
electoin_min_ms = 300
[node]
id = 0
data_dir = 5
api_lisen = \"127.0.0.1:1\"
admin_listen = \"localhost\"
[log]
format = \"jsn\"
filter = \"loud\"
[nodes]
x = 1
";
    let found = mistakes_of(text, &[("KAIWA_NODE__DRAIN_S", "soon"), ("KAIWA_NODE__IDD", "3")]);
    let all = found.join("\n");
    for expected in [
        "line 2: `cluster.heartbeat_ms`: the text \"fast\" does not fit; wanted is a whole number from 10 to 10000",
        "line 3: `cluster.electoin_min_ms`: unknown key; did you mean `election_min_ms`?",
        "line 5: `node.id`: the number 0 does not fit; wanted is a whole number from 1",
        "line 6: `node.data_dir`: the number 5 does not fit; wanted is a path",
        "line 7: `node.api_lisen`: unknown key; did you mean `api_listen`?",
        "line 8: `node.admin_listen`: the text \"localhost\" does not fit; wanted is an IP address and a port",
        "line 10: `log.format`: the text \"jsn\" does not fit; did you mean \"json\"?",
        "line 11: `log.filter`: \"loud\" is no filter",
        "line 12: `nodes`: unknown section; did you mean `node`?",
        "environment KAIWA_NODE__DRAIN_S: `node.drain_s`: the text \"soon\" does not fit",
        "environment KAIWA_NODE__IDD: `node.idd`: names no setting; did you mean `id`?",
        "file: `tls.authority`: missing; make the files with `kaiwa cluster certs`",
    ] {
        assert!(all.contains(expected), "missing: {expected}\nin:\n{all}");
    }
}

#[test]
fn the_environment_goes_over_the_file() {
    let variables = environment(&[
        ("KAIWA_NODE__ID", "7"),
        ("KAIWA_NODE__API_LISTEN", "127.0.0.1:8107"),
        ("KAIWA_AUTH__ISSUERS", "a, b"),
        ("KAIWA_ADMIN_KEY", "no setting, and no mistake"),
    ]);
    let config = NodeConfig::parse("t", SMALLEST, variables).unwrap();
    assert_eq!(config.node.id, NodeId(7));
    assert_eq!(config.node.api_advertise, "http://127.0.0.1:8107");
    assert_eq!(config.auth.issuers, ["a", "b"]);
}

#[test]
fn what_is_needed_is_missed() {
    let all = mistakes_of("", &[]).join("\n");
    for path in [
        "node.id",
        "node.data_dir",
        "tls.authority",
        "tls.certificate",
        "tls.key",
    ] {
        assert!(all.contains(&format!("`{path}`: missing")), "{path} in {all}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let text = format!(
        "{SMALLEST}key = \"k.pem\"\n[cluster]\nheartbeat_ms = 200\nelection_max_ms = 300\n[auth]\nleeway_s = 1\n"
    );
    let all = mistakes_of(
        &text,
        &[
            ("KAIWA_NODE__API_LISTEN", "0.0.0.0:7000"),
            ("KAIWA_NODE__CLUSTER_LISTEN", "0.0.0.0:7000"),
        ],
    )
    .join("\n");
    for expected in [
        "`tls.insecure_plaintext`: links cannot be both",
        "`cluster.election_min_ms`: 300 ms, with a heartbeat of 200 ms",
        "`cluster.election_max_ms`: 300 ms is not above",
        "`node.cluster_advertise`: other nodes cannot connect to 0.0.0.0:7000",
        "`node.api_advertise`: clients cannot be sent to 0.0.0.0:7000",
        "`node.api_listen`: 0.0.0.0:7000 is taken by `node.cluster_listen`",
    ] {
        assert!(all.contains(expected), "missing: {expected}\nin:\n{all}");
    }
}

#[test]
fn admin_keys_come_from_the_file_or_a_variable_and_are_never_shown() {
    let text = format!(
        "{SMALLEST}[auth]\nadmin_keys = [{{ name = \"ops\", key = \"0123456789abcdef\" }}, {{ name = \"ci\", key_env = \"CI_KEY\" }}]\n"
    );
    let config = NodeConfig::parse("t", &text, environment(&[("CI_KEY", "fedcba9876543210")])).unwrap();
    assert_eq!(config.auth.admin_keys[1].key, "fedcba9876543210");
    assert!(!format!("{config:?}").contains("0123456789abcdef"));

    let all = mistakes_of(&text, &[]).join("\n");
    assert!(all.contains("the variable CI_KEY is not set"), "{all}");
    let bad = format!("{SMALLEST}[auth]\nadmin_keys = [{{ name = \"ops\", key = \"sesame\", kye = \"x\" }}]\n");
    let all = mistakes_of(&bad, &[]).join("\n");
    assert!(
        all.contains("6 bytes are too few") && all.contains("did you mean `key`?"),
        "{all}"
    );
    assert!(!all.contains("sesame"), "{all}");
}

#[test]
fn the_reference_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/configuration.md");
    if std::env::var_os("KAIWA_UPDATE").is_some() {
        std::fs::write(&path, reference::document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference::document(),
        "ops/configuration.md is out of date: run the test with KAIWA_UPDATE=1"
    );
}
