//! What Vault's refusals mean. The texts are those of its transit engine.

use http::StatusCode;
use serde::Deserialize;

use crate::crypto::{
    rest::{Answer, Ask, Refusal},
    service::{Fault, plain},
};

#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

/// What a refusal means.
pub(super) fn read(ask: &Ask<'_>, answer: &Answer) -> Refusal {
    let status = answer.status;
    let said = serde_json::from_slice::<Errors>(&answer.body).unwrap_or_default().errors.join("; ");
    let said = plain(&said);
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let forged = status == StatusCode::BAD_REQUEST
        && !has(&["version is too new"])
        && has(&["message authentication failed", "invalid ciphertext"]);
    let (fault, hint) = match status.as_u16() {
        400 if has(&["key not found"]) => (Fault::NotFound, not_found(ask)),
        400 if has(&["version is too new"]) => (
            Fault::NoVersion,
            "a newer version of the key wrapped this: is it the same Vault, not an older copy?"
                .to_owned(),
        ),
        400 if has(&["too old"]) => (
            Fault::Disabled,
            "lower the key's min_decryption_version, or unwrap by another KEK".to_owned(),
        ),
        400 if has(&[
            "for key derivation",
            "non-AEAD",
            "not supported for key type",
            "does not support signing",
            "does not support encryption",
        ]) =>
        {
            let hint = "a KEK is an aes256-gcm96 or (x)chacha20-poly1305 key without derivation, \
                            a signer an ed25519 key without derivation";
            (Fault::WrongKind, hint.to_owned())
        }
        403 => (
            Fault::Denied,
            format!(
                "the policy must grant `{}` on {}, and the key must exist",
                ask.right, ask.path
            ),
        ),
        404 => (Fault::NotFound, not_found(ask)),
        429 => (Fault::Throttled, "look at the rate limit quotas of Vault".to_owned()),
        412 | 500..=599 => (Fault::Broken, "is Vault unsealed and well? see its log".to_owned()),
        300..=399 => (
            Fault::Settings,
            "give VAULT_ADDR of the active node, or let standby nodes forward requests".to_owned(),
        ),
        _ => (Fault::Unexpected, "see the log of Vault".to_owned()),
    };
    let why =
        if said.is_empty() { status.to_string() } else { format!("{}: {said}", status.as_u16()) };
    let lacks_right = fault == Fault::Denied;
    Refusal { forged, lacks_right, ..Refusal::of(answer, ask.fault(fault, why, hint)) }
}

fn not_found(ask: &Ask<'_>) -> String {
    format!("check the mount and the name in {}, and VAULT_NAMESPACE", ask.key)
}
