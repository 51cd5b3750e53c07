//! Making a connection: socket or TCP, with as much TLS as is demanded.

use std::time::Duration;

use mysql_async::{
    ClientIdentity, Conn, DriverError, Error, IoError, OptsBuilder, SslOpts,
    prelude::Queryable as _,
};
use secrecy::ExposeSecret as _;

use crate::{
    model::{Connection, Peer, TlsFacts, TransportSecurity},
    transport::Trouble,
};

use super::{
    ConnectOptions, Endpoint, MysqlError, Tls, TlsMode,
    connect::{CONNECT, STATEMENT, within},
};

/// Connects, and asks the server what TLS has agreed on: the driver does not tell.
pub(super) async fn open(options: &ConnectOptions) -> Result<(Conn, Connection), MysqlError> {
    let (mut conn, security) = connect(options).await?;
    let mut connection = Connection::new(Peer::Database, security);
    if matches!(security, TransportSecurity::TlsVerified | TransportSecurity::TlsUnverified) {
        let query = "SHOW SESSION STATUS WHERE Variable_name IN ('Ssl_version', 'Ssl_cipher')";
        let rows: Vec<(String, String)> =
            within("asking what TLS has agreed on", STATEMENT, conn.query(query)).await?;
        let value = |name: &str| {
            let row = rows.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
            row.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        connection.tls = value("Ssl_version").zip(value("Ssl_cipher")).map(|(version, cipher)| {
            let version = version.strip_prefix("TLSv").unwrap_or(version).to_owned();
            TlsFacts { version, cipher: registered(cipher) }
        });
    }
    Ok((conn, connection))
}

/// The name that IANA has for a cipher suite of OpenSSL's. Those of TLS 1.3 are the same.
fn registered(cipher: &str) -> String {
    let spelled = |rest: &str| {
        let (key, suite) = rest.split_once('-')?;
        let suite = match suite {
            "AES128-GCM-SHA256" => "AES_128_GCM_SHA256",
            "AES256-GCM-SHA384" => "AES_256_GCM_SHA384",
            "CHACHA20-POLY1305" => "CHACHA20_POLY1305_SHA256",
            _ => return None,
        };
        Some(format!("TLS_ECDHE_{key}_WITH_{suite}"))
    };
    cipher.strip_prefix("ECDHE-").and_then(spelled).unwrap_or_else(|| cipher.to_owned())
}

async fn connect(options: &ConnectOptions) -> Result<(Conn, TransportSecurity), MysqlError> {
    let mut builder = OptsBuilder::default()
        .user(Some(options.user.clone()))
        .pass(options.password.as_ref().map(|p| p.expose_secret().to_owned()))
        .prefer_socket(false)
        .tcp_keepalive(Some(Duration::from_secs(30)));
    match &options.endpoint {
        Endpoint::Socket(path) => {
            builder = builder.socket(Some(path.to_string_lossy()));
            return Ok((attempt(builder, options).await?, TransportSecurity::Local));
        }
        Endpoint::Tcp { host, port } => {
            builder = builder.ip_or_hostname(host.clone()).tcp_port(*port);
        }
    }
    let secured = match options.tls.mode {
        TlsMode::Disabled => {
            return Ok((attempt(builder, options).await?, TransportSecurity::Plain));
        }
        TlsMode::Preferred | TlsMode::Required => TransportSecurity::TlsUnverified,
        TlsMode::VerifyCa | TlsMode::VerifyIdentity => TransportSecurity::TlsVerified,
    };
    let tls = builder.clone().ssl_opts(Some(ssl_options(&options.tls, &options.endpoint)?));
    match attempt(tls, options).await {
        Err(MysqlError::Tls { why, .. })
            if options.tls.mode == TlsMode::Preferred && why == NO_TLS =>
        {
            Ok((attempt(builder, options).await?, TransportSecurity::Plain))
        }
        opened => Ok((opened?, secured)),
    }
}

const NO_TLS: &str = "the server offers no TLS";

fn ssl_options(tls: &Tls, endpoint: &Endpoint) -> Result<SslOpts, MysqlError> {
    let verify = tls.mode.verifies();
    // The driver would say that the server is not there.
    for file in tls.ca.iter().filter(|_| verify).chain(&tls.cert).chain(&tls.key) {
        std::fs::File::open(file).map_err(|e| MysqlError::Tls {
            endpoint: endpoint.to_string(),
            why: format!("reading {}: {e}", file.display()),
        })?;
    }
    let mut ssl = SslOpts::default()
        .with_danger_accept_invalid_certs(!verify)
        .with_danger_skip_domain_validation(tls.mode != TlsMode::VerifyIdentity);
    if let Some(ca) = tls.ca.clone().filter(|_| verify) {
        ssl = ssl.with_root_certs(vec![ca.into()]).with_disable_built_in_roots(true);
    }
    if tls.mode == TlsMode::VerifyCa {
        // mysql_async 0.37 means to let a certificate for another name pass, and looks for these
        // words in the error. rustls no longer says them, but it does quote the expected name, in
        // that error and in no other, and checks names only after the chain of signatures.
        ssl = ssl.with_danger_tls_hostname_override(Some("NotValidForName"));
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            ssl = ssl.with_client_identity(Some(ClientIdentity::new(
                cert.clone().into(),
                key.clone().into(),
            )));
        }
        (None, None) => {}
        _ => {
            let why = "a client certificate needs its key, and a key its certificate".to_owned();
            return Err(MysqlError::Tls { endpoint: endpoint.to_string(), why });
        }
    }
    Ok(ssl)
}

async fn attempt(builder: OptsBuilder, options: &ConnectOptions) -> Result<Conn, MysqlError> {
    let endpoint = options.endpoint.to_string();
    let error = match tokio::time::timeout(CONNECT, Conn::new(builder)).await {
        Ok(Ok(conn)) => return Ok(conn),
        Ok(Err(error)) => error,
        Err(_) => {
            return Err(MysqlError::Unreachable {
                endpoint,
                why: format!("no answer within {CONNECT:?}"),
            });
        }
    };
    Err(match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            MysqlError::Tls { endpoint, why: NO_TLS.to_owned() }
        }
        Error::Io(IoError::Tls(e)) => MysqlError::Tls { endpoint, why: e.to_string() },
        // rustls reports a failed handshake inside an I/O error.
        Error::Io(IoError::Io(e)) if Trouble::of(&e).is_some() => {
            let advice = Trouble::of(&e).map_or_else(String::new, |t| t.advice("--mysql-tls-ca"));
            MysqlError::Tls { endpoint, why: format!("{e}: {advice}") }
        }
        Error::Server(e) if matches!(e.code, 1044 | 1045 | 1130 | 1698 | 1862 | 3118 | 3159) => {
            MysqlError::AccessDenied { endpoint, user: options.user.clone(), why: e.message }
        }
        other => MysqlError::Unreachable { endpoint, why: other.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_suites_have_their_registered_names() {
        for (theirs, registered_as) in [
            ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
            ("SOMETHING-NEW", "SOMETHING-NEW"),
        ] {
            assert_eq!(registered(theirs), registered_as);
        }
    }

    #[test]
    fn half_an_identity_is_refused() {
        let tls = Tls { mode: TlsMode::Required, cert: Some("c.pem".into()), ..Tls::default() };
        assert!(ssl_options(&tls, &Endpoint::Socket("s".into())).is_err());
    }
}
