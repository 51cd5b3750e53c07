//! The configuration of TLS: versions, cipher suites, authorities, our own certificate.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use rustls::{
    CertificateError, ClientConfig, CommonState, DigitallySignedStruct, Error, ProtocolVersion,
    RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::model::TlsFacts;

/// Which authorities may vouch for the other side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Roots {
    /// Those of the system; Mozilla's, which are built in, where the system has none.
    #[default]
    System,
    /// Mozilla's, which are built in.
    BuiltIn,
    /// Those in a PEM file, and no others.
    Only(PathBuf),
    /// Those of the system, and those in a PEM file.
    SystemAnd(PathBuf),
}

/// How much of the other side's certificate is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Check {
    /// An authority vouches for it, it is valid now, and it names the host.
    #[default]
    Identity,
    /// An authority vouches for it, and it is valid now; it may name another host.
    Chain,
    /// Nothing: whoever answers is believed.
    Nothing,
}

/// What TLS is to be like.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Whom to believe.
    pub roots: Roots,
    /// How much is verified.
    pub check: Check,
    /// Our own certificate and its key, PEM files.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// TLS that cannot be set up as it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The library refuses the whole.
    #[error("setting up TLS: {0}")]
    Refused(#[from] Error),
}

/// A configuration of TLS 1.3, or 1.2 where the other side has no better.
///
/// # Errors
/// When a file cannot be read or used.
pub fn client_config(options: &TlsOptions) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier::new(options, &provider)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = &options.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let pem = zeroize::Zeroizing::new(read(key)?);
    let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| TlsError::File {
        path: key.clone(),
        why: format!("a private key in PEM is needed: {e:?}"),
    })?;
    builder.with_client_auth_cert(chain, private).map_err(|e| TlsError::File {
        path: certificate.clone(),
        why: format!("it is no identity together with its key {}: {e}", key.display()),
    })
}

/// What a handshake has agreed on; nothing before its end.
pub fn facts(connection: &CommonState) -> Option<TlsFacts> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_3 => "1.3".to_owned(),
        ProtocolVersion::TLSv1_2 => "1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let suite = format!("{:?}", connection.negotiated_cipher_suite()?.suite());
    // rustls marks those of 1.3, which the registry of IANA does not.
    let cipher = suite.strip_prefix("TLS13_").map_or_else(|| suite.clone(), |s| format!("TLS_{s}"));
    Some(TlsFacts { version, cipher })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|cause| TlsError::Read { path: path.to_owned(), cause })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File { path: path.to_owned(), why };
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong("it holds no certificate in PEM".to_owned())),
        Err(error) => Err(wrong(format!("no certificate can be read from it: {error:?}"))),
    }
}

/// The system's authorities; reading them takes milliseconds, so it is done once.
static SYSTEM: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    // A bare container image has none.
    if roots.is_empty() { built_in() } else { roots }
});

fn built_in() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

impl Roots {
    fn load(&self) -> Result<RootCertStore, TlsError> {
        let (mut roots, file) = match self {
            Self::System => return Ok(SYSTEM.clone()),
            Self::BuiltIn => return Ok(built_in()),
            Self::Only(file) => (RootCertStore::empty(), file),
            Self::SystemAnd(file) => (SYSTEM.clone(), file),
        };
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|e| TlsError::File {
                path: file.clone(),
                why: format!("a certificate in it is no authority: {e}"),
            })?;
        }
        Ok(roots)
    }
}

/// Verifies as much as was asked for; signatures of the handshake in any case.
#[derive(Debug)]
struct Verifier {
    /// None when the certificate is not verified.
    chain: Option<Arc<WebPkiServerVerifier>>,
    any_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(options: &TlsOptions, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let provider = Arc::clone(provider);
        let any_name = options.check != Check::Identity;
        if options.check == Check::Nothing {
            return Ok(Self { chain: None, any_name, provider });
        }
        let roots = Arc::new(options.roots.load()?);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
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
