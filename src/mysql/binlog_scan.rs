//! The exact transactions up to a place in a server's binary log, asked of the server.
//!
//! An engine's recorded set can lag the position it recorded (in 3 of 7 genuine runs of
//! XtraBackup under load), so the set is derived from the position.

use futures::StreamExt as _;
use mysql_async::{Row, prelude::Queryable as _};

use crate::model::{BinlogPosition, Flavor, GtidSet};

use super::{
    MysqlError,
    archiving::state_as_shown,
    connect::{STATEMENT, Server, text, within},
    facts::quoted,
};

/// Files before the given one that are searched for InnoDB's last commit.
const WALK_BACK: usize = 4;
/// How long the server may take between two rows.
const ROW: std::time::Duration = STATEMENT;

/// What a base at some place of the binary log holds.
///
/// InnoDB records the place of each commit that changed something in it. The log cannot always
/// tell which did: under `binlog_format` STATEMENT or MIXED (MariaDB's default) an `UPDATE` that
/// changes nothing is logged and ends in an Xid event like any other (seen on 10.11: two of them
/// at the end of a backup). So there is a latest and an earliest answer; under ROW they are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactSet {
    /// The transactions whose last byte lies at or before the place; nothing when GTIDs are off.
    pub gtid_set: Option<GtidSet>,
    /// The end of the last event group that ended in an Xid event: InnoDB has recorded this
    /// place, or an earlier one. Nothing when it lies further back than a few files.
    pub innodb_position: Option<BinlogPosition>,
    /// The end of the last event group that surely changed InnoDB: it has recorded this place,
    /// or a later one. Nothing when it lies further back than a few files.
    pub innodb_at_least: Option<BinlogPosition>,
}

impl Server {
    /// The transactions up to `at`, a place where an event ends. It reads the events of that
    /// file from the server (`SHOW BINLOG EVENTS`), row by row.
    ///
    /// # Errors
    /// When the server no longer has the file, the place is not the end of an event, or the
    /// user may not ask (REPLICATION SLAVE on MySQL, BINLOG MONITOR on MariaDB).
    pub async fn exact_set_at(&mut self, at: &BinlogPosition) -> Result<ExactSet, MysqlError> {
        let scan = self.scan(&at.file, at.position).await?;
        let place = |position| BinlogPosition { file: at.file.clone(), position };
        let mut exact = ExactSet {
            gtid_set: scan.set,
            innodb_position: scan.innodb_end.map(place),
            innodb_at_least: scan.innodb_sure.map(place),
        };
        if exact.innodb_at_least.is_some() {
            return Ok(exact);
        }
        for file in self.files_before(&at.file).await?.into_iter().rev().take(WALK_BACK) {
            let scan = self.scan(&file, u64::MAX).await?;
            let place = |position| BinlogPosition { file: file.clone(), position };
            if exact.innodb_position.is_none() {
                exact.innodb_position = scan.innodb_end.map(place);
            }
            if let Some(sure) = scan.innodb_sure {
                exact.innodb_at_least = Some(place(sure));
                break;
            }
        }
        Ok(exact)
    }

    async fn files_before(&mut self, file: &str) -> Result<Vec<String>, MysqlError> {
        let rows = self.rows("listing the binary logs", "SHOW BINARY LOGS").await?;
        Ok(rows.iter().map(|row| text(row, "Log_name")).take_while(|name| name != file).collect())
    }

    async fn scan(&mut self, file: &str, until: u64) -> Result<Scan, MysqlError> {
        let doing = format!("reading the events of binary log {file}");
        let mut scan = Scan::new(self.flavor(), until);
        let sql = format!("SHOW BINLOG EVENTS IN '{}'", quoted(file));
        let mut rows = within(&doing, STATEMENT, self.conn.query_stream::<Row, _>(sql)).await?;
        loop {
            let next = async { rows.next().await.transpose() };
            let Some(row) = within(&doing, ROW, next).await? else { break };
            let end: u64 = text(&row, "End_log_pos").parse().unwrap_or(0);
            scan.event(&text(&row, "Event_type"), &text(&row, "Info"), end)
                .map_err(|why| MysqlError::unexpected(format!("binary log {file}"), why))?;
            if scan.past {
                break; // the rest is drained with the connection's next statement
            }
        }
        drop(rows);
        if until != u64::MAX && !scan.met {
            return Err(MysqlError::unexpected(
                format!("binary log {file}"),
                format!(
                    "no event ends at {until}: the position belongs to another server, or the log was reset"
                ),
            ));
        }
        Ok(scan)
    }
}

/// The state machine over the rows of `SHOW BINLOG EVENTS`. Pure.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent observations, not a hidden state"
)]
struct Scan {
    until: u64,
    set: Option<GtidSet>,
    /// The GTID of the group that is being read; `BEGIN`s tell the two kinds of groups apart.
    pending: Option<String>,
    in_transaction: bool,
    /// Whether the group holds rows: those are only logged when they changed.
    rows: bool,
    innodb_end: Option<u64>,
    innodb_sure: Option<u64>,
    met: bool,
    past: bool,
}

impl Scan {
    fn new(flavor: Flavor, until: u64) -> Self {
        // MariaDB always has GTIDs; MySQL may have none, which its first event tells.
        let set = (flavor == Flavor::Mariadb).then(|| GtidSet::empty(flavor));
        Self {
            until,
            set,
            pending: None,
            in_transaction: false,
            rows: false,
            innodb_end: None,
            innodb_sure: None,
            met: false,
            past: false,
        }
    }

    fn event(&mut self, kind: &str, info: &str, end: u64) -> Result<(), String> {
        if end > self.until {
            self.past = true;
            return Ok(());
        }
        self.met |= end == self.until;
        match kind {
            "Previous_gtids" => self.set = Some(state_as_shown(Flavor::Mysql, info)?.position()),
            "Gtid_list" => self.set = Some(state_as_shown(Flavor::Mariadb, info)?.position()),
            "Gtid" | "Gtid_tagged_log_event" | "Anonymous_Gtid" => self.group(info),
            "Xid" => self.committed(end, true)?,
            "Transaction_payload" => {
                self.rows = true; // only rows are compressed (MySQL manual, "Binary Log Transaction Compression")
                self.committed(end, true)?;
            }
            "XA_prepare" => self.committed(end, false)?,
            "Query" | "Query_compressed" => self.statement(info, end)?,
            // `Write_rows`, `Update_rows_v1`, `Delete_rows_compressed_v1` …
            _ if kind.contains("_rows") => self.rows = true,
            _ => {}
        }
        Ok(())
    }

    /// MySQL: `SET @@SESSION.GTID_NEXT= 'uuid:7'`; MariaDB: `BEGIN GTID 0-1-7`, `GTID 0-1-8`,
    /// `XA START … GTID 0-1-9`.
    fn group(&mut self, info: &str) {
        let gtid = if let Some((_, quoted)) = info.split_once("GTID_NEXT=") {
            quoted.split('\'').nth(1).filter(|gtid| gtid.contains(':'))
        } else {
            let mut words = info.split_whitespace().skip_while(|word| *word != "GTID");
            words.nth(1)
        };
        self.pending = gtid.map(str::to_owned);
        self.in_transaction = info.starts_with("BEGIN ") || info.starts_with("XA START");
    }

    fn statement(&mut self, info: &str, end: u64) -> Result<(), String> {
        let info = info.trim();
        if info == "BEGIN" || info.starts_with("XA START") {
            self.in_transaction = true;
            return Ok(());
        }
        if self.in_transaction {
            let ends = matches!(info, "COMMIT" | "ROLLBACK");
            return if ends { self.committed(end, false) } else { Ok(()) };
        }
        // Atomic DDL commits in InnoDB; the server shows the number of that commit.
        let innodb = info.contains("/* xid=");
        self.rows = innodb;
        self.committed(end, innodb)
    }

    fn committed(&mut self, end: u64, innodb: bool) -> Result<(), String> {
        if let (Some(gtid), Some(set)) = (self.pending.take(), &mut self.set) {
            set.add(&gtid).map_err(|e| e.to_string())?;
        }
        if innodb {
            self.innodb_end = Some(end);
            self.innodb_sure = if self.rows { Some(end) } else { self.innodb_sure };
        }
        self.in_transaction = false;
        self.rows = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: &str = "9a3225ed-e51b-11f1-86df-02fc00000001";

    fn scan(
        flavor: Flavor,
        until: u64,
        events: &[(&str, &str, u64)],
    ) -> (Option<String>, Option<u64>, bool) {
        let mut scan = Scan::new(flavor, until);
        for (kind, info, end) in events {
            scan.event(kind, info, *end).unwrap();
            if scan.past {
                break;
            }
        }
        (scan.set.map(|s| s.to_string()), scan.innodb_end, scan.met)
    }

    #[test]
    fn mysql_groups_count_when_their_last_event_is_before_the_position() {
        let next = |n: u64| format!("SET @@SESSION.GTID_NEXT= '{U}:{n}'");
        let (g4, g5, g6) = (next(4), next(5), next(6));
        let previous = format!("{U}:1-3");
        let events = [
            ("Format_desc", "Server ver: 9.7.4", 126),
            ("Previous_gtids", previous.as_str(), 197),
            ("Gtid", &g4, 276),
            ("Query", "BEGIN", 350),
            ("Table_map", "", 400),
            ("Xid", "COMMIT /* xid=9 */", 431),
            ("Gtid", &g5, 510),
            ("Query", "use `d`; create table t(a int) /* xid=12 */", 700),
            ("Gtid", &g6, 780),
            ("Query", "BEGIN", 850),
            ("Query", "COMMIT", 930),
        ];
        let set = |n: u64| Some(format!("{U}:1-{n}"));
        assert_eq!(scan(Flavor::Mysql, 197, &events), (set(3), None, true));
        assert_eq!(scan(Flavor::Mysql, 400, &events), (set(3), None, true));
        assert_eq!(scan(Flavor::Mysql, 431, &events), (set(4), Some(431), true));
        assert_eq!(scan(Flavor::Mysql, 700, &events), (set(5), Some(700), true));
        assert_eq!(scan(Flavor::Mysql, 850, &events), (set(5), Some(700), true));
        assert_eq!(scan(Flavor::Mysql, 930, &events), (set(6), Some(700), true));
        assert!(!scan(Flavor::Mysql, 433, &events).2);
    }

    #[test]
    fn mariadb_groups_count_when_their_last_event_is_before_the_position() {
        let events = [
            ("Format_desc", "", 256),
            // After a failover: two servers in domain 0, the last one at the end.
            ("Gtid_list", "[0-2-4,0-1-5,2-7-1]", 299),
            ("Gtid", "BEGIN GTID 0-1-6", 341),
            ("Query", "use `d`; insert into t values (1)", 400),
            ("Xid", "COMMIT /* xid=8 */", 431),
            ("Gtid", "GTID 0-1-7", 473),
            ("Query", "use `d`; create table x(a int)", 560),
        ];
        let all = |n: u64| Some(format!("0-1-{n},2-7-1"));
        assert_eq!(scan(Flavor::Mariadb, 400, &events), (all(5), None, true));
        assert_eq!(scan(Flavor::Mariadb, 431, &events), (all(6), Some(431), true));
        assert_eq!(scan(Flavor::Mariadb, 560, &events), (all(7), Some(431), true));
    }

    #[test]
    fn a_tagged_transaction_counts() {
        let (previous, next) =
            (format!("{U}:1-3:a:1"), format!("SET @@SESSION.GTID_NEXT= '{U}:a:2'"));
        let events = [
            ("Previous_gtids", previous.as_str(), 197),
            ("Gtid_tagged_log_event", &next, 276),
            ("Query", "use `d`; create table t(a int) /* xid=12 */", 350),
        ];
        let set = Some(format!("{U}:1-3:a:1-2"));
        assert_eq!(scan(Flavor::Mysql, 350, &events), (set, Some(350), true));
    }

    #[test]
    fn a_mysql_without_gtids_has_no_set() {
        let events = [
            ("Anonymous_Gtid", "SET @@SESSION.GTID_NEXT= 'ANONYMOUS'", 200),
            ("Query", "BEGIN", 250),
            ("Xid", "", 300),
        ];
        assert_eq!(scan(Flavor::Mysql, 300, &events), (None, Some(300), true));
    }
}
