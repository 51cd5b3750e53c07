//! The object store.

use std::{fs::File, io::Read as _, path::Path, process::Stdio};

use serde_json::{Value, json};

use crate::{
    home::{Done, Home, Job},
    minio::Minio,
    servers::{Bad, NEW, ONLY_12, Old, terminate},
    synthetic::Synthetic,
};

/// A home whose store is at this port, and the authority that it believes.
async fn home(minio: &Minio, port: u16, bucket: &str, ca: Option<&Path>) -> Home {
    let mut home = Home::s3(minio, &format!("https://127.0.0.1:{port}"), bucket).await;
    if let Some(ca) = ca {
        home.flags.extend(["--store-ca".to_owned(), ca.display().to_string()]);
    }
    home
}

fn backup(home: &Home, id: &str) -> Done {
    let path = home.path("stream");
    let mut stream = Vec::new();
    Synthetic::new(5, 1 << 20, 2).read_to_end(&mut stream).unwrap();
    std::fs::write(&path, stream).unwrap();
    let mut command = home.command();
    command.args(["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id]);
    Job::start(command.stdin(Stdio::from(File::open(path).unwrap()))).wait()
}

/// What is recorded of the connection to the store.
fn recorded(home: &Home, id: &str) -> Value {
    let shown = home.run(&["show", id]).expect(0).json();
    let connections = shown["manifest"]["connections"].as_array().unwrap();
    connections.iter().find(|to| to["to"] == "store").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_certificate_is_not_right_is_refused_in_words_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let bad = Bad::in_folder(dir.path());
    let minio = Minio::start(None);
    for (name, identity, words) in [
        ("expired", &bad.expired, ["expired", "have it renewed"]),
        ("early", &bad.early, ["not valid yet", "clocks"]),
        ("elsewhere", &bad.elsewhere, ["db-0.example", "for other names"]),
        ("stranger", &bad.stranger, ["private authority", "--store-ca"]),
    ] {
        let port = terminate(minio.port(), identity, NEW).await;
        let home = home(&minio, port, name, Some(&bad.good.ca)).await;
        let done = home.run(&["list"]).expect(5);
        let error = done.json()["error"].as_str().unwrap().to_owned();
        for word in words {
            assert!(error.contains(word), "{name}: no `{word}`: {error}");
        }
    }
    // Nobody is believed beside the system's authorities when none is named.
    let port = terminate(minio.port(), &bad.good, NEW).await;
    let done = home(&minio, port, "unnamed", None).await.run(&["list"]).expect(5);
    done.says("UnknownIssuer");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_older_than_1_2_is_spoken_and_1_2_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let bad = Bad::in_folder(dir.path());
    let minio = Minio::start(None);
    let old = Old::start(&bad.good);
    let done = home(&minio, old.port, "old", Some(&bad.good.ca)).await.run(&["list"]).expect(5);
    done.says("nothing newer than TLS 1.1");

    let port = terminate(minio.port(), &bad.good, ONLY_12).await;
    let home_12 = home(&minio, port, "only-12", Some(&bad.good.ca)).await;
    let done = backup(&home_12, "one").expect(0);
    let store = recorded(&home_12, "one");
    assert_eq!(store["security"], "tls-verified");
    assert_eq!(store["tls"]["version"], "1.2", "{store}");
    let cipher = store["tls"]["cipher"].as_str().unwrap();
    assert!(cipher.starts_with("TLS_ECDHE_ECDSA_WITH_"), "{cipher}");
    // The result says it, too.
    let result = done.json();
    let connections = result["connections"].as_array().unwrap();
    assert!(connections.contains(&store), "{result}");

    let port = terminate(minio.port(), &bad.good, NEW).await;
    let home_13 = home(&minio, port, "newer", Some(&bad.good.ca)).await;
    backup(&home_13, "one").expect(0);
    let tls = recorded(&home_13, "one")["tls"].clone();
    assert_eq!(tls, json!({"version": "1.3", "cipher": "TLS_AES_256_GCM_SHA384"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_tls_has_to_be_asked_for() {
    let minio = Minio::start(None);
    let mut home = Home::s3(&minio, "http://store.example:9000", "plain").await;
    let done = home.run(&["list"]).expect(2);
    done.says("http://store.example has no TLS").says("--allow-plaintext-store");
    // Then it is called: a proxy hears of it.
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    home.flags.push("--allow-plaintext-store".to_owned());
    home.env.push(("HTTP_PROXY".into(), format!("http://{}", proxy.local_addr().unwrap())));
    let job = home.start(&["list"]);
    let (mut asked, mut request) = (proxy.accept().unwrap().0, [0; 64]);
    asked.read_exact(&mut request).unwrap();
    assert!(request.starts_with(b"GET http://store.example:9000/plain"), "{request:?}");
    drop(job);
    // On this machine nobody needs to be asked, and the record says what it was.
    let local = Home::s3(&minio, &minio.endpoint(), "local").await;
    backup(&local, "one").expect(0);
    assert_eq!(recorded(&local, "one"), json!({"to": "store", "security": "plain"}));
    // An endpoint from a variable is no way around it.
    let mut sneaky = Home::s3(&minio, &minio.endpoint(), "sneaky").await;
    let at = sneaky.flags.iter().position(|flag| flag == "--store-endpoint").unwrap();
    sneaky.flags.drain(at..at + 2);
    sneaky.env.push(("AWS_ENDPOINT_URL_S3".into(), "http://store.example:9000".into()));
    sneaky.run(&["list"]).expect(2).says("has no TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn google_and_azure_are_reached_in_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let bad = Bad::in_folder(dir.path());
    let minio = Minio::start(None);
    for repo in ["gs://bucket/p", "az://bucket/p"] {
        for (identity, word) in
            [(&bad.expired, "have it renewed"), (&bad.elsewhere, "for other names")]
        {
            let port = terminate(minio.port(), identity, NEW).await;
            let mut home = Home::new();
            let endpoint = format!("https://127.0.0.1:{port}");
            let ca = bad.good.ca.display().to_string();
            let more = ["--repo", repo, "--store-endpoint", &endpoint, "--store-ca", &ca];
            home.flags.extend(more.map(String::from));
            let key = home.path("google.json");
            std::fs::write(
                &key,
                r#"{"private_key":"","private_key_id":"","client_email":"","disable_oauth":true}"#,
            )
            .unwrap();
            home.env.push(("GOOGLE_SERVICE_ACCOUNT".into(), key.display().to_string()));
            home.env.push(("AZURE_STORAGE_ACCOUNT_NAME".into(), "a".into()));
            home.env.push(("AZURE_STORAGE_ACCOUNT_KEY".into(), "YQ==".into()));
            home.run(&["list"]).expect(5).says(word);
        }
    }
}
