//! The system's errors, in a store's words.

use std::io;

use rustix::io::Errno;

use super::super::{StoreErrorKind, backend::Fault};

const LINKS: &str = "inside a repository only folders and plain files are followed, no links";

/// Nothing that a disk says passes by itself, so nothing here is tried again.
pub(super) fn fault(error: impl Into<io::Error>) -> Fault {
    let error = error.into();
    let link = error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
    let (kind, hint) = match error.kind() {
        _ if link => (StoreErrorKind::Configuration, Some(LINKS)),
        io::ErrorKind::NotFound => (StoreErrorKind::NotFound, None),
        io::ErrorKind::AlreadyExists => (StoreErrorKind::AlreadyExists, None),
        io::ErrorKind::PermissionDenied => (
            StoreErrorKind::Denied,
            Some("the folder has to belong to, or be writable by, the user that Backstay runs as"),
        ),
        io::ErrorKind::ReadOnlyFilesystem => {
            (StoreErrorKind::Denied, Some("the file system is mounted read-only"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            StoreErrorKind::Other,
            Some("the disk or the quota is full: make room, or choose another place"),
        ),
        io::ErrorKind::FileTooLarge => (
            StoreErrorKind::Other,
            Some("a limit on the size of files (`ulimit -f`, or the file system's) is reached"),
        ),
        io::ErrorKind::UnexpectedEof => {
            (StoreErrorKind::Corrupt, Some("the file became shorter while it was read"))
        }
        io::ErrorKind::NotADirectory => (StoreErrorKind::Configuration, Some(LINKS)),
        _ => (StoreErrorKind::Other, None),
    };
    let mut fault = Fault::new(kind, error.to_string());
    fault.hint = hint.map(str::to_owned);
    fault.again = false;
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_a_disk_refuses_has_a_hint() {
        for (errno, kind, word) in [
            (Errno::NOSPC, StoreErrorKind::Other, "full"),
            (Errno::DQUOT, StoreErrorKind::Other, "full"),
            (Errno::ROFS, StoreErrorKind::Denied, "read-only"),
            (Errno::ACCESS, StoreErrorKind::Denied, "user"),
            (Errno::FBIG, StoreErrorKind::Other, "size"),
            (Errno::LOOP, StoreErrorKind::Configuration, "links"),
        ] {
            let fault = fault(errno);
            assert_eq!((fault.kind, fault.again), (kind, false), "{errno:?}");
            assert!(fault.hint.unwrap().contains(word), "{errno:?}");
        }
    }
}
