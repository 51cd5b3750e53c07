//! Uploads in parts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;

use super::{
    super::{
        StoreErrorKind,
        backend::{Fault, Parts, Stale},
    },
    S3,
    keep::Headers,
    spell, time,
};
use crate::model::Timestamp;

pub(super) struct S3Parts {
    s3: S3,
    object: String,
    id: String,
    sent: Mutex<BTreeMap<u32, Sent>>,
}

struct Sent {
    etag: Option<String>,
    crc: crc32fast::Hasher,
}

impl S3Parts {
    pub(super) async fn begin(s3: S3, object: String, headers: Headers) -> Result<Self, Fault> {
        let request = s3
            .client
            .create_multipart_upload()
            .bucket(&s3.place.bucket)
            .key(&object)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .checksum_type(ChecksumType::FullObject)
            .set_object_lock_mode(headers.mode)
            .set_object_lock_retain_until_date(headers.until)
            .set_object_lock_legal_hold_status(headers.hold)
            .set_server_side_encryption(headers.encryption)
            .set_ssekms_key_id(headers.encryption_key)
            .set_storage_class(headers.class);
        let answer = s3.call(false, request.send()).await?;
        let id = answer.upload_id().unwrap_or_default().to_owned();
        if id.is_empty() {
            return Err(Fault::new(
                StoreErrorKind::Other,
                "the store began an upload without an id",
            ));
        }
        Ok(Self { s3, object, id, sent: Mutex::default() })
    }

    /// The parts in order, and the checksum of them all, put together from theirs.
    fn assembled(&self) -> (CompletedMultipartUpload, String) {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut crc = crc32fast::Hasher::new();
        let mut parts = Vec::with_capacity(sent.len());
        for (number, part) in sent.iter() {
            crc.combine(&part.crc);
            let checksum = spell(part.crc.clone().finalize());
            parts.push(
                CompletedPart::builder()
                    .part_number(part_number(*number))
                    .set_e_tag(part.etag.clone())
                    .checksum_crc32(checksum)
                    .build(),
            );
        }
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        (list, spell(crc.finalize()))
    }
}

/// S3 counts parts from 1.
fn part_number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX - 1) + 1
}

#[async_trait]
impl Parts for S3Parts {
    async fn part(&self, number: u32, body: Bytes) -> Result<(), Fault> {
        // A repeated attempt finds the checksum of the first one.
        let known = |sent: &BTreeMap<u32, Sent>| sent.get(&number).map(|part| part.crc.clone());
        let known = known(&self.sent.lock().unwrap_or_else(PoisonError::into_inner));
        let crc = known.unwrap_or_else(|| {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&body);
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.insert(number, Sent { etag: None, crc: crc.clone() });
            crc
        });
        let request = self
            .s3
            .client
            .upload_part()
            .bucket(&self.s3.place.bucket)
            .key(&self.object)
            .upload_id(&self.id)
            .part_number(part_number(number))
            .checksum_crc32(spell(crc.finalize()))
            .body(ByteStream::from(body))
            .customize();
        let signed = self.s3.sign_payloads;
        let request = if signed { request } else { request.disable_payload_signing() };
        let answer = self.s3.call(false, request.send()).await?;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = sent.get_mut(&number) {
            part.etag = answer.e_tag().map(str::to_owned);
        }
        Ok(())
    }

    async fn complete(&self, _parts: u32, size: u64) -> Result<(), Fault> {
        let (list, crc) = self.assembled();
        let request = self
            .s3
            .client
            .complete_multipart_upload()
            .bucket(&self.s3.place.bucket)
            .key(&self.object)
            .upload_id(&self.id)
            .multipart_upload(list)
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc32(crc)
            .set_mpu_object_size(i64::try_from(size).ok());
        let done = self.s3.call(true, request.send()).await.map(drop);
        // The parts have arrived, each with its own checksum: a sum that is wrong stays wrong.
        done.map_err(|f| Fault { again: f.again && f.kind != StoreErrorKind::Corrupt, ..f })
    }

    async fn abort(&self) -> Result<(), Fault> {
        abort(&self.s3, &self.object, &self.id).await
    }
}

pub(super) async fn abort(s3: &S3, object: &str, id: &str) -> Result<(), Fault> {
    let request = s3.client.abort_multipart_upload().bucket(&s3.place.bucket);
    let request = request.key(object).upload_id(id);
    s3.call(false, request.send()).await.map(drop)
}

pub(super) async fn stale(s3: &S3, prefix: &str, before: Timestamp) -> Result<Vec<Stale>, Fault> {
    let full = s3.place.full(prefix);
    let found = unfinished(s3, &full, &full, before).await?;
    if !found.is_empty() || full.is_empty() {
        return Ok(found);
    }
    // MinIO answers for a whole key or for the whole bucket, and for nothing between.
    match unfinished(s3, "", &full, before).await {
        Err(fault) if fault.kind == StoreErrorKind::Denied => Ok(found),
        all => all,
    }
}

async fn unfinished(
    s3: &S3,
    asked: &str,
    wanted: &str,
    before: Timestamp,
) -> Result<Vec<Stale>, Fault> {
    let (mut found, mut after_key, mut after_id) = (Vec::new(), None, None);
    loop {
        let request = s3.client.list_multipart_uploads().bucket(&s3.place.bucket).prefix(asked);
        let request = request.set_key_marker(after_key).set_upload_id_marker(after_id);
        let page = s3.call(false, request.send()).await?;
        for upload in page.uploads() {
            let (Some(object), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
            let old = time(upload.initiated()).is_some_and(|begun| begun < before);
            if old && object.starts_with(wanted) {
                found.push(Stale { object: object.to_owned(), id: id.to_owned() });
            }
        }
        if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
            return Ok(found);
        }
        after_key = page.next_key_marker().map(str::to_owned);
        after_id = page.next_upload_id_marker().map(str::to_owned);
    }
}
