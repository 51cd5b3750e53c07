//! A DEK serves for a day; here, for two seconds.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use backstay::{
    crypto::{kms::file::FileKms, signer::file::FileSigner},
    format::{EpochReason, LogEntry, RunIdentity},
    jobs::archive::{Request, run},
    pipeline::Progress,
};

use crate::{home::Home, load, mariadb::MariaDb, reassembled};

#[tokio::test(flavor = "multi_thread")]
async fn a_dek_is_renewed_and_every_one_of_them_opens_what_it_sealed() {
    let server = MariaDb::start(&[]);
    let home = Home::file();
    load::seed(&server.socket, 200).await;
    let progress = Arc::new(Progress::default());
    let request = Request {
        repository: Arc::new(reassembled::repository(&home).await),
        also: Vec::new(),
        kms: Box::new(FileKms::open(&home.path("kek.pub")).unwrap()),
        signer: Box::new(FileSigner::open(&home.path("kek.signer")).unwrap()),
        identity: RunIdentity::default(),
        connect: server.options(),
        rpo: Duration::from_millis(200),
        until_current: false,
        takeover: false,
        new_history: false,
        renew_after: Duration::from_secs(2),
        purge_archived: None,
        exit_of: |_| (1, "unexpected"),
        status: Arc::default(),
        progress: Arc::clone(&progress),
    };
    let load = async {
        let writers = load::Load::start(&server.socket, 1);
        // It looks every ten seconds.
        tokio::time::sleep(Duration::from_secs(24)).await;
        writers.stop().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        progress.stop();
    };
    let (ended, ()) = tokio::join!(run(request), load);
    assert!(ended.is_err_and(|error| error.to_string().contains("signal")));
    let (archive, files) = reassembled::files(&home).await;
    let runs: BTreeSet<_> = archive.notes.iter().map(|note| note.run_id).collect();
    let renewals = archive.notes.iter().filter(|note| {
        matches!(&note.entry, LogEntry::Epoch(epoch) if epoch.reason == EpochReason::Renewal)
    });
    let renewals = renewals.count();
    assert!(
        renewals >= 2 && runs.len() == renewals + 1,
        "{renewals} renewals, {} runs",
        runs.len()
    );
    let folder = server.socket.parent().unwrap().join("data");
    let name = archive.state.owner.as_ref().unwrap().server.name.to_string();
    reassembled::assert_same(&files, &name, &folder, "bin");
}
