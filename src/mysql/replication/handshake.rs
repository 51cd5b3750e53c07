//! From a connection to a session (MySQL internals, "Connection Phase").

use std::io;

use tokio::net::{TcpStream, UnixStream};

use crate::model::{Connection, Peer, TransportSecurity};

use super::{
    super::{ConnectOptions, Endpoint, MysqlError, TlsMode, connect::CONNECT},
    auth::{self, Plugin},
    fields::{Fields, words},
    link::{Channel, Link},
    refusal::Refusal,
    secure::secure,
};

const LONG_PASSWORD: u32 = 0x1; // to MariaDB: a client of MySQL
const LONG_FLAG: u32 = 0x4;
const PROTOCOL_41: u32 = 0x200;
const SSL: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
/// utf8mb4_general_ci: of names, passwords and what we ask.
const CHARSET: u8 = 45;
/// Rounds that an authentication may take before we believe that it has no end.
const ROUNDS: usize = 16;

/// The server's first words.
struct Greeting {
    capabilities: u32,
    nonce: Vec<u8>,
    plugin: Vec<u8>,
}

/// Connects and logs in, within 15 s.
pub(super) async fn open(options: &ConnectOptions) -> Result<(Link, Connection), MysqlError> {
    match tokio::time::timeout(CONNECT, session(options)).await {
        Ok(opened) => opened,
        Err(_) => Err(unreachable(options, format!("no answer within {CONNECT:?}"))),
    }
}

async fn session(options: &ConnectOptions) -> Result<(Link, Connection), MysqlError> {
    let gone = |e: io::Error| unreachable(options, e.to_string());
    let channel: Box<dyn Channel> = match &options.endpoint {
        Endpoint::Socket(path) => Box::new(UnixStream::connect(path).await.map_err(gone)?),
        Endpoint::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(gone)?;
            stream.set_nodelay(true).map_err(gone)?;
            Box::new(stream)
        }
    };
    let mut link = Link::new(channel);
    let first = link.receive(CONNECT).await.map_err(gone)?;
    if first.first() == Some(&0xff) {
        return Err(refused(options, Refusal::parse(&first)));
    }
    let greeting = Greeting::parse(&first)
        .ok_or_else(|| unreachable(options, "what answers there is no MySQL or MariaDB server"))?;
    let needed = PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
    if greeting.capabilities & needed != needed {
        return Err(unreachable(options, "the server speaks a protocol older than MySQL 5.5"));
    }
    let capabilities = LONG_PASSWORD | LONG_FLAG | TRANSACTIONS | needed;
    let (mut link, connection) = protect(options, link, &greeting, capabilities).await?;
    let secured = !matches!(connection.security, TransportSecurity::Plain);
    let ssl = connection.tls.is_some();
    let plugin = Plugin::named(&greeting.plugin).unwrap_or(Plugin::Native);
    let mut response = prelude(capabilities | if ssl { SSL } else { 0 });
    response.extend_from_slice(options.user.as_bytes());
    response.push(0);
    let answer = plugin.answer(options.password.as_ref(), &greeting.nonce);
    response.push(u8::try_from(answer.len()).unwrap_or_default()); // 64 at most
    response.extend_from_slice(&answer);
    response.extend_from_slice(plugin.name().as_bytes());
    response.push(0);
    link.send(&response).await.map_err(gone)?;
    authenticate(options, &mut link, plugin, greeting.nonce, secured).await?;
    Ok((link, connection))
}

/// TLS, as far as it is demanded and to be had.
async fn protect(
    options: &ConnectOptions,
    mut link: Link,
    greeting: &Greeting,
    capabilities: u32,
) -> Result<(Link, Connection), MysqlError> {
    let to = |security| Connection::new(Peer::Database, security);
    let Endpoint::Tcp { host, .. } = &options.endpoint else {
        return Ok((link, to(TransportSecurity::Local)));
    };
    let wrong = |why| MysqlError::Tls { endpoint: options.endpoint.to_string(), why };
    let offered = greeting.capabilities & SSL != 0;
    let transport = match options.tls.mode {
        TlsMode::Disabled => TransportSecurity::Plain,
        TlsMode::Preferred if !offered => TransportSecurity::Plain,
        _ if !offered => return Err(wrong("the server offers no TLS".to_owned())),
        TlsMode::Preferred | TlsMode::Required => TransportSecurity::TlsUnverified,
        TlsMode::VerifyCa | TlsMode::VerifyIdentity => TransportSecurity::TlsVerified,
    };
    if transport == TransportSecurity::Plain {
        return Ok((link, to(transport)));
    }
    let gone = |e: io::Error| unreachable(options, e.to_string());
    link.send(&prelude(capabilities | SSL)).await.map_err(gone)?;
    let (channel, sequence) = link.into_channel().map_err(gone)?;
    let (channel, tls) = secure(&options.tls, host, channel).await.map_err(wrong)?;
    let connection = Connection { tls, ..to(transport) };
    Ok((Link::new(channel).with_sequence(sequence), connection))
}

/// What a login begins with, and a wish for TLS consists of.
fn prelude(capabilities: u32) -> Vec<u8> {
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend_from_slice(&(1_u32 << 30).to_le_bytes()); // the longest packet that we take
    packet.push(CHARSET);
    packet.resize(packet.len() + 23, 0);
    packet
}

async fn authenticate(
    options: &ConnectOptions,
    link: &mut Link,
    mut plugin: Plugin,
    mut nonce: Vec<u8>,
    secured: bool,
) -> Result<(), MysqlError> {
    let gone = |e: io::Error| unreachable(options, e.to_string());
    let password = options.password.as_ref();
    let mut key_asked = false;
    for _ in 0..ROUNDS {
        let said = link.receive(CONNECT).await.map_err(gone)?;
        match said.as_slice() {
            [0x00, ..] => return Ok(()),
            [0xff, ..] => return Err(refused(options, Refusal::parse(&said))),
            [0xfe, request @ ..] => {
                let mut fields = Fields(request);
                let name = fields.until_nul();
                plugin = Plugin::named(name).ok_or_else(|| unspoken(options, name))?;
                nonce = fields.0.to_vec();
                if nonce.last() == Some(&0) {
                    nonce.pop();
                }
                let answer = plugin.answer(password, &nonce);
                link.send(&answer).await.map_err(gone)?;
            }
            // caching_sha2_password: the server knows the password already …
            [0x01, 0x03] if plugin == Plugin::CachingSha2 => {}
            // … or must have it once.
            [0x01, 0x04] if plugin == Plugin::CachingSha2 => {
                if secured {
                    link.send(&auth::in_clear(password)).await.map_err(gone)?;
                } else {
                    key_asked = true;
                    link.send(&[0x02]).await.map_err(gone)?;
                }
            }
            [0x01, key @ ..] if key_asked => {
                key_asked = false;
                let sealed = auth::for_key(password, &nonce, key).ok_or_else(|| {
                    unreachable(options, "the server's RSA key takes no password: use TLS")
                })?;
                link.send(&sealed).await.map_err(gone)?;
            }
            _ => break,
        }
    }
    Err(unreachable(options, format!("the server goes astray in {}", plugin.name())))
}

impl Greeting {
    /// MySQL internals, "Protocol::HandshakeV10".
    fn parse(packet: &[u8]) -> Option<Self> {
        let mut fields = Fields(packet);
        if fields.u8()? != 10 {
            return None;
        }
        let _version = fields.until_nul();
        let _connection = fields.u32()?;
        let mut nonce = fields.bytes(8)?.to_vec();
        fields.u8()?;
        let low = fields.u16()?;
        let _charset_and_status = fields.bytes(3)?;
        let capabilities = u32::from(low) | u32::from(fields.u16()?) << 16;
        let length = usize::from(fields.u8()?);
        fields.bytes(10)?;
        // At least thirteen bytes, of which the last is a zero.
        nonce.extend_from_slice(fields.bytes(length.saturating_sub(8).max(13))?);
        nonce.pop();
        Some(Self { capabilities, nonce, plugin: fields.until_nul().to_vec() })
    }
}

fn unreachable(options: &ConnectOptions, why: impl Into<String>) -> MysqlError {
    MysqlError::Unreachable { endpoint: options.endpoint.to_string(), why: why.into() }
}

fn refused(options: &ConnectOptions, refusal: Refusal) -> MysqlError {
    if refusal.is_denial() {
        let endpoint = options.endpoint.to_string();
        let user = options.user.clone();
        return MysqlError::AccessDenied { endpoint, user, why: refusal.why };
    }
    unreachable(options, format!("the server says: {} (error {})", refusal.why, refusal.code))
}

fn unspoken(options: &ConnectOptions, plugin: &[u8]) -> MysqlError {
    MysqlError::AccessDenied {
        endpoint: options.endpoint.to_string(),
        user: options.user.clone(),
        why: format!(
            "the server wants the authentication plugin `{}`, and we speak caching_sha2_password, mysql_native_password and ed25519 only",
            words(plugin)
        ),
    }
}
