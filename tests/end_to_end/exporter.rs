//! `backstay exporter`: what it tells of real clusters, that one bad cluster does not hide the others,
//! and what a hundred of them cost.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use backstay::{
    crypto::signer::Trust,
    jobs::exporter::{Exporter, Request, State},
    model::Timestamp,
    store::{self, Keep, Key, ObjectInfo, Store, StoreError, StoreOptions, Upload},
};
use bytes::Bytes;
use futures::stream::BoxStream;
use rustix::process::Signal;

use crate::{
    home::{Home, strs},
    ledger,
    mariadb::{MariaDb, run},
    tools::{free_port, wait_until},
};

/// A store that counts what it is asked.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Store>,
    gets: AtomicU64,
    lists: AtomicU64,
}

impl Counting {
    fn count(&self) -> (u64, u64) {
        (self.gets.swap(0, Ordering::Relaxed), self.lists.swap(0, Ordering::Relaxed))
    }

    fn get_one(&self) {
        self.gets.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for Counting {
    fn url(&self) -> &str {
        self.inner.url()
    }
    async fn create_kept(&self, key: &Key, body: Bytes, keep: &Keep) -> Result<(), StoreError> {
        panic!("an exporter writes nothing: {key}, {} bytes, {keep:?}", body.len())
    }

    async fn upload_kept(
        &self,
        key: &Key,
        part_size: usize,
        keep: &Keep,
    ) -> Result<Box<dyn Upload>, StoreError> {
        panic!("an exporter writes nothing: {key}, {part_size}, {keep:?}")
    }
    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, StoreError> {
        self.get_one();
        self.inner.get(key, limit).await
    }
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.get_one();
        self.inner.get_range(key, range).await
    }
    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        self.get_one();
        self.inner.head(key).await
    }
    fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
    ) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix, after)
    }
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_folders(prefix).await
    }
    async fn delete(&self, _: &Key) -> Result<(), StoreError> {
        panic!("an exporter removes nothing")
    }
    async fn abort_uploads(&self, _: &str, _: Timestamp) -> Result<usize, StoreError> {
        panic!("an exporter aborts nothing")
    }
}

/// A cluster with a backup and archived logs, in `repo/c`.
async fn cluster(home: &Home) -> MariaDb {
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    home.run(&strs(&home.backup(&server.socket, &["--id", "first"]))).expect(0);
    archive(home, &server);
    server
}

fn archive(home: &Home, server: &MariaDb) {
    let mut args = home.backup(&server.socket, &["--until-current"]);
    args[0] = "archive".into();
    home.run(&strs(&args)).expect(0);
}

fn copy(from: &Path, to: &Path) {
    run(std::process::Command::new("cp").arg("-r").arg(from).arg(to));
}

fn scrape(port: u16) -> String {
    let mut text = String::new();
    if let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) {
        write!(socket, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        socket.read_to_string(&mut text).unwrap();
    }
    text
}

fn seconds(at: Timestamp) -> f64 {
    at.seconds_since(Timestamp::from_microseconds(0).unwrap())
}

/// The value of a sample that counts.
fn whole(text: &str, sample: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

/// The value of a sample.
fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_what_is_there_and_goes_on_past_a_bad_cluster() {
    let home = Home::file();
    let server = cluster(&home).await;
    copy(&home.path("repo/c"), &home.path("repo/bad"));
    fs::write(home.path("repo/bad/cluster.json"), "{}").unwrap();
    let port = free_port();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backstay"));
    // Whom to believe, and no key.
    command.args(["exporter", "--format", "json", "--interval", "1s", "--trust"]);
    command.arg(home.path("kek.trust")).arg("--repo");
    command.arg(format!("file://{}", home.path("repo").display()));
    command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    let job = crate::home::Job::start(&mut command);
    let told = |sample: &str| whole(&scrape(port), sample);
    let told_at = |sample: &str| value(&scrape(port), sample);
    wait_until("a round", Duration::from_secs(30), || {
        told("backstay_exporter_rounds_total").is_some_and(|rounds| rounds >= 1)
    });
    let text = scrape(port);
    let count =
        |sample: &str| whole(&text, sample).unwrap_or_else(|| panic!("no {sample}\n{text}"));
    let has = |sample: &str| value(&text, sample).unwrap_or_else(|| panic!("no {sample}\n{text}"));
    assert_eq!(count("backstay_cluster_up{cluster=\"c\"}"), 1);
    assert_eq!(count("backstay_cluster_up{cluster=\"bad\"}"), 0);
    assert!(count("backstay_cluster_errors_total{cluster=\"bad\",kind=\"integrity\"}") >= 1);
    assert_eq!(count("backstay_backups{cluster=\"c\",status=\"complete\"}"), 1);
    assert!(has("backstay_last_backup_stored_bytes{cluster=\"c\"}") > 1000.0);
    let info = "backstay_last_backup_info{cluster=\"c\",backup_id=\"first\",engine=\"mariadb-backup\",proof=\"exit\"}";
    assert_eq!(count(info), 1);
    let window = home.run(&["window"]).expect(0).json();
    for (name, field) in [("earliest", "earliest"), ("latest", "latest")] {
        let at: Timestamp = window["windows"][0][field].as_str().unwrap().parse().unwrap();
        let told =
            has(&format!("backstay_recovery_window_{name}_timestamp_seconds{{cluster=\"c\"}}"));
        assert!((told - seconds(at)).abs() < 0.001, "{name}");
    }
    assert_eq!(count("backstay_archive_released{cluster=\"c\"}"), 1);
    assert_eq!(count("backstay_archive_gaps{cluster=\"c\"}"), 0);
    assert!(has("backstay_audit_records{cluster=\"c\"}") >= 1.0);
    assert!(
        has("backstay_last_act_timestamp_seconds{cluster=\"c\",action=\"backup-committed\"}")
            > 1.7e9
    );
    assert!(has("backstay_deks{cluster=\"c\"}") >= 2.0);
    assert!(
        text.contains("backstay_kek_oldest_wrap_timestamp_seconds{cluster=\"c\",kek=\"file:"),
        "{text}"
    );
    // What comes is told in the next rounds: commits, a backup.
    let until = has("backstay_archived_until_timestamp_seconds{cluster=\"c\"}");
    let writer = ledger::Writer::start(&server.socket);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    writer.stop().await;
    archive(&home, &server);
    home.run(&strs(&home.backup(&server.socket, &["--id", "second"]))).expect(0);
    wait_until("the second backup is told", Duration::from_secs(20), || {
        told("backstay_backups{cluster=\"c\",status=\"complete\"}") == Some(2)
            && told_at("backstay_archived_until_timestamp_seconds{cluster=\"c\"}") > Some(until)
    });
    // A manifest that is forged is counted as what it is.
    fs::create_dir_all(home.path("repo/c/backups/forged")).unwrap();
    fs::copy(
        home.path("repo/c/backups/first/manifest.json"),
        home.path("repo/c/backups/forged/manifest.json"),
    )
    .unwrap();
    home.run(&strs(&home.backup(&server.socket, &["--id", "third"]))).expect(0);
    wait_until("the forged one is told", Duration::from_secs(20), || {
        told("backstay_backups{cluster=\"c\",status=\"damaged\"}") == Some(1)
    });
    // A record of the audit chain that does not follow.
    let next = whole(&scrape(port), "backstay_audit_records{cluster=\"c\"}").unwrap() + 1;
    fs::copy(
        home.path("repo/c/audit/00000000000000000001"),
        home.path(&format!("repo/c/audit/{next:020}")),
    )
    .unwrap();
    wait_until("it is told", Duration::from_secs(20), || {
        told("backstay_audit_broken{cluster=\"c\"}") == Some(1)
    });
    assert_eq!(told("backstay_cluster_up{cluster=\"c\"}"), Some(1));
    // The store goes away: what was seen stays, and it is said of when it is.
    fs::rename(home.path("repo"), home.path("away")).unwrap();
    fs::write(home.path("repo"), "").unwrap();
    wait_until("it is told", Duration::from_mins(1), || {
        told("backstay_cluster_up{cluster=\"c\"}") == Some(0)
    });
    let told = scrape(port);
    assert_eq!(whole(&told, "backstay_backups{cluster=\"c\",status=\"complete\"}"), Some(3));
    assert!(value(&told, "backstay_cluster_looked_at_timestamp_seconds{cluster=\"c\"}").is_some());
    job.signal(Signal::TERM);
    assert_eq!(job.wait().expect(0).json()["status"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_clusters_cost_two_requests_each_in_a_round() {
    let home = Home::file();
    let server = cluster(&home).await;
    for n in 1..100 {
        copy(&home.path("repo/c"), &home.path(&format!("repo/c{n}")));
    }
    let url = format!("file://{}", home.path("repo").display());
    let inner = store::open(&url, &StoreOptions::default()).await.unwrap();
    let counting = Arc::new(Counting { inner, gets: AtomicU64::new(0), lists: AtomicU64::new(0) });
    let state: Arc<State> = Arc::default();
    let request = Request {
        store: Arc::clone(&counting) as Arc<dyn Store>,
        trust: Trust::read(&home.path("kek.trust")).unwrap(),
        clusters: Vec::new(),
        interval: Duration::from_mins(1),
        list_every: Duration::from_mins(10),
        state: Arc::clone(&state),
        progress: Arc::default(),
    };
    let mut exporter = Exporter::new(&request);
    let mut round = async || {
        exporter.round().await;
        assert_eq!(state.clusters().values().filter(|told| told.up).count(), 100);
        let (gets, lists) = counting.count();
        println!("gets {gets}, lists {lists}, {:?}", state.rounds().1);
        (gets, lists)
    };
    let (gets, lists) = round().await;
    assert!(gets <= 3_000 && lists <= 501, "the first round: {gets} gets, {lists} lists");
    assert_eq!(round().await, (200, 0));
    // One of them has a new backup: it alone is listed, and what is new is read.
    home.run(&strs(&home.backup(&server.socket, &["--id", "second"]))).expect(0);
    let (gets, lists) = round().await;
    assert!((200..=215).contains(&gets) && lists == 2, "{gets} gets, {lists} lists");
    assert_eq!(round().await, (200, 0));
}
