//! Something in between that changes what a service answers.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
    response::{IntoResponse, Response},
};

/// The address of a relay to this one, whose answers go through a change.
pub(crate) async fn to(
    address: &str,
    change: impl Fn(&str) -> String + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (address, change) = (Arc::new(address.to_owned()), Arc::new(change));
    let router = Router::new().fallback(move |request: Request<Body>| {
        let (http, address, change) = (http.clone(), Arc::clone(&address), Arc::clone(&change));
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            let url = format!("{address}{}", parts.uri.path_and_query().unwrap());
            let mut headers = parts.headers;
            headers.remove("host");
            let sent = http.request(parts.method, url).headers(headers).body(body);
            let answered = sent.send().await.unwrap();
            let status = answered.status();
            let text = change(&answered.text().await.unwrap());
            Response::from((status, text).into_response())
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    own
}
