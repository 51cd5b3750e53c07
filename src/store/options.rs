//! What can be set about a store beside its URL.

use std::{path::PathBuf, time::Duration};

use super::{ServerEncryption, StorageClass};

/// Settings of a store. The defaults suit the stores of the three large clouds, with the
/// credentials that their own tools would find.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where the service answers, when not at its vendor's own address.
    pub endpoint: Option<String>,
    /// The region of an S3 bucket; otherwise the environment or the AWS profile names it.
    pub region: Option<String>,
    /// Whether an S3 bucket is part of the path rather than of the host name; by default it
    /// is when there is an endpoint.
    pub path_style: Option<bool>,
    /// Certificates (PEM) of authorities to be trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether an endpoint without TLS may be another machine than this one.
    pub allow_plaintext: bool,
    /// Credentials in a file, instead of those that the environment offers: for S3 a shared
    /// credentials file (its `default` profile), for GCS a key in JSON, for Azure lines of
    /// `name = value` with the names of Azure's environment variables.
    pub credentials_file: Option<PathBuf>,
    /// Whether requests to S3 sign their payload too. A CRC-32 goes with every payload in
    /// any case; signing hashes it once more, which only some bucket policies demand.
    pub sign_payloads: bool,
    /// The encryption that an S3 store shall add to ours.
    pub encryption: Option<ServerEncryption>,
    /// The storage class of bulk data in S3; records are always in the standard one.
    pub storage_class: Option<StorageClass>,
    /// For how long a call is tried again, apart from the time that its bytes need.
    pub retry_for: Duration,
    /// How often a call is tried at most.
    pub attempts: u32,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a store may be silent before an attempt is given up.
    pub stall_timeout: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: None,
            ca_file: None,
            allow_plaintext: false,
            credentials_file: None,
            sign_payloads: false,
            encryption: None,
            storage_class: None,
            retry_for: Duration::from_mins(5),
            attempts: 30,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
        }
    }
}
