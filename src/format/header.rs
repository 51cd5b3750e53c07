//! The header of a sealed object: 108 bytes, then the key commitment.

use super::FormatError;
use crate::model::{ClusterUuid, DekId, RunId};

const WHAT: &str = "sealed object";
const MAGIC: &[u8; 8] = b"BACKSTAY";
const VERSION: u16 = 1;
/// AES-256-GCM chunks under keys from HKDF-SHA256.
pub const SUITE_AES256GCM_HKDF_SHA256: u8 = 1;
/// Length of the header, without the commitment that follows it.
pub const HEADER_BYTES: usize = 108;
/// Length of the key commitment.
pub const COMMITMENT_BYTES: usize = 32;
const MIN_CHUNK: u32 = 1 << 10;
const MAX_CHUNK: u32 = 16 << 20;

/// What a sealed object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ObjectKind {
    /// A volume of a base backup; its sequence number counts from 0.
    BackupVolume = 1,
    /// A tail of a binlog file; its sequence number counts what its run has sealed.
    LogTail = 2,
    /// A segment of a binlog file; numbered like a tail.
    LogSegment = 3,
}

impl ObjectKind {
    fn of(number: u16) -> Option<Self> {
        [Self::BackupVolume, Self::LogTail, Self::LogSegment]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// How each chunk was compressed before it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// One Zstandard frame a chunk (RFC 8878).
    Zstd = 1,
    /// The same, followed by one skippable frame in the last chunk: its length tells little.
    ZstdPadded = 2,
}

impl Compression {
    fn of(number: u8) -> Option<Self> {
        [Self::Zstd, Self::ZstdPadded].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The clear-text header of a sealed object. Its hash is bound into the object's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHeader {
    /// How chunks are compressed.
    pub compression: Compression,
    /// Plaintext bytes of every chunk but the last.
    pub chunk_size: u32,
    /// The cluster it belongs to.
    pub cluster: ClusterUuid,
    /// The run that wrote it.
    pub run: RunId,
    /// What it is.
    pub kind: ObjectKind,
    /// Which of its siblings it is.
    pub sequence: u64,
    /// The DEK that its keys come from.
    pub dek: DekId,
    /// Random; makes the keys of this object its own.
    pub salt: [u8; 32],
}

impl ObjectHeader {
    /// The header as it is stored, all integers big-endian.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(MAGIC);
        put(&VERSION.to_be_bytes());
        put(&[SUITE_AES256GCM_HKDF_SHA256, self.compression as u8]);
        put(&self.chunk_size.to_be_bytes());
        put(self.cluster.as_bytes());
        put(self.run.as_bytes());
        put(&(self.kind as u16).to_be_bytes());
        put(&[0, 0]);
        put(&self.sequence.to_be_bytes());
        put(self.dek.as_bytes());
        put(&self.salt);
        out
    }

    /// Reads a header.
    ///
    /// # Errors
    /// When it is not ours, newer than this program, or breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut rest = bytes;
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at_checked(n).ok_or_else(|| {
                FormatError::damaged(WHAT, format!("it ends after {} bytes", bytes.len()))
            })?;
            rest = tail;
            Ok::<&[u8], FormatError>(head)
        };
        if take(8)? != MAGIC {
            return Err(FormatError::NotOurs {
                what: WHAT,
                why: "it does not begin with `BACKSTAY`".into(),
            });
        }
        let version = u16::from_be_bytes(array(take(2)?));
        if version > VERSION {
            return Err(FormatError::Newer {
                what: WHAT,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let [suite, compression] = array(take(2)?);
        let chunk_size = u32::from_be_bytes(array(take(4)?));
        let cluster = ClusterUuid::from_bytes(array(take(16)?));
        let run = RunId::from_bytes(array(take(16)?));
        let kind = u16::from_be_bytes(array(take(2)?));
        let reserved: [u8; 2] = array(take(2)?);
        let sequence = u64::from_be_bytes(array(take(8)?));
        let dek = DekId::from_bytes(array(take(16)?));
        let salt = array(take(32)?);
        let known = [
            (version == VERSION, "version"),
            (suite == SUITE_AES256GCM_HKDF_SHA256, "suite"),
            ((MIN_CHUNK..=MAX_CHUNK).contains(&chunk_size), "chunk size"),
            (reserved == [0, 0], "reserved field"),
        ];
        let unknown = |field: &str| {
            FormatError::damaged(
                WHAT,
                format!("its {field} has a value that version 1 does not have"),
            )
        };
        if let Some((_, field)) = known.iter().find(|(good, _)| !good) {
            return Err(unknown(field));
        }
        Ok(Self {
            compression: Compression::of(compression).ok_or_else(|| unknown("compression"))?,
            chunk_size,
            cluster,
            run,
            kind: ObjectKind::of(kind).ok_or_else(|| unknown("kind"))?,
            sequence,
            dek,
            salt,
        })
    }
}

/// A fixed-size copy of a slice that `take` cut to that size.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ObjectHeader {
        ObjectHeader {
            compression: Compression::Zstd,
            chunk_size: 2 << 20,
            cluster: ClusterUuid::from_bytes([1; 16]),
            run: RunId::from_bytes([2; 16]),
            kind: ObjectKind::BackupVolume,
            sequence: 7,
            dek: DekId::from_bytes([3; 16]),
            salt: [4; 32],
        }
    }

    #[test]
    fn a_header_reads_what_it_writes() {
        assert_eq!(ObjectHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut bytes = header().encode();
        bytes[9] = 2;
        let error = ObjectHeader::decode(&bytes).unwrap_err();
        assert_eq!(error, FormatError::Newer { what: WHAT, found: 2, known: 1 });
    }

    #[test]
    fn every_truncation_and_unknown_value_is_refused() {
        let good = header().encode();
        for len in 0..good.len() {
            assert!(ObjectHeader::decode(&good[..len]).is_err(), "{len}");
        }
        for at in [0, 8, 10, 11, 12, 48, 50] {
            let mut bad = good;
            bad[at] = 0xee;
            assert!(ObjectHeader::decode(&bad).is_err(), "byte {at}");
        }
    }
}
