//! The first and the last bytes of a volume: header, commitment, index, trailer.

use std::ops::Range;

use bytes::Bytes;

use super::Volumes;
use crate::{
    crypto::{ChunkOpener, IndexCipher, ObjectKeys},
    format::{
        COMMITMENT_BYTES, ChunkEntry, HEADER_BYTES, Index, ObjectHeader, TRAILER_BYTES, Trailer,
        VolumeRecord,
    },
    pipeline::{PipelineError, budget::GROUP_BYTES},
    store::{Key, Store},
};

/// The index of a volume of a few gibibytes comes with its trailer in one request.
const TAIL_GUESS: u64 = 128 << 10;

/// A volume whose commitment and index have verified.
pub(super) struct Volume {
    pub(super) object: String,
    pub(super) opener: ChunkOpener,
    pub(super) head: Bytes,
    pub(super) tail: Bytes,
    index: Index,
}

/// Neighbouring chunks that are fetched by one request.
pub(super) struct Group {
    pub(super) first: u32,
    pub(super) chunks: Vec<ChunkEntry>,
    /// Whether the last of them is the last of the volume.
    pub(super) ends: bool,
    /// Where they lie in the object.
    pub(super) range: Range<u64>,
}

/// Reads and checks everything of a volume but its chunks.
pub(super) async fn begin(
    store: &dyn Store,
    request: &Volumes,
    key: &Key,
    record: &VolumeRecord,
    sequence: u32,
) -> Result<Volume, PipelineError> {
    let object = key.to_string();
    let bad = |why: String| PipelineError::integrity(&object, why);
    let info = store.head(key).await.map_err(PipelineError::reading)?;
    if info.size != record.bytes {
        return Err(bad(format!(
            "it has {} bytes, and the manifest says {}",
            info.size, record.bytes
        )));
    }
    if info.size < Trailer::body_start() + TRAILER_BYTES as u64 {
        return Err(bad("it is shorter than any sealed object".into()));
    }
    let head =
        store.get_range(key, 0..Trailer::body_start()).await.map_err(PipelineError::reading)?;
    let (header_bytes, commitment) = head.split_at(HEADER_BYTES);
    debug_assert_eq!(commitment.len(), COMMITMENT_BYTES);
    let header =
        ObjectHeader::decode(header_bytes).map_err(|e| PipelineError::format(&object, &e))?;
    let belongs = [
        (header.cluster == request.cluster, "cluster"),
        (header.run == request.run, "run"),
        (header.dek == request.dek_id, "DEK"),
        (
            header.sequence == u64::from(record.sequence) && record.sequence == sequence,
            "sequence number",
        ),
    ];
    if let Some((_, what)) = belongs.iter().find(|(good, _)| !good) {
        return Err(bad(format!("its header names another {what}: it belongs somewhere else")));
    }
    let keys = ObjectKeys::derive(&request.dek, &header.salt, header_bytes);
    keys.check(commitment).map_err(|e| bad(e.to_string()))?;
    let guess = info.size.saturating_sub(TAIL_GUESS).max(Trailer::body_start());
    let mut tail = store.get_range(key, guess..info.size).await.map_err(PipelineError::reading)?;
    let trailer =
        tail.last_chunk::<TRAILER_BYTES>().ok_or_else(|| bad("it has no trailer".into()))?;
    let trailer =
        Trailer::decode(trailer, info.size).map_err(|e| PipelineError::format(&object, &e))?;
    if trailer.chunks != record.chunks {
        return Err(bad(format!(
            "it has {} chunks, and the manifest says {}",
            trailer.chunks, record.chunks
        )));
    }
    let start = Trailer::body_start() + trailer.body_bytes;
    if start < guess {
        tail = store.get_range(key, start..info.size).await.map_err(PipelineError::reading)?;
    } else {
        tail = tail.slice(usize::try_from(start - guess).unwrap_or(usize::MAX).min(tail.len())..);
    }
    let sealed = &tail[..tail.len() - TRAILER_BYTES];
    let index = IndexCipher::new(&keys)
        .open(&trailer.index_aad(), sealed)
        .map_err(|e| bad(e.to_string()))?;
    let index = Index::decode(&index, &trailer, header.chunk_size)
        .map_err(|e| PipelineError::format(&object, &e))?;
    let plain: u64 = index.0.iter().map(|c| u64::from(c.plain)).sum();
    if plain != record.plain_bytes {
        return Err(bad(format!(
            "it holds {plain} bytes of plaintext, and the manifest says {}",
            record.plain_bytes
        )));
    }
    Ok(Volume { opener: ChunkOpener::new(&keys), object, head, tail, index })
}

impl Volume {
    /// The body, cut for fetching.
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut at = Trailer::body_start();
        for (number, chunk) in (0u32..).zip(&self.index.0) {
            let end = at + u64::from(chunk.stored);
            match groups.last_mut() {
                Some(group) if end - group.range.start <= GROUP_BYTES => {
                    group.chunks.push(*chunk);
                    group.range.end = end;
                }
                _ => groups.push(Group {
                    first: number,
                    chunks: vec![*chunk],
                    ends: false,
                    range: at..end,
                }),
            }
            at = end;
        }
        if let Some(last) = groups.last_mut() {
            last.ends = true;
        }
        groups
    }
}
