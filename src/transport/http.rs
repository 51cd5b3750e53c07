//! HTTP/1.1 over connections of ours.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use zeroize::Zeroizing;

use super::{BoxError, Dialer};

/// A pool of connections that sends bodies of one kind.
pub(super) type Pool<B> = Client<Dialer, B>;

impl Dialer {
    /// A pool of connections. Redirects are not followed: no credential goes astray.
    #[must_use]
    pub fn pool<B>(&self) -> Client<Self, B>
    where
        B: Body + Send,
        B::Data: Send,
    {
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(self.clone())
    }
}

/// An exchange that came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No whole answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// More than was expected.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// No connection, or it broke.
    #[error("{}", super::chain(&**.0))]
    Failed(#[source] BoxError),
}

/// A client for small requests and answers.
#[derive(Clone)]
pub struct HttpClient {
    dialer: Dialer,
    pool: Pool<Full<Bytes>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("dialer", &self.dialer).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// One that makes its connections so.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self { pool: dialer.pool(), dialer }
    }

    /// How its connections are made.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Sends a request, and waits for the head of its answer.
    ///
    /// # Errors
    /// When there is no connection, or it breaks.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, HttpError> {
        let sent = self.pool.request(request.map(Full::new)).await;
        sent.map_err(|error| HttpError::Failed(error.into()))
    }

    /// A request and its whole answer, which is wiped when it is dropped.
    ///
    /// # Errors
    /// When there is none in time, or it has more bytes than `limit`.
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
        limit: usize,
        patience: Duration,
    ) -> Result<Response<Zeroizing<Vec<u8>>>, HttpError> {
        let exchange = async {
            let (head, mut body) = self.send(request).await?.into_parts();
            // Room for all that is usual, so that nothing is left behind where it has grown.
            let mut whole = Zeroizing::new(Vec::with_capacity(limit.min(16 << 10)));
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| HttpError::Failed(error.into()))?;
                let Some(piece) = frame.data_ref() else { continue };
                if whole.len() + piece.len() > limit {
                    return Err(HttpError::TooLong(limit));
                }
                whole.extend_from_slice(piece);
            }
            Ok(Response::from_parts(head, whole))
        };
        match tokio::time::timeout(patience, exchange).await {
            Ok(exchanged) => exchanged,
            Err(_) => Err(HttpError::Timeout(patience)),
        }
    }
}
