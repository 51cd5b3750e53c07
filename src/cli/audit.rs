//! `audit` on the command line.

use std::{io::Write as _, process::ExitCode};

use clap::Subcommand;

use super::{
    args::{Global, WitnessArgs},
    exit::Exit,
    find::instant,
    output,
};
use crate::{
    jobs::{
        JobError,
        audit::{self, Line, Range},
    },
    model::Timestamp,
};

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that the audit chain is whole: no record is missing, altered or out of order
    #[command(after_help = "\
Examples:
  backstay audit verify
  backstay audit verify --at-least 17:9f86d0…   and that nothing was cut off since that head

It tells of acts that began and have no end: they are going on, or were killed. No KEK is needed.
Exit 0 when the chain is whole, also with such acts; 6 when it is not.")]
    Verify {
        #[command(flatten)]
        witness: WitnessArgs,
    },
    /// Print the records as lines of JSON, each with the identity of its run
    #[command(after_help = "\
Examples:
  backstay audit export --since 2026-11-01T00:00:00Z > november.jsonl
  backstay audit export --after 4711 | collector       what came behind the last line that it has

The lines are in the order of the chain, not of the clocks. docs/audit.md describes their fields. Exit 6 when
a record is missing or not believed: the others are printed all the same.")]
    Export {
        /// Records of this instant or later: RFC 3339 with its offset, 2026-11-21T14:00:00Z
        #[arg(long, value_name = "TIME", value_parser = instant)]
        since: Option<Timestamp>,
        /// Records of this instant or earlier
        #[arg(long, value_name = "TIME", value_parser = instant)]
        until: Option<Timestamp>,
        /// Records behind the one of this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        after: u64,
        #[command(flatten)]
        witness: WitnessArgs,
    },
}

pub(super) async fn run(global: &Global, command: AuditCommand) -> Result<ExitCode, JobError> {
    match command {
        AuditCommand::Verify { witness } => {
            let repository = global.repository().await?;
            let witness = global.witness(&witness).await;
            let audited = audit::verify(&repository, global.at_least, &witness).await?;
            output::success(global.format, &audited);
            let whole = audited.findings.is_empty();
            Ok(if whole { ExitCode::SUCCESS } else { Exit::Integrity.into() })
        }
        AuditCommand::Export { since, until, after, witness } => {
            export(global, Range { after, since, until }, &witness).await
        }
    }
}

async fn export(
    global: &Global,
    range: Range,
    witness: &WitnessArgs,
) -> Result<ExitCode, JobError> {
    if let (Some(since), Some(until)) = (range.since, range.until)
        && since > until
    {
        return Err(JobError::Usage {
            what: format!("--since {since} is later than --until {until}"),
            hint: "give the earlier instant as --since".into(),
        });
    }
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    let witness = global.witness(witness).await;
    let mut out = std::io::stdout().lock();
    let print = |line: &Line<'_>| {
        let text = serde_json::to_string(line).map_err(std::io::Error::from);
        match text.and_then(|text| writeln!(out, "{text}")) {
            Ok(()) => Ok(true),
            // Whoever reads has enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(cause) => {
                Err(JobError::Io { operation: "write to", path: "standard output".into(), cause })
            }
        }
    };
    let exported = audit::export(&repository, range, &witness, print).await?;
    for finding in &exported.findings {
        tracing::error!(object = finding.object, why = finding.why, "the audit chain is damaged");
    }
    let whole = exported.findings.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { Exit::Integrity.into() })
}
