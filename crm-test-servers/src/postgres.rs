use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::{
    Durability, NoServer,
    supervised::{Supervised, free_port, on_path},
};

/// The account and the database that a new cluster begins with.
const SUPERUSER: &str = "postgres";

/// A PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Supervised>,
    folder: PathBuf,
    port: u16,
    command: Vec<String>,
}

impl Postgres {
    /// A new server on an empty cluster, with more of `settings` (`name=value`).
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn start(durability: Durability, settings: &[&str]) -> Result<Self, NoServer> {
        let programs = programs()?;
        // The shell that ends the server removes the folder.
        let folder = TempDir::with_prefix("crm-postgres-")?.keep();
        let data = folder.join("data");
        fs::create_dir(&data)?;
        let as_owner = as_owner(&data)?;
        let mut initdb = as_owner.clone();
        initdb.push(programs.join("initdb").display().to_string());
        initdb.extend(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"].map(str::to_owned));
        initdb.extend([format!("--username={SUPERUSER}"), format!("--pgdata={}", data.display())]);
        let made = Command::new(&initdb[0]).args(&initdb[1..]).current_dir(&data).output()?;
        if !made.status.success() {
            return Err(NoServer(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr))));
        }
        let port = free_port()?;
        let mut command = as_owner;
        command.push(programs.join("postgres").display().to_string());
        command.extend(["-D".to_owned(), data.display().to_string(), "-p".to_owned(), port.to_string()]);
        let mut set = |setting: &str| command.extend(["-c".to_owned(), setting.to_owned()]);
        set("listen_addresses=127.0.0.1");
        set("unix_socket_directories=");
        // Tests that run side by side each have pools of their own.
        set("max_connections=400");
        set("shared_buffers=256MB");
        if durability == Durability::None {
            set("fsync=off");
            set("synchronous_commit=off");
            set("full_page_writes=off");
        }
        settings.iter().for_each(|setting| set(setting));
        let server = Supervised::start(&folder, port, "INT", &command, || is_ready(&folder))?;
        Ok(Self { server: Some(server), folder, port, command })
    }

    /// The URL of a database of that name.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The one server of this process, started when it is first asked for. Nothing on it is durable.
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn shared() -> Result<&'static Self, &'static NoServer> {
        static SHARED: OnceLock<Result<Postgres, NoServer>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Durability::None, &[])).as_ref()
    }

    /// Makes a database of that name, by PostgreSQL's own means.
    ///
    /// # Errors
    /// [`NoServer`] where there is one already.
    pub fn create_database(&self, name: &str) -> Result<(), NoServer> {
        self.run("createdb", &[name])
    }

    /// Makes a database as a copy of another one, to which nobody is connected.
    ///
    /// # Errors
    /// [`NoServer`] where that cannot be.
    pub fn copy_database(&self, template: &str, name: &str) -> Result<(), NoServer> {
        self.run("createdb", &["--template", template, name])
    }

    /// Removes a database, also under those who are connected to it.
    ///
    /// # Errors
    /// [`NoServer`] where it is not there.
    pub fn drop_database(&self, name: &str) -> Result<(), NoServer> {
        self.run("dropdb", &["--force", name])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), NoServer> {
        let ran = Command::new(programs()?.join(program))
            .args(["--host=127.0.0.1", "--username", SUPERUSER, "--port", &self.port.to_string()])
            .args(arguments)
            .output()?;
        if ran.status.success() {
            Ok(())
        } else {
            Err(NoServer(String::from_utf8_lossy(&ran.stderr).trim().to_owned()))
        }
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
        self.server =
            Some(Supervised::start(&self.folder, self.port, "INT", &self.command, || is_ready(&self.folder))?);
        Ok(())
    }
}

/// Whether the server has recovered and takes connections: it says so in the last line of its own file.
fn is_ready(folder: &Path) -> bool {
    fs::read_to_string(folder.join("data/postmaster.pid"))
        .is_ok_and(|text| text.lines().last().is_some_and(|state| state.trim() == "ready"))
}

/// The folder with `initdb` and `postgres`: Debian's newest, else the one on the `PATH`.
fn programs() -> Result<PathBuf, NoServer> {
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| folder.join("postgres").is_file())
        .collect();
    installed.sort();
    let newest = installed.pop().map(|(_, folder)| folder);
    newest.or_else(|| Some(on_path("postgres")?.parent()?.to_owned())).ok_or_else(|| {
        NoServer("no PostgreSQL server found: install it with `sudo apt-get install postgresql`".to_owned())
    })
}

/// PostgreSQL refuses to run as root: what must stand before its commands, once `data` belongs to another account.
fn as_owner(data: &Path) -> Result<Vec<String>, NoServer> {
    let user = Command::new("id").arg("-u").output()?;
    if String::from_utf8_lossy(&user.stdout).trim() != "0" {
        return Ok(Vec::new());
    }
    let account = ["postgres", "nobody"]
        .into_iter()
        .find(|account| Command::new("id").arg(account).output().is_ok_and(|found| found.status.success()))
        .ok_or_else(|| NoServer("PostgreSQL does not run as root, and there is no account `postgres`".to_owned()))?;
    if let Some(folder) = data.parent() {
        // The other account may pass through it, no more.
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    }
    Command::new("chown").arg(account).arg(data).status()?;
    Ok(["setpriv", "--reuid", account, "--regid", account, "--clear-groups"].map(str::to_owned).to_vec())
}
