//! TLS, with the same modes as the connections for queries have.

use std::{io, sync::Arc};

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{
    super::{Tls, TlsMode},
    link::Channel,
};
use crate::{
    model::TlsFacts,
    transport::{Check, Roots, TlsOptions, Trouble, client_config, facts},
};

/// Puts TLS over a connection, and tells what it has agreed on. The error says what is wrong with
/// certificate, files or handshake.
pub(super) async fn secure(
    tls: &Tls,
    host: &str,
    channel: Box<dyn Channel>,
) -> Result<(Box<dyn Channel>, Option<TlsFacts>), String> {
    let config = client_config(&options(tls)?).map_err(|e| e.to_string())?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no name that a certificate could bear"))?;
    let secured = TlsConnector::from(Arc::new(config)).connect(name, channel).await;
    let secured = secured.map_err(|e: io::Error| match Trouble::of(&e) {
        Some(trouble) => format!("{e}: {}", trouble.advice("--mysql-tls-ca")),
        None => e.to_string(),
    })?;
    let agreed = facts(secured.get_ref().1);
    Ok((Box::new(secured), agreed))
}

fn options(tls: &Tls) -> Result<TlsOptions, String> {
    let identity = match (&tls.cert, &tls.key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        _ => return Err("a client certificate needs its key, and a key its certificate".to_owned()),
    };
    let check = match tls.mode {
        TlsMode::VerifyIdentity => Check::Identity,
        TlsMode::VerifyCa => Check::Chain,
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => Check::Nothing,
    };
    // As mysql_async has it: both connections of a run believe the same.
    let roots = tls.ca.clone().map_or(Roots::BuiltIn, Roots::Only);
    Ok(TlsOptions { roots, check, identity })
}
