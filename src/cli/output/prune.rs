//! `prune`, `hold` and `unhold` for people.

use std::fmt::Write as _;

use super::{Text, table};
use crate::{
    jobs::{
        hold::Held,
        prune::{Pruned, PrunedBackup},
    },
    model::ByteSize,
};

impl Text for Pruned {
    fn text(&self) -> String {
        let mut rows = vec![["BACKUP", "FINISHED", "STORED", "VERDICT", "WHY"].map(String::from)];
        rows.extend(self.backups.iter().map(|backup| {
            [
                backup.backup_id.to_string(),
                backup.finished_at.to_string(),
                ByteSize(backup.bytes_stored).to_string(),
                backup.verdict.to_owned(),
                self.why(backup),
            ]
        }));
        rows.extend(self.left_alone.iter().map(|left| {
            let unknown = || "?".to_owned();
            let verdict = "left alone".to_owned();
            [left.backup_id.to_string(), unknown(), unknown(), verdict, left.why.clone()]
        }));
        let mut out = if rows.len() > 1 { table(&rows) } else { String::new() };
        let counts = self.verdicts();
        let count = |verdict| counts.get(verdict).copied().unwrap_or_default();
        let _ = writeln!(
            out,
            "backups     {} kept, {} to delete, {} locked by the store, {} left alone",
            count("keep"),
            count("delete"),
            count("locked"),
            self.left_alone.len()
        );
        self.log(&mut out);
        let left = &self.leftovers;
        let _ = writeln!(
            out,
            "leftovers   {} runs that came to nothing, {} segments, {} probes",
            left.runs, left.segments, left.probes
        );
        if self.status == "planned" {
            out.push_str("This is a plan: nothing was touched.\n");
            return out;
        }
        let _ = writeln!(
            out,
            "removed     {} objects, {}; {} uploads aborted",
            self.objects_removed,
            ByteSize(self.bytes_removed),
            left.uploads_aborted
        );
        if self.objects_locked > 0 {
            let until = self.locked_until.map_or_else(
                || "; a legal hold has no end".to_owned(),
                |until| format!("; the last lock ends at {until}"),
            );
            let _ = writeln!(
                out,
                "locked      {} objects were to go and stay{until}: run it again after that",
                self.objects_locked
            );
        }
        if let Some(head) = &self.audit_head {
            let _ = writeln!(out, "audit head  {head}");
        }
        if self.status == "stopped" {
            out.push_str("STOPPED by a signal: run it again to go on.\n");
        }
        out
    }
}

impl Pruned {
    fn log(&self, out: &mut String) {
        let log = &self.log;
        if log.records == 0 {
            return;
        }
        let moved = |from: u64, to: u64| {
            if from == to { format!("{to}") } else { format!("{to} (before: {from})") }
        };
        let _ = writeln!(
            out,
            "binlog log  {} records; forgotten up to {}, superseded ones gone up to {}",
            log.records,
            moved(log.begins, log.begins_next),
            moved(log.thinned, log.thinned_next)
        );
    }

    fn why(&self, backup: &PrunedBackup) -> String {
        let since =
            backup.tombstoned_at.map_or_else(String::new, |at| format!("tombstone since {at}; "));
        let after = backup.sweep_after.map_or_else(String::new, |at| at.to_string());
        let lock = match (backup.legal_hold, backup.locked_until) {
            (true, _) => "the store has a legal hold on it".to_owned(),
            (false, Some(until)) => format!("the store locks it until {until}"),
            (false, None) => String::new(),
        };
        let planned = self.status == "planned";
        match (backup.verdict, backup.step) {
            ("keep", "revoke") => {
                format!("{}; its tombstone is taken away", backup.reasons.join("; "))
            }
            ("keep", _) => backup.reasons.join("; "),
            ("locked", _) => format!("no rule keeps it; {since}{lock}"),
            (_, "tombstone") if planned => {
                format!("no rule keeps it: a tombstone now, removed after {after}")
            }
            (_, "tombstone" | "wait") => format!("{since}removed after {after}"),
            (_, _) if planned => format!("{since}removed now"),
            (_, _) => format!("{since}removed"),
        }
    }
}

impl Text for Held {
    fn text(&self) -> String {
        let mut out = String::new();
        let id = &self.backup_id;
        let _ = match (self.status, self.held) {
            ("held", _) => writeln!(out, "Backup {id} is held: no rule removes it."),
            ("unheld", _) => writeln!(out, "Backup {id} is held no more."),
            (_, true) => writeln!(out, "Backup {id} is held already; nothing was done."),
            (_, false) => writeln!(out, "Backup {id} is not held; nothing was done."),
        };
        if let (Some(since), Some(reason)) = (self.since, &self.reason) {
            let _ = writeln!(out, "  since       {since}");
            let _ = writeln!(out, "  reason      {reason}");
        }
        if self.had_tombstone {
            let _ = writeln!(out, "  it had a tombstone, which is taken away");
        }
        if let Some(head) = &self.audit_head {
            let _ = writeln!(out, "  audit head  {head}");
        }
        out
    }
}
