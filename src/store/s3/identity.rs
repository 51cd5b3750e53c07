//! As whom S3 knows us: the credentials that AWS's own tools would find, in their order, and what
//! can be told of them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_config::{
    SdkConfig, ecs::EcsCredentialsProvider, environment::EnvironmentVariableCredentialsProvider,
    imds::credentials::ImdsCredentialsProvider, meta::credentials::CredentialsProviderChain,
    profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig,
};
use aws_credential_types::{
    Credentials,
    credential_feature::AwsCredentialFeature as Feature,
    provider::{ProvideCredentials, error::CredentialsError, future},
};

use super::{
    super::{
        StoreErrorKind, StoreOptions,
        backend::{Fault, causes, chain},
        identity::{Carried, Fetch, Fetched, RENEWED_BY, Renewing},
        open::set,
    },
    client::OnlyWhereAllowed,
    web_identity::WebIdentity,
};
use crate::model::{Access, AccessKind, Timestamp};

/// How long AWS may take to say who we are.
const WHO: Duration = Duration::from_secs(5);

/// The identity of one store.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) credentials: Renewing<Source>,
    /// Asks AWS who we are, where AWS is there to be asked.
    sts: Option<aws_sdk_sts::Client>,
    /// Where the credentials come from, for messages.
    whence: String,
}

/// The places where credentials may be, in the order in which they are looked for.
#[derive(Debug)]
pub(super) struct Source {
    first: Chain,
    web: Option<WebIdentity>,
    last: Option<Chain>,
    whence: String,
}

#[derive(Debug)]
struct Chain(Box<dyn ProvideCredentials>);

/// Hands the credentials to the SDK.
#[derive(Debug)]
pub(super) struct Provider(pub(super) Arc<Identity>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let found = self.0.credentials.current().await;
            found.map_err(|fault| CredentialsError::provider_error(Carried(fault)))
        })
    }
}

impl Identity {
    pub(super) async fn open(
        shared: &SdkConfig,
        options: &StoreOptions,
        allowed: &OnlyWhereAllowed,
    ) -> Result<Self, Fault> {
        let mut config = ProviderConfig::default().with_region(shared.region().cloned());
        if let Some(http) = shared.http_client() {
            config = config.with_http_client(http);
        }
        let sts = aws_sdk_sts::config::Builder::from(shared)
            .interceptor(*allowed)
            // Asking again is for the one loop above all stores.
            .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled());
        let source = match &options.credentials_file {
            Some(path) => Source {
                first: Chain(Box::new(profile_in(path))),
                web: None,
                last: None,
                whence: format!("the credentials file {}", path.display()),
            },
            None => Source::of_the_environment(&config, &sts).await?,
        };
        let elsewhere = options.endpoint.is_some()
            || ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"].iter().any(|name| set(name).is_some());
        let asks = !elsewhere || set("AWS_ENDPOINT_URL_STS").is_some();
        let sts = asks.then(|| aws_sdk_sts::Client::from_conf(sts.build()));
        Ok(Self { whence: source.whence.clone(), credentials: Renewing::new(source), sts })
    }

    /// What the credentials are, fetched anew.
    pub(super) async fn access(&self) -> Result<Access, Fault> {
        let mut access = self.credentials.access().await?;
        if access.kind != AccessKind::WebIdentity
            && let Some(arn) = self.caller().await
        {
            access.principal = Some(arn);
        }
        Ok(access)
    }

    /// As whom AWS knows us. It needs no right, and a service that imitates S3 cannot be asked.
    async fn caller(&self) -> Option<String> {
        let sts = self.sts.as_ref()?;
        let credentials = self.credentials.current().await.ok()?;
        let config = aws_sdk_sts::config::Builder::default().credentials_provider(credentials);
        let asked = sts.get_caller_identity().customize().config_override(config).send();
        match tokio::time::timeout(WHO, asked).await {
            Ok(Ok(answer)) => answer.arn().map(ToOwned::to_owned),
            Ok(Err(error)) => {
                tracing::debug!(error = %chain(&error), "AWS does not say who we are");
                None
            }
            Err(_) => None,
        }
    }

    /// A refusal of our credentials, with where they come from.
    pub(super) fn named(&self, mut fault: Fault) -> Fault {
        fault.cause = format!("{} (credentials from {})", fault.cause, self.whence);
        fault
    }
}

/// Keys in a file are what was asked for: nothing from the environment may come before them.
#[expect(deprecated, reason = "the new name of this type is in a crate that we do not use")]
fn profile_in(path: &std::path::Path) -> ProfileFileCredentialsProvider {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    let files = ProfileFiles::builder().with_file(ProfileFileKind::Credentials, path).build();
    let provider = ProfileFileCredentialsProvider::builder();
    provider.profile_files(files).profile_name("default").build()
}

impl Source {
    async fn of_the_environment(
        config: &ProviderConfig,
        sts: &aws_sdk_sts::config::Builder,
    ) -> Result<Self, Fault> {
        let profile = ProfileFileCredentialsProvider::builder().configure(config).build();
        let environment = EnvironmentVariableCredentialsProvider::new();
        let first = CredentialsProviderChain::first_try("Environment", environment)
            .or_else("Profile", profile);
        let web = WebIdentity::of_the_environment(sts).await?;
        let agent = EcsCredentialsProvider::builder().configure(config).build();
        let machine = ImdsCredentialsProvider::builder().configure(config).build();
        let last = CredentialsProviderChain::first_try("EcsContainer", agent)
            .or_else("Ec2InstanceMetadata", machine);
        let whence = match (&web, set("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
            _ if set("AWS_ACCESS_KEY_ID").is_some() => "AWS_ACCESS_KEY_ID".to_owned(),
            (Some(web), _) => web.to_string(),
            (None, Some(uri)) => match set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
                Some(file) => format!("the agent at {uri} with the token in {file}"),
                None => format!("the agent at {uri}"),
            },
            (None, None) => "where the AWS tools look for them".to_owned(),
        };
        let (first, last) = (Chain(Box::new(first)), Some(Chain(Box::new(last))));
        Ok(Self { first, web, last, whence })
    }

    fn failed(&self, error: &CredentialsError) -> Fault {
        let text = format!("credentials from {}: {}", self.whence, chain(error));
        let fault = |kind, hint: &str| Fault::new(kind, text.clone()).hint(hint);
        match error {
            CredentialsError::CredentialsNotLoaded(_) => fault(
                StoreErrorKind::Unauthenticated,
                "give credentials in the environment, a profile, a web identity or a file",
            ),
            CredentialsError::InvalidConfiguration(_) => {
                fault(StoreErrorKind::Configuration, "check the AWS_… variables and the profile")
            }
            _ if is_passing(error, &text) => {
                fault(StoreErrorKind::Unavailable, "is the service that hands them out well?")
            }
            _ if text.to_lowercase().contains("expired") => {
                fault(StoreErrorKind::Expired, RENEWED_BY)
            }
            _ => fault(
                StoreErrorKind::Unauthenticated,
                "see that the token is mounted, and that the identity is associated with the service account",
            ),
        }
    }
}

/// Whether asking for credentials again may help.
fn is_passing(error: &CredentialsError, text: &str) -> bool {
    let status = text.split("StatusCode(").nth(1).and_then(|rest| rest.get(..3)?.parse().ok());
    matches!(error, CredentialsError::ProviderTimedOut(_))
        || status.is_some_and(|status: u16| status == 429 || status >= 500)
        || causes(error).any(|cause| {
            cause.is::<aws_smithy_runtime_api::client::result::ConnectorError>()
                || cause.is::<std::io::Error>() && !text.contains("No such file")
        })
}

#[async_trait]
impl Fetch for Source {
    type Credential = Credentials;

    async fn fetch(&self) -> Result<Fetched<Credentials>, Fault> {
        let mut found = self.first.0.provide_credentials().await;
        if let Err(CredentialsError::CredentialsNotLoaded(_)) = found {
            if let Some(web) = &self.web {
                return web.fetch().await;
            }
            if let Some(last) = &self.last {
                found = last.0.provide_credentials().await;
            }
        }
        let credential = found.map_err(|error| self.failed(&error))?;
        let access = access_of(&credential);
        let id = credential.access_key_id().to_owned();
        match access.expires_at.filter(|end| *end <= Timestamp::now() && !access.renewable) {
            Some(end) => Err(Fault::new(
                StoreErrorKind::Expired,
                format!("credentials from {}: they have ended at {end}", self.whence),
            )
            .hint("give new ones; better, an identity that the platform renews")),
            None => Ok(Fetched { credential, id, access }),
        }
    }
}

/// What can be told of credentials.
pub(super) fn access_of(credentials: &Credentials) -> Access {
    let features = credentials.get_property::<Vec<Feature>>().map_or(&[][..], Vec::as_slice);
    let has = |feature| features.contains(&feature);
    let kind = if has(Feature::CredentialsHttp) {
        AccessKind::PodIdentity
    } else if has(Feature::CredentialsImds) {
        AccessKind::Instance
    } else if has(Feature::CredentialsStsAssumeRoleWebId)
        || has(Feature::CredentialsProfileStsWebIdToken)
    {
        AccessKind::WebIdentity
    } else if has(Feature::CredentialsEnvVars) || has(Feature::CredentialsProfile) {
        AccessKind::Static
    } else {
        AccessKind::Unknown
    };
    // What a provider says to end, it hands out anew; keys in a variable or a file are as they are.
    let expires_at = credentials.expiry().and_then(timestamp);
    let renewable = expires_at.is_some() || kind != AccessKind::Static;
    let stated = || {
        let stated = (kind == AccessKind::Static && credentials.session_token().is_some())
            .then(|| set("AWS_CREDENTIAL_EXPIRATION"))??;
        stated.parse().ok()
    };
    Access {
        kind,
        principal: Some(masked(credentials.access_key_id())),
        expires_at: expires_at.or_else(stated),
        renewable,
    }
}

pub(super) fn timestamp(at: SystemTime) -> Option<Timestamp> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_microseconds(i64::try_from(since.as_micros()).ok()?)
}

/// An access key's id is no secret, and need not stand in every record either.
fn masked(id: &str) -> String {
    let characters: Vec<char> = id.chars().collect();
    if characters.len() < 12 {
        return "access key".to_owned();
    }
    let (first, last) = (&characters[..4], &characters[characters.len() - 4..]);
    format!("access key {}…{}", first.iter().collect::<String>(), last.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_is_told_by_its_ends() {
        assert_eq!(masked("AKIAIOSFODNN7EXAMPLE"), "access key AKIA…MPLE");
        assert_eq!(masked("short-key"), "access key");
    }

    #[test]
    fn what_ends_and_came_from_a_provider_is_renewed() {
        let ended = SystemTime::UNIX_EPOCH;
        let of = |feature, expiry| {
            let mut credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "s", None, expiry, "t");
            credentials.set_property(vec![feature]);
            access_of(&credentials)
        };
        let access = of(Feature::CredentialsEnvVars, None);
        assert_eq!((access.kind, access.renewable), (AccessKind::Static, false));
        let access = of(Feature::CredentialsHttp, Some(ended));
        assert_eq!((access.kind, access.renewable), (AccessKind::PodIdentity, true));
        assert_eq!(access.expires_at, Timestamp::from_microseconds(0));
        assert_eq!(of(Feature::CredentialsImds, Some(ended)).kind, AccessKind::Instance);
        assert_eq!(of(Feature::CredentialsProcess, None).kind, AccessKind::Unknown);
    }
}
