//! Bodies of answers.

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use super::super::{
    StoreErrorKind,
    backend::{Fault, chain},
};

/// Collects a body without ever holding it twice, and says when it is not what was announced.
pub(super) async fn whole(
    mut body: ByteStream,
    announced: Option<u64>,
    limit: u64,
) -> Result<Bytes, Fault> {
    if let Some(size) = announced.filter(|size| *size > limit) {
        return Err(Fault::too_large(size, limit));
    }
    let room = announced.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(room);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| {
            let text = chain(&error);
            // The SDK checks the stored checksum as the last byte goes by.
            if text.to_ascii_lowercase().contains("checksum") {
                Fault::new(StoreErrorKind::Corrupt, text).again()
            } else {
                Fault::new(StoreErrorKind::Unavailable, text)
            }
        })?;
        whole.extend_from_slice(&piece);
        if whole.len() as u64 > limit {
            return Err(Fault::too_large(whole.len() as u64, limit));
        }
    }
    match announced {
        Some(size) if size != whole.len() as u64 => Err(Fault::new(
            StoreErrorKind::Unavailable,
            format!("the body ended after {} of {size} bytes", whole.len()),
        )),
        _ => Ok(whole.freeze()),
    }
}
