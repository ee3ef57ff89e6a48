use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{
    Durability, NoServer,
    supervised::{Supervised, free_port, on_path},
};

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    server: Option<Supervised>,
    folder: PathBuf,
    port: u16,
    command: Vec<String>,
}

impl Redis {
    /// A new, empty server. A durable one writes what it acknowledges to its file first (`appendfsync always`).
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn start(durability: Durability) -> Result<Self, NoServer> {
        let program = on_path("redis-server").ok_or_else(|| {
            NoServer("no Redis server found: install it with `sudo apt-get install redis-server`".to_owned())
        })?;
        // The shell that ends the server removes the folder.
        let folder = TempDir::with_prefix("crm-redis-")?.keep();
        let port = free_port()?;
        let (append, sync) = match durability {
            Durability::None => ("no", "no"),
            Durability::Full => ("yes", "always"),
        };
        let mut command = vec![program.display().to_string()];
        for (name, value) in [
            ("--port", port.to_string().as_str()),
            ("--bind", "127.0.0.1"),
            ("--dir", &folder.display().to_string()),
            ("--daemonize", "no"),
            ("--save", ""),
            ("--appendonly", append),
            ("--appendfsync", sync),
            ("--maxmemory-policy", "noeviction"),
        ] {
            command.extend([name.to_owned(), value.to_owned()]);
        }
        let server = Supervised::start(&folder, port, "TERM", &command, || is_ready(port))?;
        Ok(Self { server: Some(server), folder, port, command })
    }

    /// The URL of one of its 16 databases.
    #[must_use]
    pub fn url(&self, database: u8) -> String {
        format!("redis://127.0.0.1:{}/{database}", self.port)
    }

    /// Where the data is, until the server ends.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The port on the loopback address.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server as a crash does (SIGKILL).
    ///
    /// # Errors
    /// [`NoServer`] where it is not running.
    pub fn kill(&mut self) -> Result<(), NoServer> {
        self.server.take().ok_or_else(|| NoServer("the server is not running".to_owned()))?.kill()
    }

    /// Starts it again on its data, with the same URL.
    ///
    /// # Errors
    /// [`NoServer`] where it does not come back.
    pub fn start_again(&mut self) -> Result<(), NoServer> {
        let port = self.port;
        self.server = Some(Supervised::start(&self.folder, port, "TERM", &self.command, || is_ready(port))?);
        Ok(())
    }
}

/// Whether the server has read its data: until then it listens, and says that it is loading.
fn is_ready(port: u16) -> bool {
    use std::{
        io::{Read as _, Write as _},
        net::{Ipv4Addr, TcpStream},
        time::Duration,
    };

    let answer = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    answer().is_ok_and(|answer| &answer == b"+PONG")
}
