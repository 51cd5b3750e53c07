//! For how long what is written is locked: what a user decides, and what follows from that.
//!
//! An object is locked from when it is written. Whatever opens or vouches for others must outlive
//! them, and is written before them: so its lock is longer by [`SLACK`], and those few records that
//! all runs rest on are locked anew by every run. So is what an increment stands on, by the increment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Finding, PipelineError, Repository, candidates::Candidates, repository::key};
use crate::{
    format::{ClusterRecord, MAX_RECORD_BYTES, RunLock, layout},
    model::{LockMode, Protection, Retention, RunId, Timestamp},
    store::{Keep, Kept, Key, StoreError, StoreErrorKind, Version, Versions, probe_keeping},
};

/// Longer than a run seals with one DEK: an archiver renews it after a day, and is stopped after
/// three while the KMS is down.
pub const SLACK: Duration = Duration::from_hours(7 * 24);

/// What an object is for, which decides for how long it is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// What is restored: volumes, manifests, the binlog log with its tails and segments.
    Data,
    /// What opens it, or what it is read by: key records, claims of the log.
    Key,
    /// What proves who did what: audit records, the runs that signed them, the cluster's record.
    Evidence,
}

/// What a user decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockPolicy {
    /// How strict the locks are.
    pub mode: LockMode,
    /// For how long what is restored is locked.
    pub data: Duration,
    /// For how long evidence is locked, where that is longer.
    pub evidence: Option<Duration>,
    /// Whether a legal hold is put on everything, too.
    pub legal_hold: bool,
}

impl LockPolicy {
    /// For how long an object of this class is locked.
    #[must_use]
    pub fn duration(&self, class: Class) -> Duration {
        let longer = self.data.saturating_add(SLACK);
        match class {
            Class::Data => self.data,
            Class::Key => longer,
            Class::Evidence => longer.max(self.evidence.unwrap_or_default()),
        }
    }

    /// What protects an object of this class that is written now.
    #[must_use]
    pub fn protection(&self, class: Class, now: Timestamp) -> Protection {
        let retention = Retention { mode: self.mode, until: after(now, self.duration(class)) };
        Protection { retention: Some(retention), legal_hold: self.legal_hold }
    }

    /// What a run's record says of it.
    #[must_use]
    pub fn told(&self) -> RunLock {
        let seconds = |class| self.duration(class).as_secs();
        RunLock {
            mode: self.mode,
            data_seconds: seconds(Class::Data),
            key_seconds: seconds(Class::Key),
            evidence_seconds: seconds(Class::Evidence),
            legal_hold: self.legal_hold,
        }
    }
}

/// So much later, in whole seconds, as every store keeps them; never earlier.
fn after(now: Timestamp, duration: Duration) -> Timestamp {
    const SECOND: i64 = 1_000_000;
    let length = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let until = now.as_microseconds().saturating_add(length);
    let whole = until.saturating_add(SECOND - 1).div_euclid(SECOND).saturating_mul(SECOND);
    // Beyond the calendar: the last year of it.
    let last = || Timestamp::from_microseconds(253_370_764_800_000_000);
    Timestamp::from_microseconds(whole).or_else(last).unwrap_or(now)
}

/// The same promise, for an object that was written at most so much earlier.
pub(super) fn earlier(promise: Protection, by: Duration) -> Protection {
    let retention = promise.retention.map(|retention| {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        let until = retention.until.as_microseconds().saturating_sub(by);
        Retention {
            until: Timestamp::from_microseconds(until).unwrap_or(retention.until),
            ..retention
        }
    });
    Protection { retention, ..promise }
}

/// The later end and the stricter mode of two retentions.
pub(super) fn longest(a: Option<Retention>, b: Option<Retention>) -> Option<Retention> {
    match (a, b) {
        (Some(a), Some(b)) => {
            Some(Retention { mode: a.mode.max(b.mode), until: a.until.max(b.until) })
        }
        (a, b) => a.or(b),
    }
}

impl Repository {
    /// With everything locked that is written through it.
    #[must_use]
    pub fn locking(mut self, policy: Option<LockPolicy>) -> Self {
        self.policy = policy;
        self
    }

    /// The policy, as far as the bucket's own lock allows less: see [`Repository::check_lock`].
    pub fn lock_policy(&self) -> Option<LockPolicy> {
        let mut policy = self.policy?;
        if let Some(least) = self.least.get() {
            policy.data = policy.data.max(*least);
        }
        Some(policy)
    }

    /// How an object of this class is to be kept that is written now.
    pub fn keep(&self, class: Class) -> Keep {
        let policy = self.lock_policy();
        let protection = policy.map(|policy| policy.protection(class, Timestamp::now()));
        Keep { protection: protection.unwrap_or_default(), ..Keep::default() }
    }

    /// The same for bulk data.
    pub fn keep_bulk(&self) -> Keep {
        Keep { bulk: true, ..self.keep(Class::Data) }
    }

    /// How a record is to be kept that takes the place of another one: for as long, at least.
    pub(super) async fn keep_like(&self, object: &str) -> Result<Keep, PipelineError> {
        let mut keep = self.keep(Class::Key);
        if keep.protection.retention.is_some() {
            let before = self.store().protection(&key(object)?).await?;
            keep.protection.retention = longest(keep.protection.retention, before.retention);
        }
        Ok(keep)
    }

    /// Makes sure that the bucket can lock, and takes its own default for the least.
    ///
    /// # Errors
    /// `Unsupported` when there is no Object Lock, or the bucket's own is stricter than ours: it
    /// would be weakened by what we say. The store's errors.
    pub async fn check_lock(&self) -> Result<(), PipelineError> {
        let Some(policy) = self.policy else { return Ok(()) };
        let store = self.store();
        let refused = |cause: String, hint: &str| {
            let kind = StoreErrorKind::Unsupported;
            PipelineError::from(StoreError::new(kind, "lock", store.url(), cause).hint(hint))
        };
        let Some(lock) = store.bucket_lock().await? else {
            return Err(refused(
                "it has no Object Lock, and --lock was given".into(),
                "make a bucket with Object Lock (it can hardly be added later), or leave out --lock",
            ));
        };
        let Some(default) = lock.default else { return Ok(()) };
        if default.mode > policy.mode {
            let (its, ours) = (default.mode, policy.mode);
            return Err(refused(
                format!("it locks by {its}, and --lock {ours} would weaken that"),
                "give --lock compliance",
            ));
        }
        // The same each time, unless somebody changes the bucket while we run.
        let _ = self.least.set(default.duration());
        Ok(())
    }

    /// Proves that the store keeps what it is asked to: locks, its encryption, a storage class.
    ///
    /// # Errors
    /// `Unsupported` when it does not; the store's errors.
    pub async fn probe_keep(&self, unique: &str) -> Result<(), PipelineError> {
        self.check_lock().await?;
        let keep = self.keep_bulk();
        let store = &**self.store();
        if store.expected(&keep) == Kept::default() {
            return Ok(());
        }
        Ok(probe_keeping(store, &format!("{}/", self.cluster()), unique, &keep).await?)
    }

    /// Makes sure that an object just written is protected as it was asked to be.
    ///
    /// # Errors
    /// When it is not, or the store fails.
    pub async fn must_be_locked(&self, object: &str, asked: &Keep) -> Result<(), PipelineError> {
        if asked.protection == Protection::default() {
            return Ok(());
        }
        match self.look_short(object, &asked.protection).await? {
            None => Ok(()),
            Some(Finding { why: short, .. }) => Err(PipelineError::integrity(
                object,
                format!("the store has taken it, and not its lock: {short}"),
            )),
        }
    }

    /// What a run has promised for an object of this class that it wrote at this instant; nothing
    /// when it locks nothing, or the time is over.
    ///
    /// # Errors
    /// When the run's record is not believed, or the store fails.
    pub async fn promise(
        &self,
        run: RunId,
        class: Class,
        at: Timestamp,
    ) -> Result<Option<Protection>, PipelineError> {
        let Some(lock) = self.run(run).await?.lock else { return Ok(None) };
        let seconds = match class {
            Class::Data => lock.data_seconds,
            Class::Key => lock.key_seconds,
            Class::Evidence => lock.evidence_seconds,
        };
        let until = after(at, Duration::from_secs(seconds));
        let retention = Retention { mode: lock.mode, until };
        let promise = Protection { retention: Some(retention), legal_hold: lock.legal_hold };
        Ok((until > Timestamp::now() || lock.legal_hold).then_some(promise))
    }

    /// In what the lock of the version that counts falls short of a promise.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn short_of(
        &self,
        versions: &Versions,
        promise: &Protection,
    ) -> Result<Option<Finding>, PipelineError> {
        // What is missing altogether is told elsewhere.
        let Some(counts) = self.met().counts(versions) else { return Ok(None) };
        let found = self.store().kept(&versions.key, &counts).await?.protection;
        let object = versions.key.to_string();
        Ok(found.falls_short_of(promise).map(|why| Finding { object, chunk: None, why }))
    }

    /// The same of an object that was not listed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn look_short(
        &self,
        object: &str,
        promise: &Protection,
    ) -> Result<Option<Finding>, PipelineError> {
        let versions = self.store().versions(&key(object)?).await?;
        self.short_of(&versions, promise).await
    }

    /// Locks anew what every run rests on, for at least as long as what is written now: the
    /// cluster's record, and the record of the run that signed it.
    pub(super) async fn renew_locks(&self) -> Result<(), PipelineError> {
        let Some(policy) = self.lock_policy() else { return Ok(()) };
        let object = layout::cluster(self.cluster());
        let mut found = Candidates::of(self, &object).await?;
        while let Some(version) = found.next() {
            let bytes = self.store().get_version(found.key(), &version, MAX_RECORD_BYTES).await;
            let judged = match bytes {
                Ok(bytes) => self.believe_alone::<ClusterRecord>(&object, &bytes).await,
                Err(error) => Err(PipelineError::reading(error)),
            };
            let Some(record) = found.judge(judged)? else { continue };
            self.lock_longer(found.key(), &version, policy, Class::Evidence).await?;
            let run = layout::run(self.cluster(), record.record.run_id);
            let run = Candidates::of(self, &run).await?;
            return self.lock_oldest(run, policy).await;
        }
        found.none::<()>().map(drop)
    }

    /// A run's record is the only one that its signer has made, so the oldest version is it.
    async fn lock_oldest(
        &self,
        mut found: Candidates<'_>,
        policy: LockPolicy,
    ) -> Result<(), PipelineError> {
        match found.next() {
            Some(version) => self.lock_longer(found.key(), &version, policy, Class::Evidence).await,
            None => Err(PipelineError::integrity(found.key().as_str(), "it is missing")),
        }
    }

    /// Locks the version of an object that counts for as long as if it were written now.
    pub(super) async fn lock_anew(&self, object: &str, class: Class) -> Result<(), PipelineError> {
        let Some(policy) = self.lock_policy() else { return Ok(()) };
        let key = key(object)?;
        let versions = self.store().versions(&key).await?;
        match self.met().counts(&versions) {
            Some(version) => self.lock_longer(&key, &version, policy, class).await,
            None => Err(PipelineError::integrity(object, "it is missing")),
        }
    }

    async fn lock_longer(
        &self,
        key: &Key,
        version: &Version,
        policy: LockPolicy,
        class: Class,
    ) -> Result<(), PipelineError> {
        let wanted = policy.protection(class, Timestamp::now()).retention;
        let found = self.store().kept(key, version).await?.protection.retention;
        let longer = longest(found, wanted);
        if longer == found {
            return Ok(());
        }
        match longer {
            Some(longer) => Ok(self.store().retain(key, version, longer).await?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(evidence: Option<Duration>) -> LockPolicy {
        LockPolicy {
            mode: LockMode::Compliance,
            data: Duration::from_hours(24),
            evidence,
            legal_hold: false,
        }
    }

    #[test]
    fn what_opens_outlives_what_is_opened() {
        let now = "2026-11-20T20:43:17.000001Z".parse().unwrap();
        let until = |class, evidence| {
            policy(evidence).protection(class, now).retention.unwrap().until.to_string()
        };
        assert_eq!(until(Class::Data, None), "2026-11-21T20:43:18Z");
        assert_eq!(until(Class::Key, None), "2026-11-28T20:43:18Z");
        assert_eq!(until(Class::Evidence, None), "2026-11-28T20:43:18Z");
        let year = Some(Duration::from_hours(365 * 24));
        assert_eq!(until(Class::Evidence, year), "2027-11-20T20:43:18Z");
        assert_eq!(until(Class::Key, year), "2026-11-28T20:43:18Z");
    }

    #[test]
    fn a_lock_for_ever_ends_with_the_calendar() {
        let until = after(Timestamp::now(), Duration::MAX);
        assert!(until.to_string().starts_with("9999-") || until.to_string().starts_with("9998-"));
    }
}
