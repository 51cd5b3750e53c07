//! Azure Key Vault and Managed HSM over HTTP: addresses, requests, and what their refusals mean.
//!
//! Keys stay in the service: it wraps and unwraps.

mod grant;
mod name;
mod refusal;
mod vault;

use std::path::PathBuf;

use secrecy::SecretString;

pub(super) use name::{AzureKey, is_version};
pub(super) use vault::{Done, Facts, Operation, Vault};

use super::{
    bearer::Bearer,
    rest::{Rest, Service, address},
    service::{Fault, Patience, ServiceError},
};

/// The version of the interface: the first that speaks AES-GCM and is no preview.
const API: &str = "api-version=7.4";

/// Where a machine's own identity is asked for.
pub const IMDS: &str = "http://169.254.169.254";
/// Where Microsoft Entra ID is.
pub const AUTHORITY: &str = "https://login.microsoftonline.com";

/// What is told of a vault when something is wrong with it.
const AZURE: Service = Service {
    unreachable: "check the vault's name, the network and HTTPS_PROXY; a vault that was deleted has no \
                  address: `az keyvault list-deleted`",
    unexpected: "is that the address of a Key Vault or a Managed HSM?",
};

/// Who we are to Azure.
#[derive(Debug, Clone)]
pub enum AzureLogin {
    /// A token that Kubernetes renews in a file, exchanged at Entra ID.
    Workload {
        /// [`AUTHORITY`], or that of another cloud.
        authority: String,
        /// The tenant.
        tenant: String,
        /// The application or the managed identity that trusts the token.
        client: String,
        /// The token.
        token_file: PathBuf,
    },
    /// The identity of the machine, from its metadata service.
    Machine {
        /// [`IMDS`], or what stands in for it.
        endpoint: String,
        /// Which of several identities.
        client: Option<String>,
    },
    /// The identity that a platform of Azure gives to what it runs.
    Platform {
        /// Where to ask.
        endpoint: String,
        /// What shows that the question comes from inside.
        header: SecretString,
        /// Which of several identities.
        client: Option<String>,
    },
}

/// Who we are, and how long to go on.
#[derive(Debug, Clone)]
pub struct AzureOptions {
    /// Who we are.
    pub login: AzureLogin,
    /// What a token has to be for, when the vault's own address does not say it.
    pub resource: Option<String>,
    /// How long to go on.
    pub patience: Patience,
}

/// The service, ready to be asked; nothing is sent yet.
fn open(key: &AzureKey, options: &AzureOptions) -> Result<Bearer, ServiceError> {
    let name = key.to_string();
    let settings = |why: String, hint: &str| ServiceError {
        fault: Fault::Settings,
        operation: "set up Key Vault",
        key: name.clone(),
        why,
        hint: hint.to_owned(),
    };
    let resource = options.resource.clone().or_else(|| key.resource()).ok_or_else(|| {
        let why = format!("{} is no address of a Key Vault or a Managed HSM", key.vault);
        settings(why, "give azure-kv:https://NAME.vault.azure.net/keys/KEY, or NAME.managedhsm.…")
    })?;
    if let AzureLogin::Workload { authority, .. } = &options.login {
        address(authority, "AZURE_AUTHORITY_HOST")
            .map_err(|why| settings(why, "give https://…; http is for 127.0.0.1 alone"))?;
    }
    let rest = Rest::open(options.patience, None, "SSL_CERT_FILE")
        .map_err(|(why, hint)| settings(why, &hint))?;
    let grants = grant::Entra { login: options.login.clone(), resource };
    Ok(Bearer::new(rest, (key.vault.clone(), Some(API)), Box::new(grants), refusal::read))
}
