//! A KEK and a signer in Vault: what they bind, and what each refusal means.

use std::{path::Path, time::Duration};

use backstay::{
    crypto::{
        Dek, Fault, Patience,
        kms::{KeyContext, Kms, KmsError, vault::VaultKms},
        signer::{Signer, SignerError, vault::VaultSigner},
        vault::{VaultLogin, VaultOptions},
        verify,
    },
    model::{ClusterUuid, DekId, WrappedDek},
};

use crate::transit::{READER, Transit, TransitKey, WRITER};

pub(crate) const QUICK: Patience = Patience {
    attempts: 4,
    pause: Duration::from_millis(10),
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(5),
};

pub(crate) fn context(dek: u8) -> KeyContext {
    KeyContext {
        cluster: ClusterUuid::from_bytes([1; 16]),
        dek: DekId::from_bytes([dek; 16]),
        purpose: "backup",
    }
}

/// What tests keep: the token's file.
pub(crate) struct Client {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) options: VaultOptions,
}

impl Client {
    pub(crate) fn of(address: &str, token: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), format!("{token}\n")).unwrap();
        let options = VaultOptions {
            address: address.to_owned(),
            ca_file: None,
            namespace: None,
            login: VaultLogin::TokenFile(dir.path().join("token")),
            patience: QUICK,
        };
        Self { dir, options }
    }

    pub(crate) fn kms(&self, key: &str) -> VaultKms {
        VaultKms::open(key, &self.options).unwrap()
    }
}

pub(crate) fn fault<T: std::fmt::Debug>(result: Result<T, KmsError>) -> (Fault, String) {
    match result {
        Err(KmsError::Service(error)) => (error.fault, error.to_string()),
        other => panic!("no refusal of the service: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_opens_in_its_context_and_in_no_other() {
    let transit = Transit::start().await;
    let client = Client::of(&transit.address(), "root");
    let kms = client.kms("transit/kek");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    assert_eq!(
        (wrapped.kek.as_str(), wrapped.kek_version.as_deref()),
        ("vault:transit/kek", Some("1"))
    );
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
        // The one digit of the version: Vault takes version 0 for version 1.
        let is_same = opened.as_ref().is_ok_and(|key| key.expose() == dek.expose() && at == 7);
        assert!(is_same || matches!(opened, Err(KmsError::Refused { .. })), "{at}: {opened:?}");
    }
    let other = WrappedDek { algorithm: "aws-kms".into(), ..wrapped.clone() };
    assert!(matches!(kms.unwrap(&context(1), &other).await, Err(KmsError::Refused { .. })));
    // After a rotation old wraps still open, and new ones say that they are newer.
    transit.lock().keys.get_mut("kek").unwrap().rotate();
    assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    let newer = kms.wrap(&context(1), &dek).await.unwrap();
    assert_eq!(newer.kek_version.as_deref(), Some("2"));
    // A key of the same name that was made anew is another key.
    transit.lock().keys.insert("kek".into(), TransitKey::of("aes256-gcm96"));
    assert!(matches!(kms.unwrap(&context(1), &wrapped).await, Err(KmsError::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_wraps_and_cannot_unwrap_and_a_reader_cannot_wrap() {
    let transit = Transit::start().await;
    transit.grant("writer", &WRITER);
    transit.grant("reader", &READER);
    let (writer, reader) =
        (Client::of(&transit.address(), "writer"), Client::of(&transit.address(), "reader"));
    let (dek, wrapped) = writer.kms("transit/kek").generate(&context(1)).await.unwrap();
    let refused = writer.kms("transit/kek").unwrap(&context(1), &wrapped).await;
    let Err(KmsError::WrapOnly { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("transit/decrypt/kek") && why.contains("permission denied"), "{why}");
    let opened = reader.kms("transit/kek").unwrap(&context(1), &wrapped).await.unwrap();
    assert_eq!(opened.expose(), dek.expose());
    let (what, why) = fault(reader.kms("transit/kek").wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("`update` on transit/encrypt/kek"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_there_is_not_made() {
    let transit = Transit::start().await;
    let client = Client::of(&transit.address(), "root");
    let dek = Dek::generate().unwrap();
    let (what, why) = fault(client.kms("transit/kex").wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::NotFound);
    assert!(why.contains("vault:transit/kex"), "{why}");
    assert!(!transit.lock().keys.contains_key("kex"), "encrypting made a key");
    assert_eq!(fault(client.kms("transport/kek").wrap(&context(1), &dek).await).0, Fault::NotFound);
    // Deleted after it was used.
    let kms = client.kms("transit/kek");
    let wrapped = kms.wrap(&context(1), &dek).await.unwrap();
    transit.lock().keys.remove("kek");
    assert_eq!(fault(kms.unwrap(&context(1), &wrapped).await).0, Fault::NotFound);
    // Who may only update is denied what is not there, as Vault does it.
    transit.grant("writer", &WRITER);
    let writer = Client::of(&transit.address(), "writer");
    let (what, why) = fault(writer.kms("transit/kek").wrap(&context(1), &dek).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("the key must exist"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_wrong_kind_are_refused_with_and_without_the_right_to_look() {
    let transit = Transit::start().await;
    transit.grant("blind", &[("transit/encrypt/kek", &["update"])]);
    let dek = Dek::generate().unwrap();
    let mut derived = TransitKey::of("aes256-gcm96");
    derived.derived = true;
    for key in [TransitKey::of("rsa-2048"), TransitKey::of("ed25519"), derived] {
        transit.lock().keys.insert("kek".into(), key);
        for token in ["root", "blind"] {
            let client = Client::of(&transit.address(), token);
            let (what, why) = fault(client.kms("transit/kek").wrap(&context(1), &dek).await);
            assert_eq!(what, Fault::WrongKind, "{token}: {why}");
            assert!(why.contains("aes256-gcm96") || why.contains("derived=false"), "{why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_may_not_be_used_are_named() {
    let transit = Transit::start().await;
    let client = Client::of(&transit.address(), "root");
    let kms = client.kms("transit/kek");
    let (_, wrapped) = kms.generate(&context(1)).await.unwrap();
    let newer = {
        let mut inner = transit.lock();
        let key = inner.keys.get_mut("kek").unwrap();
        key.rotate();
        key.min_decryption = 2;
        let text = String::from_utf8(wrapped.ciphertext.clone()).unwrap();
        text.replace("vault:v1:", "vault:v9:").into_bytes()
    };
    let (what, why) = fault(kms.unwrap(&context(1), &wrapped).await);
    assert_eq!(what, Fault::Disabled);
    assert!(why.contains("min_decryption_version"), "{why}");
    let newer = WrappedDek { ciphertext: newer, ..wrapped };
    let (what, why) = fault(kms.unwrap(&context(1), &newer).await);
    assert_eq!(what, Fault::NoVersion);
    assert!(why.contains("too new"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_asked_again_and_only_that_and_not_for_ever() {
    let transit = Transit::start().await;
    let client = Client::of(&transit.address(), "root");
    let kms = client.kms("transit/kek");
    let (dek, wrapped) = kms.generate(&context(1)).await.unwrap();
    let passing = [
        (429, "request path \"transit/decrypt/kek\": rate limit quota exceeded", Fault::Throttled),
        (503, "Vault is sealed", Fault::Broken),
        (500, "internal error", Fault::Broken),
        (412, "required index state not present", Fault::Broken),
    ];
    for (status, said, what) in passing {
        transit.lock().failures.extend([(status, said); 3]);
        let before = transit.asked("decrypt");
        assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
        assert_eq!(transit.asked("decrypt") - before, 4, "{said}");
        transit.lock().always = Some((status, said));
        let before = transit.asked("decrypt");
        let (found, why) = fault(kms.unwrap(&context(1), &wrapped).await);
        assert_eq!(found, what, "{why}");
        assert!(why.contains(said.split(' ').next().unwrap()), "{why}");
        assert_eq!(transit.asked("decrypt") - before, 4, "no more than is allowed: {said}");
        transit.lock().always = None;
    }
    for (status, said, what) in [
        (403, "permission denied", None),
        (400, "cipher: message authentication failed", None),
        (400, "encryption key not found", Some(Fault::NotFound)),
        (418, "what", Some(Fault::Unexpected)),
        (307, "", Some(Fault::Settings)),
    ] {
        transit.lock().failures.push_back((status, said));
        let before = transit.asked("");
        let failed = kms.unwrap(&context(1), &wrapped).await;
        match what {
            Some(what) => assert_eq!(fault(failed).0, what),
            None => assert!(failed.is_err()),
        }
        assert_eq!(transit.asked("") - before, 1, "{status} {said} does not pass");
    }
    // Nobody there at all.
    let port = crate::tools::free_port();
    let client = Client::of(&format!("http://127.0.0.1:{port}"), "root");
    let (what, why) = fault(client.kms("transit/kek").unwrap(&context(1), &wrapped).await);
    assert_eq!(what, Fault::Unreachable);
    assert!(why.contains(&port.to_string()) && why.contains("VAULT_ADDR"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_used_are_told_before_anything_is_sent() {
    let client = Client::of("http://127.0.0.1:1", "root");
    let open = |change: &dyn Fn(&mut VaultOptions)| {
        let mut options = client.options.clone();
        change(&mut options);
        fault(VaultKms::open("transit/kek", &options))
    };
    for (address, word) in [
        ("http://vault.example:8200", "in the clear"),
        ("http://127.0.0.1.example:8200", "in the clear"),
        ("ftp://127.0.0.1", "not https"),
        ("vault:8200", "not https"),
        ("not a url", "not a URL"),
        ("https://me:secret@vault", "more than"),
    ] {
        let (what, why) = open(&|options| options.address = address.to_owned());
        assert_eq!(what, Fault::Settings, "{address}");
        assert!(why.contains(word), "{address}: {why}");
        assert!(!why.contains("secret"), "{why}");
    }
    let junk = client.dir.path().join("junk");
    std::fs::write(&junk, "junk").unwrap();
    for ca in [Path::new("/nowhere/ca.pem"), &junk] {
        let (what, why) = open(&|options| options.ca_file = Some(ca.to_owned()));
        assert_eq!(what, Fault::Settings);
        assert!(why.contains("VAULT_CACERT") && why.contains(ca.to_str().unwrap()), "{why}");
    }
    let (what, why) = open(&|options| options.namespace = Some("a\nb".to_owned()));
    assert_eq!(what, Fault::Settings);
    assert!(why.contains("VAULT_NAMESPACE"), "{why}");
    for (content, word) in
        [(None, "token"), (Some(" \n"), "is empty"), (Some("a\nb"), "characters")]
    {
        match content {
            Some(content) => std::fs::write(client.dir.path().join("token"), content).unwrap(),
            None => std::fs::remove_file(client.dir.path().join("token")).unwrap(),
        }
        let wrapped = client.kms("transit/kek").wrap(&context(1), &Dek::generate().unwrap()).await;
        let (what, why) = fault(wrapped);
        assert_eq!(what, Fault::Settings);
        assert!(why.contains(word) && why.contains("VAULT_TOKEN_FILE"), "{why}");
    }
    for bad in ["kek", "transit/", "transit/../sys/seal", "transit/kek?x"] {
        assert!(matches!(VaultKms::open(bad, &client.options), Err(KmsError::Uri(_))), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_ca_is_believed_when_it_is_named_and_not_otherwise() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key =
        tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
        .unwrap();
    let transit = Transit::start_tls(config).await;
    let mut client = Client::of(&transit.address(), "root");
    let (what, why) = fault(client.kms("transit/kek").generate(&context(1)).await);
    assert_eq!(what, Fault::Settings);
    assert!(why.contains("VAULT_CACERT") && why.contains("certificate"), "{why}");
    assert_eq!(transit.asked(""), 0, "nothing was said to a stranger");
    let ca = client.dir.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    client.options.ca_file = Some(ca);
    client.options.namespace = Some("team/db".to_owned());
    client.kms("transit/kek").generate(&context(1)).await.unwrap();
    let seen = transit.lock().seen.clone();
    assert!(seen.iter().all(|s| s.namespace.as_deref() == Some("team/db")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_signs_by_the_version_that_it_names() {
    let transit = Transit::start().await;
    transit.grant("writer", &WRITER);
    let client = Client::of(&transit.address(), "writer");
    let open = || VaultSigner::open("transit/signer", &client.options);
    let signer = open().await.unwrap();
    assert_eq!(signer.id(), "vault:transit/signer:v1");
    let signature = signer.sign(b"message").await.unwrap();
    assert!(verify(&signer.public_key(), b"message", &signature).is_ok());
    // Rotated in the middle of a run: the run goes on with the key that it began with.
    transit.lock().keys.get_mut("signer").unwrap().rotate();
    let signature = signer.sign(b"again").await.unwrap();
    assert!(verify(&signer.public_key(), b"again", &signature).is_ok());
    let next = open().await.unwrap();
    assert_eq!(next.id(), "vault:transit/signer:v2");
    assert_ne!(next.public_key(), signer.public_key());
    // Swapped for another key meanwhile: nothing is handed out that nobody would believe.
    transit.lock().keys.insert("signer".into(), TransitKey::of("ed25519"));
    assert!(matches!(
        signer.sign(b"m").await,
        Err(SignerError::Service(error)) if error.fault == Fault::Unexpected
    ));
    transit.lock().keys.insert("signer".into(), TransitKey::of("ecdsa-p256"));
    let refused = |result: Result<VaultSigner, SignerError>| match result {
        Err(SignerError::Service(error)) => error.fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(open().await), Fault::WrongKind);
    transit.lock().keys.remove("signer");
    assert_eq!(refused(open().await), Fault::NotFound);
    transit.grant("writer", &READER);
    assert_eq!(refused(open().await), Fault::Denied);
}
