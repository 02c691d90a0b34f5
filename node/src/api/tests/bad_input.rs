//! Bad input of every class: a problem with its code, and nothing changed.

use axum::body::Body;
use axum::http::Request;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::rig::{AIKO, API_KEY, OURS, Rig, THEIRS, agent, customer, supervisor, token, token_until};
use crate::api::openapi;
use crate::auth::{Role, unix_now_s};
use crate::error::EngineError;
use crate::limits::REQUEST_MAX_BYTES;

/// (body, status, code, pointer) for `POST …/messages` by ann.
fn bodies() -> Vec<(String, u16, &'static str, Option<&'static str>)> {
    let long = "x".repeat(33 << 10);
    let large = "x".repeat(REQUEST_MAX_BYTES + 1);
    vec![
        ("{".into(), 400, "malformed_json", None),
        ("nonsense".into(), 400, "malformed_json", None),
        (r#"{"body":{"text":"x"}} {}"#.into(), 400, "malformed_json", None),
        ("\u{0}\u{1}".into(), 400, "malformed_json", None),
        ("[".repeat(5_000), 422, "wrong_type", Some("")),
        (format!(r#"{{"body":{}"#, "[".repeat(5_000)), 422, "wrong_type", None),
        (
            r#"{"body":{"text":"x"},"colour":"red"}"#.into(),
            422,
            "unknown_field",
            Some("/colour"),
        ),
        (
            r#"{"body":{"text":"x","colour":1}}"#.into(),
            422,
            "unknown_field",
            Some("/body/colour"),
        ),
        (
            r#"{"body":{"text":"x"},"body":{"text":"y"}}"#.into(),
            422,
            "duplicate_field",
            Some("/body"),
        ),
        ("{}".into(), 422, "missing_field", Some("/body")),
        (String::new(), 422, "missing_field", Some("/body")),
        (r#"{"body":{}}"#.into(), 422, "missing_field", Some("/body/text")),
        (r#"{"body":{"text":7}}"#.into(), 422, "wrong_type", Some("/body/text")),
        (r#"{"body":"hello"}"#.into(), 422, "wrong_type", Some("/body")),
        (
            r#"{"body":{"text":"x"},"epoch":-1}"#.into(),
            422,
            "invalid_value",
            Some("/epoch"),
        ),
        (
            r#"{"body":{"text":"x"},"epoch":1.5}"#.into(),
            422,
            "wrong_type",
            Some("/epoch"),
        ),
        ("[]".into(), 422, "wrong_type", Some("")),
        (r#"[{"text":"x"}]"#.into(), 422, "wrong_type", Some("")),
        ("7".into(), 422, "wrong_type", Some("")),
        (json!({"body": {"text": long}}).to_string(), 413, "too_large", None),
        (
            json!({"body": {"text": large}}).to_string(),
            413,
            "body_too_large",
            None,
        ),
        (
            json!({"body": {"text": "x", "media_type": "y".repeat(65)}}).to_string(),
            413,
            "too_large",
            None,
        ),
    ]
}

#[tokio::test]
async fn bodies_of_every_wrong_kind() {
    let rig = Rig::new().await;
    let path = format!("/v1/conversations/{}/messages", rig.anns().await);
    let before = rig.node.rows_hash();
    for (body, status, code, pointer) in bodies() {
        let shown: String = body.chars().take(60).collect();
        let got = Rig::send(
            &rig.public,
            Rig::request("POST", &path, Some(&customer("ann")), Some(body)),
        )
        .await;
        assert_eq!(got.problem(), (status, code), "{shown}: {got:?}");
        if let Some(pointer) = pointer {
            assert_eq!(got.json["errors"][0]["pointer"], pointer, "{shown}: {got:?}");
        }
        assert!(
            got.text.len() < 2_000,
            "{shown}: the answer repeats too much of the question"
        );
        assert!(before == rig.node.rows_hash(), "{shown}: something has changed");
    }
}

#[tokio::test]
async fn the_text_says_where_and_what_would_be_right() {
    let rig = Rig::new().await;
    let ann = customer("ann");
    let got = Rig::send(
        &rig.public,
        Rig::request("POST", "/v1/conversations", Some(&ann), Some("{\n 'a'".into())),
    )
    .await;
    assert!(
        got.json["detail"].as_str().unwrap().contains("line 2, column 2"),
        "{got:?}"
    );
    let got = rig.post("/v1/conversations", &ann, json!({"chanel": "x"})).await;
    let detail = got.json["detail"].as_str().unwrap();
    assert!(detail.contains("`chanel`") && detail.contains("`channel`"), "{detail}");
    let got = rig
        .call("PUT", "/v1/me/presence", &agent("aiko"), json!({"presence": "busy"}))
        .await;
    assert_eq!(got.problem(), (422, "unknown_value"));
    assert!(got.json["detail"].as_str().unwrap().contains("`available`"), "{got:?}");
    let got = rig
        .post(
            "/v1/conversations",
            &ann,
            json!({"channel": "web_chat", "attributes": {"plan": [1]}}),
        )
        .await;
    assert_eq!(got.problem(), (422, "wrong_type"));
    assert_eq!(got.json["errors"][0]["pointer"], "/attributes/plan");
    assert!(
        got.json["detail"]
            .as_str()
            .unwrap()
            .contains("a text, a whole number, true or false"),
        "{got:?}"
    );
}

#[tokio::test]
async fn media_types() {
    let rig = Rig::new().await;
    let ann = customer("ann");
    for (media_type, fits) in [
        (Some("application/json"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some("application/vnd.kaiwa+json"), true),
        (Some("text/plain"), false),
        (Some("application/x-www-form-urlencoded"), false),
        (None, false),
    ] {
        let mut request = Request::post("/v1/conversations").header("authorization", format!("Bearer {ann}"));
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        let request = request.body(Body::from(r#"{"channel":"web_chat"}"#)).unwrap();
        let got = Rig::send(&rig.public, request).await;
        match fits {
            true => assert_eq!(got.status, 201, "{media_type:?}: {got:?}"),
            false => assert_eq!(got.problem(), (415, "unsupported_media_type"), "{media_type:?}"),
        }
    }
}

#[tokio::test]
async fn ids_and_parameters() {
    let rig = Rig::new().await;
    let before = rig.node.rows_hash();
    let sue = supervisor();
    let unknown = "conv_00000000000000000000000000000099";
    for (path, status, code) in [
        ("/v1/conversations/7".to_owned(), 400, "bad_id"),
        (
            "/v1/conversations/agt_00000000000000000000000000000011".to_owned(),
            400,
            "bad_id",
        ),
        (
            "/v1/conversations/conv_0000000000000000000000000000000G".to_owned(),
            400,
            "bad_id",
        ),
        ("/v1/conversations/%ff%fe".to_owned(), 400, "bad_id"),
        (format!("/v1/conversations/{unknown}"), 404, "unknown_conversation"),
        (
            format!("/v1/conversations/{unknown}/entries"),
            404,
            "unknown_conversation",
        ),
        (format!("/v1/conversations/{unknown}/why"), 404, "unknown_conversation"),
        (format!("/v1/conversations/{unknown}/why?agent=x"), 400, "bad_id"),
        ("/v1/conversations?limit=0".to_owned(), 400, "bad_parameter"),
        ("/v1/conversations?limit=501".to_owned(), 400, "bad_parameter"),
        ("/v1/conversations?limit=many".to_owned(), 400, "bad_parameter"),
        ("/v1/conversations?queue=que_1".to_owned(), 400, "bad_id"),
        ("/v1/conversations?colour=red".to_owned(), 400, "unknown_parameter"),
        (
            format!("/v1/conversations?customer=ann&agent={AIKO}"),
            400,
            "bad_parameter",
        ),
        ("/v1/nonsense".to_owned(), 404, "unknown_route"),
        ("/v1/conversations/".to_owned(), 404, "unknown_route"),
        ("/v1/admin/tenants".to_owned(), 404, "unknown_route"),
    ] {
        let got = rig.get(&path, &sue).await;
        assert_eq!(got.problem(), (status, code), "{path}: {got:?}");
    }
    let got = rig
        .post(
            &format!("/v1/conversations/{unknown}/assign"),
            &sue,
            json!({"agent": "aiko"}),
        )
        .await;
    assert_eq!(got.problem(), (422, "bad_id"));
    assert_eq!(got.json["errors"][0]["pointer"], "/agent");
    assert!(before == rig.node.rows_hash());
}

#[tokio::test]
async fn idempotency_keys() {
    let rig = Rig::new().await;
    for key in [
        "",
        "7",
        "-",
        "1-",
        "-1",
        "1-2-3",
        "a-b",
        "+1-2",
        "1- 2",
        "99999999999999999999-1",
        "1-0x2",
    ] {
        let mut request = Rig::request(
            "POST",
            "/v1/conversations",
            Some(&customer("ann")),
            Some(r#"{"channel":"web_chat"}"#.into()),
        );
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        assert_eq!(
            Rig::send(&rig.public, request).await.problem(),
            (400, "bad_idempotency_key"),
            "{key}"
        );
    }
}

#[tokio::test]
async fn tokens() {
    let rig = Rig::new().await;
    let good = customer("ann");
    let (head, tail) = good.rsplit_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIiwia2lkIjoia2V5LTEifQ";
    let claims = head.split_once('.').unwrap().1;
    let expired = token_until(OURS, Role::Customer, "ann", unix_now_s() - 60);
    let cases = [
        (None, "unauthenticated"),
        (Some(String::new()), "unauthenticated"),
        (Some("nonsense".to_owned()), "token_invalid"),
        (Some(format!("{head}.")), "token_invalid"),
        (Some(format!("{none}.{claims}.")), "token_invalid"),
        (Some(format!("{none}.{claims}.{tail}")), "token_invalid"),
        (Some(expired), "token_expired"),
        (Some(API_KEY.to_owned()), "token_invalid"),
    ];
    for (token, code) in cases {
        let got = Rig::send(&rig.public, Rig::request("GET", "/v1/me", token.as_deref(), None)).await;
        assert_eq!(got.problem(), (401, code), "{token:?}");
        assert!(
            got.header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer")),
            "{got:?}"
        );
        assert!(
            token.is_none_or(|token| token.len() < 8 || !got.text.contains(&token)),
            "the token came back"
        );
    }
    let basic = Request::get("/v1/me")
        .header("authorization", "Basic YTpi")
        .body(Body::empty())
        .unwrap();
    assert_eq!(Rig::send(&rig.public, basic).await.problem(), (401, "unauthenticated"));
}

#[tokio::test]
async fn agents_who_are_none() {
    let rig = Rig::new().await;
    for (tenant, role, name) in [
        (OURS, Role::Agent, "nobody"),
        (OURS, Role::Supervisor, "aiko"),
        (THEIRS, Role::Agent, "agt_000000000000000000000000000000ff"),
    ] {
        let got = rig.get("/v1/me", &token(tenant, role, name)).await;
        assert_eq!(got.problem(), (403, "forbidden"), "{name}");
    }
}

/// Every operation that takes a body, against bytes that nobody meant: a problem each time, no panic, no change.
#[tokio::test]
async fn noise_changes_nothing() {
    let rig = Rig::new().await;
    let (id, _) = rig.anns_with_aiko().await;
    let before = rig.node.rows_hash();
    let mut random = rand::rngs::SmallRng::seed_from_u64(7);
    let pieces = [
        "{", "}", "[", "]", ":", ",", "\"", "epoch", "body", "text", "null", "-1", "1e999", "\\u0000", "é", " ", "true",
    ];
    let document = serde_json::to_value(openapi::document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["requestBody"].is_null() || path.starts_with("/v1/admin/") {
                continue;
            }
            for _ in 0..20 {
                let noise: String = (0..random.random_range(1..12))
                    .map(|_| pieces[random.random_range(0..pieces.len())])
                    .collect();
                let path = path.replace("{conversation}", &id);
                let method = method.to_uppercase();
                let got = Rig::send(
                    &rig.public,
                    Rig::request(&method, &path, Some(&agent("aiko")), Some(noise.clone())),
                )
                .await;
                assert!(
                    (400..500).contains(&got.problem().0),
                    "{method} {path} {noise}: {got:?}"
                );
            }
        }
    }
    assert!(before == rig.node.rows_hash());
}

#[tokio::test]
async fn what_the_engine_says() {
    let rig = Rig::new().await;
    for (error, status, code, retry_after) in [
        (EngineError::NoLeader, 503, "no_leader", Some("1")),
        (EngineError::Stopping, 503, "stopping", Some("1")),
        (
            EngineError::Overloaded { retry_after_ms: 2_500 },
            429,
            "overloaded",
            Some("3"),
        ),
        (EngineError::OutcomeUnknown, 504, "outcome_unknown", None),
        (EngineError::DiskFull, 507, "disk_full", Some("5")),
        (
            EngineError::Internal("secret of the house".to_owned()),
            500,
            "internal",
            None,
        ),
    ] {
        *rig.node.fails_with.lock() = Some(error);
        let got = rig
            .post("/v1/conversations", &customer("ann"), json!({"channel": "web_chat"}))
            .await;
        assert_eq!(got.problem(), (status, code));
        assert_eq!(got.header("retry-after"), retry_after, "{code}");
        assert!(!got.text.contains("secret"), "{got:?}");
    }
}
