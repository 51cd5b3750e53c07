//! What a request is answered.

use std::sync::Arc;

use axum::body::Body;
use hyper::{Method, Request as HttpRequest, Response, StatusCode, body::Incoming, header};

use super::{Agent, Endpoint, MANAGER_PATH, Peer, Refusal, stream};
use crate::{
    jobs::backup::{Source, source},
    pipeline::{Progress, verdict},
};

/// After how many seconds a client that was refused for another one's sake may try again.
const AGAIN: &str = "30";

impl Agent {
    pub(super) async fn answer(
        self: Arc<Self>,
        request: &HttpRequest<Incoming>,
        peer: Peer,
    ) -> Response<Body> {
        if !peer.allowed {
            tracing::warn!(client = %peer.address, names = peer.names, "this client is not allowed");
            self.request.status.refused(Refusal::NotAllowed);
            let why = format!(
                "the agent does not know this client: its certificate names {}, and no --allow-client does",
                peer.names
            );
            return refusal(StatusCode::FORBIDDEN, why);
        }
        let endpoint = match request.uri().path() {
            verdict::PATH => Endpoint::Verdict,
            MANAGER_PATH => Endpoint::Manager,
            _ => {
                let why =
                    format!("there are {} and {MANAGER_PATH}, and nothing else", verdict::PATH);
                return refusal(StatusCode::NOT_FOUND, why);
            }
        };
        if request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "GET is the only method".into());
        }
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else {
            self.request.status.refused(Refusal::Busy);
            let why = "another backup is being streamed: try again when it has ended";
            let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, why.into());
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static(AGAIN));
            return response;
        };
        let source = Source::Local {
            connect: self.request.connect.clone(),
            engine: self.request.engine,
            datadir: self.request.datadir.clone(),
            scratch: self.request.scratch.clone(),
            incremental: None,
        };
        let progress = Arc::new(Progress::default());
        // A client that goes away before it was answered takes this with it: nothing has begun.
        let prepared = match source::prepare(&source, &progress).await {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!(client = peer.names, %error, "a backup cannot begin");
                self.request.status.ended(endpoint, super::Outcome::Failed);
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
            }
        };
        let media_type = match endpoint {
            Endpoint::Verdict => verdict::MEDIA_TYPE,
            Endpoint::Manager => "application/octet-stream",
        };
        let body = stream::begin(self, prepared, endpoint, peer, progress, turn);
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
        response
    }
}

fn refusal(status: StatusCode, why: String) -> Response<Body> {
    let mut response = Response::new(Body::from(why + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
