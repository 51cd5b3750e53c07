//! EKS Pod Identity: an agent on the node, which hands credentials to whoever shows the pod's token.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{
    eks::{Eks, WRITER, session},
    stage::{Feeding, opened},
};

/// The agent; it gets its credentials at MinIO's STS, through the gate that makes them end.
struct Agent {
    sts: String,
    role: String,
    web_token: PathBuf,
    /// The pod's token that it knows, and where the pod has it.
    token: Mutex<String>,
    token_file: PathBuf,
    /// Of each request whether it showed the right one.
    asked: Mutex<Vec<bool>>,
}

impl Agent {
    /// Renews the pod's token, as the kubelet does.
    fn renew(&self, token: &str) {
        token.clone_into(&mut self.token.lock().unwrap());
        std::fs::write(&self.token_file, token).unwrap();
    }
}

/// A home whose pod is associated with the role.
async fn associated(life: Duration) -> (Eks, Arc<Agent>) {
    let mut eks = Eks::start(WRITER, life).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://127.0.0.1:{}/v1/credentials", listener.local_addr().unwrap().port());
    let agent = Arc::new(Agent {
        sts: eks.gate.endpoint(),
        role: eks.role.clone(),
        web_token: eks.token_file(),
        token: Mutex::default(),
        token_file: eks.home.path("pod-token"),
        asked: Mutex::default(),
    });
    agent.renew("first-token");
    let app = Router::new().route("/v1/credentials", get(give)).with_state(Arc::clone(&agent));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let file = agent.token_file.display().to_string();
    eks.home.env.extend([
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), uri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE".to_owned(), file),
    ]);
    (eks, agent)
}

async fn give(State(agent): State<Arc<Agent>>, headers: HeaderMap) -> Response {
    let shown = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let right = shown.as_deref() == Some(agent.token.lock().unwrap().as_str());
    agent.asked.lock().unwrap().push(right);
    if !right {
        return (StatusCode::UNAUTHORIZED, "the token is not known").into_response();
    }
    let token = std::fs::read_to_string(&agent.web_token).unwrap();
    let session = session(&agent.sts, &agent.role, &token).await;
    json!({
        "AccessKeyId": session[0], "SecretAccessKey": session[1], "Token": session[2],
        "Expiration": session[3], "AccountId": "123456789012",
    })
    .to_string()
    .into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_is_asked_with_the_token_of_the_moment() {
    let (eks, agent) = associated(Duration::from_secs(2)).await;
    let feeding = Feeding::start(&eks.home, "pod", 64 << 20, Duration::from_secs(8));
    tokio::time::sleep(Duration::from_secs(3)).await;
    agent.renew("second-token");
    let (done, fed, _) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    done.expect(0);
    assert_eq!(opened(&eks.minio, &eks.home, "pod").await, fed);
    assert!(eks.gate.seen().used() > 2, "the credentials were renewed");
    let asked = agent.asked.lock().unwrap().clone();
    assert!(asked.len() > 2 && asked.iter().all(|right| *right), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_agent_and_a_token_that_it_does_not_know() {
    let (eks, agent) = associated(Duration::from_mins(15)).await;
    let done = eks.home.run(&["doctor"]).expect(0);
    let checks = done.json();
    let identity = checks.as_array().unwrap().iter().find(|c| c["check"] == "store-identity");
    let detail = identity.unwrap()["detail"].as_str().unwrap();
    assert!(detail.contains("pod-identity") && detail.contains("renewed"), "{detail}");
    std::fs::write(&agent.token_file, "stale").unwrap();
    let done = eks.home.run(&["list"]).expect(5);
    let error = done.json()["error"].as_str().unwrap().to_owned();
    for word in ["/v1/credentials", "pod-token", "401"] {
        assert!(error.contains(word), "no `{word}`: {error}");
    }
    assert!(!error.contains("stale"), "{error}");
}
