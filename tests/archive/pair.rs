//! Two servers, one of which replicates the other, and an address that leads to the primary.

use mysql_async::prelude::Queryable as _;
use std::time::Duration;

use backstay::model::Flavor;

use crate::{address::Address, mariadb::PASSWORD, node::Node, tokens};

/// A replication pair.
pub(crate) struct Pair {
    pub(crate) primary: Node,
    pub(crate) replica: Node,
    pub(crate) address: Address,
}

impl Pair {
    /// Primary and replica, with the tables of the load.
    pub(crate) async fn start(flavor: Flavor) -> Self {
        let more: &[&str] = match flavor {
            // Numbers that do not grow within a domain are an error then.
            Flavor::Mariadb => &["--gtid-strict-mode=ON"],
            Flavor::Mysql => &[],
        };
        let second = {
            let more: Vec<String> = more.iter().map(|&word| word.to_owned()).collect();
            std::thread::spawn(move || {
                let more: Vec<&str> = more.iter().map(String::as_str).collect();
                Node::start(flavor, 32, &more)
            })
        };
        let primary = Node::start(flavor, 31, more);
        let replica = second.join().unwrap();
        tokens::seed(&primary).await;
        replica.follow(&primary).await;
        replica.demote().await;
        replica.caught_up(&primary).await;
        let address = Address::of(primary.port);
        Self { primary, replica, address }
    }

    /// The replica becomes the primary, and has all that the primary had.
    pub(crate) async fn switch_over(&mut self, address_first: bool) {
        self.primary.demote().await;
        if address_first {
            self.address.point(self.replica.port);
        }
        self.replica.caught_up(&self.primary).await;
        self.replica.promote().await;
        self.address.point(self.replica.port);
        if self.primary.flavor == Flavor::Mariadb {
            // What it wrote itself counts as well.
            let position = self.primary.ask("SELECT @@GLOBAL.gtid_current_pos").await;
            self.primary.run(&format!("SET GLOBAL gtid_slave_pos = '{position}'")).await;
        }
        self.primary.follow(&self.replica).await;
        self.swap();
    }

    /// The replica becomes the primary with what it has received.
    pub(crate) async fn promote_replica(&mut self) {
        self.replica.drain().await;
        self.replica.promote().await;
        self.address.point(self.replica.port);
        self.swap();
    }

    fn swap(&mut self) {
        std::mem::swap(&mut self.primary, &mut self.replica);
    }
}

impl Node {
    /// Replicates another server from now on.
    pub(crate) async fn follow(&self, source: &Node) {
        let port = source.port;
        match self.flavor {
            Flavor::Mysql => {
                self.run(&format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root', \
                     SOURCE_PASSWORD = '{PASSWORD}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, \
                     SOURCE_CONNECT_RETRY = 1, SOURCE_HEARTBEAT_PERIOD = 1"
                ))
                .await;
                self.run("START REPLICA").await;
            }
            Flavor::Mariadb => {
                self.run(&format!(
                    "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {port}, master_user = 'root', \
                     master_password = '{PASSWORD}', master_use_gtid = slave_pos, master_connect_retry = 1, \
                     master_heartbeat_period = 1"
                ))
                .await;
                self.run("START SLAVE").await;
            }
        }
    }

    /// Takes no more writes of the application.
    pub(crate) async fn demote(&self) {
        self.run(match self.flavor {
            Flavor::Mysql => "SET GLOBAL super_read_only = ON",
            Flavor::Mariadb => "SET GLOBAL read_only = ON",
        })
        .await;
    }

    /// Waits until this replica has all that the other has.
    pub(crate) async fn caught_up(&self, source: &Node) {
        let wanted = match self.flavor {
            Flavor::Mysql => source.executed().await,
            Flavor::Mariadb => source.ask("SELECT @@GLOBAL.gtid_binlog_pos").await,
        };
        self.applied(&wanted).await;
    }

    async fn applied(&self, wanted: &str) {
        let sql = match self.flavor {
            Flavor::Mysql => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{wanted}', 180)"),
            Flavor::Mariadb => format!("SELECT MASTER_GTID_WAIT('{wanted}', 180)"),
        };
        let waited = self.ask(&sql).await;
        assert_eq!(
            waited,
            "0",
            "server {} did not get {wanted}: {}",
            self.id,
            self.replication().await
        );
    }

    async fn replication(&self) -> String {
        let sql = match self.flavor {
            Flavor::Mysql => "SHOW REPLICA STATUS",
            Flavor::Mariadb => "SHOW SLAVE STATUS",
        };
        let rows: Vec<mysql_async::Row> = self.conn().await.query(sql).await.unwrap();
        format!("{rows:?}")
    }

    /// Receives nothing any more, but applies what it has.
    pub(crate) async fn stop_receiving(&self) {
        self.run(match self.flavor {
            Flavor::Mysql => "STOP REPLICA IO_THREAD",
            Flavor::Mariadb => "STOP SLAVE IO_THREAD",
        })
        .await;
    }

    /// Applies all that it has received.
    pub(crate) async fn drain(&self) {
        self.stop_receiving().await;
        match self.flavor {
            Flavor::Mysql => {
                let received = "SELECT REPLACE(RECEIVED_TRANSACTION_SET, '\\n', '') FROM performance_schema.replication_connection_status";
                let received = self.ask(received).await;
                self.applied(&received).await;
            }
            Flavor::Mariadb => {
                use mysql_async::prelude::Queryable as _;
                let row: Option<mysql_async::Row> =
                    self.conn().await.query_first("SHOW SLAVE STATUS").await.unwrap();
                let received: String = row.unwrap().get("Gtid_IO_Pos").unwrap();
                self.applied(&received).await;
            }
        }
    }

    /// Replicates nobody any more, and takes writes.
    pub(crate) async fn promote(&self) {
        let words: &[&str] = match self.flavor {
            Flavor::Mysql => &[
                "STOP REPLICA",
                "RESET REPLICA ALL",
                "SET GLOBAL super_read_only = OFF",
                "SET GLOBAL read_only = OFF",
            ],
            Flavor::Mariadb => &["STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = OFF"],
        };
        for sql in words {
            self.run(sql).await;
        }
    }

    /// Comes back without its data, and gets the other's: as a copy, or transaction by transaction
    /// if that has them all.
    pub(crate) async fn rebuild_from(&mut self, source: &Node, copy: bool, same_uuid: bool) {
        if copy || !source.is_whole {
            let position = self.rebuild_from_copy(source, same_uuid).await;
            if self.flavor == Flavor::Mariadb {
                self.run(&format!("SET GLOBAL gtid_slave_pos = '{position}'")).await;
            }
        } else {
            if self.flavor == Flavor::Mariadb {
                // It would take no transactions that bear its own id.
                self.id += 10;
            }
            self.rebuild(same_uuid);
        }
        self.follow(source).await;
        self.demote().await;
        self.caught_up(source).await;
    }
}

/// How long an archiver may take to find out that somebody else answers at its address.
pub(crate) const NOTICED: Duration = Duration::from_secs(15);
