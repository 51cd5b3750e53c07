//! EKS as MinIO sees it: an issuer of its own, whose tokens are exchanged for a role at MinIO's STS,
//! which verifies them.

use std::{fs, path::PathBuf, time::Duration};

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    gate::Gate,
    home::Home,
    minio::{Minio, REGION},
    oidc::Issuer,
};

const AUDIENCE: &str = "sts.of-the-tests";
/// What the role may do: no more than a writer needs.
pub(crate) const WRITER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:PutObject","s3:GetObject","s3:ListBucket","s3:AbortMultipartUpload",
    "s3:ListBucketMultipartUploads","s3:ListMultipartUploadParts"],"Resource":["arn:aws:s3:::*"]}]}"#;
/// And one that may delete, too.
pub(crate) const OWNER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;

pub(crate) struct Eks {
    pub(crate) issuer: Issuer,
    pub(crate) minio: Minio,
    pub(crate) gate: Gate,
    pub(crate) home: Home,
    pub(crate) role: String,
}

impl Eks {
    /// A bucket, a role with this policy, and a home whose token is good for an hour.
    pub(crate) async fn start(policy: &str, lifetime: Duration) -> Self {
        let issuer = Issuer::start().await;
        let document = format!("{}/.well-known/openid-configuration", issuer.url());
        let minio = Minio::start_with(
            None,
            &[
                ("MINIO_IDENTITY_OPENID_CONFIG_URL", &document),
                ("MINIO_IDENTITY_OPENID_CLIENT_ID", AUDIENCE),
                ("MINIO_IDENTITY_OPENID_ROLE_POLICY", "of-the-tests"),
            ],
        );
        minio.bucket("backups", false).await;
        put_policy(&minio, "of-the-tests", policy).await;
        let gate = Gate::before(minio.port(), lifetime).await;
        let mut home = Home::new();
        let endpoint = gate.endpoint();
        let more = ["--repo", "s3://backups/p", "--store-endpoint", &endpoint];
        home.flags.extend(more.map(String::from));
        home.flags.extend(["--store-region".to_owned(), REGION.to_owned()]);
        // As MinIO names it: by its region and the client's id.
        let id = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, AUDIENCE.as_bytes());
        let id = BASE64_URL_SAFE_NO_PAD.encode(id);
        let role = format!("arn:minio:iam:{REGION}::role/{id}");
        let eks = Self { issuer, minio, gate, home, role };
        eks.renew(3600);
        eks
    }

    /// What the webhook of EKS puts into a pod.
    pub(crate) fn with_role(mut self) -> Self {
        let file = self.token_file().display().to_string();
        for (name, value) in [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str()),
            ("AWS_ROLE_ARN", &self.role),
            ("AWS_ENDPOINT_URL_STS", &self.gate.endpoint()),
            ("BACKSTAY_POD_NAME", "backup-7"),
            ("BACKSTAY_POD_NAMESPACE", "shop"),
        ] {
            self.home.env.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.home.path("token")
    }

    /// The kubelet puts a new token there, good for so many seconds.
    pub(crate) fn renew(&self, seconds: i64) {
        self.put_token(&self.issuer.token(AUDIENCE, seconds));
    }

    pub(crate) fn put_token(&self, token: &str) {
        let new = self.home.path("token.new");
        fs::write(&new, token).unwrap();
        fs::rename(new, self.token_file()).unwrap();
    }

    /// Objects in the bucket whose key holds this word, as its owner sees them.
    pub(crate) async fn objects(&self, word: &str) -> Vec<String> {
        let listed = self.minio.client().list_objects_v2().bucket("backups").send().await.unwrap();
        let keys = listed.contents().iter().filter_map(|object| object.key());
        keys.filter(|key| key.contains(word)).map(ToOwned::to_owned).collect()
    }
}

/// Credentials of a session: access key, secret, token, and end.
pub(crate) async fn session(sts: &str, role: &str, token: &str) -> [String; 4] {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("Action", "AssumeRoleWithWebIdentity")
        .append_pair("Version", "2011-06-15")
        .append_pair("RoleArn", role)
        .append_pair("RoleSessionName", "pod")
        .append_pair("WebIdentityToken", token)
        .finish();
    let answer = reqwest::Client::new()
        .post(sts)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"].map(|name| {
        let rest = text.split_once(&format!("<{name}>")).unwrap().1;
        rest.split_once(&format!("</{name}>")).unwrap().0.to_owned()
    })
}

/// Gives MinIO a policy; its administrators' interface takes the text, signed as for S3.
async fn put_policy(minio: &Minio, name: &str, policy: &str) {
    let keys = fs::read_to_string(minio.credentials_file()).unwrap();
    let value = |name: &str| keys.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let (id, secret) = (value("aws_access_key_id = "), value("aws_secret_access_key = "));
    let (path, query) = ("/minio/admin/v3/add-canned-policy", format!("name={name}"));
    let host = format!("127.0.0.1:{}", minio.port());
    let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let hash = hex::encode(Sha256::digest(policy));
    let scope = format!("{}/{REGION}/s3/aws4_request", &stamp[..8]);
    let canonical = format!(
        "PUT\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{hash}\nx-amz-date:{stamp}\n\n\
         host;x-amz-content-sha256;x-amz-date\n{hash}"
    );
    let canonical = hex::encode(Sha256::digest(canonical));
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{canonical}");
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [&stamp[..8], REGION, "s3", "aws4_request"] {
        key = sign(&key, part);
    }
    let signature = hex::encode(sign(&key, &to_sign));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, \
         SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
    );
    let answer = reqwest::Client::new()
        .put(format!("http://{host}{path}?{query}"))
        .header("x-amz-content-sha256", hash)
        .header("x-amz-date", stamp)
        .header("authorization", authorization)
        .body(policy.to_owned())
        .send()
        .await
        .unwrap();
    let status = answer.status();
    assert!(status.is_success(), "{status}: {}", answer.text().await.unwrap());
}
