//! Azurite, which stands in for Azure Blob Storage.

use std::{net::TcpStream, path::PathBuf, process::Command, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::tools::{Daemon, free_port, tool, wait_until};

const ACCOUNT: &str = "backstaytests";
/// Any 32 bytes, in base64: made up for these tests.
const KEY: &str = "YSBrZXkgb2YgdGhlIHRlc3RzLCB3aGljaCBpcyAzMiE=";

const VERSION: &str = "2023-11-03";

/// A running server and its folder.
pub(crate) struct Azurite {
    _daemon: Daemon,
    dir: tempfile::TempDir,
    port: u16,
}

impl Azurite {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new(tool("node_modules/.bin/azurite-blob"));
        command
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost"])
            .args(["127.0.0.1", "--blobPort", &port.to_string(), "--location"])
            .arg(dir.path())
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
        let daemon = Daemon::start("azurite", dir.path(), &command);
        let address = ([127, 0, 0, 1], port).into();
        wait_until("Azurite listens", Duration::from_mins(1), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        });
        let lines = |key: &str| {
            format!(
                "# for the tests\nazure_storage_account_name = {ACCOUNT}\nazure_storage_account_key = {key}\n"
            )
        };
        std::fs::write(dir.path().join("credentials"), lines(KEY)).unwrap();
        let wrong = KEY.replace("YSBr", "YSBs");
        std::fs::write(dir.path().join("wrong-credentials"), lines(&wrong)).unwrap();
        Self { _daemon: daemon, dir, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    pub(crate) fn credentials_file(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// The right account with a wrong key.
    pub(crate) fn wrong_credentials_file(&self) -> PathBuf {
        self.dir.path().join("wrong-credentials")
    }

    /// Makes a container. Our own store has no way to, so the request is signed here.
    pub(crate) async fn container(&self, name: &str) {
        let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let headers = format!("x-ms-date:{date}\nx-ms-version:{VERSION}\n");
        let resource = format!("/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container");
        let to_sign = format!("PUT{}{headers}{resource}", "\n".repeat(12));
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY).unwrap());
        let signature = STANDARD.encode(hmac::sign(&key, to_sign.as_bytes()));
        let answer = reqwest::Client::new()
            .put(format!("{}/{name}?restype=container", self.endpoint()))
            .header("x-ms-date", date)
            .header("x-ms-version", VERSION)
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
            .header("content-length", "0")
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}
