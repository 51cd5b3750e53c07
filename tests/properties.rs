//! Whatever is sealed is opened; whatever is changed is noticed, and nothing wrong is released.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "support/forge.rs"]
mod forge;

use std::{
    io::Read,
    sync::{Arc, LazyLock},
};

use backstay::{
    crypto::Dek,
    format::{ObjectKind, VolumeRecord},
    pipeline::{
        Inspect, Level, Objects, OnBad, PipelineError, Progress, SealRequest, StoredObject,
        budget::{Budget, CHUNK_BYTES},
        open_objects, seal_stream,
    },
};
use forge::{CHUNK, DEK, Object, Released, header, key, memory, plaintext};
use proptest::prelude::*;

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

struct Nobody;

impl Inspect for Nobody {
    fn inspect(&mut self, _: &[u8]) -> Result<(), PipelineError> {
        Ok(())
    }
}

/// Gives its bytes in reads of these lengths, over and over.
struct Choppy {
    bytes: Vec<u8>,
    at: usize,
    reads: Vec<usize>,
    turn: usize,
}

impl Read for Choppy {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let want = self.reads[self.turn % self.reads.len()];
        self.turn += 1;
        let n = want.min(buffer.len()).min(self.bytes.len() - self.at);
        buffer[..n].copy_from_slice(&self.bytes[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Noise and repetition from a seed.
fn stream(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out: Vec<u8> = Vec::with_capacity(len);
    while out.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if state >> 62 == 0 {
            out.extend_from_slice(&state.to_le_bytes());
        } else {
            out.resize(out.len() + 64, (state >> 56) as u8);
        }
    }
    out.truncate(len);
    out
}

async fn there_and_back(
    plain: Vec<u8>,
    reads: Vec<usize>,
    level: i32,
    cut: u32,
    cores: usize,
) -> (Vec<u8>, Vec<VolumeRecord>) {
    let store = memory().await;
    let good = header(0);
    let (budget, progress) = (Budget::for_cores(cores), Arc::new(Progress::default()));
    let request = SealRequest {
        cluster: good.cluster,
        run: good.run,
        dek_id: good.dek,
        dek: Dek::from_bytes(DEK),
        volume_key: Box::new(|n| Ok(key(&format!("vol-{n:05}")))),
        keep: Box::new(backstay::store::Keep::default),
        level: level.to_string().parse::<Level>().unwrap(),
        budget,
        progress: Arc::clone(&progress),
        chunks_per_volume: cut,
    };
    let source = Choppy { bytes: plain, at: 0, reads, turn: 0 };
    let sealed = seal_stream(Arc::clone(&store), source, Nobody, request).await.unwrap();
    let volumes = sealed.volumes.clone();
    let named = sealed
        .volumes
        .into_iter()
        .map(|v| StoredObject::volume(key(&format!("vol-{:05}", v.sequence)), &v));
    let request = Objects {
        cluster: good.cluster,
        run: good.run,
        dek_id: good.dek,
        dek: Dek::from_bytes(DEK),
        objects: named.collect(),
        budget,
        progress,
    };
    let released = Released::default();
    let opened = open_objects(store, request, released.clone(), OnBad::Stop).await.unwrap();
    assert!(opened.findings.is_empty());
    let bytes = released.0.lock().unwrap().clone();
    (bytes, volumes)
}

/// Lengths around the edges of chunks.
fn lengths() -> impl Strategy<Value = usize> {
    (0usize..4, prop_oneof![Just(-1isize), Just(0), Just(1), -2000isize..2000])
        .prop_map(|(chunks, off)| (chunks * CHUNK_BYTES).saturating_add_signed(off))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_is_opened(
        seed in any::<u64>(), len in lengths(), reads in prop::collection::vec(1000usize..3_000_000, 1..6),
        level in 1i32..6, cut in 1u32..4, cores in 1usize..4,
    ) {
        let plain = stream(seed, len);
        let (back, volumes) = RUNTIME.block_on(there_and_back(plain.clone(), reads, level, cut, cores));
        prop_assert!(back == plain, "{} bytes came back of {}", back.len(), plain.len());
        let chunks = plain.len().div_ceil(CHUNK_BYTES).max(1);
        prop_assert_eq!(volumes.len(), chunks.div_ceil(cut as usize));
    }
}

/// Two volumes, five chunks.
fn sample() -> (Vec<u8>, Vec<(Vec<u8>, VolumeRecord)>) {
    let plain = plaintext(4 * CHUNK + 300);
    let parts = [&plain[..2 * CHUNK], &plain[2 * CHUNK..]];
    let volumes = (0u32..).zip(parts).map(|(n, part)| {
        let object = Object::seal(&header(n.into()), part);
        (object.bytes(), object.record(n))
    });
    (plain.clone(), volumes.collect())
}

fn check(plain: &[u8], volumes: &[(Vec<u8>, VolumeRecord)]) -> Result<(), TestCaseError> {
    let (error, released) = RUNTIME.block_on(forge::read(ObjectKind::BackupVolume, volumes, DEK));
    prop_assert!(matches!(error, Some(PipelineError::Integrity { .. })), "{:?}", error);
    prop_assert!(plain.starts_with(&released), "wrong bytes were released");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// `admitted`: the manifest has the hash and size of the changed bytes, so that the
    /// seal alone has to notice.
    #[test]
    fn a_changed_object_is_noticed(
        which in 0usize..2, at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>(), admitted in any::<bool>(),
    ) {
        let (plain, mut volumes) = sample();
        let (bytes, record) = &mut volumes[which];
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        if admitted {
            *record = forge::record(bytes, record.sequence, record.chunks, record.plain_bytes);
        }
        check(&plain, &volumes)?;
    }
}
