//! The object store, the keys, and the newest backup there.

use std::sync::Arc;

use futures::StreamExt;

use super::{Check, Part, Request, judge};
use crate::{
    crypto::{
        self, CryptoError,
        kms::{KeyContext, Kms, KmsError},
        signer::Trust,
    },
    format::{Manifest, Role},
    model::{ClusterUuid, DekId, Timestamp},
    pipeline::{Repository, purpose},
    store::probe_create_only,
};

/// Looks at the store and the keys. Returns what the newest backup needs on disk.
pub(super) async fn look(request: &Request, checks: &mut Vec<Check>) -> Option<u64> {
    if let Err(check) = store(request, checks).await {
        checks.push(check);
    }
    checks.push(kek(request).await.unwrap_or_else(|check| check));
    also(request, checks).await;
    checks.push(signer(request).await.unwrap_or_else(|check| check));
    let bases = bases(request).await;
    checks.push(lock(request, &bases).await.unwrap_or_else(|check| check));
    bases.first().map(|base| base.payload_bytes)
}

async fn store(request: &Request, checks: &mut Vec<Check>) -> Result<(), Check> {
    let store = request.store.take("store")?;
    let folder = format!("{}/", request.cluster.take("store")?);
    let random: [u8; 16] = crypto::random().map_err(|e| random_failed(&e))?;
    let unique = format!("doctor-{}", hex::encode(random));
    let probed = probe_create_only(&**store, &folder, &unique).await;
    checks.extend(judge::probe(store.url(), &probed));
    let listed = store.list(&folder, None).next().await.transpose();
    checks.push(judge::list(listed.map(drop)));
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
        Part::Missing(flag) => return Ok(judge::unlocked(own?, flag)),
        lock => *lock.take("lock")?,
    };
    let cluster = request.cluster.take("lock")?.clone();
    // Nobody has to be believed for that.
    let trust = Trust::of("nobody", [0; 32]);
    let repository = Repository::new(Arc::clone(store), cluster, trust).locking(Some(policy));
    let random: [u8; 16] = crypto::random().map_err(|e| random_failed(&e))?;
    let unique = format!("doctor-{}", hex::encode(random));
    if let Err(error) = repository.probe_keep(&unique).await {
        let remedy = "nothing would be written: see docs/immutability.md";
        return Err(Check::fail("lock", error.to_string(), remedy));
    }
    let policy = repository.lock_policy().unwrap_or(policy);
    let finished: Vec<_> = bases.iter().map(|base| base.finished_at).collect();
    Ok(judge::lock(&policy, own?, &finished, Timestamp::now()))
}
