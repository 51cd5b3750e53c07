//! Object Lock on the command line.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::args::duration;

/// How strict a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lock {
    /// Whoever has a right of its own can lift it
    Governance,
    /// Nobody can lift it, whatever their rights
    Compliance,
}

/// For whoever writes to a bucket with Object Lock.
#[derive(Debug, Args)]
#[command(next_help_heading = "Object Lock")]
pub(super) struct LockArgs {
    /// Lock every object that is written against removal; needs a bucket with Object Lock
    #[arg(long, global = true, env = "BACKSTAY_LOCK", value_name = "MODE", requires = "lock_for")]
    pub(super) lock: Option<Lock>,
    /// For how long what is restored is locked, from when it is written: the window that shall be
    /// restorable, and the time between two base backups: 35d
    #[arg(
        long,
        global = true,
        env = "BACKSTAY_LOCK_FOR",
        value_name = "DURATION",
        value_parser = long_duration,
        requires = "lock"
    )]
    pub(super) lock_for: Option<Duration>,
    /// For how long the audit chain and who signed it are locked, when that shall be longer: 400d
    #[arg(
        long,
        global = true,
        env = "BACKSTAY_LOCK_AUDIT_FOR",
        value_name = "DURATION",
        value_parser = long_duration,
        requires = "lock"
    )]
    pub(super) lock_audit_for: Option<Duration>,
    /// Put a legal hold on everything, too, which ends when somebody lifts it
    #[arg(long, global = true, env = "BACKSTAY_LOCK_HOLD", requires = "lock")]
    pub(super) lock_hold: bool,
}

/// Days, weeks and years, beside what [`duration`] takes.
fn long_duration(text: &str) -> Result<Duration, String> {
    let days = [("d", 1), ("w", 7), ("y", 365)].into_iter().find_map(|(unit, days)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(days * 24).map(Duration::from_hours)
    });
    match days.map_or_else(|| duration(text), Ok)? {
        Duration::ZERO => Err("a lock for no time locks nothing".to_owned()),
        length => Ok(length),
    }
}
