//! Answers with picked or renamed fields: where a client says which fields it wants, none of them is required.

use serde_json::{Map, Value, json};

const SCHEMAS: &str = "#/components/schemas/";

/// Gives each operation that lets the client pick fields an answer in which no field of a record is required.
pub(super) fn relax(document: &mut Value) {
    let mut schemas = match document.pointer_mut("/components/schemas") {
        Some(Value::Object(schemas)) => std::mem::take(schemas),
        _ => return,
    };
    for (path, item) in document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            if !picks(path, operation) {
                continue;
            }
            for status in ["200", "201"] {
                let schema = operation.pointer_mut(&format!("/responses/{status}/content/application~1json/schema"));
                if let Some(schema) = schema {
                    relax_schema(schema, &mut schemas);
                }
            }
        }
    }
    document["components"]["schemas"] = Value::Object(schemas);
}

/// Whether the client may say which fields it wants, or under which names.
fn picks(path: &str, operation: &Value) -> bool {
    let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    path.ends_with("/search")
        || parameters
            .filter(|parameter| parameter["in"] == "query")
            .any(|parameter| parameter["name"] == "fields" || parameter["name"] == "profile")
}

fn relax_schema(schema: &mut Value, schemas: &mut Map<String, Value>) {
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix(SCHEMAS));
    if let Some(name) = reference.map(ToOwned::to_owned) {
        let picked = format!("Picked_{name}");
        if !schemas.contains_key(&picked) {
            let mut relaxed = schemas.get(&name).cloned().unwrap_or_default();
            // Noted before what it refers to, so that a type that holds itself comes to an end.
            schemas.insert(picked.clone(), Value::Null);
            relax_schema(&mut relaxed, schemas);
            schemas.insert(picked.clone(), relaxed);
        }
        schema["$ref"] = json!(format!("{SCHEMAS}{picked}"));
        return;
    }
    // A page keeps what it has; the records in it are picked from.
    if let Some(items) = schema.pointer_mut("/properties/data/items") {
        relax_schema(items, schemas);
        return;
    }
    if let Some(members) = schema.as_object_mut() {
        members.remove("required");
        for part in members.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
            relax_schema(part, schemas);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_picked_is_required() {
        let mut document = json!({
            "paths": {"/cats": {"get": {
                "parameters": [{"name": "fields", "in": "query"}],
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Cats"}}}}},
            }}},
            "components": {"schemas": {
                "Cats": {
                    "required": ["data"],
                    "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Cat"}}},
                },
                "Cat": {"required": ["name"], "properties": {"name": {"type": "string"}}},
            }},
        });
        relax(&mut document);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Picked_Cats"]["required"], json!(["data"]));
        assert_eq!(schemas["Picked_Cats"]["properties"]["data"]["items"]["$ref"], "#/components/schemas/Picked_Cat");
        assert_eq!(schemas["Picked_Cat"], json!({"properties": {"name": {"type": "string"}}}));
        assert_eq!(schemas["Cat"]["required"], json!(["name"]));
        let answer = &document["paths"]["/cats"]["get"]["responses"]["200"]["content"]["application/json"];
        assert_eq!(answer["schema"]["$ref"], "#/components/schemas/Picked_Cats");
    }
}
