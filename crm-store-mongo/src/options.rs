//! How a database is connected to.

use std::{fmt, time::Duration};

use crm_core::store::{StoreError, StoreResult};
use mongodb::options::{
    ClientOptions, ConnectionString, HostInfo, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};

use crate::failure;

/// How many ids the conditions on related records may put into one filter: a command has 16 MiB, an id takes 29 bytes.
const RELATED: usize = 400_000;

/// How a database is connected to. Every setting has a default that fits.
#[derive(Clone)]
pub struct MongoOptions {
    connection: ConnectionString,
    pub(crate) database: String,
    /// Server and database, for sentences: without credentials.
    pub(crate) at: String,
    connections: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) operation_timeout: Duration,
    pub(crate) commit_deadline: Duration,
    pub(crate) related_ids: usize,
}

impl fmt::Debug for MongoOptions {
    /// Leaves out the URL, which can have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoOptions")
            .field("at", &self.at)
            .field("connections", &self.connections)
            .field("connect_timeout", &self.connect_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .field("commit_deadline", &self.commit_deadline)
            .finish_non_exhaustive()
    }
}

impl MongoOptions {
    /// The database that a URL such as `mongodb://crm:password@db.example.com/crm?replicaSet=rs0` or
    /// `mongodb+srv://crm:password@cluster.example.com/crm` names. What the URL says of read preference and of read and
    /// write concern is not used: the contract of a store decides that.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] for a URL that cannot be read or names no database. The sentence has no password.
    pub fn parse(url: &str) -> StoreResult<Self> {
        let unusable = |why: &str| {
            StoreError::Unusable(format!(
                "{why}: write mongodb://user:password@host:27017/crm?replicaSet=rs0, with user and password \
                 percent-encoded"
            ))
        };
        let connection = ConnectionString::parse(url).map_err(|error| {
            let told = error.to_string();
            // The driver may quote what it cannot read, and that may be a password.
            let secret = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
            let quotes =
                secret.is_some_and(|secret| secret.split(':').any(|part| !part.is_empty() && told.contains(part)));
            match error.kind.as_ref() {
                mongodb::error::ErrorKind::InvalidArgument { message, .. } if !quotes => {
                    unusable(&format!("the URL of a MongoDB database cannot be read ({message})"))
                }
                _ => unusable("the URL of a MongoDB database cannot be read"),
            }
        })?;
        let Some(database) = connection.default_database.clone().filter(|name| !name.is_empty()) else {
            return Err(unusable("the URL names no database"));
        };
        let hosts = match &connection.host_info {
            HostInfo::HostIdentifiers(hosts) => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            HostInfo::DnsRecord(host) => host.clone(),
            _ => "the server".to_owned(),
        };
        Ok(Self {
            at: format!("{hosts}/{database}"),
            database,
            connections: connection.max_pool_size.unwrap_or(64),
            connect_timeout: connection.server_selection_timeout.unwrap_or(Duration::from_secs(3)),
            connection,
            operation_timeout: Duration::from_secs(30),
            commit_deadline: Duration::from_secs(10),
            related_ids: RELATED,
        })
    }

    /// How many connections to each server there may be, at least 1. The default is `maxPoolSize` of the URL, else 64.
    #[must_use]
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// How long a call waits for a server that can be written to before it is [`StoreError::Unavailable`]. The default
    /// is `serverSelectionTimeoutMS` of the URL, else 3 seconds.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one command may take, on the server too, so that nothing goes on for somebody who has gone. The default
    /// is 30 seconds; streams take as long as their reader does.
    #[must_use]
    pub const fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// How long a commit is tried again that others, or a lost server, keep from happening. The default is 10 seconds.
    #[must_use]
    pub const fn commit_deadline(mut self, deadline: Duration) -> Self {
        self.commit_deadline = deadline;
        self
    }

    /// How many ids the conditions on related records may put into one command: fewer than fit, for tests of what becomes
    /// of more.
    #[doc(hidden)]
    #[must_use]
    pub fn related_ids(mut self, ids: usize) -> Self {
        self.related_ids = ids.clamp(1, RELATED);
        self
    }

    /// What the driver is told.
    pub(crate) async fn client_options(&self) -> StoreResult<ClientOptions> {
        let mut options =
            ClientOptions::parse(self.connection.clone()).await.map_err(|error| failure::starting(&self.at, error))?;
        options.app_name.get_or_insert_with(|| "crm".to_owned());
        options.max_pool_size = Some(self.connections);
        options.server_selection_timeout = Some(self.connect_timeout);
        options.connect_timeout.get_or_insert(self.connect_timeout);
        options.retry_reads = Some(true);
        options.retry_writes = Some(true);
        options.read_concern = Some(ReadConcern::majority());
        options.write_concern = Some(WriteConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers_and_databases() {
        let options =
            MongoOptions::parse("mongodb://ann:s%3Acret@a.example.com,b.example.com:27018/crm?replicaSet=x").unwrap();
        assert_eq!(options.database, "crm");
        assert_eq!(options.at, "a.example.com:27017,b.example.com:27018/crm");
        assert!(!format!("{options:?}").contains("s%3Acret") && !format!("{options:?}").contains("s:cret"));
        assert_eq!(MongoOptions::parse("mongodb+srv://c.example.com/crm").unwrap().at, "c.example.com/crm");
        let set = MongoOptions::parse("mongodb://h/crm?maxPoolSize=7&serverSelectionTimeoutMS=50").unwrap();
        assert_eq!((set.connections, set.connect_timeout), (7, Duration::from_millis(50)));
    }

    #[test]
    fn urls_that_cannot_be_read_are_told_without_the_password() {
        for url in [
            "postgres://x/crm",
            "mongodb://",
            "mongodb://host",
            "mongodb://host/",
            "mongodb://ann:sec/ret@host/crm",
            "mongodb://ann:sec%ret@host/crm",
            "mongodb://ann:secret@host/crm?maxPoolSize=secret",
            "mongodb://ann:secret@host:port/crm",
            "",
        ] {
            match MongoOptions::parse(url) {
                Err(StoreError::Unusable(sentence)) => {
                    assert!(!sentence.contains("sec") || sentence.contains("no database"), "{url}: {sentence}");
                }
                other => panic!("{url}: {other:?}"),
            }
        }
    }
}
