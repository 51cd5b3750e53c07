//! `object_store`'s errors, in a store's words.

use object_store::{
    Error,
    client::{HttpError, HttpErrorKind},
};

use super::super::{
    StoreErrorKind as Kind,
    backend::{Fault, causes, chain},
    identity::Carried,
};

use crate::transport::Trouble;

/// Answers may quote whole pages.
const LONGEST: usize = 600;

/// All that caused an error, in one line, without what follows a `?` in a URL: it may be a
/// signature that lets its reader in.
pub(super) fn text(error: &Error) -> String {
    let source = match error {
        Error::Generic { source, .. } => chain(source.as_ref()),
        other => chain(other),
    };
    let words = source.split_whitespace().map(|word| match word.split_once('?') {
        Some((url, _)) if url.contains("://") => url,
        _ => word,
    });
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST).collect()
}

/// `writes`: whether not knowing the outcome is a doubt, rather than merely a failure.
pub(super) fn fault(error: &Error, writes: bool) -> Fault {
    if let Some(fault) = Carried::within(error) {
        return fault;
    }
    let text = text(error);
    if let Some(trouble) = Trouble::of(error) {
        return Fault::new(Kind::Tls, text).hint(trouble.advice("--store-ca"));
    }
    let unknown = if writes { Kind::Unclear } else { Kind::Unavailable };
    let kind = match error {
        Error::NotFound { .. } if no_bucket(&text) => Kind::NoBucket,
        Error::NotFound { .. } => Kind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Kind::AlreadyExists,
        Error::PermissionDenied { .. } if unknown_caller(&text) => Kind::Unauthenticated,
        Error::PermissionDenied { .. } => Kind::Denied,
        Error::Unauthenticated { .. } => Kind::Unauthenticated,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Kind::Unsupported,
        Error::UnknownConfigurationKey { .. } | Error::InvalidPath { .. } => Kind::Configuration,
        _ => return generic(error, text, unknown),
    };
    advised(kind, text)
}

fn advised(kind: Kind, text: String) -> Fault {
    let mut fault = Fault::new(kind, text);
    fault.refused = kind == Kind::Unauthenticated;
    match kind {
        Kind::NoBucket => fault.hint("create the bucket or container, or correct its name"),
        Kind::Unauthenticated => fault.hint("check the credentials, and this machine's clock"),
        Kind::Denied => fault.hint("this identity needs a role that allows it"),
        Kind::Tls => fault.hint(
            "if a private authority signed the store's certificate, name its file with --store-ca",
        ),
        _ => fault,
    }
}

fn generic(error: &Error, text: String, unknown: Kind) -> Fault {
    if let Some(status) = status(&text) {
        let kind = match status {
            401 => Kind::Unauthenticated,
            403 if unknown_caller(&text) => Kind::Unauthenticated,
            403 => Kind::Denied,
            404 if no_bucket(&text) => Kind::NoBucket,
            404 => Kind::NotFound,
            416 => Kind::Corrupt,
            408 | 429 | 503 => Kind::Unavailable,
            500.. => unknown,
            _ => Kind::Other,
        };
        return advised(kind, text);
    }
    let lower = text.to_ascii_lowercase();
    let http = causes(error).find_map(|e| e.downcast_ref::<HttpError>());
    let kind = match http.map(HttpError::kind) {
        _ if lower.contains("certificate") || lower.contains("tls") => Kind::Tls,
        Some(HttpErrorKind::Connect) => Kind::Unavailable,
        Some(_) => unknown,
        None if lower.contains("range") => Kind::Corrupt,
        None if lower.contains("credential") || lower.contains("token") => Kind::Unauthenticated,
        None => Kind::Other,
    };
    advised(kind, text)
}

/// The library keeps the status in a type of its own, and writes it out.
fn status(text: &str) -> Option<u16> {
    text.split("status code: ").nth(1)?.get(..3)?.parse().ok()
}

fn no_bucket(text: &str) -> bool {
    text.contains("NoSuchBucket")
        || text.contains("ContainerNotFound")
        || text.contains("The specified bucket does not exist")
}

fn unknown_caller(text: &str) -> bool {
    text.contains("AuthenticationFailed")
        || text.contains("failed to authenticate")
        || text.contains("InvalidAuthenticationInfo")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic_error(text: &str) -> Error {
        Error::Generic { store: "test", source: text.into() }
    }

    #[test]
    fn signatures_in_urls_are_not_repeated() {
        let error = generic_error("PUT https://a.example/c/k?sv=1&sig=geheim failed\n at once");
        assert_eq!(text(&error), "PUT https://a.example/c/k failed at once");
    }

    #[test]
    fn the_status_tells_what_to_do() {
        let of = |status: u16| {
            let text = format!("Server returned non-2xx status code: {status} Reason: body");
            fault(&generic_error(&text), true).kind
        };
        assert_eq!(of(503), Kind::Unavailable);
        assert_eq!(of(500), Kind::Unclear);
        assert_eq!(of(416), Kind::Corrupt);
        assert_eq!(of(403), Kind::Denied);
    }
}
