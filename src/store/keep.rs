//! What is asked of a store beside keeping the bytes, and what it says that it does.

use std::{fmt, str::FromStr};

use crate::model::{LockMode, Protection};

/// How an object is to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// What shall protect it from removal.
    pub protection: Protection,
    /// Whether it is bulk data, for which a storage class of the options is meant. Records are
    /// small, and read often: another class would cost more, not less.
    pub bulk: bool,
    /// Whether it is written though the name is taken: in a store that keeps versions alone, where
    /// nothing is lost by that. Whoever does this looks afterwards at which version counts.
    pub over: bool,
}

/// How an object is kept, as the store says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// What protects it from removal.
    pub protection: Protection,
    /// The store's own encryption, beside ours.
    pub encryption: Option<String>,
    /// The key of that, in the store's KMS.
    pub encryption_key: Option<String>,
    /// Its storage class, where it is not the standard one.
    pub storage_class: Option<String>,
}

impl Kept {
    /// What of it is less than was asked for; nothing when it is all that, or more.
    #[must_use]
    pub fn falls_short_of(&self, wanted: &Self) -> Option<String> {
        let short = self.protection.falls_short_of(&wanted.protection);
        let named = |value: Option<&String>| value.cloned().unwrap_or_else(|| "none".to_owned());
        let encryption = wanted.encryption.is_some() && self.encryption != wanted.encryption;
        // The store names a key by its ARN, however it was given; an alias cannot be compared.
        let key = wanted.encryption_key.as_ref().filter(|key| !key.contains("alias/"));
        let other_key = key.filter(|key| {
            !self.encryption_key.as_ref().is_some_and(|found| found.ends_with(key.as_str()))
        });
        let class = wanted.storage_class.is_some() && self.storage_class != wanted.storage_class;
        short
            .or_else(|| {
                encryption.then(|| {
                    let (found, asked) =
                        (named(self.encryption.as_ref()), named(wanted.encryption.as_ref()));
                    format!("its encryption in the store is {found}, and {asked} was asked for")
                })
            })
            .or_else(|| {
                other_key.map(|key| {
                    let found = named(self.encryption_key.as_ref());
                    format!("the store encrypts it with key {found}, and {key} was asked for")
                })
            })
            .or_else(|| {
                class.then(|| {
                    let (found, asked) =
                        (named(self.storage_class.as_ref()), named(wanted.storage_class.as_ref()));
                    format!("its storage class is {found}, and {asked} was asked for")
                })
            })
    }
}

/// What has become of an object that was to be removed for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// What protects the versions that could not be removed; nothing when all are gone.
    pub left: Option<Protection>,
}

impl Erased {
    /// Another version is protected.
    pub(super) fn holds(&mut self, protection: Protection) {
        let left = self.left.get_or_insert_default();
        left.legal_hold |= protection.legal_hold;
        let until = |protection: &Protection| protection.retention.map(|held| held.until);
        if until(&protection) > until(left) {
            left.retention = protection.retention;
        }
    }
}

/// Object Lock, as a bucket has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLock {
    /// What it gives to every object for which nothing else is said.
    pub default: Option<DefaultRetention>,
}

/// The retention that a bucket gives to every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRetention {
    /// How strict it is.
    pub mode: LockMode,
    /// For how many days.
    pub days: u32,
}

/// The store's own encryption at rest, beside ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEncryption {
    /// With keys of the store (SSE-S3).
    Aes256,
    /// With a key of a KMS (SSE-KMS): of the bucket's when none is named.
    Kms(Option<String>),
}

impl ServerEncryption {
    /// The word for it in requests and answers.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms(_) => "aws:kms",
        }
    }

    /// The key that was named.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Kms(Some(key)) => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for ServerEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key() {
            Some(key) => write!(f, "{}:{key}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// A text that is no setting of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeepError(String);

impl FromStr for ServerEncryption {
    type Err = KeepError;

    fn from_str(text: &str) -> Result<Self, KeepError> {
        match (text, text.strip_prefix("aws:kms:")) {
            ("AES256", _) => Ok(Self::Aes256),
            ("aws:kms", _) => Ok(Self::Kms(None)),
            (_, Some(key)) if !key.is_empty() => Ok(Self::Kms(Some(key.to_owned()))),
            _ => Err(KeepError("AES256, aws:kms or aws:kms:KEY is expected".into())),
        }
    }
}

/// The storage class of bulk data: one from which it can be read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClass(String);

impl StorageClass {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StorageClass {
    type Err = KeepError;

    fn from_str(text: &str) -> Result<Self, KeepError> {
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if matches!(text, "GLACIER" | "DEEP_ARCHIVE") {
            return Err(KeepError(format!(
                "a restore could not read anything at once from {text}: choose a class like \
                 STANDARD_IA or GLACIER_IR"
            )));
        }
        if text.is_empty() || text.len() > 64 || !text.bytes().all(named) {
            return Err(KeepError(
                "the name of a storage class, like STANDARD_IA, is expected".into(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_cannot_be_read_at_once_are_refused() {
        for bad in ["GLACIER", "DEEP_ARCHIVE", "", "A B", "x;y"] {
            assert!(bad.parse::<StorageClass>().is_err(), "{bad}");
        }
        assert!("GLACIER_IR".parse::<StorageClass>().is_ok());
    }

    #[test]
    fn encryption_is_one_of_three() {
        let arn = "aws:kms:arn:aws:kms:eu-west-1:1:key/2";
        assert_eq!(arn.parse::<ServerEncryption>().unwrap().to_string(), arn);
        assert_eq!("aws:kms".parse(), Ok(ServerEncryption::Kms(None)));
        for bad in ["aes256", "aws:kms:", "aws:kms:dsse2", "none"] {
            let parsed = bad.parse::<ServerEncryption>();
            assert_eq!(parsed.is_err(), bad != "aws:kms:dsse2", "{bad}");
        }
    }

    #[test]
    fn what_a_store_left_out_is_told() {
        let kept = |encryption: &str, key: &str, class: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Kept {
                encryption: some(encryption),
                encryption_key: some(key),
                storage_class: some(class),
                ..Kept::default()
            }
        };
        let short = |found: &Kept, wanted: &Kept| found.falls_short_of(wanted).unwrap_or_default();
        let all = kept("aws:kms", "arn:aws:kms:r:1:key/k", "STANDARD_IA");
        assert_eq!(all.falls_short_of(&kept("aws:kms", "k", "STANDARD_IA")), None);
        assert_eq!(all.falls_short_of(&kept("aws:kms", "alias/other", "")), None);
        assert_eq!(all.falls_short_of(&Kept::default()), None);
        assert!(short(&Kept::default(), &all).contains("none, and aws:kms"));
        assert!(short(&all, &kept("AES256", "", "")).contains("aws:kms, and AES256"));
        assert!(short(&all, &kept("aws:kms", "other", "")).contains("key arn"));
        assert!(short(&all, &kept("", "", "ONEZONE_IA")).contains("class is STANDARD_IA"));
    }
}
