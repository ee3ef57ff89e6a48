//! The OpenAPI document: what the handlers say of themselves, completed by what is true of every route.
//!
//! A handler names its success and the refusals that are its own. What any route can answer (a malformed query, no
//! credentials, a spent quota, a fault) is added here, in one place, from what the operation shows: whether it has a
//! body, a record in its path, a precondition, and whom it is for.

mod picked;

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// What an operation needs, in its own words: a permission, `session` (anybody signed in) or `public`.
const PERMISSION: &str = "x-permission";

const DESCRIPTION: &str = "\
Customers with custom fields, rules, accounts and access, for many organizations.

Every route under `/api/v1` also answers under `/api`.

**Lists** answer `{\"data\":[…],\"page\":{…}}`; follow `next_cursor`. **Errors** answer one envelope with a `code` for \
programs, or RFC 9457 where the client accepts `application/problem+json`. **Versions**: a record's `version` is its \
`ETag`; send it as `If-Match` to write only what you have read. A record of another organization, and one you may not \
see, is 404, as one that does not exist. Every answer carries `X-Request-Id`; name it when you report a fault.";

const TAGS: &[(&str, &str)] = &[
    ("Accounts", "Registration, sign-in, sessions, second factor."),
    ("API keys", "Keys for services."),
    ("Staff", "Staff users and teams."),
    ("Organization", "The organization's settings."),
    ("Audit", "Who did what, and the proof that nothing was changed since."),
    ("Customers", "Customers, in single and in bulk."),
    ("Groups", "Static groups of customers."),
    ("Tags", "Tags of customers."),
    ("Notes", "Internal notes on customers."),
    ("Orders", "What customers have bought; the figures of customers move with it."),
    ("Complaints", "What customers are not content with, and what came of it."),
    ("Segments", "Customers described by rules: counted, listed, explained."),
    ("Imports", "Customers from files."),
    ("Jobs", "Long work, watched and cancelled."),
    ("Campaigns", "Messages to many customers."),
    ("Webhooks", "Events posted to addresses outside."),
    ("Delivery", "Receipts of messages, suppressed addresses, consent, unsubscribing."),
    ("Custom fields", "Fields that an organization adds to its records."),
    ("AI", "Rules from sentences, drafts of messages, campaigns told in words."),
    ("Operations", "Health and metrics."),
];

/// The document before any route.
pub(crate) fn skeleton() -> OpenApi {
    let info = InfoBuilder::new()
        .title("CRM API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("ISC").identifier(Some("ISC")).build()))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// The document with everything that is true of every route.
pub(crate) fn complete(described: &OpenApi) -> Value {
    let mut document = serde_json::to_value(described).unwrap_or_default();
    let mut used_tags = Vec::new();
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        for (path, item) in paths {
            let Some(item) = item.as_object_mut() else { continue };
            for (method, operation) in item.iter_mut().filter(|(name, _)| is_method(name)) {
                if let Some(operation) = operation.as_object_mut() {
                    complete_operation(path, method, operation);
                    used_tags.extend(operation.get("tags").and_then(|tags| tags.get(0)).cloned());
                }
            }
        }
    }
    document["tags"] = TAGS
        .iter()
        .filter(|(name, _)| used_tags.iter().any(|used| used == name))
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect();
    document["security"] = json!([{"bearer": []}, {"api_key": []}, {"cookie": [], "csrf": []}]);
    mend_nullable(&mut document);
    picked::relax(&mut document);
    let components = entry(&mut document, "components");
    extend(entry(components, "schemas"), schemas());
    extend(entry(components, "responses"), responses());
    extend(entry(components, "headers"), headers());
    extend(entry(components, "securitySchemes"), security_schemes());
    document
}

/// The document with the address that the routes are served at, `/` where none is given.
pub(crate) fn served_at(mut document: Value, base_url: Option<&str>) -> Value {
    document["servers"] = json!([{"url": base_url.unwrap_or("/").trim_end_matches('/').to_owned() + "/"}]);
    document
}

/// The methods of each route that are for anybody, under both addresses.
pub(crate) fn public_routes(document: &Value) -> HashMap<String, Vec<String>> {
    let mut public: HashMap<String, Vec<String>> = HashMap::new();
    for (path, item) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if operation.get(PERMISSION).and_then(Value::as_str) == Some("public") {
                let method = method.to_ascii_uppercase();
                if let Some(rest) = path.strip_prefix(crate::router::API) {
                    public.entry(format!("{}{rest}", crate::router::ALIAS)).or_default().push(method.clone());
                }
                public.entry(path.clone()).or_default().push(method);
            }
        }
    }
    public
}

fn is_method(name: &str) -> bool {
    matches!(name, "get" | "put" | "post" | "patch" | "delete" | "head" | "options" | "trace")
}

fn entry<'a>(parent: &'a mut Value, name: &str) -> &'a mut Value {
    if !parent.get(name).is_some_and(Value::is_object) {
        parent[name] = json!({});
    }
    &mut parent[name]
}

/// A value or `null` is any of the two: where the value may itself be `null`, "one of" would refuse it.
fn mend_nullable(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_null = |branch: &Value| branch.get("type").is_some_and(|kind| kind == "null");
            if members.get("oneOf").and_then(Value::as_array).is_some_and(|branches| branches.iter().any(is_null))
                && let Some(branches) = members.remove("oneOf")
            {
                members.insert("anyOf".to_owned(), branches);
            }
            members.values_mut().for_each(mend_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(mend_nullable),
        _ => {}
    }
}

fn extend(target: &mut Value, more: Value) {
    if let (Some(target), Value::Object(more)) = (target.as_object_mut(), more) {
        target.extend(more);
    }
}

fn complete_operation(path: &str, method: &str, operation: &mut Map<String, Value>) {
    let permission = operation.get(PERMISSION).and_then(Value::as_str).unwrap_or_default().to_owned();
    let public = permission == "public";
    let in_api = path.starts_with(crate::router::API);
    operation.insert("operationId".to_owned(), operation_id(path, method).into());
    if public {
        operation.insert("security".to_owned(), json!([]));
    }
    let needs = match permission.as_str() {
        "public" => "Needs no credentials.".to_owned(),
        "session" => "For anybody who is signed in.".to_owned(),
        "service" => "For the installation's service key.".to_owned(),
        permission => format!("Needs the permission `{permission}`."),
    };
    let description = operation.get("description").and_then(Value::as_str).unwrap_or_default();
    let description = if description.is_empty() { needs } else { format!("{description}\n\n{needs}") };
    operation.insert("description".to_owned(), description.into());

    let has_body = operation.contains_key("requestBody");
    let has_parameter = path.contains('{');
    let has_precondition = operation.get("responses").is_some_and(|responses| responses.get("412").is_some());
    complete_parameters(path, operation, has_precondition);
    let has_key = in_api && !public && matches!(method, "post" | "patch");
    if has_key {
        add_idempotency_key(operation);
    }
    let Some(responses) = operation.entry("responses").or_insert_with(|| json!({})).as_object_mut() else { return };
    let mut always: Vec<&str> = vec!["500", "503"];
    always.extend(in_api.then_some(["400", "414", "429"]).into_iter().flatten());
    always.extend((!public).then_some(["401", "403"]).into_iter().flatten());
    always.extend(has_parameter.then_some("404"));
    always.extend(has_body.then_some(["408", "413", "415"]).into_iter().flatten());
    always.extend(has_key.then_some(["409", "422"]).into_iter().flatten());
    for status in always {
        responses.entry(status).or_insert_with(|| json!({}));
    }
    for (status, response) in responses.iter_mut() {
        complete_response(path, method, status, response);
    }
}

fn complete_parameters(path: &str, operation: &mut Map<String, Value>, has_precondition: bool) {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    if let Some(parameters) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut() {
        for name in names {
            if !parameters.iter().any(|parameter| parameter["in"] == "path" && parameter["name"] == name) {
                let schema = json!({"type": "string", "format": "uuid"});
                parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
            }
        }
        if has_precondition {
            parameters.push(json!({
                "name": "If-Match", "in": "header", "required": false,
                "description": "The ETag that was read: writes only if the record still has it. `*` for any.",
                "schema": {"type": "string", "pattern": "^(W/)?\"[0-9]{1,18}\"$|^\\*$"}, "example": "\"3\"",
            }));
        }
    }
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let described = parameter.get("description").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if !described && parameter["in"] == "path" {
            parameter["description"] = "The record's id.".into();
        }
    }
}

fn add_idempotency_key(operation: &mut Map<String, Value>) {
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A name for this request, such as a UUID, that makes it safe to send again: it takes effect once, and for 24 hours the first answer is given again with `Idempotent-Replayed: true`. Another body or query under the same key is 422, a first request still in hand 409. Bare or as a quoted string.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 257, "pattern": "^[!-~]+$"},
            "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
        }));
    }
}

fn complete_response(path: &str, method: &str, status: &str, response: &mut Value) {
    if let Some((_, name, ..)) = PROBLEMS.iter().find(|(problem, ..)| *problem == status)
        && response.get("content").is_none()
    {
        let described = response.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        *response = json!({"$ref": format!("#/components/responses/{name}")});
        if !described.is_empty() {
            response["description"] = described.into();
        }
        return;
    }
    let headers = entry(response, "headers");
    headers["X-Request-Id"] = json!({"$ref": "#/components/headers/X-Request-Id"});
    if status == "201" {
        headers["Location"] = json!({"$ref": "#/components/headers/Location"});
    }
    let one_record = path.ends_with("{id}") && matches!(method, "get" | "put" | "patch") && status == "200";
    if one_record || status == "201" {
        headers["ETag"] = json!({"$ref": "#/components/headers/ETag"});
    }
}

/// `get_customers_id`: unique, because a method and a path are.
fn operation_id(path: &str, method: &str) -> String {
    let mut id = method.to_owned();
    let path = path.strip_prefix(crate::router::API).unwrap_or(path);
    for segment in path.split(['/', '{', '}', '-', '.', '*']).filter(|segment| !segment.is_empty()) {
        id.push('_');
        id.push_str(segment);
    }
    id
}

/// Status, name, code, message and meaning of every refusal.
type ProblemKind = (&'static str, &'static str, &'static str, &'static str, &'static str);

const PROBLEMS: &[ProblemKind] = &[
    (
        "400",
        "Invalid",
        "VALIDATION_ERROR",
        "Some fields are not valid.",
        "A body, parameter or header is not valid; every wrong field is listed.",
    ),
    (
        "401",
        "Unauthenticated",
        "UNAUTHENTICATED",
        "Sign in first.",
        "No credentials, or none that hold: `UNAUTHENTICATED`, `TOKEN_EXPIRED` (refresh it) or `TOKEN_REVOKED` (sign in).",
    ),
    (
        "403",
        "Forbidden",
        "FORBIDDEN",
        "This needs the permission customers:write.",
        "Not allowed: `FORBIDDEN`, or `CSRF` where a cookie came without its token.",
    ),
    ("404", "NotFound", "NOT_FOUND", "There is no such record.", "There is none, or none that may be seen."),
    ("408", "Timeout", "REQUEST_TIMEOUT", "The body did not arrive in time.", "The body did not arrive in time."),
    (
        "409",
        "Conflict",
        "CONFLICT",
        "The record is in use.",
        "It does not fit what is there: `CONFLICT`, `DUPLICATE` (with `matches`) or `INVALID_STATE`.",
    ),
    (
        "412",
        "VersionConflict",
        "VERSION_CONFLICT",
        "The record was changed by somebody else (its version is now 4): read it again.",
        "`If-Match` does not match; nothing was written.",
    ),
    (
        "413",
        "PayloadTooLarge",
        "PAYLOAD_TOO_LARGE",
        "The body is larger than 1024 KB.",
        "The body, or what is asked for at once, is too large.",
    ),
    ("414", "UriTooLong", "URI_TOO_LONG", "The address is longer than 16384 bytes.", "The address is too long."),
    (
        "415",
        "UnsupportedMediaType",
        "UNSUPPORTED_MEDIA_TYPE",
        "The body must be JSON in UTF-8, sent with the header Content-Type: application/json.",
        "The body is not JSON.",
    ),
    (
        "422",
        "IdempotencyMismatch",
        "IDEMPOTENCY_MISMATCH",
        "This key was used for a request with another body or query: use another key.",
        "The `Idempotency-Key` was used for another request.",
    ),
    (
        "429",
        "TooManyRequests",
        "RATE_LIMITED",
        "Too many requests: try again in 12 s.",
        "A quota is spent; `Retry-After` says when to try again.",
    ),
    (
        "500",
        "Internal",
        "INTERNAL",
        "Something went wrong on our side.",
        "A fault of the server; the log has it under the request id.",
    ),
    ("502", "Upstream", "UPSTREAM_ERROR", "The outside service did not answer.", "An outside service failed."),
    (
        "503",
        "Unavailable",
        "UNAVAILABLE",
        "The store is busy: try again.",
        "Not available for now; `Retry-After` says when to try again.",
    ),
];

fn responses() -> Value {
    let mut responses = Map::new();
    for (status, name, code, message, meaning) in PROBLEMS {
        let number: u16 = status.parse().unwrap_or_default();
        let title = axum::http::StatusCode::from_u16(number).ok().and_then(|status| status.canonical_reason());
        let (own, standard) = if *status == "400" {
            (
                json!([{"field": "email", "message": "must be an e-mail address", "code": "INVALID_EMAIL"}]),
                json!([{"field": "email", "detail": "must be an e-mail address", "code": "INVALID_EMAIL"}]),
            )
        } else {
            (json!([]), json!([]))
        };
        let request_id = "0199f3a2-6b1c-7c3e-9d4f-1a2b3c4d5e6f";
        let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
        if matches!(number, 429 | 503) {
            headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
        }
        if number == 401 {
            headers["WWW-Authenticate"] = json!({"$ref": "#/components/headers/WWW-Authenticate"});
        }
        let response = json!({
            "description": meaning,
            "headers": headers,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {"status": "error", "message": message, "code": code, "errors": own, "request_id": request_id},
                },
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/ProblemDetails"},
                    "example": {
                        "type": "about:blank", "title": title, "status": number, "detail": message, "code": code,
                        "errors": standard, "request_id": request_id,
                    },
                },
            },
        });
        responses.insert((*name).to_owned(), response);
    }
    Value::Object(responses)
}

fn schemas() -> Value {
    let code = json!({"type": "string", "pattern": "^[A-Z][A-Z0-9_]*$", "description": "For programs."});
    let request_id = json!({"type": "string", "description": "As in the X-Request-Id header and the server's log."});
    let matches = json!({
        "type": "array", "items": {"type": "string", "format": "uuid"},
        "description": "With `DUPLICATE`: the records that have the same key, as far as they may be seen.",
    });
    let field = json!({"type": "string", "description": "The field's path, such as `items[2].email`."});
    json!({
        "Problem": {
            "type": "object",
            "description": "Why a request was refused.",
            "required": ["status", "message", "code", "errors", "request_id"],
            "properties": {
                "status": {"type": "string", "const": "error"},
                "message": {"type": "string", "description": "For people."},
                "code": code,
                "errors": {
                    "type": "array",
                    "description": "Every wrong field.",
                    "items": {
                        "type": "object",
                        "required": ["field", "message", "code"],
                        "properties": {"field": field, "message": {"type": "string"}, "code": code},
                    },
                },
                "matches": matches,
                "request_id": request_id,
            },
        },
        "ProblemDetails": {
            "type": "object",
            "description": "The same in the form of RFC 9457.",
            "required": ["type", "title", "status", "detail", "code", "errors", "request_id"],
            "properties": {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string"},
                "code": code,
                "errors": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "detail", "code"],
                        "properties": {"field": field, "detail": {"type": "string"}, "code": code},
                    },
                },
                "matches": matches,
                "violated-policies": {"type": "array", "items": {"type": "string"}},
                "request_id": request_id,
            },
        },
    })
}

fn headers() -> Value {
    json!({
        "X-Request-Id": {"description": "The request's id.", "schema": {"type": "string"}},
        "Location": {"description": "Where the new record is.", "schema": {"type": "string"}},
        "ETag": {"description": "The record's version, for If-Match.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
        "WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}},
    })
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The access token of POST /auth/login.",
        },
        "api_key": {
            "type": "apiKey", "in": "header", "name": "X-API-Key",
            "description": "A key of POST /api-keys, for services.",
        },
        "cookie": {
            "type": "apiKey", "in": "cookie", "name": "crm_access",
            "description": "The access token as a cookie, for browsers; over HTTPS its name begins with `__Host-`.",
        },
        "csrf": {
            "type": "apiKey", "in": "header", "name": "X-CSRF-Token",
            "description": "With the cookie, on every request that changes something: the value of the cookie `crm_csrf`.",
        },
    })
}

#[cfg(test)]
mod tests;
