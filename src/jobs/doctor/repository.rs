//! The object store, the keys, and the newest backup there.

use std::sync::Arc;

use futures::StreamExt;

use super::{Check, Request, access, judge, keys};
use crate::{
    crypto,
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
    newest(request).await
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

async fn newest(request: &Request) -> Option<u64> {
    let store = request.store.take("disk").ok()?;
    let cluster = request.cluster.take("disk").ok()?.clone();
    let trust = request.trust.take("disk").ok()?.clone();
    let repository = Repository::new(Arc::clone(store), cluster, trust);
    let backups = repository.backups().await.ok()?;
    backups.into_iter().find_map(|(_, found)| found.ok()).map(|found| found.record.payload_bytes)
}
