//! `find`: its arguments, and the flags of the restores that it proposes.

use std::{fmt::Write as _, num::NonZeroUsize, sync::Arc};

use clap::{Args, ValueEnum};

use super::args::{Global, WitnessArgs};
use crate::{
    jobs::{self, JobError},
    model::{ChangeKind, TablePattern, Timestamp},
    pipeline::Progress,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backstay find --table shop.orders --kind drop      when it was dropped, and what to do
  backstay find --table shop.orders --since 2026-11-21T14:00:00Z --until 2026-11-21T15:00:00Z
  backstay find --table 'shop.*' --kind delete       what deleted rows in a schema
  backstay find                                      the last definitions: CREATE, ALTER, DROP …

Transactions come newest first, in the order of the binary log. --kind ddl is every definition,
drops and truncates with them. Dropping a schema drops its tables. Names are compared without
regard to case. Of statement-based binary logs only the text of each statement is known: rows are
not counted. Exit 6 means that something that may hold matches could not be read; what was found
is shown.")]
pub(super) struct FindArgs {
    /// The table, SCHEMA.TABLE, or all of a schema, SCHEMA.* [default: any, and --kind ddl]
    #[arg(long, value_name = "TABLE")]
    table: Option<TablePattern>,
    /// What was done to it [default: anything]
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Committed at this instant or later: RFC 3339 with its offset, 2026-11-21T14:00:00Z
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Committed at this instant or earlier
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Tell of so many transactions at most, the newest
    #[arg(long, value_name = "N", default_value = "20")]
    limit: NonZeroUsize,
    #[command(flatten)]
    witness: WitnessArgs,
}

/// What was done to a table.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Dropped, or its schema, or a partition
    Drop,
    /// Emptied, or a partition
    Truncate,
    /// Rows were deleted
    Delete,
    /// Rows were updated
    Update,
    /// Rows were inserted
    Insert,
    /// Any definition: CREATE, ALTER, RENAME, DROP, TRUNCATE …
    Ddl,
}

impl From<Kind> for ChangeKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Drop => Self::Drop,
            Kind::Truncate => Self::Truncate,
            Kind::Delete => Self::Delete,
            Kind::Update => Self::Update,
            Kind::Insert => Self::Insert,
            Kind::Ddl => Self::Ddl,
        }
    }
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        "give an instant of RFC 3339 with its offset: 2026-11-21T14:00:00Z, 2026-11-21T15:00:00+01:00"
            .to_owned()
    })
}

pub(super) async fn run(
    global: &Global,
    args: FindArgs,
    progress: &Arc<Progress>,
) -> Result<jobs::find::Found, JobError> {
    let kms = global.kms().await?;
    let repository = global.repository().await?;
    global.fresh(&repository).await?;
    let witness = global.witness(&args.witness).await;
    Box::pin(jobs::find::run(jobs::find::Request {
        repository,
        kms: &*kms,
        table: args.table,
        kind: args.kind.map(Into::into),
        since: args.since,
        until: args.until,
        limit: args.limit.get(),
        flags: flags(global, |name| std::env::var(name).ok()),
        witness: &witness,
        progress: Arc::clone(progress),
    }))
    .await
}

/// The flags that lead to the same repository, as they were given. What the environment says it
/// says to the next command, too. None of them can hold a secret: a URL with a password is refused.
fn flags(global: &Global, environment: impl Fn(&str) -> Option<String>) -> String {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let store = &global.store;
    let given = [
        ("repo", global.repo.clone()),
        ("cluster", global.cluster.as_ref().map(ToString::to_string)),
        ("kek", global.kek.clone()),
        ("trust", path(&global.trust)),
        ("store-endpoint", store.store_endpoint.clone()),
        ("store-region", store.store_region.clone()),
        ("store-path-style", store.store_path_style.map(|style| style.to_string())),
        ("store-ca", path(&store.store_ca)),
    ];
    let mut flags = String::new();
    for (name, value) in given {
        let variable = format!("BACKSTAY_{}", name.replace('-', "_").to_uppercase());
        if let Some(value) = value.filter(|value| environment(&variable).as_ref() != Some(value)) {
            let _ = write!(flags, " --{name} {}", quoted(&value));
        }
    }
    flags
}

/// As a shell takes it for one word.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn a_restore_leads_to_the_same_repository() {
        let words =
            ["backstay", "--repo", "s3://b/it's", "list", "--cluster", "shop", "--kek", "file:/k"];
        let cli = Cli::try_parse_from(words).unwrap();
        let none = |_: &str| None;
        assert_eq!(
            flags(&cli.global, none),
            r" --repo 's3://b/it'\''s' --cluster shop --kek file:/k"
        );
        let some = |name: &str| (name == "BACKSTAY_KEK").then(|| "file:/k".to_owned());
        assert!(!flags(&cli.global, some).contains("kek"));
    }

    #[test]
    fn an_instant_needs_its_offset() {
        let find = |time: &str| Cli::try_parse_from(["backstay", "find", "--since", time]);
        assert!(find("2026-11-21T14:00:00+01:00").is_ok());
        for bad in ["2026-11-21T14:00:00", "2026-11-21", "14:00"] {
            assert!(find(bad).unwrap_err().to_string().contains("with its offset"), "{bad}");
        }
        assert!(Cli::try_parse_from(["backstay", "find", "--table", "orders"]).is_err());
        assert!(Cli::try_parse_from(["backstay", "find", "--limit", "0"]).is_err());
    }
}
