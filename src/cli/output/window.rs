//! `window` for people.

use std::fmt::Write as _;

use super::{Text, drill::span, place, table};
use crate::{
    format::DrillStatus,
    jobs::window::{ArchiveSummary, Windows, transactions},
    model::Timestamp,
};

impl Text for Windows {
    fn text(&self) -> String {
        let mut out = String::new();
        match &self.archive {
            Some(archive) => archive.describe(&mut out),
            None => out.push_str("No binary log is archived: run `backstay archive`.\n"),
        }
        out.push('\n');
        self.table(&mut out);
        self.recovery(&mut out);
        for gap in &self.gaps {
            let _ = writeln!(
                out,
                "\nGAP, record {}, found {}: {} before {} of {} were purged before they were archived\n  {}",
                gap.record,
                gap.at,
                transactions(gap.transactions),
                gap.binlog_file,
                gap.server,
                gap.missing
            );
        }
        for fork in &self.forks {
            let _ = writeln!(
                out,
                "\nFORK, record {}, found {}: {} of {}, which {} went on without\n  {}",
                fork.record,
                fork.at,
                transactions(fork.transactions),
                fork.left,
                fork.taken,
                fork.forked
            );
        }
        if self.histories.len() > 1 {
            out.push_str("\nHistories, oldest first:\n");
            for history in &self.histories {
                let branch = match (&history.parent, &history.branch_gtid_set) {
                    (Some(parent), Some(at)) if !at.is_empty() => {
                        format!(", branched off {parent} behind {at}")
                    }
                    (Some(parent), _) => format!(", has nothing in common with {parent}"),
                    _ => String::new(),
                };
                let _ = writeln!(
                    out,
                    "  {}  since {}, server {}, record {}{branch}",
                    history.history, history.at, history.server, history.record
                );
            }
        }
        out
    }
}

fn instant(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".into(), |at| at.to_string())
}

impl ArchiveSummary {
    fn describe(&self, out: &mut String) {
        let _ = match (self.archived_until, self.lag_seconds) {
            (Some(until), Some(lag)) => {
                writeln!(out, "The binary log is archived until {until}\n  lag         {lag} s")
            }
            _ => writeln!(out, "The binary log is archived, and has no transaction yet."),
        };
        let archiver = match self.status {
            "running" => "running".into(),
            "released" => format!("none: the last one ended at {}", self.last_record_at),
            _ => format!("SILENT since {}: is it alive?", self.last_record_at),
        };
        let _ = writeln!(out, "  archiver    {archiver}");
        let _ = writeln!(
            out,
            "  server      {}, {}, epoch {}",
            self.server, self.server_version, self.epoch
        );
        let _ = writeln!(out, "  durable     up to {}", place(&self.position));
        if !self.gtid_set.is_empty() {
            let _ = writeln!(out, "  GTID set    {}", self.gtid_set);
        }
        let _ = writeln!(out, "  last commit {}", instant(self.committed_until));
        let _ = writeln!(out, "  log head    {}", self.log_head);
    }
}

impl Windows {
    fn recovery(&self, out: &mut String) {
        if let Some(recovery) = &self.recovery {
            let by = match recovery.measured_by {
                0 => "assumed, since nothing was measured yet: run `backstay drill`".to_owned(),
                1 => "as the last drill went".to_owned(),
                drills => format!("as the last {drills} drills went"),
            };
            let _ = writeln!(
                out,
                "\nRecovering to the latest point would take about {} from backup {}\n  \
                 fetch {}, prepare {}, replay {}, start and prove {}; {by}",
                span(recovery.seconds),
                recovery.backup_id,
                span(recovery.fetch_seconds),
                span(recovery.prepare_seconds),
                span(recovery.replay_seconds),
                span(recovery.start_seconds),
            );
        }
        if let Some(drill) = &self.last_drill {
            let ended = match drill.status {
                DrillStatus::Proven => "proven",
                DrillStatus::Unproven => "NOT PROVEN",
                DrillStatus::Failed => "FAILED",
            };
            let took =
                drill.seconds.map_or_else(String::new, |s| format!(", recovered in {s:.1} s"));
            let _ = writeln!(out, "  last drill  {ended}, {}{took}", drill.finished_at);
        }
    }

    fn table(&self, out: &mut String) {
        if self.windows.is_empty() {
            out.push_str(
                "There is no complete backup, so nothing can be restored: run `backstay backup`.\n",
            );
            return;
        }
        let mut rows =
            vec![["BACKUP", "EARLIEST", "LATEST", "THERE IT ENDS BECAUSE"].map(String::from)];
        for window in &self.windows {
            let damaged = window.status == "damaged";
            rows.push([
                window.backup_id.to_string(),
                if damaged { "DAMAGED".into() } else { instant(window.earliest) },
                instant(window.latest),
                window.end.why.clone(),
            ]);
        }
        out.push_str(&table(&rows));
    }
}
