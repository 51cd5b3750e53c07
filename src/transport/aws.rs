//! The AWS SDK's requests over connections of ours. Its own client hides what TLS has agreed on.

use std::{fmt, time::Duration};

use aws_smithy_runtime_api::client::{
    connection::{CaptureSmithyConnection, ConnectionMetadata},
    http::{
        HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector, http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::{body::SdkBody, retry::ErrorKind};
use hyper_util::client::legacy::{
    Error,
    connect::{CaptureConnection, capture_connection},
};

use super::{Dialer, causes, http::Pool};

/// A client for the SDK.
#[must_use]
pub fn smithy_client(dialer: &Dialer) -> SharedHttpClient {
    let pool = dialer.pool();
    http_client_fn(move |settings, _| {
        SharedHttpConnector::new(Connector { pool: pool.clone(), limit: limit(settings) })
    })
}

/// Only those that ask this machine's or the cluster's own services for credentials set a limit,
/// and they are answered at once or never.
fn limit(settings: &HttpConnectorSettings) -> Option<Duration> {
    Some(settings.read_timeout()? + settings.connect_timeout().unwrap_or_default())
}

struct Connector {
    pool: Pool<SdkBody>,
    limit: Option<Duration>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let used = capture_connection(&mut request);
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            // The SDK closes a connection whose other end is throttling or failing.
            capture.set_connection_retriever(move || metadata(&used));
        }
        let (pool, limit) = (self.pool.clone(), self.limit);
        HttpConnectorFuture::new(async move {
            let sent = pool.request(request);
            let answer = match limit {
                None => sent.await,
                Some(limit) => tokio::time::timeout(limit, sent).await.map_err(|_| {
                    ConnectorError::timeout(format!("no answer within {limit:?}").into())
                })?,
            };
            let answer = answer.map_err(failed)?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn metadata(used: &CaptureConnection) -> Option<ConnectionMetadata> {
    used.connection_metadata().as_ref()?;
    let used = used.clone();
    let poison = move || {
        if let Some(connection) = used.connection_metadata().as_ref() {
            connection.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
}

/// What may pass, in the SDK's terms: a timeout, a connection that was not made or broke.
fn failed(error: Error) -> ConnectorError {
    let io = causes(&error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
    if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
        return ConnectorError::timeout(error.into());
    }
    let broken = causes(&error)
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .any(|e| e.is_closed() || e.is_canceled() || e.is_incomplete_message());
    if error.is_connect() || io.is_some() {
        ConnectorError::io(error.into())
    } else if broken {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    } else {
        ConnectorError::other(error.into(), None)
    }
}
