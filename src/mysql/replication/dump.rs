//! One dump: what a replica does, and nothing of what it applies.

use std::{io, time::Duration};

use crate::model::{Connection, TransportSecurity};

use super::{
    super::{
        ConnectOptions, Endpoint, MysqlError,
        connect::{CONNECT, STATEMENT},
    },
    captured::Captured,
    events::Events,
    handshake,
    identity::{ReplicaIdentity, SourceIdentity, is_eof},
    link::{FULL, Link},
    refusal::Refusal,
};

const COM_QUERY: u8 = 0x03;
const COM_BINLOG_DUMP: u8 = 0x12;
const COM_REGISTER_SLAVE: u8 = 0x15;
/// Flag of a dump: end instead of waiting for more.
const NON_BLOCK: u16 = 0x01;
/// Flag of a dump: to MariaDB "send annotations too", which are in the file; to MySQL (8.0.26
/// and later) "use heartbeats whose position has 64 bits".
const ALL_THERE_IS: u16 = 0x02;
/// The longest error of a server that is read.
const WORDS: usize = 16 << 10;

/// What to dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpRequest {
    /// The binary log, as `SHOW BINARY LOGS` names it.
    pub file: String,
    /// Where an event begins in it, in bytes: 4 or more. At most 2^32 - 1, which is all that the protocol can
    /// say: further behind, begin at an earlier event. A dump that begins inside an event group
    /// yields its bytes and never reports its end as a group. Right behind the first event is no
    /// good place: MariaDB (10.11) garbles the mark of encryption that may follow it.
    pub offset: u64,
    /// How often the server shall say that nothing is new. After three times that and 10 s without a
    /// byte the connection counts as lost.
    pub heartbeat: Duration,
    /// End at the end of the last file instead of waiting for more.
    pub until_end: bool,
}

/// A running dump. Dropping it ends the connection.
#[derive(Debug)]
pub struct Dump {
    link: Link,
    connection: Connection,
    source: SourceIdentity,
    endpoint: Endpoint,
    user: String,
    events: Events,
    /// How long the server may be silent.
    patience: Duration,
    /// Payload bytes of the current packet that are still to come.
    left: usize,
    /// Whether the message goes on in the next packet.
    goes_on: bool,
    /// An error that is read to its end.
    refusal: Option<Vec<u8>>,
    ended: bool,
}

impl Dump {
    /// Connects, introduces itself as a replica and asks for the dump. Whether the server has what
    /// was asked for is known with the first [`Dump::next`]. One process may have one dump of a
    /// server at a time, see [`ReplicaIdentity`].
    ///
    /// # Errors
    /// [`MysqlError::Unreachable`], [`MysqlError::AccessDenied`], [`MysqlError::Tls`] and
    /// [`MysqlError::Lost`]; [`MysqlError::Unsupported`] for an offset out of range.
    pub async fn start(
        options: &ConnectOptions,
        request: &DumpRequest,
    ) -> Result<Self, MysqlError> {
        Self::start_as(ReplicaIdentity::of_this_process()?, None, options, request).await
    }

    /// The same of this server and no other. Another one that answers at the address is asked for
    /// nothing, and does not learn of us.
    ///
    /// # Errors
    /// As [`Dump::start`]; [`MysqlError::OtherServer`].
    pub async fn start_of(
        source: &SourceIdentity,
        options: &ConnectOptions,
        request: &DumpRequest,
    ) -> Result<Self, MysqlError> {
        Self::start_as(ReplicaIdentity::of_this_process()?, Some(source), options, request).await
    }

    /// The same under an identity of its own: a short look that leaves this process's dump alone.
    ///
    /// # Errors
    /// As [`Dump::start_of`].
    pub async fn look(
        source: &SourceIdentity,
        options: &ConnectOptions,
        request: &DumpRequest,
    ) -> Result<Self, MysqlError> {
        Self::start_as(&ReplicaIdentity::random()?, Some(source), options, request).await
    }

    async fn start_as(
        identity: &ReplicaIdentity,
        wanted: Option<&SourceIdentity>,
        options: &ConnectOptions,
        request: &DumpRequest,
    ) -> Result<Self, MysqlError> {
        let Some(offset) = u32::try_from(request.offset).ok().filter(|&offset| offset >= 4) else {
            let what =
                format!("reading the binary log {} from byte {}", request.file, request.offset);
            let why = "the protocol knows offsets from 4 to 4,294,967,295 only: begin at an earlier event and pass over what is not wanted";
            return Err(MysqlError::unsupported(what, why));
        };
        let (link, connection) = handshake::open(options).await?;
        let mut dump = Self {
            link,
            connection,
            source: SourceIdentity::default(),
            endpoint: options.endpoint.clone(),
            user: options.user.clone(),
            events: Events::of_dump(request.file.clone(), request.offset),
            patience: 3 * request.heartbeat + Duration::from_secs(10),
            left: 0,
            goes_on: false,
            refusal: None,
            ended: false,
        };
        dump.source = dump.ask_who().await?;
        if let Some(wanted) = wanted.filter(|wanted| !wanted.is(&dump.source)) {
            return Err(MysqlError::OtherServer {
                file: request.file.clone(),
                endpoint: options.endpoint.to_string(),
                answers: dump.source.to_string(),
                wanted: wanted.to_string(),
            });
        }
        dump.ask(&settings(identity, request.heartbeat)).await?;
        dump.ask(&registration(identity)).await?;
        let mut ask = vec![COM_BINLOG_DUMP];
        ask.extend_from_slice(&offset.to_le_bytes());
        let flags = ALL_THERE_IS | if request.until_end { NON_BLOCK } else { 0 };
        ask.extend_from_slice(&flags.to_le_bytes());
        ask.extend_from_slice(&identity.server_id.to_le_bytes());
        ask.extend_from_slice(request.file.as_bytes());
        let sent = tokio::time::timeout(CONNECT, dump.link.command(&ask)).await;
        dump.heard(sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))?;
        Ok(dump)
    }

    /// How the connection is protected.
    #[must_use]
    pub fn transport(&self) -> TransportSecurity {
        self.connection.security
    }

    /// The same, with what TLS has agreed on.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Who sends it.
    #[must_use]
    pub fn source(&self) -> &SourceIdentity {
        &self.source
    }

    /// What comes next. It may be cancelled, and nothing is lost then.
    ///
    /// # Errors
    /// [`MysqlError::Purged`], [`MysqlError::PastEnd`], [`MysqlError::AccessDenied`] and
    /// [`MysqlError::DumpRefused`] in the server's words; [`MysqlError::Damaged`] when what came is not what the server
    /// wrote; [`MysqlError::Lost`]. There is nothing more after an error.
    pub async fn next(&mut self) -> Result<Captured, MysqlError> {
        loop {
            if let Some(captured) = self.advance()? {
                return Ok(captured);
            }
            let filled = self.link.fill(self.patience).await;
            self.heard(filled)?;
        }
    }

    /// What can be had of the bytes that were read.
    fn advance(&mut self) -> Result<Option<Captured>, MysqlError> {
        loop {
            if self.ended {
                return Ok(Some(Captured::Eof));
            }
            let unused = self.link.unused();
            let available = unused.len().min(self.left);
            if let Some(mut words) = self.refusal.take() {
                words.extend_from_slice(&unused[..available]);
                self.link.used(available);
                self.left -= available;
                if self.left > 0 && words.len() < WORDS {
                    self.refusal = Some(words);
                    return Ok(None);
                }
                return Err(self.refused(Refusal::parse(&words)));
            }
            let mut input = &unused[..available];
            let captured = self.events.take(&mut input)?;
            let taken = available - input.len();
            self.link.used(taken);
            self.left -= taken;
            if taken > 0 && self.left > 0 && self.events.is_between() {
                return Err(self.events.damaged("the server sent more than an event"));
            }
            if captured.is_some() {
                return Ok(captured);
            }
            if self.left > 0 {
                return Ok(None);
            }
            if !self.goes_on && !self.events.is_between() {
                return Err(self.events.damaged("the server sent a part of an event only"));
            }
            if !self.packet()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next packet, when its head was read.
    fn packet(&mut self) -> Result<bool, MysqlError> {
        // Header and the first byte of the payload, if there is any.
        let head = *match self.link.unused().first_chunk::<5>() {
            Some(head) => head,
            None if self.goes_on && self.link.unused().starts_with(&[0, 0, 0]) => &[0; 5],
            None => return Ok(false),
        };
        let Some(length) = self.link.packet() else { return Ok(false) };
        self.left = length;
        let first = !std::mem::replace(&mut self.goes_on, length == FULL);
        if first {
            self.message(length, head[4])?;
        }
        Ok(true)
    }

    /// Looks at the first byte of a message.
    fn message(&mut self, length: usize, first: u8) -> Result<(), MysqlError> {
        match first {
            0x00 if length > 0 => {
                self.link.used(1);
                self.left -= 1;
            }
            0xff if length > 0 => self.refusal = Some(Vec::new()),
            0xfe if (1..9).contains(&length) => self.ended = true,
            _ => return Err(self.events.damaged("the server sent no event")),
        }
        Ok(())
    }

    /// Sends a command, and waits until the server has carried it out.
    async fn ask(&mut self, command: &[u8]) -> Result<(), MysqlError> {
        let asked = async {
            self.link.command(command).await?;
            self.link.receive(STATEMENT).await
        };
        let asked = match tokio::time::timeout(STATEMENT, asked).await {
            Ok(asked) => asked,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let answer = self.heard(asked)?;
        match answer.first() {
            Some(0x00) => Ok(()),
            Some(0xff) => Err(self.refused(Refusal::parse(&answer))),
            _ => Err(self.events.damaged("the server answers something else than was asked")),
        }
    }

    /// Asks who this is.
    async fn ask_who(&mut self) -> Result<SourceIdentity, MysqlError> {
        let asked = async {
            self.link.command(&[&[COM_QUERY], SourceIdentity::ASK.as_bytes()].concat()).await?;
            let mut packets = Vec::new();
            let mut ends = 0;
            while ends < 2 {
                let packet = self.link.receive(STATEMENT).await?;
                let refused = packet.first() == Some(&0xff);
                ends += usize::from(is_eof(&packet));
                packets.push(packet);
                if refused || packets.len() > 16 {
                    break;
                }
            }
            Ok(packets)
        };
        let asked = match tokio::time::timeout(STATEMENT, asked).await {
            Ok(asked) => asked,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let packets = self.heard(asked)?;
        if let Some(last) = packets.last().filter(|packet| packet.first() == Some(&0xff)) {
            return Err(self.refused(Refusal::parse(last)));
        }
        SourceIdentity::read(&packets.iter().map(|packet| packet.as_slice()).collect::<Vec<_>>())
            .ok_or_else(|| self.events.damaged("the server does not say its server_id"))
    }

    fn refused(&self, refusal: Refusal) -> MysqlError {
        if refusal.is_denial() {
            return MysqlError::AccessDenied {
                endpoint: self.endpoint.to_string(),
                user: self.user.clone(),
                why: format!("{}: GRANT REPLICATION SLAVE ON *.*", refusal.why),
            };
        }
        refusal.of_dump(self.events.file(), self.events.offset())
    }

    fn heard<T>(&self, done: io::Result<T>) -> Result<T, MysqlError> {
        done.map_err(|e| MysqlError::Lost {
            doing: format!("reading the binary log {}", self.events.file()),
            endpoint: self.endpoint.to_string(),
            why: e.to_string(),
        })
    }
}

/// What both flavors want to know before a dump; neither minds the other's names. Checksums are
/// ours to check; capability 4 means that MariaDB leaves its own events as they are.
fn settings(identity: &ReplicaIdentity, heartbeat: Duration) -> Vec<u8> {
    let uuid = &identity.uuid;
    let period = heartbeat.as_nanos();
    let sql = format!(
        "SET @source_binlog_checksum = 'CRC32', @master_binlog_checksum = 'CRC32', \
         @source_heartbeat_period = {period}, @master_heartbeat_period = {period}, \
         @replica_uuid = '{uuid}', @slave_uuid = '{uuid}', @mariadb_slave_capability = 4"
    );
    [&[COM_QUERY], sql.as_bytes()].concat()
}

/// MySQL internals, "COM_REGISTER_SLAVE": id, host, user, password, port, rank, source.
fn registration(identity: &ReplicaIdentity) -> Vec<u8> {
    let mut packet = vec![COM_REGISTER_SLAVE];
    packet.extend_from_slice(&identity.server_id.to_le_bytes());
    packet.push(8);
    packet.extend_from_slice(b"backstay"); // so that SHOW REPLICAS says who we are
    packet.extend_from_slice(&[0; 12]);
    packet
}
