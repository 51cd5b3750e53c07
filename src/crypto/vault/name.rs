//! `vault:<mount>/<key>`: a key of a transit mount.

/// A key of a transit mount, as it stands in URIs and key records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::crypto) struct TransitName {
    /// Where transit is mounted; may have several parts.
    pub(in crate::crypto) mount: String,
    /// The key.
    pub(in crate::crypto) key: String,
}

impl TransitName {
    /// Reads what follows `vault:`.
    pub(in crate::crypto) fn parse(text: &str) -> Option<Self> {
        let (mount, key) = text.rsplit_once('/')?;
        // No part can leave its path or begin a query: names are taken as they are.
        let is_part = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        (mount.split('/').all(is_part) && is_part(key))
            .then(|| Self { mount: mount.to_owned(), key: key.to_owned() })
    }

    /// The path below `/v1/` of an operation on the key.
    pub(in crate::crypto) fn path(&self, operation: &str) -> String {
        format!("{}/{operation}/{}", self.mount, self.key)
    }
}

impl std::fmt::Display for TransitName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "vault:{}/{}", self.mount, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_mount_and_a_key_and_nothing_that_leads_elsewhere() {
        let name = TransitName::parse("team/transit/shop-1").unwrap();
        assert_eq!((name.mount.as_str(), name.key.as_str()), ("team/transit", "shop-1"));
        assert_eq!(name.path("encrypt"), "team/transit/encrypt/shop-1");
        assert_eq!(name.to_string(), "vault:team/transit/shop-1");
        for bad in
            ["", "k", "/k", "m/", "m//k", "m/../k", "m/k?x", "m/k#x", "m/%2e", "m/k k", "./k"]
        {
            assert_eq!(TransitName::parse(bad), None, "{bad}");
        }
    }
}
