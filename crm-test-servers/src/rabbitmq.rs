use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    NoServer,
    supervised::{Supervised, free_port, on_path},
};

/// Runs the broker with a port mapper of its own, and ends both at once: what is in the folder is thrown away. A signal
/// cuts the first `wait` short, and the broker takes a moment to die: the last one waits until its port is free.
const RUN: &str = r#"
epmd -address 127.0.0.1 -port "$ERL_EPMD_PORT" & mapper=$!
"$@" & broker=$!
trap 'kill -KILL "$broker" "$mapper"' TERM
wait "$broker"
kill -KILL "$broker" "$mapper" 2>/dev/null
wait
"#;

/// A RabbitMQ broker, a node of its own that knows of no other. It writes what it confirms to its files first.
#[derive(Debug)]
pub struct RabbitMq {
    server: Option<Supervised>,
    folder: PathBuf,
    port: u16,
    command: Vec<String>,
}

impl RabbitMq {
    /// A new broker without queues.
    ///
    /// # Errors
    /// [`NoServer`] with what to install.
    pub fn start() -> Result<Self, NoServer> {
        let program = program()?;
        // The shell that ends the server removes the folder.
        let folder = TempDir::with_prefix("crm-rabbitmq-")?.keep();
        let (port, mapper_port, distribution_port) = (free_port()?, free_port()?, free_port()?);
        fs::write(
            folder.join("rabbitmq.conf"),
            format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\nlog.file = false\nlog.console = true\n\
                 log.console.level = warning\nraft.wal_max_size_bytes = 16777216\ndisk_free_limit.absolute = 16MB\n"
            ),
        )?;
        fs::write(folder.join("enabled_plugins"), "[].")?;
        let at = |name: &str| folder.join(name).display().to_string();
        // Every path and port that the scripts would otherwise take from the system's installation.
        let environment = [
            ("HOME", folder.display().to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", mapper_port.to_string()),
            ("RABBITMQ_NODENAME", format!("crm{port}@localhost")),
            ("RABBITMQ_NODE_PORT", port.to_string()),
            ("RABBITMQ_DIST_PORT", distribution_port.to_string()),
            ("RABBITMQ_CONF_ENV_FILE", at("no-rabbitmq-env.conf")),
            ("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", at("no-advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", at("config")),
            ("RABBITMQ_MNESIA_BASE", at("mnesia")),
            ("RABBITMQ_LOG_BASE", at("log")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_PID_FILE", at("broker.pid")),
            ("RABBITMQ_SCHEDULER_BIND_TYPE", "u".to_owned()),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none".to_owned(),
            ),
            // The script then becomes the broker, and its process is the one to kill.
            ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
        ];
        let mut command = vec!["env".to_owned(), "-u".to_owned(), "NOTIFY_SOCKET".to_owned()];
        command.extend(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.extend(["sh", "-c", RUN, "run"].map(str::to_owned));
        command.push(program.display().to_string());
        let server = Supervised::start(&folder, port, "TERM", &command, || true)?;
        Ok(Self { server: Some(server), folder, port, command })
    }

    /// The URL of its only virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
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

    /// Kills the broker as a crash does (SIGKILL).
    ///
    /// # Errors
    /// [`NoServer`] where it is not running.
    pub fn kill(&mut self) -> Result<(), NoServer> {
        self.server.take().ok_or_else(|| NoServer("the broker is not running".to_owned()))?.kill()
    }

    /// Starts it again on its data, with the same URL.
    ///
    /// # Errors
    /// [`NoServer`] where it does not come back.
    pub fn start_again(&mut self) -> Result<(), NoServer> {
        self.server = Some(Supervised::start(&self.folder, self.port, "TERM", &self.command, || true)?);
        Ok(())
    }
}

/// The script that starts a broker as whoever runs it: Debian's own on the `PATH` changes the account.
fn program() -> Result<PathBuf, NoServer> {
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/rabbitmq/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("sbin/rabbitmq-server"))
        .filter(|script| script.is_file())
        .collect();
    installed.sort();
    installed.pop().or_else(|| on_path("rabbitmq-server")).ok_or_else(|| {
        NoServer("no RabbitMQ broker found: install it with `sudo apt-get install rabbitmq-server`".to_owned())
    })
}
