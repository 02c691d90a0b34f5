use routing::settings::{AgentSettings, Policy, QueueSettings};
use serde_json::{Value, json};

use super::*;
use crate::tenant_file::TenantFile;

/// Everything that a tenant file can say goes through JSON and comes back as it was.
#[test]
fn nothing_is_lost_on_the_way_through_the_api() {
    let text = include_str!("../../../tenant_file/whole.toml");
    let plan = TenantFile::parse("whole.toml", text, []).unwrap().as_it_stands();
    let json = serde_json::to_string(&PolicyBody::from(&plan.policy)).unwrap();
    let back: PolicyBody = serde_json::from_str(&json).unwrap();
    assert_eq!(Policy::from(back), plan.policy);
    for settings in plan.policy.queues.values() {
        let json = serde_json::to_string(&QueueBody::from(settings)).unwrap();
        let back: QueueBody = serde_json::from_str(&json).unwrap();
        assert_eq!(QueueSettings::from(back), *settings);
    }
    for (_, settings) in &plan.agents {
        let json = serde_json::to_string(&AgentBody::from(settings)).unwrap();
        let back: AgentBody = serde_json::from_str(&json).unwrap();
        assert_eq!(AgentSettings::from(back), *settings);
    }
}

#[test]
fn what_is_left_out_has_the_defaults_of_routing() {
    let queue: QueueBody = serde_json::from_value(json!({ "name": "q" })).unwrap();
    assert_eq!(QueueSettings::from(queue), QueueSettings::named("q"));
    let policy: PolicyBody = serde_json::from_value(json!({})).unwrap();
    assert_eq!(Policy::from(policy), Policy::default());
}

#[test]
fn the_words_are_those_of_the_documents() {
    let body: QueueBody = serde_json::from_value(json!({
        "name": "q",
        "relaxations": [{ "after_ms": 1, "change": { "lower_by": 2 } }, { "after_ms": 2, "skill": "x", "change": "drop" }],
        "rings": [{ "opens": { "after_ms": 5 } }, { "opens": { "while": { "service_level_below": 80 } } }],
        "return_when_full": { "wait_for_owner_ms": 7 },
        "when_closed": { "offline": { "text": "Later." } },
        "cross_queue": { "weight": 3 },
    }))
    .unwrap();
    let shown: Value = serde_json::to_value(&body).unwrap();
    assert_eq!(
        shown["rings"][1],
        json!({ "opens": { "while": { "service_level_below": 80 } } })
    );
    assert_eq!(
        shown["cross_queue"],
        json!({ "weight": 3, "rank": 0, "ratio": 1, "cost": 1 })
    );
    assert!(serde_json::from_value::<QueueBody>(json!({ "name": "q", "ringz": [] })).is_err());
}
