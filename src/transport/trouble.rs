//! What a handshake failed of, and what to do about it.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::causes;

/// Why TLS did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not come.
    NotYetValid,
    /// No authority that is believed vouches for it.
    UnknownAuthority,
    /// It names other hosts.
    WrongName,
    /// The other side has nothing newer than TLS 1.1.
    TooOld,
    /// The other side does not take ours, or wants one.
    OurCertificate,
    /// What answers speaks no TLS.
    NoTls,
    /// Anything else.
    Other,
}

impl Trouble {
    /// What an error is about; nothing when TLS is not to blame.
    #[must_use]
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let error = causes(error).find_map(|cause| cause.downcast_ref::<Error>())?;
        Some(match error {
            Error::InvalidCertificate(why) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                // Or an authority of the same name with another key.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownAuthority
                }
                _ => Self::Other,
            },
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
            | Error::AlertReceived(AlertDescription::ProtocolVersion) => Self::TooOld,
            Error::AlertReceived(
                AlertDescription::BadCertificate
                | AlertDescription::CertificateRequired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateExpired
                | AlertDescription::AccessDenied,
            ) => Self::OurCertificate,
            Error::InvalidMessage(_) => Self::NoTls,
            _ => Self::Other,
        })
    }

    /// What to do. `authority` is the setting that names whom to believe.
    #[must_use]
    pub fn advice(self, authority: &str) -> String {
        match self {
            Self::Expired => {
                "the server's certificate is over: have it renewed, and look at this machine's clock".to_owned()
            }
            Self::NotYetValid => {
                "the server's certificate is not valid yet: look at the clocks of both machines".to_owned()
            }
            Self::UnknownAuthority => format!(
                "if a private authority signed the server's certificate, name its file with {authority}"
            ),
            Self::WrongName => {
                "the server's certificate is for other names: use one of these, or have it issued for this one"
                    .to_owned()
            }
            Self::TooOld => {
                "the server speaks nothing newer than TLS 1.1: let it speak 1.3, or 1.2 at the least".to_owned()
            }
            Self::OurCertificate => {
                "the server does not take our certificate, or wants one: see which authority it believes".to_owned()
            }
            Self::NoTls => "what answers there speaks no TLS: is it the right port?".to_owned(),
            Self::Other => format!("see the server's log, and {authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_an_io_error_is_found() {
        let error = Error::InvalidCertificate(CertificateError::Expired);
        let inner = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        let outer = std::io::Error::other(inner);
        assert_eq!(Trouble::of(&outer), Some(Trouble::Expired));
        assert_eq!(Trouble::of(&std::io::Error::other("certificate")), None);
        let alert = Error::AlertReceived(AlertDescription::ProtocolVersion);
        assert_eq!(Trouble::of(&alert), Some(Trouble::TooOld));
    }
}
