//! The one place where errors become exit codes. The table in `docs/exit-codes.md` is this one.

use std::process::ExitCode;

use crate::{
    crypto::{Fault, kms::KmsError, signer::SignerError},
    jobs::JobError,
    mysql::MysqlError,
    pipeline::PipelineError,
    store::{StoreError, StoreErrorKind},
};

/// The exit codes; stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    Unexpected = 1,
    Usage = 2,
    Preflight = 3,
    Source = 4,
    Storage = 5,
    Integrity = 6,
    Target = 7,
    Fenced = 8,
    Stopped = 9,
}

impl Exit {
    /// The word for it in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Preflight => "preflight",
            Self::Source => "source",
            Self::Storage => "store",
            Self::Integrity => "integrity",
            Self::Target => "target",
            Self::Fenced => "fenced",
            Self::Stopped => "stopped",
        }
    }

    /// Whether the same command may well succeed the next time.
    pub(super) fn is_worth_a_retry(self) -> bool {
        matches!(self, Self::Unexpected | Self::Source | Self::Storage | Self::Stopped)
    }
}

/// The code of an error and the word for it, as they are recorded.
pub(super) fn of(error: &JobError) -> (u8, &'static str) {
    let exit = Exit::from(error);
    (exit as u8, exit.name())
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&JobError> for Exit {
    fn from(error: &JobError) -> Self {
        match error {
            JobError::Pipeline(error) => error.into(),
            JobError::Mysql(error) => match error {
                MysqlError::AccessDenied { .. }
                | MysqlError::Unsupported { .. }
                | MysqlError::Tls { .. } => Self::Preflight,
                _ => Self::Source,
            },
            JobError::Process(_) | JobError::Source { .. } => Self::Source,
            JobError::Usage { .. } => Self::Usage,
            JobError::Preflight { .. } => Self::Preflight,
            JobError::Target { .. } => Self::Target,
            JobError::Integrity { .. } => Self::Integrity,
            JobError::Io { .. } => Self::Unexpected,
        }
    }
}

impl From<&PipelineError> for Exit {
    fn from(error: &PipelineError) -> Self {
        match error {
            PipelineError::Read(_) | PipelineError::Stream(_) => Self::Source,
            PipelineError::Store(error) => (&**error).into(),
            PipelineError::Kms(error) => match error {
                KmsError::Uri(_) | KmsError::KeyFile(_) => Self::Usage,
                KmsError::WrapOnly { .. } | KmsError::OtherKek { .. } => Self::Preflight,
                KmsError::Refused { .. } => Self::Integrity,
                KmsError::Service(error) => error.fault.into(),
                KmsError::Crypto(_) => Self::Unexpected,
            },
            PipelineError::Signer(error) => match error {
                SignerError::Uri(_) | SignerError::KeyFile(_) => Self::Usage,
                SignerError::Untrusted { .. } => Self::Preflight,
                SignerError::Service(error) => error.fault.into(),
                SignerError::Crypto(_) => Self::Unexpected,
            },
            PipelineError::Integrity { .. } => Self::Integrity,
            PipelineError::Taken { .. }
            | PipelineError::Fenced { .. }
            | PipelineError::GivenUp { .. } => Self::Fenced,
            PipelineError::Stopped => Self::Stopped,
            PipelineError::Accept(_)
            | PipelineError::Crypto(_)
            | PipelineError::Unsettled
            | PipelineError::Worker => Self::Unexpected,
        }
    }
}

impl From<Fault> for Exit {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Settings => Self::Usage,
            Fault::Denied
            | Fault::NotFound
            | Fault::NoVersion
            | Fault::Disabled
            | Fault::Expired
            | Fault::PendingDeletion
            | Fault::Destroyed
            | Fault::WrongKind
            | Fault::OtherKey => Self::Preflight,
            fault if fault.is_passing() => Self::Storage,
            _ => Self::Unexpected,
        }
    }
}

impl From<&StoreError> for Exit {
    fn from(error: &StoreError) -> Self {
        match error.kind {
            StoreErrorKind::Configuration => Self::Usage,
            StoreErrorKind::NoBucket
            | StoreErrorKind::Unsupported
            | StoreErrorKind::WrongRegion => Self::Preflight,
            StoreErrorKind::Corrupt => Self::Integrity,
            _ => Self::Storage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_this_one() {
        let page = include_str!("../../docs/exit-codes.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| "))
            .map(|row| row.split('|').map(str::trim).collect())
            .collect();
        let all = [
            Exit::Unexpected,
            Exit::Usage,
            Exit::Preflight,
            Exit::Source,
            Exit::Storage,
            Exit::Integrity,
            Exit::Target,
            Exit::Fenced,
            Exit::Stopped,
        ];
        for exit in all {
            let code = (exit as u8).to_string();
            let row = rows.iter().find(|row| row[0].trim_matches('`') == code);
            let row = row.unwrap_or_else(|| panic!("docs/exit-codes.md has no row for {code}"));
            let retry = row.iter().any(|cell| cell.starts_with("yes"));
            assert_eq!(retry, exit.is_worth_a_retry(), "whether {code} is worth a retry");
        }
    }
}
