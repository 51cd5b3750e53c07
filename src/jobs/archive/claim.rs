//! Becoming the owner of the log: at once when nobody is, else after the owner's silence.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{Request, source, status::Condition};
use crate::{
    format::EpochReason,
    jobs::JobError,
    model::RunId,
    mysql::Server,
    pipeline::{
        PipelineError,
        log::{LogState, refresh},
    },
};

/// An owner that has written nothing for so long has lost its claim. It writes at least every
/// [`super::BEAT`].
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// How often a standby looks.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// Waits until the log may be claimed. Returns why it may, and a connection to the server.
///
/// Silence is measured by this process's own clock, from what it has seen: nobody's clock has to
/// be right, and a process that was stopped for a while has seen no silence.
pub(super) async fn wait(
    request: &Request,
    log: &mut LogState,
    ours: &HashSet<RunId>,
    takeover: bool,
) -> Result<(EpochReason, Server), JobError> {
    let mut silent_since = Instant::now();
    let mut looked = Instant::now();
    let mut told = false;
    loop {
        if request.progress.is_stopped() {
            return Err(PipelineError::Stopped.into());
        }
        let reason = if log.owner.is_none() {
            Some(EpochReason::First)
        } else if log.owner.as_ref().is_some_and(|owner| ours.contains(&owner.run)) {
            // It could not go on where it was, and nobody has claimed the log meanwhile.
            Some(EpochReason::Server)
        } else if takeover {
            Some(EpochReason::Takeover)
        } else if log.released {
            Some(EpochReason::Released)
        } else {
            (silent_since.elapsed() >= SILENCE).then_some(EpochReason::Silence)
        };
        if let Some(reason) = reason {
            match claimable(request).await {
                Ok(Some(server)) => return Ok((reason, server)),
                Ok(None) if request.until_current => {
                    return Err(JobError::preflight(
                        "the server is read-only: a log is claimed for a primary only",
                        "give the address of the primary",
                    ));
                }
                Ok(None) => {
                    request.status.condition(Condition::SourceDown);
                    tracing::warn!("the server is read-only: a log is claimed for a primary only");
                }
                Err(error) if request.until_current => return Err(error),
                Err(error) => {
                    let (JobError::Mysql(_), false) = (&error, is_final(&error)) else {
                        return Err(error);
                    };
                    request.status.condition(Condition::SourceDown);
                    tracing::warn!(%error, "the server is not there; waiting for it");
                }
            }
        } else {
            request.status.condition(Condition::Standby);
            if let (Some(owner), false) = (&log.owner, std::mem::replace(&mut told, true)) {
                tracing::info!(epoch = owner.epoch, run = %owner.run, "another archiver owns the log; standing by");
            }
        }
        tokio::select! {
            () = request.progress.stopped() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        // Whoever was stopped itself must not take that for the owner's silence.
        let overslept = looked.elapsed() > LOOK + LOOK;
        looked = Instant::now();
        match refresh(&request.repository, log).await {
            Ok(0) if !overslept => {}
            Ok(_) => silent_since = Instant::now(),
            Err(PipelineError::Store(error)) => {
                // What cannot be read is no silence.
                silent_since = Instant::now();
                request.status.condition(Condition::StoreDown);
                request.status.error("store");
                tracing::warn!(%error, "the log cannot be read; trying again");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The server, when it may be archived from now on.
async fn claimable(request: &Request) -> Result<Option<Server>, JobError> {
    let mut met = source::meet(&request.connect, None).await?;
    source::preflight(&mut met.server).await?;
    Ok(met.is_writable.then_some(met.server))
}

/// Whether waiting will not help.
pub(super) fn is_final(error: &JobError) -> bool {
    use crate::mysql::MysqlError::{AccessDenied, Tls, Unsupported};
    match error {
        JobError::Mysql(AccessDenied { .. } | Tls { .. } | Unsupported { .. }) => true,
        JobError::Mysql(_) => false,
        _ => true,
    }
}
