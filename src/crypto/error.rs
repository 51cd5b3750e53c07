//! What can fail when keys are used.

/// A failed operation with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// The operating system gave no random bytes.
    #[error("cannot get random bytes from the operating system: {0}")]
    Random(String),
    /// The object was sealed with another key than the one at hand.
    #[error("it was sealed with another key, or its header was changed")]
    WrongKey,
    /// A tag did not verify.
    #[error("{0} fails authentication: it was changed, moved or cut")]
    Forged(&'static str),
    /// A signature did not verify.
    #[error("its signature does not verify with the key that it names")]
    BadSignature,
    /// Too many chunks for one object.
    #[error("an object cannot have more than 65,536 chunks")]
    TooManyChunks,
    /// A library refused; it never should.
    #[error("cannot {0}")]
    Library(&'static str),
}
