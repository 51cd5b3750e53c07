//! Azurite, which stands in for Azure Blob Storage.

use std::{net::TcpStream, path::PathBuf, process::Command, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};

use super::tools::{Daemon, free_port, tool};

const ACCOUNT: &str = "backstaytests";
/// Any 32 bytes, in base64: made up for these tests.
const KEY: &str = "YSBrZXkgb2YgdGhlIHRlc3RzLCB3aGljaCBpcyAzMiE=";

const VERSION: &str = "2023-11-03";

/// A running server and its folder.
pub(crate) struct Azurite {
    _daemon: Daemon,
    dir: tempfile::TempDir,
    port: u16,
    tls: bool,
}

impl Azurite {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), false)
    }

    /// With TLS, without which it takes no tokens.
    pub(crate) fn start_tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self::start_in(dir, true)
    }

    fn start_in(dir: tempfile::TempDir, tls: bool) -> Self {
        let port = free_port();
        let mut command = Command::new(tool("node_modules/.bin/azurite-blob"));
        command
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost"])
            .args(["127.0.0.1", "--blobPort", &port.to_string(), "--location"])
            .arg(dir.path())
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
        if tls {
            command.args(["--oauth", "basic", "--cert"]).arg(dir.path().join("cert.pem"));
            command.arg("--key").arg(dir.path().join("key.pem"));
        }
        let daemon = Daemon::start("azurite", dir.path(), &command);
        let address = ([127, 0, 0, 1], port).into();
        daemon.wait_until("Azurite listens", Duration::from_mins(1), || {
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
        Self { _daemon: daemon, dir, port, tls }
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    pub(crate) fn account() -> &'static str {
        ACCOUNT
    }

    /// The certificate that it shows.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
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
        let mut client = reqwest::Client::builder();
        if self.tls {
            let pem = std::fs::read(self.ca_file()).unwrap();
            client = client.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
        }
        let answer = client
            .build()
            .unwrap()
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
