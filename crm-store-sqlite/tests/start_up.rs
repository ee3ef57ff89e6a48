//! What a start says when the file cannot be used, and that it leaves the file alone.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::{fs, path::Path};

use crm_core::{
    crm::collections,
    store::{Store as _, StoreError},
};
use crm_store_sqlite::{SqliteOptions, SqliteStore};
use sqlx::{Connection as _, Executor as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

/// Opens and migrates; answers the sentence.
async fn sentence(options: SqliteOptions) -> String {
    let refused = match SqliteStore::open_with(options).await {
        Ok(store) => store.migrate(collections(), &|_, _, _| {}).await,
        Err(error) => Err(error),
    };
    match refused {
        Err(StoreError::Unusable(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path).create_if_missing(true)).await.unwrap()
}

async fn whole(path: &Path) {
    let mut connection = raw(path).await;
    let row = connection.fetch_one("PRAGMA integrity_check").await.unwrap();
    assert_eq!(row.get::<String, _>(0), "ok");
}

#[tokio::test]
async fn folders_are_made() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/b/crm.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    store.health().await.unwrap();
    store.close().await;
    assert!(path.exists());
    assert!(!folder.path().join("a/b/crm.db-wal").exists(), "one file is all there is after closing");
    assert!(matches!(store.health().await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let said = sentence(SqliteOptions::new(file.join("sub/crm.db"))).await;
    assert!(said.contains("cannot be made") && said.contains("file/sub"), "{said}");
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_named() {
    let folder = TempDir::new().unwrap();
    let said = sentence(SqliteOptions::new(folder.path())).await;
    assert!(said.contains("cannot be read"), "{said}");
}

#[tokio::test]
async fn another_kind_of_file_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "Remember the milk, and everything else.").unwrap();
    let said = sentence(SqliteOptions::new(&path)).await;
    assert!(said.contains("not a database of this program"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "Remember the milk, and everything else.");
}

#[tokio::test]
async fn somebody_elses_database_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("other.db");
    let mut other = raw(&path).await;
    other.execute("CREATE TABLE songs (title TEXT)").await.unwrap();
    other.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    let said = sentence(SqliteOptions::new(&path)).await;
    assert!(said.contains("not a database of this program"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

async fn migrated(path: &Path) {
    let store = SqliteStore::open(path).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    migrated(&path).await;
    let mut newer = raw(&path).await;
    newer.execute("PRAGMA user_version = 1000").await.unwrap();
    newer.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    newer.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    let said = sentence(SqliteOptions::new(&path)).await;
    assert!(said.contains("newer program") && said.contains("1000"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_file_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    migrated(&path).await;
    let mut bytes = fs::read(&path).unwrap();
    // The page of the schema, behind the header.
    bytes[100..4096].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let said = sentence(SqliteOptions::new(&path)).await;
    assert!(said.contains("damaged"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_cut_file_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    migrated(&path).await;
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..60]).unwrap();
    let said = sentence(SqliteOptions::new(&path)).await;
    assert!(said.contains("damaged") || said.contains("not a database"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), bytes[..60]);
}

#[tokio::test]
async fn a_locked_file_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    migrated(&path).await;
    let mut other = raw(&path).await;
    other.execute("PRAGMA locking_mode = EXCLUSIVE").await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let said = sentence(SqliteOptions::new(&path).busy_timeout(std::time::Duration::from_millis(20))).await;
    assert!(said.contains("locked by another program"), "{said}");
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    whole(&path).await;
}

#[tokio::test]
async fn a_full_disk_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    let said = sentence(SqliteOptions::new(&path).maximum_size(20 * 4096)).await;
    assert!(said.contains("full"), "{said}");
    // Nothing half done is left: with room the start succeeds.
    whole(&path).await;
    migrated(&path).await;
}

#[tokio::test]
async fn two_starts_at_once_both_succeed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    let (one, other) = tokio::join!(SqliteStore::open(&path), SqliteStore::open(&path));
    let (one, other) = (one.unwrap(), other.unwrap());
    let (first, second) =
        tokio::join!(one.migrate(collections(), &|_, _, _| {}), other.migrate(collections(), &|_, _, _| {}));
    first.unwrap();
    second.unwrap();
    one.close().await;
    other.close().await;
    whole(&path).await;
}

#[tokio::test]
async fn a_backup_is_whole_and_never_overwrites() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("crm.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.migrate(collections(), &|_, _, _| {}).await.unwrap();
    let copy = folder.path().join("backups/monday's copy.db");
    store.backup(&copy).await.unwrap();
    assert!(matches!(store.backup(&copy).await, Err(StoreError::Unusable(_))));
    store.close().await;
    whole(&copy).await;
    SqliteStore::open(&copy).await.unwrap().migrate(collections(), &|_, _, _| {}).await.unwrap();
}
