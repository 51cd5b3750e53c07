//! The head of a chunk, and what may stand in it.

use super::Dialect;

/// What every chunk begins with.
pub(super) const MAGIC: &[u8; 8] = b"XBSTCK01";
/// Magic, flags, type, path length.
pub(super) const FIXED: usize = 14;
/// The engines' own limit (`FN_REFLEN`) on a path.
pub(super) const MAX_PATH: usize = 512;
/// Entries of a sparse map that are accepted: 8 MiB of memory. One per page of a
/// payload of 10 MiB would be 10,240 at the smallest page size.
pub(super) const MAX_SPARSE: u32 = 1 << 20;
/// An unknown chunk may be skipped.
const IGNORABLE: u8 = 0x01;
/// MariaDB: the file replaces one of the same name that came before
/// (seen in `mbstream` 10.11: with this flag alone it opens the file anew, empty).
const REWRITE: u8 = 0x02;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Payload {
        rewrite: bool,
    },
    End,
    Seek {
        rewrite: bool,
    },
    Sparse,
    Rename,
    Remove,
    /// Ours: an empty folder, without which MySQL does not start over a clone.
    Folder,
    /// Laid out as a payload; checked, then dropped.
    Ignorable,
}

impl Kind {
    /// The type byte and the flags, by the rules of the dialect. Writers set no other
    /// flags than these, so any other is damage.
    pub(super) fn read(dialect: Dialect, flags: u8, letter: u8) -> Result<Self, String> {
        let mariadb = dialect == Dialect::Mariadb;
        let rewrite = flags == REWRITE;
        let plain = |kind| {
            if flags == 0 { Ok(kind) } else { Err(format!("flags {flags:#04x} are unknown")) }
        };
        match letter {
            b'P' if mariadb && rewrite => Ok(Self::Payload { rewrite }),
            b'P' => plain(Self::Payload { rewrite }),
            b'E' => plain(Self::End),
            b'S' if mariadb && rewrite => Ok(Self::Seek { rewrite }),
            b'S' if mariadb => plain(Self::Seek { rewrite }),
            b'S' if dialect == Dialect::Percona => plain(Self::Sparse),
            b'R' if mariadb => plain(Self::Rename),
            b'D' if mariadb => plain(Self::Remove),
            b'F' if dialect == Dialect::Clone => plain(Self::Folder),
            _ if flags == IGNORABLE => Ok(Self::Ignorable),
            _ => Err(format!(
                "its type {letter:#04x} is unknown: is the engine newer than this program knows?"
            )),
        }
    }

    /// Bytes between the path and what follows the head.
    pub(super) fn fields(self) -> usize {
        match self {
            Self::Payload { .. } | Self::Ignorable => 20,
            Self::Sparse => 24,
            Self::Seek { .. } => 8,
            Self::Rename | Self::Folder => 4,
            Self::End | Self::Remove => 0,
        }
    }
}

/// A path that stays below the folder it is extracted into.
pub(super) fn check_path(path: &[u8]) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("its path is empty");
    }
    if path.len() > MAX_PATH {
        return Err("its path is too long");
    }
    if path.iter().any(|&b| b < 0x20 || b == 0x7f) {
        return Err("its path holds a control character");
    }
    if path[0] == b'/' {
        return Err("its path is absolute");
    }
    // mariadb-backup writes `./` before some names; no part may be empty, `.` or `..`.
    let relative = path.strip_prefix(b"./").unwrap_or(path);
    if relative.split(|&b| b == b'/').any(|part| part.is_empty() || part == b"." || part == b"..") {
        return Err("its path has an empty part, `.` or `..`");
    }
    if relative.split(|&b| b == b'/').any(|part| part.len() > MAX_NAME) {
        return Err("a part of its path is longer than 255 bytes");
    }
    Ok(())
}

/// `NAME_MAX` of every file system that a data directory lies on.
const MAX_NAME: usize = 255;

/// The path without a leading `./`: both spellings name one file.
pub(super) fn normal(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"./").unwrap_or(path)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_folder() {
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./",
            "././a",
            "a/./b",
            "a\0b",
            "a\nb",
        ] {
            assert!(check_path(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(check_path(&[b'a'; 513]).is_err());
        for good in ["ibdata1", "./ibdata1", "d/x@0024t#p#p0.ibd", "..a/b.."] {
            assert!(check_path(good.as_bytes()).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_same_letter_means_another_thing_in_another_dialect() {
        assert_eq!(Kind::read(Dialect::Percona, 0, b'S'), Ok(Kind::Sparse));
        assert_eq!(Kind::read(Dialect::Mariadb, 0, b'S'), Ok(Kind::Seek { rewrite: false }));
        assert!(Kind::read(Dialect::Clone, 0, b'S').is_err());
        assert!(Kind::read(Dialect::Percona, 0, b'R').is_err());
        assert_eq!(Kind::read(Dialect::Percona, 1, b'Z'), Ok(Kind::Ignorable));
        assert!(Kind::read(Dialect::Percona, 2, b'P').is_err());
    }
}
