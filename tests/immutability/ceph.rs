//! Ceph: its locks are strict, and it ignores conditions where it keeps versions. So nothing is
//! written there; what was copied there under its locks is read, whatever is put over it.

use std::{fs, time::SystemTime};

use aws_sdk_s3::{
    primitives::{ByteStream, DateTime},
    types::ObjectLockMode,
};

use crate::{
    home::Home,
    hostile::attack,
    locked,
    rgw::Rgw,
    stage::{self, LOCK},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_ceph_locks_is_read_below_all_that_was_put_over_it() {
    let mut home = Home::file();
    for id in ["one", "two"] {
        stage::feed(&home, id, &[]).expect(0);
    }
    let rgw = tokio::task::block_in_place(Rgw::start);
    let (client, bucket) = (rgw.client(), "copied");
    locked::bucket(&client, bucket, None).await;
    let root = home.path("repo");
    let until = SystemTime::now() + std::time::Duration::from_hours(24);
    let mut copied = 0;
    for path in files(&root) {
        let key = format!("p/{}", path.strip_prefix(&root).unwrap().display());
        let put = client.put_object().bucket(bucket).key(key);
        let put = put.object_lock_mode(ObjectLockMode::Compliance);
        let put = put.object_lock_retain_until_date(DateTime::from(until));
        put.body(ByteStream::from(fs::read(path).unwrap())).send().await.unwrap();
        copied += 1;
    }
    let repo = home.flags.iter().position(|flag| flag == "--repo").unwrap();
    home.flags[repo + 1] = format!("s3://{bucket}/p");
    home.flags.extend(["--store-endpoint".to_owned(), rgw.endpoint()]);
    home.flags.extend(["--store-region", "us-east-1"].map(str::to_owned));
    let keys = fs::read_to_string(rgw.credentials_file()).unwrap();
    for (name, variable) in [
        ("aws_access_key_id = ", "AWS_ACCESS_KEY_ID"),
        ("aws_secret_access_key = ", "AWS_SECRET_ACCESS_KEY"),
    ] {
        let value = keys.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        home.env.push((variable.to_owned(), value.to_owned()));
    }
    assert_eq!(home.run(&["verify"]).expect(0).json()["status"], "ok");

    let attacked = attack(&client, bucket).await;
    // What was copied, and what has been recorded since.
    assert!(attacked.len() >= copied, "{attacked:?}");
    let verified = home.run(&["verify"]).expect(0).json();
    assert_eq!(verified["status"], "warn", "{verified}");
    assert_eq!(verified["intruders"].as_array().unwrap().len(), attacked.len(), "{verified}");
    assert_eq!(home.listed().len(), 2);

    // Nothing is written where a condition is ignored, or a lock left out.
    stage::feed(&home, "three", &[]).expect(3).says("overwrote");
    stage::feed(&home, "three", &LOCK).expect(3).says("overwrote");
    // The bucket's policy of the manual, but for what needs TLS: nobody lifts a lock.
    let versions = locked::versions(&client, bucket).await;
    let newest = versions.iter().find(|seen| seen.key.contains("vol-")).unwrap();
    let day = std::time::Duration::from_hours(24);
    assert_eq!(locked::relock(&client, bucket, newest, "GOVERNANCE", day * 40).await, None);
    let mut policy: serde_json::Value =
        serde_json::from_str(&crate::policies::policy("bucket.json", bucket)).unwrap();
    policy["Statement"].as_array_mut().unwrap().retain(|rule| rule["Sid"] != "OverTlsOnly");
    client.put_bucket_policy().bucket(bucket).policy(policy.to_string()).send().await.unwrap();
    assert!(locked::remove(&client, bucket, newest, true).await.is_some());
    client.delete_bucket_policy().bucket(bucket).send().await.unwrap();
    assert_eq!(locked::remove(&client, bucket, newest, true).await, None, "it was the policy");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
