//! Frames that a chunk must not hold.

use super::{Case, bad::admitted};
use crate::forge::{CHUNK, DEK, Object, frame, header, pieces, plaintext};

/// Rightly sealed chunks around frames that are not what the format allows.
pub(crate) fn cases() -> Vec<Case> {
    let text = plaintext(2 * CHUNK);
    let bad: [(&str, &'static str, Vec<u8>); 9] = [
        ("frame-bomb", "4 MiB of zeroes", frame(&vec![0; 4 << 20])),
        ("frame-long", "one byte too many", frame(&text[..=CHUNK])),
        ("frame-short", "one byte too few", frame(&text[..CHUNK - 1])),
        (
            "frame-twice",
            "two frames of half a chunk",
            [frame(&text[..512]), frame(&text[512..CHUNK])].concat(),
        ),
        ("frame-trailing", "a byte behind the frame", [frame(&text[..CHUNK]), vec![0]].concat()),
        (
            "frame-skippable",
            "a skippable frame first",
            [vec![0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], frame(&text[..CHUNK])].concat(),
        ),
        ("frame-cut", "half a frame", frame(&text[..CHUNK])[..40].to_vec()),
        ("frame-none", "plaintext that is no frame", text[..CHUNK].to_vec()),
        ("frame-lying-bomb", "its head says 1024 bytes, its blocks hold 32 MiB", lying_bomb()),
    ];
    bad.into_iter()
        .map(|(name, why, frame)| {
            let mut pieces = pieces(&text[..2 * CHUNK]);
            pieces[1].frame = frame;
            let object =
                Object::of(&header(0).encode(), &header(0).salt, DEK, &pieces, |n| n == 1, |_| {});
            Case::new(name, why, admitted(object.bytes(), &object))
        })
        .collect()
}

/// A frame (RFC 8878) of 256 blocks that repeat a byte 128 KiB often, whose head says 1024 bytes.
fn lying_bomb() -> Vec<u8> {
    // Two bytes of content size, minus 256, in a single segment.
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x03];
    for n in 0..256u32 {
        let block = u32::from(n == 255) | 1 << 1 | (128 << 10) << 3;
        out.extend_from_slice(&block.to_le_bytes()[..3]);
        out.push(0);
    }
    out
}
