//! Programs that the tests run against: where they are, how they start, that they end.

use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The folder of the tools that `./dev setup` installs.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("BACKSTAY_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools"), PathBuf::from)
}

/// One of the tools. A test whose server is missing fails; it is never skipped.
pub(crate) fn tool(rel: &str) -> PathBuf {
    let path = tools().join(rel);
    assert!(path.exists(), "{} is missing: run ./dev setup", path.display());
    path
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Looks until it is so, or fails.
pub(crate) fn wait_until(what: &str, timeout: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {timeout:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A server. It ends when this is dropped, and also when the test process ends in any way:
/// a shell in between waits for the end of a pipe that only this process holds. When nobody
/// is left to remove the server's folder, as after a test that crashed, the shell does.
pub(crate) struct Daemon {
    shell: Child,
    pid_file: PathBuf,
    log: PathBuf,
}

const WATCH: &str = r#"
pid_file=$1; shift
"$@" & server=$!
echo "$server" > "$pid_file.new" && mv "$pid_file.new" "$pid_file"
cat > /dev/null
kill -TERM "$server" 2> /dev/null
tries=0
while kill -0 "$server" 2> /dev/null && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL "$server" 2> /dev/null
wait
kill -0 "$PPID" 2> /dev/null || rm -rf "${pid_file%/*}"
"#;

impl Daemon {
    /// Starts a server that writes what it prints to `NAME.log` in `dir`, a folder of
    /// its own.
    pub(crate) fn start(name: &str, dir: &Path, command: &Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let pid_file = dir.join(format!("{name}.pid"));
        let _ = std::fs::remove_file(&pid_file);
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", WATCH, "sh"]).arg(&pid_file);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        shell.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        // Away from the terminal: an interrupt must not end the shell before its server.
        let shell = shell.process_group(0).spawn().unwrap();
        wait_until(name, Duration::from_secs(20), || pid_file.exists());
        Self { shell, pid_file, log }
    }

    /// Looks until it is so, or fails with the end of what the server printed: at once when
    /// the server is gone.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        timeout: Duration,
        mut is_so: impl FnMut() -> bool,
    ) {
        let deadline = Instant::now() + timeout;
        while !is_so() {
            let gone = !Path::new("/proc").join(self.pid().to_string()).exists();
            let log = || {
                let bytes = std::fs::read(&self.log).unwrap_or_default();
                String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]).into_owned()
            };
            assert!(!gone, "{what}: the server has ended: {}", log());
            assert!(Instant::now() < deadline, "{what}: not within {timeout:?}: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The server's process, for tests that kill it.
    pub(crate) fn pid(&self) -> i32 {
        std::fs::read_to_string(&self.pid_file).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
