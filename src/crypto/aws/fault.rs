//! What the refusals of AWS KMS mean, by the codes that it documents.

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{
    super::service::{Fault, ServiceError, plain},
    AwsKey, CLEAR,
};
use crate::transport::chain;

/// The code of a refusal, when the service itself refused.
type Code = Option<String>;

/// A call that failed: what it means, and the service's own code for it.
pub(in crate::crypto) fn failed<E>(
    operation: &'static str,
    action: &str,
    key: &AwsKey,
    error: &SdkError<E, HttpResponse>,
) -> (ServiceError, Code)
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let (fault, why, code) = match error {
        SdkError::ServiceError(refusal) => {
            let said = refusal.err();
            let code = said.code().unwrap_or_default().to_owned();
            let message = said.message().unwrap_or_default();
            let fault = by_code(&code, message, refusal.raw().status().as_u16());
            let status = refusal.raw().status().as_u16();
            let name = if code.is_empty() { status.to_string() } else { code.clone() };
            (
                fault,
                plain(&if message.is_empty() { name } else { format!("{name}: {message}") }),
                Some(code),
            )
        }
        SdkError::TimeoutError(_) => (Fault::Unreachable, "no answer in time".to_owned(), None),
        SdkError::DispatchFailure(failure) => {
            let told = failure.as_connector_error().map_or_else(String::new, |e| plain(&chain(e)));
            (locally(&told, Fault::Unreachable), told, None)
        }
        other => {
            let told = plain(&chain(other));
            (locally(&told, Fault::Unexpected), told, None)
        }
    };
    let hint = hint(fault, action, &why);
    (ServiceError { fault, operation, key: key.to_string(), why, hint }, code)
}

/// What failed before anything was sent is a matter of settings.
fn locally(told: &str, otherwise: Fault) -> Fault {
    let ours = told.contains(CLEAR) || told.to_lowercase().contains("credential");
    if ours { Fault::Settings } else { otherwise }
}

fn by_code(code: &str, message: &str, status: u16) -> Fault {
    match code {
        "KMSInvalidStateException" if message.to_lowercase().contains("pending deletion") => {
            Fault::PendingDeletion
        }
        "DisabledException" | "KMSInvalidStateException" => Fault::Disabled,
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException"
        | "OptInRequired" => Fault::Denied,
        "NotFoundException" => Fault::NotFound,
        "InvalidKeyUsageException" | "UnsupportedOperationException" => Fault::WrongKind,
        "IncorrectKeyException" => Fault::OtherKey,
        "ValidationException" | "InvalidArnException" => Fault::Settings,
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "RequestLimitExceeded"
        | "SlowDown" => Fault::Throttled,
        _ if status == 429 => Fault::Throttled,
        _ if status >= 500 => Fault::Broken,
        _ => Fault::Unexpected,
    }
}

fn hint(fault: Fault, action: &str, why: &str) -> String {
    match fault {
        Fault::Settings if why.contains(CLEAR) => "check AWS_ENDPOINT_URL_KMS".to_owned(),
        Fault::Settings => {
            "check the ARN, AWS_REGION, and where the credentials come from".to_owned()
        }
        Fault::Denied => format!("this identity's policy and the key's own must allow {action}"),
        Fault::NotFound | Fault::NoVersion | Fault::Destroyed => {
            "check the account, the region and the id in the ARN".to_owned()
        }
        Fault::Disabled | Fault::Expired => "enable the key, in AWS KMS".to_owned(),
        Fault::PendingDeletion => {
            "cancel the deletion at once: without this key its backups cannot be opened".to_owned()
        }
        Fault::WrongKind => {
            "a KEK is a symmetric key for encryption, a signer an ECC_NIST_EDWARDS25519 key"
                .to_owned()
        }
        Fault::OtherKey => "give --kek with the ARN of the key that wrapped it".to_owned(),
        Fault::Throttled => "look at the request quotas of AWS KMS in this account".to_owned(),
        Fault::Unreachable => "check the network, AWS_ENDPOINT_URL_KMS and HTTPS_PROXY".to_owned(),
        Fault::Broken | Fault::Corrupted | Fault::Unexpected => {
            "see the health of AWS KMS in this region".to_owned()
        }
    }
}
