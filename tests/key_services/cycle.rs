//! The whole life of a KEK, the same with every kind of key service: backup, archive and restore;
//! rewrapping to another KEK of its kind in the middle; another backup; the old KEK disabled, which
//! then opens nothing, while the new one opens everything.

use std::time::Duration;

use backstay::mysql::Server;
use serde_json::json;

use crate::{
    aws_kms::AwsKms,
    cloud_kms::{CloudKms, CryptoKey, RING},
    home::{Home, strs},
    key_vault::{KeyVault, TENANT, VaultKey},
    mariadb::MariaDb,
    stage::{by, home, home_with_local_signer, source, with},
    transit::{Transit, TransitKey},
};

/// Two KEKs of one kind, and what there is to do with the old one.
struct Stage<'a> {
    home: Home,
    old: String,
    new: String,
    disable: &'a dyn Fn(&Home),
    enable: &'a dyn Fn(&Home),
    /// How the old one refuses: the exit code, and words of the message.
    refusal: (i32, &'static str),
    /// Whether it refuses to wrap, too.
    is_off: bool,
    /// What no log may hold, not the most talkative.
    secrets: &'a [&'static str],
}

async fn row(source: &MariaDb, value: u32) {
    let mut server = Server::connect(&source.options()).await.unwrap();
    let insert = format!("INSERT d.t VALUES ({value})");
    server.execute("adding a row", &insert, Duration::from_secs(10)).await.unwrap();
    server.close().await;
}

impl Stage<'_> {
    async fn play(mut self) {
        let source = source().await;
        let home = &self.home;
        self.back_up(&source, "one");
        row(&source, 8).await;
        self.archive(&source);
        self.restores(&[], "first");

        let rewrapped = home.run(&["keys", "rewrap", "--to", &self.new]).expect(0).json();
        assert_eq!(
            (&rewrapped["status"], &rewrapped["to_opens"]),
            (&json!("complete"), &json!(true))
        );
        assert_eq!(rewrapped["rewrapped"], 2, "{rewrapped}");
        by(&mut self.home, &self.new);
        row(&source, 9).await;
        self.back_up(&source, "two");
        row(&source, 10).await;
        self.archive(&source);
        let status = self.home.run(&["keys", "status"]).expect(0).json();
        let keks = status["keks"].as_array().unwrap();
        let opens: Vec<_> = keks.iter().map(|kek| kek["deks"].as_u64().unwrap()).collect();
        assert_eq!(opens, [4, 2], "{status}");

        (self.disable)(&self.home);
        self.home.run(&["verify"]).expect(0);
        self.restores(&[], "all");
        self.restores(&["--backup", "one"], "old");
        by(&mut self.home, &self.old);
        let (code, words) = self.refusal;
        self.home.run(&["verify", "one"]).expect(code).says(words);
        let datadir = self.home.path("refused").display().to_string();
        let refused = ["restore", "--backup", "one", "--datadir", &datadir];
        let refused = self.home.run(&refused).expect(code).says(words);
        assert!(refused.err.contains(self.old.rsplit('/').next().unwrap()), "{}", refused.err);
        if self.is_off {
            let args = self.home.backup(&source.socket, &["--id", "three"]);
            self.home.run(&strs(&args)).expect(code).says(words);
        }
        // Enabled again, it opens what it has wrapped, and nothing else.
        (self.enable)(&self.home);
        self.home.run(&["verify", "one"]).expect(0);
        self.home.run(&["verify", "two"]).expect(3).says("has no wrap for KEK");
        assert_eq!(self.home.listed(), ["two", "one"]);
    }

    fn back_up(&self, source: &MariaDb, id: &str) {
        let args = self.home.backup(&source.socket, &["--id", id]);
        let done = with(&self.home, &strs(&args), &[("BACKSTAY_LOG", "trace")]).expect(0);
        assert_eq!(done.json()["status"], "complete");
        for secret in self.secrets {
            assert!(!format!("{}{}", done.out, done.err).contains(secret), "{secret} in the log");
        }
    }

    fn archive(&self, source: &MariaDb) {
        let mut args = self.home.backup(&source.socket, &["--until-current"]);
        "archive".clone_into(&mut args[0]);
        self.home.run(&strs(&args)).expect(0);
    }

    fn restores(&self, more: &[&str], name: &str) {
        let datadir = self.home.path(name).display().to_string();
        let args = [&["restore", "--datadir", &datadir], more].concat();
        let restored = self.home.run(&args).expect(0).json();
        assert_eq!(restored["status"], "proven", "{restored}");
    }
}

const DISABLED: (i32, &str) = (3, "the key is disabled");

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_in_files() {
    let home = Home::file();
    let new = format!("file:{}", home.path("kek-2").display());
    with(&home, &["keys", "new", "--kek-only", "--kek", &new], &[]).expect(0);
    let old = format!("file:{}", home.path("kek").display());
    let mut home = home;
    // The signer and the trust file still lie beside the first one.
    let signer = format!("file:{}", home.path("kek.signer").display());
    let trust = home.path("kek.trust").display().to_string();
    home.flags.extend(["--signer".to_owned(), signer, "--trust".to_owned(), trust]);
    let aside = |home: &Home, from: &str, to: &str| {
        std::fs::rename(home.path(from), home.path(to)).unwrap();
    };
    Stage {
        home,
        old,
        new,
        disable: &|home| aside(home, "kek", "aside"),
        enable: &|home| aside(home, "aside", "kek"),
        refusal: (2, "key file"),
        is_off: true,
        secrets: &[],
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_in_vault() {
    let transit = Transit::start().await;
    transit.lock().keys.insert("kek-2".into(), TransitKey::of("aes256-gcm96"));
    let address = transit.address();
    let env = [("VAULT_ADDR", address.as_str())];
    let mut home = home("vault:transit/kek", Some("vault:transit/signer"), &env);
    let token = home.path("token");
    std::fs::write(&token, "a-token-of-vault").unwrap();
    transit.grant("a-token-of-vault", &[]);
    home.env.push(("VAULT_TOKEN_FILE".to_owned(), token.display().to_string()));
    home.run(&["keys", "trust"]).expect(0);
    // A transit key is not switched off, but its versions before one are; the newest goes on wrapping.
    let least = |version: usize| {
        let mut inner = transit.lock();
        let key = inner.keys.get_mut("kek").unwrap();
        key.rotate();
        key.min_decryption = version;
    };
    Stage {
        home,
        old: "vault:transit/kek".to_owned(),
        new: "vault:transit/kek-2".to_owned(),
        disable: &|_| least(2),
        enable: &|_| least(1),
        refusal: DISABLED,
        is_off: false,
        secrets: &["a-token-of-vault"],
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_in_aws_kms() {
    let kms = AwsKms::start().await;
    let (old, new, signer) = (kms.key().await, kms.key().await, kms.signer());
    let env = crate::aws::env(&kms.endpoint());
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let home = home(&format!("aws-kms:{old}"), Some(&format!("aws-kms:{signer}")), &env);
    home.run(&["keys", "trust"]).expect(0);
    Stage {
        home,
        old: format!("aws-kms:{old}"),
        new: format!("aws-kms:{new}"),
        disable: &|_| kms.lock().disabled.extend([old.clone()]),
        enable: &|_| kms.lock().disabled.clear(),
        refusal: DISABLED,
        is_off: true,
        secrets: &["a-secret-of-the-tests-of-aws-kms"],
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_in_google_s_cloud_kms() {
    const ACCOUNT: &str = "backup@p-1.iam.gserviceaccount.com";
    let service = CloudKms::start().await;
    service.add("kek-2", CryptoKey::symmetric());
    let uri = |name: &str| format!("gcp-kms:{RING}/cryptoKeys/{name}");
    let signer = format!("{}/cryptoKeyVersions/1", uri("signer"));
    let address = service.address();
    let env = [("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", address.as_str())];
    let mut home = home(&uri("kek"), Some(&signer), &env);
    // A token of Kubernetes is exchanged for one of an account.
    std::fs::write(home.path("token"), "a-token-of-kubernetes").unwrap();
    service.lock().subjects.insert("a-token-of-kubernetes".to_owned());
    service.lock().may_act.insert("principal:a-token-of-kubernetes".to_owned(), ACCOUNT.to_owned());
    let file = service.federation(&json!({ "file": home.path("token") }), Some(ACCOUNT));
    std::fs::write(home.path("credentials"), file.to_string()).unwrap();
    let credentials = home.path("credentials").display().to_string();
    home.env.push(("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), credentials));
    home.run(&["keys", "trust"]).expect(0);
    let state = |state| service.change("kek", |key| key.versions[0].state = state);
    Stage {
        home,
        old: uri("kek"),
        new: uri("kek-2"),
        disable: &|_| state("DISABLED"),
        enable: &|_| state("ENABLED"),
        refusal: DISABLED,
        is_off: true,
        secrets: &["ya29.token", "a-token-of-kubernetes"],
    }
    .play()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_in_azure_key_vault() {
    const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
    let vault = KeyVault::start().await;
    vault.add("kek-2", VaultKey::of("RSA-HSM"));
    let uri = |name: &str| format!("azure-kv:{}/keys/{name}", vault.address());
    let address = vault.address();
    let env = [
        ("AZURE_AUTHORITY_HOST", address.as_str()),
        ("AZURE_CLIENT_ID", CLIENT),
        ("AZURE_TENANT_ID", TENANT),
    ];
    // Key Vault has no Ed25519 keys.
    let mut home = home_with_local_signer(&uri("kek"), &env);
    let token = home.path("token");
    std::fs::write(&token, "a-token-of-kubernetes").unwrap();
    vault.lock().subjects.insert("a-token-of-kubernetes".to_owned(), CLIENT.to_owned());
    home.env.push(("AZURE_FEDERATED_TOKEN_FILE".to_owned(), token.display().to_string()));
    let enabled = |enabled| vault.change("kek", |key| key.versions[0].enabled = enabled);
    Stage {
        home,
        old: uri("kek"),
        new: uri("kek-2"),
        disable: &|_| enabled(false),
        enable: &|_| enabled(true),
        refusal: DISABLED,
        is_off: true,
        secrets: &["eyJ0.token", "a-token-of-kubernetes"],
    }
    .play()
    .await;
}
