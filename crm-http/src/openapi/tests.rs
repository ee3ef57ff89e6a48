use std::collections::HashSet;

use serde_json::Value;

use crate::router::document;

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let item = item.as_object().unwrap().iter();
            item.filter(|(name, _)| super::is_method(name))
                .map(|(method, operation)| (path.clone(), method.clone(), operation))
        })
        .collect()
}

#[test]
fn every_route_says_what_it_is_and_what_it_needs() {
    let document = document(None);
    let permissions: HashSet<&str> =
        crm_core::access::Permission::all().map(crm_core::access::Permission::name).collect();
    for (path, method, operation) in operations(&document) {
        let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
        assert!(!text("summary").is_empty(), "{method} {path} has no summary");
        assert!(operation["tags"][0].is_string(), "{method} {path} has no tag");
        let permission = text("x-permission");
        assert!(
            ["public", "session", "service"].contains(&permission.as_str())
                || permissions.contains(permission.as_str()),
            "{method} {path} has no permission, or one that is none: {permission:?}"
        );
    }
}

#[test]
fn operations_are_told_apart() {
    let document = document(None);
    let mut seen = HashSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(seen.insert(id), "{method} {path} has the id of another");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference} is not there");
                }
                members.values().for_each(|value| check(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| check(document, value)),
            _ => {}
        }
    }
    let document = document(Some("https://crm.example.com"));
    check(&document, &document);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "https://crm.example.com/");
}
