//! A role by a token that the platform renews in a file (EKS: IRSA), exchanged at STS.
//!
//! The AWS SDK can do this, too; it forgets which role STS has made of it, and fails where the
//! answer names none (MinIO).

use std::{error::Error as _, fmt, path::PathBuf};

use aws_credential_types::Credentials;
use aws_sdk_sts::{
    Client, config::Builder, error::SdkError,
    operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{
    super::{
        StoreErrorKind as Kind,
        backend::{Fault, chain},
        identity::{Carried, Fetched, RENEWED_BY, read_token},
        open::{configuration, set},
    },
    identity::timestamp,
};
use crate::{
    model::{Access, AccessKind},
    transport::Trouble,
};

const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE: &str = "AWS_ROLE_ARN";

/// A role, and the token that lets us have it.
#[derive(Debug)]
pub(super) struct WebIdentity {
    role: String,
    token_file: PathBuf,
    session: String,
    sts: Client,
}

impl fmt::Display for WebIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with the token in {}", self.role, self.token_file.display())
    }
}

impl WebIdentity {
    /// What the variables name; nothing when they name none.
    pub(super) async fn of_the_environment(sts: &Builder) -> Result<Option<Self>, Fault> {
        let (role, token_file) = match (set(ROLE), set(TOKEN_FILE)) {
            (_, None) => return Ok(None),
            (None, Some(_)) => {
                return Err(configuration(format!("{TOKEN_FILE} is set, and {ROLE} is not"))
                    .hint("set both: a token is exchanged for a role"));
            }
            (Some(role), Some(file)) => (role, PathBuf::from(file)),
        };
        let session = match set("AWS_ROLE_SESSION_NAME").or_else(|| set("BACKSTAY_POD_NAME")) {
            Some(name) => name,
            None => {
                tokio::fs::read_to_string("/proc/sys/kernel/hostname").await.unwrap_or_default()
            }
        };
        let sts = Client::from_conf(sts.clone().build());
        Ok(Some(Self { role, token_file, session: session_name(&session), sts }))
    }

    /// Asks STS, once.
    pub(super) async fn fetch(&self) -> Result<Fetched<Credentials>, Fault> {
        let token = read_token(&self.role, &self.token_file).await?;
        let asked = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role)
            .role_session_name(&self.session)
            .web_identity_token(token.as_str());
        let answer = asked.send().await.map_err(|error| self.failed(&error))?;
        let found = answer.credentials().ok_or_else(|| {
            Fault::new(Kind::Unauthenticated, format!("{self}: STS answered without credentials"))
        })?;
        let end = std::time::SystemTime::try_from(*found.expiration()).ok();
        let credential = Credentials::new(
            found.access_key_id(),
            found.secret_access_key(),
            Some(found.session_token().to_owned()),
            end,
            "WebIdentityToken",
        );
        let assumed = answer
            .assumed_role_user()
            .map(aws_sdk_sts::types::AssumedRoleUser::arn)
            .filter(|arn| !arn.is_empty());
        let access = Access {
            principal: Some(assumed.unwrap_or(&self.role).to_owned()),
            expires_at: end.and_then(timestamp),
            ..Access::of(AccessKind::WebIdentity)
        };
        Ok(Fetched { id: credential.access_key_id().to_owned(), credential, access })
    }

    fn failed(&self, error: &SdkError<AssumeRoleWithWebIdentityError, HttpResponse>) -> Fault {
        if let Some(fault) = Carried::within(error) {
            return fault;
        }
        let SdkError::ServiceError(refusal) = error else {
            let text = error.source().map_or_else(|| error.to_string(), chain);
            let text = format!("assume {self}: {text}");
            return match Trouble::of(error) {
                Some(trouble) => Fault::new(Kind::Tls, text).hint(trouble.advice("--store-ca")),
                None => Fault::new(Kind::Unavailable, text).hint(
                    "see that STS can be reached: AWS_REGION, AWS_ENDPOINT_URL_STS, the network",
                ),
            };
        };
        let status = refusal.raw().status().as_u16();
        let (code, message) = {
            let said = refusal.err().meta();
            (said.code().unwrap_or_default(), said.message().unwrap_or_default())
        };
        let (kind, hint) = meaning(status, code, message);
        Fault::new(kind, format!("assume {self}: STS answered {status} {code}: {message}"))
            .hint(hint)
    }
}

/// By the codes that AWS documents, and those of its imitators.
fn meaning(status: u16, code: &str, message: &str) -> (Kind, &'static str) {
    let is = |words: &[&str]| words.iter().any(|word| code.contains(word));
    if is(&["Expired"]) || message.contains("expired") {
        (Kind::Expired, RENEWED_BY)
    } else if is(&["Throttl", "IDPCommunicationError", "TooManyRequests", "SlowDown"])
        || status == 429
        || status >= 500
    {
        (Kind::Unavailable, "STS is throttling or failing; see its health")
    } else if is(&["AccessDenied", "IDPRejectedClaim"]) {
        (
            Kind::Unauthenticated,
            "the role's trust policy has to name this cluster's issuer, and this service account as its subject",
        )
    } else {
        (
            Kind::Unauthenticated,
            "see that the issuer is registered as an identity provider, and that the token's audience is its",
        )
    }
}

/// STS takes 2 to 64 of these characters; they stand in its log.
fn session_name(whose: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "_=,.@-".contains(c) { c } else { '-' };
    let name: String = whose.trim().chars().map(clean).collect();
    let name = format!("backstay-{}", name.strip_prefix("backstay-").unwrap_or(&name));
    name.trim_end_matches('-').chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_sts_are_told_apart() {
        assert_eq!(meaning(400, "ExpiredTokenException", "").0, Kind::Expired);
        assert_eq!(meaning(400, "InvalidParameterValue", "token is expired").0, Kind::Expired);
        assert_eq!(meaning(400, "IDPCommunicationError", "").0, Kind::Unavailable);
        assert_eq!(meaning(503, "", "").0, Kind::Unavailable);
        assert_eq!(meaning(403, "AccessDenied", "").0, Kind::Unauthenticated);
        assert_eq!(meaning(400, "InvalidIdentityToken", "").0, Kind::Unauthenticated);
    }

    #[test]
    fn sessions_bear_the_name_of_the_pod() {
        assert_eq!(session_name("backstay-backup-1\n"), "backstay-backup-1");
        assert_eq!(session_name("node 7/ü"), "backstay-node-7");
        assert_eq!(session_name(&"x".repeat(90)).len(), 64);
        assert_eq!(session_name(""), "backstay");
    }
}
