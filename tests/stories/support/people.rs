use std::ops::Deref;

use serde_json::{Value, json};

use super::{app::App, client::Client};

/// Everybody's password.
pub(crate) const PASSWORD: &str = "a-password-for-stories";

/// Somebody who is signed in: a [`Client`] with the tokens.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    client: Client,
    /// The person's record.
    pub(crate) user: Value,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Person {
    /// Of the answer that signed the person in.
    pub(crate) fn new(client: &Client, answer: &Value) -> Self {
        let text = |name: &str| answer[name].as_str().expect("a token").to_owned();
        Self {
            client: client.with_token(&text("access_token")),
            user: answer["user"].clone(),
            access_token: text("access_token"),
            refresh_token: text("refresh_token"),
        }
    }

    /// The person's id.
    pub(crate) fn id(&self) -> &str {
        self.user["id"].as_str().expect("an id")
    }

    /// The person's e-mail address.
    pub(crate) fn email(&self) -> &str {
        self.user["email"].as_str().expect("an address")
    }
}

impl Deref for Person {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// An organization with its Admin.
#[derive(Clone, Debug)]
pub(crate) struct Organization {
    /// Who registered it.
    pub(crate) admin: Person,
    anonymous: Client,
    domain: String,
}

impl App {
    /// A new organization.
    pub(crate) async fn organization(&self, name: &str) -> Organization {
        let domain = format!("{}.example", name.to_lowercase().replace(' ', "-"));
        let registration = json!({
            "name": format!("Admin of {name}"),
            "email": format!("admin@{domain}"),
            "password": PASSWORD,
            "organization_name": name,
        });
        let answer = self.anonymous.post("/auth/register", registration).await;
        answer.expect_status(201);
        Organization { admin: Person::new(&self.anonymous, &answer.json()), anonymous: self.anonymous.clone(), domain }
    }

    /// Somebody signs in.
    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Person {
        let answer = self.anonymous.post("/auth/login", json!({"email": email, "password": password})).await;
        Person::new(&self.anonymous, &answer.ok())
    }
}

impl Organization {
    /// Its id, as the `X-Organization-Id` header and the setting `DEFAULT_ORGANIZATION` name it.
    pub(crate) async fn id(&self) -> String {
        self.admin.get("/admin/organization").await.ok()["id"].as_str().expect("an id").to_owned()
    }

    /// A colleague of a role, signed in.
    pub(crate) async fn colleague(&self, role: &str) -> Person {
        self.member(role, None).await
    }

    /// A colleague of a role in a team, signed in.
    pub(crate) async fn member(&self, role: &str, team: Option<&str>) -> Person {
        let count = self.admin.get("/admin/agents?count=true&limit=1").await.ok()["page"]["total"].to_string();
        let email = format!("{}-{count}@{}", role.to_lowercase(), self.domain);
        let agent = json!({
            "name": format!("{role} {count}"), "email": email, "password": PASSWORD, "role": role, "team_id": team,
        });
        self.admin.post("/admin/agents", agent).await.created();
        let answer = self.anonymous.post("/auth/login", json!({"email": email, "password": PASSWORD})).await;
        Person::new(&self.anonymous, &answer.ok())
    }

    /// A new team.
    pub(crate) async fn team(&self, name: &str) -> String {
        self.admin.post("/teams", json!({"name": name})).await.created().id().to_owned()
    }
}
