//! Which KMS and signer a URI names, and how those in a network are reached.
//!
//! They are reached by the variables that their own tools use, so that what is set up for those
//! works here, too. A token or a secret is never among them: it lies in a file.

mod azure;
mod gcp;

use std::path::{Path, PathBuf};

use crate::{
    crypto::{
        Fault, Patience, ServiceError,
        kms::{
            Kms, KmsError, aws::AwsKms, azure::AzureKms, file::FileKms, gcp::GcpKms,
            vault::VaultKms,
        },
        signer::{
            Signer, SignerError, aws::AwsSigner, file::FileSigner, gcp::GcpSigner,
            vault::VaultSigner,
        },
        vault::{VaultLogin, VaultOptions},
    },
    pipeline::PipelineError,
};

/// What a KEK's or a signer's URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// A local file.
    File(&'a Path),
    /// `mount/key` of a Vault's transit.
    Vault(&'a str),
    /// An ARN, or `alias/…`.
    Aws(&'a str),
    /// `projects/…/cryptoKeys/…`.
    Gcp(&'a str),
    /// `https://VAULT/keys/…`.
    Azure(&'a str),
}

impl<'a> Named<'a> {
    /// Reads a URI; nothing when no provider is called so.
    pub(super) fn parse(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        if rest.is_empty() {
            return None;
        }
        match scheme {
            "file" => {
                let path = rest.strip_prefix("//").filter(|p| p.starts_with('/'));
                Some(Self::File(Path::new(path.unwrap_or(rest))))
            }
            "vault" => Some(Self::Vault(rest)),
            "aws-kms" => Some(Self::Aws(rest)),
            "gcp-kms" => Some(Self::Gcp(rest)),
            "azure-kv" => Some(Self::Azure(rest)),
            _ => None,
        }
    }
}

/// The KEK of a URI.
pub(super) async fn kms(uri: &str) -> Result<Box<dyn Kms>, PipelineError> {
    let named = Named::parse(uri).ok_or_else(|| KmsError::Uri(uri.to_owned()))?;
    Ok(match named {
        Named::File(path) => Box::new(FileKms::open(path)?),
        Named::Vault(key) => {
            Box::new(VaultKms::open(key, &vault(uri).map_err(KmsError::Service)?)?)
        }
        Named::Aws(key) => Box::new(AwsKms::open(key, Patience::default()).await?),
        Named::Gcp(key) => Box::new(GcpKms::open(key, &gcp::by(variable))?),
        Named::Azure(key) => {
            let options = azure::by(uri, variable).map_err(KmsError::Service)?;
            Box::new(AzureKms::open(key, &options)?)
        }
    })
}

/// The signer of a URI.
pub(super) async fn signer(uri: &str) -> Result<Box<dyn Signer>, PipelineError> {
    let named = Named::parse(uri).ok_or_else(|| SignerError::Uri(uri.to_owned()))?;
    Ok(match named {
        Named::File(path) => Box::new(FileSigner::open(path)?),
        Named::Vault(key) => {
            let options = vault(uri).map_err(SignerError::Service)?;
            Box::new(VaultSigner::open(key, &options).await?)
        }
        Named::Aws(key) => Box::new(AwsSigner::open(key, Patience::default()).await?),
        Named::Gcp(key) => Box::new(GcpSigner::open(key, &gcp::by(variable)).await?),
        Named::Azure(_) => {
            return Err(SignerError::Service(ServiceError {
                fault: Fault::WrongKind,
                operation: "open the signer",
                key: uri.to_owned(),
                why: "Key Vault and Managed HSM have no Ed25519 keys".to_owned(),
                hint: "give a signer in a file, in Vault, in AWS KMS or in Cloud KMS".to_owned(),
            })
            .into());
        }
    })
}

/// The service account's token where Kubernetes puts it.
const JWT_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn vault(key: &str) -> Result<VaultOptions, ServiceError> {
    vault_by(key, variable)
}

fn vault_by(
    key: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<VaultOptions, ServiceError> {
    let missing = |why: &str, hint: &str| ServiceError {
        fault: Fault::Settings,
        operation: "set up Vault",
        key: key.to_owned(),
        why: why.to_owned(),
        hint: hint.to_owned(),
    };
    let address = variable("VAULT_ADDR").ok_or_else(|| {
        missing("nothing says where Vault is", "set VAULT_ADDR=https://HOST:PORT")
    })?;
    let login = match (variable("VAULT_TOKEN_FILE"), variable("BACKSTAY_VAULT_ROLE")) {
        (Some(path), None) => VaultLogin::TokenFile(PathBuf::from(path)),
        (None, Some(role)) => VaultLogin::Kubernetes {
            mount: variable("BACKSTAY_VAULT_AUTH_MOUNT")
                .unwrap_or_else(|| "kubernetes".to_owned())
                .trim_matches('/')
                .to_owned(),
            role,
            jwt_file: variable("BACKSTAY_VAULT_JWT_FILE")
                .map_or_else(|| PathBuf::from(JWT_FILE), PathBuf::from),
        },
        (Some(_), Some(_)) => {
            let why = "both VAULT_TOKEN_FILE and BACKSTAY_VAULT_ROLE say who we are";
            return Err(missing(why, "set one of them"));
        }
        (None, None) if variable("VAULT_TOKEN").is_some() => {
            let why = "VAULT_TOKEN is not read: no secret belongs into an environment";
            return Err(missing(why, "put the token into a file and set VAULT_TOKEN_FILE"));
        }
        (None, None) => {
            let hint = "set VAULT_TOKEN_FILE=FILE, or BACKSTAY_VAULT_ROLE=ROLE in Kubernetes";
            return Err(missing("nothing says who we are", hint));
        }
    };
    Ok(VaultOptions {
        address,
        ca_file: variable("VAULT_CACERT").map(PathBuf::from),
        namespace: variable("VAULT_NAMESPACE"),
        login,
        patience: Patience::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_one_provider() {
        assert_eq!(Named::parse("file:/k"), Some(Named::File(Path::new("/k"))));
        assert_eq!(Named::parse("file:///k"), Some(Named::File(Path::new("/k"))));
        assert_eq!(Named::parse("file:k"), Some(Named::File(Path::new("k"))));
        assert_eq!(Named::parse("vault:transit/k"), Some(Named::Vault("transit/k")));
        assert_eq!(Named::parse("aws-kms:alias/k"), Some(Named::Aws("alias/k")));
        assert_eq!(Named::parse("gcp-kms:projects/p"), Some(Named::Gcp("projects/p")));
        let url = "https://v.vault.azure.net/keys/k";
        assert_eq!(Named::parse(&format!("azure-kv:{url}")), Some(Named::Azure(url)));
        for bad in ["", "k", "file:", "vault:", "aws:arn", "Vault:t/k"] {
            assert_eq!(Named::parse(bad), None, "{bad}");
        }
    }

    fn by(set: &[(&str, &str)]) -> Result<VaultOptions, ServiceError> {
        vault_by("vault:t/k", |name| {
            set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_vault_needs_an_address_and_one_way_to_say_who_we_are() {
        let address = ("VAULT_ADDR", "https://vault:8200");
        let file = ("VAULT_TOKEN_FILE", "/t");
        let role = ("BACKSTAY_VAULT_ROLE", "backup");
        assert_eq!(by(&[address, file]).unwrap().login, VaultLogin::TokenFile("/t".into()));
        let kubernetes = |mount: &str, jwt: &str| VaultLogin::Kubernetes {
            mount: mount.to_owned(),
            role: "backup".to_owned(),
            jwt_file: jwt.into(),
        };
        assert_eq!(by(&[address, role]).unwrap().login, kubernetes("kubernetes", JWT_FILE));
        let mount = ("BACKSTAY_VAULT_AUTH_MOUNT", "/k8s/eu/");
        let jwt = ("BACKSTAY_VAULT_JWT_FILE", "/j");
        assert_eq!(by(&[address, role, mount, jwt]).unwrap().login, kubernetes("k8s/eu", "/j"));
        for (set, word) in [
            (&[file][..], "VAULT_ADDR"),
            (&[address], "who we are"),
            (&[address, file, role], "both"),
            (&[address, ("VAULT_TOKEN", "hvs.secret")], "VAULT_TOKEN is not read"),
        ] {
            let error = by(set).unwrap_err();
            assert_eq!(error.fault, Fault::Settings);
            assert!(error.to_string().contains(word), "{error}");
            assert!(!error.to_string().contains("hvs.secret"), "{error}");
        }
    }
}
