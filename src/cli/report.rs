//! `report` on the command line.

use std::{io::Write as _, process::ExitCode};

use clap::Args;

use super::{
    args::{Format, Global, WitnessArgs},
    exit::Exit,
    output::{self, Text as _},
    termination,
};
use crate::{
    jobs::{
        JobError,
        report::{self, Report, Status},
    },
    model::Timestamp,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay report --since 30d
  backstay report --since 2026-01-01T00:00:00Z --until 2026-12-31T23:59:59Z --format html > 2026.html
  backstay report --since 1y --strict --at-least 17:9f86d0…   for a CronJob that shall fail when a control does

For each control of PCI DSS 4.0.1 that backups can show something of: holds, fails, or not-shown, a sentence,
and the objects that show it. --format html is one file without external resources, for people and printers.
No KEK is needed. The document's SHA-256 goes into the audit chain (report-made). Exit 0 when the report was
made, whatever it says; 7 with --strict when a control fails.")]
pub(super) struct ReportArgs {
    /// From then on: an instant of RFC 3339 with its offset, or a span before the end: 30d, 6mo, 1y
    #[arg(long, value_name = "WHEN")]
    since: When,
    /// Until then [default: now]
    #[arg(long, value_name = "TIME", value_parser = super::find::instant)]
    until: Option<Timestamp>,
    /// Exit 7 when a control fails
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    witness: WitnessArgs,
}

/// An instant, or a span before another one.
#[derive(Debug, Clone)]
enum When {
    At(Timestamp),
    Before(jiff::Span),
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        match text.parse::<jiff::Span>() {
            Ok(span) if span.is_positive() => Ok(Self::Before(span)),
            _ => {
                Err("give an instant with its offset, 2026-11-21T14:00:00Z, or a span, 30d".into())
            }
        }
    }
}

impl When {
    fn before(&self, end: Timestamp) -> Result<Timestamp, JobError> {
        match self {
            Self::At(at) => Ok(*at),
            Self::Before(span) => end.minus_span(*span).ok_or_else(|| JobError::Usage {
                what: format!("no calendar has what is {span} before {end}"),
                hint: "give a shorter --since".into(),
            }),
        }
    }
}

pub(super) async fn run(global: &Global, args: ReportArgs) -> Result<ExitCode, JobError> {
    let now = Timestamp::now();
    let until = args.until.unwrap_or(now);
    let since = args.since.before(until)?;
    let repository = global.repository().await?;
    let witness = global.witness(&args.witness).await;
    let format = match global.format {
        Format::Text => "text",
        Format::Json => "json",
        Format::Html => "html",
    };
    let request = report::Request {
        repository,
        since,
        until,
        now,
        at_least: global.at_least,
        witness: &witness,
        format,
    };
    let render = |report: &Report| match global.format {
        Format::Text => report.text(),
        Format::Json => output::pretty(&serde_json::to_value(report).unwrap_or_default()) + "\n",
        Format::Html => output::report_html(report),
    };
    let made = Box::pin(report::run(&request, render)).await?;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(made.document.as_bytes()).and_then(|()| out.flush());
    written.map_err(|cause| JobError::Io {
        operation: "write to",
        path: "standard output".into(),
        cause,
    })?;
    let recorded = &made.recorded;
    tracing::info!(
        sha256 = %made.sha256,
        audit = recorded.audit,
        audit_why = recorded.audit_why,
        audit_head = recorded.audit_head,
        "the report was made"
    );
    let controls: Vec<_> = made.report.controls.iter().map(|c| (c.id, c.status.name())).collect();
    termination::write(serde_json::json!({
        "version": 1,
        "status": made.report.status,
        "since": made.report.since,
        "until": made.report.until,
        "controls": controls.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "sha256": made.sha256,
        "audit": recorded.audit,
        "audit_why": recorded.audit_why,
        "audit_head": recorded.audit_head,
    }));
    let fails = args.strict && made.report.status == Status::Fails;
    Ok(if fails { Exit::Target.into() } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_an_instant_or_a_span() {
        let end: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let of =
            |text: &str| text.parse::<When>().map(|when| when.before(end).unwrap().to_string());
        assert_eq!(of("30d").unwrap(), "2026-10-31T12:00:00Z");
        assert_eq!(of("1y").unwrap(), "2025-11-30T12:00:00Z");
        assert_eq!(of("2026-01-01T00:00:00+01:00").unwrap(), "2025-12-31T23:00:00Z");
        for bad in ["", "yesterday", "-3d", "2026-01-01", "0d"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
