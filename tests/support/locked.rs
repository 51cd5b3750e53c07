//! Buckets with Object Lock, and whoever comes to do harm.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::{
    Client,
    primitives::DateTime,
    types::{
        BucketLocationConstraint, CreateBucketConfiguration, DefaultRetention,
        ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetention, ObjectLockRetentionMode,
        ObjectLockRule,
    },
};
use bytes::Bytes;

/// Makes a bucket with Object Lock.
pub(crate) async fn bucket(client: &Client, name: &str, region: Option<&str>) {
    let place = region.map(|region| {
        CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region))
            .build()
    });
    let create = || {
        let request = client.create_bucket().bucket(name).object_lock_enabled_for_bucket(true);
        request.set_create_bucket_configuration(place.clone()).send()
    };
    let mut last = create().await;
    // The server may still be coming up.
    for _ in 0..100 {
        if last.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = create().await;
    }
    last.unwrap();
}

/// Gives a bucket a retention of its own.
pub(crate) async fn retain(client: &Client, bucket: &str, mode: &str, days: i32) {
    let given = DefaultRetention::builder().mode(ObjectLockRetentionMode::from(mode)).days(days);
    let rule = ObjectLockRule::builder().default_retention(given.build()).build();
    let lock = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(rule)
        .build();
    let put = client.put_object_lock_configuration().bucket(bucket);
    put.object_lock_configuration(lock).send().await.unwrap();
}

/// A version of an object, as the store lists it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) id: String,
}

/// All versions in a bucket, the newest of each name first.
pub(crate) async fn versions(client: &Client, bucket: &str) -> Vec<Seen> {
    let (mut all, mut key, mut id) = (Vec::new(), None, None);
    loop {
        let list = client.list_object_versions().bucket(bucket);
        let page = list.set_key_marker(key).set_version_id_marker(id).send().await.unwrap();
        all.extend(page.versions().iter().map(|version| Seen {
            key: version.key().unwrap().to_owned(),
            id: version.version_id().unwrap().to_owned(),
        }));
        if page.is_truncated() != Some(true) {
            return all;
        }
        key = page.next_key_marker().map(str::to_owned);
        id = page.next_version_id_marker().filter(|id| !id.is_empty()).map(str::to_owned);
    }
}

/// Writes over whatever is there.
pub(crate) async fn put(client: &Client, bucket: &str, key: &str, body: impl Into<Bytes>) {
    let body = aws_sdk_s3::primitives::ByteStream::from(body.into());
    client.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
}

/// Deletes a name: what was there is hidden.
pub(crate) async fn hide(client: &Client, bucket: &str, key: &str) {
    client.delete_object().bucket(bucket).key(key).send().await.unwrap();
}

/// Tries to remove a version for good. Returns why it was refused.
pub(crate) async fn remove(
    client: &Client,
    bucket: &str,
    seen: &Seen,
    bypass: bool,
) -> Option<String> {
    let request = client.delete_object().bucket(bucket).key(&seen.key).version_id(&seen.id);
    let request = request.set_bypass_governance_retention(bypass.then_some(true));
    request.send().await.err().map(|error| format!("{:?}", error.into_service_error()))
}

/// Tries to give a version another retention. Returns why it was refused.
pub(crate) async fn relock(
    client: &Client,
    bucket: &str,
    seen: &Seen,
    mode: &str,
    ends_in: Duration,
) -> Option<String> {
    let until = DateTime::from(SystemTime::now() + ends_in);
    let lock = ObjectLockRetention::builder()
        .mode(ObjectLockRetentionMode::from(mode))
        .retain_until_date(until)
        .build();
    let request = client.put_object_retention().bucket(bucket).key(&seen.key);
    let request = request.version_id(&seen.id).retention(lock);
    request.send().await.err().map(|error| format!("{:?}", error.into_service_error()))
}
