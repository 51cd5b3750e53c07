//! Making a connection: socket or TCP, with as much TLS as is demanded.

use std::time::Duration;

use mysql_async::{ClientIdentity, Conn, DriverError, Error, IoError, OptsBuilder, SslOpts};
use secrecy::ExposeSecret as _;

use crate::model::TransportSecurity;

use super::{ConnectOptions, Endpoint, MysqlError, Tls, TlsMode, connect::CONNECT};

pub(super) async fn open(
    options: &ConnectOptions,
) -> Result<(Conn, TransportSecurity), MysqlError> {
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
        Error::Io(IoError::Io(e))
            if e.get_ref()
                .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
        {
            MysqlError::Tls { endpoint, why: e.to_string() }
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
    fn half_an_identity_is_refused() {
        let tls = Tls { mode: TlsMode::Required, cert: Some("c.pem".into()), ..Tls::default() };
        assert!(ssl_options(&tls, &Endpoint::Socket("s".into())).is_err());
    }
}
