//! Who takes part beside customer and owner (R31), later and callbacks (R33), ratings, and where it stands (R35).

use serde_json::{Value, json};

use super::rig::{BERT, OURS, Rig, SUE, agent, customer, supervisor};
use routing::command::{Command, PresenceChange};

fn sign_in(rig: &Rig, who: routing::ids::AgentId) {
    let presence = PresenceChange::Available;
    rig.run(OURS, Command::SignIn { agent: who, presence });
}

fn has(entries: &Value, kind: &str) -> bool {
    let all = entries["entries"].as_array().unwrap();
    all.iter().any(|entry| !entry["kind"][kind].is_null())
}

#[tokio::test]
async fn an_agent_is_consulted_and_gets_it() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    sign_in(&rig, BERT);
    let (aiko, bert, ann) = (agent("aiko"), agent("bert"), customer("ann"));
    let path = |act: &str| format!("/v1/conversations/{id}{act}");
    assert_eq!(rig.get(&path(""), &bert).await.problem().0, 404);
    let ask = json!({"epoch": epoch, "agent": BERT, "role": "consult"});
    assert_eq!(
        rig.post(&path("/invitations"), &ann, ask.clone()).await.problem().0,
        403
    );
    let wrong = json!({"epoch": epoch, "agent": BERT, "role": "monitor"});
    assert_eq!(rig.post(&path("/invitations"), &aiko, wrong).await.problem().0, 422);
    rig.post(&path("/invitations"), &aiko, ask).await.ok();
    // Who is asked in may look before they answer.
    let view = rig.get(&path(""), &bert).await.ok();
    let invited = &view["staff"]["invited"][0];
    assert_eq!((&invited["agent"], &invited["role"]), (&json!(BERT), &json!("consult")));
    rig.post(&path("/invitation/accept"), &bert, json!({})).await.ok();
    let hello = json!({"body": {"text": "psst"}});
    rig.post(&path("/whispers"), &bert, hello.clone()).await.ok();
    assert_eq!(rig.post(&path("/messages"), &bert, hello).await.problem().0, 403);

    let view = rig.get(&path(""), &bert).await.ok();
    assert_eq!(view["participants"], json!([{"agent": BERT, "role": "consult"}]));
    assert!(has(&rig.get(&path("/entries"), &bert).await.ok(), "whisper"));
    let (seen, said) = (
        rig.get(&path(""), &ann).await.ok(),
        rig.get(&path("/entries"), &ann).await.ok(),
    );
    assert_eq!((&seen["participants"], seen.get("staff")), (&json!([]), None));
    assert!(!has(&said, "whisper") && !has(&said, "participant_joined"), "{said}");
    assert!(!seen.to_string().contains(&BERT.to_string()) && !said.to_string().contains(&BERT.to_string()));

    let over = json!({"epoch": epoch, "to": BERT});
    let receipt = rig.post(&path("/transfer/complete"), &aiko, over).await.ok();
    assert!(receipt["epoch"].as_u64().unwrap() > epoch);
    let view = rig.get(&path(""), &ann).await.ok();
    assert_eq!((&view["phase"], &view["agent"]), (&json!("assigned"), &json!(BERT)));
    assert_eq!(rig.get(&path(""), &aiko).await.problem().0, 404, "a former owner");
}

#[tokio::test]
async fn a_conferring_agent_speaks_and_is_let_go() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    sign_in(&rig, BERT);
    let (aiko, bert, ann) = (agent("aiko"), agent("bert"), customer("ann"));
    let path = |act: &str| format!("/v1/conversations/{id}{act}");
    let ask = json!({"epoch": epoch, "agent": BERT, "role": "conference"});
    rig.post(&path("/invitations"), &aiko, ask).await.ok();
    rig.post(&path("/invitation/accept"), &bert, json!({})).await.ok();
    rig.post(&path("/messages"), &bert, json!({"body": {"text": "hello, I am bert"}}))
        .await
        .ok();
    let (seen, said) = (
        rig.get(&path(""), &ann).await.ok(),
        rig.get(&path("/entries"), &ann).await.ok(),
    );
    assert_eq!(seen["participants"], json!([{"agent": BERT, "role": "conference"}]));
    assert!(
        has(&said, "participant_joined") && said.to_string().contains("I am bert"),
        "{said}"
    );
    let gone = json!({"epoch": epoch, "agent": BERT});
    rig.post(&path("/participants/remove"), &aiko, gone).await.ok();
    assert_eq!(rig.get(&path(""), &bert).await.problem().0, 404);
    let late = rig
        .post(&path("/messages"), &bert, json!({"body": {"text": "and"}}))
        .await;
    assert_eq!(late.problem(), (409, "not_a_participant"));
    assert_eq!(rig.post(&path("/leave"), &bert, json!({})).await.problem().0, 409);
}

#[tokio::test]
async fn supervisors_join_and_agents_do_not() {
    let rig = Rig::new().await;
    let (id, _) = rig.anns_with_aiko().await;
    sign_in(&rig, SUE);
    let path = |act: &str| format!("/v1/conversations/{id}{act}");
    let monitor = json!({"role": "monitor"});
    assert_eq!(
        rig.post(&path("/join"), &agent("aiko"), monitor.clone())
            .await
            .problem(),
        (403, "forbidden")
    );
    rig.post(&path("/join"), &supervisor(), monitor).await.ok();
    let words = json!({"body": {"text": "listen"}});
    assert_eq!(
        rig.post(&path("/whispers"), &supervisor(), words.clone())
            .await
            .problem()
            .0,
        403
    );
    assert_eq!(
        rig.post(&path("/messages"), &supervisor(), words.clone())
            .await
            .problem()
            .0,
        403
    );
    rig.post(&path("/join"), &supervisor(), json!({"role": "whisper"}))
        .await
        .ok();
    rig.post(&path("/whispers"), &supervisor(), words).await.ok();
    let seen = rig.get(&path(""), &agent("aiko")).await.ok();
    assert_eq!(seen["participants"], json!([{"agent": SUE, "role": "whisper"}]));
    assert_eq!(
        rig.get(&path(""), &customer("ann")).await.ok()["participants"],
        json!([])
    );
    rig.post(&path("/leave"), &supervisor(), json!({})).await.ok();
}

#[tokio::test]
async fn customers_rate_once_and_staff_does_not() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    let path = |act: &str| format!("/v1/conversations/{id}{act}");
    let (ann, aiko) = (customer("ann"), agent("aiko"));
    for staff in [&aiko, &supervisor()] {
        assert_eq!(
            rig.post(&path("/rating"), staff, json!({"rating": 5})).await.problem(),
            (403, "forbidden")
        );
    }
    let close = json!({"epoch": epoch, "resolved": true});
    rig.post(&path("/close"), &aiko, close).await.ok();
    assert_eq!(
        rig.post(&path("/rating"), &ann, json!({"rating": 6})).await.problem().0,
        422
    );
    rig.post(&path("/rating"), &ann, json!({"rating": 4, "comment": "quick"}))
        .await
        .ok();
    assert_eq!(rig.get(&path(""), &ann).await.ok()["rating"], 4);
    assert!(!has(&rig.get(&path("/entries"), &ann).await.ok(), "rated"));
    assert!(has(&rig.get(&path("/entries"), &supervisor()).await.ok(), "rated"));
    assert!(
        !rig.post(&path("/rating"), &ann, json!({"rating": 1}))
            .await
            .status
            .is_success()
    );
}

#[tokio::test]
async fn a_waiting_conversation_says_where_it_stands() {
    let rig = Rig::new().await;
    let id = rig.anns().await;
    let path = format!("/v1/conversations/{id}");
    let place = json!({"position": 3, "p50_ms": 40_000, "p90_ms": 90_000});
    for token in [customer("ann"), agent("aiko")] {
        assert_eq!(rig.get(&path, &token).await.ok()["waiting"], place);
    }
    let list = rig.get("/v1/conversations", &customer("ann")).await.ok();
    assert!(
        list["conversations"][0].get("waiting").is_none(),
        "only when asked for by itself"
    );
    let (id, _) = rig.anns_with_aiko().await;
    let view = rig.get(&format!("/v1/conversations/{id}"), &customer("ann")).await.ok();
    assert!(view.get("waiting").is_none());
}

#[tokio::test]
async fn what_is_put_off_begins_when_its_agent_or_customer_says_so() {
    let rig = Rig::new().await;
    let (id, epoch) = rig.anns_with_aiko().await;
    let path = |act: &str| format!("/v1/conversations/{id}{act}");
    let (ann, aiko) = (customer("ann"), agent("aiko"));
    let later = |keep_age: bool| json!({"at_ms": 90_000, "keep_age": keep_age});
    let body = json!({"epoch": epoch, "schedule": later(true)});
    rig.post(&path("/schedule"), &aiko, body).await.ok();
    let seen = rig.get(&path(""), &ann).await.ok();
    assert_eq!((&seen["phase"], &seen["schedule"]), (&json!("scheduled"), &later(true)));
    assert_eq!(
        rig.post(&path("/schedule/cancel"), &agent("bert"), json!({}))
            .await
            .problem()
            .0,
        403
    );
    rig.post(&path("/schedule/cancel"), &aiko, json!({})).await.ok();
    assert_eq!(rig.get(&path(""), &ann).await.ok()["phase"], "waiting");

    let mine = json!({"schedule": later(true)});
    assert_eq!(
        rig.post(&path("/schedule"), &ann, mine).await.problem(),
        (403, "forbidden")
    );
    let started = json!({"channel": "web_chat", "schedule": later(true)});
    let refused = rig.post("/v1/conversations", &ann, started).await;
    assert_eq!(refused.problem(), (403, "forbidden"));
    assert_eq!(refused.json["errors"][0]["pointer"], "/schedule/keep_age");
    let started = json!({"channel": "web_chat", "schedule": later(false), "callback": "+81 3 1234 5678"});
    let shown = rig.post("/v1/conversations", &ann, started).await.ok()["conversation"].clone();
    assert_eq!(
        (&shown["phase"], &shown["callback"]),
        (&json!("scheduled"), &json!("+81 3 1234 5678"))
    );
}

#[tokio::test]
async fn a_waiting_customer_asks_to_be_called_back() {
    let rig = Rig::new().await;
    let id = rig.anns().await;
    let path = |act: &str| format!("/v1/conversations/{id}{act}");
    let body = json!({"contact": "+81 3 1234 5678"});
    assert_eq!(
        rig.post(&path("/callback"), &agent("aiko"), body.clone())
            .await
            .problem(),
        (403, "forbidden")
    );
    rig.post(&path("/callback"), &customer("ann"), body).await.ok();
    let desk = rig.get(&path(""), &agent("aiko")).await.ok();
    assert_eq!(desk["callback"], "+81 3 1234 5678");
    let (id, _) = rig.anns_with_aiko().await;
    let late = json!({"contact": "+81"});
    let late = rig
        .post(&format!("/v1/conversations/{id}/callback"), &customer("ann"), late)
        .await;
    assert_eq!(late.problem(), (409, "wrong_state"));
}
