//! A KEK in Azure Key Vault, or in a Managed HSM: what it binds, and what each refusal means.

use std::time::{Duration, Instant};

use backstay::{
    crypto::{
        Dek, Fault,
        azure::{AzureLogin, AzureOptions},
        kms::{KeyContext, Kms as _, KmsError, azure::AzureKms},
    },
    model::{ClusterUuid, Peer, Timestamp, TransportSecurity, WrappedDek},
};

use crate::{
    key_vault::{HSM, KeyVault, VaultKey},
    vault::{QUICK, context, fault},
};

pub(crate) const MACHINE: &str = "machine-1";
pub(crate) const WRITER: &[&str] = &["keys/wrap/action", "keys/encrypt/action"];
pub(crate) const READER: &[&str] = &["keys/unwrap/action", "keys/decrypt/action"];

pub(crate) fn options(vault: &KeyVault) -> AzureOptions {
    AzureOptions {
        login: AzureLogin::Machine { endpoint: vault.address(), client: None },
        resource: None,
        patience: QUICK,
    }
}

pub(crate) fn kek(vault: &KeyVault, name: &str) -> String {
    format!("{}/keys/{name}", vault.address())
}

pub(crate) fn kms(vault: &KeyVault, name: &str) -> AzureKms {
    AzureKms::open(&kek(vault, name), &options(vault)).unwrap()
}

/// The same in a Managed HSM, with a symmetric key.
async fn hsm() -> (KeyVault, AzureKms) {
    let vault = KeyVault::start().await;
    vault.lock().resource = HSM;
    vault.add("kek", VaultKey::of("oct-HSM"));
    let options = AzureOptions { resource: Some(HSM.to_owned()), ..options(&vault) };
    let kms = AzureKms::open(&kek(&vault, "kek"), &options).unwrap();
    (vault, kms)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_opens_in_its_context_and_in_no_other() {
    let vault = KeyVault::start().await;
    let (symmetric, in_hsm) = hsm().await;
    for (vault, kms, algorithm, bytes) in [
        (&vault, &kms(&vault, "kek"), "azure-kv-rsa-oaep-256", 256 + 48),
        (&symmetric, &in_hsm, "azure-kv-a256gcm", 12 + 48),
    ] {
        let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
        assert_eq!(wrapped.kek, format!("azure-kv:{}", kek(vault, "kek")));
        assert_eq!((wrapped.algorithm.as_str(), wrapped.ciphertext.len()), (algorithm, bytes));
        let version = vault.lock().keys["kek"].versions[0].name.clone();
        assert_eq!(wrapped.kek_version.as_deref(), Some(version.as_str()));
        assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
        let elsewhere = [
            context(2),
            KeyContext { cluster: ClusterUuid::from_bytes([2; 16]), ..context(1) },
            KeyContext { purpose: "archive", ..context(1) },
        ];
        for other in elsewhere {
            let opened = kms.unwrap(&other, &wrapped).await;
            assert!(matches!(opened, Err(KmsError::Refused { .. })), "{other:?}: {opened:?}");
        }
        for at in 0..wrapped.ciphertext.len() {
            let mut bad = wrapped.clone();
            bad.ciphertext[at] ^= 1;
            let opened = kms.unwrap(&context(1), &bad).await;
            assert!(matches!(opened, Err(KmsError::Refused { .. })), "{at}: {opened:?}");
            bad.ciphertext.truncate(at);
            let opened = kms.unwrap(&context(1), &bad).await;
            assert!(matches!(opened, Err(KmsError::Refused { .. })), "cut at {at}: {opened:?}");
        }
        // The halves of two wraps do not fit together.
        let (_, other) = kms.generate(&context(1)).await.unwrap();
        let at = wrapped.ciphertext.len() - 48;
        let mixed = [&wrapped.ciphertext[..at], &other.ciphertext[at..]].concat();
        let mixed = WrappedDek { ciphertext: mixed, ..wrapped.clone() };
        assert!(matches!(kms.unwrap(&context(1), &mixed).await, Err(KmsError::Refused { .. })));
        for bad in [
            WrappedDek { algorithm: "aws-kms".into(), ..wrapped.clone() },
            WrappedDek { kek_version: None, ..wrapped.clone() },
            WrappedDek { kek_version: Some("../../secrets/s".into()), ..wrapped.clone() },
        ] {
            let before = vault.asked("");
            assert!(matches!(kms.unwrap(&context(1), &bad).await, Err(KmsError::Refused { .. })));
            assert_eq!(vault.asked(""), before, "nothing was sent");
        }
        // After a rotation old wraps are opened by the version that made them.
        vault.change("kek", VaultKey::rotate);
        let newest = vault.lock().keys["kek"].versions[1].name.clone();
        let newer = kms.wrap(&context(1), &dek).await.unwrap();
        assert_eq!(newer.kek_version.as_deref(), Some(newest.as_str()));
        for (wrap, version) in [(&wrapped, &version), (&newer, &newest)] {
            assert_eq!(kms.unwrap(&context(1), wrap).await.unwrap().expose(), dek.expose());
            assert!(vault.last("/keys/").path.contains(version.as_str()));
        }
        // Another version than the one that made it does not open it.
        let swapped = WrappedDek { kek_version: Some(newest), ..wrapped };
        let opened = kms.unwrap(&context(1), &swapped).await;
        assert!(matches!(opened, Err(KmsError::Refused { .. })), "{opened:?}");
        assert_eq!(kms.connection().to, Peer::Kms);
        assert_eq!(kms.connection().security, TransportSecurity::Local);
    }
    assert!(vault.last("wrapkey").body["aad"].is_null());
    assert!(symmetric.last("decrypt").body["aad"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_named_wraps_and_all_versions_open() {
    let vault = KeyVault::start().await;
    let first = vault.lock().keys["kek"].versions[0].name.clone();
    vault.change("kek", VaultKey::rotate);
    let pinned = format!("{}/{first}", kek(&vault, "kek"));
    let pinned = AzureKms::open(&pinned, &options(&vault)).unwrap();
    let newest = kms(&vault, "kek");
    assert_eq!(pinned.name(), newest.name());
    let (dek, wrapped) = pinned.generate(&context(1)).await.unwrap();
    assert_eq!(wrapped.kek_version.as_deref(), Some(first.as_str()));
    assert_eq!(newest.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    let newer = newest.wrap(&context(1), &dek).await.unwrap();
    assert_ne!(newer.kek_version, wrapped.kek_version);
    assert_eq!(pinned.unwrap(&context(1), &newer).await.unwrap().expose(), dek.expose());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_wraps_and_cannot_unwrap_and_a_reader_cannot_wrap() {
    let vault = KeyVault::start().await;
    let kms = kms(&vault, "kek");
    // Rights as narrow as can be, without the one to look at the key.
    vault.lock().roles.insert(MACHINE.into(), WRITER.to_vec());
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    kms.generate(&context(2)).await.unwrap();
    let looks = vault.lock().seen.iter().filter(|seen| seen.path == "/keys/kek").count();
    assert_eq!(looks, 1, "it does not ask again for what it may not see");
    let refused = kms.unwrap(&context(1), &wrapped).await;
    let Err(KmsError::WrapOnly { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("keys/unwrap/action") && why.contains("ForbiddenByRbac"), "{why}");
    vault.lock().roles.insert(MACHINE.into(), READER.to_vec());
    assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    let (what, why) = fault(kms.wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("must allow keys/wrap/action"), "{why}");
    // In an HSM the same; on this machine nothing but a look says that it is one.
    let (vault, kms) = hsm().await;
    let (_, wrapped) = kms.generate(&context(1)).await.unwrap();
    vault.lock().roles.insert(MACHINE.into(), [&["keys/read"], WRITER].concat());
    kms.wrap(&context(1), &dek).await.unwrap();
    let refused = kms.unwrap(&context(1), &wrapped).await;
    let Err(KmsError::WrapOnly { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("keys/decrypt/action"), "{why}");
    vault.lock().roles.insert(MACHINE.into(), WRITER.to_vec());
    assert_eq!(fault(kms.wrap(&context(1), &dek).await).0, Fault::WrongKind);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_a_key_has_its_own_fault() {
    let vault = KeyVault::start().await;
    let kms = kms(&vault, "kek");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    let now = Timestamp::now().as_microseconds() / 1_000_000;
    // With and without the right to look at it before.
    for roles in [None, Some([WRITER, READER].concat())] {
        if let Some(roles) = &roles {
            vault.lock().roles.insert(MACHINE.into(), roles.clone());
        }
        vault.change("kek", |key| key.versions[0].enabled = false);
        for (what, why) in [
            fault(kms.unwrap(&context(1), &wrapped).await),
            fault(kms.wrap(&context(1), &dek).await),
        ] {
            assert_eq!(what, Fault::Disabled, "{why}");
            assert!(why.contains("set-attributes"), "{why}");
        }
        vault.change("kek", |key| key.versions[0].enabled = true);
        for (begins, ends) in [(Some(now + 900), None), (None, Some(now - 900))] {
            vault.change("kek", |key| {
                (key.versions[0].begins, key.versions[0].ends) = (begins, ends);
            });
            let (what, why) = fault(kms.wrap(&context(1), &dek).await);
            assert_eq!(what, Fault::Expired, "{why}");
            // What it has wrapped it opens all the same.
            assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
        }
        vault.change("kek", |key| (key.versions[0].begins, key.versions[0].ends) = (None, None));
        vault.change("kek", |key| key.operations = Some(vec!["sign"]));
        assert_eq!(fault(kms.wrap(&context(1), &dek).await).0, Fault::WrongKind);
        vault.change("kek", |key| key.operations = None);
    }
    vault.lock().roles.clear();
    // Who may look sees that it was deleted, and until when it can be saved.
    let kms = self::kms(&vault, "kek");
    vault.change("kek", |key| key.is_deleted = true);
    for (what, why) in
        [fault(kms.unwrap(&context(1), &wrapped).await), fault(kms.wrap(&context(1), &dek).await)]
    {
        assert_eq!(what, Fault::PendingDeletion, "{why}");
        assert!(why.contains("az keyvault key recover") && why.contains("2026-01-07"), "{why}");
    }
    vault.lock().roles.insert(MACHINE.into(), READER.to_vec());
    let (what, why) = fault(kms.unwrap(&context(1), &wrapped).await);
    assert_eq!(what, Fault::NotFound, "{why}");
    assert!(why.contains("recover"), "{why}");
    vault.lock().roles.clear();
    // Made anew under its name: the version is not there.
    vault.add("kek", VaultKey::of("RSA"));
    let (what, why) = fault(kms.unwrap(&context(1), &wrapped).await);
    assert_eq!(what, Fault::NoVersion, "{why}");
    assert!(why.contains(wrapped.kek_version.as_deref().unwrap()), "{why}");
    for kind in ["EC", "EC-HSM"] {
        vault.add("kek", VaultKey::of(kind));
        let (what, why) = fault(kms.wrap(&context(1), &dek).await);
        assert_eq!(what, Fault::WrongKind);
        assert!(why.contains(kind), "{why}");
    }
    let (what, why) = fault(self::kms(&vault, "kex").wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::NotFound, "{why}");
    vault.lock().keys.clear();
    assert_eq!(fault(kms.unwrap(&context(1), &wrapped).await).0, Fault::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrapped_by_a_disabled_key_though_the_vault_would() {
    let vault = KeyVault::start().await;
    let kms = kms(&vault, "kek");
    vault.lock().wraps_disabled = true;
    vault.change("kek", |key| key.versions[0].enabled = false);
    let (what, why) = fault(kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Disabled);
    assert!(why.contains("would not open"), "{why}");
    assert_eq!(vault.asked("wrapkey"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_asked_again_and_only_that_and_not_for_ever() {
    let vault = KeyVault::start().await;
    let kms = kms(&vault, "kek");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    let passing = [
        (429, "Throttled", "Request was not processed because too many requests", Fault::Throttled),
        (503, "ServiceUnavailable", "The service is unavailable.", Fault::Broken),
        (500, "InternalServerError", "Internal error.", Fault::Broken),
    ];
    for (status, code, said, what) in passing {
        let failure = ("unwrapkey", (status, code, said, None));
        vault.lock().failures.extend([failure; 3]);
        let before = vault.asked("unwrapkey");
        assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
        assert_eq!(vault.asked("unwrapkey") - before, 4, "{said}");
        vault.lock().always = Some(failure);
        let before = vault.asked("unwrapkey");
        let (found, why) = fault(kms.unwrap(&context(1), &wrapped).await);
        assert_eq!(found, what, "{why}");
        assert!(why.contains(said) && why.contains(code), "{why}");
        assert_eq!(vault.asked("unwrapkey") - before, 4, "no more than is allowed: {said}");
        vault.lock().always = None;
    }
    let later = ("unwrapkey", (429, "Throttled", "too many requests", Some("1")));
    vault.lock().failures.push_back(later);
    let begun = Instant::now();
    kms.unwrap(&context(1), &wrapped).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    for (status, code, said, what, word) in [
        (
            403,
            "Forbidden/ForbiddenByFirewall",
            "Client address is not authorized",
            Fault::Denied,
            "firewall",
        ),
        (
            409,
            "Conflict/ObjectIsDeletedButRecoverable",
            "deleted",
            Fault::PendingDeletion,
            "recover",
        ),
        (418, "Teapot", "what", Fault::Unexpected, "address of a Key Vault"),
        (302, "", "", Fault::Settings, "address"),
    ] {
        vault.lock().failures.push_back(("unwrapkey", (status, code, said, None)));
        let before = vault.asked("");
        let (found, why) = fault(kms.unwrap(&context(1), &wrapped).await);
        assert_eq!(found, what, "{why}");
        assert!(why.contains(word), "{why}");
        assert_eq!(vault.asked("") - before, 1, "{status} {said} does not pass");
    }
    // Nobody there at all.
    let port = crate::tools::free_port();
    let url = format!("http://127.0.0.1:{port}/keys/kek");
    let kms = AzureKms::open(&url, &options(&vault)).unwrap();
    let wrapped = WrappedDek { kek: kms.name().to_owned(), ..wrapped };
    let (what, why) = fault(kms.unwrap(&context(1), &wrapped).await);
    assert_eq!(what, Fault::Unreachable);
    assert!(why.contains(&port.to_string()) && why.contains("list-deleted"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_key_is_not_taken() {
    let vault = KeyVault::start().await;
    let own = vault.address();
    let relay = crate::relay::to(&own, |body| body.replace("/keys/kek/", "/keys/mine/")).await;
    let dek = Dek::generate().unwrap();
    // By the look at the key, and without it by the wrap itself.
    for roles in [None, Some(WRITER.to_vec())] {
        if let Some(roles) = roles {
            vault.lock().roles.insert(MACHINE.into(), roles);
        }
        let kms = AzureKms::open(&format!("{relay}/keys/kek"), &options(&vault)).unwrap();
        let (what, why) = fault(kms.wrap(&context(1), &dek).await);
        assert_eq!(what, Fault::Unexpected);
        assert!(why.contains("another key"), "{why}");
    }
}
