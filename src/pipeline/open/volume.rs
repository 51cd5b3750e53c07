//! The first and the last bytes of a sealed object: header, commitment, index, trailer.

use std::ops::Range;

use bytes::Bytes;

use super::{Objects, StoredObject};
use crate::{
    crypto::{ChunkOpener, IndexCipher, ObjectKeys},
    format::{
        COMMITMENT_BYTES, ChunkEntry, Compression, HEADER_BYTES, Index, ObjectHeader, ObjectKind,
        TRAILER_BYTES, Trailer,
    },
    pipeline::{PipelineError, budget::GROUP_BYTES},
    store::Store,
};

/// The index of a volume of a few gibibytes comes with its trailer in one request.
const TAIL_GUESS: u64 = 128 << 10;

/// A volume whose commitment and index have verified.
pub(super) struct Volume {
    pub(super) object: String,
    pub(super) opener: ChunkOpener,
    pub(super) head: Bytes,
    pub(super) tail: Bytes,
    pub(super) index: Index,
    /// Whether its last chunk has padding behind its frame.
    pub(super) padded: bool,
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

/// Reads and checks everything of an object but its chunks.
pub(super) async fn begin(
    store: &dyn Store,
    request: &Objects,
    record: &StoredObject,
) -> Result<Volume, PipelineError> {
    let key = &record.key;
    let found = match &record.version {
        Some(version) => version.size,
        None => store.head(key).await.map_err(PipelineError::reading)?.size,
    };
    let size = checked_size(found, record)?;
    let version = record.version();
    let get = |range| async {
        store.get_version_range(key, &version, range).await.map_err(PipelineError::reading)
    };
    let head = get(0..Trailer::body_start()).await?;
    let opening = Opening::check(&head, request, record)?;
    let guess = size.saturating_sub(TAIL_GUESS).max(Trailer::body_start());
    let mut tail = get(guess..size).await?;
    let start = index_start(&tail, record)?;
    if start < guess {
        tail = get(start..size).await?;
    } else {
        tail = tail.slice(usize::try_from(start - guess).unwrap_or(usize::MAX).min(tail.len())..);
    }
    opening.volume(head, tail, record)
}

/// The same for an object that is there whole.
pub(super) fn begin_whole(
    bytes: &Bytes,
    request: &Objects,
    record: &StoredObject,
) -> Result<Volume, PipelineError> {
    checked_size(bytes.len() as u64, record)?;
    let head = bytes.slice(..HEADER_BYTES + COMMITMENT_BYTES);
    let opening = Opening::check(&head, request, record)?;
    let start = usize::try_from(index_start(bytes, record)?).unwrap_or(usize::MAX);
    opening.volume(head, bytes.slice(start.min(bytes.len())..), record)
}

fn checked_size(size: u64, record: &StoredObject) -> Result<u64, PipelineError> {
    let bad = |why: String| Err(PipelineError::integrity(record.key.as_str(), why));
    if size != record.bytes {
        return bad(format!("it has {size} bytes, and its record says {}", record.bytes));
    }
    if size < Trailer::body_start() + TRAILER_BYTES as u64 {
        return bad("it is shorter than any sealed object".into());
    }
    Ok(size)
}

/// Where the index begins, by the trailer at the end of `tail`.
fn index_start(tail: &[u8], record: &StoredObject) -> Result<u64, PipelineError> {
    let object = record.key.as_str();
    let bad = |why: String| PipelineError::integrity(object, why);
    let trailer =
        tail.last_chunk::<TRAILER_BYTES>().ok_or_else(|| bad("it has no trailer".into()))?;
    let trailer =
        Trailer::decode(trailer, record.bytes).map_err(|e| PipelineError::format(object, &e))?;
    if trailer.chunks != record.chunks {
        let (has, says) = (trailer.chunks, record.chunks);
        return Err(bad(format!("it has {has} chunks, and its record says {says}")));
    }
    Ok(Trailer::body_start() + trailer.body_bytes)
}

/// A header that belongs here, and the keys that it leads to.
struct Opening {
    header: ObjectHeader,
    keys: ObjectKeys,
}

impl Opening {
    fn check(head: &[u8], request: &Objects, record: &StoredObject) -> Result<Self, PipelineError> {
        let object = record.key.as_str();
        let bad = |why: String| PipelineError::integrity(object, why);
        let (header_bytes, commitment) = head.split_at(HEADER_BYTES);
        let header =
            ObjectHeader::decode(header_bytes).map_err(|e| PipelineError::format(object, &e))?;
        let padded = header.compression == Compression::ZstdPadded;
        let belongs = [
            (header.cluster == request.cluster, "cluster"),
            (header.run == request.run, "run"),
            (header.dek == request.dek_id, "DEK"),
            (header.kind == record.kind, "kind"),
            (padded == (record.kind == ObjectKind::LogTail), "compression"),
            (header.sequence == record.sequence, "sequence number"),
        ];
        if let Some((_, what)) = belongs.iter().find(|(good, _)| !good) {
            return Err(bad(format!("its header names another {what}: it belongs somewhere else")));
        }
        let keys = ObjectKeys::derive(&request.dek, &header.salt, header_bytes);
        keys.check(commitment).map_err(|e| bad(e.to_string()))?;
        Ok(Self { header, keys })
    }

    /// The rest, with the bytes from the index on.
    fn volume(
        self,
        head: Bytes,
        tail: Bytes,
        record: &StoredObject,
    ) -> Result<Volume, PipelineError> {
        let Self { header, keys } = self;
        let object = record.key.to_string();
        let bad = |why: String| PipelineError::integrity(&object, why);
        let (sealed, trailer) = tail
            .split_last_chunk::<TRAILER_BYTES>()
            .ok_or_else(|| bad("it has no trailer".into()))?;
        let trailer = Trailer::decode(trailer, record.bytes)
            .map_err(|e| PipelineError::format(&object, &e))?;
        let index = IndexCipher::new(&keys)
            .open(&trailer.index_aad(), sealed)
            .map_err(|e| bad(e.to_string()))?;
        let index = Index::decode(&index, &trailer, header.chunk_size, header.compression)
            .map_err(|e| PipelineError::format(&object, &e))?;
        let plain: u64 = index.0.iter().map(|c| u64::from(c.plain)).sum();
        if plain != record.plain_bytes {
            return Err(bad(format!(
                "it holds {plain} bytes of plaintext, and its record says {}",
                record.plain_bytes
            )));
        }
        let padded = header.compression == Compression::ZstdPadded;
        Ok(Volume { opener: ChunkOpener::new(&keys), object, head, tail, index, padded })
    }
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
