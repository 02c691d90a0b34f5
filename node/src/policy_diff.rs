//! What differs between two policies, for people: changed paths with before and after, by names instead of ids.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One changed path.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Change {
    /// `queues.support.offer_timeout_ms`.
    pub path: String,
    /// Absent: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Absent: it is no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "~ {}: {before} → {after}", self.path),
            (None, Some(after)) => write!(f, "+ {}: {after}", self.path),
            (Some(before), None) => write!(f, "- {}: {before}", self.path),
            (None, None) => write!(f, "  {}", self.path),
        }
    }
}

/// The changes from one tree to another, in order of their paths. Lists whose elements have names are compared by name, and a
/// changed order of them is a change of its own.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                compare(&below(path, key), before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => match (named(old), named(new)) {
            (Some(old), Some(new)) => lists(path, &old, &new, found),
            _ => by_place(path, old, new, found),
        },
        (before, after) => found.push(Change {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn below(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if plain { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The elements by their names, if all have one and they differ.
fn named(list: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let named: Vec<(&str, &Value)> = list
        .iter()
        .map(|element| Some((element.get("name")?.as_str()?, element)))
        .collect::<Option<_>>()?;
    let names: BTreeMap<&str, ()> = named.iter().map(|(name, _)| (*name, ())).collect();
    (names.len() == named.len()).then_some(named)
}

fn lists(path: &str, old: &[(&str, &Value)], new: &[(&str, &Value)], found: &mut Vec<Change>) {
    let get = |list: &[(&str, &Value)], name: &str| list.iter().any(|(other, _)| *other == name);
    for (name, element) in old {
        let after = new.iter().find(|(other, _)| other == name).map(|(_, after)| *after);
        compare(&format!("{path}[{name}]"), Some(element), after, found);
    }
    for (name, element) in new.iter().filter(|(name, _)| !get(old, name)) {
        compare(&format!("{path}[{name}]"), None, Some(element), found);
    }
    let order = |list: &[(&str, &Value)], other: &[(&str, &Value)]| -> Vec<String> {
        let both = list.iter().filter(|(name, _)| get(other, name));
        both.map(|(name, _)| (*name).to_owned()).collect()
    };
    let (before, after) = (order(old, new), order(new, old));
    if before != after {
        found.push(Change {
            path: format!("{path} (order)"),
            before: Some(before.into()),
            after: Some(after.into()),
        });
    }
}

fn by_place(path: &str, old: &[Value], new: &[Value], found: &mut Vec<Change>) {
    let plain = |list: &[Value]| list.iter().all(|element| !element.is_object());
    if plain(old) && plain(new) {
        return found.push(Change {
            path: path.to_owned(),
            before: Some(old.to_vec().into()),
            after: Some(new.to_vec().into()),
        });
    }
    for at in 0..old.len().max(new.len()) {
        compare(&format!("{path}[{at}]"), old.get(at), new.get(at), found);
    }
}

/// The tree with names in the place of ids, in keys and in texts.
pub fn with_names(tree: &Value, names: &BTreeMap<String, String>) -> Value {
    let name = |text: &str| names.get(text).cloned().unwrap_or_else(|| text.to_owned());
    match tree {
        Value::String(text) => Value::String(name(text)),
        Value::Array(list) => list.iter().map(|element| with_names(element, names)).collect(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (name(key), with_names(value, names)));
            Value::Object(entries.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(before: &Value, after: &Value) -> Vec<String> {
        changes(before, after).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_differs_is_said_by_path() {
        let before = json!({
            "queues": { "que_1": { "name": "support", "offer_timeout_ms": 20000, "rings": [{ "after": 1 }, { "after": 2 }] } },
            "rules": [{ "name": "a", "when": "x" }, { "name": "b", "when": "y" }, { "name": "c", "when": "z" }],
            "list": [1, 2],
            "gone": null,
        });
        let after = json!({
            "queues": {
                "que_1": { "name": "support", "offer_timeout_ms": 40000, "rings": [{ "after": 1 }, { "after": 3 }, { "after": 4 }] },
                "que_2": { "name": "over flow" },
            },
            "rules": [{ "name": "b", "when": "y" }, { "name": "a", "when": "X" }, { "name": "d", "when": "w" }],
            "list": [2, 1],
        });
        let names = BTreeMap::from(
            [("que_1", "support"), ("que_2", "over flow")].map(|(id, name)| (id.to_owned(), name.to_owned())),
        );
        let (before, after) = (with_names(&before, &names), with_names(&after, &names));
        assert_eq!(
            said(&before, &after),
            [
                "- gone: null",
                "~ list: [1,2] → [2,1]",
                "+ queues.\"over flow\": {\"name\":\"over flow\"}",
                "~ queues.support.offer_timeout_ms: 20000 → 40000",
                "~ queues.support.rings[1].after: 2 → 3",
                "+ queues.support.rings[2]: {\"after\":4}",
                "~ rules[a].when: \"x\" → \"X\"",
                "- rules[c]: {\"name\":\"c\",\"when\":\"z\"}",
                "+ rules[d]: {\"name\":\"d\",\"when\":\"w\"}",
                "~ rules (order): [\"a\",\"b\"] → [\"b\",\"a\"]",
            ]
        );
        assert!(said(&after, &after).is_empty());
    }
}
