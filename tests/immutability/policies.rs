//! The policies of `docs/policies`, put to work: these very files, with the names filled in.

use std::path::PathBuf;

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
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
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .endpoint_url(minio.endpoint())
            .credentials_provider(root)
            .http_client(smithy_client(&Dialer::new(&DialerOptions::default()).unwrap()))
            .build();
        let assume = aws_sdk_sts::Client::from_conf(config).assume_role();
        // This server makes sessions for whoever asks with keys; the role is a formality.
        let assume = assume.role_arn("arn:aws:iam::000000000000:role/tests");
        let given = assume.role_session_name("tests").policy(policy).send().await.unwrap();
        let given = given.credentials().unwrap();
        let credentials = Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            None,
            "tests",
        );
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
