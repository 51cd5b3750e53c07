//! GKE's metadata server, and a store that takes the token of the moment alone. No faithful server of
//! Google's store exists: both are scripts that refuse what Google refuses.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{
    home::Home,
    script::{Conscience, Script},
    stage::Feeding,
};

/// Google, as far as a pod sees it.
#[derive(Default)]
struct Google {
    life: Duration,
    /// Tokens that were given, and when each ends.
    given: Vec<(String, Instant)>,
    /// Tokens that were revoked.
    revoked: usize,
    used: std::collections::BTreeSet<String>,
    turned_away: usize,
    /// Answers of the metadata server that fail from now on.
    fails: usize,
    bound: bool,
}

type Shared = Arc<Mutex<Google>>;

fn locked(google: &Shared) -> MutexGuard<'_, Google> {
    google.lock().unwrap()
}

async fn metadata(State(google): State<Shared>, headers: HeaderMap) -> Response {
    if headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return (StatusCode::FORBIDDEN, "Missing required header").into_response();
    }
    let mut google = locked(&google);
    if google.fails > 0 {
        google.fails -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, "not ready").into_response();
    }
    if !google.bound {
        return (
            StatusCode::NOT_FOUND,
            "GKE Metadata Server encountered an error: unable to impersonate",
        )
            .into_response();
    }
    let token = format!("ya29.{}", google.given.len());
    let end = Instant::now() + google.life;
    google.given.push((token.clone(), end));
    let life = google.life.as_secs();
    json!({"access_token": token, "expires_in": life, "token_type": "Bearer"})
        .to_string()
        .into_response()
}

/// The store's own door.
async fn authorized(State(google): State<Shared>, request: Request<Body>, next: Next) -> Response {
    {
        let mut google = locked(&google);
        let shown = request.headers().get("authorization").and_then(|v| v.to_str().ok());
        let shown = shown.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
        let revoked = google.revoked;
        let at = google.given.iter().position(|(token, _)| *token == shown);
        let good = at.is_some_and(|at| at >= revoked && Instant::now() < google.given[at].1);
        if !good {
            google.turned_away += 1;
            let body = "<Error><Code>AuthenticationRequired</Code><Message>Invalid Credentials</Message></Error>";
            return (StatusCode::UNAUTHORIZED, body).into_response();
        }
        google.used.insert(shown);
    }
    next.run(request).await
}

/// A cluster with workload identity, and a home in it.
async fn stage(life: Duration) -> (Home, Shared, Script) {
    let google = Shared::default();
    *locked(&google) = Google { life, bound: true, ..Google::default() };
    let accounts = "/computeMetadata/v1/instance/service-accounts/default";
    let app = Router::new()
        .route(&format!("{accounts}/token"), get(metadata))
        .route(
            &format!("{accounts}/email"),
            get(|| async { "backup@shop.iam.gserviceaccount.com\n" }),
        )
        .with_state(Arc::clone(&google));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let door = from_fn_with_state(Arc::clone(&google), authorized);
    let script = Script::start_behind(Conscience::Honest, |app| app.layer(door)).await;
    let mut home = Home::new();
    let more = ["--repo", "gs://bucket/p", "--store-endpoint", &script.endpoint()];
    home.flags.extend(more.map(String::from));
    home.env.push(("GCE_METADATA_HOST".into(), host));
    home.env.push(("HOME".into(), home.dir.path().display().to_string()));
    (home, google, script)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_metadata_server_are_renewed_and_none_is_used_beyond_its_end() {
    let (home, google, _script) = stage(Duration::from_secs(2)).await;
    let feeding = Feeding::start(&home, "long", 96 << 20, Duration::from_secs(9));
    tokio::time::sleep(Duration::from_secs(4)).await;
    // A metadata server that is away for a moment is no reason to fail.
    locked(&google).fails = 2;
    let (done, ..) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    done.expect(0);
    {
        let google = locked(&google);
        assert!(google.used.len() > 4, "{:?}", google.used);
        assert_eq!(google.turned_away, 0, "a token was used beyond its end");
    }
    home.run(&["verify"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_replaced_at_once() {
    let (home, google, _script) = stage(Duration::from_hours(1)).await;
    let feeding = Feeding::start(&home, "one", 64 << 20, Duration::from_secs(5));
    tokio::time::sleep(Duration::from_secs(2)).await;
    {
        let mut google = locked(&google);
        google.revoked = google.given.len();
    }
    let (done, ..) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    done.expect(0);
    let google = locked(&google);
    assert!(google.turned_away > 0 && google.used.len() == 2, "{:?}", google.used);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_service_account_and_who_is_not_bound_is_told() {
    let (home, google, _script) = stage(Duration::from_hours(1)).await;
    let checks = home.run(&["doctor"]).expect(0).json();
    let identity = checks.as_array().unwrap().iter().find(|c| c["check"] == "store-identity");
    let detail = identity.unwrap()["detail"].as_str().unwrap();
    assert!(detail.contains("pod-identity: backup@shop.iam.gserviceaccount.com"), "{detail}");
    locked(&google).bound = false;
    let done = home.run(&["list"]).expect(5);
    let error = done.json()["error"].as_str().unwrap().to_owned();
    for word in ["metadata server", "404", "workloadIdentityUser"] {
        assert!(error.contains(word), "no `{word}`: {error}");
    }
}
