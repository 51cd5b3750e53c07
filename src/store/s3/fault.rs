//! What S3 and its many imitators say when they refuse, in a store's words.

use std::{error::Error, io};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::super::{
    StoreErrorKind,
    backend::{Fault, causes, chain},
    identity::Carried,
};

use crate::transport::Trouble;

type Advice = Option<String>;

/// `writes`: whether not knowing the outcome is a doubt, rather than merely a failure.
pub(super) fn fault<E>(error: &SdkError<E, HttpResponse>, writes: bool) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(fault) = Carried::within(error) {
        return fault;
    }
    let response = error.raw_response();
    let status = response.map(|r| r.status().as_u16());
    if let (SdkError::ServiceError(_), Some(status)) = (error, status) {
        let code = error.code().unwrap_or_default();
        let message = error.message().unwrap_or_default();
        let region = response.and_then(|r| r.headers().get("x-amz-bucket-region"));
        let (kind, hint) = refusal(status, code, message, region, writes);
        let mut fault = Fault::new(kind, sentence(status, code, message));
        fault.hint = hint;
        fault.refused = is_about_credentials(status, code);
        // Damage on the way: sending it again may do.
        let damaged =
            matches!(code, "BadDigest" | "XAmzContentChecksumMismatch" | "IncompleteBody");
        return if damaged { fault.again() } else { fault };
    }
    let unknown = if writes { StoreErrorKind::Unclear } else { StoreErrorKind::Unavailable };
    match error {
        SdkError::ConstructionFailure(_) => local(error, StoreErrorKind::Other),
        SdkError::TimeoutError(_) if text_of(error).contains("connect") => {
            local(error, StoreErrorKind::Unavailable)
        }
        _ => local(error, unknown),
    }
}

fn text_of(error: &(dyn Error + 'static)) -> String {
    // The outermost words ("dispatch failure") say nothing that the rest does not.
    error.source().map_or_else(|| error.to_string(), chain)
}

/// A failure on this side of the wire, or of the wire.
fn local(error: &(dyn Error + 'static), otherwise: StoreErrorKind) -> Fault {
    let text = text_of(error);
    if let Some(trouble) = Trouble::of(error) {
        return Fault::new(StoreErrorKind::Tls, text).hint(trouble.advice("--store-ca"));
    }
    let lower = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["certificate", "tls", "corruptmessage", "corrupt message"]) {
        return Fault::new(StoreErrorKind::Tls, text).hint(
            "if a private authority signed the store's certificate, name its file with --store-ca",
        );
    }
    if has(&["credential", "no providers in chain", "identity", "token"]) {
        return Fault::new(StoreErrorKind::Unauthenticated, text)
            .hint("give credentials in the environment, a profile, a web identity or a file");
    }
    // What never was connected was never sent.
    let unsent = has(&["dns error", "connect timeout", "connecterror", "tcp connect"])
        || causes(error).any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|e| {
                matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable
                )
            })
        });
    let kind = if unsent { StoreErrorKind::Unavailable } else { otherwise };
    Fault::new(kind, text)
}

fn refusal(
    status: u16,
    code: &str,
    message: &str,
    region: Option<&str>,
    writes: bool,
) -> (StoreErrorKind, Advice) {
    use StoreErrorKind as Kind;
    let hint = |text: &str| Some(text.to_owned());
    match (code, status) {
        ("NoSuchBucket", _) => (Kind::NoBucket, hint("create the bucket, or correct its name")),
        ("NoSuchKey" | "NoSuchUpload" | "NotFound", _) | ("", 404) => (Kind::NotFound, None),
        ("PreconditionFailed", _) | ("", 412) => (Kind::AlreadyExists, None),
        // Another writer is at the same key right now: whoever wins, asking again will tell.
        ("ConditionalRequestConflict" | "OperationAborted", _) | ("", 409) => {
            (Kind::Unavailable, None)
        }
        ("RequestTimeTooSkewed", _) => {
            (Kind::Unauthenticated, hint("this machine's clock is wrong; set it"))
        }
        ("ExpiredToken" | "TokenRefreshRequired", _) => (
            Kind::Expired,
            hint(
                "new ones could not be had, or are refused, too: compare this machine's clock with the store's",
            ),
        ),
        ("InvalidToken" | "InvalidTokenId", _) => {
            (Kind::Unauthenticated, hint("the session's token is not valid here"))
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSecurity", _) | ("", 401) => {
            (Kind::Unauthenticated, hint("check the access key and its secret"))
        }
        (
            "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "InvalidRegion"
            | "TemporaryRedirect",
            _,
        )
        | (_, 301 | 307) => (Kind::WrongRegion, Some(right_region(message, region))),
        ("RequestTimeout" | "SlowDown" | "ServiceUnavailable" | "Busy" | "TooManyRequests", _)
        | (_, 408 | 429 | 503) => (Kind::Unavailable, None),
        ("XMinioStorageFull" | "InsufficientStorage" | "QuotaExceeded", _) | (_, 507) => {
            (Kind::Unavailable, hint("the store is full, or the bucket's quota is"))
        }
        ("BadDigest" | "XAmzContentChecksumMismatch" | "InvalidDigest" | "InvalidRange", _)
        | (_, 416) => (Kind::Corrupt, None),
        ("NotImplemented" | "MethodNotAllowed", _) | (_, 501) => {
            (Kind::Unsupported, hint("this store lacks what Backstay needs; use another one"))
        }
        ("InvalidObjectState", _) => {
            (Kind::Other, hint("the object is in an archive class; restore it there first"))
        }
        (_, 403) => {
            (Kind::Denied, hint("the policy of the bucket or of this identity has to allow it"))
        }
        (_, 500..) if writes => (Kind::Unclear, None),
        (_, 500..) => (Kind::Unavailable, None),
        _ => (Kind::Other, None),
    }
}

/// Whether other credentials may do better. Answers to HEAD have no code.
fn is_about_credentials(status: u16, code: &str) -> bool {
    match code {
        "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidToken"
        | "InvalidTokenId"
        | "InvalidAccessKeyId" => true,
        "" => matches!(status, 400 | 401 | 403),
        _ => false,
    }
}

fn right_region(message: &str, header: Option<&str>) -> String {
    let told = message.split("expecting '").nth(1).and_then(|rest| rest.split('\'').next());
    match header.or(told) {
        Some(region) => format!("the bucket is in {region}; say --store-region {region}"),
        None => "name the bucket's region with --store-region".to_owned(),
    }
}

fn sentence(status: u16, code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => format!("the store answered {status}"),
        (code, "") => format!("the store answered {status} {code}"),
        (code, message) => format!("the store answered {status} {code}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str) -> StoreErrorKind {
        refusal(status, code, "", None, true).0
    }

    #[test]
    fn refusals_are_told_apart_by_what_can_be_done_about_them() {
        use StoreErrorKind as Kind;
        assert_eq!(kind(404, "NoSuchBucket"), Kind::NoBucket);
        assert_eq!(kind(404, ""), Kind::NotFound);
        assert_eq!(kind(412, "PreconditionFailed"), Kind::AlreadyExists);
        assert_eq!(kind(409, "ConditionalRequestConflict"), Kind::Unavailable);
        assert_eq!(kind(403, "InvalidAccessKeyId"), Kind::Unauthenticated);
        assert_eq!(kind(403, "AccessDenied"), Kind::Denied);
        assert_eq!(kind(503, "SlowDown"), Kind::Unavailable);
        assert_eq!(kind(500, "InternalError"), Kind::Unclear);
        assert_eq!(kind(501, "NotImplemented"), Kind::Unsupported);
        assert_eq!(kind(400, "EntityTooLarge"), Kind::Other);
    }

    #[test]
    fn the_right_region_is_named_when_it_was_told() {
        let message = "the region 'us-east-1' is wrong; expecting 'eu-west-1'";
        let (kind, hint) = refusal(400, "AuthorizationHeaderMalformed", message, None, false);
        assert_eq!(kind, StoreErrorKind::WrongRegion);
        assert!(hint.unwrap().contains("--store-region eu-west-1"));
        let (_, hint) = refusal(301, "PermanentRedirect", "", Some("eu-north-1"), false);
        assert!(hint.unwrap().contains("eu-north-1"));
    }

    #[test]
    fn a_wrong_clock_is_named() {
        let (kind, hint) = refusal(403, "RequestTimeTooSkewed", "", None, false);
        assert_eq!(kind, StoreErrorKind::Unauthenticated);
        assert!(hint.unwrap().contains("clock"));
    }
}
