use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

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

/// Two types of one name would be described as one of them.
#[test]
fn schemas_are_told_apart() {
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for folder in ["src", "../crm-core/src"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    let mut seen: HashMap<String, PathBuf> = HashMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // The attributes above the line that names the type.
        let (mut described, mut renamed) = (false, None);
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split(|sign: char| !(sign.is_alphanumeric() || sign == '_')).collect();
            let declared =
                words.iter().position(|word| ["struct", "enum"].contains(word)).filter(|_| !line.starts_with('/'));
            if let Some(name) = declared.and_then(|place| words.get(place + 1)) {
                if described {
                    let name = renamed.take().unwrap_or_else(|| (*name).to_owned());
                    if let Some(before) = seen.insert(name.clone(), file.clone()) {
                        let (before, file) = (before.display(), file.display());
                        panic!("{name} is described in {before} and in {file}: give one of them `as`");
                    }
                }
                (described, renamed) = (false, None);
            } else if line.starts_with('#') || described {
                described |= line.contains("ToSchema)") || line.contains("ToSchema,");
                if let Some((_, name)) = line.split_once("schema(as = ") {
                    renamed = name.split([',', ')']).next().map(str::to_owned);
                }
                if line.is_empty() || line == "}" {
                    (described, renamed) = (false, None);
                }
            }
        }
    }
    assert!(seen.len() > 150, "{} types are described", seen.len());
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
