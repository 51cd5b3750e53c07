//! Keys that nobody renews: from variables, with and without an end.

use std::{process::Command, time::Duration};

use crate::{
    eks::{Eks, WRITER, session},
    home::{Done, Home},
    minio::Minio,
    stage::Feeding,
    tools::{Daemon, free_port, tool},
};

/// A home with the credentials of a session in its environment, as somebody has exported them.
async fn exported() -> Eks {
    let mut eks = Eks::start(WRITER, Duration::from_hours(1)).await;
    let token = std::fs::read_to_string(eks.token_file()).unwrap();
    let [id, secret, token, _] = session(&eks.gate.endpoint(), &eks.role, &token).await;
    eks.home.env.extend([
        ("AWS_ACCESS_KEY_ID".to_owned(), id),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), secret),
        ("AWS_SESSION_TOKEN".to_owned(), token),
    ]);
    eks
}

/// Says that they end in so many seconds.
fn ending_in(eks: &mut Eks, seconds: i64) {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    eks.home.env.push(("AWS_CREDENTIAL_EXPIRATION".into(), end.to_string()));
}

async fn backup(home: &Home, id: &str) -> Done {
    let feeding = Feeding::start(home, id, 1 << 20, Duration::ZERO);
    tokio::task::spawn_blocking(|| feeding.wait()).await.unwrap().0
}

fn identity(doctor: &Done) -> serde_json::Value {
    let checks = doctor.json();
    checks.as_array().unwrap().iter().find(|c| c["check"] == "store-identity").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_within_minutes_is_refused_before_anything_begins() {
    let mut eks = exported().await;
    for (seconds, word) in [(-30, "have ended at"), (120, "end at")] {
        ending_in(&mut eks, seconds);
        let done = backup(&eks.home, "one").await.expect(3);
        let error = done.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{error}");
        assert_eq!(identity(&eks.home.run(&["doctor"]).expect(3))["status"], "fail");
    }
    assert!(eks.objects("/runs/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_end_before_the_backup_does_is_warned_of() {
    let mut eks = exported().await;
    // Half an hour, and nobody knows how long a first backup lasts.
    ending_in(&mut eks, 1800);
    let done = backup(&eks.home, "one").await.expect(0);
    assert!(done.err.contains("may end before this job does"), "{done:?}");
    assert_eq!(identity(&eks.home.run(&["doctor"]).expect(0))["status"], "warn");
    // The first one took a moment, so the second will, too.
    let done = backup(&eks.home, "two").await.expect(0);
    assert!(!done.err.contains("may end before"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_is_asked_who_long_lived_keys_are_where_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command = Command::new(tool("venv/bin/moto_server"));
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    let moto = Daemon::start("moto", dir.path(), &command);
    moto.wait_until("moto listens", Duration::from_mins(1), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let minio = Minio::start(None);
    let mut home = Home::s3(&minio, &minio.endpoint(), "backups").await;
    home.env.push(("AWS_ENDPOINT_URL_STS".into(), format!("http://127.0.0.1:{port}")));
    let identity = identity(&home.run(&["doctor"]).expect(0));
    let detail = identity["detail"].as_str().unwrap();
    assert!(detail.starts_with("static: arn:aws:sts::"), "{detail}");
    // Nobody there is no reason to fail: the keys are good without it.
    let at = home.env.len() - 1;
    home.env[at].1 = format!("http://127.0.0.1:{}", free_port());
    let identity = self::identity(&home.run(&["doctor"]).expect(0));
    assert!(identity["detail"].as_str().unwrap().starts_with("static: access key"), "{identity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lived_keys_are_told_by_their_ends_and_warned_of() {
    let minio = Minio::start(None);
    let home = Home::s3(&minio, &minio.endpoint(), "backups").await;
    let doctor = home.run(&["doctor"]).expect(0);
    let identity = identity(&doctor);
    assert_eq!(identity["status"], "warn", "{identity}");
    assert!(
        identity["detail"].as_str().unwrap().contains("static: access key back…ests"),
        "{identity}"
    );
    let secret = home.env.iter().find(|(name, _)| name == "AWS_SECRET_ACCESS_KEY").unwrap();
    assert!(!doctor.out.contains(&secret.1) && !doctor.err.contains(&secret.1), "{doctor:?}");
}
