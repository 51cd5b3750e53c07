//! `gcp-kms:projects/…/cryptoKeys/<key>/cryptoKeyVersions/<n>`: an Ed25519 signer in Google's Cloud
//! KMS. Each version is a key of its own, so the version is a part of the name.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use super::{DER, Signer, SignerError};
use crate::{
    crypto::{
        PUBLIC_KEY_BYTES, SIGNATURE_BYTES,
        bearer::Bearer,
        gcp::{self, GCP, GcpKey, GcpOptions},
        rest::{Ask, body},
        verify,
    },
    model::{Connection, Peer},
};

/// A signer in Cloud KMS.
#[derive(Debug)]
pub struct GcpSigner {
    id: String,
    key: GcpKey,
    public: [u8; PUBLIC_KEY_BYTES],
    service: Bearer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicKey {
    pem: String,
    pem_crc32c: String,
    algorithm: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sign {
    data: String,
    data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    signature: String,
    signature_crc32c: String,
    #[serde(default)]
    verified_data_crc32c: bool,
}

impl GcpSigner {
    /// The signer of this name, with the public key that Cloud KMS has for it.
    ///
    /// # Errors
    /// When that is no version of a key, the service cannot be asked, or it is no Ed25519 key.
    pub async fn open(key: &str, options: &GcpOptions) -> Result<Self, SignerError> {
        let key = GcpKey::parse(key)
            .filter(|key| key.version.is_some())
            .ok_or_else(|| SignerError::Uri(format!("gcp-kms:{key}")))?;
        let id = key.to_string();
        let service = gcp::open(options, &id)?;
        let ask = Ask {
            service: &GCP,
            operation: "read the public key of the signer",
            key: &id,
            right: "cloudkms.cryptoKeyVersions.viewPublicKey",
            path: key.path("/publicKey"),
            body: None,
        };
        let read = service.ask_and(&ask, |answer| {
            let found: PublicKey = ask.read(answer)?;
            if gcp::crc32c(found.pem.as_bytes()) != found.pem_crc32c {
                return Err(gcp::corrupted(&ask, "the public key has another checksum").into());
            }
            Ok(found)
        });
        let PublicKey { pem, algorithm, .. } = read.await.map_err(|refusal| refusal.error)?;
        if algorithm != "EC_SIGN_ED25519" {
            let hint = "a signer is a version of algorithm EC_SIGN_ED25519";
            return Err(ask.wrong_kind(format!("it is {algorithm}"), hint).into());
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok();
        let public = der.and_then(|der| der.strip_prefix(&DER)?.try_into().ok());
        let public = public.ok_or_else(|| ask.unexpected("it is no Ed25519 key"))?;
        Ok(Self { id, key, public, service })
    }
}

#[async_trait]
impl Signer for GcpSigner {
    fn id(&self) -> &str {
        &self.id
    }

    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignerError> {
        let sent = Sign { data: STANDARD.encode(message), data_crc32c: gcp::crc32c(message) };
        let ask = Ask {
            service: &GCP,
            operation: "sign a record",
            key: &self.id,
            right: "cloudkms.cryptoKeyVersions.useToSign",
            path: self.key.path(":asymmetricSign"),
            body: Some(body(&sent)),
        };
        let signed = self.service.ask_and(&ask, |answer| {
            let signed: Signed = ask.read(answer)?;
            if !signed.verified_data_crc32c {
                let why = "the service did not verify the checksum of what it was sent";
                return Err(gcp::corrupted(&ask, why).into());
            }
            gcp::checked(&ask, &signed.signature, &signed.signature_crc32c)
        });
        let bytes = signed.await.map_err(|refusal| refusal.error)?;
        let bytes: Option<[u8; SIGNATURE_BYTES]> = bytes.as_slice().try_into().ok();
        // What does not verify here would not be believed by any reader either.
        bytes.filter(|bytes| verify(&self.public, message, bytes).is_ok()).ok_or_else(|| {
            ask.unexpected("the signature does not verify with the public key").into()
        })
    }

    fn connection(&self) -> Connection {
        self.service.connection(Peer::Signer)
    }
}
