//! TLS, with the same modes as the connections for queries have.

use std::{io, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;

use super::{
    super::{Tls, TlsMode},
    link::Channel,
};

/// Puts TLS over a connection. The error says what is wrong with certificate, files or handshake.
pub(super) async fn secure(
    tls: &Tls,
    host: &str,
    channel: Box<dyn Channel>,
) -> Result<Box<dyn Channel>, String> {
    let config = config(tls).await?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no name that a certificate could bear"))?;
    let secured = TlsConnector::from(Arc::new(config)).connect(name, channel).await;
    Ok(Box::new(secured.map_err(|e: io::Error| e.to_string())?))
}

async fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier::new(tls, &provider).await?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&tls.cert, &tls.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert).await?;
            let pem = zeroize::Zeroizing::new(read(key).await?);
            let key = PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|e| format!("{}: {e:?}: a private key in PEM is needed", key.display()))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())
        }
        _ => Err("a client certificate needs its key, and a key its certificate".to_owned()),
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|e| format!("reading {}: {e}", path.display()))
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path).await?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{} holds no certificate in PEM", path.display())),
        Err(e) => Err(format!("{}: {e:?}", path.display())),
    }
}

/// Verifies as much as the mode demands; signatures of the handshake in any case.
#[derive(Debug)]
struct Verifier {
    /// None when the certificate is not verified.
    chain: Option<Arc<WebPkiServerVerifier>>,
    any_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    async fn new(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let provider = Arc::clone(provider);
        let any_name = tls.mode != TlsMode::VerifyIdentity;
        if !matches!(tls.mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity) {
            return Ok(Self { chain: None, any_name, provider });
        }
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &tls.ca {
            for certificate in certificates(ca).await? {
                roots.add(certificate).map_err(|e| format!("{}: {e}", ca.display()))?;
            }
        } else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let roots = Arc::new(roots);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self { chain: Some(chain), any_name, provider })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last, after the whole chain.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
