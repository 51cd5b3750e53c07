//! Who a client is, and whether it may ask.

use std::{fmt, str::FromStr};

use rustls::{ProtocolVersion, ServerConnection};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::model::TlsFacts;

/// A name that a client's certificate has to bear, exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedClient {
    /// A DNS name among the subject's alternative names.
    Dns(String),
    /// A URI among them, such as a SPIFFE id.
    Uri(String),
    /// The subject's common name.
    CommonName(String),
}

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a client: write a DNS name, a URI such as spiffe://…, or CN=NAME")]
pub struct AllowedClientError(String);

impl FromStr for AllowedClient {
    type Err = AllowedClientError;

    fn from_str(text: &str) -> Result<Self, AllowedClientError> {
        let wrong = || AllowedClientError(text.to_owned());
        if let Some(name) = text.strip_prefix("CN=") {
            return if name.is_empty() { Err(wrong()) } else { Ok(Self::CommonName(name.into())) };
        }
        if text.contains("://") {
            return Ok(Self::Uri(text.into()));
        }
        let label = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if text.split('.').all(label) {
            return Ok(Self::Dns(text.to_ascii_lowercase()));
        }
        // A wildcard would let in whoever the CA has signed a name for.
        Err(wrong())
    }
}

impl fmt::Display for AllowedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => f.write_str(name),
            Self::CommonName(name) => write!(f, "CN={name}"),
        }
    }
}

/// All names in a certificate.
fn names(certificate: &X509Certificate<'_>) -> Result<Vec<AllowedClient>, String> {
    let mut names = Vec::new();
    let alternative = certificate.subject_alternative_name().map_err(|e| e.to_string())?;
    for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push(AllowedClient::Dns(name.to_ascii_lowercase())),
            GeneralName::URI(uri) => names.push(AllowedClient::Uri((*uri).to_owned())),
            _ => {}
        }
    }
    for name in certificate.subject().iter_common_name() {
        let name = name.as_str().map_err(|e| e.to_string())?;
        names.push(AllowedClient::CommonName(name.to_owned()));
    }
    Ok(names)
}

/// The names of the client at the other end, for people; whether one of them is allowed; and what
/// the two ends have agreed on. That its certificate is valid, the handshake has seen to.
pub(super) fn peer(
    connection: &ServerConnection,
    allowed: &[AllowedClient],
) -> Result<(String, bool, TlsFacts), String> {
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or("it has none")?;
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|e| e.to_string())?;
    let names = names(&certificate)?;
    let is_allowed = names.iter().any(|name| allowed.contains(name));
    let shown: Vec<String> = names.iter().map(printable).collect();
    let shown = if shown.is_empty() { "nobody".to_owned() } else { shown.join(", ") };
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3".to_owned(),
        other => format!("{other:?}"),
    };
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    let cipher = suite.and_then(|suite| suite.as_str().map(ToOwned::to_owned)).unwrap_or_default();
    Ok((shown, is_allowed, TlsFacts { version, cipher }))
}

fn printable(name: &AllowedClient) -> String {
    name.to_string().chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_of_three_kinds_and_wildcards_are_none() {
        let parse = |text: &str| text.parse::<AllowedClient>();
        assert_eq!(parse("Backup.shop.svc"), Ok(AllowedClient::Dns("backup.shop.svc".into())));
        assert_eq!(parse("spiffe://c/ns/x"), Ok(AllowedClient::Uri("spiffe://c/ns/x".into())));
        assert_eq!(parse("CN=a b"), Ok(AllowedClient::CommonName("a b".into())));
        for bad in ["", "CN=", "*.shop.svc", "a..b", "a b", "a,b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for text in ["a.b", "spiffe://c/d", "CN=x"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_name_counts_as_what_it_is_and_as_nothing_else() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["Job.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://c/job".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "db-0.example");
        let der = params.self_signed(&key).unwrap();
        let (_, certificate) = X509Certificate::from_der(der.der()).unwrap();
        let names = names(&certificate).unwrap();
        let has = |text: &str| names.contains(&text.parse().unwrap());
        assert!(has("job.example") && has("spiffe://c/job") && has("CN=db-0.example"));
        // A common name that looks like a DNS name is none: a CA may constrain the one alone.
        assert!(!has("db-0.example") && !has("CN=job.example") && !has("example"));
    }
}
