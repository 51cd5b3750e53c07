//! The client: whom we trust, where the store is, and no retries of its own.

use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::{
    Client,
    config::{
        ConfigBag, IdentityCache, Intercept, RequestChecksumCalculation,
        ResponseChecksumValidation, RuntimeComponents, StalledStreamProtectionConfig,
        interceptors::BeforeTransmitInterceptorContextRef, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::BoxError,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

use super::{
    super::{
        StoreOptions,
        backend::Fault,
        identity::Carried,
        open::{Place, dialer, may_be_plain, read_file},
    },
    S3,
    identity::{Identity, Provider},
    keep::Wishes,
};
use crate::transport::{Plaintext, smithy_client};

/// What S3 takes for the region of those that have none.
const ANY_REGION: &str = "us-east-1";

pub(in super::super) async fn connect(place: Place, options: &StoreOptions) -> Result<S3, Fault> {
    let dialer = dialer(options, Plaintext::Anywhere)?;
    // Those who hand out credentials are other services than the store: what is remembered of
    // connections to the one says nothing of the other.
    let shared = settings(options).await?;
    let allowed = OnlyWhereAllowed { anywhere: options.allow_plaintext };
    let identity = Arc::new(Identity::open(&shared, options, &allowed).await?);
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .http_client(smithy_client(&dialer))
        .credentials_provider(Provider(Arc::clone(&identity)))
        // We keep credentials ourselves: the SDK's cache cannot be told that one was refused.
        .identity_cache(IdentityCache::no_cache())
        .interceptor(allowed)
        .retry_config(RetryConfig::disabled())
        // We compute each checksum ourselves, once, however often a part is sent.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.path_style.unwrap_or(options.endpoint.is_some()));
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    let client = Client::from_conf(config.build());
    let wishes = Wishes {
        encryption: options.encryption.clone(),
        storage_class: options.storage_class.clone(),
    };
    let (sign_payloads, versioning) = (options.sign_payloads, Arc::default());
    Ok(S3 { client, place, sign_payloads, identity, dialer, wishes, versioning })
}

/// What the environment and the profile say, for the store and for those who hand out credentials.
async fn settings(options: &StoreOptions) -> Result<SdkConfig, Fault> {
    let timeouts = TimeoutConfig::builder().connect_timeout(options.connect_timeout).build();
    let stalls =
        StalledStreamProtectionConfig::enabled().grace_period(options.stall_timeout).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(smithy_client(&dialer(options, Plaintext::Anywhere)?))
        .timeout_config(timeouts)
        .stalled_stream_protection(stalls)
        .no_credentials();
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(path) = &options.credentials_file {
        // Read now, so that a wrong path is an error of the configuration.
        read_file("the credentials file", path)?;
    }
    let mut shared = loader.load().await;
    if shared.region().is_none() {
        shared = shared.into_builder().region(Region::from_static(ANY_REGION)).build();
    }
    Ok(shared)
}

/// Endpoints come from variables and profiles, too; what is not this machine needs TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnlyWhereAllowed {
    anywhere: bool,
}

#[dyn_dispatch_hint]
impl Intercept for OnlyWhereAllowed {
    fn name(&self) -> &'static str {
        "OnlyWhereAllowed"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri = url::Url::parse(context.request().uri())?;
        may_be_plain(&uri, self.anywhere).map_err(|fault| Carried(fault).into())
    }
}
