use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::NoServer;

/// Starts what follows, and ends it when the pipe that it reads from is closed: by us, or by our end. A shell that
/// should wait for both cannot, so one waits for the pipe and this one for the server.
const SUPERVISE: &str = r#"
folder=$1 signal=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
echo "$server" > "$folder/server.pid"
( cat <&3 >/dev/null; kill -"$signal" "$server" 2>/dev/null ) &
exec 3<&-
wait "$server"
[ -e "$folder/keep" ] && exit
# Processes of the server may need a moment to let go.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  rm -rf "$folder" 2>/dev/null && exit
  sleep 0.1
done
"#;

/// A server process that ends when this value does, and when this process does.
#[derive(Debug)]
pub(crate) struct Supervised {
    shell: Child,
    folder: PathBuf,
    port: u16,
}

impl Supervised {
    /// Runs the command and waits until somebody listens on the port and it is `ready`. Its output goes to `server.log` in the folder,
    /// which is removed when the server has ended, unless a file named `keep` is in it.
    pub(crate) fn start(
        folder: &Path,
        port: u16,
        signal: &str,
        command: &[String],
        ready: impl Fn() -> bool,
    ) -> Result<Self, NoServer> {
        let _ = fs::remove_file(folder.join("keep"));
        let log = fs::File::options().create(true).append(true).open(folder.join("server.log"))?;
        let shell = Command::new("sh")
            .args(["-c", SUPERVISE, "supervise"])
            .arg(folder)
            .arg(signal)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // An interrupt from the terminal reaches us; the end of the pipe then reaches the server.
            .process_group(0)
            .spawn()?;
        let mut started = Self { shell, folder: folder.to_owned(), port };
        let deadline = Instant::now() + Duration::from_secs(180);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() || !ready() {
            let ended = started.shell.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                return Err(NoServer(format!(
                    "{} did not start:\n{}",
                    command.join(" "),
                    fs::read_to_string(folder.join("server.log")).unwrap_or_default()
                )));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }

    /// Kills the server at once (SIGKILL), as a crash does, and keeps its folder. Waits until it has let go.
    pub(crate) fn kill(mut self) -> Result<(), NoServer> {
        fs::write(self.folder.join("keep"), "")?;
        let server = fs::read_to_string(self.folder.join("server.pid"))?;
        let server = server.trim();
        // Processes of the server end a moment after it, and until then it refuses to start again.
        let processes: Vec<String> = std::iter::once(server.to_owned()).chain(children(server)).collect();
        Command::new("kill").arg("-KILL").args(&processes).stderr(Stdio::null()).status()?;
        self.shell.wait()?;
        while processes.iter().any(|process| parent(process).is_some()) {
            thread::sleep(Duration::from_millis(5));
        }
        self.until_port_is_free();
        Ok(())
    }

    /// Waits until nobody listens any more, half a minute at most: a process that the server has started may end after it.
    fn until_port_is_free(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
        self.until_port_is_free();
    }
}

/// The processes that a process has started, where the system tells.
fn children(process: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|other| parent(other).is_some_and(|parent| parent == process))
        .collect()
}

/// Who has started a process, while it runs.
fn parent(process: &str) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold spaces.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.next().filter(|_| !matches!(state, "Z" | "X")).map(str::to_owned)
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16, NoServer> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where the program is on the `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
