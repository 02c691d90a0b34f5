//! Tenant, role, object: on every verb.

use serde_json::{Value, json};

use super::rig::{AIKO, BERT, QUEUE, Rig, THEIRS, agent, customer, supervisor, token};
use crate::api::openapi;
use crate::auth::Role;
use crate::error::EngineError;

/// A body that is right for an operation on a conversation, so that only authorisation can refuse it.
fn body_for(path: &str, epoch: u64) -> Value {
    let act = path.rsplit_once("{conversation}/").map_or("", |(_, act)| act);
    match act {
        "messages" => json!({"body": {"text": "x"}, "epoch": epoch}),
        "notes" => json!({"body": {"text": "x"}}),
        "read" => json!({"seq": 1}),
        "attributes" => json!({"attributes": {"plan": "gold"}}),
        "close" | "reopen" | "resume" | "pause" | "offer/accept" | "wrap-up/finish" => json!({"epoch": epoch}),
        "transfer" => json!({"epoch": epoch, "to": {"queue": QUEUE}}),
        "override" => json!({"change": {"priority": 9}}),
        "pull" => json!({}),
        "assign" => json!({"agent": AIKO}),
        "offer/decline" => json!({"epoch": epoch, "reason": "busy"}),
        "invitations" => json!({"epoch": epoch, "agent": BERT, "role": "consult"}),
        "invitation/accept" | "invitation/decline" | "leave" | "schedule/cancel" => json!({}),
        "join" => json!({"role": "monitor"}),
        "participants/remove" => json!({"epoch": epoch, "agent": BERT}),
        "transfer/complete" => json!({"epoch": epoch, "to": BERT}),
        "whispers" => json!({"body": {"text": "x"}}),
        "schedule" => json!({"epoch": epoch, "schedule": {"at_ms": 90_000}}),
        "callback" => json!({"contact": "+81 3 1234 5678"}),
        "rating" => json!({"rating": 5}),
        "wrap-up/extend" => json!({"epoch": epoch, "by_ms": 1}),
        _ => panic!("no body known for {path}; add it"),
    }
}

/// Every operation on a conversation, with a body that is right.
fn operations(conversation: &str, epoch: u64) -> Vec<(String, String, Option<Value>)> {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.starts_with("/v1/conversations/{conversation}") {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let body = (!operation["requestBody"].is_null()).then(|| body_for(path, epoch));
            found.push((
                method.to_uppercase(),
                path.replace("{conversation}", conversation),
                body,
            ));
        }
    }
    assert!(found.len() >= 31, "{}", found.len());
    found
}

async fn refused_everywhere(rig: &Rig, token: &str, conversation: &str, epoch: u64) {
    let missing = "conv_00000000000000000000000000000099";
    let before = rig.node.rows_hash();
    let real = operations(conversation, epoch);
    let unreal = operations(missing, epoch);
    for ((method, path, body), (_, other, _)) in real.into_iter().zip(unreal) {
        let send = |path: &str| Rig::request(&method, path, Some(token), body.as_ref().map(Value::to_string));
        let got = Rig::send(&rig.public, send(&path)).await;
        assert!(
            matches!(got.problem(), (404, "unknown_conversation") | (403, "forbidden")),
            "{method} {path}: {got:?}"
        );
        let nothing = Rig::send(&rig.public, send(&other)).await;
        assert_eq!(got.text, nothing.text, "{method} {path}: tells that it exists");
    }
    assert!(before == rig.node.rows_hash(), "something has changed");
}

#[tokio::test]
async fn another_tenant_on_every_verb() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    for (role, name) in [
        (Role::Customer, "ann"),
        (Role::Agent, "aiko"),
        (Role::Supervisor, "sue"),
    ] {
        refused_everywhere(&rig, &token(THEIRS, role, name), &id, epoch).await;
        let got = rig.get("/v1/conversations", &token(THEIRS, role, name)).await.ok();
        assert_eq!(got["conversations"], json!([]));
    }
}

#[tokio::test]
async fn another_customer_on_every_verb() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    refused_everywhere(&rig, &customer("bob"), &id, epoch).await;
    assert_eq!(
        rig.get("/v1/conversations", &customer("bob")).await.ok()["conversations"],
        json!([])
    );
}

/// The state fences agents: what they may not do is refused, by whatever code, and changes nothing.
#[tokio::test]
async fn another_agent_on_every_verb() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    let before = rig.node.rows_hash();
    for (method, path, body) in operations(&id, epoch) {
        let request = Rig::request(&method, &path, Some(&agent("bert")), body.map(|body| body.to_string()));
        let got = Rig::send(&rig.public, request).await;
        assert!(matches!(got.problem().0, 403 | 404 | 409), "{method} {path}: {got:?}");
    }
    assert!(before == rig.node.rows_hash());
}

#[tokio::test]
async fn a_stale_epoch_is_refused() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    let path = format!("/v1/conversations/{id}/messages");
    let body = |epoch: u64| json!({"body": {"text": "late"}, "epoch": epoch});
    assert_eq!(
        rig.post(&path, &agent("aiko"), body(epoch - 1)).await.problem(),
        (409, "stale_epoch")
    );
    let got = rig
        .post(&path, &agent("aiko"), json!({"body": {"text": "no epoch"}}))
        .await;
    assert_eq!(got.problem(), (422, "missing_field"));
    rig.post(&path, &agent("aiko"), body(epoch)).await.ok();
}

#[tokio::test]
async fn agents_see_what_waits_in_their_queues_and_no_other() {
    let rig = Rig::new().await;
    let id = rig.anns().await;
    let path = format!("/v1/conversations/{id}");
    rig.get(&path, &agent("aiko")).await.ok();
    assert_eq!(
        rig.get(&path, &agent("bert")).await.problem(),
        (404, "unknown_conversation")
    );
    let list = format!("/v1/conversations?queue={QUEUE}");
    assert_eq!(rig.get(&list, &agent("aiko")).await.ok()["conversations"][0]["id"], id);
    assert_eq!(rig.get(&list, &agent("bert")).await.problem(), (403, "forbidden"));
    assert_eq!(
        rig.get("/v1/conversations?customer=ann", &agent("aiko"))
            .await
            .problem(),
        (403, "forbidden")
    );
    assert_eq!(
        rig.get("/v1/conversations?customer=ann", &customer("ann"))
            .await
            .problem(),
        (403, "forbidden")
    );
    assert_eq!(
        rig.get("/v1/conversations?customer=ann", &supervisor()).await.ok()["conversations"][0]["id"],
        id
    );
}

#[tokio::test]
async fn customers_start_for_themselves_and_set_no_priority() {
    let rig = Rig::new().await;
    let (ann, sue) = (customer("ann"), supervisor());
    let path = "/v1/conversations";
    for body in [
        json!({"channel": "web_chat", "customer": "bob"}),
        json!({"channel": "web_chat", "priority": 9}),
        json!({"channel": "web_chat", "queues": [QUEUE]}),
    ] {
        assert_eq!(
            rig.post(path, &ann, body.clone()).await.problem(),
            (403, "forbidden"),
            "{body}"
        );
    }
    let got = rig.post(path, &sue, json!({"channel": "web_chat"})).await;
    assert_eq!(got.problem(), (422, "missing_field"));
    let got = rig
        .post(
            path,
            &sue,
            json!({"channel": "web_chat", "customer": "ann", "priority": 9}),
        )
        .await
        .ok();
    assert_eq!(got["conversation"]["staff"]["priority"], 9);
    assert_eq!(
        rig.get(path, &ann).await.ok()["conversations"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        rig.post("/v1/me/sign-in", &ann, json!({})).await.problem(),
        (403, "forbidden")
    );
}

#[tokio::test]
async fn a_node_that_has_just_started_looks_for_keys_before_it_refuses() {
    let rig = Rig::new().await;
    let (ann, path) = (customer("ann"), "/v1/conversations");
    rig.node.forget_keys();
    *rig.node.fails_with.lock() = Some(EngineError::NoLeader);
    let got = rig.get(path, &ann).await;
    assert_eq!(got.problem(), (503, "no_leader"), "not refused: to be tried again");
    *rig.node.fails_with.lock() = None;
    rig.get(path, &ann).await.ok();
}
