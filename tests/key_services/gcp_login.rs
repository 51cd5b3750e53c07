//! Tokens of Google: from a machine, for another issuer's token, and for the key of an account.

use std::{path::PathBuf, time::Duration};

use backstay::{
    crypto::{
        Fault,
        gcp::{GcpCredentials, GcpOptions},
        kms::{Kms as _, gcp::GcpKms},
    },
    model::AccessKind,
};
use serde_json::json;

use crate::{
    cloud_kms::CloudKms,
    gcp::{NODE, kek, kms, options},
    vault::{context, fault},
};

const BACKUP: &str = "backup@p-1.iam.gserviceaccount.com";

/// A client whose credentials are in a file, and the folder of that.
struct Filed {
    dir: tempfile::TempDir,
    kms: GcpKms,
}

impl Filed {
    fn of(service: &CloudKms, credentials: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        std::fs::write(&path, credentials).unwrap();
        let kms = open(service, path).unwrap();
        Self { dir, kms }
    }
}

fn open(service: &CloudKms, path: PathBuf) -> Result<GcpKms, backstay::crypto::kms::KmsError> {
    let options = GcpOptions { credentials: GcpCredentials::File(path), ..options(service) };
    GcpKms::open(&kek("kek"), &options)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_machine_is_kept_and_renewed_before_the_end() {
    let service = CloudKms::start().await;
    service.lock().lifetime = 6;
    let kms = kms(&service, "kek");
    kms.generate(&context(1)).await.unwrap();
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(service.asked("/token"), 1);
    tokio::time::sleep(Duration::from_millis(4_300)).await;
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(service.asked("/token"), 2, "renewed while the old one was still good");
    // Whoever gives tokens is away: the one at hand goes on, and then no more.
    let away = (503, "UNAVAILABLE", "away", None);
    service.lock().always = Some(("/token", away));
    tokio::time::sleep(Duration::from_millis(4_300)).await;
    kms.generate(&context(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (what, why) = fault(kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Broken, "{why}");
    service.lock().always = None;
    kms.generate(&context(1)).await.unwrap();
    // Revoked: it gets another one, once.
    service.revoke_all();
    let before = service.asked("/token");
    kms.generate(&context(1)).await.unwrap();
    assert_eq!(service.asked("/token") - before, 1);
    service.lock().always = Some((":encrypt", (401, "UNAUTHENTICATED", "invalid", None)));
    let before = service.asked("");
    let (what, why) = fault(kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("does not take the token") && !why.contains("ya29"), "{why}");
    assert!(service.asked("") - before <= 3, "no endless tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_an_account_and_one_that_is_no_machine_are_told() {
    let service = CloudKms::start().await;
    service.lock().machine = None;
    let (what, why) = fault(kms(&service, "kek").generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("Kubernetes service account") && why.contains("not found"), "{why}");
    // Something else answers there.
    let plain = crate::relay::to(&service.address(), |_| "{}".to_owned()).await;
    let host = plain.strip_prefix("http://").unwrap().to_owned();
    service.lock().machine = Some(NODE.to_owned());
    let options = GcpOptions { credentials: GcpCredentials::Metadata(host), ..options(&service) };
    let other = GcpKms::open(&kek("kek"), &options).unwrap();
    let (what, why) = fault(other.generate(&context(1)).await);
    assert_eq!(what, Fault::Unexpected);
    assert!(why.contains("no metadata server of Google"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_service_account_signs_for_a_token() {
    let service = CloudKms::start().await;
    let text = service.key_file(BACKUP);
    let filed = Filed::of(&service, &text);
    let (dek, wrapped) = filed.kms.generate(&context(1)).await.unwrap();
    assert_eq!(filed.kms.unwrap(&context(1), &wrapped).await.unwrap().expose(), dek.expose());
    assert_eq!(service.asked("/token"), 1);
    let access = filed.kms.access().await.unwrap();
    assert_eq!((access.kind, access.principal.as_deref()), (AccessKind::Static, Some(BACKUP)));
    assert!(!access.renewable, "a key that somebody has to replace");
    // The key was replaced in Google, and then here: the next token is had by the new one.
    let newer = service.key_file(BACKUP);
    service.revoke_all();
    let (what, why) = fault(filed.kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("Invalid JWT Signature") && why.contains("its key still there"), "{why}");
    assert!(!why.contains("PRIVATE KEY"), "{why}");
    std::fs::write(filed.dir.path().join("credentials.json"), newer).unwrap();
    filed.kms.generate(&context(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_issuer_is_exchanged_and_may_act_as_an_account() {
    let service = CloudKms::start().await;
    let tokens = tempfile::tempdir().unwrap();
    let path = tokens.path().join("token");
    std::fs::write(&path, "jwt-1\n").unwrap();
    service.lock().subjects.insert("jwt-1".to_owned());
    let file = service.federation(&json!({ "file": path }), None);
    let direct = Filed::of(&service, &file.to_string());
    direct.kms.generate(&context(1)).await.unwrap();
    let access = direct.kms.access().await.unwrap();
    assert_eq!((access.kind, access.principal), (AccessKind::WebIdentity, None));

    // JSON, as some issuers write it; and an account that it acts as.
    std::fs::write(&path, r#"{"id":"x","access_token":"jwt-1"}"#).unwrap();
    let format = json!({ "type": "json", "subject_token_field_name": "access_token" });
    let mut file = service.federation(&json!({ "file": path, "format": format }), Some(BACKUP));
    file["service_account_impersonation"] = json!({ "token_lifetime_seconds": 1800 });
    let acting = Filed::of(&service, &file.to_string());
    let (what, why) = fault(acting.kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("roles/iam.workloadIdentityUser"), "{why}");
    service.lock().may_act.insert("principal:jwt-1".to_owned(), BACKUP.to_owned());
    acting.kms.generate(&context(1)).await.unwrap();
    assert_eq!(service.last("generateAccessToken")["lifetime"], "1800s");
    let access = acting.kms.access().await.unwrap();
    assert_eq!(access.principal.as_deref(), Some(BACKUP));
    let left = access.expires_at.unwrap().seconds_since(backstay::model::Timestamp::now());
    assert!((1_700.0..1_801.0).contains(&left), "{left}");
    // What this account may not do is its own, not the machine's.
    service.lock().rights.insert(BACKUP.to_owned(), Vec::new());
    assert_eq!(fault(acting.kms.generate(&context(1)).await).0, Fault::Denied);
    service.lock().rights.clear();

    // The file is read anew for each token, and one that is stale is not taken.
    service.lock().subjects.clear();
    service.revoke_all();
    let (what, why) = fault(acting.kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("stale") && !why.contains("jwt-1"), "{why}");
    service.lock().subjects.insert("jwt-2".to_owned());
    service.lock().may_act.insert("principal:jwt-2".to_owned(), BACKUP.to_owned());
    std::fs::write(&path, r#"{"access_token":"jwt-2"}"#).unwrap();
    acting.kms.generate(&context(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_told_without_their_secrets() {
    let service = CloudKms::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.json");
    let refused = |text: Option<&str>| {
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => drop(std::fs::remove_file(&path)),
        }
        let (what, why) = fault(open(&service, path.clone()));
        assert_eq!(what, Fault::Settings, "{why}");
        assert!(!why.contains("s3cret"), "{why}");
        why
    };
    assert!(refused(None).contains("GOOGLE_APPLICATION_CREDENTIALS"));
    assert!(refused(Some("s3cret")).contains("line 1"));
    let person = json!({ "type": "authorized_user", "client_secret": "s3cret" }).to_string();
    assert!(refused(Some(&person)).contains("not a person's"));
    let mut file = service.federation(&json!({ "file": "/nowhere/token" }), None);
    file["token_url"] = "http://sts.example/v1/token".into();
    assert!(refused(Some(&file.to_string())).contains("in the clear"));
    let account = json!({
        "type": "service_account", "client_email": "e", "private_key": "s3cret",
        "token_uri": format!("{}/token", service.address()),
    });

    // What can be seen only when it is used.
    let (what, why) =
        fault(Filed::of(&service, &account.to_string()).kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Settings);
    assert!(why.contains("private_key is no RSA key") && !why.contains("s3cret"), "{why}");
    let before = service.asked("");
    for (source, word) in [
        (json!({ "file": "/nowhere/token" }), "/nowhere/token"),
        (json!({ "url": "http://169.254.169.254/token" }), "names no file"),
        (json!({ "environment_id": "aws1" }), "names no file"),
        (json!({ "executable": { "command": "/bin/token" } }), "names no file"),
    ] {
        let file = service.federation(&source, None).to_string();
        let (what, why) = fault(Filed::of(&service, &file).kms.generate(&context(1)).await);
        assert_eq!(what, Fault::Settings);
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(service.asked(""), before, "nothing was sent");
    // Another audience than the provider's.
    let token = dir.path().join("token");
    std::fs::write(&token, "jwt-1").unwrap();
    let mut file = service.federation(&json!({ "file": token }), None);
    file["audience"] = "//iam.googleapis.com/projects/2/other".into();
    let (what, why) = fault(Filed::of(&service, &file.to_string()).kms.generate(&context(1)).await);
    assert_eq!(what, Fault::Denied);
    assert!(why.contains("audience"), "{why}");
}
