//! What the refusals of Cloud KMS mean, by the status and the words of its errors.

use http::StatusCode;
use serde::Deserialize;

use crate::crypto::{
    rest::{Answer, Ask, Refusal},
    service::{Fault, plain},
};

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    error: Status,
}

/// `google.rpc.Status`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "status")]
    code: String,
    message: String,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    reason: String,
    violations: Vec<Violation>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Violation {
    #[serde(rename = "type")]
    kind: String,
}

/// What a refusal means.
pub(super) fn read(ask: &Ask<'_>, answer: &Answer) -> Refusal {
    let Refused { error } = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = plain(&error.message);
    let lower = said.to_lowercase();
    let has = |word: &str| lower.contains(word);
    let violates =
        |kind: &str| error.details.iter().flat_map(|d| &d.violations).any(|v| v.kind == kind);
    let in_state = |state: &str| said.contains(&format!("current state is: {state}"));
    let is_off = error.details.iter().any(|d| d.reason == "SERVICE_DISABLED");
    // Of the ciphertext it says nothing else: not which part of it, and not whether it is the context.
    let unopened = error.code == "INVALID_ARGUMENT" && has("decryption failed");
    let (fault, hint) = match (answer.status.as_u16(), error.code.as_str()) {
        (401, _) => (Fault::Denied, DENIED_TOKEN.to_owned()),
        (403, _) if is_off => {
            (Fault::Denied, "enable cloudkms.googleapis.com in the key's project".to_owned())
        }
        (403, _) => (Fault::Denied, denied(ask)),
        (404, _) if has("cryptokeyversion") => {
            (Fault::NoVersion, "is it the same key, not one that was made anew?".to_owned())
        }
        (404, _) => (Fault::NotFound, format!("check project, location, ring and key in {}", ask.key)),
        (400, _) if violates("KEY_DESTROYED") || in_state("DESTROYED") => (
            Fault::Destroyed,
            "restore by another KEK: `backstay keys status` tells which opens what".to_owned(),
        ),
        (400, _) if in_state("DESTROY_SCHEDULED") => (
            Fault::PendingDeletion,
            "restore the version at once (gcloud kms keys versions restore, then enable): without \
             it its backups cannot be opened"
                .to_owned(),
        ),
        (400, _) if violates("KEY_DISABLED") || has("current state is") || has("primary version") => {
            (Fault::Disabled, "enable the version (gcloud kms keys versions enable)".to_owned())
        }
        (400, _) if unopened && has("refers to the correct") => (
            Fault::OtherKey,
            "give --kek with the name of the key that wrapped it".to_owned(),
        ),
        (400, _) if has("checksum") || has("crc32c") => (
            Fault::Corrupted,
            "look at the proxies and the network in between".to_owned(),
        ),
        (400, _) if has("purpose") || has("algorithm") => (
            Fault::WrongKind,
            "a KEK is a key of purpose ENCRYPT_DECRYPT, a signer a version of algorithm EC_SIGN_ED25519"
                .to_owned(),
        ),
        (429, _) => (Fault::Throttled, "look at the quotas of Cloud KMS in the project".to_owned()),
        (408 | 500..=599, _) => (Fault::Broken, "see the health of Cloud KMS there".to_owned()),
        (300..=399, _) => (
            Fault::Settings,
            "give CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS the address that it points to".to_owned(),
        ),
        _ => (Fault::Unexpected, ask.service.unexpected.to_owned()),
    };
    let name = if error.code.is_empty() { answer.status.to_string() } else { error.code.clone() };
    let why = if said.is_empty() { name } else { format!("{name}: {said}") };
    let forged = unopened && fault != Fault::OtherKey;
    let lacks_right = answer.status == StatusCode::FORBIDDEN && !is_off;
    Refusal { forged, lacks_right, ..Refusal::of(answer, ask.fault(fault, why, hint)) }
}

const DENIED_TOKEN: &str =
    "it does not take the token: is it one of Google's, and the clock here right?";

fn denied(ask: &Ask<'_>) -> String {
    format!("this identity needs {} on the key, and the key must exist", ask.right)
}
