//! Tokens of Entra ID: for a token of Kubernetes, of the machine, and of a platform of Azure.

use std::{path::PathBuf, time::Duration};

use backstay::{
    crypto::{
        Fault,
        azure::{AzureLogin, AzureOptions},
        kms::{Kms as _, KmsError, azure::AzureKms},
    },
    model::AccessKind,
};
use secrecy::SecretString;

use crate::{
    azure::{MACHINE, WRITER, kek, kms, options},
    key_vault::{HSM, INSIDE, KeyVault, TENANT},
    vault::{QUICK, context, fault},
};

const CLIENT: &str = "11111111-2222-3333-4444-555555555555";

fn open(vault: &KeyVault, login: AzureLogin) -> AzureKms {
    let options = AzureOptions { login, ..options(vault) };
    AzureKms::open(&kek(vault, "kek"), &options).unwrap()
}

fn workload(vault: &KeyVault, token_file: PathBuf, tenant: &str) -> AzureLogin {
    AzureLogin::Workload {
        authority: format!("{}/", vault.address()),
        tenant: tenant.to_owned(),
        client: CLIENT.to_owned(),
        token_file,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_s_token_is_exchanged_and_read_anew_each_time() {
    let vault = KeyVault::start().await;
    vault.lock().lifetime = 6;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "jwt-1\n").unwrap();
    vault.lock().subjects.insert("jwt-1".to_owned(), CLIENT.to_owned());
    let kms = open(&vault, workload(&vault, file.clone(), TENANT));
    kms.generate(&context(1)).await.unwrap();
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(vault.asked("oauth2"), 1);
    tokio::time::sleep(Duration::from_millis(4_300)).await;
    vault.lock().subjects.clear();
    vault.lock().subjects.insert("jwt-2".to_owned(), CLIENT.to_owned());
    std::fs::write(&file, "jwt-2").unwrap();
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(vault.asked("oauth2"), 2, "renewed while the old one was still good");
    let access = kms.access().await.unwrap();
    assert_eq!((access.kind, access.principal.as_deref()), (AccessKind::WebIdentity, Some(CLIENT)));
    assert!(access.renewable && access.expires_at.is_some(), "{access:?}");
    // Entra is away: the token at hand goes on, and then no more.
    vault.lock().always = Some(("oauth2", (503, "ServiceUnavailable", "away", None)));
    tokio::time::sleep(Duration::from_millis(4_300)).await;
    kms.generate(&context(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(fault(kms.generate(&context(1)).await).0, Fault::Broken);
    vault.lock().always = None;
    // Revoked: another one, once.
    vault.lock().lifetime = 3600;
    kms.generate(&context(1)).await.unwrap();
    vault.revoke_all();
    let before = vault.asked("oauth2");
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(vault.asked("oauth2") - before, 1);
    // What this identity may not do is its own.
    vault.lock().roles.insert(CLIENT.to_owned(), Vec::new());
    assert_eq!(fault(kms.generate(&context(1)).await).0, Fault::Denied);
    vault.lock().roles.clear();

    // Entra does not know the token, the identity, the tenant.
    vault.lock().subjects.clear();
    vault.revoke_all();
    let (what, why) = fault(kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("AADSTS700213") && why.contains("federated credential"), "{why}");
    assert!(!why.contains("jwt-2"), "{why}");
    vault.lock().subjects.insert("jwt-2".to_owned(), "somebody else".to_owned());
    let (_, why) = fault(kms.generate(&context(1)).await);
    assert!(why.contains("AADSTS700016"), "{why}");
    let elsewhere = open(&vault, workload(&vault, file.clone(), "elsewhere"));
    let (what, why) = fault(elsewhere.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("AADSTS90002") && why.contains("AZURE_TENANT_ID"), "{why}");
    let (before, kms) = (vault.asked(""), open(&vault, workload(&vault, file.clone(), TENANT)));
    for text in [None, Some(" \n")] {
        match text {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let (what, why) = fault(kms.generate(&context(1)).await);
        assert_eq!(what, Fault::Settings);
        assert!(why.contains("AZURE_FEDERATED_TOKEN_FILE"), "{why}");
    }
    assert_eq!(vault.asked(""), before, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_and_a_platform_have_identities_of_their_own() {
    let vault = KeyVault::start().await;
    let machine = kms(&vault, "kek");
    machine.generate(&context(1)).await.unwrap();
    let access = machine.access().await.unwrap();
    assert_eq!((access.kind, access.principal.as_deref()), (AccessKind::Instance, Some(MACHINE)));
    // One of several, which may do less.
    vault.lock().machine.push("writer".to_owned());
    vault.lock().roles.insert("writer".to_owned(), WRITER.to_vec());
    let of = |client: &str| {
        let client = Some(client.to_owned());
        open(&vault, AzureLogin::Machine { endpoint: vault.address(), client })
    };
    let (_, wrapped) = of("writer").generate(&context(1)).await.unwrap();
    let refused = of("writer").unwrap(&context(1), &wrapped).await;
    assert!(matches!(refused, Err(KmsError::WrapOnly { .. })), "{refused:?}");
    let (what, why) = fault(of("nobody").generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("Identity not found") && why.contains("AZURE_CLIENT_ID"), "{why}");
    let platform = |header: &str| {
        let endpoint = format!("{}/msi/token", vault.address());
        let header = SecretString::from(header);
        open(&vault, AzureLogin::Platform { endpoint, header, client: None })
    };
    platform(INSIDE).generate(&context(1)).await.unwrap();
    let access = platform(INSIDE).access().await.unwrap();
    assert_eq!(
        (access.kind, access.principal.as_deref()),
        (AccessKind::PodIdentity, Some(MACHINE))
    );
    assert_eq!(fault(platform("from-outside").generate(&context(1)).await).0, Fault::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_service_is_not_taken_and_is_not_asked_for() {
    let vault = KeyVault::start().await;
    let wrong = AzureOptions { resource: Some(HSM.to_owned()), ..options(&vault) };
    let kms = AzureKms::open(&kek(&vault, "kek"), &wrong).unwrap();
    let (what, why) = fault(kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("AKV10022") && why.contains("tenant"), "{why}");
    assert!(!why.contains("eyJ0"), "{why}");
    for url in ["https://vault.example.com/keys/k", "https://10.0.0.1/keys/k"] {
        let (what, why) = fault(AzureKms::open(url, &options(&vault)));
        assert_eq!(what, Fault::Settings);
        assert!(why.contains("no address of a Key Vault"), "{why}");
    }
    let far = AzureLogin::Workload {
        authority: "http://login.example".to_owned(),
        tenant: TENANT.to_owned(),
        client: CLIENT.to_owned(),
        token_file: "/t".into(),
    };
    let options = AzureOptions { login: far, resource: None, patience: QUICK };
    let (what, why) = fault(AzureKms::open("https://v.vault.azure.net/keys/k", &options));
    assert_eq!(what, Fault::Settings);
    assert!(why.contains("in the clear") && why.contains("AZURE_AUTHORITY_HOST"), "{why}");
    for bad in ["http://v.vault.azure.net/keys/k", "https://v.vault.azure.net/secrets/k", "v/k"] {
        assert!(matches!(AzureKms::open(bad, &options), Err(KmsError::Uri(_))), "{bad}");
    }
}
