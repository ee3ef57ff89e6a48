use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use crm_test_servers::{Mongo, Postgres};
use tempfile::TempDir;

/// Where the data is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Engine {
    /// The default, in a file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MongoDB.
    Mongo,
}

/// An empty folder to start in, and an empty database.
pub(crate) struct Place {
    folder: TempDir,
    url: Option<String>,
    /// Thrown away with this value; others go with their server.
    mongo: Option<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(name), Ok(server)) = (&self.mongo, Mongo::shared()) {
            server.forget_database(name);
        }
    }
}

impl Place {
    /// A new one, on the server that the stories of this process share.
    pub(crate) fn new(engine: Engine) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // Where the server is somebody's own, names must not meet those of another run.
        let name = format!("crm_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let url = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => {
                let server = Postgres::shared().unwrap_or_else(|error| panic!("{error}"));
                server.create_database(&name).expect("a new database");
                Some(server.url(&name))
            }
            Engine::Mongo => Some(Mongo::shared().unwrap_or_else(|error| panic!("{error}")).url(&name)),
        };
        let mut place = Self::at(url);
        place.mongo = (engine == Engine::Mongo).then_some(name);
        place
    }

    /// A new folder, and the database at a URL.
    pub(crate) fn at(url: Option<String>) -> Self {
        Self { folder: TempDir::new().expect("a folder"), url, mongo: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The settings that lead to the database.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.url.iter().map(|url| ("DATABASE_URL", url.as_str()))
    }
}
