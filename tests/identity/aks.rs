//! AKS: a token that Kubernetes renews in a file is exchanged for one of Azure's, which Azurite looks
//! at (its issuer, audience and end; not its signature, which the authority's script does for it).

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::json;

use crate::{azurite::Azurite, home::Home, oidc::Issuer, stage::Feeding};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "99999999-8888-7777-6666-555555555555";
const AUDIENCE: &str = "api://AzureADTokenExchange";

struct Authority {
    kubernetes: Arc<Issuer>,
    azure: Issuer,
    life: i64,
    given: usize,
    refused: usize,
}

type Shared = Arc<Mutex<Authority>>;

fn locked(authority: &Shared) -> MutexGuard<'_, Authority> {
    authority.lock().unwrap()
}

async fn exchange(State(authority): State<Shared>, body: String) -> Response {
    let form: std::collections::BTreeMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let mut authority = locked(&authority);
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let right = field("client_id") == CLIENT
        && field("grant_type") == "client_credentials"
        && field("scope") == "https://storage.azure.com/.default"
        && field("client_assertion_type")
            == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let trusted = authority.kubernetes.vouches_for(field("client_assertion"), AUDIENCE);
    if !right || !trusted {
        authority.refused += 1;
        let why = "AADSTS700211: No matching federated identity record found for presented assertion issuer.";
        let refusal =
            json!({"error": "invalid_client", "error_description": format!("{why}\nTrace ID: x")});
        return (StatusCode::UNAUTHORIZED, refusal.to_string()).into_response();
    }
    authority.given += 1;
    let issuer = format!("https://sts.windows.net/{TENANT}/");
    let token = authority.azure.token_of(&issuer, "https://storage.azure.com", authority.life);
    json!({"token_type": "Bearer", "expires_in": authority.life, "access_token": token})
        .to_string()
        .into_response()
}

/// A pod with workload identity, as AKS's webhook makes it.
async fn stage(life: i64) -> (Home, Shared, Azurite, Arc<Issuer>) {
    let kubernetes = Arc::new(Issuer::start().await);
    let azure = Issuer::start().await;
    let authority = Arc::new(Mutex::new(Authority {
        kubernetes: Arc::clone(&kubernetes),
        azure,
        life,
        given: 0,
        refused: 0,
    }));
    let app = Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(exchange))
        .with_state(Arc::clone(&authority));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let azurite = Azurite::start_tls();
    azurite.container("backups").await;
    let mut home = Home::new();
    let ca = azurite.ca_file().display().to_string();
    let more =
        ["--repo", "az://backups/p", "--store-endpoint", &azurite.endpoint(), "--store-ca", &ca];
    home.flags.extend(more.map(String::from));
    let file = home.path("token").display().to_string();
    for (name, value) in [
        ("AZURE_CLIENT_ID", CLIENT),
        ("AZURE_TENANT_ID", TENANT),
        ("AZURE_FEDERATED_TOKEN_FILE", &file),
        ("AZURE_AUTHORITY_HOST", &host),
        ("AZURE_STORAGE_ACCOUNT_NAME", Azurite::account()),
    ] {
        home.env.push((name.to_owned(), value.to_owned()));
    }
    std::fs::write(home.path("token"), kubernetes.token(AUDIENCE, 3600)).unwrap();
    (home, authority, azurite, kubernetes)
}

#[tokio::test(flavor = "multi_thread")]
async fn federated_tokens_are_exchanged_again_before_they_end() {
    let (home, authority, _azurite, _) = stage(3).await;
    let feeding = Feeding::start(&home, "long", 96 << 20, Duration::from_secs(10));
    let (done, ..) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    done.expect(0);
    assert!(locked(&authority).given > 3, "{}", locked(&authority).given);
    assert_eq!(locked(&authority).refused, 0);
    home.run(&["verify"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_application_and_what_the_authority_says() {
    let (home, authority, _azurite, kubernetes) = stage(3600).await;
    let checks = home.run(&["doctor"]).expect(0).json();
    let check = |name: &str| {
        checks.as_array().unwrap().iter().find(|c| c["check"] == name).unwrap()["detail"]
            .to_string()
    };
    let detail = check("store-identity");
    assert!(detail.contains(&format!("web-identity: application {CLIENT}")), "{detail}");
    assert!(check("store-transport").contains("TLS 1.3"), "{}", check("store-transport"));
    // An assertion for somebody else.
    std::fs::write(home.path("token"), kubernetes.token("elsewhere", 3600)).unwrap();
    let error = home.run(&["list"]).expect(5).json()["error"].as_str().unwrap().to_owned();
    for word in [CLIENT, "the token in", "AADSTS700211", "federated credential"] {
        assert!(error.contains(word), "no `{word}`: {error}");
    }
    assert!(!error.contains("Trace ID"), "{error}");
    // One that has ended is not shown to anybody.
    let refused = locked(&authority).refused;
    std::fs::write(home.path("token"), kubernetes.token(AUDIENCE, -5)).unwrap();
    let error = home.run(&["list"]).expect(5).json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("has ended at") && error.contains(CLIENT), "{error}");
    assert_eq!(locked(&authority).refused, refused);
}
