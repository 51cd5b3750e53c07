//! Who we are to Azure: by the variables that its workload identity and its platforms set.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::crypto::{
    Fault, Patience, ServiceError,
    azure::{AUTHORITY, AzureLogin, AzureOptions, IMDS},
};

pub(super) fn by(
    key: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<AzureOptions, ServiceError> {
    let missing = |why: &str, hint: &str| ServiceError {
        fault: Fault::Settings,
        operation: "set up Key Vault",
        key: key.to_owned(),
        why: why.to_owned(),
        hint: hint.to_owned(),
    };
    let client = variable("AZURE_CLIENT_ID");
    let token_file = variable("AZURE_FEDERATED_TOKEN_FILE");
    let login = match (token_file, variable("IDENTITY_ENDPOINT")) {
        (Some(path), _) => {
            let (Some(client), Some(tenant)) = (client, variable("AZURE_TENANT_ID")) else {
                let why = "AZURE_FEDERATED_TOKEN_FILE alone does not say who we are";
                return Err(missing(why, "set AZURE_CLIENT_ID and AZURE_TENANT_ID, too"));
            };
            AzureLogin::Workload {
                authority: variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned()),
                tenant,
                client,
                token_file: PathBuf::from(path),
            }
        }
        // The platform sets both for what it runs, and nobody outside of it can use them.
        (None, Some(endpoint)) => {
            let Some(header) = variable("IDENTITY_HEADER") else {
                let why = "IDENTITY_ENDPOINT without IDENTITY_HEADER is not supported (Azure Arc)";
                return Err(missing(why, "set AZURE_FEDERATED_TOKEN_FILE and what belongs to it"));
            };
            AzureLogin::Platform { endpoint, header: SecretString::from(header), client }
        }
        (None, None) if variable("AZURE_CLIENT_SECRET").is_some() => {
            let why = "AZURE_CLIENT_SECRET is not read: no secret belongs into an environment";
            let hint = "use workload identity (AZURE_FEDERATED_TOKEN_FILE) or a managed identity";
            return Err(missing(why, hint));
        }
        (None, None) => AzureLogin::Machine {
            endpoint: variable("AZURE_POD_IDENTITY_AUTHORITY_HOST")
                .unwrap_or_else(|| IMDS.to_owned()),
            client,
        },
    };
    Ok(AzureOptions { login, resource: None, patience: Patience::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(set: &[(&str, &str)]) -> Result<AzureLogin, ServiceError> {
        let variable =
            |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        super::by("azure-kv:k", variable).map(|options| options.login)
    }

    const FILE: (&str, &str) = ("AZURE_FEDERATED_TOKEN_FILE", "/t");
    const CLIENT: (&str, &str) = ("AZURE_CLIENT_ID", "c");
    const TENANT: (&str, &str) = ("AZURE_TENANT_ID", "t");
    const ENDPOINT: (&str, &str) = ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/token");

    #[test]
    fn workload_identity_comes_before_the_platform_s_and_the_machine_s() {
        let AzureLogin::Workload { authority, tenant, client, token_file } =
            by(&[FILE, CLIENT, TENANT, ENDPOINT]).unwrap()
        else {
            panic!("it is no workload identity");
        };
        assert_eq!((authority.as_str(), tenant.as_str(), client.as_str()), (AUTHORITY, "t", "c"));
        assert_eq!(token_file, PathBuf::from("/t"));
        let platform = by(&[ENDPOINT, ("IDENTITY_HEADER", "h"), CLIENT]).unwrap();
        assert!(matches!(platform, AzureLogin::Platform { client: Some(_), .. }));
        let machine = by(&[]).unwrap();
        assert!(
            matches!(machine, AzureLogin::Machine { client: None, endpoint } if endpoint == IMDS)
        );
        let aside = by(&[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:2")]).unwrap();
        assert!(matches!(aside, AzureLogin::Machine { endpoint, .. } if endpoint.ends_with(":2")));
    }

    #[test]
    fn what_is_missing_is_asked_for_and_no_secret_is_read() {
        for (set, word) in [
            (&[FILE, CLIENT][..], "AZURE_TENANT_ID"),
            (&[FILE, TENANT], "AZURE_CLIENT_ID"),
            (&[ENDPOINT], "IDENTITY_HEADER"),
            (
                &[CLIENT, TENANT, ("AZURE_CLIENT_SECRET", "s3cret")],
                "AZURE_CLIENT_SECRET is not read",
            ),
        ] {
            let error = by(set).unwrap_err();
            assert_eq!(error.fault, Fault::Settings);
            assert!(error.to_string().contains(word), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
