//! Backups, and whether what they name is sealed.

use futures::{StreamExt, TryStreamExt, stream};

use super::{PARALLEL, spread};
use crate::{
    format::{HEADER_BYTES, LogEntry, Manifest, ObjectHeader, ObjectKind, SegmentData, layout},
    jobs::report::facts::{BackupFact, SealedFact},
    model::{ClusterUuid, DekId, RunId, Sha256Digest},
    pipeline::{Finding, PipelineError, Repository, key, log},
    store::StoreErrorKind,
};

/// Volumes that are looked at, and segments.
const MOST: usize = 100;

/// All backups, the newest first, and manifests that are not believed.
pub(super) async fn backups(
    repository: &Repository,
) -> Result<(Vec<BackupFact>, Vec<Finding>), PipelineError> {
    let (mut backups, mut unbelieved) = (Vec::new(), Vec::new());
    for (id, found) in repository.backups().await? {
        let object = layout::manifest(repository.cluster(), &id);
        match found {
            Ok(found) => {
                backups.push(BackupFact { object, sha256: found.sha256, manifest: found.record });
            }
            Err(error) => unbelieved.push(Finding { object, chunk: None, why: error.to_string() }),
        }
    }
    Ok((backups, unbelieved))
}

/// What a signed record says of an object.
#[derive(Clone)]
struct Named {
    object: String,
    sha256: Sha256Digest,
    kind: ObjectKind,
    cluster: ClusterUuid,
    run: RunId,
    dek: Option<DekId>,
}

/// Looks at the beginnings of some volumes and segments. Returns how many there are, too.
pub(super) async fn look(
    repository: &Repository,
    backups: &[BackupFact],
) -> Result<(Vec<SealedFact>, u64), PipelineError> {
    let volumes: Vec<Named> =
        backups.iter().flat_map(|backup| volumes(repository, &backup.manifest)).collect();
    let (segments, segments_total) = segments(repository).await?;
    let total = volumes.len() as u64 + segments_total;
    let named = [spread(&volumes, MOST), segments].concat();
    let looked = named.into_iter().map(|named| beginning(repository, named));
    let looked = stream::iter(looked).buffered(PARALLEL).try_collect().await?;
    Ok((looked, total))
}

fn volumes<'a>(
    repository: &'a Repository,
    manifest: &'a Manifest,
) -> impl Iterator<Item = Named> + 'a {
    manifest.volumes.iter().map(|volume| Named {
        object: layout::volume(
            repository.cluster(),
            &manifest.backup_id,
            manifest.attempt,
            volume.sequence,
        ),
        sha256: volume.sha256,
        kind: ObjectKind::BackupVolume,
        cluster: manifest.cluster_uuid,
        run: manifest.run_id,
        dek: Some(manifest.dek_id),
    })
}

/// Some segments of the binlog log, and how many there are; none when the log cannot be read, which is
/// told elsewhere.
async fn segments(repository: &Repository) -> Result<(Vec<Named>, u64), PipelineError> {
    let archive = match log::read_archive(repository).await {
        Ok(archive) => archive,
        Err(PipelineError::Integrity { .. }) => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let numbers: Vec<u64> = archive.segments.iter().map(|segment| segment.number).collect();
    let total = numbers.len() as u64;
    let read = spread(&numbers, MOST).into_iter().map(|number| log::record(repository, number));
    let read: Vec<_> = stream::iter(read).buffered(PARALLEL).try_collect().await?;
    let mut named = Vec::new();
    for record in read.into_iter().map(|found| found.record) {
        let LogEntry::Segment(segment) = &record.entry else { continue };
        // One that is made of tails has no object of its own.
        let SegmentData::Object { id, sealed } = &segment.data else { continue };
        let range = &segment.range;
        let dek = repository.run(record.run_id).await?.dek_id;
        named.push(Named {
            object: layout::segment(
                repository.cluster(),
                &range.server,
                &range.file,
                range.start,
                *id,
            ),
            sha256: sealed.sha256,
            kind: ObjectKind::LogSegment,
            cluster: record.cluster_uuid,
            run: record.run_id,
            dek,
        });
    }
    Ok((named, total))
}

async fn beginning(repository: &Repository, named: Named) -> Result<SealedFact, PipelineError> {
    let range = repository.store().get_range(&key(&named.object)?, 0..HEADER_BYTES as u64).await;
    let wrong = match range {
        Ok(bytes) => match ObjectHeader::decode(&bytes) {
            Ok(header) => {
                let is_it = header.cluster == named.cluster
                    && header.run == named.run
                    && header.kind == named.kind
                    && Some(header.dek) == named.dek;
                (!is_it).then(|| "it is sealed for another run or by another DEK".to_owned())
            }
            Err(error) => Some(error.to_string()),
        },
        Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::Corrupt) => {
            Some("it is missing, or cut".to_owned())
        }
        Err(error) => return Err(error.into()),
    };
    Ok(SealedFact { object: named.object, sha256: named.sha256, wrong })
}
