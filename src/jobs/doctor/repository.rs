//! The object store, the keys, and the newest backup there.

use std::sync::Arc;

use futures::StreamExt;

use super::{Check, Part, Request, access, judge};
use crate::{
    crypto::{
        self, CryptoError,
        kms::{KeyContext, Kms, KmsError},
    },
    format::Role,
    model::{AccessKind, ClusterUuid, DekId, Timestamp},
    pipeline::{Repository, purpose},
    store::{probe_abort, probe_create_only},
};

/// Looks at the store and the keys. Returns what the newest backup needs on disk.
pub(super) async fn look(request: &Request, checks: &mut Vec<Check>) -> Option<u64> {
    if let Err(check) = store(request, checks).await {
        checks.push(check);
    }
    checks.push(kek(request).await.unwrap_or_else(|check| check));
    also(request, checks).await;
    checks.push(signer(request).await.unwrap_or_else(|check| check));
    newest(request).await
}

async fn store(request: &Request, checks: &mut Vec<Check>) -> Result<(), Check> {
    let store = request.store.take("store")?;
    let folder = format!("{}/", request.cluster.take("store")?);
    let random: [u8; 16] = crypto::random().map_err(|e| random_failed(&e))?;
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

fn random_failed(error: &CryptoError) -> Check {
    Check::fail("random", error.to_string(), "nothing can be sealed without random bytes")
}

async fn kek(request: &Request) -> Result<Check, Check> {
    let kms = request.kms.take("kek")?;
    match round_trip(&**kms).await {
        Ok(check) => Ok(check),
        Err(error) => Err(Check::fail("kek", error.to_string(), "check --kek and its rights")),
    }
}

/// The other recipients. That one wraps is all that can be asked: what opens it lies in a safe.
async fn also(request: &Request, checks: &mut Vec<Check>) {
    let keks = match &request.also {
        // Many do without, and need not be told.
        Part::Missing(_) => return,
        Part::Bad(why) => {
            checks.push(Check::fail("also-kek", why, "put the option or the file right"));
            return;
        }
        Part::Given(keks) => keks,
    };
    for kms in keks {
        let check = match round_trip(&**kms).await {
            Ok(check) => check,
            Err(error) => Check::fail(
                "kek",
                error.to_string(),
                "check --also-kek and its rights: no backup begins",
            ),
        };
        checks.push(Check { check: "also-kek".into(), ..check });
    }
}

/// In the context of a backup, since rights may be bound to it; of no cluster that exists.
async fn round_trip(kms: &dyn Kms) -> Result<Check, KmsError> {
    let context = KeyContext {
        cluster: ClusterUuid::from_bytes(crypto::random()?),
        dek: DekId::from_bytes(crypto::random()?),
        purpose: purpose(Role::Backup),
    };
    // As a run does it, since whoever may make a key may not be allowed to wrap any other.
    let (dek, wrapped) = kms.generate(&context).await?;
    let unwrapped = kms.unwrap(&context, &wrapped).await;
    if unwrapped.is_ok() {
        let elsewhere = KeyContext { dek: DekId::from_bytes(crypto::random()?), ..context.clone() };
        // A service that is too old to know of associated data leaves it out, and says nothing.
        if kms.unwrap(&elsewhere, &wrapped).await.is_ok() {
            return Ok(judge::unbound(kms.name()));
        }
    }
    Ok(judge::round_trip(kms.name(), &dek, unwrapped))
}

async fn signer(request: &Request) -> Result<Check, Check> {
    let signer = request.signer.take("signer")?;
    let trust = request.trust.take("signer")?;
    let random: [u8; 32] = crypto::random().map_err(|e| random_failed(&e))?;
    let message = [b"backstay doctor ".as_slice(), &random].concat();
    let signature = signer
        .sign(&message)
        .await
        .map_err(|e| Check::fail("signer", e.to_string(), "check --signer"))?;
    Ok(judge::signer(signer.id(), trust.verify(&message, &signature).is_ok()))
}

async fn newest(request: &Request) -> Option<u64> {
    let store = request.store.take("disk").ok()?;
    let cluster = request.cluster.take("disk").ok()?.clone();
    let trust = request.trust.take("disk").ok()?.clone();
    let repository = Repository::new(Arc::clone(store), cluster, trust);
    let backups = repository.backups().await.ok()?;
    backups.into_iter().find_map(|(_, found)| found.ok()).map(|found| found.record.payload_bytes)
}
