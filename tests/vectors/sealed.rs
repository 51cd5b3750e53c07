//! Tails and segments: what tells them from volumes, and the padding of tails.

use backstay::format::{Compression, ObjectHeader, ObjectKind};

use super::{Case, Kind, bad::admitted};
use crate::forge::{self, CHUNK, DEK, Object, Piece, pieces, plaintext};

fn header(kind: ObjectKind, compression: Compression, sequence: u64) -> ObjectHeader {
    ObjectHeader { kind, compression, ..forge::header(sequence) }
}

fn tail() -> ObjectHeader {
    header(ObjectKind::LogTail, Compression::ZstdPadded, 0)
}

fn segment() -> ObjectHeader {
    header(ObjectKind::LogSegment, Compression::Zstd, 0)
}

/// A skippable frame of zeros (RFC 8878, section 3.1.2).
fn padding(bytes: u32) -> Vec<u8> {
    let mut frame = vec![0x50, 0x2a, 0x4d, 0x18];
    frame.extend_from_slice(&bytes.to_le_bytes());
    frame.resize(8 + bytes as usize, 0);
    frame
}

/// Bytes to a length without its last bits: written from the text, not from the program.
fn to_padme(length: usize) -> u32 {
    let e = length.ilog2();
    let k = e.saturating_sub(e.ilog2() + 1);
    u32::try_from(length.next_multiple_of(1 << k) - length).unwrap()
}

fn sealed(header: &ObjectHeader, pieces: &[Piece]) -> Object {
    let last = pieces.len() - 1;
    Object::of(&header.encode(), &header.salt, DEK, pieces, |n| n == last, |_| {})
}

/// Pieces with something behind the frame of one of them.
fn behind(plain: &[u8], which: usize, more: &[u8]) -> Vec<Piece> {
    let mut pieces = pieces(plain);
    pieces[which].frame.extend_from_slice(more);
    pieces
}

/// A tail as it is written.
pub(crate) fn padded(header: &ObjectHeader, plain: &[u8]) -> Object {
    let last = pieces(plain).len() - 1;
    let bare = sealed(header, &behind(plain, last, &padding(0))).bytes().len();
    let object = sealed(header, &behind(plain, last, &padding(to_padme(bare))));
    assert_eq!(to_padme(object.bytes().len()), 0);
    object
}

fn case(name: &str, why: &'static str, kind: Kind, object: &Object) -> Case {
    Case { kind, ..Case::new(name, why, admitted(object.bytes(), object)) }
}

pub(crate) fn good() -> Vec<Case> {
    let text = plaintext(4 * CHUNK);
    let tails = [
        ("good-tail", "shorter than a chunk", padded(&tail(), &text[..700])),
        ("good-tail-full-chunk", "exactly a chunk", padded(&tail(), &text[..CHUNK])),
        (
            "good-tail-several-chunks",
            "three chunks; only the last is padded",
            padded(&tail(), &text[..2 * CHUNK + 77]),
        ),
        (
            "good-tail-empty-padding",
            "a skippable frame of 0 bytes",
            sealed(&tail(), &behind(&text[..700], 0, &padding(0))),
        ),
        (
            "good-tail-longest-padding",
            "a last chunk as long as it may be",
            sealed(&tail(), &behind(&text[..700], 0, &padding(longest(&text[..700])))),
        ),
    ];
    let segments = [
        ("good-segment", "shorter than a chunk", sealed(&segment(), &pieces(&text[..700]))),
        (
            "good-segment-several-chunks",
            "three chunks",
            sealed(&segment(), &pieces(&text[..2 * CHUNK + 77])),
        ),
    ];
    let of = |kind| {
        move |(name, why, object): (&str, &'static str, Object)| case(name, why, kind, &object)
    };
    tails
        .into_iter()
        .map(of(Kind::Tail))
        .chain(segments.into_iter().map(of(Kind::Segment)))
        .collect()
}

/// The longest padding behind a frame of this plaintext.
fn longest(plain: &[u8]) -> u32 {
    let bound = 2 * CHUNK + CHUNK / 128 + 1024;
    u32::try_from(bound - 16 - 8 - pieces(plain)[0].frame.len()).unwrap()
}

pub(crate) fn bad() -> Vec<Case> {
    let text = plaintext(2 * CHUNK + 77);
    let short = &text[..700];
    let with = |more: &[u8]| sealed(&tail(), &behind(short, 0, more));
    let mut foreign = padding(9);
    foreign[0] += 1;
    let mut ones = padding(9);
    ones[12] = 1;
    let mut lying = padding(9);
    lying[4] = 8;
    let mut longer = padding(9);
    longer[4] = 10;
    let mut first = pieces(short);
    first[0].frame = [padding(9), first[0].frame.clone()].concat();
    let mut early = behind(&text, 2, &padding(9));
    early[0].frame.extend_from_slice(&padding(0));
    let paddings = [
        ("tail-padding-missing", "nothing behind the last frame", with(&[])),
        ("tail-padding-magic", "a skippable frame of another number", with(&foreign)),
        ("tail-padding-nonzero", "a byte of it is 1", with(&ones)),
        ("tail-padding-cut", "its head is cut", with(&padding(0)[..7])),
        ("tail-padding-twice", "two skippable frames", with(&[padding(3), padding(3)].concat())),
        ("tail-padding-lies-short", "its length says one byte less", with(&lying)),
        ("tail-padding-lies-long", "its length says one byte more", with(&longer)),
        ("tail-padding-first", "before the frame", sealed(&tail(), &first)),
        ("tail-padding-early", "behind the first of three frames, too", sealed(&tail(), &early)),
        (
            "tail-padding-elsewhere",
            "behind the first of three frames alone",
            sealed(&tail(), &behind(&text, 0, &padding(9))),
        ),
        (
            "tail-padding-too-long",
            "the last chunk is one byte longer than it may be",
            with(&padding(longest(short) + 1)),
        ),
    ];
    let plain = |kind, compression| header(kind, compression, 0);
    use {
        Compression::{Zstd, ZstdPadded},
        ObjectKind::{BackupVolume, LogSegment, LogTail},
    };
    let belongings = [
        (
            "tail-unpadded",
            "compression 1",
            Kind::Tail,
            sealed(&plain(LogTail, Zstd), &pieces(short)),
        ),
        (
            "segment-padded",
            "compression 2",
            Kind::Segment,
            padded(&plain(LogSegment, ZstdPadded), short),
        ),
        (
            "volume-padded",
            "compression 2",
            Kind::Volume,
            padded(&plain(BackupVolume, ZstdPadded), short),
        ),
        (
            "tail-for-segment",
            "the record says that it is a segment",
            Kind::Segment,
            padded(&tail(), short),
        ),
        (
            "tail-for-volume",
            "the record says that it is a volume",
            Kind::Volume,
            padded(&tail(), short),
        ),
        (
            "segment-for-tail",
            "the record says that it is a tail",
            Kind::Tail,
            sealed(&segment(), &pieces(short)),
        ),
        (
            "segment-for-volume",
            "the record says that it is a volume",
            Kind::Volume,
            sealed(&segment(), &pieces(short)),
        ),
        (
            "volume-for-tail",
            "the record says that it is a tail",
            Kind::Tail,
            sealed(&forge::header(0), &pieces(short)),
        ),
        (
            "tail-other-sequence",
            "rightly sealed as another one",
            Kind::Tail,
            padded(&header(LogTail, ZstdPadded, 1), short),
        ),
        ("tail-kind-4", "a kind that there is not", Kind::Tail, unknown(49, 4)),
        ("tail-compression-3", "a compression that there is not", Kind::Tail, unknown(11, 3)),
    ];
    let mut cases: Vec<_> = paddings
        .into_iter()
        .map(|(name, why, object)| case(name, why, Kind::Tail, &object))
        .collect();
    cases.extend(
        belongings.into_iter().map(|(name, why, kind, object)| case(name, why, kind, &object)),
    );
    cases
}

/// A tail, rightly sealed under a header with a value that version 1 does not have.
fn unknown(at: usize, value: u8) -> Object {
    let mut bytes = tail().encode();
    bytes[at] = value;
    let pieces = behind(b"a tail", 0, &padding(0));
    Object::of(&bytes, &tail().salt, DEK, &pieces, |_| true, |_| {})
}
