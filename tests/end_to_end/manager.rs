//! A database pod's manager as a process of its own: it answers each request with what
//! mariadb-backup streams at that moment, and it can be killed in the middle.

use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};

use crate::{
    authority::{Authority, Identity},
    home::{Home, strs},
    https_server::{asked, begin, end, piece, source},
    ledger,
    mariadb::{MariaDb, PASSWORD, short_dir},
    served::Served,
    tools::{Daemon, wait_until},
};

const FOLDER: &str = "TEST_MANAGER_FOLDER";
const KILLED_AT: &str = "TEST_MANAGER_KILLED_AT";
/// Set: not the manager is killed there but its engine, and the manager hides it.
const LIES: &str = "TEST_MANAGER_LIES";

/// The process; it ends when dropped.
pub(crate) struct Manager {
    daemon: Daemon,
    _dir: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Manager {
    /// Serves backups of the server; killed by SIGKILL once so many bytes of a stream were sent.
    pub(crate) fn start(authority: &Authority, socket: &Path, killed_at: Option<u64>) -> Self {
        Self::start_with(authority, socket, killed_at, false)
    }

    /// The same; with `lies` its engine is killed there, a text is appended, and HTTP ends as if all were well.
    fn start_with(
        authority: &Authority,
        socket: &Path,
        killed_at: Option<u64>,
        lies: bool,
    ) -> Self {
        let dir = short_dir();
        authority.sign(dir.path(), "server", "127.0.0.1");
        let options = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(dir.path().join("engine.cnf"));
        let text =
            format!("[client]\nuser=root\npassword='{PASSWORD}'\nsocket={}\n", socket.display());
        std::io::Write::write_all(&mut options.unwrap(), text.as_bytes()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "manager::the_process", "--ignored", "--nocapture"]);
        command.env(FOLDER, dir.path());
        if let Some(bytes) = killed_at {
            command.env(KILLED_AT, bytes.to_string());
        }
        if lies {
            command.env(LIES, "1");
        }
        let daemon = Daemon::start("manager", dir.path(), &command);
        let port = dir.path().join("port");
        wait_until("the manager listens", Duration::from_secs(30), || port.exists());
        let port = fs::read_to_string(port).unwrap().parse().unwrap();
        Self { daemon, _dir: dir, port }
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&self) -> bool {
        kill_process(rustix::process::Pid::from_raw(self.daemon.pid()).unwrap(), Signal::CONT)
            .is_ok()
    }
}

#[test]
#[ignore = "run by other tests, as a process that they can kill"]
fn the_process() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let lies = std::env::var_os(LIES).is_some();
    let killed_at: u64 = std::env::var(KILLED_AT).map_or(u64::MAX, |text| text.parse().unwrap());
    let config = Identity::at(&folder, "server").server_config();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(folder.join("port.new"), listener.local_addr().unwrap().port().to_string()).unwrap();
    fs::rename(folder.join("port.new"), folder.join("port")).unwrap();
    for socket in listener.incoming().map_while(Result::ok) {
        let Ok(Some(mut tls)) = asked(socket, config.clone()) else { continue };
        let scratch = tempfile::tempdir_in(&folder).unwrap();
        let mut engine = Command::new("mariadb-backup")
            .arg(format!("--defaults-file={}", folder.join("engine.cnf").display()))
            .args(["--backup", "--stream=xbstream"])
            .arg(format!("--target-dir={}", scratch.path().join("engine").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut out, mut buffer) = (engine.stdout.take().unwrap(), vec![0; 32 << 10]);
        let mut left = killed_at;
        let mut told = begin(&mut tls);
        while let (Ok(()), Ok(count @ 1..)) = (&told, out.read(&mut buffer)) {
            let send = usize::try_from(left).unwrap_or(usize::MAX).min(count);
            told = piece(&mut tls, &buffer[..send]);
            left -= send as u64;
            if left == 0 && lies {
                engine.kill().unwrap();
                let _ = piece(&mut tls, b"\nERROR: backup failed: signal: killed\n");
                let _ = end(&mut tls);
                break;
            }
            if left == 0 {
                kill_process(getpid(), Signal::KILL).unwrap();
            }
        }
        drop(out);
        if engine.wait().unwrap().success() {
            let _ = end(&mut tls);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_is_killed_in_a_live_stream_leaves_nothing_listed() {
    let mut chance = crate::chance::Chance::seeded();
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 8).await;
    let (home, authority) = (Home::file(), Authority::new());
    authority.sign(home.dir.path(), "client", "client");
    let writer = ledger::Writer::start(&server.socket);
    let args = |port: u16| {
        let mut args = source(&home, "127.0.0.1", port, "client", "mariadb-backup");
        args.extend(["--id".to_owned(), "live".to_owned()]);
        args
    };
    let turns = if crate::chance::soak() { 20 } else { 4 };
    for _ in 0..turns {
        // The data alone is more, so this is never behind the stream's end.
        let killed_at = 1 + chance.below(8 << 20);
        let manager = Manager::start(&authority, &server.socket, Some(killed_at));
        let done = home.run(&strs(&args(manager.port))).expect(4).says("stream");
        assert_eq!(done.json()["kind"], "source");
        assert!(!manager.is_alive(), "the manager was not killed at {killed_at}");
        assert_eq!(home.listed(), Vec::<String>::new(), "killed at {killed_at}");
    }
    let manager = Manager::start(&authority, &server.socket, None);
    let done = home.run(&strs(&args(manager.port))).expect(0).json();
    assert_eq!((&done["status"], &done["proof"]), (&"complete".into(), &"framing".into()));
    assert!(done["bytes_read"].as_u64().unwrap() > 8 << 20);
    writer.stop().await;
    let datadir = home.restore("live", "new");
    let restored = Served::over(backstay::model::Flavor::Mariadb, &datadir);
    assert!(ledger::check(&restored.socket).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_ends_a_failed_stream_like_a_whole_one_is_not_believed() {
    let mut chance = crate::chance::Chance::seeded();
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    ledger::ballast(&server.socket, 8).await;
    let (home, authority) = (Home::file(), Authority::new());
    authority.sign(home.dir.path(), "client", "client");
    for _ in 0..if crate::chance::soak() { 20 } else { 4 } {
        let killed_at = 1 + chance.below(8 << 20);
        let manager = Manager::start_with(&authority, &server.socket, Some(killed_at), true);
        let args = source(&home, "127.0.0.1", manager.port, "client", "mariadb-backup");
        let done = home.run(&strs(&args)).expect(4).says("stream").json();
        assert_eq!((&done["kind"], &done["status"]), (&"source".into(), &"failed".into()));
        // To HTTP all was well: 200, and the last chunk.
        let files = crate::authority::Identity::at(home.dir.path(), "client");
        let got = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code} %{size_download}", "--cacert"])
            .arg(files.ca)
            .arg("--cert")
            .arg(files.certificate)
            .arg("--key")
            .arg(files.key)
            .arg(format!("https://127.0.0.1:{}/cluster/backup", manager.port))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&got.stdout);
        assert!(got.status.success() && said.starts_with("200 "), "{got:?}");
        assert!(manager.is_alive());
        assert_eq!(home.listed(), Vec::<String>::new(), "killed at {killed_at}");
    }
}
