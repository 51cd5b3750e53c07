//! Who we are to Google: what a file of credentials may hold.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::crypto::{
    rest::address,
    service::{Fault, ServiceError},
};

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GcpCredentials {
    /// The metadata server of a machine or a GKE node: `host[:port]`.
    Metadata(String),
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names. It is read for each token, so whoever
    /// renews it may replace it.
    File(PathBuf),
}

/// What such a file holds.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Stored {
    /// A key that lasts until somebody removes it.
    ServiceAccount(ServiceAccount),
    /// A token of another issuer, which is exchanged.
    ExternalAccount(ExternalAccount),
    /// Whatever else there is.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub(super) struct ServiceAccount {
    pub(super) client_email: String,
    #[serde(default)]
    pub(super) private_key_id: Option<String>,
    /// PEM.
    pub(super) private_key: Zeroizing<String>,
    #[serde(default = "google")]
    pub(super) token_uri: String,
}

fn google() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

#[derive(Deserialize)]
pub(super) struct ExternalAccount {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) token_url: String,
    pub(super) credential_source: Source,
    #[serde(default)]
    pub(super) service_account_impersonation_url: Option<String>,
    #[serde(default)]
    pub(super) service_account_impersonation: Lifetime,
}

#[derive(Default, Deserialize)]
pub(super) struct Lifetime {
    pub(super) token_lifetime_seconds: Option<u32>,
}

/// Where the other issuer's token is.
#[derive(Deserialize)]
pub(super) struct Source {
    #[serde(default)]
    pub(super) file: Option<PathBuf>,
    #[serde(default)]
    pub(super) format: Option<Format>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Format {
    /// The file is the token.
    Text,
    /// The file is JSON, and this field of it the token.
    Json {
        #[serde(rename = "subject_token_field_name")]
        field: String,
    },
}

impl ExternalAccount {
    /// The account that it acts as, when it acts as one.
    pub(super) fn email(&self) -> Option<String> {
        let url = self.service_account_impersonation_url.as_deref()?;
        let email = url.rsplit_once("/serviceAccounts/")?.1;
        Some(email.strip_suffix(":generateAccessToken")?.to_owned())
    }

    /// The other issuer's token, as it is now.
    pub(super) fn subject(&self, key: &str) -> Result<Zeroizing<String>, ServiceError> {
        let wrong = |why: String| ServiceError {
            fault: Fault::Settings,
            operation: "read the token of the workload",
            key: key.to_owned(),
            why,
            hint: "check credential_source in the file of GOOGLE_APPLICATION_CREDENTIALS".into(),
        };
        let Some(path) = &self.credential_source.file else {
            let why = "credential_source names no file: tokens from a URL, a program or another \
                       cloud's metadata are not read";
            return Err(wrong(why.to_owned()));
        };
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("{shown}: {e}")))?;
        let text = Zeroizing::new(text);
        let token = match &self.credential_source.format {
            None | Some(Format::Text) => Zeroizing::new(text.trim().to_owned()),
            Some(Format::Json { field }) => {
                // The rest of it may be secret, too, so an error must not show any of it.
                let mut json: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_str(&text)
                        .map_err(|_| wrong(format!("{shown} is not JSON")))?;
                match json.remove(field) {
                    Some(serde_json::Value::String(token)) => Zeroizing::new(token),
                    _ => return Err(wrong(format!("{shown} has no text in its field {field}"))),
                }
            }
        };
        if token.is_empty() { Err(wrong(format!("{shown} is empty"))) } else { Ok(token) }
    }
}

impl Stored {
    /// Reads a file of credentials, and refuses what could not be used.
    pub(super) fn read(path: &Path, key: &str) -> Result<Self, ServiceError> {
        let wrong = |why: String, hint: &str| ServiceError {
            fault: Fault::Settings,
            operation: "read the credentials",
            key: key.to_owned(),
            why: format!("{}: {why}", path.display()),
            hint: hint.to_owned(),
        };
        let check = "check GOOGLE_APPLICATION_CREDENTIALS";
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string(), check))?;
        let text = Zeroizing::new(text);
        // The parser's own words would show a part of the file.
        let stored: Self = serde_json::from_str(&text).map_err(|e| {
            let at = format!("line {}, column {}", e.line(), e.column());
            wrong(format!("it is no file of credentials ({at})"), check)
        })?;
        let urls: Vec<(&str, &str)> = match &stored {
            Self::ServiceAccount(account) => vec![(&account.token_uri, "token_uri")],
            Self::ExternalAccount(account) => {
                let impersonation = account.service_account_impersonation_url.as_deref();
                let impersonation =
                    impersonation.map(|url| (url, "service_account_impersonation_url"));
                [(account.token_url.as_str(), "token_url")]
                    .into_iter()
                    .chain(impersonation)
                    .collect()
            }
            Self::Other => {
                let why = "it is of another type than service_account or external_account";
                let hint = "give a workload's credentials, not a person's: docs/key-services.md";
                return Err(wrong(why.to_owned(), hint));
            }
        };
        for (url, field) in urls {
            address(url, field).map_err(|why| wrong(why, "tokens go by https alone"))?;
        }
        Ok(stored)
    }
}
