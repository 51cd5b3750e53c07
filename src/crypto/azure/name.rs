//! `azure-kv:https://<vault>/keys/<name>[/<version>]`: which key of an Azure Key Vault is meant.

use url::Url;

use crate::crypto::rest::address;

/// A key of a Key Vault or a Managed HSM, as it stands in URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::crypto) struct AzureKey {
    /// The vault's address.
    pub(in crate::crypto) vault: Url,
    /// The key's name there.
    pub(in crate::crypto) key: String,
    /// The version that shall wrap; the newest when none is named.
    pub(in crate::crypto) version: Option<String>,
}

/// What tells a Key Vault and a Managed HSM in their hosts, behind the vault's own name.
const KINDS: [&str; 2] = ["vault.", "managedhsm."];

impl AzureKey {
    /// Reads what follows `azure-kv:`.
    pub(in crate::crypto) fn parse(text: &str) -> Option<Self> {
        let url = address(text, "the vault").ok()?;
        let mut parts = url.path_segments()?;
        let (keys, key, version) = (parts.next()?, parts.next()?, parts.next());
        let is_name = |text: &str| {
            (1..=127).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        let is_one = keys == "keys"
            && is_name(key)
            && version.is_none_or(is_version)
            && parts.next().is_none()
            && url.fragment().is_none();
        let (key, version) = (key.to_owned(), version.map(ToOwned::to_owned));
        let mut vault = url.clone();
        vault.set_path("/");
        is_one.then_some(Self { vault, key, version })
    }

    /// For what a token has to be, so that this vault takes it, and no other host can use it.
    pub(in crate::crypto) fn resource(&self) -> Option<String> {
        let host = self.vault.host_str()?;
        if self.vault.scheme() == "http" {
            return Some("https://vault.azure.net".to_owned());
        }
        let (name, service) = host.split_once('.')?;
        let is_one = !name.is_empty() && KINDS.iter().any(|kind| service.starts_with(kind));
        is_one.then(|| format!("https://{service}"))
    }

    /// Whether it is in a Managed HSM, where keys are symmetric by custom.
    pub(in crate::crypto) fn is_in_hsm(&self) -> bool {
        self.vault.host_str().is_some_and(|host| host.contains(".managedhsm."))
    }

    /// The path of an operation on a version of it.
    pub(in crate::crypto) fn path(&self, version: Option<&str>, operation: &str) -> String {
        let mut path = format!("/keys/{}", self.key);
        for part in [version.unwrap_or_default(), operation] {
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
        path
    }

    /// The version that an answer names, when it is one of this key.
    pub(in crate::crypto) fn version_in(&self, kid: &str) -> Option<String> {
        let answered = Self::parse(kid)?;
        (answered.vault == self.vault && answered.key.eq_ignore_ascii_case(&self.key))
            .then_some(answered.version?)
    }
}

/// Whether this can be a version's name: it becomes a part of a path.
pub(in crate::crypto) fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The name in key records, which all versions of the key share.
impl std::fmt::Display for AzureKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "azure-kv:{}keys/{}", self.vault, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "https://shop.vault.azure.net/keys/kek-1";
    const VERSION: &str = "78deebed173b48e48f55abf87ed4cf71";

    #[test]
    fn a_name_is_a_vault_and_a_key_and_nothing_that_leads_elsewhere() {
        let key = AzureKey::parse(KEY).unwrap();
        assert_eq!((key.key.as_str(), key.version.as_deref()), ("kek-1", None));
        assert_eq!(key.to_string(), format!("azure-kv:{KEY}"));
        assert_eq!(key.path(None, "wrapkey"), "/keys/kek-1/wrapkey");
        assert_eq!(key.path(Some(VERSION), "wrapkey"), format!("/keys/kek-1/{VERSION}/wrapkey"));
        assert_eq!(key.path(None, ""), "/keys/kek-1");
        let pinned = AzureKey::parse(&format!("{KEY}/{VERSION}")).unwrap();
        assert_eq!(pinned.version.as_deref(), Some(VERSION));
        assert_eq!(pinned.to_string(), key.to_string(), "versions share the name");
        let same = AzureKey::parse("https://SHOP.vault.azure.net:443/keys/kek-1").unwrap();
        assert_eq!(same.to_string(), key.to_string());
        for bad in [
            "",
            "shop.vault.azure.net/keys/k",
            "http://shop.vault.azure.net/keys/k",
            "https://shop.vault.azure.net/secrets/k",
            "https://shop.vault.azure.net/keys",
            "https://shop.vault.azure.net/keys/",
            "https://shop.vault.azure.net/keys/k/",
            "https://shop.vault.azure.net/keys/k/v/wrapkey",
            "https://shop.vault.azure.net/keys/k?x=y",
            "https://shop.vault.azure.net/keys/k#x",
            "https://shop.vault.azure.net/keys/k_1",
            "https://me@shop.vault.azure.net/keys/k",
        ] {
            assert_eq!(AzureKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_is_for_the_vault_s_own_service() {
        let resource = |text: &str| AzureKey::parse(text).unwrap().resource();
        assert_eq!(resource(KEY).as_deref(), Some("https://vault.azure.net"));
        assert_eq!(
            resource("https://h.managedhsm.azure.net/keys/k").as_deref(),
            Some("https://managedhsm.azure.net")
        );
        assert_eq!(
            resource("https://v.vault.usgovcloudapi.net/keys/k").as_deref(),
            Some("https://vault.usgovcloudapi.net")
        );
        let in_hsm = |text: &str| AzureKey::parse(text).unwrap().is_in_hsm();
        assert!(in_hsm("https://h.managedhsm.azure.net/keys/k") && !in_hsm(KEY));
        assert_eq!(resource("https://vault.azure.net/keys/k"), None);
        assert_eq!(resource("https://vault.example.com/keys/k"), None);
        assert_eq!(resource("https://10.0.0.1/keys/k"), None);
    }

    #[test]
    fn an_answer_is_about_this_key() {
        let key = AzureKey::parse(KEY).unwrap();
        assert_eq!(key.version_in(&format!("{KEY}/{VERSION}")).as_deref(), Some(VERSION));
        assert_eq!(key.version_in(KEY), None);
        assert_eq!(key.version_in(&format!("{KEY}2/{VERSION}")), None);
        assert_eq!(
            key.version_in(&format!("https://other.vault.azure.net/keys/kek-1/{VERSION}")),
            None
        );
    }
}
