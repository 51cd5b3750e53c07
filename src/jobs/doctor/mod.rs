//! `doctor`: would a backup and a restore work from here? It looks, says what to do, and
//! changes nothing but one small probe object in the repository.
//!
//! What is read and what is made of it are apart: `judge` is pure.

mod access;
mod database;
mod judge;
mod keys;
mod repository;
mod rights;

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use crate::{
    crypto::{
        kms::Kms,
        signer::{Signer, Trust},
    },
    model::{ClusterName, EngineKind},
    mysql::ConnectOptions,
    pipeline::LockPolicy,
    store::Store,
};
pub use rights::Side;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nothing was given to check it with.
    NotChecked,
    /// As it should be.
    Ok,
    /// It works, with a risk that the remedy names.
    Warn,
    /// A backup or a restore would fail, or could not be trusted.
    Fail,
}

impl Status {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotChecked => "not-checked",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Version of this object.
    pub version: u32,
    /// What was looked at; stable.
    pub check: String,
    /// How it went.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// What to do; empty when nothing is to be done.
    pub remedy: String,
}

impl Check {
    fn new(
        check: impl Into<String>,
        status: Status,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (check, detail, remedy) = (check.into(), detail.into(), remedy.into());
        Self { version: 1, check, status, detail, remedy }
    }

    fn ok(check: &str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, detail, "")
    }

    fn fail(check: &str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(check, Status::Fail, detail, remedy)
    }

    fn not_checked(check: &str, flag: &str) -> Self {
        Self::new(check, Status::NotChecked, "not checked", format!("give {flag} to check it"))
    }
}

/// Something that a check needs.
#[derive(Debug)]
pub enum Part<T> {
    /// Not given, and the flag that would give it.
    Missing(&'static str),
    /// Given, and of no use.
    Bad(String),
    /// Given, and this identity may not use it.
    Denied(String),
    /// Given.
    Given(T),
}

impl<T> Part<T> {
    /// The part itself, or the check that says why there is none.
    fn take(&self, check: &str) -> Result<&T, Check> {
        match self {
            Self::Given(part) => Ok(part),
            Self::Missing(flag) => Err(Check::not_checked(check, flag)),
            Self::Bad(why) | Self::Denied(why) => {
                Err(Check::fail(check, why, "put the option or the file right"))
            }
        }
    }
}

/// What there is to look at.
#[derive(Debug)]
pub struct Request {
    /// The database server.
    pub database: Part<ConnectOptions>,
    /// The engine that is wanted; chosen by the server's version when none is.
    pub engine: Option<EngineKind>,
    /// The object store.
    pub store: Part<Arc<dyn Store>>,
    /// How what is written is to be locked.
    pub lock: Part<LockPolicy>,
    /// The cluster's name.
    pub cluster: Part<ClusterName>,
    /// The KEK.
    pub kms: Part<Box<dyn Kms>>,
    /// KEKs that shall open, too, what is sealed.
    pub also: Part<Vec<Box<dyn Kms>>>,
    /// The signer.
    pub signer: Part<Box<dyn Signer>>,
    /// Whom to believe.
    pub trust: Part<Trust>,
    /// What this identity is meant to be; nothing when it is to be told what it is.
    pub side: Option<Side>,
    /// The folder that a clone would be made in; the system's temporary one by default.
    pub scratch: Option<PathBuf>,
    /// The folder that a restore would fill.
    pub datadir: Option<PathBuf>,
}

/// Looks at everything that was given. What cannot be reached is a check that failed.
pub async fn run(request: &Request) -> Vec<Check> {
    let mut checks = Vec::new();
    let data_bytes = database::look(request, &mut checks).await;
    let payload_bytes = repository::look(request, &mut checks).await;
    checks.push(match &request.datadir {
        None => Check::not_checked("disk", "--datadir"),
        Some(folder) => judge::disk(
            &folder.display().to_string(),
            super::restore::free_bytes(folder).map_err(|e| e.to_string()),
            payload_bytes.or(data_bytes),
        ),
    });
    checks.push(judge::memory(&crate::pipeline::budget::Budget::here(), memory_limit()));
    checks
}

/// What the control group allows us, where it says so.
fn memory_limit() -> Option<u64> {
    std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok()?.trim().parse().ok()
}

/// Whether nothing failed.
#[must_use]
pub fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Status::Fail)
}
