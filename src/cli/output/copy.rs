//! `copy` for people.

use std::fmt::Write as _;

use super::{Text, table};
use crate::{
    jobs::copy::{Copied, CopiedLog},
    model::ByteSize,
};

impl Text for Copied {
    fn text(&self) -> String {
        let mut rows = vec![["BACKUP", "FINISHED", "STORED", "STATUS"].map(String::from)];
        rows.extend(self.backups.iter().map(|backup| {
            let why = backup.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            [
                backup.backup_id.to_string(),
                backup.finished_at.map_or_else(|| "?".into(), |at| at.to_string()),
                ByteSize(backup.bytes_stored).to_string(),
                format!("{}{why}", backup.status),
            ]
        }));
        let mut out = if rows.len() > 1 { table(&rows) } else { String::new() };
        let _ = writeln!(out, "from        {}", self.from);
        let _ = writeln!(out, "to          {}", self.to);
        match &self.log {
            Some(log) => log.describe(&mut out),
            None => out.push_str("binlog log  none\n"),
        }
        if self.status == "planned" {
            out.push_str("This is a plan: nothing was touched.\n");
            return out;
        }
        let _ = writeln!(
            out,
            "copied      {} objects, {}",
            self.objects_copied,
            ByteSize(self.bytes_copied)
        );
        if let Some(head) = &self.audit_head {
            let _ = writeln!(out, "audit head  {head}, of the copy");
        }
        match self.status {
            "stopped" => out.push_str("STOPPED by a signal: run it again to go on.\n"),
            "incomplete" => out.push_str("INCOMPLETE: some backups could not be copied.\n"),
            _ => {}
        }
        out
    }
}

impl CopiedLog {
    fn describe(&self, out: &mut String) {
        let begins = match self.begins {
            0 => String::new(),
            number => format!(", without those up to {number}"),
        };
        let _ = writeln!(
            out,
            "binlog log  {} records{begins}; the copy had {}; {} records and {} segments copied",
            self.records, self.records_before, self.records_copied, self.segments_copied
        );
    }
}
