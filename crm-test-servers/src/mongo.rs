use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use tempfile::TempDir;

use crate::{
    Durability, NoServer,
    supervised::{Supervised, free_port, on_path},
};

const REPLICA_SET: &str = "rs0";

/// A MongoDB server, a replica set of one, or the one that `MONGODB_URL` names.
#[derive(Debug)]
pub struct Mongo {
    server: Option<Supervised>,
    start: Option<Start>,
    url: String,
}

#[derive(Debug)]
struct Start {
    folder: PathBuf,
    port: u16,
    command: Vec<String>,
}

impl Mongo {
    /// The server that `MONGODB_URL` names, else a new one.
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn start(durability: Durability) -> Result<Self, NoServer> {
        match std::env::var("MONGODB_URL") {
            Ok(url) if !url.is_empty() => Ok(Self { server: None, start: None, url }),
            _ => Self::start_own(durability),
        }
    }

    /// The one server of this process, started when it is first asked for. Nothing on it is durable.
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn shared() -> Result<&'static Self, &'static NoServer> {
        static SHARED: OnceLock<Result<Mongo, NoServer>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Durability::None)).as_ref()
    }

    /// A new server, also where `MONGODB_URL` names one: for tests that kill it.
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn start_own(durability: Durability) -> Result<Self, NoServer> {
        // One that stands in for MongoDB is told to be durable; MongoDB itself always is.
        Self::start_with(if durability == Durability::Full { &["MONGOGW_DURABLE=1"] } else { &[] })
    }

    /// A new server that sees these variables of the environment (`NAME=value`).
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn start_with(variables: &[&str]) -> Result<Self, NoServer> {
        let program =
            std::env::var_os("MONGOD_BIN").map(PathBuf::from).or_else(|| on_path("mongod")).ok_or_else(|| {
                NoServer(
                    "no MongoDB server found: install MongoDB 6 or newer (https://www.mongodb.com/docs/manual/administration/install-on-linux/), \
                     or name one by MONGOD_BIN=/path/to/mongod or MONGODB_URL=mongodb://…"
                        .to_owned(),
                )
            })?;
        // The shell that ends the server removes the folder.
        let folder = TempDir::with_prefix("crm-mongo-")?.keep();
        let port = free_port()?;
        let mut command = vec!["env".to_owned()];
        command.extend(variables.iter().map(|variable| (*variable).to_owned()));
        command.extend([program.display().to_string(), "--port".to_owned(), port.to_string(), "--dbpath".to_owned()]);
        command.push(folder.display().to_string());
        command.extend(["--bind_ip", "127.0.0.1", "--replSet", REPLICA_SET].map(str::to_owned));
        let server = Supervised::start(&folder, port, "TERM", &command, || times_ready(&folder) > 0)?;
        initiate(port);
        let url = format!("mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}&directConnection=true");
        Ok(Self { server: Some(server), start: Some(Start { folder, port, command }), url })
    }

    /// The URL of a database of that name, which need not exist.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        match self.url.split_once("/?") {
            Some((host, options)) => format!("{host}/{database}?{options}"),
            None => format!("{}/{database}", self.url.trim_end_matches('/')),
        }
    }

    /// Removes a database of a server that is somebody else's. One of ours goes with the server, which is faster.
    pub fn forget_database(&self, name: &str) {
        if self.start.is_some() {
            return;
        }
        let (url, name) = (self.url(name), name.to_owned());
        // A runtime of its own: the caller may be inside of one, or at its end.
        let removed = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { mongodb::Client::with_uri_str(url).await?.database(&name).drop().await })
        });
        // What cannot be removed is left.
        let _ = removed.join();
    }

    /// Where the data is, until the server ends, where it is ours.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.start.as_ref().map(|start| start.folder.as_path())
    }

    /// Kills the server as a crash does (SIGKILL).
    ///
    /// # Errors
    /// [`NoServer`] where it is not ours to kill.
    pub fn kill(&mut self) -> Result<(), NoServer> {
        self.server.take().ok_or_else(|| NoServer("the server is not ours, or not running".to_owned()))?.kill()
    }

    /// Starts it again on its data, with the same URL.
    ///
    /// # Errors
    /// [`NoServer`] where it does not come back.
    pub fn start_again(&mut self) -> Result<(), NoServer> {
        let start = self.start.as_ref().ok_or_else(|| NoServer("the server is not ours".to_owned()))?;
        let before = times_ready(&start.folder);
        let ready = || times_ready(&start.folder) > before;
        self.server = Some(Supervised::start(&start.folder, start.port, "TERM", &start.command, ready)?);
        Ok(())
    }
}

/// How often the server has said in its log that it is ready: who listens on the port may not answer yet.
fn times_ready(folder: &Path) -> usize {
    fs::read_to_string(folder.join("server.log")).map_or(0, |log| log.matches("Waiting for connections").count())
}

/// MongoDB itself wants to be told once that it is a set of one. What is one already says no, which is as good.
fn initiate(port: u16) {
    let Some(shell) = on_path("mongosh") else { return };
    let _ = Command::new(shell)
        .args(["--quiet", "--port", &port.to_string(), "--eval", "try { rs.initiate() } catch (e) {}"])
        .output();
}
