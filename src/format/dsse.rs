//! Signed records: DSSE envelopes (Dead Simple Signing Envelope, v1.0.2) around JSON.
//!
//! The signature is over the exact bytes of the payload and its type, so no canonical
//! form of JSON is needed.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::FormatError;

/// No record is larger than this many bytes.
pub const MAX_RECORD_BYTES: u64 = 16 << 20;

/// A JSON document that is stored signed.
pub trait Payload: Serialize + DeserializeOwned {
    /// What people call it, for errors.
    const WHAT: &'static str;
    /// Its media type, which is signed along with it.
    const TYPE: &'static str;
    /// The newest version that this program reads, and the one that it writes.
    const VERSION: u64;
}

/// An envelope as it is stored: payload type, payload, one signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: [EnvelopeSignature; 1],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

impl Envelope {
    /// The payload and the bytes to sign for it (the pre-authentication encoding).
    ///
    /// # Errors
    /// When the document has no JSON form, which no document of ours lacks.
    pub fn prepare<P: Payload>(document: &P) -> Result<(Vec<u8>, Vec<u8>), FormatError> {
        let payload = serde_json::to_vec(document)
            .map_err(|e| FormatError::damaged(P::WHAT, e.to_string()))?;
        let pae = pae(P::TYPE, &payload);
        Ok((payload, pae))
    }

    /// The stored bytes of a payload that has been signed by the key named `keyid`.
    ///
    /// # Errors
    /// When JSON fails, which it does not.
    pub fn seal<P: Payload>(
        payload: &[u8],
        keyid: &str,
        signature: &[u8],
    ) -> Result<Vec<u8>, FormatError> {
        let envelope = Self {
            payload_type: P::TYPE.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: [EnvelopeSignature {
                keyid: keyid.to_owned(),
                sig: STANDARD.encode(signature),
            }],
        };
        envelope.encode::<P>()
    }

    fn encode<P: Payload>(&self) -> Result<Vec<u8>, FormatError> {
        let mut bytes =
            serde_json::to_vec(self).map_err(|e| FormatError::damaged(P::WHAT, e.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the envelope of a `P`; the payload is not to be believed before its signature is.
    ///
    /// # Errors
    /// When it is no envelope, or one around something else.
    pub fn decode<P: Payload>(bytes: &[u8]) -> Result<Opened, FormatError> {
        let not_ours = |why: String| FormatError::NotOurs { what: P::WHAT, why };
        let envelope: Self = serde_json::from_slice(bytes).map_err(|e| not_ours(e.to_string()))?;
        // There is one way to write an envelope: what is around the signed payload must not
        // change unseen either (white space, escapes, the order of fields).
        if envelope.encode::<P>()? != bytes {
            return Err(FormatError::damaged(P::WHAT, "it is not written as Backstay writes it"));
        }
        if envelope.payload_type != P::TYPE {
            let found: String = envelope.payload_type.chars().take(80).collect();
            return Err(not_ours(format!("its type is `{found}`, not `{}`", P::TYPE)));
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|e| not_ours(e.to_string()));
        let payload = decode(&envelope.payload)?;
        let [signature] = envelope.signatures;
        Ok(Opened {
            signed: pae(P::TYPE, &payload),
            signature: decode(&signature.sig)?,
            keyid: signature.keyid,
            payload,
        })
    }
}

/// An envelope that has been taken apart.
#[derive(Debug)]
pub struct Opened {
    /// The payload, not yet believed.
    pub payload: Vec<u8>,
    /// What was signed.
    pub signed: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The name of the key that is said to have signed. It is not signed: whoever believes the
    /// signature checks that this is the name of the key that made it.
    pub keyid: String,
}

impl Opened {
    /// Reads the payload as a `P`; its version first.
    ///
    /// # Errors
    /// When it is newer than this program, or does not follow its version.
    pub fn document<P: Payload>(&self) -> Result<P, FormatError> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let damaged = |e: serde_json::Error| FormatError::damaged(P::WHAT, e.to_string());
        let Version { version } = serde_json::from_slice(&self.payload).map_err(damaged)?;
        if version > P::VERSION {
            return Err(FormatError::Newer { what: P::WHAT, found: version, known: P::VERSION });
        }
        if version == 0 {
            return Err(FormatError::damaged(P::WHAT, "no version 0 was ever written"));
        }
        serde_json::from_slice(&self.payload).map_err(damaged)
    }
}

/// `DSSEv1 SP len(type) SP type SP len(body) SP body`.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out =
        format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        version: u64,
        name: String,
    }

    impl Payload for Sample {
        const WHAT: &'static str = "sample";
        const TYPE: &'static str = "application/x-sample";
        const VERSION: u64 = 1;
    }

    #[test]
    fn the_pre_authentication_encoding_is_the_published_one() {
        // The example of the DSSE specification, "Test Vectors".
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_record_reads_what_it_writes() {
        let sample = Sample { version: 1, name: "a".into() };
        let (payload, signed) = Envelope::prepare(&sample).unwrap();
        let stored = Envelope::seal::<Sample>(&payload, "key", b"sig").unwrap();
        let opened = Envelope::decode::<Sample>(&stored).unwrap();
        assert_eq!(
            (opened.signed.as_slice(), opened.signature.as_slice()),
            (signed.as_slice(), &b"sig"[..])
        );
        assert_eq!(opened.document::<Sample>().unwrap(), sample);
    }

    #[test]
    fn there_is_one_way_to_write_an_envelope() {
        let stored = Envelope::seal::<Sample>(br#"{"version":1,"name":"a"}"#, "key", b"s").unwrap();
        assert!(Envelope::decode::<Sample>(&stored).is_ok());
        let text = String::from_utf8(stored.clone()).unwrap();
        for other in [
            text.trim_end().to_owned(),
            text.replace('\n', " "),
            text.replace("{\"payloadType", "{ \"payloadType"),
            text.replace("\"key\"", "\"\\u006bey\""),
            format!("{text}\n"),
        ] {
            assert_ne!(other, text);
            assert!(Envelope::decode::<Sample>(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_newer_version_is_refused_before_its_fields_are_looked_at() {
        let payload = br#"{"version":2,"other":true}"#;
        let stored = Envelope::seal::<Sample>(payload, "key", b"sig").unwrap();
        let error = Envelope::decode::<Sample>(&stored).unwrap().document::<Sample>().unwrap_err();
        assert_eq!(error, FormatError::Newer { what: "sample", found: 2, known: 1 });
    }

    #[test]
    fn a_version_that_never_was_is_refused() {
        let stored =
            Envelope::seal::<Sample>(br#"{"version":0,"name":"a"}"#, "key", b"sig").unwrap();
        let error = Envelope::decode::<Sample>(&stored).unwrap().document::<Sample>().unwrap_err();
        assert!(matches!(error, FormatError::Damaged { .. }), "{error}");
    }
}
