//! Who we are to a server, and who it is to us.

use std::{fmt, sync::OnceLock};

use super::{super::MysqlError, fields::Fields};

/// What a server tells its replicas apart by. When a second one comes with the same uuid (MySQL)
/// or the same id (MariaDB), the server ends the first one's dump: so a process that connects
/// again is rid of its own dead connection, and may have one dump of a server at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaIdentity {
    /// From 2^30 on, where people do not number their servers.
    pub server_id: u32,
    /// A random uuid (RFC 9562, version 4).
    pub uuid: String,
}

impl ReplicaIdentity {
    /// That of this process: random, and the same for its whole life.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn of_this_process() -> Result<&'static Self, MysqlError> {
        static IDENTITY: OnceLock<ReplicaIdentity> = OnceLock::new();
        if let Some(identity) = IDENTITY.get() {
            return Ok(identity);
        }
        let fresh = Self::random()?;
        Ok(IDENTITY.get_or_init(|| fresh))
    }

    pub(super) fn random() -> Result<Self, MysqlError> {
        let mut bytes = [0; 20];
        getrandom::fill(&mut bytes)
            .map_err(|e| MysqlError::unexpected("random bytes of the system", e.to_string()))?;
        let (uuid, id) = bytes.split_at_mut(16);
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let hex = hex::encode(&*uuid);
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let id = id.iter().fold(0, |id, &byte| id << 8 | u32::from(byte));
        // 2^32 - 1 is the highest that servers take.
        Ok(Self { server_id: (id | 1 << 30) & !1, uuid })
    }
}

/// Who a server is, as its own connection says: behind one address another may answer each time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceIdentity {
    /// `server_id`.
    pub server_id: u32,
    /// `server_uuid`, which MariaDB does not have.
    pub uuid: Option<String>,
}

impl SourceIdentity {
    /// Whether both are the same server. A `server_id` can be changed, a uuid lasts.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (&self.uuid, &other.uuid) {
            (Some(uuid), Some(other)) => uuid == other,
            (None, None) => self.server_id == other.server_id,
            _ => false,
        }
    }

    pub(super) const ASK: &str =
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_id', 'server_uuid')";

    /// Reads an answer (MySQL internals, "Text Resultset": count of columns, columns, EOF, rows,
    /// EOF).
    pub(super) fn read<P: AsRef<[u8]>>(packets: &[P]) -> Option<Self> {
        let mut packets = packets.iter().map(AsRef::as_ref);
        packets.find(|packet| is_eof(packet))?;
        let (mut id, mut uuid) = (None, None);
        for row in packets.take_while(|packet| !is_eof(packet)) {
            let mut fields = Fields(row);
            let mut text = || {
                let length = usize::try_from(fields.length_encoded()?).ok()?;
                std::str::from_utf8(fields.bytes(length)?).ok()
            };
            match (text()?, text()?) {
                ("server_id", value) => id = Some(value.parse().ok()?),
                ("server_uuid", value) => uuid = Some(value.to_owned()),
                _ => {}
            }
        }
        Some(Self { server_id: id?, uuid })
    }
}

impl fmt::Display for SourceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.uuid {
            Some(uuid) => write!(f, "server {uuid} (server_id {})", self.server_id),
            None => write!(f, "server {}", self.server_id),
        }
    }
}

pub(super) fn is_eof(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_identity_and_another_has_another() {
        let ours = ReplicaIdentity::of_this_process().unwrap();
        assert_eq!(ours, ReplicaIdentity::of_this_process().unwrap());
        let other = ReplicaIdentity::random().unwrap();
        assert!(other != *ours && other.server_id >= 1 << 30 && other.server_id < u32::MAX);
        assert_eq!((other.uuid.len(), &other.uuid[14..15]), (36, "4"));
    }

    #[test]
    fn a_server_says_who_it_is() {
        let eof: &[u8] = &[0xfe, 0, 0, 2, 0];
        let id: &[u8] = b"\x09server_id\x0242";
        let uuid: &[u8] = b"\x0bserver_uuid\x04a-b1";
        let read = |rows: &[&[u8]]| {
            let head: &[&[u8]] = &[&[2], b"\x03def", b"\x03def", eof];
            SourceIdentity::read(&[head, rows, &[eof]].concat())
        };
        let uuid_of = |uuid: &str| Some(uuid.to_owned());
        let mysql = SourceIdentity { server_id: 42, uuid: uuid_of("a-b1") };
        let mariadb = SourceIdentity { server_id: 42, uuid: None };
        assert_eq!((read(&[id, uuid]), read(&[id])), (Some(mysql.clone()), Some(mariadb.clone())));
        assert!(mysql.is(&SourceIdentity { server_id: 7, ..mysql.clone() }));
        assert!(!mysql.is(&SourceIdentity { uuid: uuid_of("a-b2"), ..mysql.clone() }));
        assert!(!mysql.is(&mariadb) && !mariadb.is(&SourceIdentity::default()));
        assert_eq!(read(&[uuid]), None);
        assert_eq!(read(&[b"\x09server_id\xfb"]), None);
        assert_eq!(read(&[b"\x09serv"]), None);
        assert_eq!(SourceIdentity::read::<&[u8]>(&[&[2]]), None);
    }
}
