//! Parts of the policy that are saved alone: what the linter refuses, what it says, and what it leaves alone.

use serde_json::{Value, json};

use super::rig::{OURS, QUEUE, Rig};

const OTHER: &str = "que_00000000000000000000000000000021";
const THIRD: &str = "que_00000000000000000000000000000022";
const OFFICE: &str = "cal_00000000000000000000000000000001";

fn path(rest: &str) -> String {
    format!("/v1/admin/tenants/{OURS}/{rest}")
}

fn codes(saved: &Value) -> Vec<&str> {
    let findings = saved["findings"].as_array().expect("findings");
    findings
        .iter()
        .map(|one| one["code"].as_str().expect("a code"))
        .collect()
}

/// Of the policy.
async fn version(rig: &Rig) -> Value {
    rig.admin("GET", &path("policy"), None).await.ok()["version"].take()
}

fn queue(name: &str, more: Value) -> Value {
    let mut queue = json!({ "name": name });
    queue.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    queue
}

#[tokio::test]
async fn an_error_of_a_queue_refuses_it_and_says_where() {
    let rig = Rig::new().await;
    let before = rig.node.rows_hash();
    let idle = queue(
        "idle",
        json!({ "order": { "accumulating_priority": { "rates": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } } }),
    );
    let at = path(&format!("queues/{OTHER}"));
    let refused = rig.admin("PUT", &at, Some(idle.clone())).await;
    assert_eq!(refused.problem(), (422, "policy_refused"));
    assert_eq!(refused.json["errors"][0]["pointer"], "/credit");
    let detail = refused.json["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("weights_all_zero: queue `idle`"), "{detail}");
    assert!(before == rig.node.rows_hash());
    let forced = rig.admin("PUT", &format!("{at}?force=true"), Some(idle)).await;
    assert_eq!(
        forced.problem(),
        (422, "invalid"),
        "what the state refuses cannot be forced"
    );
    // A queue whose agents, rules and calendar are still to come.
    let early = rig.admin("PUT", &at, Some(json!({ "name": "early" }))).await.ok();
    assert_eq!(codes(&early), ["queue_unreached", "queue_without_agents"]);
    assert!(early["at_ms"].is_u64(), "the receipt is there too: {early}");
}

#[tokio::test]
async fn a_queue_that_closes_a_circle_is_refused_whichever_of_them_it_is() {
    let rig = Rig::new().await;
    let moves_to =
        |to: &str| json!({ "escalations": [{ "when": { "waited_ms": 1000 }, "action": { "move_queue": to } }] });
    rig.admin(
        "PUT",
        &path(&format!("queues/{OTHER}")),
        Some(queue("other", json!({}))),
    )
    .await
    .ok();
    let third = path(&format!("queues/{THIRD}"));
    rig.admin("PUT", &third, Some(queue("third", moves_to(OTHER))))
        .await
        .ok();
    let other = path(&format!("queues/{OTHER}"));
    let refused = rig.admin("PUT", &other, Some(queue("other", moves_to(THIRD)))).await;
    assert_eq!(refused.problem(), (422, "policy_refused"));
    // The other way round the circle is named by the queue that is not saved.
    rig.admin("PUT", &third, Some(queue("third", json!({})))).await.ok();
    rig.admin("PUT", &other, Some(queue("other", moves_to(THIRD))))
        .await
        .ok();
    let refused = rig.admin("PUT", &third, Some(queue("third", moves_to(OTHER)))).await;
    assert_eq!(refused.problem(), (422, "policy_refused"));
    assert!(
        refused.json["detail"].as_str().unwrap().contains("circle"),
        "{refused:?}"
    );
    let forced = format!("{third}?force=true");
    let forced = rig
        .admin("PUT", &forced, Some(queue("third", moves_to(OTHER))))
        .await
        .ok();
    assert_eq!(
        (&forced["findings"][0]["severity"], codes(&forced)[0]),
        (&json!("error"), "escalation_loop")
    );
    // A circle that is there already keeps nothing else from being saved, and is not told again.
    let ours = path(&format!("queues/{QUEUE}"));
    let settings = rig.admin("GET", &ours, None).await.ok()["settings"].take();
    let saved = rig.admin("PUT", &ours, Some(settings)).await.ok();
    assert_eq!(codes(&saved), Vec::<&str>::new());
}

#[tokio::test]
async fn rules_that_nobody_can_satisfy_yet_are_saved_and_told() {
    let rig = Rig::new().await;
    let saved = rig
        .admin("PUT", &path("skills/juggling"), Some(json!({ "description": "" })))
        .await
        .ok();
    assert_eq!(codes(&saved), ["skill_unasked"]);
    rig.admin(
        "PUT",
        &path(&format!("queues/{OTHER}")),
        Some(json!({ "name": "circus" })),
    )
    .await
    .ok();
    let rules = |queue: &str| {
        json!({ "rules": [{ "name": "circus", "when": "attributes.circus == true", "parts": [
        { "classification": { "queues": [queue], "required": [{ "skill": "juggling", "level": 3 }] } }] }] })
    };
    // Of the rest it says what is new: the fallback led to the queue that nothing leads to now.
    let early = rig.admin("PUT", &path("rules"), Some(rules(OTHER))).await.ok();
    assert_eq!(codes(&early), ["queue_unreached", "fallback_missing"]);
    // The jugglers may come after the rule.
    let nobody = rig
        .admin("PUT", &path("rules"), Some(rules(&QUEUE.to_string())))
        .await
        .ok();
    let told = &nobody["findings"][0];
    assert_eq!(
        (&told["severity"], &told["code"]),
        (&json!("error"), &json!("rule_unsatisfiable"))
    );
    assert_eq!(told["pointer"], "/rules/0/required");
}

#[tokio::test]
async fn a_calendar_goes_in_alone_and_comes_out() {
    let rig = Rig::new().await;
    let at = path(&format!("calendars/{OFFICE}"));
    assert_eq!(rig.admin("GET", &at, None).await.problem(), (404, "unknown_calendar"));
    let office = json!({ "name": "office", "zone": "Asia/Tokyo",
        "weekly": [{ "weekday": 1, "from_minute": 540, "to_minute": 1080 }],
        "exceptions": [{ "date": "01-01", "name": "New Year", "hours": [] }] });
    let saved = rig.admin("PUT", &at, Some(office.clone())).await.ok();
    assert_eq!(codes(&saved), ["calendar_unused"]);
    let one = rig.admin("GET", &at, None).await.ok();
    assert_eq!((&one["id"], &one["settings"]), (&json!(OFFICE), &office));
    assert!(one["covered_until_ms"].as_u64().unwrap() > 1_700_000_000_000, "{one}");
    assert_eq!(
        rig.admin("GET", &path("calendars"), None).await.ok()["calendars"],
        json!([one])
    );
    let version = version(&rig).await;
    rig.admin("PUT", &at, Some(office.clone())).await.ok();
    assert_eq!(self::version(&rig).await, version, "the same again changes nothing");

    let mut wrong = office.clone();
    wrong["weekly"][0]["to_minute"] = json!(500);
    let refused = rig.admin("PUT", &at, Some(wrong.clone())).await;
    assert_eq!(refused.problem(), (422, "policy_refused"));
    let forced = rig.admin("PUT", &format!("{at}?force=true"), Some(wrong)).await;
    assert_eq!(
        forced.problem(),
        (422, "policy_refused"),
        "hours that cannot be made cannot be forced"
    );

    let with_hours = queue("sales", json!({ "calendar": OFFICE }));
    rig.admin("PUT", &path(&format!("queues/{OTHER}")), Some(with_hours))
        .await
        .ok();
    assert_eq!(rig.admin("DELETE", &at, None).await.problem(), (409, "in_use"));
    rig.admin("DELETE", &path(&format!("queues/{OTHER}")), None).await.ok();
    rig.admin("DELETE", &at, None).await.ok();
    assert_eq!(
        rig.admin("DELETE", &at, None).await.problem(),
        (404, "unknown_calendar")
    );
    let nameless = rig
        .admin(
            "PUT",
            &path(&format!("queues/{OTHER}")),
            Some(queue("x", json!({ "calendar": OFFICE }))),
        )
        .await;
    assert_eq!(
        nameless.problem(),
        (404, "unknown_calendar"),
        "the state's own refusals stay as they are"
    );
}

#[tokio::test]
async fn what_holds_for_all_goes_in_alone_and_comes_out() {
    let rig = Rig::new().await;
    let at = path("routing");
    let mut routing = rig.admin("GET", &at, None).await.ok();
    assert_eq!(routing["cross_queue"], "priority_then_age");
    routing["zone"] = json!("Europe/Berlin");
    routing["batch_max"] = json!(16);
    let saved = rig.admin("PUT", &at, Some(routing.clone())).await.ok();
    assert_eq!(codes(&saved), Vec::<&str>::new());
    assert_eq!(rig.admin("GET", &at, None).await.ok(), routing);
    let version = version(&rig).await;
    rig.admin("PUT", &at, Some(routing)).await.ok();
    assert_eq!(self::version(&rig).await, version, "the days of the same zone are kept");
    let ours = path(&format!("queues/{QUEUE}"));
    let mut settings = rig.admin("GET", &ours, None).await.ok()["settings"].take();
    settings["cross_queue"]["ratio"] = json!(0);
    let saved = rig.admin("PUT", &ours, Some(settings)).await.ok();
    assert_eq!(codes(&saved), ["terms_not_asked_for"]);
    let nobodys = rig
        .admin("PUT", &at, Some(json!({ "cross_queue": "fixed_queue_ratio" })))
        .await;
    assert_eq!(nobodys.problem(), (422, "policy_refused"));
    assert_eq!(nobodys.json["errors"][0]["pointer"], "/cross_queue");
    let nowhere = rig.admin("PUT", &at, Some(json!({ "zone": "Europe/Atlantis" }))).await;
    assert_eq!(nowhere.problem(), (422, "policy_refused"));
}
