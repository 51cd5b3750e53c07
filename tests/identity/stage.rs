//! Backups without a server: a stream that takes as long as a test wants.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use backstay::{
    crypto::{kms::file::FileKms, signer::Trust},
    jobs::restore::Chosen,
    pipeline::{Accept, PipelineError, Progress, Repository},
    store::{StoreOptions, open},
};
use sha2::{Digest as _, Sha256};

use crate::{
    home::{Done, Home},
    minio::{Minio, REGION},
    synthetic::Synthetic,
};

/// A backup that is being fed.
pub(crate) struct Feeding {
    child: std::process::Child,
    feeder: thread::JoinHandle<(String, Duration)>,
    stop: Arc<AtomicBool>,
}

impl Feeding {
    /// Backs a stream of so many bytes up, of which most cannot be compressed, in so much time.
    pub(crate) fn start(home: &Home, id: &str, bytes: u64, lasts: Duration) -> Self {
        let mut command: Command = home.command();
        command.args(["backup", "--source", "stdin", "--engine", "xtrabackup", "--id", id]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let feeder = thread::spawn(move || {
            let mut source = Synthetic::new(9, bytes, 1);
            let (mut hash, mut sent, begun) = (Sha256::new(), 0_u64, Instant::now());
            let mut piece = vec![0; 256 << 10];
            loop {
                let count = source.read(&mut piece).unwrap();
                if count == 0 || stopped.load(Ordering::Relaxed) {
                    break;
                }
                hash.update(&piece[..count]);
                // A backup that has failed reads no more.
                if stdin.write_all(&piece[..count]).is_err() {
                    break;
                }
                sent += count as u64;
                let thousandths = u32::try_from((sent * 1000 / bytes).min(1000)).unwrap();
                let due = lasts * thousandths / 1000;
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            (hex::encode(hash.finalize()), begun.elapsed())
        });
        Self { child, feeder, stop }
    }

    /// Waits for its end. Also: the hash of what it was fed, and how long that took.
    pub(crate) fn wait(self) -> (Done, String, Duration) {
        let output = self.child.wait_with_output().unwrap();
        self.stop.store(true, Ordering::Relaxed);
        let (hash, took) = self.feeder.join().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap();
        let done = Done { code, out: text(&output.stdout), err: text(&output.stderr) };
        (done, hash, took)
    }
}

/// The hash of what a backup in MinIO opens to, read with MinIO's own keys.
pub(crate) async fn opened(minio: &Minio, home: &Home, id: &str) -> String {
    let options = StoreOptions {
        endpoint: Some(minio.endpoint()),
        region: Some(REGION.to_owned()),
        credentials_file: Some(minio.credentials_file()),
        ..StoreOptions::default()
    };
    let store = open("s3://backups/p", &options).await.unwrap();
    let trust = Trust::read(&home.path("kek.trust")).unwrap();
    let repository = Repository::new(store, "c".parse().unwrap(), trust);
    let kms = FileKms::open(&home.path("kek")).unwrap();
    let id = id.parse().unwrap();
    let chosen = Chosen::find(&repository, &kms, Some(&id)).await.unwrap();
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let accept = Hashing(Arc::clone(&hash));
    chosen.read(&repository, accept, &Arc::new(Progress::default())).await.unwrap();
    let hash = hash.lock().unwrap().clone().finalize();
    hex::encode(hash)
}

struct Hashing(Arc<Mutex<Sha256>>);

impl Accept for Hashing {
    fn accept(&mut self, plain: &[u8]) -> Result<(), PipelineError> {
        self.0.lock().unwrap().update(plain);
        Ok(())
    }
}
