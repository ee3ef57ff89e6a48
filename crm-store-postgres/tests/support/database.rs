//! One server for each test program, one database for each test.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use crm_test_servers::{Durability, Postgres};
use sqlx::{Connection as _, Executor as _, PgConnection};

static SERVER: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(Durability::None, &[]).unwrap());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The URL of a database of that name on the server.
pub(crate) fn url(database: &str) -> String {
    SERVER.url(database)
}

/// A connection past the store.
pub(crate) async fn raw(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// Makes a database; answers its URL.
pub(crate) async fn create() -> String {
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = raw(&url("postgres")).await;
    connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    connection.close().await.unwrap();
    url(&name)
}
