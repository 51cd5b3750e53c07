//! A KEK and a signer in Google's Cloud KMS: what they bind, and what each refusal means.

use std::time::{Duration, Instant};

use backstay::{
    crypto::{
        Dek, Fault,
        gcp::{GcpCredentials, GcpOptions},
        kms::{KeyContext, Kms as _, KmsError, gcp::GcpKms},
        signer::{Signer as _, SignerError, gcp::GcpSigner},
        verify,
    },
    model::{AccessKind, ClusterUuid, Peer, TransportSecurity, WrappedDek},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    cloud_kms::{CloudKms, Corruption, CryptoKey, RING},
    vault::{QUICK, context, fault},
};

pub(crate) const NODE: &str = "node@p-1.iam.gserviceaccount.com";
const WRAP: &str = "cloudkms.cryptoKeyVersions.useToEncrypt";
const UNWRAP: &str = "cloudkms.cryptoKeyVersions.useToDecrypt";

pub(crate) fn options(service: &CloudKms) -> GcpOptions {
    GcpOptions {
        endpoint: service.address(),
        credentials: GcpCredentials::Metadata(service.host()),
        patience: QUICK,
    }
}

pub(crate) fn kek(name: &str) -> String {
    format!("{RING}/cryptoKeys/{name}")
}

pub(crate) fn kms(service: &CloudKms, name: &str) -> GcpKms {
    GcpKms::open(&kek(name), &options(service)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_opens_in_its_context_and_in_no_other() {
    let service = CloudKms::start().await;
    let kms = kms(&service, "kek");
    assert_eq!(kms.connection().security, TransportSecurity::Unknown, "nobody was asked yet");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    assert_eq!(
        (wrapped.kek.as_str(), wrapped.kek_version.as_deref(), wrapped.algorithm.as_str()),
        (format!("gcp-kms:{}", kek("kek")).as_str(), Some("1"), "gcp-kms")
    );
    let asked = service.last(":encrypt");
    let aad = BASE64_STANDARD.decode(asked["additionalAuthenticatedData"].as_str().unwrap());
    assert_eq!(aad.unwrap(), context(1).bytes());
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
    // The service reads out of the first bytes whose it is; all others are under the tag.
    for at in 0..wrapped.ciphertext.len() {
        let mut bad = wrapped.clone();
        bad.ciphertext[at] ^= 1;
        match kms.unwrap(&context(1), &bad).await {
            Err(KmsError::Refused { .. }) if at >= 8 => {}
            other => assert_eq!(fault(other).0, Fault::OtherKey, "{at}"),
        }
    }
    for bad in [
        WrappedDek { algorithm: "vault-transit".into(), ..wrapped.clone() },
        WrappedDek { ciphertext: Vec::new(), ..wrapped.clone() },
    ] {
        assert!(matches!(kms.unwrap(&context(1), &bad).await, Err(KmsError::Refused { .. })));
    }
    // After a rotation old wraps still open, and new ones say that they are newer.
    service.change("kek", CryptoKey::rotate);
    assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    let newer = kms.wrap(&context(1), &dek).await.unwrap();
    assert_eq!(newer.kek_version.as_deref(), Some("2"));
    // Another key's, under our key's name.
    service.add("other", CryptoKey::symmetric());
    let theirs = self::kms(&service, "other").wrap(&context(1), &dek).await.unwrap();
    let swapped = WrappedDek { ciphertext: theirs.ciphertext, ..wrapped };
    let (what, why) = fault(kms.unwrap(&context(1), &swapped).await);
    assert_eq!(what, Fault::OtherKey);
    assert!(why.contains("the name of the key that wrapped it"), "{why}");
    assert_eq!(kms.connection().to, Peer::Kms);
    assert_eq!(kms.connection().security, TransportSecurity::Local);
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_are_verified_there_and_here() {
    let service = CloudKms::start().await;
    let kms = kms(&service, "kek");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    for where_ in [Corruption::Request, Corruption::Answer] {
        // What passes is asked again, and comes out whole.
        service.lock().corrupt = (1, Some(where_));
        let again = kms.wrap(&context(1), &dek).await.unwrap();
        assert_eq!(kms.unwrap(&context(1), &again).await.unwrap().expose(), dek.expose());
        service.lock().corrupt = (1, Some(where_));
        assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
        // What does not pass is told, and nothing of it is used.
        service.lock().corrupt = (usize::MAX, Some(where_));
        let before = service.asked("crypt");
        for failed in [
            fault(kms.wrap(&context(1), &dek).await),
            fault(kms.unwrap(&context(1), &wrapped).await),
        ] {
            assert_eq!(failed.0, Fault::Corrupted);
            assert!(failed.1.contains("checksum"), "{}", failed.1);
        }
        assert_eq!(service.asked("crypt") - before, 8);
        service.lock().corrupt = (0, None);
    }
    let signer = signer(&service).await.unwrap();
    service.lock().corrupt = (1, Some(Corruption::Answer));
    let signature = signer.sign(b"m").await.unwrap();
    assert!(verify(&signer.public_key(), b"m", &signature).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_wraps_and_cannot_unwrap_and_a_reader_cannot_wrap() {
    let service = CloudKms::start().await;
    let kms = kms(&service, "kek");
    service.lock().rights.insert(NODE.into(), vec![WRAP]);
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    let refused = kms.unwrap(&context(1), &wrapped).await;
    let Err(KmsError::WrapOnly { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains(UNWRAP) && why.contains("PERMISSION_DENIED"), "{why}");
    service.lock().rights.insert(NODE.into(), vec![UNWRAP]);
    assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    let (what, why) = fault(kms.wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains(&format!("needs {WRAP} on the key")), "{why}");
    let access = kms.access().await.unwrap();
    assert_eq!((access.kind, access.principal.as_deref()), (AccessKind::PodIdentity, Some(NODE)));
    assert!(access.renewable && access.expires_at.is_some(), "{access:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_a_key_has_its_own_fault() {
    let service = CloudKms::start().await;
    let kms = kms(&service, "kek");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    for (state, what, word) in [
        ("DISABLED", Fault::Disabled, "versions enable"),
        ("DESTROY_SCHEDULED", Fault::PendingDeletion, "restore the version at once"),
        ("DESTROYED", Fault::Destroyed, "keys status"),
        ("PENDING_IMPORT", Fault::Disabled, "PENDING_IMPORT"),
    ] {
        service.change("kek", |key| key.versions[0].state = state);
        for (found, why) in [
            fault(kms.unwrap(&context(1), &wrapped).await),
            fault(kms.wrap(&context(1), &dek).await),
        ] {
            assert_eq!(found, what, "{why}");
            assert!(why.contains(word) && why.contains(&kek("kek")), "{why}");
        }
    }
    service.change("kek", |key| key.versions[0].state = "ENABLED");
    // Not a key that encrypts; no such key.
    let (what, why) = fault(self::kms(&service, "signer").wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::WrongKind, "{why}");
    let (what, why) = fault(self::kms(&service, "kex").wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::NotFound, "{why}");
    // Made anew under its name: what was wrapped before is of a version that is not there.
    service.change("kek", CryptoKey::rotate);
    let newer = kms.wrap(&context(1), &dek).await.unwrap();
    service.add("kek", CryptoKey::symmetric());
    assert!(matches!(kms.unwrap(&context(1), &wrapped).await, Err(KmsError::Refused { .. })));
    assert_eq!(fault(kms.unwrap(&context(1), &newer).await).0, Fault::OtherKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_asked_again_and_only_that_and_not_for_ever() {
    let service = CloudKms::start().await;
    let kms = kms(&service, "kek");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    let passing = [
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric", Fault::Throttled),
        (503, "UNAVAILABLE", "The service is currently unavailable.", Fault::Broken),
        (500, "INTERNAL", "Internal error encountered.", Fault::Broken),
        (504, "DEADLINE_EXCEEDED", "Deadline exceeded", Fault::Broken),
    ];
    for (status, code, said, what) in passing {
        let failure = (":decrypt", (status, code, said, None));
        service.lock().failures.extend([failure; 3]);
        let before = service.asked(":decrypt");
        assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
        assert_eq!(service.asked(":decrypt") - before, 4, "{said}");
        service.lock().always = Some(failure);
        let before = service.asked(":decrypt");
        let (found, why) = fault(kms.unwrap(&context(1), &wrapped).await);
        assert_eq!(found, what, "{why}");
        assert!(why.contains(said) && why.contains(code), "{why}");
        assert_eq!(service.asked(":decrypt") - before, 4, "no more than is allowed: {said}");
        service.lock().always = None;
    }
    // The service says when to come back, and is left alone until then; for too long nobody waits.
    let quota = |pause| (":decrypt", (429, "RESOURCE_EXHAUSTED", "Quota exceeded", Some(pause)));
    service.lock().failures.push_back(quota("1"));
    let begun = Instant::now();
    kms.unwrap(&context(1), &wrapped).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    service.lock().failures.push_back(quota("3600"));
    let before = service.asked(":decrypt");
    assert_eq!(fault(kms.unwrap(&context(1), &wrapped).await).0, Fault::Throttled);
    assert_eq!(service.asked(":decrypt") - before, 1);
    for (status, code, said, what) in [
        (400, "INVALID_ARGUMENT", "what", Fault::Unexpected),
        (404, "NOT_FOUND", "CryptoKeyVersion 9 not found.", Fault::NoVersion),
        (302, "", "", Fault::Settings),
    ] {
        service.lock().failures.push_back((":decrypt", (status, code, said, None)));
        let before = service.asked("");
        let (found, why) = fault(kms.unwrap(&context(1), &wrapped).await);
        assert_eq!(found, what, "{why}");
        assert_eq!(service.asked("") - before, 1, "{status} {said} does not pass");
    }
    // Nobody there at all.
    let port = crate::tools::free_port();
    let options = GcpOptions { endpoint: format!("http://127.0.0.1:{port}"), ..options(&service) };
    let kms = GcpKms::open(&kek("kek"), &options).unwrap();
    let (what, why) = fault(kms.unwrap(&context(1), &wrapped).await);
    assert_eq!(what, Fault::Unreachable);
    assert!(why.contains(&port.to_string()) && why.contains("HTTPS_PROXY"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_key_is_not_taken() {
    let service = CloudKms::start().await;
    let kms = kms(&service, "kek");
    // Something in between that answers for another key than was asked for.
    let swap = |body: &str| body.replace("cryptoKeys/kek/", "cryptoKeys/mine/");
    let relay = crate::relay::to(&service.address(), swap).await;
    let options = GcpOptions { endpoint: relay, ..options(&service) };
    let misled = GcpKms::open(&kek("kek"), &options).unwrap();
    let dek = Dek::generate().unwrap();
    let (what, why) = fault(misled.wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::Unexpected);
    assert!(why.contains("another key than the one that was named"), "{why}");
    kms.wrap(&context(1), &dek).await.unwrap();
}

#[test]
fn settings_that_cannot_be_used_are_told_before_anything_is_sent() {
    let options = |endpoint: &str, host: &str| GcpOptions {
        endpoint: endpoint.to_owned(),
        credentials: GcpCredentials::Metadata(host.to_owned()),
        patience: QUICK,
    };
    for (endpoint, host, word) in [
        ("http://kms.example", "m", "in the clear"),
        ("kms.example", "m", "not a URL"),
        ("https://kms.example", "m/x", "is not a host"),
        ("https://kms.example", "a@m", "is not a host"),
    ] {
        let (what, why) = fault(GcpKms::open(&kek("k"), &options(endpoint, host)));
        assert_eq!(what, Fault::Settings);
        assert!(why.contains(word), "{why}");
    }
    let good = options("https://kms.example", "m");
    for bad in ["k", "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", ""] {
        assert!(matches!(GcpKms::open(bad, &good), Err(KmsError::Uri(_))), "{bad}");
    }
}

async fn signer(service: &CloudKms) -> Result<GcpSigner, SignerError> {
    let name = format!("{}/cryptoKeyVersions/1", kek("signer"));
    GcpSigner::open(&name, &options(service)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_is_one_version_of_a_key() {
    let service = CloudKms::start().await;
    let signer = self::signer(&service).await.unwrap();
    let id = format!("gcp-kms:{}/cryptoKeyVersions/1", kek("signer"));
    assert_eq!(signer.id(), id);
    let signature = signer.sign(b"message").await.unwrap();
    assert!(verify(&signer.public_key(), b"message", &signature).is_ok());
    assert_eq!(signer.connection().security, TransportSecurity::Local);
    // A newer version is another signer, and changes nothing here.
    service.change("signer", CryptoKey::rotate);
    let signature = signer.sign(b"again").await.unwrap();
    assert!(verify(&signer.public_key(), b"again", &signature).is_ok());
    let refused = |result: Result<[u8; 64], SignerError>| match result {
        Err(SignerError::Service(error)) => (error.fault, error.to_string()),
        other => panic!("{other:?}"),
    };
    // Swapped for another key meanwhile: nothing is handed out that nobody would believe.
    service.add("signer", CryptoKey::signer("EC_SIGN_ED25519"));
    assert_eq!(refused(signer.sign(b"m").await).0, Fault::Unexpected);
    service.change("signer", |key| key.versions[0].state = "DISABLED");
    assert_eq!(refused(signer.sign(b"m").await).0, Fault::Disabled);
    service.lock().rights.insert(NODE.into(), vec![WRAP]);
    let (what, why) = refused(signer.sign(b"m").await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("cloudkms.cryptoKeyVersions.useToSign"), "{why}");
    service.lock().rights.clear();
    let refused = |result: Result<GcpSigner, SignerError>| match result {
        Err(SignerError::Service(error)) => error.fault,
        other => panic!("{other:?}"),
    };
    service.add("signer", CryptoKey::signer("EC_SIGN_P256_SHA256"));
    assert_eq!(refused(self::signer(&service).await), Fault::WrongKind);
    service.lock().keys.remove(&kek("signer"));
    assert_eq!(refused(self::signer(&service).await), Fault::NotFound);
    let whole = GcpSigner::open(&kek("signer"), &options(&service)).await;
    assert!(matches!(whole, Err(SignerError::Uri(_))), "a version has to be named");
}
