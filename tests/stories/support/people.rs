use std::ops::Deref;

use serde_json::{Value, json};

use crm_core::{
    Crm,
    access::{Principal, Role},
    account::{LoginRecord, User},
    contact::Email,
    id::{OrganizationId, TeamId},
    operation::Operation,
    record::Meta,
    store::Scope,
    text::Line,
};

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
    crm: Crm,
    anonymous: Client,
    domain: String,
}

/// An organization with somebody of each role, the lead and the agent in one team.
#[derive(Clone, Debug)]
pub(crate) struct Staffed {
    /// The organization.
    pub(crate) organization: Organization,
    pub(crate) admin: Person,
    pub(crate) lead: Person,
    pub(crate) qa: Person,
    pub(crate) agent: Person,
    pub(crate) customer: Person,
    /// The team's id.
    pub(crate) team: String,
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
        let admin = Person::new(&self.anonymous, &answer.json());
        Organization { admin, crm: self.crm.clone(), anonymous: self.anonymous.clone(), domain }
    }

    /// A new organization with somebody of each role.
    pub(crate) async fn staffed(&self, name: &str) -> Staffed {
        let organization = self.organization(name).await;
        let team = self.crm.new_id::<TeamId>().to_string();
        let (lead, qa, agent, customer) = tokio::join!(
            organization.member("TL", Some(&team)),
            organization.member("QA", None),
            organization.member("Agent", Some(&team)),
            organization.member("Customer", None),
        );
        Staffed { admin: organization.admin.clone(), organization, lead, qa, agent, customer, team }
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
        self.scope().await.to_string()
    }

    async fn scope(&self) -> OrganizationId {
        self.login_of_admin().await.meta.organization_id
    }

    async fn login_of_admin(&self) -> LoginRecord {
        let id = self.admin.id().parse().expect("an id");
        let login = self.crm.repo::<LoginRecord>().get(Scope::Installation, id).await;
        login.expect("the store").expect("the admin's login")
    }

    /// A colleague of a role, signed in.
    pub(crate) async fn colleague(&self, role: &str) -> Person {
        self.member(role, None).await
    }

    /// Somebody of a role in a team, signed in. Made inside, so that any role can be had, and without another hash.
    pub(crate) async fn member(&self, role: &str, team: Option<&str>) -> Person {
        let role: Role = role.parse().expect("a role");
        let mut login = self.login_of_admin().await;
        let meta = Meta::new(login.meta.organization_id, self.crm.now());
        let id = self.crm.new_id();
        let email = format!("{}-{id}@{}", role.name().to_lowercase(), self.domain);
        let name = Line::parse(&format!("{role} of {}", self.domain)).expect("a name");
        let mut user = User::new(id, name, Email::parse(&email).expect("an address"), role, meta);
        user.team_id = team.map(|team| team.parse().expect("an id"));
        (login.id, login.email, login.meta) = (id, email.clone(), meta);
        let by = Principal::system(meta.organization_id);
        let mut operation = Operation::new(&self.crm, &by);
        operation.insert(&user);
        operation.insert(&login);
        operation.commit().await.expect("a new person");
        let answer = self.anonymous.post("/auth/login", json!({"email": email, "password": PASSWORD})).await;
        Person::new(&self.anonymous, &answer.ok())
    }

    /// A new team.
    pub(crate) async fn team(&self, name: &str) -> String {
        self.admin.post("/teams", json!({"name": name})).await.created().id().to_owned()
    }
}
