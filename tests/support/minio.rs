//! MinIO, the S3 server that most tests run against.

use std::{net::TcpStream, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
        VersioningConfiguration,
    },
};

use super::tools::{Daemon, free_port, tool};

/// The region that the server insists on.
pub(crate) const REGION: &str = "eu-test-1";
const USER: &str = "backstay-tests";
const SECRET: &str = "a-secret-of-the-tests";

/// A running server, its folder, and its keys.
pub(crate) struct Minio {
    daemon: Option<Daemon>,
    dir: tempfile::TempDir,
    port: u16,
    tls: bool,
    more: Vec<(String, String)>,
}

impl Minio {
    /// The one that the tests of a binary share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Minio> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(None))
    }

    /// A server of one's own, with TLS when a certificate and its key are given.
    pub(crate) fn start(tls: Option<(&str, &str)>) -> Self {
        Self::start_with(tls, &[])
    }

    /// The same, with more of its settings.
    pub(crate) fn start_with(tls: Option<(&str, &str)>, more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["data", "certs/CAs"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        if let Some((certificate, key)) = tls {
            std::fs::write(dir.path().join("certs/public.crt"), certificate).unwrap();
            std::fs::write(dir.path().join("certs/private.key"), key).unwrap();
        }
        let keys =
            format!("[default]\naws_access_key_id = {USER}\naws_secret_access_key = {SECRET}\n");
        std::fs::write(dir.path().join("credentials"), keys).unwrap();
        let more = more.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut minio = Self { daemon: None, dir, port: free_port(), tls: tls.is_some(), more };
        minio.up();
        minio
    }

    /// Starts it again, over the same data, at the same port.
    pub(crate) fn up(&mut self) {
        let dir = self.dir.path();
        let mut command = Command::new(tool("bin/minio"));
        command
            .args(["server", "--quiet", "--address"])
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--certs-dir")
            .arg(dir.join("certs"))
            .arg(dir.join("data"))
            .env("HOME", dir)
            .env("MINIO_ROOT_USER", USER)
            .env("MINIO_ROOT_PASSWORD", SECRET)
            .env("MINIO_SITE_REGION", REGION)
            .env("MINIO_DOMAIN", "localhost")
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            // A KMS of one key, `tests`, for encryption at rest.
            .env("MINIO_KMS_SECRET_KEY", "tests:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
            .env("MINIO_CI_CD", "1")
            .envs(self.more.iter().cloned());
        let daemon = Daemon::start("minio", dir, &command);
        let address = ([127, 0, 0, 1], self.port).into();
        daemon.wait_until("MinIO listens", Duration::from_mins(1), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        });
        self.daemon = Some(daemon);
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let pid = rustix::process::Pid::from_raw(daemon.pid()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// A shared credentials file with the server's own keys.
    pub(crate) fn credentials_file(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// A plain client, to look behind the back of what is tested.
    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .region(Region::from_static(REGION))
            .credentials_provider(Credentials::new(USER, SECRET, None, None, "tests"));
        Client::from_conf(config.build())
    }

    /// Makes a bucket; the server may still be coming up.
    pub(crate) async fn bucket(&self, name: &str, versioned: bool) {
        let client = self.client();
        let place = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(REGION))
            .build();
        let create = || {
            client.create_bucket().bucket(name).create_bucket_configuration(place.clone()).send()
        };
        let mut last = create().await;
        for _ in 0..100 {
            if last.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            last = create().await;
        }
        last.unwrap();
        if versioned {
            let enabled =
                VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
            let put = client.put_bucket_versioning().bucket(name).versioning_configuration(enabled);
            put.send().await.unwrap();
        }
    }
}
