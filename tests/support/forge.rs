//! Builds sealed objects piece by piece, good ones and bad ones, from the public primitives.

use std::sync::{Arc, Mutex};

use backstay::{
    crypto::{ChunkSealer, Dek, IndexCipher, ObjectKeys},
    format::{ChunkEntry, Compression, Index, ObjectHeader, ObjectKind, Trailer, VolumeRecord},
    model::{ClusterUuid, DekId, RunId, Sha256Digest},
    pipeline::{
        Accept, Objects, OnBad, PipelineError, Progress, StoredObject, budget::Budget,
        open_objects, open_whole,
    },
    store::{Key, Store, StoreOptions, open},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// The smallest chunk of the format, so that vectors stay small.
pub(crate) const CHUNK: usize = 1024;
pub(crate) const DEK: [u8; 32] = [0xd1; 32];

/// A header of volume `sequence`.
pub(crate) fn header(sequence: u64) -> ObjectHeader {
    ObjectHeader {
        compression: Compression::Zstd,
        chunk_size: 1024,
        cluster: ClusterUuid::from_bytes([0xc1; 16]),
        run: RunId::from_bytes([0xa1; 16]),
        kind: ObjectKind::BackupVolume,
        sequence,
        dek: DekId::from_bytes([0xd2; 16]),
        salt: [0x50 + u8::try_from(sequence).unwrap_or(0); 32],
    }
}

/// Text that compresses, and differs everywhere.
pub(crate) fn plaintext(bytes: usize) -> Vec<u8> {
    (0u32..).flat_map(|n| format!("row {n:08}\n").into_bytes()).take(bytes).collect()
}

/// A sealed object, taken apart.
#[derive(Clone)]
pub(crate) struct Object {
    pub head: Vec<u8>,
    pub chunks: Vec<Vec<u8>>,
    pub index: Vec<u8>,
    pub trailer: Vec<u8>,
    pub plain: u64,
}

/// One chunk before it is sealed.
#[derive(Clone)]
pub(crate) struct Piece {
    pub frame: Vec<u8>,
    pub plain: u32,
}

pub(crate) fn frame(plain: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(plain, 1).unwrap_or_default()
}

pub(crate) fn pieces(plain: &[u8]) -> Vec<Piece> {
    let piece = |p: &[u8]| Piece { frame: frame(p), plain: u32::try_from(p.len()).unwrap_or(0) };
    if plain.is_empty() { vec![piece(b"")] } else { plain.chunks(CHUNK).map(piece).collect() }
}

impl Object {
    pub(crate) fn seal(header: &ObjectHeader, plain: &[u8]) -> Self {
        let pieces = pieces(plain);
        let last = pieces.len() - 1;
        Self::of(&header.encode(), &header.salt, DEK, &pieces, |n| n == last, |_| {})
    }

    /// Seals anything under any header: `last` says which chunks get the flag, `lie` may
    /// change the index before it is sealed.
    pub(crate) fn of(
        header: &[u8],
        salt: &[u8; 32],
        dek: [u8; 32],
        pieces: &[Piece],
        last: impl Fn(usize) -> bool,
        lie: impl FnOnce(&mut Vec<ChunkEntry>),
    ) -> Self {
        let keys = ObjectKeys::derive(&Dek::from_bytes(dek), salt, header);
        let sealer = ChunkSealer::new(&keys);
        let mut chunks = Vec::new();
        for (n, piece) in pieces.iter().enumerate() {
            let mut chunk = piece.frame.clone();
            let counter = u32::try_from(n).unwrap_or(u32::MAX);
            assert!(sealer.seal(counter, last(n), &mut chunk).is_ok());
            chunks.push(chunk);
        }
        let entry = |(c, p): (&Vec<u8>, &Piece)| ChunkEntry {
            stored: u32::try_from(c.len()).unwrap_or(0),
            plain: p.plain,
        };
        let mut entries: Vec<_> = chunks.iter().zip(pieces).map(entry).collect();
        let plain = entries.iter().map(|e| u64::from(e.plain)).sum();
        lie(&mut entries);
        let body_bytes = chunks.iter().map(|c| c.len() as u64).sum();
        let trailer = Trailer { body_bytes, chunks: u32::try_from(entries.len()).unwrap_or(0) };
        let mut index = Index(entries).encode();
        assert!(IndexCipher::new(&keys).seal(&trailer.index_aad(), &mut index).is_ok());
        let head = [header, keys.commitment()].concat();
        Self { head, chunks, index, trailer: trailer.encode().to_vec(), plain }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.chunks.concat(), &self.index, &self.trailer].concat()
    }

    pub(crate) fn record(&self, sequence: u32) -> VolumeRecord {
        record(&self.bytes(), sequence, u32::try_from(self.chunks.len()).unwrap_or(0), self.plain)
    }
}

/// What an honest manifest would say of these bytes.
pub(crate) fn record(bytes: &[u8], sequence: u32, chunks: u32, plain_bytes: u64) -> VolumeRecord {
    VolumeRecord {
        sequence,
        bytes: bytes.len() as u64,
        sha256: Sha256Digest(Sha256::digest(bytes).into()),
        chunks,
        plain_bytes,
    }
}

/// Keeps what is released.
#[derive(Clone, Default)]
pub(crate) struct Released(pub Arc<Mutex<Vec<u8>>>);

impl Accept for Released {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        if let Ok(mut all) = self.0.lock() {
            all.extend_from_slice(plain);
        }
        Ok(())
    }
}

pub(crate) async fn memory() -> Arc<dyn Store> {
    match open("memory:", &StoreOptions::default()).await {
        Ok(store) => store,
        Err(error) => unreachable!("{error}"),
    }
}

pub(crate) fn key(text: &str) -> Key {
    match Key::new(text) {
        Ok(key) => key,
        Err(error) => unreachable!("{error}"),
    }
}

/// Opens objects, which a signed record calls volumes, tails or segments, with the real reader.
/// Returns the error, if any, and what was released.
pub(crate) async fn read(
    kind: ObjectKind,
    volumes: &[(Vec<u8>, VolumeRecord)],
    dek: [u8; 32],
) -> (Option<PipelineError>, Vec<u8>) {
    let store = memory().await;
    let mut named = Vec::new();
    for (n, (bytes, record)) in volumes.iter().enumerate() {
        let key = key(&format!("vol-{n:05}"));
        assert!(store.create(&key, Bytes::from(bytes.clone())).await.is_ok());
        // A manifest whose volumes are not numbered by their places is refused before it gets here.
        named.push(StoredObject { kind, sequence: n as u64, ..StoredObject::volume(key, record) });
    }
    let good = header(0);
    let request = Objects {
        cluster: good.cluster,
        run: good.run,
        dek_id: good.dek,
        dek: Dek::from_bytes(dek),
        objects: named,
        budget: Budget::for_cores(2),
        progress: Arc::new(Progress::default()),
    };
    let whole = (kind == ObjectKind::LogTail).then(|| open_in_memory(&request, volumes));
    let released = Released::default();
    let result = open_objects(store, request, released.clone(), OnBad::Stop).await;
    if let Some(whole) = whole {
        let said = |error: Option<&PipelineError>| error.map(ToString::to_string);
        assert_eq!(said(whole.as_ref()), said(result.as_ref().err()));
    }
    let bytes = released.0.lock().map(|b| b.clone()).unwrap_or_default();
    (result.err(), bytes)
}

/// A tail is in memory whole when it is opened: that way to open it must come to the same verdict.
fn open_in_memory(request: &Objects, tails: &[(Vec<u8>, VolumeRecord)]) -> Option<PipelineError> {
    let mut opened = request.objects.iter().zip(tails).map(|(object, (bytes, _))| {
        open_whole(&Bytes::from(bytes.clone()), request, object, &mut Released::default())
    });
    opened.find_map(Result::err)
}
