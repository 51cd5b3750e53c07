//! Credentials of a role that end in mid-upload, tokens that are renewed, and tokens that are not.

use std::time::Duration;

use serde_json::Value;

use crate::{
    eks::{Eks, OWNER, WRITER},
    home::Done,
    stage::{Feeding, opened},
};

fn soak() -> bool {
    std::env::var_os("BACKSTAY_SOAK").is_some()
}

/// How the backup failed, and with which exit code.
fn error_of(done: &Done, code: i64) -> String {
    let json = done.json();
    assert_eq!(json["exit_code"], code, "{done:?}");
    json["error"].as_str().unwrap().to_owned()
}

fn check<'a>(checks: &'a Value, name: &str) -> &'a Value {
    checks.as_array().unwrap().iter().find(|check| check["check"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_five_times_during_one_upload_are_renewed() {
    let (life, lasts) = if soak() { (30, 190) } else { (2, 14) };
    let (life, lasts) = (Duration::from_secs(life), Duration::from_secs(lasts));
    let eks = Eks::start(WRITER, life).await.with_role();
    let bytes = 144 << 20;
    let feeding = Feeding::start(&eks.home, "long", bytes, lasts);
    // The second half is told later ends than the store keeps to: its clock is ahead of ours.
    tokio::time::sleep(lasts / 2).await;
    eks.gate.seen().lie = life * 3;
    let (done, fed, took) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    let done = done.expect(0);
    assert!(took > life * 5, "the upload was over after {took:?}");
    {
        let seen = eks.gate.seen();
        assert!(seen.used() > 5, "{} credentials were used", seen.used());
        assert!(seen.turned_away > 0, "nothing was tried with what had ended: nothing is proven");
    }
    assert_eq!(done.json()["bytes_read"].as_u64(), Some(fed_bytes(bytes)));
    assert_eq!(opened(&eks.minio, &eks.home, "long").await, fed, "what comes out went in");
    eks.gate.seen().lie = Duration::ZERO;
    eks.home.run(&["verify"]).expect(0);
    assert_eq!(eks.home.listed(), ["long"]);
}

/// What a stream with one file of so many bytes has in all.
fn fed_bytes(bytes: u64) -> u64 {
    let mut counted = 0;
    let mut stream = crate::synthetic::Synthetic::new(9, bytes, 1);
    let mut piece = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut stream, &mut piece).unwrap() {
            0 => return counted,
            count => counted += count as u64,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_no_longer_renewed_ends_the_backup() {
    let eks = Eks::start(WRITER, Duration::from_secs(2)).await.with_role();
    eks.renew(5);
    let feeding = Feeding::start(&eks.home, "cut", 200 << 20, Duration::from_secs(20));
    let (done, _, took) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    let error = error_of(&done.expect(5), 5);
    let file = eks.token_file().display().to_string();
    for word in [eks.role.as_str(), &file, "has ended at", "kubelet"] {
        assert!(error.contains(word), "no `{word}`: {error}");
    }
    assert!(took < Duration::from_secs(15), "it went on for {took:?}");
    assert!(eks.objects("manifest").await.is_empty());
    eks.renew(3600);
    assert!(eks.home.listed().is_empty());
    // The same id again, with a token that is good.
    let feeding = Feeding::start(&eks.home, "cut", 4 << 20, Duration::ZERO);
    let (done, fed, _) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    done.expect(0);
    assert_eq!(opened(&eks.minio, &eks.home, "cut").await, fed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_ended_is_refused_before_anything_begins() {
    let eks = Eks::start(WRITER, Duration::from_mins(15)).await.with_role();
    eks.renew(-60);
    let feeding = Feeding::start(&eks.home, "late", 4 << 20, Duration::ZERO);
    let (done, ..) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    let error = error_of(&done.expect(3), 3);
    assert!(error.contains(&eks.role) && error.contains("has ended at"), "{error}");
    assert!(eks.objects("").await.is_empty(), "nothing was written");
    assert_eq!(eks.gate.seen().asked, 0, "STS was not asked");
    let done = eks.home.run(&["doctor"]).expect(3);
    assert_eq!(check(&done.json(), "store-identity")["status"], "fail", "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_sts_does_not_take_are_told_with_role_and_file() {
    let eks = Eks::start(WRITER, Duration::from_mins(15)).await.with_role();
    let stranger = crate::oidc::Issuer::start().await;
    for (what, token) in [
        ("another's signature", stranger.token_of(eks.issuer.url(), "sts.of-the-tests", 600)),
        ("another audience", eks.issuer.token("elsewhere", 600)),
        ("no token", "garbage".to_owned()),
    ] {
        eks.put_token(&token);
        let error = error_of(&eks.home.run(&["list"]).expect(5), 5);
        for word in [eks.role.as_str(), "the token in", "STS answered 400"] {
            assert!(error.contains(word), "{what}: no `{word}`: {error}");
        }
        assert!(!error.contains(&token), "{what}: {error}");
    }
    std::fs::remove_file(eks.token_file()).unwrap();
    let error = error_of(&eks.home.run(&["list"]).expect(5), 5);
    assert!(error.contains("token: No such file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sts_that_fails_for_a_while_is_asked_again() {
    let eks = Eks::start(WRITER, Duration::from_mins(15)).await.with_role();
    eks.gate.seen().sts_fails = 3;
    eks.home.run(&["list"]).expect(0);
    assert_eq!(eks.gate.seen().asked, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_the_identity_and_what_it_may_do() {
    let eks = Eks::start(WRITER, Duration::from_mins(15)).await.with_role();
    let done = eks.home.run(&["doctor"]).expect(0);
    let checks = done.json();
    let identity = check(&checks, "store-identity");
    let detail = identity["detail"].as_str().unwrap();
    assert_eq!(identity["status"], "ok", "{identity}");
    assert!(detail.contains("web-identity") && detail.contains(&eks.role), "{detail}");
    let rights = check(&checks, "store-rights");
    assert_eq!(rights["status"], "ok", "{rights}");
    assert!(rights["detail"].as_str().unwrap().contains("it may not delete"), "{rights}");

    let eks = Eks::start(OWNER, Duration::from_mins(15)).await.with_role();
    let checks = eks.home.run(&["doctor"]).expect(0).json();
    let rights = check(&checks, "store-rights");
    assert_eq!(rights["status"], "warn", "{rights}");
    assert!(rights["detail"].as_str().unwrap().contains("and delete"), "{rights}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_record_says_who_wrote() {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let eks = Eks::start(WRITER, Duration::from_mins(15)).await.with_role();
    let feeding = Feeding::start(&eks.home, "one", 4 << 20, Duration::ZERO);
    let (done, ..) = tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap();
    done.expect(0);
    let key = eks.objects("/runs/").await.pop().unwrap();
    let object = eks.minio.client().get_object().bucket("backups").key(key).send().await.unwrap();
    let envelope: Value =
        serde_json::from_slice(&object.body.collect().await.unwrap().into_bytes()).unwrap();
    let payload = BASE64_STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let identity = &serde_json::from_slice::<Value>(&payload).unwrap()["identity"];
    assert_eq!(identity["access"], "web-identity");
    assert_eq!(identity["principal"], eks.role.as_str());
    assert_eq!((&identity["pod"], &identity["namespace"]), (&"backup-7".into(), &"shop".into()));
}
