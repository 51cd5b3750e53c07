//! The frozen examples of wraps by Key Vault, good and bad, opened by the real reader. The keys lie in
//! them, so that they can be read without the service.
//!
//! `BACKSTAY_WRITE_VECTORS=1 cargo test --test key_services -- --ignored` writes those that are missing.

use std::{collections::BTreeMap, fs, path::PathBuf};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeySize, PrivateDecryptingKey},
};
use backstay::{
    crypto::{
        Dek,
        kms::{KeyContext, Kms as _, KmsError},
        random,
    },
    model::WrappedDek,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    azure::kms,
    key_vault::{KeyVault, VaultKey, Version},
};

#[derive(Clone, Serialize, Deserialize)]
struct Vector {
    name: String,
    why: String,
    algorithm: String,
    cluster: String,
    dek_id: String,
    purpose: String,
    kek_version: String,
    /// The key in the vault: PKCS #8 of an RSA key, or the 32 bytes of an AES key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rsa: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aes: Option<String>,
    ciphertext: String,
    /// Nothing: it must not open.
    dek: Option<String>,
}

impl Vector {
    fn context(&self) -> KeyContext {
        let purpose = if self.purpose == "archive" { "archive" } else { "backup" };
        KeyContext {
            cluster: self.cluster.parse().unwrap(),
            dek: self.dek_id.parse().unwrap(),
            purpose,
        }
    }

    /// The vault that has its key.
    async fn vault(&self) -> KeyVault {
        let vault = KeyVault::start().await;
        let kind = if self.rsa.is_some() { "RSA" } else { "oct-HSM" };
        let rsa = self.rsa.as_ref().map(|text| BASE64_STANDARD.decode(text).unwrap());
        let aes = self.aes.as_ref().map(|text| hex::decode(text).unwrap());
        let version = Version::with(&self.kek_version, rsa.as_deref(), aes.as_deref());
        vault.add("kek", VaultKey { versions: vec![version], ..VaultKey::of(kind) });
        vault
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/wraps")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frozen_wraps_open_and_the_bad_ones_do_not() {
    let mut seen = BTreeMap::<String, usize>::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let vector: Vector = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let vault = vector.vault().await;
        let kms = kms(&vault, "kek");
        let wrapped = WrappedDek {
            kek: kms.name().to_owned(),
            kek_version: Some(vector.kek_version.clone()),
            algorithm: vector.algorithm.clone(),
            ciphertext: BASE64_STANDARD.decode(&vector.ciphertext).unwrap(),
        };
        let opened = kms.unwrap(&vector.context(), &wrapped).await;
        match (&vector.dek, opened) {
            (Some(dek), Ok(opened)) => {
                assert_eq!(&hex::encode(opened.expose()), dek, "{}", vector.name);
            }
            (None, Err(KmsError::Refused { .. })) => {}
            (_, other) => panic!("{}: {other:?}", vector.name),
        }
        *seen.entry(vector.algorithm).or_default() += 1;
    }
    let seen: Vec<_> = seen.into_iter().collect();
    let of = |name: &str, count| (name.to_owned(), count);
    assert_eq!(seen, [of("azure-kv-a256gcm", 6), of("azure-kv-rsa-oaep-256", 6)]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it writes the frozen examples"]
async fn write() {
    assert!(std::env::var_os("BACKSTAY_WRITE_VECTORS").is_some());
    fs::create_dir_all(folder()).unwrap();
    let rsa = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let rsa = AsDer::<Pkcs8V1Der>::as_der(&rsa).unwrap();
    let rsa = BASE64_STANDARD.encode(rsa.as_ref());
    let aes = hex::encode(random::<32>().unwrap());
    for (short, algorithm, at) in
        [("rsa", "azure-kv-rsa-oaep-256", 256), ("gcm", "azure-kv-a256gcm", 12)]
    {
        let is_rsa = short == "rsa";
        let mut good = Vector {
            name: format!("good-{short}"),
            why: "a wrap as Key Vault makes it".to_owned(),
            algorithm: algorithm.to_owned(),
            cluster: "c1".repeat(16),
            dek_id: "d2".repeat(16),
            purpose: "backup".to_owned(),
            kek_version: "a7".repeat(16),
            rsa: is_rsa.then(|| rsa.clone()),
            aes: (!is_rsa).then(|| aes.clone()),
            ciphertext: String::new(),
            dek: Some("5e".repeat(32)),
        };
        let vault = good.vault().await;
        let wrapped = kms(&vault, "kek").wrap(&good.context(), &Dek::from_bytes([0x5e; 32])).await;
        let bytes = wrapped.unwrap().ciphertext;
        good.ciphertext = BASE64_STANDARD.encode(&bytes);
        let bad = |name: &str, why: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            let ciphertext = BASE64_STANDARD.encode(bytes);
            let (name, why) = (format!("bad-{short}-{name}"), why.to_owned());
            Vector { name, why, ciphertext, dek: None, ..good.clone() }
        };
        let other_dek = Vector {
            dek_id: "d3".repeat(16),
            ..bad("context", "the context of another DEK", &|_| {})
        };
        let other_purpose = Vector {
            purpose: "archive".to_owned(),
            ..bad("purpose", "the context of another purpose", &|_| {})
        };
        let first = if is_rsa { "the wrapped key is changed" } else { "the nonce is changed" };
        let vectors = [
            other_dek,
            other_purpose,
            bad("first", first, &|bytes| bytes[at - 1] ^= 1),
            bad("sealed", "the encrypted DEK is changed", &|bytes| bytes[at] ^= 1),
            bad("cut", "the last byte is missing", &|bytes| {
                bytes.pop();
            }),
            good,
        ];
        for vector in vectors {
            let path = folder().join(format!("{}.json", vector.name));
            if !path.exists() {
                fs::write(path, serde_json::to_string_pretty(&vector).unwrap() + "\n").unwrap();
            }
        }
    }
}
