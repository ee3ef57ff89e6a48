//! Registering, signing in and out, sessions, the second factor.

use std::{sync::Arc, time::Duration};

use crm_core::{account::RegistrationMode, limit::Policy, port::ManualClock};
use serde_json::json;

use crate::support::{Answer, App, Client, PASSWORD, Person, on_every_store};

/// The value of a cookie that the answer sets.
fn cookie(answer: &Answer, name: &str) -> String {
    let lines = answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
    let start = format!("{name}=");
    let value = lines.filter_map(|line| line.strip_prefix(start.as_str())).next();
    answer.expect(value.is_some(), &format!("a cookie {name}"));
    value.unwrap_or_default().split(';').next().unwrap_or_default().to_owned()
}

/// The code that an authenticator with this secret shows at an instant.
fn code_at(secret: &str, clock: &ManualClock) -> String {
    use crm_core::port::Clock as _;
    let secret = totp_rs::Secret::try_from_base32(secret).expect("base32");
    let totp =
        totp_rs::Builder::new().with_secret(secret).with_account_name("amelie".to_owned()).build().expect("a secret");
    totp.generate(u64::try_from(clock.now().as_milliseconds() / 1000).expect("after 1970")).to_string()
}

fn standing_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-03-01T09:00:00Z".parse().expect("an instant")))
}

async fn attempt(client: &Client, email: &str, password: &str) -> Answer {
    client.post("/auth/login", json!({"email": email, "password": password})).await
}

on_every_store! {
    /// Somebody registers an organization, signs in again, looks at themselves, and signs out.
    async fn sign_in_and_out(app: App) {
        let shop = app.organization("Shop").await;
        assert_eq!((&shop.admin.user["role"], &shop.admin.user["active"]), (&json!("Admin"), &json!(true)));
        let answer = attempt(&app.anonymous, "ADMIN@shop.example", PASSWORD).await;
        let body = answer.ok();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
        answer.expect(!answer.text().contains("argon2"), "no hash in the answer");
        let amelie = Person::new(&app.anonymous, &body);
        assert_eq!(amelie.get("/auth/me").await.ok()["id"], shop.admin.user["id"]);
        amelie.post("/auth/logout", json!(null)).await.no_content();
        amelie.get("/auth/me").await.refused(401, "TOKEN_REVOKED");
        shop.admin.get("/auth/me").await.ok();
        app.anonymous.get("/auth/me").await.refused(401, "UNAUTHENTICATED");
        app.anonymous.with_token("nonsense").get("/auth/me").await.refused(401, "UNAUTHENTICATED");
        app.anonymous.with_token(&"x".repeat(16_000)).get("/auth/me").await.refused(401, "UNAUTHENTICATED");
        app.anonymous.with_token(&shop.admin.refresh_token).get("/auth/me").await.refused(401, "UNAUTHENTICATED");
        let all = shop.admin.post("/auth/logout?all=true", json!(null)).await;
        all.no_content();
        all.expect(all.header("clear-site-data").contains("cookies"), "Clear-Site-Data");
        shop.admin.get("/auth/me").await.refused(401, "TOKEN_REVOKED");
    }

    /// What cannot be registered is refused with every wrong field, and nobody chooses a role or an organization.
    async fn registration(app: App) {
        let nobody = &app.anonymous;
        nobody.post("/auth/register", json!({})).await.invalid(&["name", "email", "password"]);
        let body = json!({
            "name": "Basil", "email": "basil@shop.example", "password": PASSWORD, "organization_name": "Shop",
        });
        for (field, value) in [
            ("role", json!("SuperAdmin")), ("organization_id", json!("x")), ("active", json!(true)), ("epoch", json!(1)),
        ] {
            let mut with = body.clone();
            with[field] = value;
            nobody.post("/auth/register", with).await.invalid(&[field]);
        }
        for (field, value) in [
            ("password", json!("Password")), ("password", json!("short")), ("password", json!("x".repeat(129))),
            ("email", json!("basil")), ("name", json!(" ")), ("organization_name", json!("x".repeat(201))),
            ("email", json!({"$gt": ""})), ("password", json!(["a", "b"])),
        ] {
            let mut with = body.clone();
            with[field] = value;
            nobody.post("/auth/register", with).await.invalid(&[field]);
        }
        let registered = nobody.post("/auth/register", body.clone()).await;
        assert_eq!(registered.created()["user"]["email"], "basil@shop.example");
        nobody.post("/auth/register", body).await.refused(409, "DUPLICATE");
        let lonely = json!({"name": "Claire", "email": "claire@shop.example", "password": PASSWORD});
        nobody.post("/auth/register", lonely).await.invalid(&["organization_name"]);
    }

    /// Where registration is off, nobody registers.
    async fn registration_off(setup: Setup) {
        let app = setup.accounts(|settings| settings.registration = RegistrationMode::Off).start().await;
        let body = json!({"name": "Basil", "email": "basil@shop.example", "password": PASSWORD, "organization_name": "Shop"});
        app.anonymous.post("/auth/register", body).await.refused(403, "FORBIDDEN");
        app.anonymous.post("/auth/dev-token", json!({})).await.refused(404, "NOT_FOUND");
    }

    /// A wrong password and an unknown address are answered alike, and attempts are counted.
    async fn guessing(setup: Setup) {
        let limit = Policy::new("login", 10, Duration::from_mins(15));
        let app = setup.accounts(|settings| settings.login_limit = Some(limit)).start().await;
        app.organization("Shop").await;
        let wrong = attempt(&app.anonymous, "admin@shop.example", "another-password").await.refused(401, "UNAUTHENTICATED");
        let unknown = attempt(&app.anonymous, "nobody@shop.example", "another-password").await.refused(401, "UNAUTHENTICATED");
        assert_eq!(wrong["message"], unknown["message"]);
        for _ in 0..9 {
            attempt(&app.anonymous, "admin@shop.example", "another-password").await.refused(401, "UNAUTHENTICATED");
        }
        let refused = attempt(&app.anonymous, "admin@shop.example", PASSWORD).await;
        refused.refused(429, "RATE_LIMITED");
        let wait: u64 = refused.header("retry-after").parse().unwrap_or_default();
        refused.expect((1..=90).contains(&wait), "Retry-After");
    }

    /// Refresh tokens rotate; a spent one ends the session.
    async fn refreshing(app: App) {
        let shop = app.organization("Shop").await;
        let refresh = async |token: &str| app.anonymous.post("/auth/refresh-token", json!({"refresh_token": token})).await;
        let second = Person::new(&app.anonymous, &refresh(&shop.admin.refresh_token).await.ok());
        second.get("/auth/me").await.ok();
        let camel = app.anonymous.post("/auth/refresh-token", json!({"refreshToken": second.refresh_token})).await;
        let third = Person::new(&app.anonymous, &camel.ok());
        refresh(&shop.admin.refresh_token).await.refused(401, "TOKEN_REVOKED");
        third.get("/auth/me").await.refused(401, "TOKEN_REVOKED");
        for rubbish in ["", "x", third.access_token.as_str()] {
            refresh(rubbish).await.refused(401, "UNAUTHENTICATED");
        }
        app.anonymous.post("/auth/refresh-token", json!(null)).await.refused(401, "UNAUTHENTICATED");
    }

    /// A browser's cookies let it in; to change something it must come from a page of ours and show its token.
    async fn cookies(app: App) {
        app.organization("Shop").await;
        let answer = attempt(&app.anonymous, "admin@shop.example", PASSWORD).await;
        answer.ok();
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().expect("plain letters");
            answer.expect(line.contains("SameSite=") && line.contains("Path=/"), "attributes of the cookie");
            answer.expect(line.contains("HttpOnly") != line.starts_with("crm_csrf="), "hidden from scripts");
        }
        let (access, csrf) = (cookie(&answer, "crm_access"), cookie(&answer, "crm_csrf"));
        let browser = app.anonymous.with("cookie", format!("crm_access={access}"));
        browser.get("/auth/me").await.ok();
        let rename = || browser.put("/auth/update-profile", json!({"name": "Renamed"}));
        rename().await.refused(403, "CSRF");
        rename().header("sec-fetch-site", "same-origin").await.refused(403, "CSRF");
        rename().header("x-csrf-token", &csrf).await.refused(403, "CSRF");
        for site in ["cross-site", "same-site", "none"] {
            rename().header("sec-fetch-site", site).header("x-csrf-token", &csrf).await.refused(403, "CSRF");
        }
        let other = attempt(&app.anonymous, "admin@shop.example", PASSWORD).await;
        let foreign = cookie(&other, "crm_csrf");
        rename().header("sec-fetch-site", "same-origin").header("x-csrf-token", &foreign).await.refused(403, "CSRF");
        rename().header("sec-fetch-site", "same-origin").header("x-csrf-token", &csrf).await.ok();
        rename().header("origin", &format!("http://{}", app.address)).header("x-csrf-token", &csrf).await.ok();
        rename().header("origin", "null").header("x-csrf-token", &csrf).await.refused(403, "CSRF");
        rename().header("authorization", "Bearer nonsense").await.refused(401, "UNAUTHENTICATED");

        let refreshing = app.anonymous.with("cookie", format!("crm_refresh={}", cookie(&answer, "crm_refresh")));
        refreshing.post("/auth/refresh-token", json!(null)).await.refused(403, "CSRF");
        let refresh = refreshing.post("/auth/refresh-token", json!(null));
        let refreshed = refresh.header("sec-fetch-site", "same-origin").header("x-csrf-token", &csrf).await;
        refreshed.ok();
        refreshed.expect(cookie(&refreshed, "crm_access") != access, "a new token");
        let foreign = app.anonymous.post("/auth/login", json!({"email": "admin@shop.example", "password": PASSWORD}));
        let foreign = foreign.header("sec-fetch-site", "cross-site").header("origin", "https://evil.example").await;
        foreign.refused(403, "CSRF");
    }

    /// Over HTTPS cookies have names that browsers guard.
    async fn cookies_over_https(setup: Setup) {
        let app = setup.options(|options| options.https = true).start().await;
        app.organization("Shop").await;
        let answer = attempt(&app.anonymous, "admin@shop.example", PASSWORD).await;
        let lines: Vec<&str> = answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok()).collect();
        assert_eq!(lines.len(), 3);
        for line in lines {
            answer.expect(line.starts_with("__Host-") || line.starts_with("__Secure-"), "a guarded name");
            answer.expect(line.contains("Secure;") && !line.contains("Domain"), "Secure, of this host only");
        }
    }

    /// Somebody sees the own sessions and ends one from afar.
    async fn sessions(app: App) {
        let shop = app.organization("Shop").await;
        let phone = json!({"email": "admin@shop.example", "password": PASSWORD, "device": "Phone"});
        let phone = Person::new(&app.anonymous, &app.anonymous.post("/auth/login", phone).await.ok());
        let listed = shop.admin.get("/auth/sessions").await.ok();
        let sessions = listed["data"].as_array().expect("a list");
        assert_eq!((sessions.len(), &listed["page"]["has_more"]), (2, &json!(false)));
        let of_phone = sessions.iter().find(|session| session["device"] == "Phone").expect("the phone's");
        assert_eq!((&of_phone["current"], &of_phone["ip"]), (&json!(false), &json!("127.0.0.1")));
        let path = format!("/auth/sessions/{}", of_phone["id"].as_str().expect("an id"));
        let stranger = app.organization("Other").await.admin;
        stranger.delete(&path).await.refused(404, "NOT_FOUND");
        phone.get("/auth/me").await.ok();
        shop.admin.delete(&path).await.no_content();
        phone.get("/auth/me").await.refused(401, "TOKEN_REVOKED");
        shop.admin.delete(&path).await.refused(404, "NOT_FOUND");
        shop.admin.delete("/auth/sessions/nonsense").await.refused(404, "NOT_FOUND");
    }

    /// A profile changes; its password with the old one only, and other sessions end.
    async fn profile(app: App) {
        let shop = app.organization("Shop").await;
        let me = shop.admin.get("/auth/me").await.found("/auth/update-profile");
        let body = json!({"name": "Amélie", "phone": "+33 1 44 55 66 77", "timeZone": "Europe/Paris"});
        let changed = shop.admin.put("/auth/update-profile", body).if_match(&me).await.ok();
        assert_eq!((&changed["name"], &changed["phone"], &changed["time_zone"]),
            (&json!("Amélie"), &json!("+33144556677"), &json!("Europe/Paris")));
        shop.admin.put("/auth/update-profile", json!({"name": "Late"})).if_match(&me).await.refused(412, "VERSION_CONFLICT");
        shop.admin.put("/auth/update-profile", json!({"time_zone": "Mars/Olympus"})).await.invalid(&["time_zone"]);
        shop.admin.put("/auth/update-profile", me.body.clone()).await.ok();
        assert_eq!(shop.admin.get("/auth/me").await.ok()["role"], "Admin");
        let other = app.sign_in("admin@shop.example", PASSWORD).await;
        let new = json!({"password": "quite-another-one", "current_password": "not-the-password"});
        shop.admin.put("/auth/update-profile", json!({"password": "quite-another-one"})).await.invalid(&["current_password"]);
        shop.admin.put("/auth/update-profile", new).await.invalid(&["current_password"]);
        let new = json!({"password": "quite-another-one", "current_password": PASSWORD});
        shop.admin.put("/auth/update-profile", new).await.ok();
        shop.admin.get("/auth/me").await.ok();
        other.get("/auth/me").await.refused(401, "TOKEN_REVOKED");
        app.sign_in("admin@shop.example", "quite-another-one").await;
    }

    /// A second factor is enrolled, asked for, replaced by a recovery code, and removed.
    async fn second_factor(setup: Setup) {
        let clock = standing_clock();
        let app = setup.clock(&clock).start().await;
        let shop = app.organization("Shop").await;
        let enrolment = shop.admin.post("/auth/totp", json!({})).await.ok();
        let secret = enrolment["secret"].as_str().expect("a secret").to_owned();
        assert!(enrolment["otpauth_url"].as_str().is_some_and(|url| url.starts_with("otpauth://totp/")));
        shop.admin.post("/auth/totp/verify", json!({"code": "000000"})).await.invalid(&["code"]);
        let confirmed = shop.admin.post("/auth/totp/verify", json!({"code": code_at(&secret, &clock)})).await.ok();
        let codes = confirmed["recovery_codes"].as_array().cloned().unwrap_or_default();
        assert_eq!(codes.len(), 10);
        attempt(&app.anonymous, "admin@shop.example", PASSWORD).await.refused(401, "TOTP_REQUIRED");
        let with = |code: &str| json!({"email": "admin@shop.example", "password": PASSWORD, "totp": code});
        app.anonymous.post("/auth/login", with(&code_at(&secret, &clock))).await.refused(401, "UNAUTHENTICATED");
        clock.advance(Duration::from_mins(1));
        app.anonymous.post("/auth/login", with(&code_at(&secret, &clock))).await.ok();
        let recovery = codes[0].as_str().expect("a code");
        app.anonymous.post("/auth/login", with(recovery)).await.ok();
        app.anonymous.post("/auth/login", with(recovery)).await.refused(401, "UNAUTHENTICATED");
        assert_eq!(shop.admin.get("/auth/me").await.ok()["totp_enabled"], true);
        shop.admin.delete("/auth/totp").await.no_content();
        shop.admin.delete("/auth/totp").await.refused(409, "INVALID_STATE");
        attempt(&app.anonymous, "admin@shop.example", PASSWORD).await.ok();
    }

    /// For development, tokens without a password; the keys of tokens are published where they are public.
    async fn development(setup: Setup) {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let app = setup.accounts(|settings| {
            let key = crm_core::account::SigningKey::from_ed25519_pem(pem).expect("a key");
            settings.signing_keys = crm_core::account::SigningKeys::new(key, []);
            settings.development_tokens = true;
        }).start().await;
        let agent = Person::new(&app.anonymous, &app.anonymous.post("/auth/dev-token", json!(null)).await.ok());
        assert_eq!(agent.get("/auth/me").await.ok()["role"], "Agent");
        let lead = app.anonymous.post("/auth/dev-token", json!({"role": "TL", "email": "lead@example.com"})).await.ok();
        assert_eq!(lead["user"]["email"], "lead@example.com");
        app.anonymous.post("/auth/dev-token", json!({"role": "SuperAdmin"})).await.invalid(&["role"]);
        let keys = app.anonymous.get("//.well-known/jwks.json").await.ok();
        assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]), (&json!("OKP"), &json!("Ed25519")));
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(keys["keys"][0].clone()).expect("a key");
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
        validation.set_audience(&["crm"]);
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).expect("a key");
        let token = jsonwebtoken::decode::<serde_json::Value>(&agent.access_token, &key, &validation).expect("verifies");
        assert_eq!(token.claims["sub"], agent.user["id"]);
        assert_eq!(token.header.typ.as_deref(), Some("at+jwt"));
    }
}
