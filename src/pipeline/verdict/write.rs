//! Frames, made.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Head, Kind, MAGIC, MAX_DATA, Said};

/// What a stream begins with.
#[must_use]
pub fn magic() -> Bytes {
    Bytes::from_static(MAGIC)
}

/// The head.
///
/// # Errors
/// When it cannot be written down, or is longer than a head may be.
pub fn head(head: &Head) -> Result<Bytes, String> {
    document(Kind::Head, head)
}

/// Some of the backup, in as many frames as it takes; nothing for nothing.
#[must_use]
pub fn data(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 5 * bytes.len().div_ceil(MAX_DATA));
    for part in bytes.chunks(MAX_DATA) {
        frame(&mut out, Kind::Data, part);
    }
    out.freeze()
}

/// A sign of life.
#[must_use]
pub fn keep_alive() -> Bytes {
    let mut out = BytesMut::with_capacity(5);
    frame(&mut out, Kind::KeepAlive, &[]);
    out.freeze()
}

/// The end.
///
/// # Errors
/// As [`head`].
pub fn verdict(said: &Said) -> Result<Bytes, String> {
    document(Kind::Verdict, said)
}

fn document(kind: Kind, value: &impl serde::Serialize) -> Result<Bytes, String> {
    let json = serde_json::to_vec(value).map_err(|e| e.to_string())?;
    if !kind.allows(json.len()) {
        return Err(format!("{} bytes are more than a frame may have", json.len()));
    }
    let mut out = BytesMut::with_capacity(5 + json.len());
    frame(&mut out, kind, &json);
    Ok(out.freeze())
}

fn frame(out: &mut BytesMut, kind: Kind, payload: &[u8]) {
    out.put_u8(kind.letter());
    // Every caller has held the length against its limit, which is far below 4 GiB.
    out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    out.put_slice(payload);
}
