//! What the refusals of Key Vault mean, by the status, the codes and the words of its errors.

use serde::Deserialize;

use crate::crypto::{
    rest::{Answer, Ask, Refusal},
    service::{Fault, plain},
};

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    error: Error,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Error {
    code: String,
    message: String,
    #[serde(alias = "innerError")]
    innererror: Option<Inner>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Inner {
    code: String,
}

/// What a refusal means.
pub(super) fn read(ask: &Ask<'_>, answer: &Answer) -> Refusal {
    let Refused { error } = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = plain(&error.message);
    let inner = error.innererror.unwrap_or_default().code;
    let lower = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let deleted = has(&["deleted but recoverable", "currently being deleted"])
        || inner.contains("ObjectIsDeletedButRecoverable")
        || inner.contains("ObjectIsBeingDeleted");
    let kind = "a KEK is an RSA key that may wrapKey and unwrapKey, or in a Managed HSM an AES-256 key \
                that may encrypt and decrypt";
    let mut lacks_right = false;
    let (fault, hint) = match (answer.status.as_u16(), inner.as_str()) {
        (401, _) => (
            Fault::Denied,
            "the vault does not take the token: is it in the tenant of this identity?".to_owned(),
        ),
        (403, "KeyDisabled") => disabled(),
        (403, _) if has(&["disabled key"]) => disabled(),
        (403, "KeyNotYetValid" | "KeyExpired") => expired(),
        (403, _) if has(&["expired", "not yet valid", "validity"]) => expired(),
        (403, "ForbiddenByFirewall" | "ForbiddenByConnection" | "ForbiddenByPolicy") => (
            Fault::Denied,
            "let this network through the vault's firewall, or use its private endpoint".to_owned(),
        ),
        (403, _) if has(&["not permitted on this key"]) => (Fault::WrongKind, kind.to_owned()),
        (403, _) => {
            lacks_right = true;
            let hint = format!(
                "this identity's role on the vault or the key must allow {} (a new role takes minutes)",
                ask.right
            );
            (Fault::Denied, hint)
        }
        (409, _) if deleted => pending(),
        (404, _) => (
            Fault::NotFound,
            "check the key's name; when it was deleted: `az keyvault key recover`".to_owned(),
        ),
        (400, _) if has(&["kty", "key type", "incompatible", "not supported"]) => {
            (Fault::WrongKind, kind.to_owned())
        }
        (429, _) => (
            Fault::Throttled,
            "look at the limits of the vault: too much else may be asking it".to_owned(),
        ),
        (408 | 409 | 500..=599, _) => {
            (Fault::Broken, "see the health of Key Vault in that region".to_owned())
        }
        (300..=399, _) => (Fault::Settings, "give the address that the vault has now".to_owned()),
        _ => (Fault::Unexpected, ask.service.unexpected.to_owned()),
    };
    let code = if inner.is_empty() { error.code.clone() } else { inner };
    let name = if code.is_empty() { answer.status.to_string() } else { code };
    let why = if said.is_empty() { name } else { format!("{name}: {said}") };
    // It says no more of a value that does not open.
    let forged =
        answer.status.as_u16() == 400 && error.code == "BadParameter" && fault != Fault::WrongKind;
    Refusal { forged, lacks_right, ..Refusal::of(answer, ask.fault(fault, why, hint)) }
}

fn disabled() -> (Fault, String) {
    (
        Fault::Disabled,
        "enable the key or its version (az keyvault key set-attributes --enabled)".into(),
    )
}

fn expired() -> (Fault, String) {
    let hint = "make a new version of the key, or set its dates (az keyvault key set-attributes)";
    (Fault::Expired, hint.into())
}

fn pending() -> (Fault, String) {
    let hint = "recover it at once (az keyvault key recover): without this key its backups cannot be \
                opened";
    (Fault::PendingDeletion, hint.into())
}
