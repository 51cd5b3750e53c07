//! One chunk: verified, decrypted, decompressed.

use super::volume::Volume;
use crate::{format::ChunkEntry, pipeline::budget::CHUNK_BYTES};

/// Which chunk of its object it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) counter: u32,
    pub(super) last: bool,
    pub(super) entry: ChunkEntry,
}

/// Verifies, decrypts and decompresses one chunk into `plain`.
pub(super) fn open_chunk(
    volume: &Volume,
    place: Place,
    stored: &[u8],
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    frame: &mut Vec<u8>,
    plain: &mut Vec<u8>,
) -> Result<(), String> {
    let entry = place.entry;
    volume.opener.open(place.counter, place.last, stored, frame).map_err(|e| e.to_string())?;
    one_frame(frame, entry.plain, place.last && volume.padded)?;
    plain.clear();
    plain.reserve_exact(CHUNK_BYTES.max(entry.plain as usize));
    // One-shot into a buffer of known size: no window is allocated, whatever the frame asks for.
    let bytes = decompressor
        .decompress_to_buffer(frame, plain)
        .map_err(|e| format!("its frame is damaged: {e}"))?;
    if bytes != entry.plain as usize {
        return Err(format!("its frame holds {bytes} bytes, and the index says {}", entry.plain));
    }
    Ok(())
}

/// A chunk is one frame that tells its length, and nothing else: decoders differ in what they
/// make of a second frame, of a skippable one, or of bytes behind the first. Padding is taken off.
fn one_frame(frame: &mut Vec<u8>, plain: u32, padded: bool) -> Result<(), String> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let length = zstd::zstd_safe::find_frame_compressed_size(frame);
    let Some(length) = length.ok().filter(|_| frame.starts_with(&MAGIC)) else {
        return Err("its frame is damaged: it is not a Zstandard frame".into());
    };
    if padded {
        if !is_padding(&frame[length.min(frame.len())..]) {
            return Err("its frame is damaged: no padding follows it".into());
        }
        frame.truncate(length);
    } else if length != frame.len() {
        return Err("its frame is damaged: something follows it".into());
    }
    match zstd::zstd_safe::get_frame_content_size(frame) {
        Ok(Some(bytes)) if bytes == u64::from(plain) => Ok(()),
        Ok(Some(bytes)) => {
            Err(format!("its frame holds {bytes} bytes, and the index says {plain}"))
        }
        _ => Err("its frame is damaged: it does not tell its length".into()),
    }
}

/// Whether it is one skippable frame of zeros: there is one way to pad.
fn is_padding(bytes: &[u8]) -> bool {
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let Some((length, zeros)) = rest.split_first_chunk::<4>() else { return false };
    u32::from_le_bytes(*magic) == 0x184D_2A50
        && u32::from_le_bytes(*length) as usize == zeros.len()
        && zeros.iter().all(|byte| *byte == 0)
}
