//! Whole backups with keys in Vault, by the program itself.

use std::path::Path;

use crate::{
    home::{Home, strs},
    stage::{home, source, with},
    transit::{READER, Transit, TransitKey, WRITER},
};

fn token(home: &Home, name: &str) -> String {
    let path = home.path(name);
    std::fs::write(&path, format!("{name}-token-{}", "x".repeat(24))).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_verified_and_restored_with_keys_in_vault() {
    let source = source().await;
    let transit = Transit::start().await;
    let address = transit.address();
    let home = home("vault:transit/kek", Some("vault:transit/signer"), &[("VAULT_ADDR", &address)]);
    let (writer, reader) = (token(&home, "writer"), token(&home, "reader"));
    for (name, policy) in [("writer", &WRITER), ("reader", &READER)] {
        transit.grant(&std::fs::read_to_string(home.path(name)).unwrap(), policy);
    }
    let (as_writer, as_reader) =
        ([("VAULT_TOKEN_FILE", &*writer)], [("VAULT_TOKEN_FILE", &*reader)]);

    let trusted = with(&home, &["keys", "trust"], &as_writer).expect(0).json();
    assert_eq!(trusted["signer"], "vault:transit/signer:v1");
    with(&home, &["keys", "trust"], &as_writer).expect(2).says("choose a path");

    let args = home.backup(&source.socket, &["--id", "one"]);
    let args = strs(&args);
    let backed_up = with(&home, &args, &[as_writer[0], ("BACKSTAY_LOG", "trace")]).expect(0);
    assert_eq!(backed_up.json()["status"], "complete");
    let secret = std::fs::read_to_string(home.path("writer")).unwrap();
    assert!(!format!("{}{}", backed_up.out, backed_up.err).contains(&secret), "a token in the log");

    // The archiver wraps for another purpose, and by the same rights.
    let mut args = home.backup(&source.socket, &["--until-current"]);
    args[0] = "archive".to_owned();
    with(&home, &strs(&args), &as_writer).expect(0);

    // Readers see who signed, and the writer's token opens nothing.
    let datadir = home.path("new").display().to_string();
    let restore = ["restore", "--datadir", &datadir];
    let refused = with(&home, &restore, &as_writer).expect(3);
    let refused = refused.says("cannot unwrap").says("transit/decrypt/kek");
    assert!(!refused.err.contains(&secret));
    with(&home, &["verify"], &as_writer).expect(3).says("cannot unwrap");
    with(&home, &["verify", "--quick"], &as_writer).expect(0);
    with(&home, &["verify"], &as_reader).expect(0);
    let restored = with(&home, &restore, &as_reader).expect(0).json();
    assert_eq!(restored["status"], "proven", "{restored}");
    assert!(Path::new(&datadir).join("d/t.ibd").exists());

    let doctor = with(&home, &["doctor"], &as_writer).expect(0);
    doctor.says("cannot unwrap: this identity can back up, not restore");

    // The reader cannot write, and an absent key, a sealed Vault and a replaced key are not the same.
    with(&home, &strs(&home.backup(&source.socket, &[])), &as_reader).expect(3).says("denies");
    transit.lock().always = Some((503, "Vault is sealed"));
    with(&home, &["verify"], &as_reader).expect(5).says("Vault is sealed");
    transit.lock().always = None;
    transit.lock().keys.insert("kek".into(), TransitKey::of("aes256-gcm96"));
    with(&home, &["verify"], &as_reader).expect(6).says("does not open the wrapped key");
    transit.lock().keys.remove("kek");
    with(&home, &["verify"], &as_reader).expect(3).says("there is no such key");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_set_is_asked_for() {
    let home = home("vault:transit/kek", None, &[]);
    let stdin = ["backup", "--source", "stdin", "--engine", "xtrabackup"];
    let address = ("VAULT_ADDR", "http://127.0.0.1:1");
    let file = ("VAULT_TOKEN_FILE", "/nowhere/token");
    with(&home, &stdin, &[]).expect(2).says("VAULT_ADDR");
    with(&home, &stdin, &[address]).expect(2).says("VAULT_TOKEN_FILE");
    with(&home, &stdin, &[address, ("VAULT_TOKEN", "hvs.x")])
        .expect(2)
        .says("VAULT_TOKEN is not read");
    with(&home, &stdin, &[address, file]).expect(2).says("--signer is needed");
    let far = ("VAULT_ADDR", "http://vault.example:8200");
    with(&home, &stdin, &[far, file]).expect(2).says("in the clear");
    with(&home, &["keys", "new"], &[]).expect(2).says("made there");
    let mut bare = Home::file();
    let at = bare.flags.iter().position(|flag| flag == "--kek").unwrap();
    bare.flags[at + 1] = "vault:transit/kek".to_owned();
    with(&bare, &["list"], &[]).expect(2).says("--trust is needed");
    bare.flags[at + 1] = "tpm:key".to_owned();
    with(&bare, &["list"], &[]).expect(2).says("vault:MOUNT/KEY");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_sees_a_vault_that_is_too_old_to_bind_anything() {
    let transit = Transit::start().await;
    let address = transit.address();
    let home = home("vault:transit/kek", None, &[("VAULT_ADDR", &address)]);
    let file = home.path("token");
    std::fs::write(&file, "root").unwrap();
    let env = [("VAULT_TOKEN_FILE", file.to_str().unwrap())];
    with(&home, &["doctor"], &env).says("vault:transit/kek wraps and unwraps");
    transit.lock().ignores_associated_data = true;
    with(&home, &["doctor"], &env).expect(3).says("for which it was not wrapped");
}
