//! Wiring: the only place that names a concrete store, KMS or signer.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum as _;
use secrecy::SecretString;

use super::{
    args::{AlsoArgs, Global, MysqlArgs, TlsMode},
    providers::{self, Named},
};
use crate::{
    crypto::{
        kms::{Kms, KmsError},
        signer::{Signer, Trust},
    },
    format::RunIdentity,
    jobs::{JobError, keys},
    mysql::{ConnectOptions, Endpoint, Tls},
    pipeline::{PipelineError, Repository, log, verify_chain},
    store::{self, Store, StoreOptions},
};

fn missing(flag: &str, example: &str) -> JobError {
    let env = flag.trim_start_matches("--").replace('-', "_").to_uppercase();
    JobError::Usage {
        what: format!("{flag} is needed"),
        hint: format!("give {flag} {example}, or set BACKSTAY_{env}"),
    }
}

impl Global {
    /// The repository, with the eyes of whoever `--trust` names.
    pub(super) async fn repository(&self) -> Result<Arc<Repository>, JobError> {
        self.repository_by(StoreOptions::default()).await
    }

    /// The same, for a job that waits for an absent store by itself: it wants to know soon.
    pub(super) async fn impatient_repository(&self) -> Result<Arc<Repository>, JobError> {
        let seconds = Duration::from_secs;
        self.repository_by(StoreOptions {
            retry_for: seconds(15),
            connect_timeout: seconds(5),
            stall_timeout: seconds(10),
            ..StoreOptions::default()
        })
        .await
    }

    async fn repository_by(&self, patience: StoreOptions) -> Result<Arc<Repository>, JobError> {
        let cluster = self.cluster.clone().ok_or_else(|| missing("--cluster", "NAME"))?;
        let trust = self.trusted()?;
        Ok(Arc::new(Repository::new(self.store_by(patience).await?, cluster, trust)))
    }

    /// The object store alone.
    pub(super) async fn open_store(&self) -> Result<Arc<dyn Store>, JobError> {
        self.store_by(StoreOptions::default()).await
    }

    async fn store_by(&self, patience: StoreOptions) -> Result<Arc<dyn Store>, JobError> {
        let url = self.repo.as_deref().ok_or_else(|| missing("--repo", "s3://BUCKET/PREFIX"))?;
        let options = StoreOptions {
            endpoint: self.store.store_endpoint.clone(),
            region: self.store.store_region.clone(),
            path_style: self.store.store_path_style,
            ca_file: self.store.store_ca.clone(),
            allow_plaintext: self.store.allow_plaintext_store,
            ..patience
        };
        Ok(store::open(url, &options).await.map_err(PipelineError::from)?)
    }

    /// Refuses a repository that was rolled back behind `--at-least`.
    pub(super) async fn fresh(&self, repository: &Repository) -> Result<(), JobError> {
        let Some(head) = self.at_least else { return Ok(()) };
        // A head is of the log or of the audit chain; hashes do not meet by chance.
        if log::contains(repository, head).await? {
            return Ok(());
        }
        let (_, _, findings) = verify_chain(repository, self.at_least).await?;
        match findings.into_iter().next() {
            Some(finding) => Err(PipelineError::integrity(finding.object, finding.why).into()),
            None => Ok(()),
        }
    }

    fn kek_uri(&self) -> Result<&str, JobError> {
        self.kek.as_deref().ok_or_else(|| missing("--kek", "URI"))
    }

    /// The path of the KEK, which is to be local.
    pub(super) fn kek_path(&self) -> Result<PathBuf, JobError> {
        let uri = self.kek.as_deref().ok_or_else(|| missing("--kek", "file:/PATH"))?;
        match Named::parse(uri) {
            Some(Named::File(path)) => Ok(path.to_owned()),
            Some(_) => Err(JobError::Usage {
                what: format!("{uri} is no local key"),
                hint: "keys of a service are made there, as docs/key-services.md tells".into(),
            }),
            None => Err(PipelineError::from(KmsError::Uri(uri.to_owned())).into()),
        }
    }

    /// The KEK.
    pub(super) async fn kms(&self) -> Result<Box<dyn Kms>, JobError> {
        Ok(providers::kms(self.kek_uri()?).await?)
    }

    /// The KEK when one was given.
    pub(super) async fn optional_kms(&self) -> Result<Option<Box<dyn Kms>>, JobError> {
        if self.kek.is_some() { self.kms().await.map(Some) } else { Ok(None) }
    }

    /// The signer; by default the one beside a local KEK.
    pub(super) async fn signer(&self) -> Result<Box<dyn Signer>, JobError> {
        let beside;
        let uri = match &self.signer {
            Some(uri) => uri,
            None => match self.beside_kek("signer")? {
                Some(path) => {
                    beside = format!("file:{}", path.display());
                    &beside
                }
                None => {
                    return Err(missing("--signer", "URI (a KEK in a service has none beside it)"));
                }
            },
        };
        Ok(providers::signer(uri).await?)
    }

    /// Where the signer lies when none is named.
    pub(super) fn default_signer(&self) -> Option<PathBuf> {
        self.beside_kek("signer").ok()?
    }

    /// Where the trust file is to be.
    pub(super) fn trust_file(&self) -> Result<&Path, JobError> {
        self.trust.as_deref().ok_or_else(|| missing("--trust", "FILE"))
    }

    /// Whom to believe; by default the file beside a local KEK says it.
    pub(super) fn trusted(&self) -> Result<Trust, JobError> {
        let path = match (&self.trust, &self.kek) {
            (Some(path), _) => path.clone(),
            (None, Some(_)) => self.beside_kek("trust")?.ok_or_else(|| {
                missing("--trust", "FILE (a KEK in a service has none beside it)")
            })?,
            (None, None) => {
                return Err(missing("--trust", "FILE (or --kek file:/PATH, beside which it lies)"));
            }
        };
        Trust::read(&path).map_err(|e| JobError::Usage {
            what: e.to_string(),
            hint:
                "give --trust FILE, made by `backstay keys new` or `backstay keys trust`; it never \
                   comes from the bucket"
                    .into(),
        })
    }

    /// A file beside a local KEK; nothing when the KEK is in a service. It is named after the whole
    /// key, without the `.pub` of its public half.
    fn beside_kek(&self, suffix: &str) -> Result<Option<PathBuf>, JobError> {
        let uri = self.kek_uri()?;
        let path = match Named::parse(uri) {
            Some(Named::File(path)) => path,
            Some(_) => return Ok(None),
            None => return Err(PipelineError::from(KmsError::Uri(uri.to_owned())).into()),
        };
        let is_public = path.extension().is_some_and(|e| e == "pub");
        let base = if is_public { path.with_extension("") } else { path.to_owned() };
        Ok(Some(keys::beside(&base, suffix)))
    }
}

impl AlsoArgs {
    /// The KEKs that shall open, too, what the one of `--kek` opens.
    pub(super) async fn for_kek(&self, global: &Global) -> Result<Vec<Box<dyn Kms>>, JobError> {
        self.beside(&*global.kms().await?).await
    }

    /// The KEKs that shall open, too, what this one opens.
    pub(super) async fn beside(&self, kms: &dyn Kms) -> Result<Vec<Box<dyn Kms>>, JobError> {
        let mut names = vec![kms.name().to_owned()];
        let mut also = Vec::new();
        for uri in self.also_kek.iter().filter(|uri| !uri.is_empty()) {
            let kek = providers::kms(uri).await?;
            if names.iter().any(|name| name == kek.name()) {
                return Err(JobError::Usage {
                    what: format!(
                        "--also-kek {uri} is a KEK that was named before: {}",
                        kek.name()
                    ),
                    hint: "a second way in needs a key of its own: `backstay keys new --kek-only`"
                        .into(),
                });
            }
            names.push(kek.name().to_owned());
            also.push(kek);
        }
        Ok(also)
    }
}

impl TlsMode {
    fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl MysqlArgs {
    /// How to reach the server; nothing when none was named.
    pub(super) fn options(&self) -> Result<Option<ConnectOptions>, JobError> {
        let endpoint = match (&self.mysql_socket, &self.mysql_host) {
            (Some(socket), _) => Endpoint::Socket(socket.clone()),
            (None, Some(host)) => Endpoint::Tcp { host: host.clone(), port: self.mysql_port },
            (None, None) => return Ok(None),
        };
        let tcp = matches!(endpoint, Endpoint::Tcp { .. });
        if tcp && !self.mysql_tls.verifies() && !self.allow_insecure_mysql {
            return Err(JobError::Usage {
                what: format!(
                    "--mysql-tls {} verifies nobody: whoever answers at {endpoint} is believed",
                    self.mysql_tls.name()
                ),
                hint: "leave --mysql-tls out and name the server's authority with --mysql-tls-ca; if it \
                       must be, say --allow-insecure-mysql"
                    .into(),
            });
        }
        let password = self.mysql_password_file.as_deref().map(read_password).transpose()?;
        let tls = Tls {
            mode: match self.mysql_tls {
                TlsMode::Disabled => crate::mysql::TlsMode::Disabled,
                TlsMode::Preferred => crate::mysql::TlsMode::Preferred,
                TlsMode::Required => crate::mysql::TlsMode::Required,
                TlsMode::VerifyCa => crate::mysql::TlsMode::VerifyCa,
                TlsMode::VerifyIdentity => crate::mysql::TlsMode::VerifyIdentity,
            },
            ca: self.mysql_tls_ca.clone(),
            cert: self.mysql_tls_cert.clone(),
            key: self.mysql_tls_key.clone(),
        };
        let user = self.mysql_user.clone().ok_or_else(|| missing("--mysql-user", "USER"))?;
        Ok(Some(ConnectOptions { endpoint, user, password, tls }))
    }

    /// How to reach the server.
    pub(super) fn required(&self) -> Result<ConnectOptions, JobError> {
        self.options()?.ok_or_else(|| missing("--mysql-socket", "PATH (or --mysql-host HOST)"))
    }
}

fn read_password(path: &Path) -> Result<SecretString, JobError> {
    let text = std::fs::read_to_string(path).map_err(|e| JobError::Usage {
        what: format!("read password file {}: {e}", path.display()),
        hint: "check --mysql-password-file".into(),
    })?;
    let text = zeroize::Zeroizing::new(text);
    Ok(SecretString::from(text.trim_end_matches(['\n', '\r'])))
}

/// Who runs this, as far as the machine and Kubernetes tell (the downward API).
pub(super) fn identity() -> RunIdentity {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let user = std::fs::read_to_string("/etc/passwd").ok().and_then(|passwd| {
        let uid = rustix::process::getuid().as_raw().to_string();
        let entry = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()))?;
        entry.split(':').next().map(ToOwned::to_owned)
    });
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    RunIdentity {
        host: host.map(|h| h.trim().to_owned()),
        user,
        pod: set("BACKSTAY_POD_NAME"),
        namespace: set("BACKSTAY_POD_NAMESPACE"),
        ..RunIdentity::default()
    }
}
