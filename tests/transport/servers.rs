//! Other ends of TLS, good and bad.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    authority::{Authority, Identity},
    tools::{Daemon, free_port},
};

pub(crate) const NEW: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
pub(crate) const ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];

/// Puts TLS before a server on this machine. It ends with the test's runtime.
pub(crate) async fn terminate(
    upstream: u16,
    identity: &Identity,
    versions: &[&'static SupportedProtocolVersion],
) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()],
            PrivateKeyDer::from_pem_file(&identity.key).unwrap(),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that refuses us is what is tested.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// OpenSSL that speaks TLS 1.1 and nothing newer.
pub(crate) struct Old {
    _daemon: Daemon,
    _dir: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Old {
    pub(crate) fn start(identity: &Identity) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-accept"]);
        command.arg(format!("127.0.0.1:{port}")).arg("-cert").arg(&identity.certificate);
        command.arg("-key").arg(&identity.key);
        let daemon = Daemon::start("openssl", dir.path(), &command);
        daemon.wait_until("OpenSSL listens", Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { _daemon: daemon, _dir: dir, port }
    }
}

/// What may be wrong with a server, all signed by one authority but for the last.
pub(crate) struct Bad {
    pub(crate) expired: Identity,
    pub(crate) early: Identity,
    pub(crate) elsewhere: Identity,
    pub(crate) stranger: Identity,
    pub(crate) good: Identity,
}

impl Bad {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let host = "127.0.0.1";
        Self {
            expired: ours.sign_for(folder, "expired", host, |params| {
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            }),
            early: ours.sign_for(folder, "early", host, |params| {
                params.not_before = rcgen::date_time_ymd(2090, 1, 1);
                params.not_after = rcgen::date_time_ymd(2091, 1, 1);
            }),
            elsewhere: ours.sign(folder, "elsewhere", "db-0.example"),
            stranger: theirs.sign(folder, "stranger", host),
            good: ours.sign(folder, "good", host),
        }
    }
}
