//! How a database is opened.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use crm_core::store::StoreError;
use sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};

/// How safe a commit is when it is answered.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Durability {
    /// It survives the loss of power: the disk has confirmed it. What [`crm_core::store::Store::commit`] promises.
    #[default]
    Full,
    /// It survives the death of the process; the last ones may be lost with the power. The file stays sound. For
    /// tests and for imports that can be run again.
    Process,
}

/// How a database is opened. Every setting has a default that fits.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    pub(crate) path: PathBuf,
    pub(crate) readers: usize,
    pub(crate) busy_timeout: Duration,
    pub(crate) durability: Durability,
    pub(crate) cache: usize,
    pub(crate) maximum_size: Option<u64>,
}

impl SqliteOptions {
    /// The database in this file, which is created where it is not there, with its folder.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            readers: std::thread::available_parallelism().map_or(4, NonZeroUsize::get).clamp(2, 8),
            busy_timeout: Duration::from_secs(5),
            durability: Durability::Full,
            cache: 4 * 1024 * 1024,
            maximum_size: None,
        }
    }

    /// The database that a URL such as `sqlite:data/crm.db` or `sqlite:///srv/crm.db` names.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] for another scheme, for parameters, and for databases in memory.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let unusable = |why: &str| Err(StoreError::Unusable(format!("{why}: write sqlite:path/to/file.db")));
        let Some(path) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) else {
            return unusable("the URL of an SQLite database begins with sqlite:");
        };
        if path.is_empty() || path.contains(":memory:") {
            return unusable("the database needs a file");
        }
        if path.contains('?') {
            return unusable("the URL of an SQLite database takes no parameters");
        }
        Ok(Self::new(path))
    }

    /// How many connections read at the same time, at least 1. The default is one for each processor, 2 to 8.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// How long to wait while another program holds the file. The default is 5 seconds.
    #[must_use]
    pub const fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How safe a commit is when it is answered. The default is [`Durability::Full`].
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many bytes of the file each connection keeps in memory. The default is 4 MiB; the operating
    /// system keeps more of it.
    #[must_use]
    pub const fn cache(mut self, bytes: usize) -> Self {
        self.cache = bytes;
        self
    }

    /// How large the file may become; writing beyond it fails as on a full disk. There is no limit by default.
    #[must_use]
    pub const fn maximum_size(mut self, bytes: u64) -> Self {
        self.maximum_size = Some(bytes);
        self
    }

    /// A connection that changes nothing by being opened.
    pub(crate) fn connection(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(256)
            .foreign_keys(true)
            .pragma("trusted_schema", "OFF")
            .pragma("temp_store", "MEMORY")
            .pragma("cache_size", format!("-{}", (self.cache / 1024).max(64)))
            .disable_statement_logging()
    }

    /// A connection that may create the file and writes.
    pub(crate) fn writer(&self) -> SqliteConnectOptions {
        let synchronous = match self.durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Process => SqliteSynchronous::Normal,
        };
        let mut options = self
            .connection()
            .create_if_missing(true)
            .synchronous(synchronous)
            // Fewer, larger checkpoints: a page that was written often goes to the file once.
            .pragma("wal_autocheckpoint", "4000")
            .pragma("journal_size_limit", "67108864")
            .thread_name(|_| "crm-sqlite-writer".to_owned());
        if let Some(bytes) = self.maximum_size {
            options = options.pragma("max_page_count", (bytes / 4096).max(1).to_string());
        }
        options
    }

    /// A connection that only reads.
    pub(crate) fn reader(&self) -> SqliteConnectOptions {
        self.connection()
            .pragma("query_only", "ON")
            .row_buffer_size(256)
            .thread_name(|number| format!("crm-sqlite-reader-{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files() {
        for (url, path) in [
            ("sqlite:crm.db", "crm.db"),
            ("sqlite://data/crm.db", "data/crm.db"),
            ("sqlite:///srv/crm.db", "/srv/crm.db"),
        ] {
            assert_eq!(SqliteOptions::from_url(url).unwrap().path, Path::new(path));
        }
        for url in ["postgres://x", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", ""] {
            assert!(matches!(SqliteOptions::from_url(url), Err(StoreError::Unusable(_))), "{url}");
        }
    }
}
