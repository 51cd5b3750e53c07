//! A log as it is after hours without a transaction: records that only say that somebody is there.

use std::sync::Arc;

use backstay::{
    crypto::{
        kms::file::FileKms,
        signer::{Trust, file::FileSigner},
    },
    format::{EpochEntry, EpochReason, HeartbeatEntry, LogEntry, Role, RunIdentity},
    model::Timestamp,
    pipeline::{
        Repository, Run, RunRequest,
        log::{LogWriter, read_archive},
    },
    store::{self, StoreOptions},
};

use crate::home::Home;

/// The cluster of a home whose repository lies on the disk, at this folder.
pub(crate) async fn repository(home: &Home, folder: &str) -> Arc<Repository> {
    let url = format!("file://{}", home.path(folder).display());
    let store = store::open(&url, &StoreOptions::default()).await.unwrap();
    let trust = Trust::read(&home.path("kek.trust")).unwrap();
    Arc::new(Repository::new(store, "c".parse().unwrap(), trust))
}

/// Writes signs of life until the log has so many records.
pub(crate) async fn pad(home: &Home, records: u64) {
    let repository = repository(home, "repo").await;
    let state = read_archive(&repository).await.unwrap().state;
    let (kms, signer) = (
        FileKms::open(&home.path("kek")).unwrap(),
        FileSigner::open(&home.path("kek.signer")).unwrap(),
    );
    let request = RunRequest {
        kms: &kms,
        also: &[],
        signer: &signer,
        role: Role::Archive,
        identity: RunIdentity::default(),
        started_at: Timestamp::now(),
    };
    let run = Arc::new(Run::begin(repository, &request).await.unwrap());
    let owner = state.owner.clone().unwrap();
    let claim = EpochEntry {
        reason: EpochReason::Released,
        server: owner.server.clone(),
        history: owner.history,
        parent: None,
        resumes: state.durable(),
        connections: Vec::new(),
    };
    let mut writer = LogWriter::claim(run, state, claim, false).await.unwrap();
    while writer.state().head.number < records {
        beat(&mut writer, false).await;
    }
    beat(&mut writer, true).await;
}

async fn beat(writer: &mut LogWriter, released: bool) {
    let server = writer.state().owner.as_ref().unwrap().server.name.clone();
    let position = writer.state().durable();
    let beat = HeartbeatEntry { server, position, quiet_until: None, released };
    writer.append(LogEntry::Heartbeat(beat), None).await.unwrap();
}
