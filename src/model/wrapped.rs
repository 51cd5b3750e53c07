//! A data encryption key on its way between a KMS and a key record.

use serde::{Deserialize, Serialize};

/// A DEK, wrapped by one KEK. It is public: only the KEK opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedDek {
    /// The KEK's name as its provider knows it: `file:` and a key id, an ARN, a path. Never a local path.
    pub kek: String,
    /// The version of the KEK, where the provider has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kek_version: Option<String>,
    /// How it is wrapped; `docs/format.md` lists the names.
    pub algorithm: String,
    /// The wrapped key, base64 (RFC 4648, with padding) in JSON.
    #[serde(with = "base64_bytes")]
    pub ciphertext: Vec<u8>,
}

mod base64_bytes {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}
