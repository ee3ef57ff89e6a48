//! The servers and the tables that both are measured on.

use std::{sync::Arc, time::Duration};

use crm_core::{
    Crm,
    access::RequestContext,
    account::{AccountSettings, Registration, RegistrationMode, SigningKey, SigningKeys},
    crm::collections,
    customer::Customer,
    id::OrganizationId,
    input::FromInput as _,
    record::Record as _,
    secret::EncryptionKeys,
    store::{Change, Scope, Store as _},
    time::Timestamp,
};
use crm_http::{RouterOptions, router, server};
use crm_store_postgres::{PostgresOptions, PostgresStore};
use crm_test_servers::{Durability, Postgres};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{floor, load::request, people};

const SECRET: &str = "a-secret-for-benches-of-more-than-32-bytes";
/// The customers of somebody else, in the same tables.
const NEIGHBOURS: usize = 10;

pub(crate) struct Stage {
    pub(crate) ours: String,
    pub(crate) floor: String,
    pub(crate) token: String,
    /// The URL of the database.
    pub(crate) database: String,
    pub(crate) organization: Uuid,
    pub(crate) crm: Crm,
    pub(crate) customers: usize,
    _server: Postgres,
}

impl Stage {
    pub(crate) async fn new(customers: usize) -> Self {
        let settings = ["shared_buffers=2GB", "max_wal_size=8GB", "checkpoint_timeout=30min", "work_mem=32MB"];
        let server = Postgres::start(Durability::Full, &settings).expect("a server");
        let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
        connection.execute("CREATE DATABASE crm").await.unwrap();
        let database = server.url("crm");
        let store =
            Arc::new(PostgresStore::connect_with(PostgresOptions::parse(&database).unwrap().pool(64)).await.unwrap());
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();

        let keys = SigningKeys::new(SigningKey::from_secret(SECRET.as_bytes()).unwrap(), []);
        let accounts = AccountSettings {
            registration: RegistrationMode::Open,
            access_lifetime: Duration::from_hours(24),
            ..AccountSettings::new(keys, EncryptionKeys::from_secrets([SECRET]).unwrap())
        };
        let crm = Crm::builder(store.clone()).accounts(accounts).build();
        let mut organizations = Vec::new();
        for name in ["Shop", "Neighbour"] {
            let registration = json!({
                "name": "Ada", "email": format!("ada@{name}.example"), "password": "correct horse battery",
                "organization_name": name,
            });
            let registration = serde_json::value::to_raw_value(&registration).unwrap();
            let registration = Registration::from_input(&registration).unwrap();
            organizations.push(crm.accounts().register(registration, RequestContext::default()).await.unwrap());
        }
        let organization = organizations[0].user.meta.organization_id;
        let neighbour = organizations[1].user.meta.organization_id;
        fill(store.as_ref(), organization, customers).await;
        fill(store.as_ref(), neighbour, customers / NEIGHBOURS).await;
        let mut connection = PgConnection::connect(&database).await.unwrap();
        connection.execute(sqlx::raw_sql(floor::SEARCH_INDEX)).await.unwrap();
        connection.execute("VACUUM (ANALYZE) customers").await.unwrap();
        connection.execute("CHECKPOINT").await.unwrap();

        let options = RouterOptions { principal_limit: None, anonymous_limits: Vec::new(), ..RouterOptions::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = listener.local_addr().unwrap().to_string();
        tokio::spawn(server::serve(listener, router(crm.clone(), options), std::future::pending(), Duration::ZERO));
        let floor = floor::serve(&database, SECRET).await;
        let token = organizations[0].access_token.expose().clone();
        Self { ours, floor, token, database, organization: organization.0, crm, customers, _server: server }
    }

    pub(crate) fn get(&self, target: &str) -> Vec<u8> {
        request("GET", target, &self.token, "")
    }

    /// One of the customers, all over the table.
    fn place(&self, number: usize) -> usize {
        number.wrapping_mul(7919) % self.customers
    }

    pub(crate) fn id(&self, number: usize) -> Uuid {
        people::id(self.place(number))
    }

    pub(crate) fn instant(&self, number: usize) -> Timestamp {
        people::instant(self.place(number).max(self.customers / 10))
    }

    pub(crate) fn term(&self, number: usize) -> String {
        people::term(self.place(number))
    }

    pub(crate) fn new_customer(&self, number: usize) -> String {
        json!({
            "name": people::name(number), "email": format!("new.{number}@example.com"), "tags": ["new"],
            "visits": number % 7, "spend": 12.5,
        })
        .to_string()
    }

    /// Counts by the rule that the floor has as SQL.
    pub(crate) fn count_by_rule(&self) -> Vec<u8> {
        let body = json!({
            "filter": {"and": [
                {"field": "spend", "op": ">", "value": 9000}, {"field": "visits", "op": ">=", "value": 40},
                {"field": "status", "op": "==", "value": "active"},
            ]},
            "count": true, "limit": 1,
        });
        request("POST", "/api/v1/customers/search", &self.token, &body.to_string())
    }
}

async fn fill(store: &PostgresStore, organization: OrganizationId, customers: usize) {
    const BATCH: usize = 5000;
    for first in (0..customers).step_by(BATCH) {
        let rows = (first..(first + BATCH).min(customers))
            .map(|number| people::customer(organization, number).to_row())
            .collect();
        let insert = Change::Insert { collection: Customer::COLLECTION, rows };
        store.commit(Scope::Organization(organization), vec![insert]).await.unwrap();
        if first % 100_000 == 0 {
            eprintln!("{first} of {customers} customers");
        }
    }
}
