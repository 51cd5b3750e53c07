//! The agent's certificate and the CA of its clients, read again whenever they change.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::Status;
use crate::{jobs::JobError, model::Timestamp};

/// How often the files are looked at. The kubelet takes a minute to change them.
const LOOK: Duration = Duration::from_secs(2);

/// The files of the agent's identity.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Its certificate, with those between it and its CA, PEM.
    pub certificate: PathBuf,
    /// The certificate's key, PEM.
    pub key: PathBuf,
    /// The CAs of its clients, PEM.
    pub client_ca: PathBuf,
}

/// What new connections are made with. Those that are there keep what they have.
pub(super) struct Identity {
    config: Mutex<Arc<ServerConfig>>,
    /// The contents that were last looked at, right or not.
    seen: Mutex<[u8; 32]>,
}

/// What the files hold.
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Vec<u8>,
}

impl TlsFiles {
    fn read(&self) -> Result<Contents, String> {
        let read =
            |path: &Path| std::fs::read(path).map_err(|e| format!("read {}: {e}", path.display()));
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: Zeroizing::new(read(&self.key)?),
            client_ca: read(&self.client_ca)?,
        })
    }

    /// What TLS is spoken with, and until when the certificate is valid.
    fn config(&self, contents: &Contents) -> Result<(ServerConfig, Option<Timestamp>), String> {
        let chain = certificates(&self.certificate, &contents.certificate)?;
        let expires = chain.first().and_then(|first| expiry(first));
        if expires.is_some_and(|at| at < Timestamp::now()) {
            return Err(format!("{} has expired", self.certificate.display()));
        }
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|e| format!("{} holds no private key: {e}", self.key.display()))?;
        let mut roots = RootCertStore::empty();
        for ca in certificates(&self.client_ca, &contents.client_ca)? {
            roots.add(ca).map_err(|e| format!("{}: {e}", self.client_ca.display()))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| format!("{}: {e}", self.client_ca.display()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| {
                builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)
            })
            .map_err(|e| {
                format!("{} and {}: {e}", self.certificate.display(), self.key.display())
            })?;
        // A session that is resumed would spare a client the look at its certificate, which may
        // have expired since, or whose CA may be gone.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((config, expires))
    }
}

impl Contents {
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.certificate[..], &self.key[..], &self.client_ca[..]] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl Identity {
    pub(super) fn load(files: &TlsFiles, status: &Status) -> Result<Self, JobError> {
        let usage =
            |why: String| JobError::usage(why, "check --tls-cert, --tls-key and --client-ca");
        let contents = files.read().map_err(usage)?;
        let (config, expires) = files.config(&contents).map_err(usage)?;
        status.certificate_loaded(expires);
        Ok(Self { config: Mutex::new(Arc::new(config)), seen: Mutex::new(contents.digest()) })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files for ever. What is not right is told once, and what was there stays.
    pub(super) async fn watch(&self, files: &TlsFiles, status: &Status) {
        let mut unreadable = false;
        loop {
            tokio::time::sleep(LOOK).await;
            match files.read() {
                Ok(contents) => {
                    unreadable = false;
                    self.look(files, &contents, status);
                }
                Err(why) if unreadable => tracing::debug!(why, "still"),
                Err(why) => {
                    unreadable = true;
                    status.certificate_refused();
                    tracing::error!(
                        why,
                        "the certificates cannot be read: those from before are used on"
                    );
                }
            }
        }
    }

    fn look(&self, files: &TlsFiles, contents: &Contents, status: &Status) {
        let digest = contents.digest();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == digest {
            return;
        }
        *seen = digest;
        match files.config(contents) {
            Ok((config, expires)) => {
                *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                status.certificate_loaded(expires);
                tracing::info!(
                    expires = expires.map(tracing::field::display),
                    "the certificates were read again"
                );
            }
            Err(why) => {
                status.certificate_refused();
                tracing::error!(
                    why,
                    "the new certificates are not right: those from before are used on"
                );
            }
        }
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{} holds no certificate", path.display())),
        Err(e) => Err(format!("{} is no PEM file of certificates: {e}", path.display())),
    }
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Timestamp::from_microseconds(seconds.checked_mul(1_000_000)?)
}
