//! As whom the store knows us, and whether that will last as long as the job.

use super::JobError;
use crate::{
    model::{Access, Connection, Timestamp, TransportSecurity},
    pipeline::{PipelineError, Repository},
    store::StoreErrorKind,
};

/// What ends so soon is taken for ended.
const SOON: f64 = 300.0;
/// How long a first backup is taken to last, in seconds.
const FIRST_BACKUP: f64 = 3600.0;
/// A backup may take so much longer than the one before.
const LONGER: f64 = 1.5;

/// How long the credentials should last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// For a backup.
    Backup,
    /// For ever.
    Forever,
}

/// Makes sure that credentials which nobody renews last until the job can have ended. Those that
/// end within minutes are refused, others are warned of.
pub(super) async fn check(repository: &Repository, need: Need) -> Result<(), JobError> {
    let access = match repository.access().await {
        Ok(access) => access,
        Err(PipelineError::Store(error)) if error.kind == StoreErrorKind::Expired => {
            let hint = error.hint.clone().unwrap_or_else(|| "give new ones".to_owned());
            return Err(JobError::preflight(format!("the store: {}", error.cause), hint));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(end) = access.expires_at.filter(|_| !access.renewable) else { return Ok(()) };
    let now = Timestamp::now();
    let seconds = match need {
        Need::Forever => f64::INFINITY,
        Need::Backup => last_took(repository).await?.map_or(FIRST_BACKUP, |took| took * LONGER),
    };
    match judge(end.seconds_since(now), seconds) {
        Outlook::Lasts => Ok(()),
        Outlook::MayEnd => {
            tracing::warn!(
                identity = %told(access),
                ends = %end,
                "the store's credentials may end before this job does, and nobody renews them: give it \
                 an identity that the platform renews, or credentials that last longer"
            );
            Ok(())
        }
        Outlook::Ends => Err(JobError::preflight(
            format!(
                "the store's credentials ({}) end at {end}, and nobody renews them",
                told(access)
            ),
            "give new ones; better, an identity that the platform renews (docs/identities.md)",
        )),
    }
}

/// What becomes of credentials during a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Lasts,
    MayEnd,
    Ends,
}

fn judge(left: f64, needed: f64) -> Outlook {
    if left < SOON {
        Outlook::Ends
    } else if left < needed {
        Outlook::MayEnd
    } else {
        Outlook::Lasts
    }
}

/// How long the newest backup took, in seconds.
async fn last_took(repository: &Repository) -> Result<Option<f64>, JobError> {
    let backups = repository.backups().await?;
    let newest = backups.into_iter().find_map(|(_, found)| found.ok());
    Ok(newest.map(|found| found.record.finished_at.seconds_since(found.record.started_at)))
}

/// Credentials in a few words.
pub(super) fn told(access: &Access) -> String {
    match &access.principal {
        Some(principal) => format!("{}: {principal}", access.kind),
        None => access.kind.to_string(),
    }
}

/// The connections of which something is known, each once.
pub(super) fn known(connections: impl IntoIterator<Item = Connection>) -> Vec<Connection> {
    let mut known: Vec<Connection> = Vec::new();
    for connection in connections {
        if connection.security != TransportSecurity::Unknown && !known.contains(&connection) {
            known.push(connection);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Peer, TlsFacts};

    #[test]
    fn credentials_must_last_for_minutes_and_should_for_the_job() {
        assert_eq!(judge(-1.0, 60.0), Outlook::Ends);
        assert_eq!(judge(299.0, 60.0), Outlook::Ends);
        assert_eq!(judge(301.0, 60.0), Outlook::Lasts);
        assert_eq!(judge(3000.0, FIRST_BACKUP), Outlook::MayEnd);
        assert_eq!(judge(1e9, f64::INFINITY), Outlook::MayEnd);
    }

    #[test]
    fn connections_are_told_once_and_unknown_ones_never() {
        let tls = Some(TlsFacts { version: "1.3".into(), cipher: "TLS_AES_256_GCM_SHA384".into() });
        let store = Connection { to: Peer::Store, security: TransportSecurity::TlsVerified, tls };
        let kms = Connection::new(Peer::Kms, TransportSecurity::Local);
        let unknown = Connection::new(Peer::Signer, TransportSecurity::Unknown);
        let all = [store.clone(), kms.clone(), unknown, kms.clone(), store.clone()];
        assert_eq!(known(all), [store, kms]);
    }
}
