//! Tokens: from a file that changes, and from a Kubernetes login that ends.

use std::time::Duration;

use backstay::{
    crypto::{Fault, kms::Kms as _, vault::VaultLogin},
    model::{AccessKind, TransportSecurity},
};

use crate::{
    transit::Transit,
    vault::{Client, context, fault},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_file_that_changes_is_read_again() {
    let transit = Transit::start().await;
    let client = Client::of(&transit.address(), "root");
    let kms = client.kms("transit/kek");
    kms.generate(&context(1)).await.unwrap();
    transit.revoke_all();
    transit.grant("renewed", &[]);
    let (what, why) = fault(kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(!why.contains("root"), "{why}");
    std::fs::write(client.dir.path().join("token"), "renewed").unwrap();
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(transit.lock().seen.last().unwrap().token.as_deref(), Some("renewed"));
}

fn in_kubernetes(transit: &Transit, role: &str) -> Client {
    let mut client = Client::of(&transit.address(), "unused");
    let jwt_file = client.dir.path().join("jwt");
    std::fs::write(&jwt_file, "jwt-1\n").unwrap();
    transit.lock().accounts.insert("jwt-1".to_owned());
    client.options.login =
        VaultLogin::Kubernetes { mount: "kubernetes".to_owned(), role: role.to_owned(), jwt_file };
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_logs_in_once_and_renews_before_the_end() {
    let transit = Transit::start().await;
    transit.lock().lease = 3;
    let client = in_kubernetes(&transit, "backstay");
    let kms = client.kms("transit/kek");
    kms.generate(&context(1)).await.unwrap();
    kms.generate(&context(1)).await.unwrap();
    assert_eq!((transit.asked("login"), transit.asked("renew-self")), (1, 0));
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    kms.generate(&context(1)).await.unwrap();
    assert_eq!((transit.asked("login"), transit.asked("renew-self")), (1, 1));
    // Past the first lease, within the renewed one.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(transit.asked("login"), 1);
    // Renewal is refused: it logs in again, with the service account's token of now.
    transit.lock().renews = false;
    transit.lock().accounts.clear();
    transit.lock().accounts.insert("jwt-2".to_owned());
    std::fs::write(client.dir.path().join("jwt"), "jwt-2").unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    kms.generate(&context(1)).await.unwrap();
    assert_eq!((transit.asked("login"), transit.asked("renew-self")), (2, 2));
    let tokens: Vec<_> = transit.lock().seen.iter().filter_map(|s| s.token.clone()).collect();
    assert_eq!(tokens.last().unwrap(), "login-2");
    // Long after the end nothing is renewed.
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    kms.generate(&context(1)).await.unwrap();
    assert_eq!((transit.asked("login"), transit.asked("renew-self")), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_that_grow_shorter_end_in_a_new_login() {
    let transit = Transit::start().await;
    transit.lock().lease = 4;
    transit.lock().renewal = Some(1);
    let client = in_kubernetes(&transit, "backstay");
    let kms = client.kms("transit/kek");
    kms.generate(&context(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2_800)).await;
    kms.generate(&context(1)).await.unwrap();
    assert_eq!((transit.asked("login"), transit.asked("renew-self")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_is_replaced_once() {
    let transit = Transit::start().await;
    let client = in_kubernetes(&transit, "backstay");
    let kms = client.kms("transit/kek");
    kms.generate(&context(1)).await.unwrap();
    transit.revoke_all();
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(transit.asked("login"), 2);
    transit.lock().always = Some((403, "permission denied"));
    let before = transit.asked("");
    assert_eq!(fault(kms.generate(&context(1)).await).0, Fault::Denied);
    assert!(transit.asked("") - before <= 2, "no endless logins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_says_what_to_check_and_no_secret() {
    let transit = Transit::start().await;
    let client = in_kubernetes(&transit, "other");
    let (what, why) = fault(client.kms("transit/kek").generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("role other of auth/kubernetes") && why.contains("invalid role"), "{why}");
    let client = in_kubernetes(&transit, "backstay");
    transit.lock().accounts.clear();
    let (what, why) = fault(client.kms("transit/kek").generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("log in to Vault") && !why.contains("jwt-1"), "{why}");
    std::fs::remove_file(client.dir.path().join("jwt")).unwrap();
    let (what, why) = fault(client.kms("transit/kek").generate(&context(1)).await);
    assert_eq!(what, Fault::Settings);
    assert!(why.contains("BACKSTAY_VAULT_JWT_FILE"), "{why}");
    // A login that meets a sealed Vault waits for it.
    let client = in_kubernetes(&transit, "backstay");
    transit.lock().failures.extend([(503, "Vault is sealed"); 2]);
    client.kms("transit/kek").generate(&context(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_says_as_whom_it_knows_us() {
    let transit = Transit::start().await;
    let client = in_kubernetes(&transit, "backstay");
    let kms = client.kms("transit/kek");
    assert_eq!(kms.connection().security, TransportSecurity::Unknown);
    let access = kms.access().await.unwrap();
    assert_eq!(access.kind, AccessKind::WebIdentity);
    assert_eq!(access.principal.as_deref(), Some("kubernetes-db-backstay (entity 7d2e3179)"));
    let left = access.expires_at.unwrap().seconds_since(backstay::model::Timestamp::now());
    assert!((3_500.0..3_601.0).contains(&left), "{left}");
    assert_eq!(kms.connection().security, TransportSecurity::Local);
    let client = Client::of(&transit.address(), "root");
    let access = client.kms("transit/kek").access().await.unwrap();
    assert_eq!((access.kind, access.expires_at), (AccessKind::Static, None));
    assert_eq!(access.principal.as_deref(), Some("token"));
    // A token that may not look at itself is none the worse for it.
    transit.lock().hides_tokens = true;
    let access = client.kms("transit/kek").access().await.unwrap();
    assert_eq!((access.kind, access.principal), (AccessKind::Static, None));
}
