//! What people and scripts see: one result on standard output.

mod audit;
mod copy;
mod drill;
mod find;
mod keys;
mod prune;
mod report;
mod window;

pub(super) use report::page as report_html;

use std::{fmt::Write as _, io::Write as _};

use serde::Serialize;

use super::{args::Format, exit::Exit, termination};
use crate::{
    jobs::{
        BackupMark, BackupSummary, JobError, Position, Recorded,
        archive::Archived,
        backup::BackupResult,
        restore::{Neighbour, Planned, RestoreResult, State},
        show::Shown,
        verify::Verified,
    },
    model::{ByteSize, ProofKind},
    pipeline::Intruder,
};

/// A result in plain sentences.
pub(super) trait Text {
    fn text(&self) -> String;
}

/// Prints a result.
pub(super) fn success<R: Serialize + Text>(format: Format, result: &R) {
    let json = serde_json::to_value(result).unwrap_or_default();
    match format {
        Format::Json => print(&pretty(&json)),
        // `report` alone makes pages, and prints them itself.
        Format::Text | Format::Html => print(result.text().trim_end()),
    }
    termination::write(json);
}

/// Prints a failure: a sentence or log line on standard error, and with JSON a document, too.
pub(super) fn failure(format: Format, exit: Exit, error: &JobError) {
    let message = error.to_string();
    tracing::error!(exit_code = exit as u8, kind = exit.name(), "{message}");
    let json = failed(exit, &message);
    if format == Format::Json {
        print(&pretty(&json));
    }
    termination::write(json);
}

/// Leaves behind that the command line was not understood; clap has said it on standard error.
pub(super) fn misused(error: &clap::Error) {
    let text = error.to_string();
    // What follows is how it is to be used.
    let first = text.split("\n\n").next().unwrap_or_default();
    termination::write(failed(Exit::Usage, first.trim_start_matches("error: ")));
}

fn failed(exit: Exit, message: &str) -> serde_json::Value {
    serde_json::json!({
        "version": 1,
        "status": "failed",
        "exit_code": exit as u8,
        "kind": exit.name(),
        "retry": exit.is_worth_a_retry(),
        "error": message,
    })
}

pub(super) fn pretty(json: &serde_json::Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default()
}

fn print(text: &str) {
    // A closed pipe is the reader's choice, not a failure of the job.
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Text for Archived {
    fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "Everything that the server had is archived.");
        let _ = writeln!(out, "  server      {}", self.server.as_deref().unwrap_or("unknown"));
        let _ = writeln!(out, "  durable     up to {}", place(&self.position));
        if !self.gtid_set.is_empty() {
            let _ = writeln!(out, "  GTID set    {}", self.gtid_set);
        }
        if let Some(at) = self.committed_until {
            let _ = writeln!(out, "  last commit {at}");
        }
        let _ = writeln!(
            out,
            "  this run    {} transactions, {} read, {} stored, epoch {}",
            self.transactions,
            ByteSize(self.bytes_read),
            ByteSize(self.bytes_stored),
            self.epoch
        );
        if self.gaps + self.forks > 0 {
            let _ = writeln!(
                out,
                "  WARNING     {} gaps and {} forks were found: run `backstay window`",
                self.gaps, self.forks
            );
        }
        let _ = writeln!(out, "  log head    {}", self.log_head);
        if let Some(head) = &self.audit_head {
            let _ = writeln!(out, "  audit head  {head}");
        }
        out
    }
}

impl Text for BackupResult {
    fn text(&self) -> String {
        let mut out = String::new();
        let took = self.finished_at.seconds_since(self.started_at);
        let headline = match self.status {
            "already-complete" => "was complete already; nothing was done",
            _ => "is complete",
        };
        let _ = writeln!(out, "Backup {} {headline}.", self.backup_id);
        let server = self.server_version.as_deref().unwrap_or("a server of unknown version");
        let _ = writeln!(out, "  server      {server}, by {}", self.engine);
        if let Some(base) = &self.base {
            let _ = writeln!(
                out,
                "  increment   on backup {base}, without which it cannot be restored"
            );
        }
        if let Some(why) = &self.full_because {
            let _ = writeln!(out, "  full        and no increment: {why}");
        }
        let _ = writeln!(out, "  position    {}", place(&self.position));
        if let Some(set) = self.gtid_set.as_deref().filter(|set| !set.is_empty()) {
            let _ = writeln!(out, "  GTID set    {set}");
        }
        let _ = writeln!(
            out,
            "  size        {} read, {} stored, in {took:.1} s",
            ByteSize(self.bytes_read),
            ByteSize(self.bytes_stored)
        );
        let _ = writeln!(out, "  proof       {}", proof(self.proof));
        let _ = writeln!(out, "  encrypted   AES-256-GCM, key wrapped by {}", self.kek);
        for kek in &self.also_keks {
            let _ = writeln!(out, "              and by {kek}");
        }
        if let Some(lock) = &self.lock {
            let held = if lock.legal_hold { ", and held" } else { "" };
            let _ = writeln!(out, "  locked      by {} until {}{held}", lock.mode, lock.until);
        }
        let _ = writeln!(out, "  stored at   {}", self.location);
        let _ = writeln!(out, "  cluster     {}", self.cluster_uuid);
        let _ = writeln!(out, "  audit head  {}", self.audit_head);
        out
    }
}

fn proof(kind: ProofKind) -> &'static str {
    match kind {
        ProofKind::Exit => "exit: the engine ended well, and its stream was whole",
        ProofKind::Verdict => "verdict: the agent said that it was whole, and so was its framing",
        ProofKind::Framing => {
            "framing: the stream was whole, and nobody vouches for it; unproven until restored"
        }
    }
}

fn place(position: &Position) -> String {
    match (&position.binlog_file, position.binlog_position) {
        (Some(file), Some(at)) => format!("{file}:{at}"),
        _ => "none (the binary log was off)".into(),
    }
}

impl Text for Planned {
    fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "Nothing was touched. A restore to {} would", self.target);
        self.describe(&mut out);
        recorded(&mut out, "  ", &self.recorded);
        out
    }
}

impl Planned {
    fn describe(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "  begin with  backup {}, finished {}",
            self.backup_id, self.backup_finished_at
        );
        if let Some(full) = self.stands_on.first() {
            let _ = writeln!(
                out,
                "  on          {} backups that it stands on, from the full one, {full}, up",
                self.stands_on.len()
            );
        }
        for id in &self.passed_over {
            let _ =
                writeln!(out, "  DAMAGED     backup {id} is passed over; run `backstay verify`");
        }
        if self.pieces > 0 {
            let _ = writeln!(
                out,
                "  replay      {} of binary log, at most {} transactions",
                ByteSize(self.bytes),
                self.transactions_at_most
            );
        }
        for skip in &self.skip {
            let _ = writeln!(out, "  leave out   {skip}");
        }
        let neighbour = |at: &Neighbour| {
            let place = format!("{}:{}", at.binlog_file, at.binlog_position);
            format!("{}  committed {}  at {place}", at.gtid, at.committed_at)
        };
        if let Some(last) = &self.last {
            let _ = writeln!(out, "  end with    {}", neighbour(last));
        }
        if let Some(next) = &self.next {
            let _ = writeln!(out, "  and before  {}", neighbour(next));
        }
        if self.stamps_go_back {
            out.push_str(
                "  WARNING     clocks went back: transactions behind that point bear earlier stamps; they are not in it\n",
            );
        }
    }
}

impl Text for RestoreResult {
    fn text(&self) -> String {
        let mut out = String::new();
        let _ =
            writeln!(out, "Backup {} is restored in {}.", self.backup_id, self.datadir.display());
        for id in &self.plan.passed_over {
            let _ = writeln!(
                out,
                "  DAMAGED   backup {id} was passed over; run `backstay verify {id}`"
            );
        }
        if let Some(replay) = &self.replay {
            let _ = writeln!(out, "  target    {}", self.target);
            let _ = writeln!(
                out,
                "  replayed  {} transactions, {} in {:.1} s",
                replay.transactions,
                ByteSize(replay.bytes),
                replay.seconds
            );
            for skip in &self.plan.skip {
                let _ = writeln!(out, "  left out  {skip}");
            }
            if let Some(last) = &self.plan.last {
                let _ = writeln!(out, "  last      {}, committed {}", last.gtid, last.committed_at);
            }
            if let Some(next) = &self.plan.next {
                let _ = writeln!(
                    out,
                    "  not in it {}, committed {}, and all behind it",
                    next.gtid, next.committed_at
                );
            }
        }
        match &self.proof {
            None => {
                let _ = writeln!(out, "  NOT PROVEN: no server was started on it (--no-start).");
            }
            Some(proof) => {
                let state = |state: &State| match &state.gtid_set {
                    Some(set) if state.position.binlog_file.is_none() && !set.is_empty() => {
                        set.clone()
                    }
                    Some(set) if !set.is_empty() => format!("{} {set}", place(&state.position)),
                    _ => place(&state.position),
                };
                let _ = writeln!(out, "  expected  {}", state(&proof.expected));
                let _ = writeln!(out, "  found     {}", state(&proof.actual));
                let _ = match proof.equal {
                    Some(true) => {
                        writeln!(out, "  proven: a server started on it and stands exactly there.")
                    }
                    _ => writeln!(
                        out,
                        "  NOT PROVEN: a server started on it, and there was nothing exact to compare."
                    ),
                };
            }
        }
        recorded(&mut out, "  ", &self.recorded);
        let open = self.proof.iter().flat_map(|proof| &proof.open_xa);
        for xid in open {
            let _ = writeln!(
                out,
                "  OPEN XA   {xid}: prepared, and holds its locks until XA COMMIT or XA ROLLBACK"
            );
        }
        tell_intruders(&mut out, &self.intruders);
        out.push_str("Then:\n");
        let servers: Vec<_> = self.to_rebuild.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            out,
            "  - start your server on it, with the binary log on\n  \
               - take a base backup, and run `backstay archive --new-history` once\n  \
               - build anew from it whatever shall follow it: {}, and every replica of theirs may\n    \
                 have transactions that it does not have",
            servers.join(", ")
        );
        out
    }
}

/// A list that is an array in JSON and a table in text.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Listing(pub(super) Vec<BackupSummary>);

impl Text for Listing {
    fn text(&self) -> String {
        if self.0.is_empty() {
            return "There is no complete backup.".into();
        }
        let mut rows = vec![
            [
                "BACKUP",
                "STANDS ON",
                "FINISHED",
                "RESTORABLE UNTIL",
                "SERVER",
                "READ",
                "STORED",
                "PROOF",
                "POSITION",
            ]
            .map(String::from),
        ];
        let size =
            |bytes: Option<u64>| bytes.map_or_else(|| "?".into(), |b| ByteSize(b).to_string());
        for backup in &self.0 {
            rows.push([
                backup.backup_id.to_string(),
                backup.base.as_ref().map_or_else(|| "-".into(), ToString::to_string),
                backup.finished_at.map_or_else(|| "DAMAGED".into(), |t| t.to_string()),
                backup.restorable_until.map_or_else(|| "?".into(), |t| t.to_string()),
                backup.server_version.clone().unwrap_or_else(|| "?".into()),
                size(backup.bytes_read),
                size(backup.bytes_stored),
                match backup.proof {
                    Some(ProofKind::Framing) => "unproven".into(),
                    Some(kind) => kind.to_string(),
                    None => "?".into(),
                },
                if backup.problem.is_some() { "?".into() } else { place(&backup.position) },
            ]);
        }
        let mut out = table(&rows);
        for backup in &self.0 {
            if let Some(mark) = &backup.mark {
                let _ = writeln!(out, "{}: {}", backup.backup_id, marked(mark));
            }
        }
        for backup in &self.0 {
            if let Some(problem) = &backup.problem {
                let _ = writeln!(out, "{}: {problem}", backup.backup_id);
            }
        }
        out
    }
}

/// What was decided about a backup.
fn marked(mark: &BackupMark) -> String {
    let BackupMark { kind, since, reason } = mark;
    match *kind {
        "held" => format!("held since {since}: {reason}"),
        _ => format!(
            "has had a tombstone since {since}, and will be removed; `backstay hold` keeps it"
        ),
    }
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

impl Text for Shown {
    fn text(&self) -> String {
        let manifest = serde_json::to_value(&self.manifest).unwrap_or_default();
        let mark = self.summary.mark.as_ref();
        let mark = mark.map_or_else(String::new, |mark| format!("\n{}", marked(mark)));
        format!("{}\nmanifest SHA-256  {}{mark}", pretty(&manifest), self.manifest_sha256)
    }
}

impl Text for Verified {
    fn text(&self) -> String {
        let mut out = String::new();
        for backup in &self.backups {
            let _ = writeln!(out, "{}  {}", backup.backup_id, backup.status);
            for problem in &backup.findings {
                let _ = writeln!(out, "  {}", describe(problem));
            }
        }
        if let Some(log) = &self.log {
            let _ = writeln!(
                out,
                "binlog log  {}: {} records, {} segments, {} tails, {} gaps, {} forks",
                log.status, log.records, log.segments, log.tails, log.gaps, log.forks
            );
            if log.pruned > 0 {
                let _ = writeln!(out, "            records up to {} were pruned", log.pruned);
            }
            for problem in &log.findings {
                let _ = writeln!(out, "  {}", describe(problem));
            }
        }
        for problem in &self.findings {
            let _ = writeln!(out, "{}", describe(problem));
        }
        if let Some(lock) = &self.lock {
            let told = match lock.status {
                "ok" => "all of them are locked so".to_owned(),
                "none" => "and this bucket has no Object Lock: is it a copy?".to_owned(),
                _ => format!("{} of them are NOT", lock.findings.len()),
            };
            let _ =
                writeln!(out, "locks       {} objects were to be locked, {told}", lock.promised);
            for problem in &lock.findings {
                let _ = writeln!(out, "  {}", describe(problem));
            }
        }
        tell_intruders(&mut out, &self.intruders);
        let how =
            if self.mode == "quick" { "stored hashes and sizes" } else { "every chunk opened" };
        let _ = writeln!(out, "{} backups, {how}: {}.", self.backups.len(), self.status);
        let fresh = if self.freshness_proven {
            "proven by --at-least"
        } else {
            "not proven (give --at-least)"
        };
        let _ = writeln!(out, "freshness   {fresh}");
        if let Some(log) = &self.log {
            let _ = writeln!(out, "log head    {}", log.head);
        }
        recorded(&mut out, "", &self.recorded);
        out
    }
}

/// Intruders that are told one by one; JSON has all of them.
const INTRUDERS_SHOWN: usize = 20;

fn tell_intruders(out: &mut String, intruders: &[Intruder]) {
    for intruder in intruders.iter().take(INTRUDERS_SHOWN) {
        let _ = writeln!(out, "  INTRUDER  {}", intruder.sentence());
    }
    if intruders.len() > INTRUDERS_SHOWN {
        let more = intruders.len() - INTRUDERS_SHOWN;
        let _ = writeln!(out, "  INTRUDER  and {more} more: see --format json");
    }
}

/// The head of the audit chain, and whether this was recorded there.
fn recorded(out: &mut String, indent: &str, recorded: &Recorded) {
    if let Some(head) = &recorded.audit_head {
        let _ = writeln!(out, "{indent}audit head  {head}");
    }
    if let Some(why) = &recorded.audit_why {
        let _ = writeln!(out, "{indent}audit       NOT RECORDED: {why}");
    }
}

fn describe(problem: &crate::jobs::verify::Problem) -> String {
    let chunk = problem.chunk.map_or_else(String::new, |n| format!(", chunk {n}"));
    format!("{}{chunk}: {}", problem.object, problem.why)
}
