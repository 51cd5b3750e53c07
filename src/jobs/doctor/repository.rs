//! The object store, the keys, and the newest backup there.

use std::sync::Arc;

use futures::StreamExt;

use super::{Check, Part, Request, Status, access, judge, keys};
use crate::{
    crypto::{self, signer::Trust},
    format::Manifest,
    model::{AccessKind, Timestamp},
    pipeline::Repository,
    store::{probe_abort, probe_create_only},
};

/// Looks at the store and the keys. Returns what the newest backup needs on disk.
pub(super) async fn look(request: &Request, checks: &mut Vec<Check>) -> Option<u64> {
    if let Err(check) = store(request, checks).await {
        checks.push(check);
    }
    keys::look(request, checks).await;
    let bases = bases(request).await;
    checks.push(lock(request, &bases).await.unwrap_or_else(|check| check));
    bases.first().map(|base| base.payload_bytes)
}

async fn store(request: &Request, checks: &mut Vec<Check>) -> Result<(), Check> {
    let store = request.store.take("store")?;
    let folder = format!("{}/", request.cluster.take("store")?);
    let random: [u8; 16] = crypto::random().map_err(|e| keys::random_failed(&e))?;
    let unique = format!("doctor-{}", hex::encode(random));
    let access = store.access().await;
    checks.push(access::identity(&access, Timestamp::now()));
    let probed = probe_create_only(&**store, &folder, &unique).await;
    checks.extend(judge::probe(store.url(), &probed));
    let listed = store.list(&folder, None).next().await.transpose();
    let may_list = listed.is_ok();
    checks.push(judge::list(listed.map(drop)));
    let local = access.is_ok_and(|access| access.kind == AccessKind::Local);
    checks.push(match probed {
        Ok(honesty) => {
            let aborted = probe_abort(&**store, &folder, &unique).await;
            access::rights(honesty.removed, may_list, &aborted, local)
        }
        Err(_) => judge::unknown("store-rights"),
    });
    checks.extend(access::transport("store-transport", &store.connection()));
    Ok(())
}

/// The manifests of the base backups that there are, the newest first.
async fn bases(request: &Request) -> Vec<Manifest> {
    let (Ok(store), Ok(cluster), Ok(trust)) =
        (request.store.take("disk"), request.cluster.take("disk"), request.trust.take("disk"))
    else {
        return Vec::new();
    };
    let repository = Repository::new(Arc::clone(store), cluster.clone(), trust.clone());
    let backups = repository.backups().await.unwrap_or_default();
    backups.into_iter().filter_map(|(_, found)| Some(found.ok()?.record)).collect()
}

/// What locks what is written, and whether that is long enough. With a lock the probes stay for as
/// long as they are locked.
async fn lock(request: &Request, bases: &[Manifest]) -> Result<Check, Check> {
    let store = request.store.take("lock")?;
    let own = store.bucket_lock().await.map_err(|error| {
        Check::fail("lock", error.to_string(), "grant this identity to ask for the bucket's lock")
    });
    let policy = match &request.lock {
        // Nothing is to be locked: that the bucket must not be asked stops no backup.
        Part::Missing(flag) => {
            return Ok(match own {
                Ok(own) => judge::unlocked(own, flag),
                Err(check) => Check { status: Status::Warn, ..check },
            });
        }
        lock => *lock.take("lock")?,
    };
    let cluster = request.cluster.take("lock")?.clone();
    // Nobody has to be believed for that.
    let trust = Trust::of("nobody", [0; 32]);
    let repository = Repository::new(Arc::clone(store), cluster, trust).locking(Some(policy));
    let random: [u8; 16] = crypto::random().map_err(|e| keys::random_failed(&e))?;
    let unique = format!("doctor-{}", hex::encode(random));
    if let Err(error) = repository.probe_keep(&unique).await {
        let remedy = "nothing would be written: see docs/immutability.md";
        return Err(Check::fail("lock", error.to_string(), remedy));
    }
    let policy = repository.lock_policy().unwrap_or(policy);
    let finished: Vec<_> = bases.iter().map(|base| base.finished_at).collect();
    Ok(judge::lock(&policy, own?, &finished, Timestamp::now()))
}
