//! Why a window ends, in words.

use super::WindowEnd;
use crate::{
    model::Missing,
    pipeline::log::{End, Lines},
};

pub(super) fn told(end: &End, lines: &Lines<'_>) -> WindowEnd {
    match end {
        End::Current => WindowEnd::new("current", "nothing more is archived yet".into()),
        End::Gap { record, server, file, missing } => WindowEnd {
            record: *record,
            ..with(
                "gap",
                format!(
                    "a gap before {file} of {server}: {} missing: {}",
                    transactions(missing.count),
                    missing.text
                ),
                missing,
            )
        },
        End::Fork { record } => WindowEnd {
            record: Some(*record),
            ..WindowEnd::new(
                "fork",
                format!("a fork at record {record}: it has transactions that the next primary never had"),
            )
        },
        End::Foreign { transactions: foreign } => with(
            "foreign",
            format!(
                "it has {} that were lost before they were archived: {}",
                transactions(foreign.count),
                foreign.text
            ),
            foreign,
        ),
        End::Inexact => WindowEnd::new(
            "inexact",
            "which transactions it has is not known exactly, and its place in the binary log is not archived".into(),
        ),
        End::History { record } => WindowEnd {
            record: Some(*record),
            ..WindowEnd::new("history", format!("a new history began at record {record}"))
        },
        End::NotArchived { missing: Some(missing) } => with(
            "not-archived",
            format!(
                "{} between it and the archive's beginning are not archived: {}",
                transactions(missing.count),
                missing.text
            ),
            missing,
        ),
        End::NotArchived { missing: None } if lines.is_empty() => {
            WindowEnd::new("not-archived", "no binary log is archived: run `backstay archive`".into())
        }
        End::NotArchived { missing: None } => WindowEnd::new(
            "not-archived",
            "the binary logs that follow it are not archived".into(),
        ),
    }
}

fn with(kind: &'static str, why: String, missing: &Missing) -> WindowEnd {
    WindowEnd {
        missing: Some(missing.text.clone()),
        transactions: Some(missing.count),
        ..WindowEnd::new(kind, why)
    }
}

/// A number of transactions, in words.
#[must_use]
pub fn transactions(count: u64) -> String {
    match count {
        1 => "1 transaction".into(),
        count => format!("{count} transactions"),
    }
}
