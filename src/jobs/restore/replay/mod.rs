//! Replay: archived transactions are applied by the server's own applier, batch after batch. The next
//! batch is fetched and opened while one is applied.

mod apply;
mod assemble;
mod source;

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;

use super::plan::{PieceRule, Plan, format_description};
use crate::{
    crypto::kms::Kms,
    jobs::JobError,
    model::{Flavor, GtidState},
    pipeline::{
        PipelineError, Progress, Repository,
        log::{Piece, RangeOpener},
    },
};
pub(super) use apply::Applier;
pub use apply::Replayed;
use assemble::{Assembler, Batch};
pub(super) use source::Source;

/// Bytes of relay logs at which a batch is applied. Up to three are on the disk at once: one at
/// work, one ready, one being written.
pub(super) const BATCH_BYTES: u64 = 256 << 20;

/// What the replay needs on the disk for its relay logs.
pub(super) fn relay_bytes(replay: u64) -> u64 {
    replay.min(4 * BATCH_BYTES)
}

/// Replays a plan over the base. Returns what was applied, and which transactions the data has now.
pub(super) async fn run(
    repository: &Repository,
    kms: &dyn Kms,
    plan: &Plan<'_>,
    flavor: Flavor,
    applier: &mut Applier<'_>,
    progress: &Arc<Progress>,
) -> Result<(Replayed, GtidState), JobError> {
    let begun = Instant::now();
    progress.expect_replay(plan.transactions(), plan.bytes());
    let opener = RangeOpener::new(repository, kms, Arc::clone(progress));
    let assembler = Assembler::new(flavor, applier.folder(), plan.selection());
    let (ready, batches) = mpsc::channel(1);
    let (written, done) = tokio::join!(
        assemble(&opener, &plan.coverage.pieces, assembler, ready, progress),
        apply(applier, batches)
    );
    // When applying fails nobody takes batches any more, and that is the reason to tell.
    let mut replayed = done?;
    let assembler = written?;
    replayed.seconds = super::seconds_since(begun);
    Ok((replayed, assembler.selection.result))
}

async fn assemble(
    opener: &RangeOpener<'_>,
    pieces: &[Piece<'_>],
    mut assembler: Assembler,
    ready: mpsc::Sender<Batch>,
    progress: &Progress,
) -> Result<Assembler, JobError> {
    for piece in pieces {
        if progress.is_stopped() {
            return Err(PipelineError::Stopped.into());
        }
        if assembler.selection.done {
            break;
        }
        let head = if assembler.needs_head(piece.range) {
            Some(format_description(opener, piece).await?)
        } else {
            None
        };
        assembler.begin(PieceRule::of(piece), piece.range, head)?;
        assembler = opener.open(piece.number, assembler).await?;
        if assembler.may_end(BATCH_BYTES)
            && let Some(batch) = assembler.seal()?
            && ready.send(batch).await.is_err()
        {
            return Ok(assembler);
        }
    }
    if let Some(batch) = assembler.seal()? {
        // Who would take it says itself why it does not.
        let _ = ready.send(batch).await;
    }
    Ok(assembler)
}

async fn apply(
    applier: &mut Applier<'_>,
    mut batches: mpsc::Receiver<Batch>,
) -> Result<Replayed, JobError> {
    let mut replayed = Replayed::default();
    let mut next = batches.recv().await;
    while let Some(batch) = next {
        applier.apply(&batch, &mut replayed).await?;
        next = batches.recv().await;
        if next.is_some() && replayed.open_temporary_tables > 0 {
            return Err(JobError::source(
                format!(
                    "{} temporary tables were open where the replay had to restart its server, and are lost",
                    replayed.open_temporary_tables
                ),
                "restore from a base backup that was taken after that session, or to an earlier point",
            ));
        }
    }
    Ok(replayed)
}
