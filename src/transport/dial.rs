//! Making connections: straight or through a proxy, in the clear only where that was allowed, and
//! otherwise with TLS, whose outcome is remembered.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::client::{
    legacy::connect::{HttpConnector, proxy::Tunnel},
    proxy::matcher::{Intercept, Matcher},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::{
    BoxError, Check, Seen, TlsError, TlsOptions, client_config,
    conn::{Conn, Stream},
    facts,
};
use crate::model::TransportSecurity;

/// Where `http://` may lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plaintext {
    /// To this machine alone.
    #[default]
    Loopback,
    /// Anywhere: somebody has asked for it, or the service has no other.
    Anywhere,
    /// Nowhere.
    Never,
}

/// Whether proxies are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Proxies {
    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Never.
    None,
}

/// How to reach a service.
#[derive(Debug, Clone)]
pub struct DialerOptions {
    /// What TLS is to be like.
    pub tls: TlsOptions,
    /// The name in the certificate, when it is not the URL's host.
    pub server_name: Option<String>,
    /// Where no TLS is needed.
    pub plaintext: Plaintext,
    /// Whether proxies are used.
    pub proxies: Proxies,
    /// How long a connection may take to come about, with its handshake.
    pub patience: Duration,
}

impl Default for DialerOptions {
    fn default() -> Self {
        Self {
            tls: TlsOptions::default(),
            server_name: None,
            plaintext: Plaintext::default(),
            proxies: Proxies::default(),
            patience: Duration::from_secs(10),
        }
    }
}

/// Makes connections, and remembers how the last one was protected.
#[derive(Clone)]
pub struct Dialer(Arc<Inner>);

struct Inner {
    tcp: HttpConnector,
    tls: Arc<ClientConfig>,
    check: Check,
    server_name: Option<ServerName<'static>>,
    plaintext: Plaintext,
    proxies: Option<Arc<Matcher>>,
    patience: Duration,
    seen: Seen,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("seen", &self.0.seen).finish_non_exhaustive()
    }
}

/// Whether a host is this machine. Names below `localhost` are (RFC 6761).
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Dialer {
    /// Reads the files; nobody is called yet.
    ///
    /// # Errors
    /// When a file or a name cannot be used.
    pub fn new(options: &DialerOptions) -> Result<Self, TlsError> {
        let mut config = client_config(&options.tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server_name = options.server_name.clone().map(ServerName::try_from).transpose();
        let server_name = server_name.map_err(|_| {
            rustls::Error::General("a server name is none that a certificate could bear".into())
        })?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        Ok(Self(Arc::new(Inner {
            tcp,
            tls: Arc::new(config),
            check: options.tls.check,
            server_name,
            plaintext: options.plaintext,
            proxies: (options.proxies == Proxies::Environment)
                .then(|| Arc::new(Matcher::from_env())),
            patience: options.patience,
            seen: Seen::default(),
        })))
    }

    /// Another one with the same settings and a memory of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        let Inner { tcp, tls, check, server_name, plaintext, proxies, patience, seen: _ } =
            &*self.0;
        Self(Arc::new(Inner {
            tcp: tcp.clone(),
            tls: Arc::clone(tls),
            check: *check,
            server_name: server_name.clone(),
            plaintext: *plaintext,
            proxies: proxies.clone(),
            patience: *patience,
            seen: Seen::default(),
        }))
    }

    /// What the last connection was like.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.0.seen
    }

    async fn dial(self, to: Uri) -> Result<Conn, BoxError> {
        let patience = self.0.patience;
        match tokio::time::timeout(patience, self.connect(&to)).await {
            Ok(made) => made,
            Err(_) => Err(Box::new(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("connect timeout: no connection within {patience:?}"),
            ))),
        }
    }

    async fn connect(&self, to: &Uri) -> Result<Conn, BoxError> {
        let host = to.host().ok_or("the address names no host")?;
        let secure = match to.scheme_str() {
            Some("https") => true,
            Some("http") if self.may_be_plain(host) => false,
            _ => return Err(NotAllowed(host.to_owned()).into()),
        };
        let through = self.0.proxies.as_ref().and_then(|proxies| proxies.intercept(to));
        if !secure {
            let (to, forwarded) = match &through {
                Some(proxy) => (proxy.uri(), true),
                None => (to, false),
            };
            let stream = self.bare(to).await?;
            self.0.seen.record(TransportSecurity::Plain, None);
            return Ok(Conn::new(stream, forwarded));
        }
        let stream = match &through {
            Some(proxy) => self.tunnel(proxy, to).await?,
            None => self.bare(to).await?,
        };
        let name = match &self.0.server_name {
            Some(name) => name.clone(),
            None => name_of(host)?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.0.tls));
        let secured = connector.connect(name, stream).await?;
        let security = match self.0.check {
            Check::Nothing => TransportSecurity::TlsUnverified,
            Check::Identity | Check::Chain => TransportSecurity::TlsVerified,
        };
        self.0.seen.record(security, facts(secured.get_ref().1));
        Ok(Conn::new(secured, false))
    }

    fn may_be_plain(&self, host: &str) -> bool {
        match self.0.plaintext {
            Plaintext::Anywhere => true,
            Plaintext::Loopback => is_loopback(host),
            Plaintext::Never => false,
        }
    }

    /// TCP.
    async fn bare(&self, to: &Uri) -> Result<Box<dyn Stream>, BoxError> {
        Ok(Box::new(self.0.tcp.clone().call(to.clone()).await?.into_inner()))
    }

    /// A proxy's `CONNECT`.
    async fn tunnel(&self, proxy: &Intercept, to: &Uri) -> Result<Box<dyn Stream>, BoxError> {
        let mut tunnel = Tunnel::new(proxy.uri().clone(), ToProxy(self.clone()));
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        Ok(tunnel.call(to.clone()).await?.into_stream())
    }
}

/// A connection in the clear that nobody has allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not this machine, and nothing goes there in the clear: https is needed")]
struct NotAllowed(String);

fn name_of(host: &str) -> Result<ServerName<'static>, BoxError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare)
        .map_err(|_| format!("`{host}` is no name that a certificate could bear").into())
}

type Dialing = Pin<Box<dyn Future<Output = Result<Conn, BoxError>> + Send>>;

impl Service<Uri> for Dialer {
    type Response = Conn;
    type Error = BoxError;
    type Future = Dialing;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Dialing {
        Box::pin(self.clone().dial(to))
    }
}

/// The way to a proxy itself, which may have TLS, too.
#[derive(Clone)]
struct ToProxy(Dialer);

impl Service<Uri> for ToProxy {
    type Response = Conn;
    type Error = BoxError;
    type Future = Dialing;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, proxy: Uri) -> Dialing {
        let dialer = self.0.clone();
        Box::pin(async move {
            match proxy.scheme_str() {
                Some("http") | None => Ok(Conn::new(dialer.bare(&proxy).await?, false)),
                Some("https") => {
                    let stream = dialer.bare(&proxy).await?;
                    let name = name_of(proxy.host().unwrap_or_default())?;
                    let connector = TlsConnector::from(Arc::clone(&dialer.0.tls));
                    Ok(Conn::new(connector.connect(name, stream).await?, false))
                }
                Some(other) => {
                    Err(format!("a proxy of kind {other} cannot be used: http or https can").into())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "bucket.localhost", "127.0.0.1", "127.8.9.1", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "vault",
            "127.0.0.1.example.com",
            "localhost.example.com",
            "notlocalhost",
            "10.0.0.1",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[tokio::test]
    async fn nothing_goes_elsewhere_in_the_clear() {
        let options = DialerOptions { proxies: Proxies::None, ..DialerOptions::default() };
        for (to, plaintext) in [
            ("http://store.example/", Plaintext::Loopback),
            ("http://127.0.0.1:9/", Plaintext::Never),
            ("ftp://127.0.0.1:9/", Plaintext::Anywhere),
        ] {
            let dialer = Dialer::new(&DialerOptions { plaintext, ..options.clone() }).unwrap();
            let error = dialer.dial(to.parse().unwrap()).await.err().unwrap();
            assert!(error.downcast_ref::<NotAllowed>().is_some(), "{to}: {error}");
        }
    }
}
