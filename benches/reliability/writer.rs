//! The one connection that a hand-written program writes to SQLite with: what waits shares a transaction.

use std::path::Path;

use sqlx::{ConnectOptions as _, Executor as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// What is to be written.
pub(crate) enum Write {
    /// Claims so many messages.
    Claim { limit: i64, until: i64, reply: oneshot::Sender<Vec<(Uuid, String)>> },
    /// Removes a claimed message.
    Acknowledge { id: Uuid, reply: oneshot::Sender<()> },
    /// Writes what became of a delivery.
    Log { id: Uuid, now: i64, log: String, reply: oneshot::Sender<()> },
}

/// Claims by this name.
pub(crate) const HOLDER: Uuid = Uuid::from_u128(7);

const CLAIM: &str = "UPDATE queue_messages SET state = 'in_hand', holder = ?, due_at = ?, version = version + 1 WHERE id IN \
    (SELECT id FROM queue_messages WHERE queue = 'bench/handlers' AND state = 'ready' ORDER BY priority, due_at, sequence \
    LIMIT ?) RETURNING id, body";
const ACKNOWLEDGE: &str = "DELETE FROM queue_messages WHERE id = ? AND holder = ? AND state = 'in_hand'";
const LOG: &str = "UPDATE webhook_deliveries SET state = 'delivered', attempts = attempts + 1, due_at = NULL, \
    last_attempt_at = ?, last_status = 200, error = NULL, log = ?, updated_at = ?, version = version + 1 WHERE id = ?";

/// Writes what comes until nobody sends any more.
pub(crate) async fn open(path: &Path) -> mpsc::Sender<Write> {
    let options = SqliteConnectOptions::new().filename(path).pragma("cache_size", "-8192").disable_statement_logging();
    let mut connection = options.connect().await.unwrap();
    connection.execute("PRAGMA synchronous = FULL").await.unwrap();
    let (sender, receiver) = mpsc::channel(1024);
    tokio::spawn(write(connection, receiver));
    sender
}

async fn write(mut connection: SqliteConnection, mut writes: mpsc::Receiver<Write>) {
    let mut group = Vec::new();
    while writes.recv_many(&mut group, 256).await > 0 {
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        let mut replies: Vec<Box<dyn FnOnce() + Send>> = Vec::with_capacity(group.len());
        for write in group.drain(..) {
            match write {
                Write::Claim { limit, until, reply } => {
                    let claim = sqlx::query(CLAIM).bind(HOLDER.as_bytes().to_vec()).bind(until).bind(limit);
                    let rows = connection.fetch_all(claim).await.unwrap();
                    let rows = rows.iter().map(|row| (Uuid::from_slice(row.get(0)).unwrap(), row.get(1))).collect();
                    replies.push(Box::new(move || reply.send(rows).unwrap()));
                }
                Write::Acknowledge { id, reply } => {
                    let delete = sqlx::query(ACKNOWLEDGE);
                    let delete = delete.bind(id.as_bytes().to_vec()).bind(HOLDER.as_bytes().to_vec());
                    assert_eq!(connection.execute(delete).await.unwrap().rows_affected(), 1);
                    replies.push(Box::new(move || reply.send(()).unwrap()));
                }
                Write::Log { id, now, log, reply } => {
                    let update = sqlx::query(LOG).bind(now).bind(log).bind(now).bind(id.as_bytes().to_vec());
                    assert_eq!(connection.execute(update).await.unwrap().rows_affected(), 1);
                    replies.push(Box::new(move || reply.send(()).unwrap()));
                }
            }
        }
        connection.execute("COMMIT").await.unwrap();
        replies.into_iter().for_each(|reply| reply());
    }
}
