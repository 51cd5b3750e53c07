//! As whom AWS knows us: what its SDK says of the credentials that it found, and STS of their owner.

use std::time::{Duration, SystemTime};

use aws_credential_types::{
    Credentials,
    credential_feature::AwsCredentialFeature as Feature,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};

use super::{AwsKey, config};
use crate::{
    crypto::service::{Fault, Patience, ServiceError, plain},
    model::{Access, AccessKind, Timestamp},
    transport::chain,
};

/// It is for reports alone: nobody waits long for it.
const BRIEFLY: Patience = Patience {
    attempts: 1,
    pause: Duration::from_millis(500),
    connect: Duration::from_secs(3),
    answer: Duration::from_secs(5),
};

/// As whom AWS knows us. Where STS cannot be asked the principal is left open.
pub(in crate::crypto) async fn access(key: &AwsKey) -> Result<Access, ServiceError> {
    let config = config(key, BRIEFLY).await?;
    let missing = |why: String| ServiceError {
        fault: Fault::Settings,
        operation: "look for credentials",
        key: key.to_string(),
        why,
        hint: "check where the credentials come from".to_owned(),
    };
    let provider: SharedCredentialsProvider = config
        .credentials_provider()
        .ok_or_else(|| missing("there is nowhere to look".to_owned()))?;
    let found = provider.provide_credentials().await.map_err(|e| missing(plain(&chain(&e))))?;
    let caller = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await;
    let principal = caller.ok().and_then(|caller| caller.arn().map(ToOwned::to_owned));
    Ok(Access { principal, ..of(&found) })
}

/// What can be told of credentials by themselves.
fn of(found: &Credentials) -> Access {
    let features = found.get_property::<Vec<Feature>>().map_or(&[][..], Vec::as_slice);
    let has = |all: &[Feature]| all.iter().any(|feature| features.contains(feature));
    let kind = if has(&[Feature::CredentialsHttp]) {
        AccessKind::PodIdentity
    } else if has(&[Feature::CredentialsImds]) {
        AccessKind::Instance
    } else if has(&[
        Feature::CredentialsStsAssumeRoleWebId,
        Feature::CredentialsProfileStsWebIdToken,
    ]) {
        AccessKind::WebIdentity
    } else if has(&[Feature::CredentialsEnvVars, Feature::CredentialsProfile]) {
        AccessKind::Static
    } else {
        AccessKind::Unknown
    };
    let since_epoch = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
    let expires_at = found
        .expiry()
        .and_then(since_epoch)
        .and_then(|since| Timestamp::from_microseconds(i64::try_from(since.as_micros()).ok()?));
    // What a provider says to end, it hands out anew.
    let renewable = expires_at.is_some() || Access::of(kind).renewable;
    Access { kind, principal: None, expires_at, renewable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_say_where_they_come_from_and_when_they_end() {
        let of = |feature, expiry| {
            let mut found = Credentials::new("AKIDTESTS", "s", None, expiry, "t");
            found.set_property(vec![feature]);
            of(&found)
        };
        let ends = Some(SystemTime::UNIX_EPOCH + Duration::from_mins(1));
        for (feature, expiry, kind, renewable) in [
            (Feature::CredentialsEnvVars, None, AccessKind::Static, false),
            (Feature::CredentialsProfile, None, AccessKind::Static, false),
            (Feature::CredentialsHttp, ends, AccessKind::PodIdentity, true),
            (Feature::CredentialsImds, ends, AccessKind::Instance, true),
            (Feature::CredentialsStsAssumeRoleWebId, ends, AccessKind::WebIdentity, true),
            (Feature::CredentialsProcess, None, AccessKind::Unknown, false),
            (Feature::CredentialsProcess, ends, AccessKind::Unknown, true),
        ] {
            let access = of(feature.clone(), expiry);
            assert_eq!((access.kind, access.renewable), (kind, renewable), "{feature:?}");
            let at = expiry.and_then(|_| Timestamp::from_microseconds(60_000_000));
            assert_eq!((access.expires_at, access.principal), (at, None), "{feature:?}");
        }
    }
}
