//! The OpenAPI document: nothing missing, nothing dangling.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use super::rig::{API_KEY, Rig, customer};
use crate::api::openapi;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

fn document() -> Value {
    serde_json::to_value(openapi::document()).unwrap()
}

/// Every (path, method, operation).
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{method} {path}");
            found.push((path.clone(), method.clone(), operation.clone()));
        }
    }
    found
}

/// The paths that a router routes, read off its debug form: axum has no other way to list them.
fn routed(router: &axum::Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let quoted = text.split('"').skip(1).step_by(2);
    quoted
        .filter(|path| path.starts_with('/') && !path.contains("{*"))
        .filter(|path| *path != "/")
        .map(str::to_owned)
        .collect()
}

fn concrete(path: &str) -> String {
    path.replace("{conversation}", "conv_00000000000000000000000000000001")
        .replace("{tenant}", "ten_00000000000000000000000000000001")
        .replace("{calendar}", "cal_00000000000000000000000000000001")
        .replace("{queue}", "que_00000000000000000000000000000001")
        .replace("{agent}", "agt_00000000000000000000000000000001")
        .replace("{node}", "1")
        .replace("{shard}", "1")
        .replace("{kid}", "a-key")
        .replace("{skill}", "billing")
}

#[tokio::test]
async fn documented_paths_are_the_routed_ones() {
    let rig = Rig::new().await;
    let document = document();
    let documented: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let (public, admin) = (routed(&rig.public), routed(&rig.admin));
    assert!(
        public.contains("/v1/conversations/{conversation}/entries"),
        "the debug form has changed: {public:?}"
    );
    let both: BTreeSet<String> = public.union(&admin).cloned().collect();
    assert_eq!(both, documented);
    assert!(
        public
            .iter()
            .all(|path| !path.starts_with("/v1/admin/") && path != "/metrics")
    );
    assert!(
        admin
            .iter()
            .all(|path| path.starts_with("/v1/admin/") || !path.starts_with("/v1/"))
    );
}

#[tokio::test]
async fn every_documented_operation_is_there_and_every_other_method_is_refused_with_allow() {
    let rig = Rig::new().await;
    let document = document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let (router, key) = match path.starts_with("/v1/admin/") || path == "/metrics" {
            true => (&rig.admin, API_KEY.to_owned()),
            false => (&rig.public, customer("ann")),
        };
        for method in METHODS {
            let upper = method.to_uppercase();
            let got = Rig::send(router, Rig::request(&upper, &concrete(path), Some(&key), None)).await;
            if item.get(method).is_some() {
                assert!(
                    got.status != 405 && got.json["code"] != "unknown_route",
                    "{method} {path}: {got:?}"
                );
            } else {
                assert_eq!(got.problem(), (405, "method_not_allowed"), "{method} {path}");
                let allow = got.header("allow").expect("Allow");
                let listed: BTreeSet<_> = allow.split(", ").map(str::to_lowercase).collect();
                let wanted: BTreeSet<_> = item.as_object().unwrap().keys().cloned().collect();
                assert_eq!(listed, wanted, "{path}");
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| walk(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_operation_is_described_whole() {
    let document = document();
    assert_eq!(
        document["openapi"]
            .as_str()
            .unwrap()
            .split('.')
            .take(2)
            .collect::<Vec<_>>(),
        ["3", "1"]
    );
    assert!(document["info"]["title"] == "kaiwa" && document["info"]["version"].is_string());
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let here = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{here}: id used twice"
        );
        assert!(operation["summary"].is_string(), "{here}: not described");
        assert!(
            operation["tags"].as_array().is_some_and(|tags| tags.len() == 1),
            "{here}: one tag"
        );
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{here}: no success"
        );
        assert_eq!(responses["default"]["$ref"], "#/components/responses/Problem", "{here}");
        let described = |response: &Value| response["$ref"].is_string() || response["description"].is_string();
        assert!(
            responses.values().all(described),
            "{here}: a response without description"
        );
        let none = Vec::new();
        let given = operation["parameters"].as_array().unwrap_or(&none);
        let named: BTreeSet<_> = given
            .iter()
            .filter(|p| p["in"] == "path")
            .map(|p| p["name"].as_str().unwrap())
            .collect();
        let wanted: BTreeSet<_> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(named, wanted, "{here}: path parameters");
        assert!(
            given
                .iter()
                .filter(|p| p["in"] == "path")
                .all(|p| p["required"] == true),
            "{here}"
        );
        assert_eq!(
            operation["security"].is_array(),
            path.starts_with("/v1/"),
            "{here}: security"
        );
        let takes_body = ["post", "put", "patch"].contains(&method.as_str());
        assert_eq!(
            operation["requestBody"]["content"]["application/json"]["schema"].is_object(),
            takes_body,
            "{here}"
        );
    }
    assert!(ids.len() > 50, "{}", ids.len());
}

#[test]
fn what_goes_in_refuses_unknown_fields_in_the_document_too() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        let Some(reference) = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else {
            continue;
        };
        let schema = document.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{method} {path}: {schema}");
    }
}

#[tokio::test]
async fn it_is_served_on_both_listeners_without_a_key() {
    let rig = Rig::new().await;
    for router in [&rig.public, &rig.admin] {
        let got = Rig::send(router, Request::get("/openapi.json").body(Body::empty()).unwrap()).await;
        assert_eq!(got.header("content-type"), Some("application/json"));
        assert_eq!(got.ok(), document());
    }
}
