//! A KEK and a signer in AWS KMS, by the program itself.

use std::path::Path;

use backstay::{
    crypto::{
        Dek, Fault,
        kms::{KeyContext, Kms as _, KmsError, aws},
    },
    model::WrappedDek,
};
use serde_json::Value;

use crate::{
    aws_kms::{AwsKms, Failure, REGION},
    home::{Home, strs},
    stage::{feed, home, home_with_local_signer, source, with},
    tools::free_port,
    vault::{context, fault},
};

/// What the SDK is told, and that it must not look for credentials in a network.
pub(crate) fn env(endpoint: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL_KMS", endpoint.to_owned()),
        ("AWS_ENDPOINT_URL_STS", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", "AKIDTESTS".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-tests-of-aws-kms".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
    ]
}

fn pairs<'a>(env: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    env.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn local(kms: &AwsKms, key: &str) -> Home {
    home_with_local_signer(&format!("aws-kms:{key}"), &pairs(&env(&kms.endpoint())))
}

/// The home with another KEK.
fn by(home: &mut Home, key: &str) {
    crate::stage::by(home, &format!("aws-kms:{key}"));
}

/// The wrap in the only key record.
fn wrap(home: &Home) -> Value {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let keys = home.path("repo/c/keys");
    let dek = std::fs::read_dir(keys).unwrap().next().unwrap().unwrap().path();
    let record = std::fs::read_dir(dek).unwrap().next().unwrap().unwrap().path();
    let envelope: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let payload = BASE64_STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["wraps"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dek_is_generated_and_opened_in_its_context_by_the_key_that_is_pinned() {
    let kms = AwsKms::start().await;
    let arn = kms.key().await;
    let home = local(&kms, &arn);
    feed(&home, "one").expect(0);
    assert_eq!(
        (kms.count("GenerateDataKey"), kms.count("Encrypt"), kms.count("Decrypt")),
        (1, 0, 0)
    );
    let asked = kms.last("GenerateDataKey");
    assert_eq!((&asked["KeyId"], &asked["NumberOfBytes"]), (&arn.clone().into(), &32.into()));
    let context = &asked["EncryptionContext"];
    assert_eq!(context["backstay:purpose"], "backup");
    assert_eq!(context["backstay:cluster"].as_str().unwrap().len(), 32);
    assert_eq!(context.as_object().unwrap().len(), 3);
    let wrap = wrap(&home);
    assert_eq!(
        (&wrap["kek"], &wrap["kek_version"]),
        (&format!("aws-kms:{arn}").into(), &arn.clone().into())
    );
    home.run(&["verify"]).expect(0);
    let opened = kms.last("Decrypt");
    assert_eq!((&opened["KeyId"], &opened["EncryptionContext"]), (&arn.into(), context));
    // Wraps, unwraps, and refuses another context, all by the service.
    let doctor = with(&home, &["doctor"], &[]).says("wraps and unwraps");
    doctor.says("arn:aws:sts::123456789012:user/moto (static) may wrap and may unwrap");
    assert_eq!((kms.count("GenerateDataKey"), kms.count("Encrypt")), (2, 0));
    assert_eq!(kms.count("Decrypt"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dek_that_is_there_is_wrapped_and_opens_in_its_context_and_in_no_other() {
    let service = AwsKms::start().await;
    let (arn, other) = (service.key().await, service.key().await);
    let kms = aws::AwsKms::by(&arn, service.client()).unwrap();
    let dek = Dek::generate().unwrap();
    let wrapped = kms.wrap(&context(1), &dek).await.unwrap();
    assert_eq!(
        (wrapped.kek.clone(), wrapped.kek_version.clone()),
        (format!("aws-kms:{arn}"), Some(arn))
    );
    assert_eq!(kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    let elsewhere = KeyContext { purpose: "archive", ..context(1) };
    for other in [context(2), elsewhere] {
        assert!(matches!(kms.unwrap(&other, &wrapped).await, Err(KmsError::Refused { .. })));
    }
    for at in 36..wrapped.ciphertext.len() {
        let mut bad = wrapped.clone();
        bad.ciphertext[at] ^= 1;
        assert!(
            matches!(kms.unwrap(&context(1), &bad).await, Err(KmsError::Refused { .. })),
            "{at}"
        );
    }
    // Another key's ciphertext under our key's name: the key that is pinned does not open it.
    let stranger = aws::AwsKms::by(&other, service.client()).unwrap();
    let theirs = stranger.wrap(&context(1), &dek).await.unwrap();
    let swapped = WrappedDek { ciphertext: theirs.ciphertext, ..wrapped };
    let opened = kms.unwrap(&context(1), &swapped).await;
    assert_eq!(fault(opened).0, Fault::OtherKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_and_a_replica_open_what_their_key_made() {
    let kms = AwsKms::start().await;
    let client = kms.client();
    let (old, new) = (kms.key().await, kms.key().await);
    client.create_alias().alias_name("alias/shop").target_key_id(&old).send().await.unwrap();
    let alias = format!("arn:aws:kms:{REGION}:123456789012:alias/shop");
    let mut home = local(&kms, &alias);
    feed(&home, "one").expect(0);
    assert_eq!(
        (&wrap(&home)["kek"], &wrap(&home)["kek_version"]),
        (&format!("aws-kms:{alias}").into(), &old.clone().into())
    );
    client.update_alias().alias_name("alias/shop").target_key_id(&new).send().await.unwrap();
    home.run(&["verify"]).expect(0);
    assert_eq!(
        kms.last("Decrypt")["KeyId"],
        old.clone(),
        "the key that made it, not where the alias points"
    );
    by(&mut home, &old);
    home.run(&["verify"]).expect(0);
    by(&mut home, &new);
    home.run(&["verify"]).expect(3).says("has no wrap for KEK").says(&alias);
    // An alias without an ARN needs a region from somewhere.
    by(&mut home, "alias/shop");
    home.run(&["verify"]).expect(2).says("AWS_REGION");
    with(&home, &["doctor"], &[("AWS_REGION", REGION)])
        .says("aws-kms:alias/shop wraps and unwraps");

    let (primary, replica) = kms.copied_key("us-east-2").await;
    let mut home = local(&kms, &primary);
    feed(&home, "one").expect(0);
    by(&mut home, &replica);
    home.run(&["verify"]).expect(0);
    assert_eq!(kms.last("Decrypt")["KeyId"], replica);
    for bad in ["1234", "arn:aws:s3:::bucket"] {
        by(&mut home, bad);
        home.run(&["verify"]).expect(2).says("is not a KEK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_own_words_and_code_and_only_what_passes_is_asked_again() {
    let kms = AwsKms::start().await;
    let arn = kms.key().await;
    let home = local(&kms, &arn);
    feed(&home, "one").expect(0);
    let pending = "arn:aws:kms:eu-west-1:123456789012:key/k is pending deletion.";
    let denied = "User: arn:aws:sts::123456789012:assumed-role/w is not authorized to perform: kms";
    let cases: [(Failure, i32, &str, usize); 11] = [
        (("Decrypt", 400, "DisabledException", "k is disabled."), 3, "the key is disabled", 1),
        (
            ("Decrypt", 400, "KMSInvalidStateException", pending),
            3,
            "cancel the deletion at once",
            1,
        ),
        (
            ("Decrypt", 400, "KMSInvalidStateException", "k is pending import."),
            3,
            "pending import",
            1,
        ),
        (("Decrypt", 400, "AccessDeniedException", denied), 3, "cannot unwrap", 1),
        (("Decrypt", 400, "ExpiredTokenException", "expired"), 3, "the service denies it", 1),
        (("Decrypt", 400, "NotFoundException", "no k"), 3, "there is no such key", 1),
        (("Decrypt", 400, "InvalidKeyUsageException", "k signs"), 3, "of the wrong kind", 1),
        (("Decrypt", 400, "IncorrectKeyException", "k"), 3, "another key wrapped this", 1),
        (("Decrypt", 400, "InvalidCiphertextException", ""), 6, "does not open the wrapped key", 1),
        (("Decrypt", 400, "ThrottlingException", "Rate exceeded"), 5, "throttling", 6),
        (("Decrypt", 500, "KMSInternalException", "oops"), 5, "the service failed", 6),
    ];
    for (failure, code, words, attempts) in cases {
        let before = kms.count("Decrypt");
        kms.lock().always = Some(failure);
        let done = home.run(&["verify"]).expect(code).says(words);
        kms.lock().always = None;
        assert_eq!(kms.count("Decrypt") - before, attempts, "{done:?}");
        // What opens in no way is not the service's doing; all else names it and the key.
        assert!(done.err.contains(&arn), "{}", done.err);
    }
    // What passes does not fail the run.
    kms.lock().failures.extend([("Decrypt", 400, "ThrottlingException", "Rate exceeded"); 2]);
    home.run(&["verify"]).expect(0);

    // A writer: it may generate, and the service denies it to decrypt.
    kms.lock().always = Some(("Decrypt", 400, "AccessDeniedException", denied));
    feed(&home, "two").expect(0);
    home.run(&["doctor"]).expect(0).says("cannot unwrap: this identity can back up, not restore");
    let datadir = home.path("new").display().to_string();
    home.run(&["restore", "--datadir", &datadir]).expect(3).says("must allow kms:Decrypt");
    // A reader: it may not generate.
    kms.lock().always = Some(("GenerateDataKey", 400, "AccessDeniedException", denied));
    feed(&home, "three").expect(3).says("must allow kms:GenerateDataKey");
    kms.lock().always = Some(("GenerateDataKey", 400, "DisabledException", "k is disabled."));
    feed(&home, "three").expect(3).says("enable the key");
    assert_eq!(home.listed().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_being_asked_is_told() {
    let kms = AwsKms::start().await;
    let home = local(&kms, &kms.key().await);
    feed(&home, "one").expect(0);
    let before = kms.lock().asked.len();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let verify = |env: &[(&str, &str)]| with(&home, &["verify"], env);
    verify(&[("AWS_ENDPOINT_URL_KMS", &nobody)]).expect(5).says("cannot be reached");
    // This machine by a name that nobody can vouch for: if it were asked, it would answer.
    let clear = kms.endpoint().replace("127.0.0.1", "0.0.0.0");
    verify(&[("AWS_ENDPOINT_URL_KMS", &clear)]).expect(2).says("in the clear");
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    verify(&none).expect(2).says("credentials");
    assert_eq!(kms.lock().asked.len(), before, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_verified_and_restored_with_keys_in_aws_kms() {
    let source = source().await;
    let kms = AwsKms::start().await;
    let (kek, signer) = (kms.key().await, kms.signer());
    let env = env(&kms.endpoint());
    let home = home(&format!("aws-kms:{kek}"), Some(&format!("aws-kms:{signer}")), &pairs(&env));
    let trusted = home.run(&["keys", "trust"]).expect(0).json();
    assert_eq!(trusted["signer"], format!("aws-kms:{signer}"));
    let args = home.backup(&source.socket, &["--id", "one"]);
    let backed_up = with(&home, &strs(&args), &[("BACKSTAY_LOG", "trace")]).expect(0);
    assert_eq!(backed_up.json()["status"], "complete");
    let told = format!("{}{}", backed_up.out, backed_up.err);
    assert!(!told.contains("a-secret-of-the-tests-of-aws-kms"), "a secret in the log");
    assert_eq!((kms.count("Sign"), kms.count("Decrypt")), (1, 0));
    home.run(&["verify"]).expect(0);
    let datadir = home.path("new").display().to_string();
    let restored = home.run(&["restore", "--datadir", &datadir]).expect(0).json();
    assert_eq!(restored["status"], "proven", "{restored}");
    assert!(Path::new(&datadir).join("d/t.ibd").exists());
    home.run(&["doctor"]).expect(0).says("signs, and the trust file believes it");

    // A signer of another kind, one that is not there, and one that may not be used.
    let rsa = kms.client().create_key().key_usage("SIGN_VERIFY".into()).key_spec("RSA_2048".into());
    let rsa = rsa.send().await.unwrap().key_metadata().unwrap().arn().unwrap().to_owned();
    let mut other = crate::stage::home(&format!("aws-kms:{kek}"), None, &pairs(&env));
    other.flags.extend(["--signer".to_owned(), format!("aws-kms:{rsa}")]);
    other.run(&["keys", "trust"]).expect(3).says("ECC_NIST_EDWARDS25519");
    *other.flags.last_mut().unwrap() = format!("aws-kms:{rsa}0");
    other.run(&["keys", "trust"]).expect(3).says("there is no such key");
    kms.lock().always = Some(("Sign", 400, "DisabledException", "k is disabled."));
    feed(&home, "two").expect(3).says("sign a record").says("enable the key");
}
