//! `report` for people: in lines, and as a page.

mod html;

use std::fmt::Write as _;

use super::Text;
use crate::jobs::report::{Evidence, Report, Status};

pub(in crate::cli) use html::page;

/// Objects that are named beside a statement; JSON has more.
const SHOWN: usize = 5;

/// The word for a status where it stands out.
fn word(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Holds) => "holds",
        Some(Status::NotShown) => "not shown",
        Some(Status::Fails) => "FAILS",
        None => "remark",
    }
}

fn shown(evidence: &Evidence) -> String {
    match evidence.sha256 {
        Some(sha256) => format!("{}  {sha256}", evidence.object),
        None => evidence.object.clone(),
    }
}

impl Text for Report {
    fn text(&self) -> String {
        let mut out = String::new();
        let Self { cluster, since, until, generated_at, catalogue, .. } = self;
        let _ = writeln!(out, "Evidence of cluster {cluster}, {since} to {until}");
        let _ = writeln!(out, "  repository  {}", self.repository);
        let _ = writeln!(out, "  made        {generated_at}, by backstay {}", self.tool_version);
        let _ = writeln!(out, "  audit head  {}", self.audit_head);
        if let Some(head) = &self.log_head {
            let _ = writeln!(out, "  log head    {head}");
        }
        let fresh = if self.freshness_proven { "proven by --at-least" } else { "not proven" };
        let _ = writeln!(out, "  freshness   {fresh}");
        let sum = &self.summary;
        let _ = writeln!(
            out,
            "  {catalogue}: {} hold, {} fail, {} not shown\n",
            sum.holds, sum.fails, sum.not_shown
        );
        for control in &self.controls {
            let _ = writeln!(
                out,
                "{:<6} {:<10} {}",
                control.id,
                word(Some(control.status)),
                control.title
            );
        }
        for control in &self.controls {
            let _ = writeln!(
                out,
                "\n{} {}: {}\n  {}",
                control.id,
                control.title,
                word(Some(control.status)),
                control.asks
            );
            for statement in &control.statements {
                let _ = writeln!(out, "  - {}: {}", word(statement.status), statement.text);
                for evidence in statement.evidence.iter().take(SHOWN) {
                    let _ = writeln!(out, "      {}", shown(evidence));
                }
                let more = statement.evidence_total.saturating_sub(SHOWN as u64);
                if more > 0 {
                    let _ = writeln!(out, "      and {more} more");
                }
            }
        }
        out
    }
}
