//! `object_store`'s requests over connections of ours.

use std::{
    error::Error as _,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use http::{HeaderValue, header::USER_AGENT};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::{Client, Error};
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};

use super::super::{StoreOptions, backend::Fault, open::dialer};
use crate::transport::{Dialer, Plaintext, causes};

/// Who asks, in servers' logs.
const AGENT: &str = concat!("backstay/", env!("CARGO_PKG_VERSION"));

/// Makes clients, and knows how the last of them connects.
#[derive(Debug)]
pub(super) struct Connector {
    encrypted: Dialer,
    plain: Dialer,
    last: std::sync::Arc<Mutex<Dialer>>,
}

impl Connector {
    /// The connector, and where to find the dialer of the client that it made last. That is the
    /// store's own: those that fetch its tokens are made before it.
    pub(super) fn new(
        options: &StoreOptions,
    ) -> Result<(Self, std::sync::Arc<Mutex<Dialer>>), Fault> {
        let (encrypted, plain) =
            (dialer(options, Plaintext::Never)?, dialer(options, Plaintext::Anywhere)?);
        let last = std::sync::Arc::new(Mutex::new(encrypted.clone()));
        Ok((Self { encrypted, plain, last: std::sync::Arc::clone(&last) }, last))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp);
        let dialer = match plain.as_deref() {
            Some("true") => self.plain.apart(),
            _ => self.encrypted.apart(),
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = dialer.clone();
        Ok(HttpClient::new(Pool(dialer.pool())))
    }
}

#[derive(Debug)]
struct Pool(Client<Dialer, HttpRequestBody>);

#[async_trait]
impl HttpService for Pool {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let answer =
            self.0.request(request).await.map_err(|error| HttpError::new(kind(&error), error))?;
        Ok(answer.map(|body| {
            HttpResponseBody::new(body.map_err(|error| {
                let kind = if error.is_timeout() {
                    HttpErrorKind::Timeout
                } else {
                    HttpErrorKind::Interrupted
                };
                HttpError::new(kind, error)
            }))
        }))
    }
}

fn kind(error: &Error) -> HttpErrorKind {
    let timed_out = causes(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::TimedOut);
    match error.source() {
        _ if error.is_connect() => HttpErrorKind::Connect,
        _ if timed_out => HttpErrorKind::Timeout,
        Some(_) => HttpErrorKind::Interrupted,
        None => HttpErrorKind::Unknown,
    }
}
