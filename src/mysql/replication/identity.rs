//! Who we are to a server.

use std::sync::OnceLock;

use super::super::MysqlError;

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
}
