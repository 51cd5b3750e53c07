//! Clients of Google's and Azure's stores, with the credentials that their tools would find.

use std::sync::Arc;

use object_store::{
    ClientOptions, RetryConfig,
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::GoogleCloudStorageBuilder,
};

use super::{
    super::{
        StoreErrorKind, StoreOptions,
        backend::Fault,
        identity::Renewing,
        open::{Place, configuration, read_file},
    },
    Cloud,
    azure::{Chosen, chosen},
    fault::text,
    google::{Metadata, key_of},
    http::Connector,
    tokens::{Identity, Tokens},
};

fn never() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// What there is to say of connections beside what the dialer knows; `http` was allowed before.
fn client(options: &StoreOptions) -> ClientOptions {
    let plain = options.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
    ClientOptions::new().with_timeout_disabled().with_allow_http(plain || options.allow_plaintext)
}

/// Google says the same for a key that cannot be read and for one that is wrong.
fn unusable(error: &object_store::Error) -> Fault {
    Fault::new(StoreErrorKind::Unauthenticated, text(error))
        .hint("give credentials as the cloud's own tools expect them, or in a file")
}

pub(in super::super) fn google(place: Place, options: &StoreOptions) -> Result<Cloud, Fault> {
    let (connector, dialer) = Connector::new(options)?;
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&place.bucket)
        .with_retry(never())
        .with_client_options(client(options));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    if let Some(path) = &options.credentials_file {
        read_file("the credentials file", path)?;
        builder = builder.with_service_account_path(path.to_string_lossy());
    }
    let identity: Arc<dyn Identity> = if let Some(known) = key_of(&builder)? {
        Arc::new(known)
    } else {
        let tokens = Arc::new(Tokens(Renewing::new(Metadata::of_the_environment()?)));
        builder = builder.with_credentials(Arc::clone(&tokens) as _);
        tokens
    };
    let store = builder.with_http_connector(connector).build().map_err(|e| unusable(&e))?;
    Ok(Cloud::new(store, place, identity, dialer))
}

pub(in super::super) fn azure(place: Place, options: &StoreOptions) -> Result<Cloud, Fault> {
    let (connector, dialer) = Connector::new(options)?;
    let mut builder = MicrosoftAzureBuilder::from_env();
    if let Some(path) = &options.credentials_file {
        builder = MicrosoftAzureBuilder::new();
        let text = String::from_utf8(read_file("the credentials file", path)?)
            .map_err(|_| configuration("the credentials file is not text"))?;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (name, value) = line.split_once('=').ok_or_else(|| {
                // The line may be a key without its name, so it is not shown.
                configuration("a line of the credentials file is not of the form name = value")
            })?;
            let name = name.trim().to_ascii_lowercase();
            let key: AzureConfigKey = name
                .parse()
                .map_err(|_| configuration(format!("`{name}` is no setting of Azure's")))?;
            builder = builder.with_config(key, value.trim());
        }
    }
    builder = builder
        .with_container_name(&place.bucket)
        .with_retry(never())
        .with_client_options(client(options));
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    let identity: Arc<dyn Identity> = match chosen(&builder, options)? {
        Chosen::Library(known) => Arc::new(known),
        Chosen::Federated(federated) => {
            let tokens = Arc::new(Tokens(Renewing::new(*federated)));
            builder = builder.with_credentials(Arc::clone(&tokens) as _);
            tokens
        }
    };
    let store = builder.with_http_connector(connector).build().map_err(|e| unusable(&e))?;
    Ok(Cloud::new(store, place, identity, dialer))
}
