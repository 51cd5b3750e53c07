//! The logins of docs/policies/mysql: they suffice for a whole cycle, and none of their privileges
//! is one too many.

use backstay::model::Flavor;
use serde_json::Value;

use crate::{
    home::{Done, Home},
    load,
    mariadb::PASSWORD,
    node::Node,
    points::{restore, sums},
};

/// A page of SQL, with the tests' password; this machine's own servers have no certificates.
fn statements(page: &str) -> Vec<String> {
    let lines = page.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join(" ");
    let filled =
        lines.replace('…', PASSWORD).replace(" REQUIRE SSL", "").replace("'%'", "'127.0.0.1'");
    filled.split(';').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// Privileges on everything that a page grants, with whom they are granted to.
fn granted(statements: &[String]) -> Vec<(String, String)> {
    let grants =
        statements.iter().filter_map(|one| one.strip_prefix("GRANT ")?.split_once(" ON *.* TO "));
    let pairs = grants.flat_map(|(names, user)| {
        names.split(',').map(move |name| (name.trim().to_owned(), user.to_owned()))
    });
    pairs.collect()
}

struct Login<'a> {
    home: &'a Home,
    node: &'a Node,
}

impl Login<'_> {
    fn run(&self, command: &str, user: &str, more: &[&str]) -> Done {
        let (port, socket) = (self.node.port.to_string(), self.node.socket.display().to_string());
        let password = self.home.path("password").display().to_string();
        let way = if user == "backup" {
            ["--mysql-socket", &socket].to_vec()
        } else {
            ["--mysql-host", "127.0.0.1", "--mysql-port", &port].to_vec()
        };
        let mut who = vec!["--mysql-user", user, "--mysql-password-file", &password];
        who.extend(["--mysql-tls", "preferred", "--allow-insecure-mysql"]);
        self.home.run(&[&[command], &way[..], &who[..], more].concat())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_logins_of_mysql_suffice_and_have_nothing_to_spare() {
    let backup = include_str!("../../docs/policies/mysql/backup-mysql.sql");
    let archiver = include_str!("../../docs/policies/mysql/archiver-mysql.sql");
    suffice(Flavor::Mysql, 91, backup, archiver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_logins_of_mariadb_suffice_and_have_nothing_to_spare() {
    let backup = include_str!("../../docs/policies/mysql/backup-mariadb.sql");
    let archiver = include_str!("../../docs/policies/mysql/archiver-mariadb.sql");
    suffice(Flavor::Mariadb, 92, backup, archiver).await;
}

async fn suffice(flavor: Flavor, id: u32, backup: &str, archiver: &str) {
    let node = Node::start(flavor, id, &[]);
    let home = Home::file();
    let login = Login { home: &home, node: &node };
    let (backup, archiver) = (statements(backup), statements(archiver));
    for sql in backup.iter().chain(&archiver) {
        node.run(sql).await;
    }
    load::seed(&node.socket, 10).await;
    login.run("backup", "backup", &["--id", "base"]).expect(0);
    node.run("DELETE FROM `load`.t1 WHERE id < 5").await;
    login.run("archive", "archiver", &["--until-current"]).expect(0);
    let datadir = home.path("restored");
    restore(&home, &datadir, &[]).expect(0);
    assert_eq!(sums(flavor, &datadir).await, load::checksums(&node.socket).await);

    // Neither is more than it needs: without any one of them, doctor or the job itself says which.
    for (privilege, user) in granted(&backup) {
        // An engine that is not installed here needs more than the one that is.
        let engine = if flavor == Flavor::Mysql { "xtrabackup" } else { "mariadb-backup" };
        node.run(&format!("REVOKE {privilege} ON *.* FROM {user}")).await;
        let said = login.run("doctor", "backup", &["--engine", engine]).json();
        assert_eq!(status(&said, &privilege), "fail", "{privilege}: {said:#}");
        node.run(&format!("GRANT {privilege} ON *.* TO {user}")).await;
    }
    for (privilege, user) in granted(&archiver) {
        node.run(&format!("REVOKE {privilege} ON *.* FROM {user}")).await;
        login.run("archive", "archiver", &["--until-current"]).expect(3).says(&privilege);
        node.run(&format!("GRANT {privilege} ON *.* TO {user}")).await;
    }
}

fn status(checks: &Value, privilege: &str) -> String {
    let named = |check: &&Value| check["check"].as_str().unwrap().ends_with(privilege);
    let found = checks.as_array().unwrap().iter().find(named);
    found.unwrap_or_else(|| panic!("no check of {privilege}: {checks:#}"))["status"]
        .as_str()
        .unwrap()
        .to_owned()
}
