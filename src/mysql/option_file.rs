//! Credentials on their way to an engine: a file that only we can read, for as long as it is needed.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::{ConnectOptions, Endpoint, MysqlError, Tls, TlsMode};

/// The groups that the engines and clients read.
const GROUPS: [&str; 3] = ["client", "xtrabackup", "mariadb-backup"];

/// An option file with mode 0600. Removed when dropped.
#[derive(Debug)]
pub struct OptionFile {
    path: PathBuf,
    /// Held while it is in use: a file that nobody holds was left by a job that was killed.
    _held: fs::File,
}

impl OptionFile {
    /// Writes user, password, endpoint and TLS into a new file: below `/dev/shm` when that is
    /// memory and can be written to, else below `fallback`, which should be memory too.
    ///
    /// # Errors
    /// When a value cannot stand in an option file (it holds a line end or a NUL), or the file cannot be written.
    pub fn write(options: &ConnectOptions, fallback: &Path) -> Result<Self, MysqlError> {
        let text = render(options)?;
        let shm = Path::new("/dev/shm");
        if is_memory(shm)
            && let Ok(file) = Self::create(shm, &text)
        {
            return Ok(file);
        }
        Self::create(fallback, &text)
    }

    /// Where it is: the value of `--defaults-file=`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn create(folder: &Path, text: &str) -> Result<Self, MysqlError> {
        remove_left_behind(folder);
        let mut random = [0; 12];
        let path = getrandom::fill(&mut random)
            .map(|()| folder.join(format!("backstay-{}.cnf", hex::encode(random))));
        let failed = |path: &Path, source| MysqlError::File {
            doing: "writing the option file",
            path: path.to_owned(),
            source,
        };
        let path = path.map_err(|e| failed(folder, std::io::Error::other(e.to_string())))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| failed(&path, e))?;
        // A sweeper may take the file between its creation and this lock; the engine then says so.
        let held = file.try_clone().map_err(|e| failed(&path, e))?;
        let locked = rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive);
        let written = Self { path, _held: held }; // from here on it is removed, whatever happens
        locked.map_err(|e| failed(&written.path, e.into()))?;
        file.write_all(text.as_bytes()).map_err(|e| failed(&written.path, e))?;
        Ok(written)
    }
}

/// Removes option files of jobs that were killed before they could: SIGKILL leaves no time.
/// What belongs to others, or is in use, is left alone.
fn remove_left_behind(folder: &Path) {
    let Ok(list) = fs::read_dir(folder) else { return };
    for path in list.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let random = name.strip_prefix("backstay-").and_then(|rest| rest.strip_suffix(".cnf"));
        if random.is_none() {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::open(&path, flags, Mode::empty())
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && fs::remove_file(&path).is_ok()
        {
            tracing::info!(path = %path.display(), "removed an option file that a killed job had left behind");
        }
    }
}

impl Drop for OptionFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(
                "removing the option file {}: {error}: remove it by hand, it holds a password",
                self.path.display()
            );
        }
    }
}

fn is_memory(folder: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    rustix::fs::statfs(folder)
        .is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|kind| matches!(kind, TMPFS | RAMFS)))
}

fn render(options: &ConnectOptions) -> Result<Zeroizing<String>, MysqlError> {
    let mut lines = vec![("user", Zeroizing::new(options.user.clone()))];
    if let Some(password) = &options.password {
        lines.push(("password", Zeroizing::new(password.expose_secret().to_owned())));
    }
    let path = |p: &Path| Zeroizing::new(p.to_string_lossy().into_owned());
    match &options.endpoint {
        Endpoint::Socket(socket) => lines.push(("socket", path(socket))),
        Endpoint::Tcp { port, .. } => {
            lines.push(("port", Zeroizing::new(port.to_string())));
            let tls = &options.tls;
            // MariaDB's programs verify against a CA that they are given, whether told to or not.
            let ca = tls.ca.as_ref().filter(|_| tls.mode.verifies());
            for (name, file) in
                [("ssl-ca", ca), ("ssl-cert", tls.cert.as_ref()), ("ssl-key", tls.key.as_ref())]
            {
                if let Some(file) = file {
                    lines.push((name, path(file)));
                }
            }
        }
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    for group in GROUPS {
        let _ = writeln!(text, "[{group}]");
        for (name, value) in &lines {
            let _ = writeln!(text, "{name}={}", quote(name, value)?.as_str());
        }
        if let Endpoint::Tcp { host, .. } = &options.endpoint {
            let _ = writeln!(text, "host={}", quote("host", reached_by_tcp(group, host))?.as_str());
            if group == "mariadb-backup" {
                text.push_str("protocol=tcp\n");
            }
            text.push_str(tls_lines(group, &options.tls));
        }
    }
    Ok(text)
}

/// How a program is told a host, so that it takes the port and not the socket that `localhost`
/// means. XtraBackup (8.0.14) has no option for that, and so does not see the name `localhost`.
fn reached_by_tcp<'a>(group: &str, host: &'a str) -> &'a str {
    if host == "localhost" && group != "mariadb-backup" { "127.0.0.1" } else { host }
}

/// The flavors spell the demand differently, and refuse each other's spelling: `loose-` makes a
/// program skip what it does not know. A skipped demand is caught by our own connection,
/// which is made first and with the same demand.
fn tls_lines(group: &str, tls: &Tls) -> &'static str {
    match (group, tls.mode) {
        ("mariadb-backup", TlsMode::Disabled) => "loose-skip-ssl\n",
        ("mariadb-backup", TlsMode::Preferred) => "",
        ("mariadb-backup", TlsMode::Required) => "loose-ssl\n",
        // This verifies the name as well; without it, a CA that is given is still verified against.
        ("mariadb-backup", TlsMode::VerifyCa) if tls.ca.is_some() => "loose-ssl\n",
        ("mariadb-backup", TlsMode::VerifyCa | TlsMode::VerifyIdentity) => {
            "loose-ssl\nloose-ssl-verify-server-cert\n"
        }
        (_, TlsMode::Disabled) => "loose-ssl-mode=DISABLED\n",
        (_, TlsMode::Preferred) => "loose-ssl-mode=PREFERRED\n",
        (_, TlsMode::Required) => "loose-ssl-mode=REQUIRED\n",
        (_, TlsMode::VerifyCa) => "loose-ssl-mode=VERIFY_CA\n",
        (_, TlsMode::VerifyIdentity) => "loose-ssl-mode=VERIFY_IDENTITY\n",
    }
}

/// Inside double quotes only the backslash and the double quote need escaping, and `#` begins
/// no comment (MySQL manual, "Using Option Files"; `mysys/my_default.c`).
fn quote(name: &str, value: &str) -> Result<Zeroizing<String>, MysqlError> {
    if value.contains(['\n', '\r', '\0']) {
        return Err(MysqlError::unsupported(
            format!("handing the {name} to the engine"),
            "it holds a line end or a NUL, which no option file can carry: does the password file end in more than one line end?",
        ));
    }
    let mut quoted = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    quoted.push('"');
    for c in value.chars() {
        if c == '\\' || c == '"' {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn options(password: &str) -> ConnectOptions {
        ConnectOptions {
            endpoint: Endpoint::Socket("/run/my.sock".into()),
            user: "backup".into(),
            password: Some(password.to_owned().into()),
            tls: super::super::Tls::default(),
        }
    }

    #[test]
    fn what_a_killed_job_left_behind_is_removed_and_what_is_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dead = dir.path().join("backstay-00.cnf");
        fs::write(&dead, "password").unwrap();
        let alive = OptionFile::create(dir.path(), "[client]\n").unwrap();
        assert!(!dead.exists());
        let second = OptionFile::create(dir.path(), "[client]\n").unwrap();
        assert!(alive.path().exists() && second.path().exists());
    }

    #[test]
    fn only_we_can_read_it_and_it_goes_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let file = OptionFile::create(dir.path(), &render(&options("p")).unwrap()).unwrap();
        let path = file.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn every_printable_password_is_quoted() {
        let text = render(&options(r#" #;a'b"c\d\n$= "#)).unwrap();
        assert!(text.contains(r#"password=" #;a'b\"c\\d\\n$= ""#), "{}", text.as_str());
        for bad in ["a\nb", "a\r", "a\0"] {
            assert!(render(&options(bad)).is_err());
        }
    }
}
