//! What can go wrong with a store, named by what a caller can do about it.

use std::fmt;

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No object has that key.
    NotFound,
    /// A create-only write met an object that is already there.
    AlreadyExists,
    /// The bucket, container or folder of the repository does not exist.
    NoBucket,
    /// The store does not know who we are: wrong or missing credentials.
    Unauthenticated,
    /// The credentials have ended, and new ones are not to be had.
    Expired,
    /// The store knows who we are, and says no.
    Denied,
    /// The bucket is in another region than the one we asked.
    WrongRegion,
    /// The server's certificate could not be verified, or TLS failed otherwise.
    Tls,
    /// Throttled, unreachable, timed out, or a fault inside the store: trying again may help.
    Unavailable,
    /// The write may or may not have happened: read it back before saying anything.
    Unclear,
    /// What came back is not what was sent or stored: a checksum or a length differs.
    Corrupt,
    /// The store ignores or lacks something that Backstay relies on.
    Unsupported,
    /// The URL, an option or a file of the configuration is wrong.
    Configuration,
    /// Anything else.
    Other,
}

/// A failed operation on a store: what was done, to what, why it failed, what to try.
#[derive(Debug, thiserror::Error)]
pub struct StoreError {
    /// What a caller can do about it.
    pub kind: StoreErrorKind,
    /// What was being done, such as `put` or `list`.
    pub operation: &'static str,
    /// The object or prefix, with the repository's URL in front; never a credential.
    pub object: String,
    /// What to try.
    pub hint: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// The cause, as the store or the system worded it.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// An error after one attempt.
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        object: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            operation,
            object: object.into(),
            hint: None,
            attempts: 1,
            cause: cause.into(),
        }
    }

    /// The same, with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.object, self.cause)?;
        if self.attempts > 1 {
            write!(f, " (after {} attempts)", self.attempts)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}
