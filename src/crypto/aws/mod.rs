//! AWS KMS: who we are, where the keys are, and what its refusals mean.

mod access;
mod fault;
mod name;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::{
    Client,
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::BoxError,
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{http::SharedHttpClient, interceptors::dyn_dispatch_hint};

pub(super) use access::access;
pub(super) use fault::failed;
pub(super) use name::AwsKey;

use super::service::{Fault, LONGEST_PAUSE, Patience, ServiceError, is_loopback};

/// What the SDK finds for the region of this key. Credentials come from where it looks for them.
async fn config(key: &AwsKey, patience: Patience) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(patience.connect)
        .operation_attempt_timeout(patience.answer)
        .build();
    // Only what is throttled, unreachable or broken is asked again.
    let retries = RetryConfig::standard()
        .with_max_attempts(patience.attempts)
        .with_initial_backoff(patience.pause.max(Duration::from_millis(1)))
        .with_max_backoff(LONGEST_PAUSE);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http())
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(region) = key.region() {
        loader = loader.region(Region::new(region.to_owned()));
    }
    loader.load().await
}

/// A client for the region of this key.
pub(super) async fn connect(key: &AwsKey, patience: Patience) -> Result<Client, ServiceError> {
    let shared = config(key, patience).await;
    if shared.region().is_none() {
        return Err(ServiceError {
            fault: Fault::Settings,
            operation: "set up AWS KMS",
            key: key.to_string(),
            why: "it does not say in which region it is".to_owned(),
            hint: "give the key's or the alias's ARN, or set AWS_REGION".to_owned(),
        });
    }
    let config = aws_sdk_kms::config::Builder::from(&shared).interceptor(NeverInTheClear);
    Ok(Client::from_conf(config.build()))
}

fn http() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder()
            // Not the SDK's default: whoever needs a proxy says so in HTTPS_PROXY and NO_PROXY.
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

/// Endpoints come from variables and profiles, too; keys go to this machine or by TLS.
#[derive(Debug)]
struct NeverInTheClear;

/// What is said when one would not.
const CLEAR: &str = "the endpoint is not https, and keys never travel in the clear";

#[dyn_dispatch_hint]
impl Intercept for NeverInTheClear {
    fn name(&self) -> &'static str {
        "NeverInTheClear"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri = url::Url::parse(context.request().uri())?;
        if uri.scheme() == "https" || uri.host_str().is_some_and(is_loopback) {
            return Ok(());
        }
        Err(CLEAR.into())
    }
}
