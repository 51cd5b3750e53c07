//! How Google's Cloud KMS is reached: by the variables of Google's own libraries and tools.

use std::path::PathBuf;

use crate::crypto::{
    Patience,
    gcp::{ENDPOINT, GcpCredentials, GcpOptions},
};

/// Where Google's libraries look for a metadata server when nothing says otherwise.
const METADATA: &str = "metadata.google.internal";

pub(super) fn by(variable: impl Fn(&str) -> Option<String>) -> GcpOptions {
    let credentials = match variable("GOOGLE_APPLICATION_CREDENTIALS") {
        Some(path) => GcpCredentials::File(PathBuf::from(path)),
        None => GcpCredentials::Metadata(
            variable("GCE_METADATA_HOST").unwrap_or_else(|| METADATA.to_owned()),
        ),
    };
    GcpOptions {
        endpoint: variable("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS")
            .unwrap_or_else(|| ENDPOINT.to_owned()),
        credentials,
        patience: Patience::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_credentials_comes_before_the_metadata_server() {
        let by = |set: &[(&str, &str)]| {
            by(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
        };
        let bare = by(&[]);
        assert_eq!(bare.credentials, GcpCredentials::Metadata(METADATA.to_owned()));
        assert_eq!(bare.endpoint, ENDPOINT);
        let host = ("GCE_METADATA_HOST", "127.0.0.1:1");
        assert_eq!(by(&[host]).credentials, GcpCredentials::Metadata("127.0.0.1:1".to_owned()));
        let file = ("GOOGLE_APPLICATION_CREDENTIALS", "/c.json");
        assert_eq!(by(&[host, file]).credentials, GcpCredentials::File("/c.json".into()));
        let endpoint = ("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", "https://kms.example/");
        assert_eq!(by(&[endpoint]).endpoint, "https://kms.example/");
    }
}
