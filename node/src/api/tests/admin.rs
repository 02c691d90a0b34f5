//! Administration.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::rig::{API_KEY, OURS, QUEUE, Rig, THEIRS, customer, supervisor};
use crate::api::openapi;

fn of_ours(rest: &str) -> String {
    format!("/v1/admin/tenants/{OURS}{rest}")
}

#[tokio::test]
async fn nothing_without_an_api_key() {
    let rig = Rig::new().await;
    let before = rig.node.rows_hash();
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/v1/admin/") {
            continue;
        }
        let path = path
            .replace("{tenant}", &OURS.to_string())
            .replace("{queue}", &QUEUE.to_string());
        let path = path.replace("{conversation}", "conv_00000000000000000000000000000001");
        let path = path
            .replace("{agent}", "agt_00000000000000000000000000000011")
            .replace(['{', '}'], "");
        for method in item.as_object().unwrap().keys() {
            tried += 1;
            let method = method.to_uppercase();
            for token in [None, Some(supervisor()), Some(format!("{API_KEY}x"))] {
                let request = Rig::request(&method, &path, token.as_deref(), None);
                let got = Rig::send(&rig.admin, request).await;
                let code = if token.is_none() {
                    "unauthenticated"
                } else {
                    "api_key_invalid"
                };
                assert_eq!(got.problem(), (401, code), "{method} {path}");
                assert!(got.header("www-authenticate").is_some());
            }
        }
    }
    assert!(tried > 25, "{tried}");
    assert!(before == rig.node.rows_hash());
    let by_header = Request::get("/v1/admin/tenants")
        .header("x-api-key", API_KEY)
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        Rig::send(&rig.admin, by_header).await.ok()["tenants"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn settings_go_in_and_come_out() {
    let rig = Rig::new().await;
    let queue = json!({
        "name": "sales", "order": {"linear_ageing": {"step_ms": 60000}}, "choice": "least_loaded",
        "offer_timeout_ms": 15000, "auto_accept": false, "decline_exclude_ms": 1000, "timeouts_until_away": 2,
        "length_max": 10, "wait_max_ms": 60000, "at_cap": {"offline": {"text": "We are full."}},
        "no_reply": {"after_ms": 60000, "exclude_ms": 60000},
        "escalations": [{"when": {"waited_ms": 30000}, "action": {"raise_priority": 8}},
                        {"when": {"longer_than": 5}, "action": {"move_queue": QUEUE}}],
        "wrap_up": {"timed": {"length_ms": 30000, "extension_max_ms": 60000}},
        "abandon_hold_ms": 60000, "short_abandon_ms": 5000, "reopen_window_ms": 3600000, "answer_target_ms": 30000,
        "offers_at_once": 2, "relaxations": [{"after_ms": 20000, "skill": null, "change": {"lower_by": 2}}],
        "rings": [{"opens": {"after_ms": 30000}}, {"opens": {"while": {"longest_wait_above_ms": 60000}}}],
        "return_when_full": "stay_paused", "idle_pause_ms": 600000, "silent_abandon_ms": 300000, "calendar": null,
        "when_closed": {"move_queue": QUEUE}, "cross_queue": {"weight": 3, "rank": 1, "ratio": 2, "cost": 4},
    });
    let path = of_ours("/queues/que_00000000000000000000000000000008");
    rig.admin("PUT", &path, Some(queue.clone())).await.ok();
    assert_eq!(rig.admin("GET", &path, None).await.ok()["settings"], queue);
    rig.admin(
        "PUT",
        &of_ours("/skills/language.ja"),
        Some(json!({"description": "Japanese"})),
    )
    .await
    .ok();
    assert_eq!(
        rig.admin("GET", &of_ours("/skills"), None).await.ok()["skills"],
        json!({"language.ja": "Japanese"})
    );
    let agent = json!({
        "name": "carl", "skills": {"language.ja": 7}, "queues": [QUEUE], "may_pull": true, "supervisor": false,
        "capacity": {"total": 4, "interruptible": 6, "channels": {
            "web_chat": {"concurrent_max": 3, "cost": 1, "exclusive": false, "interruptible": false},
            "email": {"concurrent_max": 3, "cost": 2, "exclusive": false, "interruptible": true}}},
        "lease_hold_ms": 20000, "memberships": {QUEUE.to_string(): {"tier": 1, "position": 2, "weight": 3}},
        "rate": {"max": 3, "window_ms": 60000}, "warm_up_ms": 900000,
        "attributes": {"site": "osaka", "years": 5, "licensed": true},
    });
    let path = of_ours("/agents/agt_00000000000000000000000000000021");
    rig.admin("PUT", &path, Some(agent.clone())).await.ok();
    assert_eq!(rig.admin("GET", &path, None).await.ok()["settings"], agent);
    let page = rig.admin("GET", &of_ours("/agents?limit=2"), None).await.ok();
    let more = of_ours(&format!(
        "/agents?limit=2&cursor={}",
        page["next_cursor"].as_str().unwrap()
    ));
    assert_eq!(
        rig.admin("GET", &more, None).await.ok()["agents"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let rules = json!({
        "rules": [{"name": "gold", "when": "attributes.plan == 'gold'", "parts": [{"weight": 3, "classification": {
            "queues": [QUEUE], "priority": 8, "required": [{"skill": "language.ja", "level": 2}], "preferred": [],
            "preferred_agent": {"agent": "agt_00000000000000000000000000000021", "wait_ms": 1000},
            "selectors": [{"attribute": "site", "test": {"in": ["osaka", "kyoto"]}},
                          {"attribute": "years", "test": {"at_least": 5}}]}}]}],
        "fallback": {"queues": [QUEUE], "priority": 5, "required": [], "preferred": [], "preferred_agent": null,
                     "selectors": []},
    });
    rig.admin("PUT", &of_ours("/rules"), Some(rules.clone())).await.ok();
    assert_eq!(rig.admin("GET", &of_ours("/rules"), None).await.ok(), rules);
    let body = json!({"channel": "web_chat", "attributes": {"plan": "gold"}});
    let id = rig.post("/v1/conversations", &customer("ann"), body).await.ok()["receipt"]["conversation"].clone();
    let view = rig
        .admin(
            "GET",
            &of_ours(&format!("/conversations/{}", id.as_str().unwrap())),
            None,
        )
        .await
        .ok();
    assert_eq!(view["staff"]["priority"], 8);
    let used = rig.admin("DELETE", &of_ours("/skills/language.ja"), None).await;
    assert_eq!(used.problem(), (409, "in_use"));
    rig.admin("DELETE", &of_ours("/queues/que_00000000000000000000000000000008"), None)
        .await
        .ok();
}

#[tokio::test]
async fn only_the_name_of_a_queue_is_needed() {
    let rig = Rig::new().await;
    let path = of_ours("/queues/que_00000000000000000000000000000008");
    rig.admin("PUT", &path, Some(json!({"name": "sales"}))).await.ok();
    assert_eq!(
        rig.admin("GET", &path, None).await.ok()["settings"]["offer_timeout_ms"],
        20_000
    );
    let got = rig.admin("PUT", &path, Some(json!({}))).await;
    assert_eq!(got.problem(), (422, "missing_field"));
    assert_eq!(got.json["errors"][0]["pointer"], "/name");
    for (body, code, pointer) in [
        (json!({"name": "x", "order": "fifo"}), "unknown_value", "/order"),
        (
            json!({"name": "x", "wrap_up": {"timed": {"length_ms": 1}}}),
            "missing_field",
            "/wrap_up/timed/extension_max_ms",
        ),
        (
            json!({"name": "x", "wrap_up": {"manual": {"longest_ms": 1, "more": 2}}}),
            "unknown_field",
            "/wrap_up/manual/more",
        ),
        (
            json!({"name": "x", "timeouts_until_away": 300}),
            "invalid_value",
            "/timeouts_until_away",
        ),
        (json!({"name": "x", "colour": 1}), "unknown_field", "/colour"),
    ] {
        let got = rig.admin("PUT", &path, Some(body.clone())).await;
        assert_eq!(got.problem(), (422, code), "{body}");
        assert_eq!(got.json["errors"][0]["pointer"], pointer, "{body}: {got:?}");
    }
}

#[tokio::test]
async fn every_wrong_rule_is_named() {
    let rig = Rig::new().await;
    let before = rig.node.rows_hash();
    let part = json!([{"classification": {"queues": [QUEUE]}}]);
    let rules = json!({"rules": [
        {"name": "fine", "when": "channel == 'web_chat'", "parts": part},
        {"name": "broken", "when": "attributes.plan ==", "parts": part},
        {"name": "empty", "when": "true", "parts": []},
    ]});
    let got = rig.admin("PUT", &of_ours("/rules"), Some(rules)).await;
    assert_eq!(got.problem(), (422, "bad_rule"));
    let pointers: Vec<_> = got.json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].clone())
        .collect();
    assert_eq!(pointers, ["/rules/1/when", "/rules/2/parts"]);
    assert!(before == rig.node.rows_hash());
}

#[tokio::test]
async fn tenants_and_their_keys() {
    let rig = Rig::new().await;
    let tenant = "/v1/admin/tenants/ten_00000000000000000000000000000003";
    assert_eq!(rig.admin("GET", tenant, None).await.problem(), (404, "unknown_tenant"));
    let key = json!({"algorithm": "HS256", "material": "0123456789abcdef0123456789abcdef"});
    let put = |kid: &str| format!("{tenant}/keys/{kid}");
    assert_eq!(
        rig.admin("PUT", &put("k"), Some(key.clone())).await.problem(),
        (404, "unknown_tenant")
    );
    assert_eq!(
        rig.admin("PUT", tenant, Some(json!({"name": "third"}))).await.status,
        204
    );
    assert_eq!(rig.admin("GET", tenant, None).await.ok()["name"], "third");
    assert_eq!(rig.admin("PUT", &put("k"), Some(key.clone())).await.status, 204);
    let listed = rig.admin("GET", &format!("{tenant}/keys"), None).await;
    assert!(!listed.text.contains("0123456789abcdef"), "the material came out");
    assert_eq!(listed.ok()["keys"], json!([{"kid": "k", "algorithm": "HS256"}]));
    assert_eq!(
        rig.admin("PUT", &put("key-1"), Some(key)).await.problem(),
        (409, "already_exists")
    );
    for (body, code) in [
        (json!({"algorithm": "HS256", "material": "short"}), "invalid"),
        (json!({"algorithm": "EdDSA", "material": "not a PEM"}), "invalid"),
        (json!({"algorithm": "none", "material": "x"}), "unknown_value"),
    ] {
        assert_eq!(rig.admin("PUT", &put("l"), Some(body)).await.problem(), (422, code));
    }
    assert_eq!(
        rig.admin("DELETE", &put("key-1"), None).await.problem(),
        (404, "unknown_key")
    );
    assert_eq!(rig.admin("DELETE", &put("k"), None).await.status, 204);
    let missing = "/v1/admin/tenants/ten_000000000000000000000000000000ff/queues";
    assert_eq!(rig.admin("GET", missing, None).await.problem(), (404, "unknown_tenant"));
}

#[tokio::test]
async fn conversations_are_those_of_the_tenant_in_the_path() {
    let rig = Rig::new().await;
    let id = rig.anns().await;
    let path = |tenant, rest: &str| format!("/v1/admin/tenants/{tenant}/conversations/{id}{rest}");
    assert_eq!(
        rig.admin("GET", &path(THEIRS, ""), None).await.problem(),
        (404, "unknown_conversation")
    );
    let change = Some(json!({"change": {"priority": 1}}));
    let got = rig.admin("POST", &path(THEIRS, "/override"), change.clone()).await;
    assert_eq!(got.problem(), (404, "unknown_conversation"));
    rig.admin("POST", &path(OURS, "/override"), change).await.ok();
    assert_eq!(
        rig.admin("GET", &path(OURS, ""), None).await.ok()["staff"]["priority"],
        1
    );
    rig.admin("GET", &path(OURS, "/why"), None).await.ok();
    rig.admin("POST", &path(OURS, "/close"), Some(json!({}))).await.ok();
    assert_eq!(rig.admin("GET", &path(OURS, ""), None).await.ok()["phase"], "closed");
}

#[tokio::test]
async fn the_cluster() {
    let rig = Rig::new().await;
    let node = |id: u64| json!({"id": id, "address": format!("127.0.0.1:{}", 7000 + id)});
    let init = |nodes: Vec<Value>, shards: u32| Some(json!({"nodes": nodes, "shards": shards}));
    let path = "/v1/admin/cluster/init";
    let made = rig
        .admin("POST", path, init(vec![node(1), node(2), node(3)], 4))
        .await
        .ok();
    assert_eq!(made["cluster"], "000000000000000000000000000000c1");
    assert_eq!(
        rig.admin("POST", path, init(vec![node(2)], 4)).await.problem(),
        (422, "not_among_nodes")
    );
    for (nodes, shards, pointer) in [
        (vec![], 4, "/nodes"),
        (vec![node(1)], 0, "/shards"),
        (vec![node(1), node(1)], 4, "/nodes/1/id"),
    ] {
        let got = rig.admin("POST", path, init(nodes, shards)).await;
        assert_eq!(got.problem(), (422, "invalid"));
        assert_eq!(got.json["errors"][0]["pointer"], pointer);
    }
    let bad = json!({"id": 4, "address": "somewhere"});
    assert_eq!(
        rig.admin("POST", "/v1/admin/cluster/nodes", Some(bad)).await.problem(),
        (422, "invalid_value")
    );
    assert_eq!(
        rig.admin("POST", "/v1/admin/cluster/nodes", Some(node(4)))
            .await
            .problem(),
        (502, "node_unreachable")
    );
    assert_eq!(
        rig.admin("DELETE", "/v1/admin/cluster/nodes/9", None).await.problem(),
        (404, "unknown_node")
    );
    let got = rig
        .admin("POST", "/v1/admin/cluster/shards/1/leader", Some(json!({"node": 2})))
        .await;
    assert_eq!(
        (got.problem(), got.header("retry-after")),
        ((503, "no_leader"), Some("1"))
    );
    assert_eq!(rig.admin("GET", "/v1/admin/cluster/status", None).await.ok()["node"], 1);
    assert!(!rig.drained.load(Ordering::Relaxed));
    assert_eq!(rig.admin("POST", "/v1/admin/node/drain", None).await.status, 202);
    assert!(rig.drained.load(Ordering::Relaxed));
}

#[tokio::test]
async fn health() {
    let rig = Rig::new().await;
    for router in [&rig.public, &rig.admin] {
        let get = |path: &str| Rig::send(router, Rig::request("GET", path, None, None));
        rig.ready.store(true, Ordering::Relaxed);
        assert_eq!(get("/livez").await.ok()["status"], "ok");
        assert_eq!(get("/readyz").await.ok()["status"], "ok");
        rig.ready.store(false, Ordering::Relaxed);
        let got = get("/readyz").await;
        assert_eq!(
            (got.problem(), got.header("retry-after")),
            ((503, "not_ready"), Some("1"))
        );
        assert_eq!(get("/livez").await.ok()["status"], "ok");
    }
    let text = Rig::send(&rig.admin, Rig::request("GET", "/metrics", None, None)).await;
    assert_eq!(text.text, "kaiwa_ready 1\n");
    let public = Rig::send(&rig.public, Rig::request("GET", "/metrics", None, None)).await;
    assert_eq!(public.problem(), (404, "unknown_route"));
}
