//! Colleagues, teams, the organization, and keys for services.

use serde_json::json;

use crate::support::{App, PASSWORD, SERVICE_KEY, on_every_store};

on_every_store! {
    /// An Admin adds colleagues of every role; others may not, and strangers find nobody.
    async fn colleagues(app: App) {
        let shop = app.organization("Shop").await;
        let admin = &shop.admin;
        let body = json!({"name": "Basil", "email": "basil@shop.example"});
        let created = admin.post("/admin/agents", body.clone()).await.created();
        assert_eq!((&created["role"], &created["active"]), (&json!("Agent"), &json!(true)));
        let password = created["initial_password"].as_str().expect("one was made up").to_owned();
        let basil = app.sign_in("basil@shop.example", &password).await;
        let path = format!("/admin/agents/{}", created.id());
        let read = admin.get(&path).await;
        read.expect(!read.text().contains("password"), "no password later");
        admin.post("/admin/agents", body).await.refused(409, "DUPLICATE");
        admin.post("/admin/agents", json!({"name": "X", "email": "x@shop.example", "role": "SuperAdmin"})).await.refused(403, "FORBIDDEN");
        admin.post("/admin/agents", json!({"name": "X", "email": "x@shop.example", "role": "King"})).await.invalid(&["role"]);
        admin.post("/admin/agents", json!({"name": "X", "email": "x@shop.example", "team_id": "0198c1de-5f00-7000-8000-000000000001"}))
            .await.invalid(&["team_id"]);
        admin.post("/admin/agents", json!({"id": "x", "rank": 9})).await.invalid(&["id", "rank", "name", "email"]);

        for role in ["TL", "QA", "Agent"] {
            let person = shop.colleague(role).await;
            person.post("/admin/agents", json!({"name": "Y", "email": "y@shop.example"})).await.refused(403, "FORBIDDEN");
            person.put(&path, json!({"role": "Admin"})).await.refused(403, "FORBIDDEN");
            person.delete(&path).await.refused(403, "FORBIDDEN");
            person.get("/api-keys").await.refused(403, "FORBIDDEN");
            person.put("/admin/organization", json!({"name": "Mine"})).await.refused(403, "FORBIDDEN");
            person.get("/admin/organization").await.ok();
        }
        let other = app.organization("Other").await.admin;
        other.get(&path).await.refused(404, "NOT_FOUND");
        other.put(&path, json!({"name": "Mine"})).await.refused(404, "NOT_FOUND");
        other.delete(&path).await.refused(404, "NOT_FOUND");
        other.get("/auth/me").header("x-organization-id", &shop.id().await).await.refused(404, "NOT_FOUND");

        basil.get("/auth/me").await.ok();
        admin.put(&path, json!({"role": "QA"})).await.ok();
        basil.get("/auth/me").await.refused(401, "TOKEN_REVOKED");
        let own = format!("/admin/agents/{}", admin.id());
        admin.put(&own, json!({"role": "Agent"})).await.refused(403, "FORBIDDEN");
        admin.delete(&own).await.refused(403, "FORBIDDEN");
        let as_read = admin.get(&path).await.found(&path);
        admin.put(&path, as_read.body.clone()).await.ok();
        admin.delete(&path).if_match(&as_read).await.no_content();
        admin.get(&path).await.refused(404, "NOT_FOUND");
        admin.post("/admin/agents", json!({"name": "Basil", "email": "basil@shop.example", "password": PASSWORD})).await.created();
    }

    /// Lists of colleagues follow the conventions of lists, and a lead sees the own team in them.
    async fn lists(app: App) {
        let shop = app.organization("Shop").await;
        let north = shop.team("North").await;
        let lead = shop.member("TL", Some(&north)).await;
        let member = shop.member("Agent", Some(&north)).await;
        let outsider = shop.member("Agent", None).await;
        let all = shop.admin.get("/admin/agents?sort=name&count=true").await.ok();
        assert_eq!(all["page"]["total"], 4);
        assert_eq!(shop.admin.get("/admin/agents?role=TL").await.ids(), [lead.id()]);
        assert_eq!(shop.admin.get(format!("/admin/agents?team_id={north}&role=Agent")).await.ids(), [member.id()]);
        assert_eq!(shop.admin.get("/admin/agents?search=admin").await.ids(), [shop.admin.id()]);
        let picked = shop.admin.get("/admin/agents?fields=id,name&role=TL").await.ok();
        assert_eq!(picked["data"][0].as_object().map(serde_json::Map::len), Some(2));
        shop.admin.get("/admin/agents?password=x").await.invalid(&["password"]);
        shop.admin.get("/admin/agents?role[near]=x").await.refused(400, "VALIDATION_ERROR");
        let mut seen = lead.get("/admin/agents").await.ids();
        seen.sort_unstable();
        let mut own = [lead.id().to_owned(), member.id().to_owned()];
        own.sort_unstable();
        assert_eq!(seen, own);
        lead.get(format!("/admin/agents/{}", outsider.id())).await.refused(404, "NOT_FOUND");
        member.get("/admin/agents").await.refused(403, "FORBIDDEN");
        let other = app.organization("Other").await;
        assert_eq!(other.admin.get("/admin/agents").await.ids(), [other.admin.id()]);
    }

    /// Every list can be asked for by POST, with long rules in the body.
    async fn lists_by_post(app: App) {
        let shop = app.staffed("Shop").await;
        let admin = &shop.admin;
        let customer = admin.post("/customers", json!({"name": "Ada"})).await.created();
        let note = format!("/customers/{}/notes", customer.id());
        for (list, body) in [
            ("/teams", json!({"name": "North"})),
            ("/customers/groups", json!({"name": "Gold"})),
            ("/customers/fields", json!({"key": "city", "label": "City", "type": "text"})),
            ("/api-keys", json!({"name": "Till", "scopes": ["customers:read"]})),
            (note.as_str(), json!({"text": "Hello"})),
        ] {
            admin.post(list, body).await.created();
        }
        for list in ["/admin/agents", "/teams", "/api-keys", "/audit", "/customers/groups", "/customers/fields", &note] {
            let path = format!("{list}/search");
            let by_get = admin.get(format!("{list}?sort=created_at&fields=id&limit=1&count=true")).await.ok();
            let asked = json!({"sort": "created_at", "fields": ["id"], "limit": 1, "count": true,
                "filter": {"field": "created_at", "op": "within_last", "value": "1d"}});
            let by_post = admin.post(&path, asked).await.ok();
            assert_eq!((&by_post["data"], &by_post["page"]["total"]), (&by_get["data"], &by_get["page"]["total"]), "{list}");
            assert_eq!(by_post["data"].as_array().map(Vec::len), Some(1), "{list}");
            admin.post(&path, json!({"bogus": 1})).await.invalid(&["bogus"]);
            shop.customer.post(&path, json!({})).await.refused(403, "FORBIDDEN");
        }
    }

    /// Teams have a lead and members.
    async fn teams(app: App) {
        let shop = app.organization("Shop").await;
        let basil = shop.colleague("Agent").await;
        let team = shop.admin.post("/teams", json!({"name": "North", "lead_id": basil.id()})).await.created();
        let path = format!("/teams/{}", team.id());
        assert_eq!(team["member_ids"], json!([basil.id()]));
        assert_eq!(basil.get("/auth/me").await.ok()["team_id"], team["id"]);
        shop.admin.post("/teams", json!({"name": "north"})).await.refused(409, "DUPLICATE");
        shop.admin.post("/teams", json!({"name": "South", "member_ids": ["nonsense"]})).await.invalid(&["member_ids[0]"]);
        shop.admin.delete(&path).await.refused(409, "CONFLICT");
        let changed = shop.admin.put(&path, json!({"member_ids": [], "lead_id": null, "description": "Empty"})).await.ok();
        assert_eq!((&changed["member_ids"], &changed["description"]), (&json!([]), &json!("Empty")));
        shop.admin.put(&path, json!({"name": "Late"})).if_match(&team).await.refused(412, "VERSION_CONFLICT");
        basil.get(&path).await.ok();
        basil.post("/teams", json!({"name": "Mine"})).await.refused(403, "FORBIDDEN");
        let other = app.organization("Other").await.admin;
        for answer in [other.get(&path).await, other.put(&path, json!({"name": "X"})).await, other.delete(&path).await] {
            answer.refused(404, "NOT_FOUND");
        }
        // Its customers stay, and nothing points to a team that is gone: not even what comes back from the bin.
        let customer = shop.admin.post("/customers", json!({"name": "Ada", "team_id": team["id"]})).await.created();
        let binned = shop.admin.post("/customers", json!({"name": "Bob", "team_id": team["id"]})).await.created();
        shop.admin.delete(binned.to_string()).await.no_content();
        shop.admin.delete(&path).await.no_content();
        shop.admin.get("/teams").await.lists([]);
        assert_eq!(shop.admin.get(customer.to_string()).await.ok()["team_id"], json!(null));
        let restored = shop.admin.post(format!("{binned}/restore"), json!({})).await.ok();
        assert_eq!(restored["team_id"], json!(null));
    }

    /// Changes that name no version are all made, however many come at once.
    async fn changes_at_once(app: App) {
        let admin = app.organization("Shop").await.admin;
        let group = admin.post("/customers/groups", json!({"name": "Gold"})).await.created();
        let customer = admin.post("/customers", json!({"name": "Ada"})).await.created();
        let note = admin.post(format!("{customer}/notes"), json!({"text": "Hello"})).await.created();
        for (path, field) in [
            ("/admin/organization".to_owned(), "name"),
            ("/auth/update-profile".to_owned(), "name"),
            (format!("/customers/groups/{}", group.id()), "name"),
            (format!("/customers/{}/notes/{}", customer.id(), note.id()), "text"),
        ] {
            let changes = (0..20).map(|number| admin.put(&path, json!({field: format!("Number {number}")})).into_future());
            for answer in futures::future::join_all(changes).await {
                answer.ok();
            }
        }
    }

    /// An Admin sets the organization up.
    async fn organization(app: App) {
        let shop = app.organization("Shop").await;
        let read = shop.admin.get("/admin/organization").await.found("/admin/organization");
        assert_eq!((&read["name"], &read["currency"], &read["time_zone"]), (&json!("Shop"), &json!("USD"), &json!("UTC")));
        let body = json!({
            "currency": "inr", "timeZone": "Asia/Kolkata", "country": "IN",
            "business_hours": [{"day": "monday", "opens": "09:00", "closes": "17:30"}],
            "branding": {"colour": "#c00"}, "settings": {"theme": {"dark": true}},
        });
        let changed = shop.admin.put("/admin/organization", body).if_match(&read).await.ok();
        assert_eq!((&changed["currency"], &changed["country"], &changed["settings"]["theme"]["dark"]),
            (&json!("INR"), &json!("IN"), &json!(true)));
        shop.admin.put("/admin/organization", changed.clone()).await.ok();
        shop.admin.put("/admin/organization", json!({"name": "Late"})).if_match(&read).await.refused(412, "VERSION_CONFLICT");
        let wrong = json!({
            "currency": "XXX", "time_zone": "Mars/Olympus", "country": "Atlantis", "branding": [],
            "business_hours": [{"day": "monday", "opens": "18:00", "closes": "9"}], "owner": 1,
        });
        shop.admin.put("/admin/organization", wrong).await
            .invalid(&["currency", "time_zone", "country", "branding", "business_hours[0].closes", "owner"]);
    }

    /// A key acts for its organization, as far as it may, until it is revoked.
    async fn api_keys(app: App) {
        let shop = app.organization("Shop").await;
        let body = json!({"name": "Import", "permissions": ["customers:read", "customers:write"], "read_only": true});
        let answer = shop.admin.post("/api-keys", body).await;
        let created = answer.created();
        let key = created["key"].as_str().expect("the key").to_owned();
        answer.expect(key.starts_with("crm_") && !answer.text().contains("hash"), "the key, and no hash");
        let service = app.anonymous.with("x-api-key", &key);
        service.get("/customers").await.ok();
        service.post("/customers", json!({"name": "Basil"})).await.refused(403, "FORBIDDEN");
        service.get("/auth/me").await.refused(403, "FORBIDDEN");
        service.get("/admin/agents").await.refused(403, "FORBIDDEN");
        app.anonymous.with_token(&key).get("/customers").await.ok();
        app.anonymous.get(format!("/customers?api_key={key}")).await.refused(401, "UNAUTHENTICATED");
        let path = format!("/api-keys/{}", created.id());
        let read = shop.admin.get(&path).await;
        read.expect(!read.text().contains(&key), "the key is not shown again");
        let listed = shop.admin.get("/api-keys").await;
        listed.lists([&created]);
        listed.expect(!listed.text().contains(&key), "nor in the list");
        let other = app.organization("Other").await.admin;
        other.get(&path).await.refused(404, "NOT_FOUND");
        other.delete(&path).await.refused(404, "NOT_FOUND");
        other.get("/api-keys").await.lists([]);
        shop.admin.post("/api-keys", json!({"name": "X", "permissions": ["customers:fly"]})).await.invalid(&["permissions[0]"]);
        shop.admin.post("/api-keys", json!({"name": "X", "permissions": []})).await.invalid(&["permissions"]);
        shop.admin.delete(&path).await.no_content();
        service.get("/customers").await.refused(401, "UNAUTHENTICATED");
    }

    /// The installation's key acts in the organization that it names.
    async fn service_key(app: App) {
        let shop = app.organization("Shop").await;
        let service = app.anonymous.with("x-api-key", SERVICE_KEY);
        service.get("/customers").await.invalid(&["X-Organization-Id"]);
        let here = service.with("x-organization-id", shop.id().await);
        here.get("/customers").await.ok();
        here.get("/admin/agents").await.refused(403, "FORBIDDEN");
        here.post("/auth/logout", json!(null)).await.refused(403, "FORBIDDEN");
        service.with("x-organization-id", "nonsense").get("/customers").await.refused(404, "NOT_FOUND");
        app.anonymous.with("x-api-key", "crm_nonsense").get("/customers").await.refused(401, "UNAUTHENTICATED");
    }

    /// Permissions and roles can be read.
    async fn roles(app: App) {
        let shop = app.organization("Shop").await;
        let roles = shop.admin.get("/roles").await.ok();
        assert_eq!(roles["data"].as_array().map(Vec::len), Some(6));
        assert_eq!((&roles["data"][2]["name"], &roles["data"][2]["visibility"]), (&json!("TL"), &json!("team")));
        let permissions = shop.admin.get("/permissions").await.ok();
        assert_eq!(permissions["data"][0], json!({
            "name": "customers:read", "description": "Read customers, their notes, groups and tags.",
        }));
        app.anonymous.get("/roles").await.refused(401, "UNAUTHENTICATED");
    }
}
