//! Google's Cloud KMS over HTTP: addresses, requests, and what its refusals mean.
//!
//! Keys stay in the service. What goes there and what comes back bears a checksum, since the
//! service is asked to hold it against what has arrived.

mod credentials;
mod grant;
mod name;
mod refusal;

use base64::{Engine, engine::general_purpose::STANDARD};
use crc_fast::CrcAlgorithm;
use zeroize::Zeroizing;

pub use credentials::GcpCredentials;
pub(super) use name::GcpKey;

use super::{
    bearer::Bearer,
    rest::{Ask, Refusal, Rest, Service, address},
    service::{Fault, Patience, ServiceError},
};

/// Where Cloud KMS is.
pub const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// What is told of Cloud KMS when something is wrong with it.
pub(super) const GCP: Service = Service {
    unreachable: "check the network, HTTPS_PROXY and CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS",
    unexpected: "is CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS, when it is set, a Cloud KMS?",
};

/// Where Cloud KMS is, and who we are.
#[derive(Debug, Clone)]
pub struct GcpOptions {
    /// [`ENDPOINT`], or another; `http://` is taken on this machine alone.
    pub endpoint: String,
    /// Who we are.
    pub credentials: GcpCredentials,
    /// How long to go on.
    pub patience: Patience,
}

/// The service, ready to be asked; nothing is sent yet.
pub(super) fn open(options: &GcpOptions, key: &str) -> Result<Bearer, ServiceError> {
    let settings = |why: String, hint: &str| ServiceError {
        fault: Fault::Settings,
        operation: "set up Cloud KMS",
        key: key.to_owned(),
        why,
        hint: hint.to_owned(),
    };
    let base = address(&options.endpoint, "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS")
        .map_err(|why| settings(why, "give https://…; http is for 127.0.0.1 alone"))?;
    let rest = Rest::open(options.patience, None, "SSL_CERT_FILE")
        .map_err(|(why, hint)| settings(why, &hint))?;
    let grants = grant::open(&options.credentials, key)?;
    Ok(Bearer::new(rest, (base, None), Box::new(grants), refusal::read))
}

/// CRC32C (Castagnoli) as Google writes it in JSON: 64-bit numbers are texts there.
pub(super) fn crc32c(bytes: &[u8]) -> String {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes).to_string()
}

/// What an answer has in one of its fields, held against the checksum in another.
pub(super) fn checked(ask: &Ask<'_>, text: &str, crc: &str) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
    if !bytes.is_empty() && crc32c(&bytes) == crc {
        return Ok(bytes);
    }
    Err(corrupted(ask, "the answer does not have the checksum that it names").into())
}

/// Bytes that were changed on their way.
pub(super) fn corrupted(ask: &Ask<'_>, why: &str) -> ServiceError {
    ask.fault(Fault::Corrupted, why, "look at the proxies and the network in between")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_castagnoli_s() {
        // The check value that every catalogue of CRCs has for it.
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283_u32.to_string());
        assert_eq!(super::crc32c(b""), "0");
    }
}
