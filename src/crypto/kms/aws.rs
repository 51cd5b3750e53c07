//! `aws-kms:<ARN>`: a symmetric KEK in AWS KMS.
//!
//! The context is the encryption context, so it stands in CloudTrail beside each use, and policies
//! may ask for it. A wrap records the key as it was named, and the ARN of the key that made it.

use async_trait::async_trait;
use aws_sdk_kms::{Client, primitives::Blob};
use zeroize::Zeroizing;

use super::{KeyContext, Kms, KmsError};
use crate::{
    crypto::{
        Dek, Fault, Patience,
        aws::{AwsKey, access, connect, failed},
    },
    model::{Access, Connection, Peer, TransportSecurity, WrappedDek},
    transport::Dialer,
};

/// The name of this kind of wrap in key records.
const ALGORITHM: &str = "aws-kms";
const DEK_BYTES: i32 = 32;

/// A KEK in AWS KMS.
#[derive(Debug)]
pub struct AwsKms {
    name: String,
    key: AwsKey,
    client: Client,
    /// Nothing with a client that was made elsewhere.
    dialer: Option<Dialer>,
}

impl AwsKms {
    /// The KEK of this ARN or alias; nothing is asked yet.
    ///
    /// # Errors
    /// When that is no name, or nothing says in which region it is.
    pub async fn open(key: &str, patience: Patience) -> Result<Self, KmsError> {
        let key = AwsKey::parse(key).ok_or_else(|| KmsError::Uri(format!("aws-kms:{key}")))?;
        let (client, dialer) = connect(&key, patience).await?;
        Ok(Self { name: key.to_string(), key, client, dialer: Some(dialer) })
    }

    /// The KEK of this ARN or alias, asked by a client that is there.
    ///
    /// # Errors
    /// When that is no name.
    pub fn by(key: &str, client: Client) -> Result<Self, KmsError> {
        let key = AwsKey::parse(key).ok_or_else(|| KmsError::Uri(format!("aws-kms:{key}")))?;
        Ok(Self { name: key.to_string(), key, client, dialer: None })
    }

    fn wrapped(&self, key_arn: Option<String>, ciphertext: Option<Blob>) -> WrappedDek {
        WrappedDek {
            kek: self.name.clone(),
            kek_version: key_arn,
            algorithm: ALGORITHM.into(),
            ciphertext: ciphertext.unwrap_or_else(|| Blob::new([])).into_inner(),
        }
    }

    fn refused(&self) -> KmsError {
        KmsError::Refused { kek: self.name.clone() }
    }
}

/// The DEK in what the service gave, which is wiped.
fn dek(plaintext: Option<Blob>) -> Option<Dek> {
    let plain = Zeroizing::new(plaintext?.into_inner());
    <[u8; 32]>::try_from(plain.as_slice()).ok().map(Dek::from_bytes)
}

#[async_trait]
impl Kms for AwsKms {
    fn name(&self) -> &str {
        &self.name
    }

    fn made(&self, wrapped: &WrappedDek) -> bool {
        self.key.opens(&wrapped.kek, wrapped.kek_version.as_deref()).is_some()
    }

    async fn generate(&self, context: &KeyContext) -> Result<(Dek, WrappedDek), KmsError> {
        let mut call = self.client.generate_data_key().key_id(self.key.id());
        for (name, value) in context.pairs() {
            call = call.encryption_context(name, value);
        }
        let made = call
            .number_of_bytes(DEK_BYTES)
            .send()
            .await
            .map_err(|e| failed("make a DEK", "kms:GenerateDataKey", &self.key, &e).0)?;
        let dek = dek(made.plaintext).ok_or_else(|| self.refused())?;
        Ok((dek, self.wrapped(made.key_id, made.ciphertext_blob)))
    }

    async fn wrap(&self, context: &KeyContext, dek: &Dek) -> Result<WrappedDek, KmsError> {
        let mut call = self.client.encrypt().key_id(self.key.id());
        for (name, value) in context.pairs() {
            call = call.encryption_context(name, value);
        }
        let made = call
            .plaintext(Blob::new(dek.expose().as_slice()))
            .send()
            .await
            .map_err(|e| failed("wrap a DEK", "kms:Encrypt", &self.key, &e).0)?;
        Ok(self.wrapped(made.key_id, made.ciphertext_blob))
    }

    async fn unwrap(&self, context: &KeyContext, wrapped: &WrappedDek) -> Result<Dek, KmsError> {
        if wrapped.algorithm != ALGORITHM {
            return Err(self.refused());
        }
        let Some(key_id) = self.key.opens(&wrapped.kek, wrapped.kek_version.as_deref()) else {
            return Err(KmsError::OtherKek { kek: self.name.clone(), found: wrapped.kek.clone() });
        };
        // Pinned: the ciphertext names a key, too, and who changed it could name one of theirs.
        let mut call = self.client.decrypt().key_id(key_id);
        for (name, value) in context.pairs() {
            call = call.encryption_context(name, value);
        }
        match call.ciphertext_blob(Blob::new(wrapped.ciphertext.as_slice())).send().await {
            Ok(opened) => dek(opened.plaintext).ok_or_else(|| self.refused()),
            Err(error) => {
                let (error, code) = failed("unwrap a DEK", "kms:Decrypt", &self.key, &error);
                Err(match (error.fault, code.as_deref()) {
                    (_, Some("InvalidCiphertextException")) => self.refused(),
                    (Fault::Denied, Some("AccessDeniedException")) => {
                        KmsError::WrapOnly { kek: self.name.clone(), why: error.to_string() }
                    }
                    _ => error.into(),
                })
            }
        }
    }

    fn connection(&self) -> Connection {
        match &self.dialer {
            Some(dialer) => dialer.seen().connection(Peer::Kms),
            None => Connection::new(Peer::Kms, TransportSecurity::Unknown),
        }
    }

    async fn access(&self) -> Result<Access, KmsError> {
        Ok(access(&self.key).await?)
    }
}
