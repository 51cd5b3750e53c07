//! `report` over the repository of a real server: each planted fault is told of by its own control,
//! and by no other.

use std::sync::Arc;

use backstay::{
    crypto::{
        kms::file::FileKms,
        signer::{Trust, file::FileSigner},
    },
    format::{Role, RunIdentity},
    model::{Flavor, Timestamp},
    pipeline::{Repository, Run, RunRequest},
    store::{StoreOptions, open},
};

use crate::{
    home::{Home, strs},
    load,
    node::Node,
    points::restore,
};

struct Stage {
    node: Node,
    home: Home,
}

impl Stage {
    fn archives(&self, way: &[&str]) {
        let password = self.home.path("password").display().to_string();
        let who = ["--mysql-user", "root", "--mysql-password-file", &password];
        let args = [&["archive", "--until-current"], way, &who[..]].concat();
        self.home.run(&args).expect(0);
    }

    async fn changes(&self) {
        self.node.run("INSERT INTO `load`.t0 (k, v) VALUES (1, 'x')").await;
    }

    /// The controls that fail, and all that is said of them.
    fn failing(&self) -> (Vec<String>, String) {
        let report = self.home.run(&["report", "--since", "1h"]).expect(0).json();
        let controls = report["controls"].as_array().unwrap().iter();
        let failing: Vec<_> = controls.filter(|control| control["status"] == "fails").collect();
        let ids = failing.iter().map(|control| control["id"].as_str().unwrap().to_owned());
        (ids.collect(), format!("{failing:#?}"))
    }

    #[track_caller]
    fn fail(&self, controls: &[&str], words: &str) {
        let (failing, said) = self.failing();
        assert_eq!(failing, controls, "{said}");
        assert!(said.contains(words), "no `{words}` in {said}");
    }
}

/// A run of more than a year ago has used the KEK that is still in use.
async fn used_long_ago(home: &Home) {
    let store = open(&format!("file://{}", home.path("repo").display()), &StoreOptions::default());
    let trust = Trust::read(&home.path("kek.trust")).unwrap();
    let repository = Repository::new(store.await.unwrap(), "c".parse().unwrap(), trust);
    let days_ago = Timestamp::now().as_microseconds() - 400 * 86_400_000_000;
    let request = RunRequest {
        kms: &FileKms::open(&home.path("kek.pub")).unwrap(),
        also: &[],
        signer: &FileSigner::open(&home.path("kek.signer")).unwrap(),
        role: Role::Backup,
        identity: RunIdentity::default(),
        started_at: Timestamp::from_microseconds(days_ago).unwrap(),
    };
    Run::begin(Arc::new(repository), &request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_faults_fail_their_own_controls_and_no_others() {
    let node = Node::start(Flavor::Mariadb, 94, &[]);
    load::seed(&node.socket, 10).await;
    let stage = Stage { node, home: Home::file() };
    let (home, node) = (&stage.home, &stage.node);
    let socket = node.socket.display().to_string();
    let local = ["--mysql-socket", &*socket];
    home.run(&strs(&home.backup(&node.socket, &["--id", "base"]))).expect(0);
    stage.changes().await;
    stage.archives(&local);
    restore(home, &home.path("drilled"), &[]).expect(0);
    home.run(&["verify"]).expect(0);
    let (failing, said) = stage.failing();
    assert_eq!(failing, [""; 0], "{said}");

    // A restore that came to nothing.
    let occupied = home.path("occupied");
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("a-file-of-somebody"), "").unwrap();
    restore(home, &occupied, &[]).expect(3);

    // An archiver that went without TLS.
    stage.changes().await;
    let port = node.port.to_string();
    let plain = ["--mysql-tls", "disabled", "--allow-insecure-mysql"];
    stage.archives(&[&["--mysql-host", "127.0.0.1", "--mysql-port", &port], &plain[..]].concat());
    stage.fail(&["4.2"], "TLS");

    // A KEK that is older than a year.
    used_long_ago(home).await;
    stage.fail(&["3.7", "4.2"], "days");

    // Transactions that were purged before they were archived.
    stage.changes().await;
    node.run("FLUSH BINARY LOGS").await;
    let last = node.logs().await.pop().unwrap();
    node.run(&format!("PURGE BINARY LOGS TO '{last}'")).await;
    stage.changes().await;
    stage.archives(&local);
    stage.fail(&["3.7", "4.2", "12.10"], "missing");
}
