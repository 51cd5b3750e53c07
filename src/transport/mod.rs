//! How a connection to anything outside is made and protected: one place for TLS versions,
//! cipher suites, authorities and proxies, and for what a handshake has agreed on.
//!
//! A leaf beside `model`: stores, key services and database servers may use it, it uses none of
//! them. TLS is 1.3 or 1.2, from rustls over aws-lc-rs, and there is no other in the program.

mod aws;
mod conn;
mod dial;
mod http;
mod seen;
mod tls;
mod trouble;

pub use aws::smithy_client;
pub use dial::{Dialer, DialerOptions, Plaintext, Proxies, is_loopback};
pub use http::{HttpClient, HttpError};
pub use seen::Seen;
pub use tls::{Check, Roots, TlsError, TlsOptions, client_config, facts};
pub use trouble::Trouble;

/// Any error, as the libraries below pass them on.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error with its causes in one line, without what it repeats: libraries hide the interesting one.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).map(ToString::to_string).fold(String::new(), |text, cause| {
        if text.is_empty() {
            cause
        } else if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// An error, what caused it, what caused that … Inside an I/O error lies what it was made of,
/// which its own `source` leaves out.
pub fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as _),
            None => error.source(),
        }
    })
}
