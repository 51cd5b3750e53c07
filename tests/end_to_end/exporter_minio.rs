//! The exporter against a real S3 server that counts what it is asked.

use std::{collections::BTreeMap, process::Command, thread, time::Duration};

use rustix::process::Signal;

use crate::{
    home::{Home, Job, strs},
    ledger,
    mariadb::MariaDb,
    minio::Minio,
    tools::{free_port, wait_until},
};

fn fetched(url: &str) -> String {
    let got = Command::new("curl").args(["--silent", "--noproxy", "*", url]).output().unwrap();
    String::from_utf8(got.stdout).unwrap()
}

/// The server's own count of S3 requests, by their names.
fn requests(minio: &Minio) -> BTreeMap<String, u64> {
    let text = fetched(&format!("{}/minio/metrics/v3/api/requests", minio.endpoint()));
    let samples = text.lines().filter_map(|line| {
        let sample = line.strip_prefix("minio_api_requests_total{name=\"")?;
        let (name, rest) = sample.split_once('"')?;
        Some((name.to_owned(), rest.rsplit_once(' ')?.1.parse().ok()?))
    });
    samples.collect()
}

struct Scene {
    minio: Minio,
    port: u16,
    rounds: u64,
    counted: BTreeMap<String, u64>,
}

impl Scene {
    fn told(&self, sample: &str) -> Option<u64> {
        let text = fetched(&format!("http://127.0.0.1:{}/metrics", self.port));
        text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
    }

    /// What exactly one more round has asked, without what anybody else did before it.
    fn round(&mut self) -> BTreeMap<String, u64> {
        let rounds = || self.told("backstay_exporter_rounds_total").unwrap_or(0);
        wait_until("a round", Duration::from_secs(30), || rounds() > self.rounds);
        // The server tells its counts as of a second ago; the next round is four away.
        thread::sleep(Duration::from_millis(2500));
        let now = requests(&self.minio);
        assert_eq!(rounds(), self.rounds + 1, "the rounds are too quick for this machine");
        self.rounds += 1;
        let more = now.iter().filter_map(|(name, count)| {
            let more = count - self.counted.get(name).unwrap_or(&0);
            (more > 0).then(|| (name.clone(), more))
        });
        let more = more.collect();
        self.counted = now;
        more
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_round_of_two_clusters_is_four_requests_and_no_list() {
    let server = MariaDb::start(&["--binlog-format=ROW"]);
    ledger::make(&server.socket).await;
    let minio = Minio::start_with(None, &[("MINIO_PROMETHEUS_AUTH_TYPE", "public")]);
    let mut home = Home::s3(&minio, &minio.endpoint(), "exporter").await;
    let at = home.flags.iter().position(|flag| flag == "--cluster").unwrap() + 1;
    for cluster in ["shop", "ledger"] {
        home.flags[at] = cluster.into();
        home.run(&strs(&home.backup(&server.socket, &["--id", "first"]))).expect(0);
        let mut archive = home.backup(&server.socket, &["--until-current"]);
        archive[0] = "archive".into();
        home.run(&strs(&archive)).expect(0);
    }
    let port = free_port();
    // All clusters, whom to believe, and no key.
    let mut flags = home.flags.clone();
    flags.drain(at - 1..=at);
    let kek = flags.iter().position(|flag| flag == "--kek").unwrap();
    flags.drain(kek..=kek + 1);
    let mut exporter = Command::new(env!("CARGO_BIN_EXE_backstay"));
    exporter.envs(home.env.iter().cloned()).args(flags).args(["exporter", "--interval", "5s"]);
    exporter.arg("--trust").arg(home.path("kek.trust"));
    exporter.arg("--listen").arg(format!("127.0.0.1:{port}"));
    let counted = requests(&minio);
    let job = Job::start(&mut exporter);
    let mut scene = Scene { minio, port, rounds: 0, counted };
    let first = scene.round();
    println!("first round: {first:?}");
    for cluster in ["shop", "ledger"] {
        assert_eq!(scene.told(&format!("backstay_cluster_up{{cluster=\"{cluster}\"}}")), Some(1));
    }
    // Of each cluster: does its audit chain go on, does its log?
    let quiet: BTreeMap<_, _> =
        [("GetObject", 2), ("HeadObject", 2)].map(|(name, n)| (name.to_owned(), n)).into();
    for _ in 0..2 {
        let idle = scene.round();
        println!("an idle round: {idle:?}");
        assert_eq!(idle, quiet);
    }
    // One of the two gets a backup: it alone is listed, and what is new is read.
    home.run(&strs(&home.backup(&server.socket, &["--id", "second"]))).expect(0);
    wait_until("the second backup is told", Duration::from_secs(30), || {
        scene.told("backstay_backups{cluster=\"ledger\",status=\"complete\"}") == Some(2)
    });
    assert_eq!(scene.told("backstay_backups{cluster=\"shop\",status=\"complete\"}"), Some(1));
    // And then it is quiet again.
    scene.rounds = scene.told("backstay_exporter_rounds_total").unwrap();
    scene.round();
    assert_eq!(scene.round(), quiet);
    job.signal(Signal::TERM);
    assert_eq!(job.wait().expect(0).json()["status"], "stopped");
}
