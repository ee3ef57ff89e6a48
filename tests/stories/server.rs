//! What is true of every route: headers, errors, limits, documents.

use reqwest::Method;
use serde_json::json;

use crate::support::{App, on_every_store};

on_every_store! {
    /// A probe finds the server live, ready and healthy, and no longer ready once it was told to stop.
    async fn health(app: App) {
        let nobody = &app.anonymous;
        assert_eq!(nobody.get("//health/live").await.ok(), json!({"status": "live"}));
        assert_eq!(nobody.get("//health/ready").await.ok(), json!({"status": "ready"}));
        let health = nobody.get("//health").await.ok();
        assert_eq!((&health["status"], &health["store"]["status"]), (&json!("up"), &json!("up")));
        let metrics = nobody.get("//metrics").await;
        metrics.expect_status(200);
        metrics.expect(metrics.text().contains("route=\"/health/live\",status=\"200\""), "a count of the route");
        for nothing in ["crm_jobs_waiting 0", "crm_dead_letters 0", "crm_events_set_aside 0"] {
            metrics.expect(metrics.text().lines().any(|line| line == nothing), nothing);
        }
    }

    /// Every answer, also an error, names its request and carries the security headers.
    async fn headers(app: App) {
        for path in ["//health/live", "//nowhere", "/nowhere"] {
            let answer = app.anonymous.get(path).await;
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "deny"),
                ("referrer-policy", "no-referrer"),
                ("cache-control", "no-store, max-age=0"),
                ("content-type", "application/json; charset=utf-8"),
            ] {
                answer.expect(answer.header(name) == value, &format!("{name}: {value}"));
            }
            answer.expect(answer.header("content-security-policy").contains("default-src 'none'"), "a strict policy");
            answer.expect(answer.header("server").is_empty(), "no name of the server");
            answer.expect(!answer.header("x-request-id").is_empty(), "a request id");
        }
        let answer = app.anonymous.get("//health/live").header("x-request-id", "order-17.a_b").await;
        answer.expect(answer.header("x-request-id") == "order-17.a_b", "the client's request id");
        for rubbish in ["", "a b", "a\u{e9}", "x<script>", &"x".repeat(129)] {
            let answer = app.anonymous.get("//health/live").header("x-request-id", rubbish).await;
            answer.expect(answer.header("x-request-id").len() == 36, "a request id of the server");
        }
    }

    /// Errors have one form, and RFC 9457's where it is asked for.
    async fn errors(app: App) {
        let nobody = &app.anonymous;
        nobody.get("/nowhere").await.refused(404, "NOT_FOUND");
        let answer = nobody.post("//health", json!({})).await;
        answer.refused(405, "METHOD_NOT_ALLOWED");
        answer.expect(answer.header("allow") == "GET,HEAD", "the methods allowed");
        let answer = nobody.request(Method::OPTIONS, "//health").await;
        answer.no_content();
        answer.expect(answer.header("allow") == "GET,HEAD", "the methods allowed");
        let answer = nobody.get("/nowhere").header("accept", "application/problem+json").await;
        answer.expect_status(404);
        answer.expect(answer.header("content-type") == "application/problem+json; charset=utf-8", "RFC 9457");
        let body = answer.json();
        assert_eq!((&body["status"], &body["code"], &body["type"]), (&json!(404), &json!("NOT_FOUND"), &json!("about:blank")));
    }

    /// A query string that two readers could read differently is refused, whatever the route.
    async fn query_strings(app: App) {
        for (query, field) in [("a=1&a=2", "a"), ("a=%zz", "a"), ("a=%00", "a"), ("%ff=1", "query")] {
            app.anonymous.get(format!("//health/live?{query}")).await.invalid(&[field]);
        }
        let long = "x".repeat(20_000);
        app.anonymous.get(format!("//health/live?a={long}")).await.refused(414, "URI_TOO_LONG");
    }

    /// The document is served, and both readers of it, without a byte from elsewhere.
    async fn documents(app: App) {
        let nobody = &app.anonymous;
        let document = nobody.get("//openapi.json").await.ok();
        assert_eq!(document["openapi"], "3.1.0");
        for (path, content_type) in [
            ("//docs/", "text/html; charset=utf-8"),
            ("//docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
            ("//redoc", "text/html; charset=utf-8"),
            ("//redoc/bundle.js", "text/javascript; charset=utf-8"),
        ] {
            let answer = nobody.get(path).await;
            answer.expect_status(200);
            answer.expect(answer.header("content-type") == content_type, content_type);
            answer.expect(answer.header("content-security-policy").contains("script-src 'self'"), "a policy for pages");
            answer.expect(!answer.text().contains("<script src=\"http"), "no script from elsewhere");
        }
        nobody.get("//docs/nothing.js").await.refused(404, "NOT_FOUND");
    }

    /// Too many requests of nobody in particular are refused with the time to try again; signing in has its own limit.
    async fn limits(setup: Setup) {
        let policies = vec![
            crm_core::limit::Policy::new("anonymous", 3, std::time::Duration::from_secs(60)),
            crm_core::limit::Policy::new("anonymous-2", 100, std::time::Duration::from_secs(3600)),
        ];
        let app = setup.options(|options| options.anonymous_limits = policies).start().await;
        let nobody = &app.anonymous;
        let answer = nobody.get("/customers").await;
        answer.refused(401, "UNAUTHENTICATED");
        answer.expect(
            answer.header("ratelimit-policy") == "\"anonymous\";q=3;w=60, \"anonymous-2\";q=100;w=3600",
            "the policies",
        );
        answer.expect(answer.header("ratelimit").starts_with("\"anonymous\";r=2;t="), "what is left");
        // A wrong token is nobody's, and counts as such.
        nobody.with_token("rubbish").get("/customers").await.refused(401, "UNAUTHENTICATED");
        nobody.with_token("rubbish").get("/nowhere").await.refused(404, "NOT_FOUND");
        for client in [nobody, &nobody.with_token("rubbish")] {
            let answer = client.get("/customers").await;
            answer.refused(429, "RATE_LIMITED");
            let wait: u64 = answer.header("retry-after").parse().unwrap_or_default();
            answer.expect((1..=20).contains(&wait), "a time to try again");
        }
        nobody.get("//health/live").await.ok();
        let answer = nobody.get("/customers").header("accept", "application/problem+json").await;
        let body = answer.json();
        assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(body["violated-policies"], json!(["anonymous"]));
    }

    /// Only the origins of the list may read answers from a browser.
    async fn origins(setup: Setup) {
        let list = std::sync::Arc::from(["https://app.example.com".to_owned()]);
        let app = setup.options(|options| options.allowed_origins = crm_http::Origins::List(list)).start().await;
        let ask = |origin: &'static str| app.anonymous.get("//health/live").header("origin", origin);
        let friend = ask("https://app.example.com").await;
        friend.expect(friend.header("access-control-allow-origin") == "https://app.example.com", "the origin allowed");
        friend.expect(friend.header("access-control-allow-credentials") == "true", "credentials allowed");
        for stranger in ["https://evil.example.com", "https://app.example.com.evil.com", "null", "http://app.example.com"] {
            let answer = ask(stranger).await;
            answer.expect(answer.header("access-control-allow-origin").is_empty(), "no origin allowed");
            answer.expect(answer.header("vary").contains("Origin"), "caches told apart");
        }
        let preflight = app.anonymous.request(Method::OPTIONS, "/customers")
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "PATCH")
            .await;
        preflight.no_content();
        preflight.expect(preflight.header("access-control-allow-methods").contains("PATCH"), "PATCH allowed");
    }

    /// Large answers are compressed as the client likes.
    async fn compression(app: App) {
        for encoding in ["gzip", "br", "zstd"] {
            let answer = app.anonymous.get("//openapi.json").header("accept-encoding", encoding).await;
            answer.expect_status(200);
            answer.expect(answer.header("content-encoding") == encoding, encoding);
        }
        let answer = app.anonymous.get("//health/live").header("accept-encoding", "gzip").await;
        answer.expect(answer.header("content-encoding").is_empty(), "a small answer as it is");
    }

    /// Requests in hand are answered after the server was told to stop, new ones find nobody.
    async fn stopping(app: App) {
        app.anonymous.get("//health/ready").await.ok();
        app.stop();
        let refused = reqwest::Client::new().get(format!("http://{}/health/ready", app.address)).send();
        if let Ok(answer) = refused.await {
            assert_eq!(answer.status(), 503);
        }
    }
}
