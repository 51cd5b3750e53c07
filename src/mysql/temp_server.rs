//! A server of our own over a data directory, for as long as a restore or a clone needs one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::model::{BinlogPosition, CommandLine, Flavor};

use super::{MysqlError, engines};

/// Whether the temporary server writes a binary log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TempBinlog {
    /// No. Over an XtraBackup base of MySQL the last transaction of the set is then lost
    /// (1-3414 for 1-3415, seen on 8.0): set the exact set afterwards.
    Off,
    /// Into the data directory, under this base name.
    Named(&'static str),
}

/// How a temporary server is to be started.
#[derive(Debug, Clone)]
pub struct TempServer<'a> {
    /// Whose.
    pub flavor: Flavor,
    /// `mysqld` or `mariadbd`, see [`discover_server`].
    pub program: &'a Path,
    /// The data directory.
    pub datadir: &'a Path,
    /// Where it listens, and nowhere else: at most 100 bytes, in a folder that only we can enter.
    pub socket: &'a Path,
    /// SQL that it runs once it is up, such as a `CREATE USER` for us. It must be readable to it.
    pub init_file: Option<&'a Path>,
    /// For temporary files.
    pub tmpdir: Option<&'a Path>,
    /// An id that neither the base nor the archive bears: the applier drops events with its own id.
    pub server_id: u32,
    /// Bytes for InnoDB's buffer pool.
    pub buffer_pool: u64,
    /// Whether it writes a binary log.
    pub binlog: TempBinlog,
    /// Options without which the data directory cannot be opened, as in the manifest.
    pub options: &'a BTreeMap<String, String>,
    /// Further arguments, such as those for relay logs. They come last, and so win.
    pub extra: &'a [String],
}

/// Options of [`TempServer::options`] that are paths of the source's machine, or follow from the
/// data directory: a server that got them would look elsewhere, or refuse to start.
const NOT_PASSED: [&str; 8] = [
    "innodb_data_home_dir",
    "innodb_log_group_home_dir",
    "innodb_undo_directory",
    "innodb_directories",
    "innodb_checksum_algorithm",
    "innodb_compression_algorithm",
    "server_id",
    "server_uuid",
];

/// The command line: socket only, no networking, no event scheduler, no replication by
/// itself, its log on standard error. Redo recovery happens as on any start.
///
/// # Errors
/// When the socket's path is longer than the system allows (107 bytes).
pub fn temp_server_command(server: &TempServer<'_>) -> Result<CommandLine, MysqlError> {
    if server.socket.as_os_str().len() > 107 {
        let why = "a socket's path may have 107 bytes: choose a shorter folder (TMPDIR)";
        return Err(MysqlError::unsupported(
            format!("listening on {}", server.socket.display()),
            why,
        ));
    }
    let mut line = CommandLine::new(server.program)
        .arg("--no-defaults") // must come first
        .option("--datadir=", server.datadir)
        .option("--socket=", server.socket)
        .option("--pid-file=", server.socket.with_extension("pid"))
        .option("--server-id=", server.server_id.to_string())
        .option("--innodb-buffer-pool-size=", server.buffer_pool.to_string())
        .arg("--skip-networking")
        .arg("--skip-name-resolve")
        .arg("--event-scheduler=OFF")
        .arg("--local-infile=OFF")
        // One name of the two is known to each version, and the other is skipped.
        .arg("--loose-skip-slave-start")
        .arg("--loose-skip-replica-start");
    line = match server.binlog {
        TempBinlog::Off => line.arg("--skip-log-bin"),
        TempBinlog::Named(name) => line.arg(format!("--log-bin={name}")),
    };
    if server.flavor == Flavor::Mysql {
        line = line
            .arg("--mysqlx=OFF")
            .arg("--auto-generate-certs=OFF")
            .arg("--caching-sha2-password-auto-generate-rsa-keys=OFF");
    }
    if let Some(file) = server.init_file {
        line = line.option("--init-file=", file);
    }
    if let Some(folder) = server.tmpdir {
        line = line.option("--tmpdir=", folder);
    }
    for (name, value) in
        server.options.iter().filter(|(name, _)| !NOT_PASSED.contains(&name.as_str()))
    {
        line = line.arg(format!("--{}={value}", name.replace('_', "-")));
    }
    if rustix::process::geteuid().is_root() {
        line = line.arg("--user=root"); // both flavors refuse root unless told
    }
    line.args.extend(server.extra.iter().map(Into::into));
    Ok(line)
}

/// The server's program: as given, or in `PATH` and the usual folders.
///
/// # Errors
/// When there is none.
pub fn discover_server(flavor: Flavor, given: Option<&Path>) -> Result<PathBuf, MysqlError> {
    if let Some(program) = given {
        return Ok(program.to_owned());
    }
    let names: &[&str] = match flavor {
        Flavor::Mysql => &["mysqld"],
        Flavor::Mariadb => &["mariadbd", "mysqld"],
    };
    engines::find(names).ok_or_else(|| {
        let why =
            format!("there is no {} in PATH: install it, or give its path", names.join(" or "));
        MysqlError::unsupported(format!("looking for a server of {flavor}"), why)
    })
}

/// Reads the version line of `mysqld --version`, `mariadbd --version`:
/// `… Ver 9.7.4-2 for Linux on x86_64 …`.
///
/// # Errors
/// When there is none.
pub fn parse_server_version(output: &str) -> Result<crate::model::ServerVersion, MysqlError> {
    let version = output
        .split_once("Ver ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    version.ok_or_else(|| {
        let heard: String = output.trim().chars().take(200).collect();
        MysqlError::unexpected("the version of a server's program", format!("it says `{heard}`"))
    })
}

/// The position that InnoDB recovered, from a line of MariaDB's log as it starts:
/// `… InnoDB: Last binlog file './bin.000002', position 501`. Nothing on other lines. It is only said
/// when InnoDB had something to recover: for a prepared backup see [`super::parse_innodb_position`].
#[must_use]
pub fn recovered_position(line: &str) -> Option<BinlogPosition> {
    let (_, rest) = line.split_once("Last binlog file '")?;
    let (file, rest) = rest.split_once('\'')?;
    let digits: String =
        rest.split_once("position ")?.1.chars().take_while(char::is_ascii_digit).collect();
    let file = file.rsplit('/').next().filter(|file| !file.is_empty())?;
    Some(BinlogPosition { file: file.to_owned(), position: digits.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(flavor: Flavor, socket: &str) -> Result<String, MysqlError> {
        let options = [
            ("innodb_data_file_path".to_owned(), "ibdata1:12M:autoextend".to_owned()),
            ("innodb_undo_directory".to_owned(), "/srv/undo".to_owned()),
        ];
        let server = TempServer {
            flavor,
            program: Path::new("mysqld"),
            datadir: Path::new("/d"),
            socket: Path::new(socket),
            init_file: None,
            tmpdir: None,
            server_id: 77,
            buffer_pool: 1 << 28,
            binlog: TempBinlog::Off,
            options: &options.into(),
            extra: &["--relay-log=relay-bin".to_owned()],
        };
        let line = temp_server_command(&server)?;
        Ok(line.args.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn it_listens_on_its_socket_only() {
        let mysql = line(Flavor::Mysql, "/s/sock").unwrap();
        assert!(mysql.starts_with("--no-defaults --datadir=/d --socket=/s/sock "), "{mysql}");
        assert!(mysql.contains("--skip-networking") && mysql.contains("--mysqlx=OFF"), "{mysql}");
        assert!(mysql.contains("--innodb-data-file-path=ibdata1:12M:autoextend"), "{mysql}");
        assert!(
            !mysql.contains("/srv/undo") && mysql.ends_with("--relay-log=relay-bin"),
            "{mysql}"
        );
        assert!(!line(Flavor::Mariadb, "/s/sock").unwrap().contains("mysqlx"));
        assert!(line(Flavor::Mysql, &format!("/{}", "x".repeat(110))).is_err());
    }

    #[test]
    fn the_recovered_position_is_read() {
        let line =
            "2026-11-20 21:40:38 0 [Note] InnoDB: Last binlog file './bin.000002', position 501";
        assert_eq!(recovered_position(line).unwrap().to_string(), "bin.000002:501");
        assert_eq!(recovered_position("InnoDB: Starting"), None);
        let version =
            parse_server_version("/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))");
        assert_eq!(version.unwrap().numbers, (9, 7, 4));
    }
}
