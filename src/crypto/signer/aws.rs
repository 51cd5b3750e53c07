//! `aws-kms:<ARN>`: an Ed25519 signer in AWS KMS (key spec `ECC_NIST_EDWARDS25519`).

use async_trait::async_trait;
use aws_sdk_kms::{
    Client,
    primitives::Blob,
    types::{KeySpec, MessageType, SigningAlgorithmSpec},
};

use super::{DER, Signer, SignerError};
use crate::{
    crypto::{
        Fault, PUBLIC_KEY_BYTES, Patience, SIGNATURE_BYTES, ServiceError,
        aws::{AwsKey, connect, failed},
        verify,
    },
    model::{Connection, Peer},
    transport::Dialer,
};

/// A signer in AWS KMS.
#[derive(Debug)]
pub struct AwsSigner {
    id: String,
    key: AwsKey,
    public: [u8; PUBLIC_KEY_BYTES],
    client: Client,
    dialer: Dialer,
}

fn wrong(key: &AwsKey, fault: Fault, operation: &'static str, why: String) -> ServiceError {
    let hint = "a signer is an ECC_NIST_EDWARDS25519 key for SIGN_VERIFY".to_owned();
    ServiceError { fault, operation, key: key.to_string(), why, hint }
}

impl AwsSigner {
    /// The signer of this ARN or alias, with the public key that AWS KMS has for it.
    ///
    /// # Errors
    /// When that is no name, the service cannot be asked, or it is no Ed25519 key.
    pub async fn open(key: &str, patience: Patience) -> Result<Self, SignerError> {
        const OPERATION: &str = "read the public key of the signer";
        let key = AwsKey::parse(key).ok_or_else(|| SignerError::Uri(format!("aws-kms:{key}")))?;
        let (client, dialer) = connect(&key, patience).await?;
        let found = client.get_public_key().key_id(key.id()).send().await;
        let found = found.map_err(|e| failed(OPERATION, "kms:GetPublicKey", &key, &e).0)?;
        if found.key_spec() != Some(&KeySpec::EccNistEdwards25519) {
            let kind = found.key_spec().map_or("of no kind", KeySpec::as_str);
            return Err(wrong(&key, Fault::WrongKind, OPERATION, format!("it is {kind}")).into());
        }
        let der = found.public_key().map(Blob::as_ref).unwrap_or_default();
        let public =
            der.strip_prefix(&DER).and_then(|raw| raw.try_into().ok()).ok_or_else(|| {
                wrong(&key, Fault::Unexpected, OPERATION, "it is no Ed25519 key".to_owned())
            })?;
        // An alias may point elsewhere tomorrow; who signed is the key itself.
        let id = format!("aws-kms:{}", found.key_id().unwrap_or(key.id()));
        Ok(Self { id, key, public, client, dialer })
    }
}

#[async_trait]
impl Signer for AwsSigner {
    fn id(&self) -> &str {
        &self.id
    }

    fn public_key(&self) -> [u8; PUBLIC_KEY_BYTES] {
        self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], SignerError> {
        const OPERATION: &str = "sign a record";
        let call = self
            .client
            .sign()
            .key_id(self.id.strip_prefix("aws-kms:").unwrap_or(self.key.id()))
            .message(Blob::new(message))
            .message_type(MessageType::Raw)
            .signing_algorithm(SigningAlgorithmSpec::Ed25519Sha512);
        let made = call.send().await.map_err(|e| failed(OPERATION, "kms:Sign", &self.key, &e).0)?;
        let bytes: Option<[u8; SIGNATURE_BYTES]> =
            made.signature().and_then(|blob| blob.as_ref().try_into().ok());
        // What does not verify here would not be believed by any reader either.
        bytes.filter(|bytes| verify(&self.public, message, bytes).is_ok()).ok_or_else(|| {
            let why = "the signature does not verify with the public key".to_owned();
            wrong(&self.key, Fault::Unexpected, OPERATION, why).into()
        })
    }

    fn connection(&self) -> Connection {
        self.dialer.seen().connection(Peer::Signer)
    }
}
