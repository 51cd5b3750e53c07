//! The small text files in which the engines record what they did.

use std::collections::BTreeMap;

use crate::model::{BinlogPosition, Flavor, GtidSet, ServerVersion};

use super::MysqlError;

/// `xtrabackup_binlog_info`, `mariadb_backup_binlog_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinlogInfo {
    /// Where the binary log ended.
    pub position: BinlogPosition,
    /// The transactions that the engine recorded. They can lag the position.
    pub gtid_set: Option<GtidSet>,
}

impl BinlogInfo {
    /// Reads `file⇥position[⇥set]`; a set of MySQL may go on over several lines.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, MysqlError> {
        let wrong = |why: String| MysqlError::unexpected("the backup's binlog info", why);
        let (line, more) = text.split_once('\n').unwrap_or((text, ""));
        let mut fields = line.splitn(3, '\t');
        let position = place(fields.next(), fields.next())
            .ok_or_else(|| wrong(format!("`{}` is not a file and a position", cut(line))))?;
        let set = format!("{}\n{more}", fields.next().unwrap_or_default());
        let gtid_set = match set.trim() {
            "" => None,
            set => Some(GtidSet::parse(flavor, set).map_err(|e| wrong(e.to_string()))?),
        };
        Ok(Self { position, gtid_set })
    }
}

/// `xtrabackup_binlog_pos_innodb`, which preparing writes: the position that InnoDB itself
/// recorded; nothing when it never committed with a binary log.
///
/// # Errors
/// When it is not `file⇥position`.
pub fn parse_innodb_position(text: &str) -> Result<Option<BinlogPosition>, MysqlError> {
    let mut fields = text.trim_end().split('\t');
    let (file, position) = (fields.next(), fields.next());
    if file == Some("") && matches!(position, None | Some("0")) {
        return Ok(None);
    }
    place(file, position).map(Some).ok_or_else(|| {
        let why = format!("`{}` is not a file and a position", cut(text));
        MysqlError::unexpected("the backup's InnoDB position", why)
    })
}

fn place(file: Option<&str>, position: Option<&str>) -> Option<BinlogPosition> {
    let file = file?.rsplit('/').next()?;
    let position = position?.trim().parse().ok()?;
    (!file.is_empty()).then(|| BinlogPosition { file: file.to_owned(), position })
}

/// `xtrabackup_checkpoints`, `mariadb_backup_checkpoints`: log sequence numbers of InnoDB, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoints {
    /// `full-backuped`, `incremental`, `full-prepared`, `log-applied`.
    pub backup_type: String,
    /// Where an increment begins; 0 of a full backup.
    pub from_lsn: u64,
    /// Where the next increment must begin.
    pub to_lsn: u64,
    /// The end of the log that was copied.
    pub last_lsn: u64,
}

impl Checkpoints {
    /// Reads `name = value` lines.
    ///
    /// # Errors
    /// When one of the four is missing, or is no number.
    pub fn parse(text: &str) -> Result<Self, MysqlError> {
        let fields = pairs(text);
        let get = |name: &str| {
            let missing =
                || MysqlError::unexpected("the backup's checkpoints", format!("it has no {name}"));
            fields.get(name).cloned().ok_or_else(missing)
        };
        let number = |name: &str| {
            let value = get(name)?;
            value.parse().map_err(|_| {
                MysqlError::unexpected(
                    "the backup's checkpoints",
                    format!("{name} is `{}`", cut(&value)),
                )
            })
        };
        Ok(Self {
            backup_type: get("backup_type")?,
            from_lsn: number("from_lsn")?,
            to_lsn: number("to_lsn")?,
            last_lsn: number("last_lsn")?,
        })
    }
}

/// `xtrabackup_info`, `mariadb_backup_info`: the engine's own report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent yes-or-no lines of the report"
)]
pub struct EngineInfo {
    /// `xtrabackup`, `mariabackup`, `mariadb-backup`.
    pub tool_name: String,
    /// Of the engine.
    pub tool_version: String,
    /// Of the server, when it can be read.
    pub server_version: Option<ServerVersion>,
    /// Whether it is an increment.
    pub incremental: bool,
    /// Whether parts of the server were left out.
    pub partial: bool,
    /// Whether the engine compressed the files.
    pub compressed: bool,
    /// Whether the engine encrypted the files.
    pub encrypted: bool,
    /// Local time of the server's machine, without a zone, as written.
    pub start_time: String,
    /// As `start_time`.
    pub end_time: String,
}

impl EngineInfo {
    /// Reads `name = value` lines. The command line that the report holds is not kept.
    ///
    /// # Errors
    /// When it names no tool.
    pub fn parse(text: &str) -> Result<Self, MysqlError> {
        let fields = pairs(text);
        let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let yes = |name: &str| !matches!(get(name).as_str(), "" | "N");
        if get("tool_name").is_empty() {
            return Err(MysqlError::unexpected("the engine's report", "it names no tool"));
        }
        Ok(Self {
            tool_name: get("tool_name"),
            tool_version: get("tool_version"),
            server_version: get("server_version").parse().ok(),
            incremental: yes("incremental"),
            partial: yes("partial"),
            compressed: yes("compressed"),
            encrypted: yes("encrypted"),
            start_time: get("start_time"),
            end_time: get("end_time"),
        })
    }
}

/// `backup-my.cnf`: the options of group `[mysqld]` that the data directory was made with.
#[must_use]
pub fn parse_backup_my_cnf(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '[']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().replace('-', "_"), value.trim().to_owned()))
        .collect()
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let split = text.lines().filter_map(|line| line.split_once('='));
    split.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

fn cut(text: &str) -> String {
    text.trim_end().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! genuine {
        ($name:literal) => {
            include_str!(concat!("../../tests/fixtures/xtrabackup-8.0/info/", $name))
        };
    }

    #[test]
    fn genuine_binlog_info_is_read() {
        let info =
            BinlogInfo::parse(Flavor::Mysql, genuine!("info_rest/xtrabackup_binlog_info")).unwrap();
        assert_eq!(info.position.to_string(), "binlog.000005:899");
        assert_eq!(
            info.gtid_set.unwrap().to_string(),
            "9a3225ed-e51b-11f1-86df-02fc00000001:1-3414"
        );
        let innodb =
            parse_innodb_position(genuine!("info_rest/xtrabackup_binlog_pos_innodb")).unwrap();
        assert_eq!(innodb.unwrap().to_string(), "binlog.000011:731");
        assert_eq!(parse_innodb_position("\t0\n").unwrap(), None);
        assert!(parse_innodb_position("bin.000001\n").is_err());
    }

    #[test]
    fn every_shape_of_a_set_is_read() {
        let parse = |flavor, text: &str| {
            BinlogInfo::parse(flavor, text).unwrap().gtid_set.map(|s| s.to_string())
        };
        let u = |n: u8| format!("9a3225ed-e51b-11f1-86df-02fc0000000{n}");
        let lines = format!("b.1\t4\t{}:1-5:7,\n{}:tag:1-2,\n{}:9\n", u(1), u(2), u(3));
        assert_eq!(
            parse(Flavor::Mysql, &lines),
            Some(format!("{}:1-5:7,{}:tag:1-2,{}:9", u(1), u(2), u(3)))
        );
        assert_eq!(parse(Flavor::Mysql, "b.1\t4\n"), None);
        assert_eq!(parse(Flavor::Mysql, "b.1\t4\t\n"), None);
        assert_eq!(
            parse(Flavor::Mariadb, "bin.000001\t343\t0-11-63629,1-2-3\n"),
            Some("0-11-63629,1-2-3".to_owned())
        );
        for bad in ["", "b.1", "b.1\tx", "\t4", "b.1\t4\tnonsense"] {
            assert!(BinlogInfo::parse(Flavor::Mysql, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn genuine_checkpoints_and_reports_are_read() {
        let full = Checkpoints::parse(genuine!("full.lsndir/xtrabackup_checkpoints")).unwrap();
        assert_eq!(
            (full.backup_type.as_str(), full.from_lsn, full.to_lsn),
            ("full-backuped", 0, 16_741_997)
        );
        let increment =
            Checkpoints::parse(genuine!("incr1.lsndir/xtrabackup_checkpoints")).unwrap();
        assert_eq!(
            (increment.backup_type.as_str(), increment.from_lsn),
            ("incremental", full.to_lsn)
        );
        let report = EngineInfo::parse(genuine!("full_compress.lsndir/xtrabackup_info")).unwrap();
        assert_eq!(
            (report.tool_name.as_str(), report.compressed, report.incremental),
            ("xtrabackup", true, false)
        );
        assert_eq!(report.server_version.unwrap().numbers, (8, 0, 14));
        assert!(EngineInfo::parse(genuine!("incr1.lsndir/xtrabackup_info")).unwrap().incremental);
        let options = parse_backup_my_cnf(genuine!("info_rest/backup-my.cnf"));
        assert_eq!(options["innodb_data_file_path"], "ibdata1:12M:autoextend");
        assert!(Checkpoints::parse("backup_type = x\nfrom_lsn = 0\n").is_err());
    }
}
