//! Names of objects.

use std::fmt;

/// The name of an object below the repository's URL: segments joined by `/`.
///
/// Every segment is 1 to 200 ASCII letters, digits, `.`, `_`, `-`, and is neither `.` nor
/// `..`, so that a key means the same in every store and can never leave a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a key: segments of ASCII letters, digits, `.`, `_` and `-` joined by `/` are expected"
)]
pub struct KeyError(String);

impl Key {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// When a segment is empty, too long, `.` or `..`, or holds another character.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let good = |s: &str| {
            !s.is_empty() && s.len() <= 200 && s != "." && s != ".." && s.bytes().all(safe)
        };
        if text.len() <= 900 && text.split('/').all(good) {
            Ok(Self(text))
        } else {
            Err(KeyError(text.chars().take(200).collect()))
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_its_folder() {
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".", "a b", "a\\b", "é", "a\0"] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            Key::new("prod/backups/a.b_c-1/vol-00000").unwrap().as_str(),
            "prod/backups/a.b_c-1/vol-00000"
        );
    }
}
