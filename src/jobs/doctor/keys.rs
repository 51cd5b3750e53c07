//! The KEKs and the signer: what they do, and what this identity may do with them.

use std::sync::Arc;

use super::{
    Check, Part, Request, Side, judge,
    rights::{self, May},
};
use crate::{
    crypto::{
        self, CryptoError, Fault, ServiceError,
        kms::{KeyContext, Kms, KmsError},
        signer::SignerError,
    },
    format::Role,
    model::{ClusterUuid, DekId},
    pipeline::{NewestKey, PipelineError, Repository, purpose},
};

/// Looks at all keys.
pub(super) async fn look(request: &Request, checks: &mut Vec<Check>) {
    match request.kms.take("kek") {
        Err(check) => checks.push(check),
        Ok(kms) => kek(&**kms, request, checks).await,
    }
    also(request, checks).await;
    signer(request, checks).await;
}

/// What a KEK was seen to do.
struct Tried {
    check: Check,
    wraps: May,
    unwraps: May,
}

async fn kek(kms: &dyn Kms, request: &Request, checks: &mut Vec<Check>) {
    let Tried { check, wraps, unwraps } = match round_trip(kms).await {
        Ok(tried) => tried,
        Err(error) if is_denied(&error) => stored(kms, request, &error).await,
        Err(error) => {
            checks.push(Check::fail("kek", error.to_string(), "check --kek and its rights"));
            return;
        }
    };
    checks.push(check);
    // It is for the report alone; what cannot be told is left out.
    let access = kms.access().await.ok();
    checks.push(rights::kek(&wraps, &unwraps, access.as_ref(), request.side));
}

fn is_denied(error: &KmsError) -> bool {
    matches!(error, KmsError::Service(ServiceError { fault: Fault::Denied, .. }))
}

/// Makes a DEK and opens it, in the context of a backup, since rights may be bound to it; of no
/// cluster that exists.
async fn round_trip(kms: &dyn Kms) -> Result<Tried, KmsError> {
    let context = KeyContext {
        cluster: ClusterUuid::from_bytes(crypto::random()?),
        dek: DekId::from_bytes(crypto::random()?),
        purpose: purpose(Role::Backup),
    };
    // As a run does it, since whoever may make a key may not be allowed to wrap any other.
    let (dek, wrapped) = kms.generate(&context).await?;
    let unwrapped = kms.unwrap(&context, &wrapped).await;
    let unwraps = match &unwrapped {
        Ok(_) => May::Yes,
        Err(KmsError::WrapOnly { .. }) => May::No,
        Err(error) => May::Unknown(error.to_string()),
    };
    if unwrapped.is_ok() {
        let elsewhere = KeyContext { dek: DekId::from_bytes(crypto::random()?), ..context.clone() };
        // A service that is too old to know of associated data leaves it out, and says nothing.
        if kms.unwrap(&elsewhere, &wrapped).await.is_ok() {
            return Ok(Tried { check: judge::unbound(kms.name()), wraps: May::Yes, unwraps });
        }
    }
    let check = judge::round_trip(kms.name(), &dek, unwrapped);
    Ok(Tried { check, wraps: May::Yes, unwraps })
}

/// Whoever may not wrap can show that they may unwrap by a DEK that somebody else has wrapped.
async fn stored(kms: &dyn Kms, request: &Request, denied: &KmsError) -> Tried {
    let (check, unwraps) = match newest_wrap(kms, request).await {
        Err(why) => {
            let detail = format!("{denied}; whether it unwraps is not known: {why}");
            let remedy = "check --kek and its rights; for a reader, give --repo, --cluster and --trust with a \
                          backup that it opens";
            (Check::fail("kek", detail, remedy), May::Unknown(why))
        }
        Ok(newest) => match newest.unwrap(kms).await {
            Ok(_) => {
                let detail = format!(
                    "{} unwraps what is stored, and cannot wrap: this identity can restore, not back up",
                    kms.name()
                );
                (Check::ok("kek", detail), May::Yes)
            }
            Err(PipelineError::Kms(error @ KmsError::WrapOnly { .. })) => {
                let detail = format!("{denied}; and {error}");
                (Check::fail("kek", detail, "check --kek and its rights"), May::No)
            }
            Err(error) => {
                let detail = format!("{denied}; and {error}");
                let check = Check::fail("kek", detail, "check --kek and its rights");
                (check, May::Unknown(error.to_string()))
            }
        },
    };
    Tried { check, wraps: May::No, unwraps }
}

/// The key record of the newest backup that this KEK opens.
async fn newest_wrap(kms: &dyn Kms, request: &Request) -> Result<NewestKey, String> {
    let store = request.store.take("kek").map_err(|_| "no repository was given".to_owned())?;
    let cluster = request.cluster.take("kek").map_err(|_| "no cluster was given".to_owned())?;
    let trust = request.trust.take("kek").map_err(|_| "no trust file was given".to_owned())?;
    let repository = Repository::new(Arc::clone(store), cluster.clone(), trust.clone());
    let backups = repository.backups().await.map_err(|e| e.to_string())?;
    for found in backups.into_iter().filter_map(|(_, found)| found.ok()) {
        if let Ok(newest) = repository.newest_key(found.record.dek_id).await
            && newest.wrap_by(kms).is_some()
        {
            return Ok(newest);
        }
    }
    Err("no backup there was wrapped by this KEK".to_owned())
}

/// The other recipients. That one wraps is all that can be asked: what opens it lies in a safe.
async fn also(request: &Request, checks: &mut Vec<Check>) {
    let keks = match &request.also {
        // Many do without, and need not be told.
        Part::Missing(_) => return,
        Part::Bad(why) | Part::Denied(why) => {
            checks.push(Check::fail("also-kek", why, "put the option or the file right"));
            return;
        }
        Part::Given(keks) => keks,
    };
    for kms in keks {
        let check = match round_trip(&**kms).await {
            Ok(tried) => tried.check,
            Err(error) => Check::fail(
                "kek",
                error.to_string(),
                "check --also-kek and its rights: no backup begins",
            ),
        };
        checks.push(Check { check: "also-kek".into(), ..check });
    }
}

async fn signer(request: &Request, checks: &mut Vec<Check>) {
    let (check, signs) = sign(request).await;
    let refused = signs == Some(May::No) && request.side == Some(Side::Reader);
    // To be refused is what a reader should see, when it was asked to try.
    checks.push(if refused { Check::ok("signer", check.detail) } else { check });
    checks.push(rights::signer(signs.as_ref(), request.side));
}

/// Signs something that nobody can use.
async fn sign(request: &Request) -> (Check, Option<May>) {
    let signer = match &request.signer {
        Part::Missing(flag) => return (Check::not_checked("signer", flag), None),
        Part::Denied(why) => {
            return (Check::fail("signer", why, "check --signer and its rights"), Some(May::No));
        }
        Part::Bad(why) => {
            let check = Check::fail("signer", why, "put the option or the file right");
            return (check, Some(May::Unknown(why.clone())));
        }
        Part::Given(signer) => signer,
    };
    let message = match message() {
        Ok(message) => message,
        Err(error) => return (random_failed(&error), Some(May::Unknown(error.to_string()))),
    };
    match signer.sign(&message).await {
        Ok(signature) => {
            let check = match request.trust.take("signer") {
                Err(check) => check,
                Ok(trust) => judge::signer(signer.id(), trust.verify(&message, &signature).is_ok()),
            };
            (check, Some(May::Yes))
        }
        Err(error) => {
            let check = Check::fail("signer", error.to_string(), "check --signer and its rights");
            let denied =
                matches!(&error, SignerError::Service(error) if error.fault == Fault::Denied);
            let signs = if denied { May::No } else { May::Unknown(error.to_string()) };
            (check, Some(signs))
        }
    }
}

fn message() -> Result<Vec<u8>, CryptoError> {
    Ok([b"backstay doctor ".as_slice(), &crypto::random::<32>()?].concat())
}

/// Without random bytes nothing works.
pub(super) fn random_failed(error: &CryptoError) -> Check {
    Check::fail("random", error.to_string(), "nothing can be sealed without random bytes")
}
