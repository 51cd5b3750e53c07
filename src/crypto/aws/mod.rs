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
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

pub(super) use access::access;
pub(super) use fault::failed;
pub(super) use name::AwsKey;

use super::service::{Fault, LONGEST_PAUSE, Patience, ServiceError};
use crate::transport::{Dialer, DialerOptions, Plaintext, is_loopback, smithy_client};

fn settings(key: &AwsKey, why: String, hint: &str) -> ServiceError {
    let hint = hint.to_owned();
    ServiceError {
        fault: Fault::Settings,
        operation: "set up AWS KMS",
        key: key.to_string(),
        why,
        hint,
    }
}

fn dialer(key: &AwsKey, patience: Patience) -> Result<Dialer, ServiceError> {
    let options = DialerOptions {
        plaintext: Plaintext::Anywhere, // NeverInTheClear says where not
        patience: patience.connect,
        ..DialerOptions::default()
    };
    Dialer::new(&options)
        .map_err(|e| settings(key, e.to_string(), "check the file that SSL_CERT_FILE names"))
}

/// What the SDK finds for the region of this key. Credentials come from where it looks for them;
/// what hands them out is another service, and is not taken for AWS KMS.
async fn config(key: &AwsKey, patience: Patience) -> Result<SdkConfig, ServiceError> {
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
        .http_client(smithy_client(&dialer(key, patience)?))
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(region) = key.region() {
        loader = loader.region(Region::new(region.to_owned()));
    }
    Ok(loader.load().await)
}

/// A client for the region of this key, and how it makes its connections to the service.
pub(super) async fn connect(
    key: &AwsKey,
    patience: Patience,
) -> Result<(Client, Dialer), ServiceError> {
    let shared = config(key, patience).await?;
    if shared.region().is_none() {
        return Err(settings(
            key,
            "it does not say in which region it is".to_owned(),
            "give the key's or the alias's ARN, or set AWS_REGION",
        ));
    }
    let dialer = dialer(key, patience)?;
    let config = aws_sdk_kms::config::Builder::from(&shared)
        .http_client(smithy_client(&dialer))
        .interceptor(NeverInTheClear);
    Ok((Client::from_conf(config.build()), dialer))
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
