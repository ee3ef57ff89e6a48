//! Which database, by its URL.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crm_core::secret::Secret;

use super::parse;

/// The URLs that are known, for people.
pub(crate) const KNOWN: &str = "sqlite:PATH, postgres://… and mongodb://…";

/// Which database. Neither `Debug` nor `Display` shows a password.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// PostgreSQL at a URL.
    Postgres(Secret<String>),
    /// MongoDB at a URL.
    Mongo(Secret<String>),
}

impl Database {
    /// The database of a URL; the path of a file is relative to `folder`.
    ///
    /// # Errors
    /// A sentence that shows nothing of the URL, which may hold a password.
    pub(crate) fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let url = || Secret::new(text.to_owned());
        match scheme(text) {
            Some("sqlite") => parse::sqlite_path(text).map(|path| Self::Sqlite(folder.join(path))),
            Some("postgres" | "postgresql") if has_authority(text) => Ok(Self::Postgres(url())),
            Some("mongodb" | "mongodb+srv") if has_authority(text) => Ok(Self::Mongo(url())),
            Some("postgres" | "postgresql") => {
                Err("must be an address such as postgres://user:password@host:5432/database".to_owned())
            }
            Some("mongodb" | "mongodb+srv") => {
                Err("must be an address such as mongodb://user:password@host:27017/database?replicaSet=rs0".to_owned())
            }
            _ => Err(format!("names no engine that is known; known are {KNOWN}")),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engine, url) = match self {
            Self::Sqlite(path) => return path.display().fmt(f),
            Self::Postgres(url) => ("postgres", url),
            Self::Mongo(url) => ("mongodb", url),
        };
        write!(f, "{engine}://{}", place(url.expose()).unwrap_or("…"))
    }
}

/// What stands before the first colon, where it can be a scheme.
fn scheme(text: &str) -> Option<&str> {
    text.split_once(':').map(|(scheme, _)| scheme)
}

fn has_authority(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| !rest.is_empty())
}

/// The hosts and the database of a URL. Nothing where it is not certain which part of it is the password: a password
/// may hold any sign, although it should not.
fn place(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let rest = match rest.split_once('@') {
        Some((credentials, _)) if credentials.contains(['/', '?', '#']) => return None,
        Some((_, rest)) => rest,
        None => rest,
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (place, parameters) = rest.split_at(end);
    let hosts = place.split('/').next().unwrap_or_default();
    let plain = !place.is_empty() && !place.contains('@') && !parameters.contains('@') && hosts.split(',').all(is_host);
    plain.then_some(place)
}

/// A host, with a port or without; else what follows its colon may be a password whose host is missing.
fn is_host(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some(_) if text.ends_with(']') => true,
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_names_its_engine() {
        let folder = Path::new("/srv");
        for (text, engine) in [
            ("sqlite:crm.db", "Sqlite"),
            ("postgres://localhost/crm", "Postgres"),
            ("postgresql:///crm", "Postgres"),
            ("mongodb://localhost/crm", "Mongo"),
            ("mongodb+srv://cluster.example/crm", "Mongo"),
        ] {
            let database = Database::parse(text, folder).unwrap();
            assert!(format!("{database:?}").starts_with(engine), "{text}");
        }
        assert_eq!(Database::parse("sqlite:crm.db", folder).unwrap().to_string(), "/srv/crm.db");
        for text in ["", "crm.db", "mysql://localhost/crm", "postgres:crm", "postgres://", "mongodb:x", "://x"] {
            let sentence = Database::parse(text, folder).unwrap_err();
            assert!(sentence.contains("such as") || sentence.contains(KNOWN), "{text}: {sentence}");
        }
    }

    #[test]
    fn hosts_are_shown_and_passwords_are_not() {
        for (text, expected) in [
            ("postgres://localhost/crm", "postgres://localhost/crm"),
            ("postgresql://crm:hunter2@db.example:5433/crm?sslmode=require", "postgres://db.example:5433/crm"),
            ("postgres://db.example/crm?password=hunter2", "postgres://db.example/crm"),
            ("postgres://[::1]/crm", "postgres://[::1]/crm"),
            ("mongodb://u:hunter2@a:27017,b:27018/crm?replicaSet=rs0", "mongodb://a:27017,b:27018/crm"),
            ("postgres://u:hun/ter2@db.example/crm", "postgres://…"),
            ("postgres://u:hun?ter2@db.example/crm", "postgres://…"),
            ("postgres://u:hun@ter2@db.example/crm", "postgres://…"),
            ("postgres://u:hunter2/crm", "postgres://…"),
            ("mongodb://db.example/crm?password=x@hunter2", "mongodb://…"),
            ("mongodb://u:hunter2@", "mongodb://…"),
        ] {
            let database = Database::parse(text, Path::new("")).unwrap();
            assert_eq!(database.to_string(), expected, "{text}");
            assert!(!format!("{database:?}").contains("hunter2"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_password_of_any_signs_is_never_shown(password in "[a-zA-Z0-9/?#@:%,]{0,8}HUNTER[/?#@:%,]{0,4}") {
            let database = Database::parse(&format!("postgres://crm:{password}@db.example/crm"), Path::new("")).unwrap();
            prop_assert!(!database.to_string().contains("HUNTER"), "{}", database);
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            if let Ok(database) = Database::parse(&text, Path::new("")) {
                let _ = database.to_string();
            }
        }
    }
}
