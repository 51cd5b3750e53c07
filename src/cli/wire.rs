//! Wiring: the only place that names a concrete store, KMS or signer.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum as _;
use secrecy::SecretString;

use super::{
    args::{AlsoArgs, Global, MysqlArgs, StoreArgs, TlsMode, WitnessArgs, WitnessMode},
    exit,
    lock::{Lock, LockArgs},
    providers::{self, Named},
};
use crate::{
    crypto::{
        kms::{Kms, KmsError},
        signer::{Signer, Trust},
    },
    format::{RunIdentity, layout},
    jobs::{JobError, Witness, keys},
    model::LockMode,
    mysql::{ConnectOptions, Endpoint, Tls},
    pipeline::{LockPolicy, PipelineError, Repository, audit, log},
    store::{self, Store, StoreOptions},
};

/// How long a reader waits for a signer in a service.
const SIGNER: Duration = Duration::from_secs(20);

fn missing(flag: &str, example: &str) -> JobError {
    let env = flag.trim_start_matches("--").replace('-', "_").to_uppercase();
    JobError::Usage {
        what: format!("{flag} is needed"),
        hint: format!("give {flag} {example}, or set BACKSTAY_{env}"),
    }
}

/// Where another repository is, and how it is reached.
#[derive(Debug)]
pub(super) struct Elsewhere<'a> {
    pub(super) url: &'a str,
    pub(super) endpoint: Option<&'a String>,
    pub(super) region: Option<&'a String>,
    pub(super) path_style: Option<bool>,
    pub(super) ca: Option<&'a PathBuf>,
    pub(super) credentials: Option<&'a PathBuf>,
}

impl Global {
    /// The repository, with the eyes of whoever `--trust` names.
    pub(super) async fn repository(&self) -> Result<Arc<Repository>, JobError> {
        self.repository_by(StoreOptions::default()).await
    }

    /// The same, for a job that waits for an absent store by itself: it wants to know soon.
    pub(super) async fn impatient_repository(&self) -> Result<Arc<Repository>, JobError> {
        self.repository_by(impatience()).await
    }

    /// The object store alone, for such a job.
    pub(super) async fn impatient_store(&self) -> Result<Arc<dyn Store>, JobError> {
        self.store_by(impatience()).await
    }

    /// The repository that is read and not written to: what is said of locks is meant for another.
    pub(super) async fn original(&self) -> Result<Arc<Repository>, JobError> {
        let cluster = self.cluster.clone().ok_or_else(|| missing("--cluster", "NAME"))?;
        let url = self.repo.as_deref().ok_or_else(|| missing("--repo", "s3://BUCKET/PREFIX"))?;
        let options = StoreOptions {
            encryption: None,
            storage_class: None,
            ..self.store_options(StoreOptions::default())
        };
        let store = store::open(url, &options).await.map_err(PipelineError::from)?;
        Ok(Arc::new(Repository::new(store, cluster, self.trusted()?)))
    }

    /// Another repository of the same cluster. How it is written to is said for it, too.
    pub(super) async fn other_repository(
        &self,
        other: Elsewhere<'_>,
    ) -> Result<Arc<Repository>, JobError> {
        let cluster = self.cluster.clone().ok_or_else(|| missing("--cluster", "NAME"))?;
        let (trust, policy) = (self.trusted()?, self.lock_policy()?);
        self.must_be_s3(other.url)?;
        let options = StoreOptions {
            endpoint: other.endpoint.cloned(),
            region: other.region.cloned(),
            path_style: other.path_style,
            ca_file: other.ca.cloned(),
            credentials_file: other.credentials.cloned(),
            ..self.store_options(StoreOptions::default())
        };
        let store = store::open(other.url, &options).await.map_err(PipelineError::from)?;
        Ok(Arc::new(Repository::new(store, cluster, trust).locking(policy)))
    }

    async fn repository_by(&self, patience: StoreOptions) -> Result<Arc<Repository>, JobError> {
        let cluster = self.cluster.clone().ok_or_else(|| missing("--cluster", "NAME"))?;
        let (trust, policy) = (self.trusted()?, self.lock_policy()?);
        let repository = Repository::new(self.store_by(patience).await?, cluster, trust);
        Ok(Arc::new(repository.locking(policy)))
    }

    /// The object store alone.
    pub(super) async fn open_store(&self) -> Result<Arc<dyn Store>, JobError> {
        self.store_by(StoreOptions::default()).await
    }

    async fn store_by(&self, patience: StoreOptions) -> Result<Arc<dyn Store>, JobError> {
        let url = self.repo.as_deref().ok_or_else(|| missing("--repo", "s3://BUCKET/PREFIX"))?;
        self.must_be_s3(url)?;
        let options = self.store_options(patience);
        Ok(store::open(url, &options).await.map_err(PipelineError::from)?)
    }

    fn store_options(&self, patience: StoreOptions) -> StoreOptions {
        StoreOptions {
            endpoint: self.store.store_endpoint.clone(),
            region: self.store.store_region.clone(),
            path_style: self.store.store_path_style,
            ca_file: self.store.store_ca.clone(),
            allow_plaintext: self.store.allow_plaintext_store,
            credentials_file: self.store.store_credentials.clone(),
            encryption: self.store.store_sse.clone(),
            storage_class: self.store.store_class.clone(),
            ..patience
        }
    }

    /// Refuses what no other kind of store can do.
    fn must_be_s3(&self, url: &str) -> Result<(), JobError> {
        let StoreArgs { store_sse, store_class, lock, .. } = &self.store;
        let asked = [
            (lock.lock.is_some(), "--lock"),
            (store_sse.is_some(), "--store-sse"),
            (store_class.is_some(), "--store-class"),
        ];
        match asked.iter().find(|(given, _)| *given) {
            Some((_, flag)) if !url.starts_with("s3:") => Err(JobError::Usage {
                what: format!("{flag} is for S3, and {url} is none"),
                hint:
                    "leave it out, and its variable, or use a bucket of S3: what Azure and Google \
                       have instead is not supported yet"
                        .into(),
            }),
            _ => Ok(()),
        }
    }

    /// How what is written is to be locked.
    pub(super) fn lock_policy(&self) -> Result<Option<LockPolicy>, JobError> {
        let LockArgs { lock, lock_for, lock_audit_for, lock_hold } = self.store.lock;
        let (Some(lock), Some(data)) = (lock, lock_for) else { return Ok(None) };
        if let Some(audit) = lock_audit_for.filter(|audit| *audit < data) {
            return Err(JobError::Usage {
                what: format!(
                    "--lock-audit-for is shorter than --lock-for: {} s, and {} s",
                    audit.as_secs(),
                    data.as_secs()
                ),
                hint: "what proves a backup outlives it: give a longer one, or leave it out".into(),
            });
        }
        Ok(Some(LockPolicy {
            mode: match lock {
                Lock::Governance => LockMode::Governance,
                Lock::Compliance => LockMode::Compliance,
            },
            data,
            evidence: lock_audit_for,
            legal_hold: lock_hold,
        }))
    }

    /// Refuses a repository that was rolled back behind `--at-least`.
    pub(super) async fn fresh(&self, repository: &Repository) -> Result<(), JobError> {
        let Some(head) = self.at_least else { return Ok(()) };
        // A head is of the log or of the audit chain; hashes do not meet by chance.
        let in_log = match log::contains(repository, head).await {
            // Junk in the log says nothing of the audit chain.
            Err(PipelineError::Integrity { .. }) => false,
            looked => looked?,
        };
        if in_log || audit::contains(repository, head).await? {
            return Ok(());
        }
        let why = format!(
            "neither the audit chain nor the log contains {head}: the repository was rolled back or replaced"
        );
        Err(PipelineError::integrity(layout::audit_folder(repository.cluster()), why).into())
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

    /// Who records what a reader does: somebody may need a restore now, so a signer that cannot be had
    /// is no error here.
    pub(super) async fn witness(&self, args: &WitnessArgs) -> Witness {
        let named =
            self.signer.is_some() || self.default_signer().is_some_and(|path| path.exists());
        let opened = if named {
            tokio::time::timeout(SIGNER, self.signer()).await
        } else {
            Ok(Err(missing("--signer", "URI, so that this can be recorded")))
        };
        let signer = match opened {
            Ok(signer) => signer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the signer did not answer for {SIGNER:?}")),
        };
        Witness::new(signer, identity(), args.audit == WitnessMode::Required, exit::of)
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
        Trust::read(&self.trust_path()?).map_err(|e| JobError::Usage {
            what: e.to_string(),
            hint:
                "give --trust FILE, made by `backstay keys new` or `backstay keys trust`; it never \
                   comes from the bucket"
                    .into(),
        })
    }

    /// The trust file; by default the one beside a local KEK.
    pub(super) fn trust_path(&self) -> Result<PathBuf, JobError> {
        match (&self.trust, &self.kek) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(_)) => self
                .beside_kek("trust")?
                .ok_or_else(|| missing("--trust", "FILE (a KEK in a service has none beside it)")),
            (None, None) => {
                Err(missing("--trust", "FILE (or --kek file:/PATH, beside which it lies)"))
            }
        }
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

fn impatience() -> StoreOptions {
    let seconds = Duration::from_secs;
    StoreOptions {
        retry_for: seconds(15),
        connect_timeout: seconds(5),
        stall_timeout: seconds(10),
        ..StoreOptions::default()
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
