//! A conversation's life through the API.

use serde_json::{Value, json};

use super::rig::{OURS, Rig, agent, customer, supervisor};
use routing::command::Command;

#[tokio::test]
async fn a_conversation_from_start_to_end() {
    let rig = Rig::new().await;
    let (ann, aiko) = (customer("ann"), agent("aiko"));
    let body = json!({
        "channel": "web_chat", "attributes": {"plan": "gold", "age": 3, "vip": true}, "message": {"text": "hello"},
    });
    let got = rig.post("/v1/conversations", &ann, body).await;
    assert_eq!(got.status, 201);
    let location = got.header("location").unwrap().to_owned();
    let started = got.ok();
    let id = started["receipt"]["conversation"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/v1/conversations/{id}"));
    let shown = &started["conversation"];
    assert_eq!(
        (&shown["phase"], &shown["customer"], &shown["staff"]),
        (&json!("waiting"), &json!("ann"), &Value::Null)
    );
    assert_eq!(shown["attributes"], json!({"plan": "gold", "age": 3, "vip": true}));

    rig.post("/v1/me/sign-in", &aiko, json!({"presence": "available"}))
        .await
        .ok();
    let epoch = rig.offer(&id, super::rig::AIKO).0;
    let desk = rig.get("/v1/me", &aiko).await.ok();
    assert_eq!(
        (&desk["role"], &desk["agent"]["presence"]),
        (&json!("agent"), &json!("available"))
    );
    assert_eq!(desk["conversations"][0]["phase"], "offered");
    assert!(
        rig.get(&location, &ann).await.ok().get("agent").is_none(),
        "to whom it is offered is not the customer's"
    );

    let epoch = rig
        .post(&format!("{location}/offer/accept"), &aiko, json!({"epoch": epoch}))
        .await
        .ok()["epoch"]
        .clone();
    rig.post(
        &format!("{location}/notes"),
        &aiko,
        json!({"body": {"text": "difficult"}}),
    )
    .await
    .ok();
    let said = json!({"body": {"text": "hi"}, "epoch": epoch});
    let seq = rig.post(&format!("{location}/messages"), &aiko, said).await.ok()["seq"].clone();
    rig.call("PUT", &format!("{location}/read"), &ann, json!({"seq": seq}))
        .await
        .ok();
    let change = json!({"attributes": {"plan": null, "age": 4}});
    rig.call("PATCH", &format!("{location}/attributes"), &ann, change)
        .await
        .ok();

    let theirs = rig.get(&format!("{location}/entries"), &ann).await.ok();
    let ours = rig.get(&format!("{location}/entries"), &aiko).await.ok();
    assert_eq!(kinds(&theirs), ["message", "joined", "message"]);
    assert_eq!(kinds(&ours), ["message", "joined", "note", "message"]);
    for page in [&theirs, &ours] {
        assert_no_gap(page);
    }
    assert!(!theirs.to_string().contains("difficult"));
    let view = rig.get(&location, &ann).await.ok();
    assert_eq!(view["attributes"], json!({"age": 4, "vip": true}));
    assert_eq!(
        (&view["phase"], &view["read"]),
        (&json!("assigned"), &json!([{"seq": seq}]))
    );

    rig.post(
        &format!("{location}/close"),
        &aiko,
        json!({"epoch": epoch, "disposition": "solved"}),
    )
    .await
    .ok();
    assert_eq!(rig.get(&location, &ann).await.ok()["phase"], "closed");
    let late = rig
        .post(
            &format!("{location}/messages"),
            &ann,
            json!({"body": {"text": "one more thing"}}),
        )
        .await;
    assert_eq!(late.problem(), (409, "wrong_state"));
    rig.post(&format!("{location}/reopen"), &ann, json!({})).await.ok();
    assert_eq!(rig.get(&location, &ann).await.ok()["phase"], "waiting");
}

fn kinds(page: &Value) -> Vec<&str> {
    let kind = |entry: &'_ Value| match &entry["kind"] {
        Value::String(_) => None,
        kind => kind.as_object().unwrap().keys().next().cloned(),
    };
    let entries = page["entries"].as_array().unwrap();
    let known = ["message", "joined", "note", "left", "moved", "closed"];
    entries
        .iter()
        .map(|entry| {
            known
                .into_iter()
                .find(|name| kind(entry).as_deref() == Some(name))
                .unwrap_or("?")
        })
        .collect()
}

/// Each entry's `prev` is the `seq` before it on the page.
fn assert_no_gap(page: &Value) {
    let mut last = 0;
    for entry in page["entries"].as_array().unwrap() {
        assert_eq!(entry["prev"], last, "{page}");
        last = entry["seq"].as_u64().unwrap();
    }
}

#[tokio::test]
async fn pages_of_notes_do_not_end_a_customers_transcript() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    let path = format!("/v1/conversations/{id}");
    for n in 0..7 {
        rig.post(
            &format!("{path}/notes"),
            &agent("aiko"),
            json!({"body": {"text": format!("note {n}")}}),
        )
        .await
        .ok();
    }
    rig.post(
        &format!("{path}/messages"),
        &agent("aiko"),
        json!({"body": {"text": "hi"}, "epoch": epoch}),
    )
    .await
    .ok();
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = rig
            .get(&format!("{path}/entries?limit=2&after={after}"), &customer("ann"))
            .await
            .ok();
        let entries = page["entries"].as_array().unwrap();
        seen.extend(
            entries
                .iter()
                .map(|entry| (entry["prev"].as_u64().unwrap(), entry["seq"].as_u64().unwrap())),
        );
        match page["next_after"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, [(0, 1), (1, 9)]);
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer() {
    let rig = Rig::new().await;
    let send = |number: u64| {
        let body = Some(json!({"channel": "web_chat"}).to_string());
        let mut request = Rig::request("POST", "/v1/conversations", Some(&customer("ann")), body);
        request
            .headers_mut()
            .insert("idempotency-key", format!("77-{number}").parse().unwrap());
        Rig::send(&rig.public, request)
    };
    let (first, again, other) = (send(1).await, send(1).await, send(2).await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.header("location"), again.header("location"));
    let (first, again, other) = (first.ok(), again.ok(), other.ok());
    assert_eq!(first["receipt"]["conversation"], again["receipt"]["conversation"]);
    assert_eq!(first["conversation"]["id"], again["conversation"]["id"]);
    assert_eq!(
        (&first["receipt"]["repeated"], &again["receipt"]["repeated"]),
        (&json!(false), &json!(true))
    );
    assert_ne!(first["receipt"]["conversation"], other["receipt"]["conversation"]);
    assert_eq!(
        rig.get("/v1/conversations", &customer("ann")).await.ok()["conversations"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

/// The first close ended the agent's ownership; its repeat, after a lost reply, is still answered.
#[tokio::test]
async fn a_repeat_of_the_act_that_ended_ownership_is_answered() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    for repeated in [false, true] {
        let body = Some(json!({"epoch": epoch}).to_string());
        let mut request = Rig::request(
            "POST",
            &format!("/v1/conversations/{id}/close"),
            Some(&agent("aiko")),
            body,
        );
        request.headers_mut().insert("idempotency-key", "5-1".parse().unwrap());
        assert_eq!(Rig::send(&rig.public, request).await.ok()["repeated"], repeated);
    }
}

#[tokio::test]
async fn keys_of_two_callers_do_not_meet() {
    let rig = Rig::new().await;
    let mut ids = Vec::new();
    for name in ["ann", "bob"] {
        let body = Some(json!({"channel": "web_chat"}).to_string());
        let mut request = Rig::request("POST", "/v1/conversations", Some(&customer(name)), body);
        request.headers_mut().insert("idempotency-key", "1-1".parse().unwrap());
        ids.push(Rig::send(&rig.public, request).await.ok()["receipt"]["conversation"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_supervisor_sets_right() {
    let rig = Rig::new().await;
    let id = rig.anns().await;
    let path = format!("/v1/conversations/{id}");
    let sue = supervisor();
    rig.post(&format!("{path}/override"), &sue, json!({"change": {"priority": 9}}))
        .await
        .ok();
    rig.post(&format!("{path}/override"), &sue, json!({"change": "expedite"}))
        .await
        .ok();
    let view = rig.get(&path, &sue).await.ok();
    assert_eq!(view["staff"]["priority"], 9);
    let why = rig.get(&format!("{path}/why"), &sue).await.ok();
    assert_eq!(
        (&why["position"], &why["removed"]),
        (&json!(1), &json!([{"predicate": "presence", "agents": 2}]))
    );
    rig.post("/v1/me/sign-in", &agent("aiko"), json!({})).await.ok();
    rig.post(&format!("{path}/assign"), &sue, json!({"agent": super::rig::AIKO}))
        .await
        .ok();
    assert_eq!(rig.get(&path, &sue).await.ok()["phase"], "assigned");
    rig.post(
        &format!("{path}/messages"),
        &sue,
        json!({"body": {"text": "from above"}}),
    )
    .await
    .ok();
    let page = rig.get(&format!("{path}/entries"), &customer("ann")).await.ok();
    let last = page["entries"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        last["kind"]["message"]["author"],
        json!({"supervisor": null}),
        "customers are not told who"
    );
}

#[tokio::test]
async fn without_a_rule_there_is_no_queue() {
    let rig = Rig::new().await;
    rig.run(
        OURS,
        Command::PutRules {
            rules: Vec::new(),
            fallback: None,
        },
    );
    let before = rig.node.rows_hash();
    let got = rig
        .post("/v1/conversations", &customer("ann"), json!({"channel": "web_chat"}))
        .await;
    assert_eq!(got.problem(), (422, "no_queue"));
    let got = rig.post("/v1/conversations", &supervisor(), json!({"channel": "web_chat", "customer": "ann", "required": [{"skill": "none", "level": 3}], "queues": [super::rig::QUEUE]})).await;
    assert_eq!(got.problem(), (422, "unknown_skill"));
    assert!(before == rig.node.rows_hash());
}

/// Commands without a key of the caller's own take next to no room among the keys that the state remembers for them.
#[tokio::test]
async fn commands_without_a_key_do_not_push_out_those_with_one() {
    let rig = Rig::new().await;
    let id = rig.anns().await;
    let path = format!("/v1/conversations/{id}/messages");
    let send = |key: Option<&'static str>| {
        let body = Some(json!({"body": {"text": "hello"}}).to_string());
        let mut request = Rig::request("POST", &path, Some(&customer("ann")), body);
        if let Some(key) = key {
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        }
        Rig::send(&rig.public, request)
    };
    let first = send(Some("9-1")).await.ok();
    for n in 2..100 {
        assert_eq!(send(None).await.ok()["seq"], n);
    }
    let again = send(Some("9-1")).await.ok();
    assert_eq!((&again["seq"], &again["repeated"]), (&first["seq"], &json!(true)));
}
