//! The least that could answer: axum, a JWT check, and one hand-written statement each on a stock sqlx pool.

use std::{future::IntoFuture as _, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use rust_decimal::{Decimal, prelude::ToPrimitive as _};
use serde::{Deserialize, Serialize};
use sqlx::{
    PgPool, Row as _,
    postgres::{PgPoolOptions, PgRow},
    types::time::OffsetDateTime,
};
use tokio::net::TcpListener;
use uuid::Uuid;

pub(crate) struct Floor {
    pool: PgPool,
    key: DecodingKey,
    validation: Validation,
}

/// Serves on a free port, and tells it.
pub(crate) async fn serve(database: &str, secret: &str) -> String {
    let pool = PgPoolOptions::new().max_connections(64).min_connections(64).connect(database).await.unwrap();
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&["crm"]);
    validation.set_issuer(&["crm"]);
    let floor = Arc::new(Floor { pool, key: DecodingKey::from_secret(secret.as_bytes()), validation });
    let app = Router::new()
        .route("/customers/{id}", get(one))
        .route("/customers", get(list).post(create))
        .route("/plain", axum::routing::post(create_plain))
        .route("/search", get(search))
        .route("/count", get(count))
        .with_state(floor);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

#[derive(Deserialize)]
struct Claims {
    org: Uuid,
}

impl Floor {
    fn organization(&self, headers: &HeaderMap) -> Result<Uuid, StatusCode> {
        let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let token = token.ok_or(StatusCode::UNAUTHORIZED)?;
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(|_| StatusCode::UNAUTHORIZED)?;
        Ok(claims.claims.org)
    }
}

macro_rules! columns {
    () => {
        "id, organization_id, version, created_at, updated_at, name, email, emails, phone, phones, status, type, tags, \
         group_ids, spend, visits, last_active, total_orders, total_order_value, last_order_date, total_complaints, \
         open_complaints, user_id, consent, custom, metadata, owner_id, team_id"
    };
}

/// What is searched, as one text; [`SEARCH_INDEX`] is over the same.
macro_rules! searched_text {
    () => {
        "name_folded || ' ' || coalesce(email_folded, '') || ' ' || coalesce(phone_folded, '')"
    };
}

/// The index that the hand-written search needs.
pub(crate) const SEARCH_INDEX: &str = concat!(
    "CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE EXTENSION IF NOT EXISTS btree_gin; \
     CREATE INDEX floor_search ON customers USING gin (organization_id, (",
    searched_text!(),
    ") gin_trgm_ops)"
);

#[derive(Serialize)]
pub(crate) struct Customer {
    id: Uuid,
    organization_id: Uuid,
    version: i64,
    #[serde(serialize_with = "instant")]
    created_at: OffsetDateTime,
    #[serde(serialize_with = "instant")]
    updated_at: OffsetDateTime,
    name: String,
    email: Option<String>,
    emails: Vec<String>,
    phone: Option<String>,
    phones: Vec<String>,
    status: String,
    r#type: String,
    tags: Vec<String>,
    group_ids: Vec<String>,
    #[serde(serialize_with = "amount")]
    spend: Decimal,
    visits: i64,
    #[serde(serialize_with = "some_instant")]
    last_active: Option<OffsetDateTime>,
    total_orders: i64,
    #[serde(serialize_with = "amount")]
    total_order_value: Decimal,
    #[serde(serialize_with = "some_instant")]
    last_order_date: Option<OffsetDateTime>,
    total_complaints: i64,
    open_complaints: i64,
    user_id: Option<Uuid>,
    consent: serde_json::Value,
    custom: serde_json::Value,
    metadata: serde_json::Value,
    owner_id: Option<Uuid>,
    team_id: Option<Uuid>,
}

fn amount<S: serde::Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(amount.to_f64().unwrap_or_default())
}

fn text_of(instant: OffsetDateTime) -> String {
    let (date, time) = (instant.date(), instant.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

fn instant<S: serde::Serializer>(instant: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text_of(*instant))
}

fn some_instant<S: serde::Serializer>(instant: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match instant {
        Some(instant) => serializer.serialize_str(&text_of(*instant)),
        None => serializer.serialize_none(),
    }
}

fn customer(row: &PgRow) -> Customer {
    Customer {
        id: row.get(0),
        organization_id: row.get(1),
        version: row.get(2),
        created_at: row.get(3),
        updated_at: row.get(4),
        name: row.get(5),
        email: row.get(6),
        emails: row.get(7),
        phone: row.get(8),
        phones: row.get(9),
        status: row.get(10),
        r#type: row.get(11),
        tags: row.get(12),
        group_ids: row.get(13),
        spend: row.get(14),
        visits: row.get(15),
        last_active: row.get(16),
        total_orders: row.get(17),
        total_order_value: row.get(18),
        last_order_date: row.get(19),
        total_complaints: row.get(20),
        open_complaints: row.get(21),
        user_id: row.get(22),
        consent: row.get(23),
        custom: row.get(24),
        metadata: row.get(25),
        owner_id: row.get(26),
        team_id: row.get(27),
    }
}

#[derive(Serialize)]
struct Page {
    data: Vec<Customer>,
    has_more: bool,
}

fn page(rows: &[PgRow]) -> Json<Page> {
    Json(Page { data: rows.iter().take(20).map(customer).collect(), has_more: rows.len() > 20 })
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn failed(error: sqlx::Error) -> StatusCode {
    eprintln!("the floor failed: {error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn one(
    State(floor): State<Arc<Floor>>,
    headers: HeaderMap,
    Path(id): Path<Uuid>,
) -> Result<Json<Customer>, StatusCode> {
    let organization = floor.organization(&headers)?;
    let found = find(&floor.pool, organization, id).await.map_err(failed)?;
    found.map(Json).ok_or(StatusCode::NOT_FOUND)
}

/// The customer with the id.
pub(crate) async fn find(pool: &PgPool, organization: Uuid, id: Uuid) -> sqlx::Result<Option<Customer>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM customers WHERE organization_id = $1 AND id = $2"))
        .bind(organization)
        .bind(id)
        .fetch_optional(pool)
        .await?;
    Ok(row.as_ref().map(customer))
}

#[derive(Deserialize)]
struct Listed {
    status: String,
    before: i64,
}

/// The newest twenty of a status that were created before an instant.
async fn list(
    State(floor): State<Arc<Floor>>,
    headers: HeaderMap,
    Query(listed): Query<Listed>,
) -> Result<Json<Page>, StatusCode> {
    let organization = floor.organization(&headers)?;
    let before = OffsetDateTime::from_unix_timestamp(listed.before).map_err(|_| StatusCode::BAD_REQUEST)?;
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM customers WHERE organization_id = $1 AND status = $2 AND deleted_at IS NULL AND created_at < $3 \
         ORDER BY created_at DESC, id DESC LIMIT 21"
    ))
    .bind(organization)
    .bind(listed.status)
    .bind(before)
    .fetch_all(&floor.pool)
    .await
    .map_err(failed)?;
    Ok(page(&rows))
}

#[derive(Deserialize)]
struct Searched {
    term: String,
}

/// The newest twenty whose name or address has the term in it, by an index of `pg_trgm`.
async fn search(
    State(floor): State<Arc<Floor>>,
    headers: HeaderMap,
    Query(searched): Query<Searched>,
) -> Result<Json<Page>, StatusCode> {
    let organization = floor.organization(&headers)?;
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM customers WHERE organization_id = $1 AND deleted_at IS NULL AND (",
        searched_text!(),
        ") LIKE '%' || $2 || '%' ORDER BY created_at DESC, id DESC LIMIT 21"
    ))
    .bind(organization)
    .bind(searched.term)
    .fetch_all(&floor.pool)
    .await
    .map_err(failed)?;
    Ok(page(&rows))
}

/// How many customers the rule holds for.
async fn count(State(floor): State<Arc<Floor>>, headers: HeaderMap) -> Result<String, StatusCode> {
    let organization = floor.organization(&headers)?;
    Ok(counted(&floor.pool, organization).await.map_err(failed)?.to_string())
}

/// How many customers of the organization the rule holds for.
pub(crate) async fn counted(pool: &PgPool, organization: Uuid) -> sqlx::Result<i64> {
    let row = sqlx::query(
        "SELECT count(*) FROM customers WHERE organization_id = $1 AND deleted_at IS NULL AND spend > $2 \
         AND visits >= $3 AND status = $4",
    )
    .bind(organization)
    .bind(Decimal::new(9000, 0))
    .bind(40_i64)
    .bind("active")
    .fetch_one(pool)
    .await?;
    Ok(row.get(0))
}

#[derive(Deserialize)]
struct NewCustomer {
    name: String,
    email: String,
    tags: Vec<String>,
    visits: i64,
    spend: f64,
}

/// Three letters as a number each, for the same column as ours.
fn trigrams(text: &str) -> Vec<i32> {
    let mut trigrams: Vec<i32> =
        text.as_bytes().windows(3).map(|w| i32::from_be_bytes([0, w[0], w[1], w[2]])).collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

/// The customer's row, with the forms for searching that its indexes need.
async fn insert_customer(
    connection: &mut sqlx::PgConnection,
    organization: Uuid,
    id: Uuid,
    now: OffsetDateTime,
    new: &NewCustomer,
) -> sqlx::Result<()> {
    let (name, email) = (new.name.to_lowercase(), new.email.to_lowercase());
    let spend = Decimal::try_from(new.spend).unwrap_or_default();
    sqlx::query(
        "INSERT INTO customers (id, organization_id, version, created_at, updated_at, name, email, emails, phones, \
         status, type, tags, group_ids, spend, visits, opening_spend, opening_visits, active_at, total_orders, \
         total_order_value, total_complaints, open_complaints, consent, custom, metadata, name_folded, name_trigrams, \
         email_folded, email_trigrams, emails_folded, emails_trigrams, phones_folded, phones_trigrams, custom_folded) \
         VALUES ($1, $2, 1, $3, $3, $4, $5, '{}', '{}', 'active', 'regular', $6, '{}', $7, $8, $7, $8, $3, 0, 0, 0, 0, \
         '{}', '{}', '{}', $9, $10, $11, $12, '', '{}', '', '{}', '{}')",
    )
    .bind(id)
    .bind(organization)
    .bind(now)
    .bind(&new.name)
    .bind(&email)
    .bind(&new.tags)
    .bind(spend)
    .bind(new.visits)
    .bind(&name)
    .bind(trigrams(&name))
    .bind(&email)
    .bind(trigrams(&email))
    .execute(connection)
    .await?;
    Ok(())
}

/// A customer, its audit entry and its event in one transaction.
async fn create(
    State(floor): State<Arc<Floor>>,
    headers: HeaderMap,
    Json(new): Json<NewCustomer>,
) -> Result<(StatusCode, Json<serde_json::Value>), StatusCode> {
    let organization = floor.organization(&headers)?;
    let (id, now) = (Uuid::now_v7(), OffsetDateTime::now_utc());
    let data = serde_json::json!({ "id": id, "name": new.name, "email": new.email, "tags": new.tags });
    let written = async {
        let mut transaction = floor.pool.begin().await?;
        insert_customer(&mut transaction, organization, id, now, &new).await?;
        sqlx::query(
            "INSERT INTO audit_entries (id, organization_id, version, created_at, updated_at, action, actor_type, \
             actor_id, record_type, record_id, ip, request_id, after, salt, digest, sealed) \
             VALUES ($1, $2, 1, $3, $3, 'customer.created', 'user', $4, 'customers', $4, '127.0.0.1', $5, $6, $5, $5, \
             true)",
        )
        .bind(Uuid::now_v7())
        .bind(organization)
        .bind(now)
        .bind(id)
        .bind(id.to_string())
        .bind(&data)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO outbox (id, organization_id, version, created_at, updated_at, event_type, event_version, \
             record_type, record_id, record_version, actor_type, actor_id, request_id, data) \
             VALUES ($1, $2, 1, $3, $3, 'customer.created', 1, 'customers', $4, 1, 'user', $4, $5, $6)",
        )
        .bind(Uuid::now_v7())
        .bind(organization)
        .bind(now)
        .bind(id)
        .bind(id.to_string())
        .bind(&data)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    };
    written.await.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(data)))
}

/// The customer's row alone.
async fn create_plain(
    State(floor): State<Arc<Floor>>,
    headers: HeaderMap,
    Json(new): Json<NewCustomer>,
) -> Result<(StatusCode, Json<serde_json::Value>), StatusCode> {
    let organization = floor.organization(&headers)?;
    let (id, now) = (Uuid::now_v7(), OffsetDateTime::now_utc());
    let mut connection = floor.pool.acquire().await.map_err(failed)?;
    insert_customer(&mut connection, organization, id, now, &new).await.map_err(failed)?;
    let data = serde_json::json!({ "id": id, "name": new.name, "email": new.email, "tags": new.tags });
    Ok((StatusCode::CREATED, Json(data)))
}
