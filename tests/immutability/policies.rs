//! The policies of `docs/policies`, put to work: these very files, with the names filled in.

use std::path::PathBuf;

use aws_config::{BehaviorVersion, sts::AssumeRoleProvider};
use aws_sdk_s3::{
    Client,
    config::{Credentials, ProvideCredentials as _, Region},
};

use backstay::transport::{Dialer, DialerOptions, smithy_client};

use crate::minio::{Minio, REGION};

/// A policy for this bucket, as JSON without white space: session policies must be short.
pub(crate) fn policy(name: &str, bucket: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/policies").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = text.replace("BUCKET", bucket).replace("PREFIX", "p").replace("\"DAYS\"", "\"30\"");
    serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string()
}

/// Somebody with exactly these rights.
pub(crate) struct Session {
    credentials: Credentials,
    endpoint: String,
}

impl Session {
    /// The store's own token service gives a session that may do what the policy says, and no more.
    pub(crate) async fn of(minio: &Minio, policy: &str) -> Self {
        let keys = std::fs::read_to_string(minio.credentials_file()).unwrap();
        let key = |name: &str| {
            let line = keys.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(" = ").to_owned()
        };
        let root = Credentials::new(
            key("aws_access_key_id"),
            key("aws_secret_access_key"),
            None,
            None,
            "tests",
        );
        let config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .endpoint_url(minio.endpoint())
            .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(root.clone()))
            .http_client(smithy_client(&Dialer::new(&DialerOptions::default()).unwrap()))
            .build();
        let provider = AssumeRoleProvider::builder("arn:aws:iam::000000000000:role/tests")
            .configure(&config)
            .session_name("tests")
            .policy(policy)
            .build_from_provider(root)
            .await;
        let credentials = provider.provide_credentials().await.unwrap();
        Self { credentials, endpoint: minio.endpoint() }
    }

    /// For the program.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let token = self.credentials.session_token().unwrap();
        [
            ("AWS_ACCESS_KEY_ID", self.credentials.access_key_id()),
            ("AWS_SECRET_ACCESS_KEY", self.credentials.secret_access_key()),
            ("AWS_SESSION_TOKEN", token),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// A plain client with these rights.
    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .region(Region::from_static(REGION))
            .credentials_provider(self.credentials.clone());
        Client::from_conf(config.build())
    }
}
