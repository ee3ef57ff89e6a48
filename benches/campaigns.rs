//! A campaign on PostgreSQL: planning it beside the bare `INSERT … SELECT` into the same table, and sending it to the
//! built-in vendor beside the bare statements that claim messages, keep them as the vendor does, and write what became of
//! them.
//!
//! `cargo bench --bench campaigns` starts a private PostgreSQL server with everything durable, and prints for each kind of
//! work the messages a second of both and the ratio. `MILLION=100000` takes fewer customers, `SENT=5000` sends fewer.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::disallowed_methods, reason = "the bare statements take ids and the time from where they find them")]
#![expect(clippy::print_stdout, reason = "a bench tells what it measured")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crm_core::{
    Crm,
    access::Principal,
    campaign::{Campaign, NewCampaign, send_due},
    crm::collections,
    customer::Customer,
    delivery::MockVendorSettings,
    id::{CustomerId, OrganizationId},
    input::FromInput as _,
    job::runner,
    port::{Clock as _, SystemClock},
    record::{Meta, Record as _},
    store::{Change, SharedStore},
    tenancy::NewOrganization,
    text::Line,
};
use crm_store_postgres::PostgresStore;
use crm_test_servers::{Durability, Postgres};
use serde_json::json;
use sqlx::{PgPool, Row as _, postgres::PgPoolOptions};
use uuid::Uuid;

/// Customers that are added in one commit.
const CHUNK: usize = 5000;
/// Messages that the bare sender takes at once: as many as ours.
const BATCH: i64 = 200;

fn number_of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Postgres::start(Durability::Full, &[]).unwrap();
        server.create_database("campaigns").unwrap();
        let url = server.url("campaigns");
        let store: SharedStore = Arc::new(PostgresStore::connect(&url).await.unwrap());
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();
        let vendor = MockVendorSettings { failure_rate: 0.0, lost_rate: 1.0, ..MockVendorSettings::default() };
        let crm = Crm::builder(store).mock_vendor(Some(vendor)).build();
        let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
        println!("{:<8} {:>10} {:>10}  ratio", "", "floor/s", "ours/s");

        let million = number_of("MILLION", 1_000_000);
        let by = shop(&crm, million).await;
        let (floor, _) = plan_bare(&pool, &by).await;
        let (ours, _) = plan(&crm, &by).await;
        tell("plan", million, floor, ours);

        let sent = number_of("SENT", 20_000);
        let by = shop(&crm, sent).await;
        let (_, bare) = plan_bare(&pool, &by).await;
        let floor = send_bare(&pool, &by, bare).await;
        let (_, campaign) = plan(&crm, &by).await;
        let begun = Instant::now();
        send_due(&crm).await.unwrap();
        let ours = begun.elapsed();
        let figures = crm.campaigns().get(&by, campaign.id).await.unwrap().statistics.counts;
        assert_eq!(figures.sent, sent as u64, "{figures:?}");
        tell("send", sent, floor, ours);
    });
}

fn tell(what: &str, count: usize, floor: Duration, ours: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    println!("{what:<8} {:>10.0} {:>10.0}  {:.2}", rate(floor), rate(ours), rate(ours) / rate(floor));
}

/// An organization with so many customers.
async fn shop(crm: &Crm, customers: usize) -> Principal {
    let new = NewOrganization::from_json(&json!({"name": "Shop"})).unwrap();
    let organization = crm.organizations().create(&Principal::system(OrganizationId::INSTALLATION), new).await.unwrap();
    let by = Principal::system(organization.id);
    let mut left = customers;
    while left > 0 {
        let part = left.min(CHUNK);
        let now = SystemClock.now();
        let rows = (0..part).map(|number| {
            let name = Line::parse(&format!("Customer {number}")).unwrap();
            Customer::blank(crm.new_id_at::<CustomerId>(now), name, Meta::new(by.organization, now)).to_row()
        });
        let insert = Change::Insert { collection: Customer::COLLECTION, rows: rows.collect() };
        crm.store().commit(by.scope(), vec![insert]).await.unwrap();
        left -= part;
    }
    by
}

async fn plan(crm: &Crm, by: &Principal) -> (Duration, Campaign) {
    let new = json!({
        "name": "Sale", "channel": "mock", "message": "Hi {{name}}, spring is here.", "launch": true,
        "rules_json": {"field": "visits", "op": ">=", "value": 0},
    });
    let campaign = crm.campaigns().create(by, NewCampaign::from_json(&new).unwrap()).await.unwrap();
    let begun = Instant::now();
    runner::run_due(crm).await.unwrap();
    (begun.elapsed(), campaign)
}

async fn plan_bare(pool: &PgPool, by: &Principal) -> (Duration, Uuid) {
    let campaign = Uuid::now_v7();
    let begun = Instant::now();
    sqlx::query(
        "INSERT INTO communications (id, organization_id, version, created_at, updated_at, campaign_id, customer_id, \
         channel, sequence, address, message, status, stage, due_at, attempts) \
         SELECT (lpad(to_hex(extract(epoch FROM clock_timestamp())::bigint), 12, '0') || \
         lpad(to_hex(row_number() OVER (ORDER BY id)), 20, '0'))::uuid, organization_id, 1, now(), now(), $2, id, 'mock', \
         row_number() OVER (ORDER BY id), id::text, 'Hi ' || name || ', spring is here.', 'QUEUED', 'waiting', now(), 0 \
         FROM customers WHERE organization_id = $1 AND deleted_at IS NULL AND visits >= 0 ORDER BY id",
    )
    .bind(by.organization.0)
    .bind(campaign)
    .execute(pool)
    .await
    .unwrap();
    (begun.elapsed(), campaign)
}

/// The hand-written loop: a batch is claimed, its customers are read, the vendor's rows are written, then the results.
async fn send_bare(pool: &PgPool, by: &Principal, campaign: Uuid) -> Duration {
    let begun = Instant::now();
    loop {
        let claimed = sqlx::query(
            "UPDATE communications SET stage = 'sending', holder = $3, due_at = now() + interval '10 s', \
             version = version + 1 WHERE organization_id = $1 AND id IN (SELECT id FROM communications \
             WHERE organization_id = $1 AND campaign_id = $2 AND stage = 'waiting' AND due_at <= now() \
             ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED) RETURNING id, customer_id, address, message",
        )
        .bind(by.organization.0)
        .bind(campaign)
        .bind(Uuid::now_v7())
        .bind(BATCH)
        .fetch_all(pool)
        .await
        .unwrap();
        if claimed.is_empty() {
            return begun.elapsed();
        }
        let ids: Vec<Uuid> = claimed.iter().map(|row| row.get(0)).collect();
        let customers: Vec<Uuid> = claimed.iter().map(|row| row.get(1)).collect();
        let addresses: Vec<String> = claimed.iter().map(|row| row.get(2)).collect();
        let messages: Vec<String> = claimed.iter().map(|row| row.get(3)).collect();
        let names: Vec<String> = ids.iter().map(|id| format!("mock_{id}")).collect();
        sqlx::query("SELECT * FROM customers WHERE organization_id = $1 AND id = ANY($2)")
            .bind(by.organization.0)
            .bind(&customers)
            .fetch_all(pool)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO mock_messages (id, organization_id, version, created_at, updated_at, vendor_message_id, \
             campaign_id, customer_id, address, message) SELECT r.id, $1, 1, now(), now(), r.name, $2, r.customer, \
             r.address, r.message FROM unnest($3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::text[]) \
             AS r(id, name, customer, address, message)",
        )
        .bind(by.organization.0)
        .bind(campaign)
        .bind(&ids)
        .bind(&names)
        .bind(&customers)
        .bind(&addresses)
        .bind(&messages)
        .execute(pool)
        .await
        .unwrap();
        sqlx::query(
            "UPDATE communications AS t SET status = 'SENT', stage = NULL, due_at = NULL, sent_at = now(), \
             attempts = attempts + 1, vendor_message_id = r.name, version = version + 1 \
             FROM unnest($2::uuid[], $3::text[]) AS r(id, name) WHERE t.organization_id = $1 AND t.id = r.id",
        )
        .bind(by.organization.0)
        .bind(&ids)
        .bind(&names)
        .execute(pool)
        .await
        .unwrap();
    }
}
