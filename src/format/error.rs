//! Why stored bytes are not what the format says.

/// A stored thing that does not follow the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes do not begin as one of ours.
    #[error("it is not a {what} of Backstay: {why}")]
    NotOurs {
        /// What was expected.
        what: &'static str,
        /// What was seen instead.
        why: String,
    },
    /// Written by a later program.
    #[error(
        "this {what} has format version {found}, and this program reads up to {known}: use a newer backstay"
    )]
    Newer {
        /// What it is.
        what: &'static str,
        /// Its version.
        found: u64,
        /// The newest that we know.
        known: u64,
    },
    /// It is ours, but a field breaks a rule.
    #[error("this {what} is damaged: {why}")]
    Damaged {
        /// What it is.
        what: &'static str,
        /// The rule that is broken.
        why: String,
    },
}

impl FormatError {
    pub(super) fn damaged(what: &'static str, why: impl Into<String>) -> Self {
        Self::Damaged { what, why: why.into() }
    }
}
