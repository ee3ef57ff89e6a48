//! How a database is reached.

use std::{fmt, num::NonZeroUsize, str::FromStr as _, time::Duration};

use crm_core::store::{StoreError, StoreResult};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};

/// The name under which the server's views show our connections, where the URL gives none.
const APPLICATION: &str = "crm";

/// How a database is reached. Every setting has a default that fits.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(crate) connect: PgConnectOptions,
    pub(crate) pool: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) statement_timeout: Duration,
}

impl PostgresOptions {
    /// The database that a URL such as `postgres://crm:secret@db.example.com/crm?sslmode=verify-full` names. What it
    /// leaves out comes from `PGHOST` and the other variables of PostgreSQL's own programs.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] for another scheme and for what is no URL. The sentence never has the password.
    pub fn parse(url: &str) -> StoreResult<Self> {
        let unusable =
            |why: &str| Err(StoreError::Unusable(format!("{why}: write postgres://user:password@host/database")));
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return unusable("the URL of a PostgreSQL database begins with postgres://");
        }
        let Ok(connect) = PgConnectOptions::from_str(url) else {
            return unusable("the URL of the PostgreSQL database cannot be read");
        };
        let named = connect.get_application_name().is_some();
        let connect = if named { connect } else { connect.application_name(APPLICATION) };
        Ok(Self {
            connect: connect.statement_cache_capacity(500).disable_statement_logging(),
            pool: std::thread::available_parallelism().map_or(4, NonZeroUsize::get).saturating_mul(8).clamp(32, 64),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        })
    }

    /// How many connections are opened at most, at least 2. The default is eight for each processor, 32
    /// to 64. Streams use half of them at most.
    #[must_use]
    pub fn pool(mut self, connections: usize) -> Self {
        self.pool = connections.max(2);
        self
    }

    /// How long to wait for a connection, a new one or one that others have. The default is 5 seconds.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the server may work on one statement before it ends it: a caller that went away long ago does not keep
    /// the server busy. Where nothing is heard of the server five seconds later, the connection counts as lost. The
    /// default is 30 seconds; zero is no limit. Streams and migrations take as long as they take.
    #[must_use]
    pub const fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// The database's name.
    pub(crate) fn database(&self) -> &str {
        self.connect.get_database().unwrap_or_else(|| self.connect.get_username())
    }

    /// The server, for people.
    pub(crate) fn server(&self) -> String {
        match self.connect.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", self.connect.get_host(), self.connect.get_port()),
        }
    }
}

impl fmt::Debug for PostgresOptions {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("server", &self.server())
            .field("database", &self.database())
            .field("user", &self.connect.get_username())
            .field("pool", &self.pool)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_databases() {
        for url in [
            "postgres://u:hidden@db.example.com:5433/crm",
            "postgresql://u:hidden@db.example.com:5433/crm?sslmode=require",
        ] {
            let options = PostgresOptions::parse(url).unwrap();
            assert_eq!((options.server().as_str(), options.database()), ("db.example.com:5433", "crm"));
            assert!(!format!("{options:?}").contains("hidden"));
        }
        for url in ["mysql://x", "", "postgres://u:hidden@host:port/crm", "postgres://u:hidden@h/d?sslmode=hidden"] {
            match PostgresOptions::parse(url) {
                Err(StoreError::Unusable(sentence)) => assert!(!sentence.contains("hidden"), "{sentence}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }
}
