//! The client: who we are, whom we trust, where the store is, and no retries of its own.

use std::{path::Path, sync::Arc};

use aws_config::{BehaviorVersion, Region, profile::ProfileFileCredentialsProvider};
use aws_sdk_s3::{
    Client,
    config::{
        RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::SharedHttpClient, runtime_components::RuntimeComponents,
};

use super::{
    super::{
        StoreOptions,
        backend::{Fault, chain},
        open::{Place, configuration, read_file},
    },
    S3,
    keep::Wishes,
};

/// What S3 takes for the region of those that have none.
const ANY_REGION: &str = "us-east-1";

pub(in super::super) async fn connect(place: Place, options: &StoreOptions) -> Result<S3, Fault> {
    let timeouts = TimeoutConfig::builder().connect_timeout(options.connect_timeout).build();
    let stalls =
        StalledStreamProtectionConfig::enabled().grace_period(options.stall_timeout).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http(options)?)
        .timeout_config(timeouts)
        .stalled_stream_protection(stalls);
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(path) = &options.credentials_file {
        loader = loader.credentials_provider(credentials(path)?);
    }
    let shared = loader.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        // We compute each checksum ourselves, once, however often a part is sent.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.path_style.unwrap_or(options.endpoint.is_some()));
    if shared.region().is_none() {
        config = config.region(Region::from_static(ANY_REGION));
    }
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint);
    }
    let client = Client::from_conf(config.build());
    let wishes = Wishes {
        encryption: options.encryption.clone(),
        storage_class: options.storage_class.clone(),
    };
    let sign_payloads = options.sign_payloads;
    Ok(S3 { client, place, sign_payloads, wishes, versioning: Arc::default() })
}

fn http(options: &StoreOptions) -> Result<SharedHttpClient, Fault> {
    let mut trusted = TrustStore::default();
    if let Some(path) = &options.ca_file {
        let pem = read_file("the CA file", path)?;
        usable(&pem).map_err(|e| configuration(format!("the CA file {}: {e}", path.display())))?;
        trusted = trusted.with_pem_certificate(pem);
    }
    let context = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| configuration(chain(&error)))?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            // Not the SDK's default: whoever needs a proxy says so in HTTPS_PROXY and NO_PROXY.
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.clone());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    }))
}

/// The SDK panics on a certificate that it cannot read.
fn usable(pem: &[u8]) -> Result<(), String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}

/// Keys in a file are what was asked for: nothing from the environment may come before them.
#[expect(deprecated, reason = "the new name of this type is in a crate that we do not use")]
fn credentials(path: &Path) -> Result<ProfileFileCredentialsProvider, Fault> {
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
    // Read now, so that a wrong path is an error of the configuration.
    read_file("the credentials file", path)?;
    let files = ProfileFiles::builder().with_file(ProfileFileKind::Credentials, path).build();
    let provider = ProfileFileCredentialsProvider::builder();
    Ok(provider.profile_files(files).profile_name("default").build())
}
