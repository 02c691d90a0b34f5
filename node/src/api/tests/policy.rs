//! Policies as a whole: linted, compared, versioned, taken back.

use axum::body::Body;
use axum::http::Request;
use routing::ids::QueueId;
use serde_json::{Value, json};

use super::rig::{API_KEY, OURS, QUEUE, Rig};

fn path(rest: &str) -> String {
    format!("/v1/admin/tenants/{OURS}/policy{rest}")
}

fn paths(changes: &Value) -> Vec<&str> {
    changes
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["path"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_policy_is_looked_at_saved_and_taken_back() {
    let rig = Rig::new().await;
    let before = rig.admin("GET", &path(""), None).await.ok();
    let (version, old) = (before["version"].as_u64().unwrap(), before["policy"].clone());
    let queue = QUEUE.to_string();
    let mut new = old.clone();
    new["queues"][&queue]["offer_timeout_ms"] = json!(25_000);
    new["calendars"]["cal_00000000000000000000000000000001"] = json!({
        "name": "office", "zone": "Asia/Tokyo", "weekly": [{"weekday": 1, "from_minute": 540, "to_minute": 1080}],
    });
    let name = old["queues"][&queue]["name"].as_str().unwrap().to_owned();
    let changed = format!("queues.{name}.offer_timeout_ms");

    let rows = rig.node.rows_hash();
    let asked = rig.admin("PUT", &path("?dry_run=true"), Some(new.clone())).await.ok();
    assert_eq!(paths(&asked["changes"]), ["calendars.office", &*changed]);
    assert_eq!(asked["changes"][1]["after"], 25_000);
    let codes: Vec<&Value> = asked["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["code"])
        .collect();
    assert!(codes.contains(&&json!("calendar_unused")), "{codes:?}");
    assert!(rows == rig.node.rows_hash(), "it was asked only");

    // Calendars are of the state, beside this file's subject.
    new["calendars"] = json!({});
    let stale = rig
        .admin(
            "PUT",
            &path(&format!("?expected_version={}", version + 1)),
            Some(new.clone()),
        )
        .await;
    assert_eq!(stale.problem(), (409, "stale_version"));
    let by_header = Request::put(path("?note=quicker"))
        .header("x-api-key", API_KEY)
        .header("content-type", "application/json")
        .header("if-match", format!("\"{version}\""))
        .body(Body::from(new.to_string()))
        .unwrap();
    let saved = Rig::send(&rig.admin, by_header).await.ok();
    assert_eq!(
        (saved["version"].as_u64(), paths(&saved["changes"])),
        (Some(version + 1), vec![&*changed])
    );
    assert_eq!(rig.admin("GET", &path(""), None).await.ok()["policy"], new);

    let list = rig.admin("GET", &path("/versions"), None).await.ok();
    let newest = &list["versions"][0];
    assert_eq!(
        (newest["version"].as_u64(), &newest["note"]),
        (Some(version + 1), &json!("quicker"))
    );
    assert_eq!(newest["changed"], json!([format!("queue {name}")]));
    assert!(newest["by"].as_str().unwrap().starts_with("admin "));
    let one = rig
        .admin("GET", &path(&format!("/versions/{}", version + 1)), None)
        .await
        .ok();
    assert_eq!((&one["policy"], paths(&one["changes"])), (&new, vec![&*changed]));
    let earlier = rig
        .admin("GET", &path(&format!("/versions/{version}")), None)
        .await
        .ok();
    assert_eq!(earlier["policy"], old);
    let unknown = rig.admin("GET", &path("/versions/99"), None).await;
    assert_eq!(unknown.problem(), (404, "unknown_version"));

    let back = rig.admin("PUT", &path(""), Some(earlier["policy"].clone())).await.ok();
    assert_eq!(back["version"].as_u64(), Some(version + 2));
    assert_eq!(rig.admin("GET", &path(""), None).await.ok()["policy"], old);
    let again = rig.admin("PUT", &path(""), Some(old)).await.ok();
    assert_eq!(
        (again["version"].as_u64(), &again["changes"]),
        (Some(version + 2), &json!([])),
        "nothing differs"
    );
}

#[tokio::test]
async fn a_policy_too_large_for_one_command_is_refused_and_can_be_saved_in_parts() {
    let rig = Rig::new().await;
    let whole = rig.admin("GET", &path(""), None).await.ok()["policy"].take();
    let mut policy = whole.clone();
    let ids: Vec<String> = (0x21..0x26).map(|n| QueueId(n).to_string()).collect();
    for id in &ids {
        let mut queue = whole["queues"][&QUEUE.to_string()].clone();
        queue["name"] = json!(format!("large-{id}"));
        queue["at_cap"] = json!({ "offline": { "text": "x".repeat(30 << 10) } });
        policy["queues"][id] = queue;
    }
    let before = rig.node.rows_hash();
    for query in ["", "?dry_run=true"] {
        let got = rig.admin("PUT", &path(query), Some(policy.clone())).await;
        assert_eq!(got.problem(), (413, "too_large"), "{query}");
        let detail = got.json["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the policy, in bytes as one command of the log, is 15"),
            "{detail}"
        );
        assert!(detail.ends_with("at most 131072"), "{detail}");
    }
    assert!(before == rig.node.rows_hash());
    for id in &ids {
        let one = format!("/v1/admin/tenants/{OURS}/queues/{id}");
        rig.admin("PUT", &one, Some(policy["queues"][id].clone())).await.ok();
    }
    assert_eq!(rig.admin("GET", &path(""), None).await.ok()["policy"], policy);

    policy["skills"]["s"] = json!("x".repeat(2 << 20));
    let got = rig.admin("PUT", &path(""), Some(policy)).await;
    assert_eq!(got.problem(), (413, "body_too_large"));
    assert!(got.json["detail"].as_str().unwrap().contains("2097152"), "{got:?}");
}

#[tokio::test]
async fn a_policy_with_errors_is_refused_with_every_one_and_its_place() {
    let rig = Rig::new().await;
    let mut policy = rig.admin("GET", &path(""), None).await.ok()["policy"].take();
    let queue = QUEUE.to_string();
    policy["skills"]["juggling"] = json!("");
    policy["rules"] = json!([
        {"name": "circus", "when": "attributes.circus == true", "parts": [{"classification": {
            "queues": [queue], "required": [{"skill": "juggling", "level": 3}]}}]},
        {"name": "broken", "when": "atributes.x", "parts": [{"classification": {"queues": [queue]}}]},
    ]);
    let refused = rig.admin("PUT", &path(""), Some(policy.clone())).await;
    assert_eq!(refused.problem(), (422, "policy_refused"));
    let errors = refused.json["errors"].as_array().unwrap();
    let pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/rules/0/required", "/rules/1/when"]);
    let found = rig.admin("POST", &path("/lint"), Some(policy.clone())).await.ok();
    assert_eq!(found["errors"], 2, "{found}");
    assert_eq!(found["findings"][0]["code"], "rule_unsatisfiable");
    assert_eq!(rig.admin("GET", &path("/lint"), None).await.ok()["errors"], 0);
    policy["rules"].as_array_mut().unwrap().pop();
    let forced = rig.admin("PUT", &path("?force=true"), Some(policy)).await.ok();
    assert_eq!(forced["findings"][0]["severity"], "error");
}
