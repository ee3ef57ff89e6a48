//! A campaign on PostgreSQL: planning it beside the bare `INSERT … SELECT` into the same table; sending it to the built-in
//! vendor beside the bare statements that claim messages, keep them as the vendor does, and write what became of them; and
//! taking signed receipts in arrays of 100, each with its own instant, beside the bare update of 100 rows.
//!
//! `cargo bench --bench campaigns` starts a private PostgreSQL server with everything durable, and prints for each kind of
//! work the messages a second of both, the ratio (median, least and greatest of the rounds), and the most memory that this
//! process ever held. `MILLION=100000` takes fewer customers, `SENT=5000` sends fewer, `ROUNDS` more or fewer rounds,
//! `ONLY=plan`, `ONLY=send`, `ONLY=receipts` or `ONLY=rabbitmq` (sending through RabbitMQ, beside a bare loop with its
//! driver and the same statements) one kind.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![expect(clippy::disallowed_methods, reason = "the bare statements take ids and the time from where they find them")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench tells what it measured")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crm_core::{
    Crm,
    access::Principal,
    background,
    campaign::{Campaign, CampaignId, CampaignRun, NewCampaign, send_due},
    crm::collections,
    customer::Customer,
    delivery::{DeliverySettings, MockVendorSettings, SignedReceipts},
    id::{CustomerId, OrganizationId},
    input::FromInput as _,
    job::runner,
    port::{Clock as _, OperatingSystemRandom, SystemClock, queue::SharedQueue},
    record::{Meta, Record as _},
    store::{Change, SharedStore},
    tenancy::NewOrganization,
    text::Line,
    time::Timestamp,
};
use crm_queue::{RabbitMqOptions, RabbitMqQueue};
use crm_store_postgres::PostgresStore;
use crm_test_servers::{Durability, Postgres, RabbitMq};
use futures::stream::{self, StreamExt as _};
use lapin::{
    BasicProperties, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde_json::json;
use sqlx::{Executor as _, PgPool, Row as _, postgres::PgPoolOptions, types::time::OffsetDateTime};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Customers that are added in one commit.
const CHUNK: usize = 5000;
/// Messages that the bare sender takes at once: as many as ours.
const BATCH: i64 = 200;
/// Batches that the bare sender with a broker sends at once: as many as ours.
const AT_ONCE: u16 = 4;
/// The queue of the bare sender.
const FLOOR: &str = "floor";
/// Receipts in an array.
const ARRAY: usize = 100;
/// Arrays that are on their way at once.
const ARRAYS: u32 = 4;
/// What the vendor signs receipts with.
const SECRET: &str = "a-secret-for-benches-of-more-than-32-bytes";

fn number_of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let settings = ["shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=30min", "work_mem=32MB"];
        let server = Postgres::start(Durability::Full, &settings).unwrap();
        server.create_database("campaigns").unwrap();
        let url = server.url("campaigns");
        let store: SharedStore = Arc::new(PostgresStore::connect(&url).await.unwrap());
        store.migrate(collections(), &|_, _, _| ()).await.unwrap();
        let vendor = MockVendorSettings { failure_rate: 0.0, lost_rate: 1.0, ..MockVendorSettings::default() };
        let delivery =
            DeliverySettings { receipt_secret: DeliverySettings::receipt_secret_of(SECRET), public_url: None };
        let crm = Crm::builder(Arc::clone(&store)).mock_vendor(Some(vendor)).delivery(delivery).build();
        let pool = PgPoolOptions::new().max_connections(ARRAYS).connect(&url).await.unwrap();
        let only = std::env::var("ONLY").ok();
        let is_asked = |what: &str| only.as_deref().is_none_or(|only| only == what);
        let rounds = number_of("ROUNDS", 3);
        println!("{:<8} {:>10} {:>10}  ratio (least, greatest)   most memory", "", "floor/s", "ours/s");

        if is_asked("plan") {
            let million = number_of("MILLION", 1_000_000);
            let by = shop(&crm, &pool, million).await;
            let mut measured = Vec::new();
            for round in 0..rounds {
                // Both begin a round equally often, so that what one leaves behind does not always meet the other.
                let before = if round % 2 == 0 { Some(plan_bare(&pool, &by).await.0) } else { None };
                let (ours, _) = plan(&crm, &by).await;
                let floor = match before {
                    Some(floor) => floor,
                    None => plan_bare(&pool, &by).await.0,
                };
                measured.push((floor, ours));
            }
            tell("plan", million, measured);
        }
        if is_asked("rabbitmq") {
            let rabbitmq = RabbitMq::start().unwrap();
            let broker = Connection::connect(&rabbitmq.url(), ConnectionProperties::default()).await.unwrap();
            let (clock, random) = (Arc::new(SystemClock), Arc::new(OperatingSystemRandom));
            let options = RabbitMqOptions::new(rabbitmq.url());
            let queue: SharedQueue = Arc::new(RabbitMqQueue::open(&options, clock, random).unwrap());
            let sent = number_of("SENT", 20_000);
            let by = shop(&crm, &pool, sent).await;
            let mut measured = Vec::new();
            for _ in 0..rounds {
                let (_, bare) = plan_bare(&pool, &by).await;
                let floor = send_bare_through(&broker, &pool, &by, bare, sent).await;
                let (_, campaign) = plan(&crm, &by).await;
                measured.push((floor, send_through(&crm, (&store, &queue), &by, campaign.id, sent).await));
            }
            queue.close().await;
            tell("rabbitmq", sent, measured);
        }
        if is_asked("send") || is_asked("receipts") {
            let sent = number_of("SENT", 20_000);
            let by = shop(&crm, &pool, sent).await;
            let (mut sending, mut receiving) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let (_, bare) = plan_bare(&pool, &by).await;
                let floor = send_bare(&pool, &by, bare).await;
                let (_, campaign) = plan(&crm, &by).await;
                let begun = Instant::now();
                send_due(&crm).await.unwrap();
                sending.push((floor, begun.elapsed()));
                let figures = crm.campaigns().get(&by, campaign.id).await.unwrap().statistics.counts;
                assert_eq!(figures.sent, sent as u64, "{figures:?}");
                for status in ["DELIVERED", "READ"] {
                    let floor = receive_bare(&pool, &by, bare, status).await;
                    let ours = receive(&crm, &pool, &by, campaign.id.0, status).await;
                    receiving.push((floor, ours));
                }
                let figures = crm.campaigns().get(&by, campaign.id).await.unwrap().statistics.counts;
                assert_eq!(figures.read, sent as u64, "{figures:?}");
            }
            tell("send", sent, sending);
            tell("receipts", sent, receiving);
        }
    });
}

fn tell(what: &str, count: usize, mut measured: Vec<(Duration, Duration)>) {
    let ratio = |(floor, ours): &(Duration, Duration)| floor.as_secs_f64() / ours.as_secs_f64();
    measured.sort_by(|left, right| ratio(left).total_cmp(&ratio(right)));
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    let middle = measured[measured.len() / 2];
    println!(
        "{what:<8} {:>10.0} {:>10.0}  {:.2} ({:.2}, {:.2})   {}",
        rate(middle.0),
        rate(middle.1),
        ratio(&middle),
        ratio(&measured[0]),
        ratio(&measured[measured.len() - 1]),
        most_memory(),
    );
}

/// The most memory that this process ever held.
fn most_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}

/// An organization with so many customers.
async fn shop(crm: &Crm, pool: &PgPool, customers: usize) -> Principal {
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
    pool.execute("VACUUM (ANALYZE) customers").await.unwrap();
    eprintln!("{customers} customers are there");
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
         SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || \
         lpad(to_hex(row_number() OVER (ORDER BY id)), 20, '0'))::uuid, organization_id, 1, now(), now(), $2, id, 'mock', \
         row_number() OVER (ORDER BY id), id::text, 'Hi ' || name || ', spring is here.', 'QUEUED', 'waiting', now(), 0 \
         FROM customers WHERE organization_id = $1 AND deleted_at IS NULL AND visits >= 0",
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
    while send_batch_bare(pool, by, campaign).await > 0 {}
    begun.elapsed()
}

/// One batch of it; how many messages there were.
async fn send_batch_bare(pool: &PgPool, by: &Principal, campaign: Uuid) -> usize {
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
        return 0;
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
    ids.len()
}

/// The hand-written loop with a broker: a message for each batch is published with a confirm, and as many consumers as ours
/// send a batch for each that they take.
async fn send_bare_through(
    broker: &Connection,
    pool: &PgPool,
    by: &Principal,
    campaign: Uuid,
    count: usize,
) -> Duration {
    let channel = broker.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    channel.basic_qos(AT_ONCE, BasicQosOptions::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(FLOOR.into(), options, arguments).await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut deliveries =
        channel.basic_consume(FLOOR.into(), "floor".into(), options, FieldTable::default()).await.unwrap();
    let begun = Instant::now();
    let batches = count.div_ceil(usize::try_from(BATCH).unwrap());
    let body = json!({"campaign_id": campaign}).to_string();
    for _ in 0..batches {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm =
            channel.basic_publish("".into(), FLOOR.into(), options, body.as_bytes(), properties).await.unwrap();
        assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(None)));
    }
    let taken = stream::unfold(&mut deliveries, async |deliveries| Some((deliveries.next().await?, deliveries)));
    let sent = taken.take(batches).map(|delivery| async {
        let sent = send_batch_bare(pool, by, campaign).await;
        delivery.unwrap().ack(BasicAckOptions::default()).await.unwrap();
        sent
    });
    let sent: usize = sent.buffer_unordered(AT_ONCE.into()).fold(0, async |all, sent| all + sent).await;
    let taken = begun.elapsed();
    assert_eq!(sent, count);
    channel.close(200, "done".into()).await.unwrap();
    taken
}

/// The same by the background work of a process.
async fn send_through(
    crm: &Crm,
    (store, queue): (&SharedStore, &SharedQueue),
    by: &Principal,
    campaign: CampaignId,
    count: usize,
) -> Duration {
    crm.campaigns().pause(by, campaign, None).await.unwrap();
    let vendor = MockVendorSettings { failure_rate: 0.0, lost_rate: 1.0, ..MockVendorSettings::default() };
    let sender = Crm::builder(Arc::clone(store)).mock_vendor(Some(vendor)).queue(Arc::clone(queue)).build();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(background::run(sender, async {
        let _ = stopped.await;
    }));
    tokio::time::sleep(Duration::from_secs(2)).await;
    crm.campaigns().resume(by, campaign, None).await.unwrap();
    let begun = Instant::now();
    let taken = loop {
        let run = crm.repo::<CampaignRun>().get(by.scope(), campaign).await.unwrap();
        if run.is_none() {
            break begun.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    stop.send(()).unwrap();
    running.await.unwrap();
    let figures = crm.campaigns().get(by, campaign).await.unwrap().statistics.counts;
    assert_eq!(figures.sent, count as u64, "{figures:?}");
    taken
}

/// The arrays of receipts of a campaign's messages: ids, and what the vendor calls them.
async fn arrays(pool: &PgPool, by: &Principal, campaign: Uuid) -> Vec<Vec<(Uuid, String)>> {
    let rows = sqlx::query(
        "SELECT id, vendor_message_id FROM communications WHERE organization_id = $1 AND campaign_id = $2 \
         ORDER BY md5(id::text)",
    );
    let rows = rows.bind(by.organization.0).bind(campaign).fetch_all(pool).await.unwrap();
    let messages: Vec<(Uuid, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    messages.chunks(ARRAY).map(<[_]>::to_vec).collect()
}

/// When each receipt of an array says that it was.
fn instant(place: usize) -> i64 {
    SystemClock.now().as_milliseconds() - i64::try_from(place).unwrap() * 7
}

/// The hand-written update of what an array names, by the ids.
async fn receive_bare(pool: &PgPool, by: &Principal, campaign: Uuid, status: &str) -> Duration {
    let arrays = arrays(pool, by, campaign).await;
    let column = if status == "READ" { "read_at" } else { "delivered_at" };
    let update = format!(
        "UPDATE communications AS t SET status = $4, {column} = r.at, updated_at = now(), version = version + 1 \
         FROM unnest($2::uuid[], $3::timestamptz[]) AS r(id, at) WHERE t.organization_id = $1 AND t.id = r.id \
         AND t.{column} IS NULL"
    );
    let begun = Instant::now();
    let received = stream::iter(&arrays).map(|array| async {
        let ids: Vec<Uuid> = array.iter().map(|(id, _)| *id).collect();
        let at = |place| OffsetDateTime::from_unix_timestamp_nanos(i128::from(instant(place)) * 1_000_000).unwrap();
        let instants: Vec<OffsetDateTime> = (0..array.len()).map(at).collect();
        let update = sqlx::query(sqlx::AssertSqlSafe(update.as_str()));
        let update = update.bind(by.organization.0).bind(ids).bind(instants).bind(status);
        assert_eq!(update.execute(pool).await.unwrap().rows_affected(), array.len() as u64);
    });
    received.buffer_unordered(ARRAYS as usize).collect::<()>().await;
    begun.elapsed()
}

/// The same arrays, signed, as they come in.
async fn receive(crm: &Crm, pool: &PgPool, by: &Principal, campaign: Uuid, status: &str) -> Duration {
    let arrays = arrays(pool, by, campaign).await;
    let secret = DeliverySettings::receipt_secret_of(SECRET).unwrap();
    let timestamp = SystemClock.now().as_milliseconds() / 1000;
    let signed = arrays.iter().map(|array| {
        let receipt = |(place, (_, name)): (usize, &(Uuid, String))| {
            let at = Timestamp::from_milliseconds(instant(place)).unwrap();
            json!({"vendor_message_id": name, "status": status, "at": at})
        };
        let body = serde_json::Value::Array(array.iter().enumerate().map(receipt).collect()).to_string();
        let signature = secret.sign("msg_1", timestamp, &body);
        (body, signature, array.len())
    });
    let signed: Vec<_> = signed.collect();
    let timestamp = timestamp.to_string();
    let begun = Instant::now();
    let received = stream::iter(&signed).map(|(body, signature, count)| async {
        let signed = SignedReceipts { id: "msg_1", timestamp: &timestamp, signature, organization: None, body };
        assert_eq!(crm.deliveries().receive(signed).await.unwrap().applied, *count);
    });
    received.buffer_unordered(ARRAYS as usize).collect::<()>().await;
    begun.elapsed()
}
