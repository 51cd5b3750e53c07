//! `gcp-kms:projects/…/cryptoKeys/<key>`: which key of Google's Cloud KMS is meant.

/// A key of Cloud KMS, and for a signer the version of it, as it stands in URIs and key records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::crypto) struct GcpKey {
    /// `projects/…/cryptoKeys/<key>`.
    pub(in crate::crypto) key: String,
    /// The number of the version.
    pub(in crate::crypto) version: Option<String>,
}

/// What stands before each part of a name.
const PARTS: [&str; 4] = ["projects", "locations", "keyRings", "cryptoKeys"];

impl GcpKey {
    /// Reads what follows `gcp-kms:`.
    pub(in crate::crypto) fn parse(text: &str) -> Option<Self> {
        let (key, version) = match text.split_once("/cryptoKeyVersions/") {
            Some((key, version)) => (key, Some(version)),
            None => (text, None),
        };
        let parts: Vec<&str> = key.split('/').collect();
        let named = parts.chunks(2).map(|pair| pair[0]).eq(PARTS);
        // A project of a domain of one's own has its name before it: `example.com:project`.
        let is_name = |part: &str, more: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-')
                && part.chars().all(|c| is_plain(c) || more.contains(c))
        };
        let is_key = parts.len() == 8
            && named
            && is_name(parts[1], ".:")
            && parts[3..].iter().step_by(2).all(|part| is_name(part, ""));
        let is_version = version.is_none_or(|text| {
            !text.is_empty() && text.len() < 19 && text.chars().all(|c| c.is_ascii_digit())
        });
        (is_key && is_version)
            .then(|| Self { key: key.to_owned(), version: version.map(ToOwned::to_owned) })
    }

    /// The path of an operation on it, such as `:encrypt` or `/publicKey`.
    pub(in crate::crypto) fn path(&self, operation: &str) -> String {
        format!("/v1/{}{operation}", self.resource())
    }

    /// As Google calls it.
    pub(in crate::crypto) fn resource(&self) -> String {
        match &self.version {
            Some(version) => format!("{}/cryptoKeyVersions/{version}", self.key),
            None => self.key.clone(),
        }
    }

    /// The number of the version that an answer names, when it is one of this key.
    pub(in crate::crypto) fn version_in(&self, answered: &str) -> Option<String> {
        let answered = Self::parse(answered)?;
        (answered.key == self.key).then_some(answered.version?)
    }
}

impl std::fmt::Display for GcpKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gcp-kms:{}", self.resource())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "projects/p-1/locations/europe-west1/keyRings/r_1/cryptoKeys/shop";

    #[test]
    fn a_name_is_a_key_or_a_version_of_it_and_nothing_that_leads_elsewhere() {
        let key = GcpKey::parse(KEY).unwrap();
        assert_eq!((key.to_string(), key.version.as_deref()), (format!("gcp-kms:{KEY}"), None));
        assert_eq!(key.path(":encrypt"), format!("/v1/{KEY}:encrypt"));
        let version = GcpKey::parse(&format!("{KEY}/cryptoKeyVersions/12")).unwrap();
        assert_eq!((version.key.as_str(), version.version.as_deref()), (KEY, Some("12")));
        assert_eq!(version.path("/publicKey"), format!("/v1/{KEY}/cryptoKeyVersions/12/publicKey"));
        assert!(GcpKey::parse(&KEY.replace("p-1", "example.com:p-1")).is_some());
        for bad in [
            String::new(),
            "projects/p/locations/l/keyRings/r".to_owned(),
            KEY.replace("keyRings", "keyrings"),
            KEY.replace("shop", ""),
            KEY.replace("shop", "shop:decrypt"),
            KEY.replace("shop", "shop/x"),
            KEY.replace("shop", "sh?op"),
            KEY.replace("shop", ".."),
            KEY.replace("r_1", "r.1"),
            KEY.replace("p-1", "../p"),
            format!("/{KEY}"),
            format!("{KEY}/cryptoKeyVersions/"),
            format!("{KEY}/cryptoKeyVersions/x"),
            format!("{KEY}/cryptoKeyVersions/1/x"),
        ] {
            assert_eq!(GcpKey::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_is_about_this_key() {
        let key = GcpKey::parse(KEY).unwrap();
        assert_eq!(key.version_in(&format!("{KEY}/cryptoKeyVersions/3")).as_deref(), Some("3"));
        assert_eq!(key.version_in(&format!("{KEY}2/cryptoKeyVersions/3")), None);
        assert_eq!(key.version_in(KEY), None);
    }
}
