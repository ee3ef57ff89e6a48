use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crm_core::{
    crm::collections,
    store::{SharedStore, Store, memory::MemoryStore},
};
use crm_store_mongo::MongoStore;
use crm_store_postgres::PostgresStore;
use crm_store_sqlite::SqliteStore;
use crm_test_servers::{Mongo, Postgres};
use tempfile::TempDir;
use tokio::{sync::OnceCell, task::block_in_place};

/// A store that every story is told on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoreKind {
    /// The reference, in memory.
    Memory,
    /// The default, in a file.
    Sqlite,
    /// PostgreSQL, on a server that the stories of this process share.
    Postgres,
    /// MongoDB, likewise.
    Mongo,
}

/// A database of a story's own, thrown away with this value. It can be opened any number of times.
pub(crate) enum Place {
    Memory(Arc<MemoryStore>),
    Sqlite(TempDir),
    Postgres(String),
    Mongo(String),
}

impl Place {
    /// An empty one.
    pub(crate) async fn new(kind: StoreKind) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // Where the server is somebody's own, names must not meet those of another run.
        let name = format!("story_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match kind {
            StoreKind::Memory => Self::Memory(Arc::new(MemoryStore::new())),
            StoreKind::Sqlite => {
                let folder = TempDir::new().expect("a folder for the store");
                fs::write(file_in(folder.path()), sqlite_template().await).expect("a copy of the template");
                Self::Sqlite(folder)
            }
            StoreKind::Postgres => {
                let template = postgres_template().await;
                block_in_place(|| postgres().copy_database(template, &name)).expect("a copy of the template");
                Self::Postgres(name)
            }
            StoreKind::Mongo => Self::Mongo(name),
        }
    }

    /// The store on it, brought to this version.
    pub(crate) async fn open(&self) -> SharedStore {
        let store: SharedStore = match self {
            Self::Memory(store) => Arc::clone(store) as SharedStore,
            Self::Sqlite(folder) => Arc::new(open_sqlite(folder.path()).await),
            Self::Postgres(name) => Arc::new(open_postgres(name).await),
            Self::Mongo(name) => Arc::new(MongoStore::connect(&mongo().url(name)).await.expect("a database")),
        };
        migrate(&*store).await;
        store
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self {
            Self::Memory(_) | Self::Sqlite(_) => {}
            // What cannot be dropped goes with the server.
            Self::Postgres(name) => drop(postgres().drop_database(name)),
            Self::Mongo(name) => mongo().forget_database(name),
        }
    }
}

async fn migrate(store: &dyn Store) {
    store.migrate(collections(), &|_, _, _| ()).await.expect("the database is brought to this version");
}

async fn open_sqlite(folder: &Path) -> SqliteStore {
    SqliteStore::open(file_in(folder)).await.expect("a database")
}

fn file_in(folder: &Path) -> PathBuf {
    folder.join("crm.db")
}

/// A file with the tables and without records, which is copied for each story: faster than making them anew.
async fn sqlite_template() -> &'static [u8] {
    static MADE: OnceCell<Vec<u8>> = OnceCell::const_new();
    let made = MADE.get_or_init(async || {
        let folder = TempDir::new().expect("a folder for the template");
        let store = open_sqlite(folder.path()).await;
        migrate(&store).await;
        // What lies beside the file is brought into it.
        store.close().await;
        fs::read(file_in(folder.path())).expect("the template")
    });
    made.await
}

async fn open_postgres(database: &str) -> PostgresStore {
    PostgresStore::connect(&postgres().url(database)).await.expect("a database")
}

/// The same on PostgreSQL: a database.
async fn postgres_template() -> &'static str {
    const NAME: &str = "story_template";
    static MADE: OnceCell<()> = OnceCell::const_new();
    MADE.get_or_init(async || {
        block_in_place(|| postgres().create_database(NAME)).expect("a new database");
        let store = open_postgres(NAME).await;
        migrate(&store).await;
        // A database that somebody is connected to cannot be copied.
        store.close().await;
    })
    .await;
    NAME
}

fn postgres() -> &'static Postgres {
    block_in_place(Postgres::shared).unwrap_or_else(|error| panic!("{error}"))
}

fn mongo() -> &'static Mongo {
    block_in_place(Mongo::shared).unwrap_or_else(|error| panic!("{error}"))
}
