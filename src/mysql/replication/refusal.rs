//! When the server says no (MySQL internals, "ERR_Packet").

use super::{
    super::MysqlError,
    fields::{Fields, words},
};

/// An error of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) why: String,
}

/// ER_MASTER_FATAL_ERROR_READING_BINLOG.
const FATAL: u16 = 1236;

impl Refusal {
    /// Reads the packet, whose first byte is 0xff.
    pub(super) fn parse(packet: &[u8]) -> Self {
        let mut fields = Fields(packet.get(1..).unwrap_or_default());
        let code = fields.u16().unwrap_or_default();
        // `#` and five letters of an SQL state; not before the client has introduced itself.
        if fields.0.first() == Some(&b'#') {
            fields.bytes(6);
        }
        Self { code, why: words(fields.0) }
    }

    /// Whether it is about who the user is, or what the user may do: ER_DBACCESS_DENIED,
    /// ER_ACCESS_DENIED, ER_HOST_NOT_PRIVILEGED, ER_SPECIFIC_ACCESS_DENIED,
    /// ER_ACCESS_DENIED_NO_PASSWORD, ER_MUST_CHANGE_PASSWORD_LOGIN, ER_ACCOUNT_HAS_BEEN_LOCKED,
    /// ER_SECURE_TRANSPORT_REQUIRED.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self.code, 1044 | 1045 | 1130 | 1227 | 1698 | 1862 | 3118 | 3159)
    }

    /// The error for a dump of `file` from `offset` on.
    pub(super) fn of_dump(self, file: &str, offset: u64) -> MysqlError {
        let Self { code, why } = self;
        let file = file.to_owned();
        let said = why.to_ascii_lowercase();
        let says = |words: &str| said.contains(words);
        if code == FATAL && (says("could not find first log") || says("not found in index")) {
            return MysqlError::Purged { file, why };
        }
        if code == FATAL && (says("position > file size") || says("from impossible position")) {
            return MysqlError::PastEnd { file, offset, why };
        }
        MysqlError::DumpRefused { file, code, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(code: u16, why: &str) -> MysqlError {
        Refusal { code, why: why.to_owned() }.of_dump("bin.000007", 99)
    }

    #[test]
    fn what_an_archiver_must_tell_apart_is_told_apart() {
        // As MySQL 9.7 and MariaDB 10.11 say it; older ones say `master`.
        let gone = "Could not find first log file name in binary log index file";
        assert!(matches!(dump(1236, gone), MysqlError::Purged { .. }));
        for past in [
            "Client requested source to start replication from position > file size",
            "Client requested master to start replication from position > file size",
            "Client requested master to start replication from impossible position; the first event 'bin.000007' at 99",
        ] {
            let error = dump(1236, past);
            assert!(matches!(error, MysqlError::PastEnd { offset: 99, .. }), "{error}");
        }
        let other = dump(1236, "Binary log is not open");
        assert!(matches!(other, MysqlError::DumpRefused { code: 1236, .. }), "{other}");
    }

    #[test]
    fn an_error_is_read_with_and_without_a_state() {
        let plain = Refusal::parse(b"\xff\x10\x04Too many connections");
        assert_eq!((plain.code, plain.why.as_str()), (1040, "Too many connections"));
        let with_state = Refusal::parse(b"\xff\x15\x04#28000Access denied");
        assert_eq!((with_state.code, with_state.why.as_str()), (1045, "Access denied"));
        assert!(with_state.is_denial());
        assert_eq!(Refusal::parse(b"\xff").code, 0);
    }
}
