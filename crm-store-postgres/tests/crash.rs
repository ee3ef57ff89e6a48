//! The server is killed and started again under load, or not heard of any more: nobody waits for nothing, and nothing
//! acknowledged is lost.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crm_core::{
    id::OrganizationId,
    record::HEAD,
    store::{
        Assignment, Change, Collection, Field, FieldKind, Filter, Placement, Query, Row, Scope, Store as _, StoreError,
        Value,
    },
    time::Timestamp,
};
use crm_store_postgres::{PostgresOptions, PostgresStore};
use crm_test_servers::{Durability, Postgres};
use futures::StreamExt as _;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use uuid::Uuid;

const OURS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00a1);
const COUNT: usize = 5;
const WRITERS: u128 = 8;
const ADDERS: u128 = 8;

static TALLIES: Collection = Collection {
    name: "tallies",
    placement: Placement::Tenant,
    fields: &[
        HEAD[0],
        HEAD[1],
        HEAD[2],
        HEAD[3],
        HEAD[4],
        Field { name: "count", kind: FieldKind::Integer, optional: false, folded: false, custom: false },
    ],
    unique: &[],
    indexes: &[],
    search: &[],
};

static COLLECTIONS: &[&Collection] = &[&TALLIES];

fn scope() -> Scope {
    Scope::Organization(OrganizationId(OURS))
}

fn tally(number: u128) -> Row {
    let now = Value::Timestamp(Timestamp::default());
    let id = Value::Id(Uuid::from_u128(number));
    Row(vec![id, Value::Id(OURS), Value::Integer(1), now.clone(), now, Value::Integer(0)])
}

fn insert(number: u128) -> Change {
    Change::Insert { collection: &TALLIES, rows: vec![tally(number)] }
}

/// Adds one to a tally, beside a new record that proves it.
fn count(tally: u128, proof: u128) -> Vec<Change> {
    let assignments = vec![Assignment::Increment(COUNT, Value::Integer(1))];
    let id = Uuid::from_u128(tally);
    vec![
        Change::Update { collection: &TALLIES, id, expected_version: None, condition: None, assignments },
        insert(proof),
    ]
}

async fn counted(store: &PostgresStore, tally: u128) -> i64 {
    let rows = store.get(scope(), &TALLIES, &[Uuid::from_u128(tally)]).await.unwrap();
    match rows[0].0[COUNT] {
        Value::Integer(count) => count,
        ref other => panic!("{other:?}"),
    }
}

async fn store(url: &str) -> Arc<PostgresStore> {
    let options = PostgresOptions::parse(url).unwrap().pool(WRITERS as usize + 4);
    let store = PostgresStore::connect_with(options).await.unwrap();
    store.migrate(COLLECTIONS, &|_, _, _| {}).await.unwrap();
    Arc::new(store)
}

/// What the writers have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let mut server = Postgres::start(Durability::Full, &[]).unwrap();
    let store = store(&server.url("postgres")).await;
    let tallies = (1..=WRITERS).map(insert).collect();
    store.commit(scope(), tallies).await.unwrap();
    let seen = Arc::new(Seen::default());
    let mut writers = JoinSet::new();
    for writer in 1..=WRITERS {
        let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
        writers.spawn(async move {
            let mut acknowledged: Vec<u128> = Vec::new();
            let mut proof = writer << 64;
            while !seen.stop.load(Ordering::Relaxed) {
                proof += 1;
                match store.commit(scope(), count(writer, proof)).await {
                    Ok(_) => {
                        acknowledged.push(proof);
                        seen.acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(StoreError::Unavailable { retry_after, .. }) => {
                        assert!(retry_after > Duration::ZERO);
                        seen.refused.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            (writer, acknowledged)
        });
    }
    // Others only add records, which is done for several of them at once.
    let mut adders = JoinSet::new();
    for adder in 1..=ADDERS {
        let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
        adders.spawn(async move {
            let mut acknowledged: Vec<Uuid> = Vec::new();
            for number in ((WRITERS + adder) << 64).. {
                if seen.stop.load(Ordering::Relaxed) {
                    break;
                }
                match store.commit(scope(), vec![insert(number)]).await {
                    Ok(_) => acknowledged.push(Uuid::from_u128(number)),
                    Err(StoreError::Unavailable { .. }) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other:?}"),
                }
            }
            acknowledged
        });
    }
    until(|| seen.acknowledged.load(Ordering::Relaxed) > 100).await;
    server.kill().unwrap();
    until(|| seen.refused.load(Ordering::Relaxed) > 20).await;
    assert!(matches!(store.health().await, Err(StoreError::Unavailable { .. })));
    server.start_again().unwrap();
    let before = seen.acknowledged.load(Ordering::Relaxed);
    until(|| seen.acknowledged.load(Ordering::Relaxed) > before + 100).await;
    seen.stop.store(true, Ordering::Relaxed);
    store.health().await.unwrap();
    while let Some(added) = adders.join_next().await {
        let added = added.unwrap();
        assert!(!added.is_empty());
        assert_eq!(store.get(scope(), &TALLIES, &added).await.unwrap().len(), added.len(), "acknowledged and lost");
    }
    while let Some(done) = writers.join_next().await {
        let (writer, acknowledged) = done.unwrap();
        let ids: Vec<Uuid> = acknowledged.iter().map(|proof| Uuid::from_u128(*proof)).collect();
        assert_eq!(store.get(scope(), &TALLIES, &ids).await.unwrap().len(), ids.len(), "acknowledged and lost");
        // Each count has its proof: none was made twice, and none by half.
        let proofs =
            Filter::And(vec![id_at_least(writer << 64), Filter::Not(Box::new(id_at_least((writer + 1) << 64)))]);
        let proofs = store.count(scope(), &TALLIES, &proofs).await.unwrap();
        assert_eq!(counted(&store, writer).await, i64::try_from(proofs).unwrap(), "counted and proved");
    }
}

fn id_at_least(number: u128) -> Filter {
    let field = crm_core::store::FieldRef::declared("id", FieldKind::Id);
    let least = Value::Id(Uuid::from_u128(number));
    Filter::compare(field, crm_core::store::Comparison::GreaterOrEqual, least)
}

/// Ends every connection of the store but our own, as a server that restarts does.
async fn cut(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'crm'")
        .await
        .unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn connections_that_were_cut_while_idle_are_replaced_unseen() {
    let server = Postgres::start(Durability::None, &[]).unwrap();
    let url = server.url("postgres");
    let store = store(&url).await;
    store.commit(scope(), vec![insert(1)]).await.unwrap();
    cut(&url).await;
    assert_eq!(store.count(scope(), &TALLIES, &Filter::ALL).await.unwrap(), 1);
    cut(&url).await;
    store.commit(scope(), count(1, 2)).await.unwrap();
    cut(&url).await;
    store.commit(scope(), vec![insert(3)]).await.unwrap();
    assert_eq!(counted(&store, 1).await, 1);
    assert_eq!(store.count(scope(), &TALLIES, &Filter::ALL).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_leaves_no_lock() {
    let server = Postgres::start(Durability::None, &[]).unwrap();
    let url = server.url("postgres");
    let store = store(&url).await;
    store.commit(scope(), vec![insert(1), insert(2)]).await.unwrap();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    holder.execute("SELECT FROM tallies ORDER BY id LIMIT 1 FOR UPDATE").await.unwrap();
    // Two changes of one record are a transaction, which waits for the holder until its caller gives up.
    let twice = || [count(1, 10), count(1, 11)].concat();
    assert!(timeout(Duration::from_millis(200), store.commit(scope(), twice())).await.is_err());
    holder.execute("COMMIT").await.unwrap();
    timeout(Duration::from_secs(20), store.commit(scope(), count(1, 12))).await.unwrap().unwrap();
    assert_eq!(counted(&store, 1).await, 1);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended() {
    let server = Postgres::start(Durability::None, &[]).unwrap();
    let url = server.url("postgres");
    let waiting = store(&url).await;
    waiting.commit(scope(), vec![insert(1)]).await.unwrap();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    holder.execute("BEGIN; LOCK TABLE tallies").await.unwrap();
    let options = PostgresOptions::parse(&url).unwrap().statement_timeout(Duration::from_millis(100));
    let hasty = PostgresStore::connect_with(options).await.unwrap();
    assert!(matches!(hasty.count(scope(), &TALLIES, &Filter::ALL).await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(hasty.commit(scope(), count(1, 2)).await, Err(StoreError::Unavailable { .. })));
    holder.execute("COMMIT").await.unwrap();
    assert_eq!(hasty.count(scope(), &TALLIES, &Filter::ALL).await.unwrap(), 1);
}

/// A way to the server that can be blocked without a word.
struct Way {
    port: u16,
    is_open: watch::Sender<bool>,
}

impl Way {
    async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_open, opened) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry(from_client, to_server, opened.clone()));
                tokio::spawn(carry(from_server, to_client, opened.clone()));
            }
        });
        Self { port, is_open }
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut opened: watch::Receiver<bool>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if opened.wait_for(|is_open| *is_open).await.is_err() || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_heard_of_any_more_is_waited_for_no_longer_than_a_statement_may_take() {
    let server = Postgres::start(Durability::None, &[]).unwrap();
    let _migrated = store(&server.url("postgres")).await;
    let way = Way::to(server.port()).await;
    let url = server.url("postgres").replace(&server.port().to_string(), &way.port.to_string());
    let options = PostgresOptions::parse(&url).unwrap().pool(2);
    let options = options.statement_timeout(Duration::from_millis(100)).connect_timeout(Duration::from_millis(500));
    let store = PostgresStore::connect_with(options).await.unwrap();
    store.commit(scope(), vec![insert(1)]).await.unwrap();
    way.is_open.send_replace(false);
    let all = Filter::ALL;
    let both = futures::future::join(store.count(scope(), &TALLIES, &all), store.commit(scope(), vec![insert(2)]));
    let (counted, committed) = timeout(Duration::from_secs(60), both).await.unwrap();
    assert!(matches!(counted, Err(StoreError::Unavailable { .. })), "{counted:?}");
    assert!(matches!(committed, Err(StoreError::Unavailable { .. })), "{committed:?}");
    way.is_open.send_replace(true);
    // What the server says now to what was asked then is read by nobody.
    assert!(store.count(scope(), &TALLIES, &Filter::ALL).await.unwrap() >= 1);
    store.commit(scope(), vec![insert(3)]).await.unwrap();
}

#[tokio::test]
async fn streams_leave_connections_to_others() {
    let server = Postgres::start(Durability::None, &[]).unwrap();
    let url = server.url("postgres");
    let filling = store(&url).await;
    let rows = (1..=2000).map(tally).collect();
    filling.commit(scope(), vec![Change::Insert { collection: &TALLIES, rows }]).await.unwrap();
    let options = PostgresOptions::parse(&url).unwrap().pool(4).connect_timeout(Duration::from_millis(500));
    let store = PostgresStore::connect_with(options).await.unwrap();
    let stream = || store.stream(scope(), &TALLIES, Query::new(Filter::ALL, 0));
    let mut streams = [stream(), stream()];
    for stream in &mut streams {
        assert!(stream.next().await.unwrap().is_ok());
    }
    let mut third = stream();
    assert!(matches!(third.next().await, Some(Err(StoreError::Unavailable { .. }))));
    let (one, other) = tokio::join!(store.health(), store.health());
    one.and(other).unwrap();
    let [first, _second] = streams;
    assert_eq!(first.count().await, 1999);
    assert_eq!(stream().count().await, 2000);
}
