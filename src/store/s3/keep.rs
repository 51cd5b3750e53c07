//! Object Lock, encryption at rest and storage class: asked for when an object is written, and
//! read back.

use std::time::Duration;

use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    primitives::DateTime,
    types::{
        ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention,
        ObjectLockRetentionMode, ServerSideEncryption, StorageClass as Class,
    },
};

use super::{
    super::{
        BucketLock, DefaultRetention, Keep, Kept, Key, ServerEncryption, StorageClass,
        StoreErrorKind, VersionId, backend::Fault,
    },
    S3, time,
};
use crate::model::{LockMode, Protection, Retention, Timestamp};

/// What every object is asked to have, beside its lock.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    pub(super) encryption: Option<ServerEncryption>,
    pub(super) storage_class: Option<StorageClass>,
}

/// The fields of a request that creates an object.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) mode: Option<ObjectLockMode>,
    pub(super) until: Option<DateTime>,
    pub(super) hold: Option<ObjectLockLegalHoldStatus>,
    pub(super) encryption: Option<ServerSideEncryption>,
    pub(super) encryption_key: Option<String>,
    pub(super) class: Option<Class>,
}

fn instant(at: Timestamp) -> DateTime {
    DateTime::from_nanos(i128::from(at.as_microseconds()) * 1000)
        .unwrap_or_else(|_| DateTime::from_secs(at.as_microseconds() / 1_000_000))
}

impl S3 {
    /// What a request that creates an object has to say.
    pub(super) fn headers(&self, keep: &Keep) -> Headers {
        let Keep { protection: Protection { retention, legal_hold }, bulk, .. } = *keep;
        let encryption = self.wishes.encryption.as_ref();
        Headers {
            mode: retention.map(|r| match r.mode {
                LockMode::Governance => ObjectLockMode::Governance,
                LockMode::Compliance => ObjectLockMode::Compliance,
            }),
            until: retention.map(|r| instant(r.until)),
            hold: legal_hold.then_some(ObjectLockLegalHoldStatus::On),
            encryption: encryption.map(|e| ServerSideEncryption::from(e.word())),
            encryption_key: encryption.and_then(ServerEncryption::key).map(str::to_owned),
            class: self.wishes.storage_class.as_ref().filter(|_| bulk).map(|c| c.as_str().into()),
        }
    }

    pub(super) fn wanted(&self, keep: &Keep) -> Kept {
        let encryption = self.wishes.encryption.as_ref();
        let class = self.wishes.storage_class.as_ref().filter(|_| keep.bulk);
        let class = class.map(StorageClass::as_str).filter(|class| *class != "STANDARD");
        Kept {
            protection: keep.protection,
            encryption: encryption.map(|e| e.word().to_owned()),
            encryption_key: encryption.and_then(ServerEncryption::key).map(str::to_owned),
            storage_class: class.map(str::to_owned),
        }
    }

    pub(super) async fn look_at_lock(&self) -> Result<Option<BucketLock>, Fault> {
        let asked = self.client.get_object_lock_configuration().bucket(&self.place.bucket);
        let answer = match self.attempt(false, asked.send()).await {
            Ok(answer) => answer,
            Err((fault, error)) => {
                let code = error.as_ref().and_then(ProvideErrorMetadata::code);
                let none = code == Some("ObjectLockConfigurationNotFoundError");
                return match fault.kind {
                    _ if none => Ok(None),
                    StoreErrorKind::NotFound | StoreErrorKind::Unsupported => Ok(None),
                    StoreErrorKind::Denied => Err(fault.hint(
                        "grant s3:GetBucketObjectLockConfiguration: a lock that is shorter than \
                         the bucket's own would weaken it",
                    )),
                    _ => Err(fault),
                };
            }
        };
        let Some(lock) = answer.object_lock_configuration() else { return Ok(None) };
        if lock.object_lock_enabled() != Some(&ObjectLockEnabled::Enabled) {
            return Ok(None);
        }
        let default = lock.rule().and_then(|rule| rule.default_retention()).and_then(|given| {
            let mode = mode_of(given.mode()?.as_str())?;
            // Never fewer than the store may count.
            let years = given.years().map_or(0, |years| years.saturating_mul(366));
            let days = given.days().unwrap_or(0).saturating_add(years);
            Some(DefaultRetention { mode, days: u32::try_from(days).unwrap_or(0) })
        });
        Ok(Some(BucketLock { default }))
    }

    /// How an object is kept. Whoever may not read it may still be allowed to ask for its lock.
    pub(super) async fn look_at_object(
        &self,
        key: &Key,
        version: Option<&VersionId>,
    ) -> Result<Kept, Fault> {
        let request = self.client.head_object().bucket(&self.place.bucket).key(self.full(key));
        let request = request.set_version_id(version.map(|id| id.as_str().to_owned()));
        let answer = match self.call(false, request.send()).await {
            Ok(answer) => answer,
            Err(fault) => {
                if fault.kind != StoreErrorKind::Denied {
                    return Err(fault);
                }
                let protection = self.look_at_protection(key, version).await?;
                return Ok(Kept { protection, ..Kept::default() });
            }
        };
        let retention = answer
            .object_lock_mode()
            .and_then(|mode| mode_of(mode.as_str()))
            .zip(time(answer.object_lock_retain_until_date()))
            .map(|(mode, until)| Retention { mode, until });
        let hold = answer.object_lock_legal_hold_status();
        Ok(Kept {
            protection: Protection {
                retention,
                legal_hold: hold == Some(&ObjectLockLegalHoldStatus::On),
            },
            encryption: answer.server_side_encryption().map(|e| e.as_str().to_owned()),
            encryption_key: answer.ssekms_key_id().map(str::to_owned),
            storage_class: answer.storage_class().map(|c| c.as_str().to_owned()),
        })
    }

    async fn look_at_protection(
        &self,
        key: &Key,
        version: Option<&VersionId>,
    ) -> Result<Protection, Fault> {
        let id = version.map(|id| id.as_str().to_owned());
        let request = self.client.get_object_retention().bucket(&self.place.bucket);
        let request = request.key(self.full(key)).set_version_id(id.clone());
        let retention = match self.attempt(false, request.send()).await {
            Ok(answer) => answer.retention().and_then(|given| {
                let mode = mode_of(given.mode()?.as_str())?;
                Some(Retention { mode, until: time(given.retain_until_date())? })
            }),
            Err((_, Some(error))) if has_none(error.code()) => None,
            Err((fault, _)) => return Err(fault),
        };
        let request = self.client.get_object_legal_hold().bucket(&self.place.bucket);
        let request = request.key(self.full(key)).set_version_id(id);
        let legal_hold = match self.attempt(false, request.send()).await {
            Ok(answer) => {
                answer.legal_hold().and_then(|hold| hold.status())
                    == Some(&ObjectLockLegalHoldStatus::On)
            }
            Err((_, Some(error))) if has_none(error.code()) => false,
            Err((fault, _)) => return Err(fault),
        };
        Ok(Protection { retention, legal_hold })
    }

    pub(super) async fn lock_for_longer(
        &self,
        key: &Key,
        version: Option<&VersionId>,
        retention: Retention,
    ) -> Result<(), Fault> {
        let mode = match retention.mode {
            LockMode::Governance => ObjectLockRetentionMode::Governance,
            LockMode::Compliance => ObjectLockRetentionMode::Compliance,
        };
        let until = instant(retention.until);
        let lock = ObjectLockRetention::builder().mode(mode).retain_until_date(until).build();
        let request = self.client.put_object_retention().bucket(&self.place.bucket);
        let request = request.key(self.full(key)).retention(lock);
        let request = request.set_version_id(version.map(|id| id.as_str().to_owned()));
        self.call(false, request.send()).await.map(drop).map_err(|fault| match fault.kind {
            StoreErrorKind::Denied => fault.hint(
                "grant s3:PutObjectRetention; it cannot shorten a lock without a right of its own",
            ),
            _ => fault,
        })
    }
}

/// The store says that there is no lock, and not that something went wrong.
fn has_none(code: Option<&str>) -> bool {
    matches!(
        code,
        Some(
            "NoSuchObjectLockConfiguration"
                | "ObjectLockConfigurationNotFoundError"
                | "InvalidRequest"
        )
    )
}

fn mode_of(word: &str) -> Option<LockMode> {
    match word {
        "GOVERNANCE" => Some(LockMode::Governance),
        "COMPLIANCE" => Some(LockMode::Compliance),
        _ => None,
    }
}

impl DefaultRetention {
    /// For how long.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_hours(24 * u64::from(self.days))
    }
}
