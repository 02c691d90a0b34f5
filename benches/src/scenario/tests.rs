use std::path::{Path, PathBuf};

use node::tenant_file::TenantFile;

use super::*;

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect()
}

#[test]
fn every_shipped_scenario_is_right_and_named_after_its_file() {
    let files = shipped();
    assert!(files.len() >= 8, "{files:?}");
    for path in files {
        let scenario = Scenario::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            Some(scenario.name.as_str()),
            path.file_stem().and_then(|stem| stem.to_str())
        );
        assert!(!scenario.about.is_empty(), "{}", scenario.name);
        for tenant in 0..scenario.tenants.len() {
            let secret = "a secret for tests only, of more than 32 bytes";
            let text = policy::tenant_file(&scenario, tenant, "t", "k", secret);
            let file = TenantFile::parse(&scenario.name, &text, []).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(
                file.rules.len(),
                scenario.customers.iter().filter(|c| c.tenant == tenant).count()
            );
        }
    }
}

#[test]
fn every_mistake_has_its_line() {
    let text = r#"
[scenario]
name = "wrong"
lenght = "30s"

[[queue]]
name = "general"

[[agents]]
name = "desk"
queues = ["genral"]
handle = { exponental = "3m" }

[[customers]]
name = "many"
queue = "general"
arrivals = { kind = "poison", rate = 3 }
patience = "3"
"#;
    let error = Scenario::parse("wrong.toml", text, Path::new("."))
        .unwrap_err()
        .to_string();
    for expected in [
        "line 4: `scenario.lenght`: unknown key; did you mean `length`?",
        "line 11: `agents[0].queues`: there is no queue \"genral\"; did you mean `general`?",
        "line 12: `agents[0].handle.exponental`: unknown key; did you mean `exponential`?",
        "line 17: `customers[0].arrivals.kind`: \"poison\" is no kind of arrivals; did you mean `poisson`?",
        "line 18: `customers[0].patience`: the text \"3\" does not fit; a duration is written like",
    ] {
        assert!(error.contains(expected), "{expected}\n{error}");
    }
    assert!(error.starts_with("wrong.toml: 5 mistakes"), "{error}");
}

#[test]
fn what_is_missing_is_said() {
    let error = Scenario::parse("empty.toml", "", Path::new("."))
        .unwrap_err()
        .to_string();
    for expected in [
        "`scenario`: missing",
        "`queue`: missing",
        "`agents`: missing",
        "`customers`: missing",
    ] {
        assert!(error.contains(expected), "{expected}\n{error}");
    }
}
