//! A private certificate authority, and what it signs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// How many there were.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A private CA and what it has signed, as files in a folder.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// The files of an identity: `NAME-ca.pem`, `NAME.pem` and `NAME.key`.
pub(crate) struct Identity {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Identity {
    /// Where they lie; whether they do is another question.
    pub(crate) fn at(folder: &Path, name: &str) -> Self {
        let file = |suffix: &str| folder.join(format!("{name}{suffix}"));
        Self { ca: file("-ca.pem"), certificate: file(".pem"), key: file(".key") }
    }

    /// TLS 1.3 as this identity, with whoever the CA has signed.
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&self.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&self.key).unwrap(),
            );
        Arc::new(config.unwrap())
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate that bears its issuer's name for a self-signed one.
        // And of two with one name it takes the first.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("private authority {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Signs for a host name or address, and writes the files as `NAME-ca.pem` and so on.
    pub(crate) fn sign(&self, folder: &Path, name: &str, host: &str) -> Identity {
        self.sign_for(folder, name, host, |_| {})
    }

    /// The same, of a certificate that is no longer valid.
    pub(crate) fn sign_expired(&self, folder: &Path, name: &str, host: &str) -> Identity {
        self.sign_for(folder, name, host, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// The same, with something else in the certificate.
    pub(crate) fn sign_for(
        &self,
        folder: &Path,
        name: &str,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        params.distinguished_name.push(DnType::CommonName, host);
        let identity = Identity::at(folder, name);
        fs::write(&identity.ca, &self.pem).unwrap();
        fs::write(&identity.certificate, params.signed_by(&key, &self.issuer).unwrap().pem())
            .unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}
