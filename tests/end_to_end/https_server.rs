//! What cloudnative-mysql's manager is to a backup: `GET /cluster/backup` over TLS 1.3 with client
//! certificates, answered with 200 and a chunked xbstream.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::home::Home;

/// How the body ends.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Whole, and ended cleanly.
    Whole,
    /// The first part of it, and ended cleanly.
    CutCleanly(usize),
    /// Whole, with this behind it.
    Followed(&'static str),
    /// The first part of it, and then the server is gone, as after SIGKILL.
    Killed(usize),
    /// The first part of it, and then silence.
    Stalled(usize),
    /// No stream but a status.
    Refused(&'static str),
}

/// A private CA and what it has signed, as files in a home.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes `NAME-ca.pem`, `NAME.pem` and `NAME.key` for a client.
    pub(crate) fn client(&self, home: &Home, name: &str) {
        let (certificate, key) = self.sign(name);
        fs::write(home.path(&format!("{name}-ca.pem")), &self.pem).unwrap();
        fs::write(home.path(&format!("{name}.pem")), certificate).unwrap();
        fs::write(home.path(&format!("{name}.key")), key).unwrap();
    }

    fn config(&self, name: &str) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = self.sign(name);
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            );
        Arc::new(config.unwrap())
    }
}

/// Serves; returns the port. Its threads end with the test process.
pub(crate) fn serve(authority: &Authority, name: &str, stream: Arc<Vec<u8>>, body: Body) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = authority.config(name);
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let (config, stream, body) = (Arc::clone(&config), Arc::clone(&stream), body.clone());
            thread::spawn(move || {
                // A client that we refuse breaks the connection: that is what is tested.
                let _ = answer(socket, config, &stream, &body);
            });
        }
    });
    port
}

fn answer(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    stream: &[u8],
    body: &Body,
) -> std::io::Result<()> {
    let raw = socket.try_clone()?;
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    if !request.starts_with(b"GET /cluster/backup HTTP/1.1\r\n") {
        return tls.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
    if let Body::Refused(status) = body {
        let text =
            format!("HTTP/1.1 {status}\r\nContent-Length: 8\r\nConnection: close\r\n\r\nno backup");
        tls.write_all(&text.as_bytes()[..text.len() - 1])?;
        tls.conn.send_close_notify();
        return tls.flush();
    }
    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let sent = match body {
        Body::CutCleanly(n) | Body::Killed(n) | Body::Stalled(n) => {
            &stream[..*n.min(&stream.len())]
        }
        _ => stream,
    };
    for piece in sent.chunks(32 << 10) {
        write!(tls, "{:x}\r\n", piece.len())?;
        tls.write_all(piece)?;
        tls.write_all(b"\r\n")?;
    }
    match body {
        Body::Killed(_) => return raw.shutdown(Shutdown::Both),
        Body::Stalled(_) => {
            tls.flush()?;
            thread::sleep(Duration::from_mins(10));
        }
        Body::Followed(text) => write!(tls, "{:x}\r\n{text}\r\n", text.len())?,
        _ => {}
    }
    tls.write_all(b"0\r\n\r\n")?;
    tls.conn.send_close_notify();
    tls.flush()
}

/// The arguments of a backup from such a server, as client `client`.
pub(crate) fn source(
    home: &Home,
    host: &str,
    port: u16,
    client: &str,
    engine: &str,
) -> Vec<String> {
    let file = |suffix: &str| home.path(&format!("{client}{suffix}")).display().to_string();
    let url = format!("https://{host}:{port}");
    let args = ["backup", "--source", &url, "--engine", engine, "--source-ca", &file("-ca.pem")];
    let mut args = args.map(ToOwned::to_owned).to_vec();
    if Path::new(&file(".pem")).exists() {
        args.extend(["--source-cert".into(), file(".pem"), "--source-key".into(), file(".key")]);
    }
    args
}
