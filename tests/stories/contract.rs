//! The OpenAPI document against the server: every route is where the document says, asks for what it says, and tells
//! strangers nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, Client, on_every_store};

/// A documented operation.
struct Operation {
    method: Method,
    path: String,
    permission: String,
    has_body: bool,
}

impl Operation {
    /// Every operation of the document.
    async fn all(app: &App) -> Vec<Self> {
        let document = app.anonymous.get("//openapi.json").await.ok();
        let paths = document["paths"].as_object().expect("paths").clone();
        let mut operations = Vec::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("operations") {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                operations.push(Self {
                    method,
                    path: path.clone(),
                    permission: operation["x-permission"].as_str().expect("a permission").to_owned(),
                    has_body: operation["requestBody"]["content"].get("application/json").is_some(),
                });
            }
        }
        assert!(operations.len() > 20, "only {} operations", operations.len());
        operations
    }

    fn is_public(&self) -> bool {
        self.permission == "public"
    }

    /// The path with an id that nothing has.
    fn path(&self) -> String {
        let mut path = String::new();
        for (position, part) in self.path.split(['{', '}']).enumerate() {
            path.push_str(if position % 2 == 0 { part } else { "0199f3a2-6b1c-7c3e-9d4f-1a2b3c4d5e6f" });
        }
        path
    }

    async fn send(&self, client: &Client, path: &str) -> Answer {
        let request = client.request(self.method.clone(), format!("/{path}"));
        if self.has_body { request.json(&json!({})).await } else { request.await }
    }
}

on_every_store! {
    /// Whoever is not signed in gets nowhere but where the document says that anybody may.
    async fn strangers(app: App) {
        for operation in Operation::all(&app).await {
            let answer = operation.send(&app.anonymous, &operation.path()).await;
            answer.expect(answer.status != 405, "a method that the route takes");
            if operation.is_public() {
                answer.expect(answer.header("content-type").len() > 4 || answer.body.is_empty(), "a content type");
                let missing = answer.status == 404 && answer.text().contains("nothing at this address");
                answer.expect(!missing, "a documented route to be there");
            } else {
                answer.refused(401, "UNAUTHENTICATED");
                answer.expect(answer.header("www-authenticate").starts_with("Bearer"), "how to sign in");
            }
        }
    }

    /// Tokens and keys that are none are refused everywhere, and told apart from nothing.
    async fn rubbish_credentials(app: App) {
        let rubbish = [
            app.anonymous.with_token("rubbish"),
            app.anonymous.with_token("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."),
            app.anonymous.with_token(&"x".repeat(5000)),
            app.anonymous.with("authorization", "Basic YTpi"),
            app.anonymous.with("x-api-key", "rubbish"),
            app.anonymous.with("cookie", "crm_access=rubbish"),
        ];
        for client in &rubbish {
            client.get("/auth/me").await.refused(401, "UNAUTHENTICATED");
            client.post("/customers", json!({"name": "x"})).await.refused(401, "UNAUTHENTICATED");
        }
    }

    /// A Customer reaches nothing of the staff's.
    async fn customers(app: App) {
        let shop = app.staffed("Shop").await;
        for operation in Operation::all(&app).await {
            if matches!(operation.permission.as_str(), "public" | "session" | "profile:write" | "self:customer") {
                continue;
            }
            let answer = operation.send(&shop.customer, &operation.path()).await;
            let refused = [403, 404].contains(&answer.status.as_u16())
                || (operation.has_body && answer.status == 400);
            answer.expect(refused, "403 or 404");
        }
    }

    /// Each role may do what it is for, and what it may not do is refused by name.
    async fn roles(app: App) {
        let shop = app.staffed("Shop").await;
        let everybody = [(&shop.admin, 201), (&shop.lead, 201), (&shop.agent, 201), (&shop.qa, 403), (&shop.customer, 403)];
        for (person, status) in everybody {
            let answer = person.post("/customers", json!({"name": format!("Made by {}", person.email())})).await;
            answer.expect_status(status);
        }
        for (person, status) in [(&shop.admin, 200), (&shop.lead, 403), (&shop.agent, 403), (&shop.qa, 403)] {
            let answer = person.get("/audit").await;
            answer.expect_status(status);
            answer.expect(status == 200 || answer.text().contains("audit:read"), "the permission named");
        }
        assert_eq!(shop.agent.user["team_id"], json!(shop.team));
        let foreign = app.staffed("Other").await;
        assert_ne!(foreign.organization.id().await, shop.organization.id().await);
        let customer = shop.admin.post("/customers", json!({"name": "Ada"})).await.created();
        for stranger in [&foreign.admin, &foreign.lead, &foreign.agent, &foreign.qa] {
            stranger.get(&customer).await.refused(404, "NOT_FOUND");
            stranger.get("/customers").await.lists([]);
        }
        foreign.admin.patch(&customer, json!({"name": "Eve"})).await.refused(404, "NOT_FOUND");
        foreign.admin.delete(&customer).await.refused(404, "NOT_FOUND");
    }

    /// Every route answers under both addresses alike.
    async fn both_addresses(app: App) {
        let shop = app.organization("Shop").await;
        for operation in Operation::all(&app).await.iter().filter(|operation| operation.method == Method::GET) {
            let path = operation.path();
            let Some(rest) = path.strip_prefix("/api/v1") else { continue };
            let (one, other) = (operation.send(&shop.admin, &path).await, operation.send(&shop.admin, &format!("/api{rest}")).await);
            other.expect_status(one.status.as_u16());
            other.expect(one.header("content-type") == other.header("content-type"), "the same kind of answer");
        }
    }

    /// An id that names nothing, or cannot be one, is 404 to the Admin too, and no fault.
    async fn unknown_ids(app: App) {
        let shop = app.organization("Shop").await;
        for operation in Operation::all(&app).await.iter().filter(|operation| operation.path.contains("{id}") && !operation.is_public()) {
            if !operation.has_body {
                operation.send(&shop.admin, &operation.path()).await.refused(404, "NOT_FOUND");
            }
            for id in ["1", "null", "%00", "%ff", "..%2f..", "'%20OR%201=1--", "0199f3a2-6b1c-7c3e-9d4f-1a2b3c4d5e6"] {
                let answer = operation.send(&shop.admin, &operation.path.replace("{id}", id)).await;
                let fits = answer.status == 404 || (operation.has_body && answer.status == 400);
                answer.expect(fits, "404");
            }
        }
    }

    /// Whatever comes as a body, the answer is a refusal that names what is wrong.
    async fn bad_bodies(app: App) {
        let shop = app.organization("Shop").await;
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let bodies: [(&[u8], &str); 14] = [
            (b"{", "body"),
            (b"nonsense", "body"),
            (b"{\"name\":\"a\"}{}", "body"),
            (b"\xff\xfe", "body"),
            (b"{\"name\":\"a\",\"name\":\"b\"}", "name"),
            (b"{\"name\":\"a\\u0000b\"}", "name"),
            (b"{\"name\":\"\\ud800\"}", "name"),
            (b"{\"custom\":{\"a\":1e999}}", "custom.a"),
            (b"{\"custom\":{\"a\":99999999999999999999}}", "custom.a"),
            (b"[]", "body"),
            (b"\"text\"", "body"),
            (b"null", "body"),
            (b"7", "body"),
            (b"", "body"),
        ];
        for operation in Operation::all(&app).await.iter().filter(|operation| operation.has_body && !operation.is_public()) {
            let path = operation.path();
            let ask = |content_type: &'static str, body: Vec<u8>| {
                shop.admin.request(operation.method.clone(), format!("/{path}")).raw(content_type, body)
            };
            for (body, field) in bodies {
                let answer = ask("application/json", body.to_vec()).await;
                // A route whose body may be left out takes none, and null for none.
                if answer.status != 400 && matches!(body, b"" | b"null") {
                    answer.expect(answer.status.as_u16() < 500, "no fault");
                    continue;
                }
                // What of these bodies is fine as JSON is looked at by the route, perhaps after the record.
                if answer.status == 404 {
                    continue;
                }
                let problem = answer.refused(400, "VALIDATION_ERROR");
                let errors = problem["errors"].as_array().cloned().unwrap_or_default();
                answer.expect(errors.iter().any(|error| error["field"] == field), &format!("an error of {field}"));
            }
            let answer = ask("application/json", deep.clone().into_bytes()).await;
            answer.refused(400, "VALIDATION_ERROR");
            ask("application/json", vec![b' '; 2 * 1024 * 1024]).await.refused(413, "PAYLOAD_TOO_LARGE");
            for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
                ask(content_type, b"{}".to_vec()).await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
            }
        }
    }

    /// Headers and parameters that make no sense are refused before anything is written.
    async fn bad_headers_and_parameters(app: App) {
        let shop = app.organization("Shop").await;
        let customer = shop.admin.post("/customers", json!({"name": "Ada"})).await.created();
        for rubbish in ["5", "\"5", "W/5", "\"1\", \"2\"", "latest", "{}"] {
            let answer = shop.admin.patch(&customer, json!({"name": "Eve"})).header("if-match", rubbish).await;
            answer.invalid(&["If-Match"]);
        }
        for stale in ["\"99\"", "W/\"99\"", "\"some-other-tag\""] {
            let answer = shop.admin.patch(&customer, json!({"name": "Eve"})).header("if-match", stale).await;
            answer.refused(412, "VERSION_CONFLICT");
        }
        assert_eq!(shop.admin.get(&customer).await.ok()["name"], "Ada");
        for query in [
            "limit=0", "limit=101", "limit=x", "limit=-1", "limit=1e3", "page=0", "cursor=rubbish", "cursor=", "sort=nothing",
            "sort=", "nothing=1", "name[nothing]=1", "spend=much", "spend[gte]=NaN", "filter=rubbish", "filter={}",
            "filter={\"$gt\":1}", "filter={\"field\":\"spend\",\"op\":\">\",\"value\":{\"$gt\":0}}", "fields=nothing",
            "limit=5&limit=6", "spend[gte]=1&spend[gte]=2", "name=%00", "name=%ff", "count=maybe", "created_at[gt]=yesterday",
        ] {
            let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace('$', "%24");
            let answer = shop.admin.get(format!("/customers?{query}")).await;
            let problem = answer.refused(400, "VALIDATION_ERROR");
            answer.expect(problem["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "the wrong parameter named");
        }
        for text in ["' OR 1=1 --", "%", "_", "\\", "*", "\"", "NEAR(a b)", "a AND", "{{name}}", "${jndi:x}", "😀", "\u{202e}"] {
            let query: String = url_encoded(text);
            let answer = shop.admin.get(format!("/customers?search={query}")).await;
            answer.expect(answer.status == 200 || answer.status == 400, "an answer or a refusal");
            shop.admin.get(format!("/customers?name={query}")).await.ok();
        }
    }

    /// A cursor serves the query that made it, and no other one, nor another organization.
    async fn cursors(app: App) {
        let (shop, other) = (app.organization("Shop").await, app.organization("Other").await);
        for client in [&shop.admin, &other.admin] {
            for name in ["Ada", "Ben", "Cleo"] {
                client.post("/customers", json!({"name": name})).await.created();
            }
        }
        let page = shop.admin.get("/customers?limit=1&sort=name").await.ok();
        let cursor = page["page"]["next_cursor"].as_str().expect("a cursor").to_owned();
        let next = shop.admin.get(format!("/customers?limit=1&sort=name&cursor={cursor}")).await.ok();
        assert_eq!(next["data"][0]["name"], "Ben");
        for (client, query) in [
            (&shop.admin, format!("limit=1&sort=-name&cursor={cursor}")),
            (&shop.admin, format!("limit=1&sort=name&status=active&cursor={cursor}")),
            (&other.admin, format!("limit=1&sort=name&cursor={cursor}")),
            (&shop.admin, format!("limit=1&sort=name&cursor={}", cursor.chars().rev().collect::<String>())),
        ] {
            client.get(format!("/customers?{query}")).await.invalid(&["cursor"]);
        }
    }

    /// Large lists of everything are refused or cut by rule, never a fault.
    async fn large_inputs(app: App) {
        let shop = app.organization("Shop").await;
        let tags: Vec<Value> = (0..10_000).map(|number| json!(format!("tag-{number}"))).collect();
        let answer = shop.admin.post("/customers", json!({"name": "Ada", "tags": tags})).await;
        answer.expect([400, 413].contains(&answer.status.as_u16()), "a refusal");
        let answer = shop.admin.post("/customers", json!({"name": "x".repeat(100_000)})).await;
        answer.invalid(&["name"]);
        let answer = shop.admin.post("/customers", json!({"name": {"$gt": ""}, "email": ["a"], "spend": "1; DROP TABLE customers"})).await;
        answer.invalid(&["name", "email", "spend"]);
        assert_eq!(shop.admin.get("/customers?count=true").await.ok()["page"]["total"], 0);
    }
}

fn url_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
