//! The truth to compare with: a second server that begins where the source began, and replays
//! the source's binary log exactly up to a position, with the server's own applier.

use std::{collections::BTreeMap, path::Path, time::Duration};

use backstay::model::Flavor;
use mysql_async::{Row, Value, prelude::Queryable as _};

use crate::{
    load::{checksums, connect},
    mariadb::{MariaDb, PASSWORD},
    mysql9::Mysql9,
};

/// The checksums of all tables of the source at this position of its binary log.
pub(crate) async fn at(
    flavor: Flavor,
    port: u16,
    (file, position): (&str, u64),
) -> BTreeMap<String, u64> {
    match flavor {
        Flavor::Mariadb => {
            let server = MariaDb::start(&["--server-id=99", "--max-recursive-iterations=1000000"]);
            replay(flavor, &server.socket, port, file, position).await
        }
        Flavor::Mysql => {
            let server = Mysql9::start(&["--server-id=99", "--replica-parallel-workers=1"]);
            replay(flavor, &server.socket, port, file, position).await
        }
    }
}

async fn replay(
    flavor: Flavor,
    socket: &Path,
    port: u16,
    file: &str,
    position: u64,
) -> BTreeMap<String, u64> {
    let mysql = flavor == Flavor::Mysql;
    let (change, source, replica) = if mysql {
        ("REPLICATION SOURCE", "SOURCE", "REPLICA")
    } else {
        ("MASTER", "MASTER", "SLAVE")
    };
    let key = if mysql { ", GET_SOURCE_PUBLIC_KEY = 1" } else { "" };
    let first = format!("{}.000001", file.split_once('.').unwrap().0);
    let mut conn = connect(socket).await;
    conn.query_drop(format!(
        "CHANGE {change} TO {source}_HOST = '127.0.0.1', {source}_PORT = {port}, {source}_USER = 'root', \
         {source}_PASSWORD = '{PASSWORD}', {source}_LOG_FILE = '{first}', {source}_LOG_POS = 4{key}"
    ))
    .await
    .unwrap();
    conn.query_drop(format!(
        "START {replica} UNTIL {source}_LOG_FILE = '{file}', {source}_LOG_POS = {position}"
    ))
    .await
    .unwrap();
    let [running, at_file, at_position] = if mysql {
        ["Replica_SQL_Running", "Relay_Source_Log_File", "Exec_Source_Log_Pos"]
    } else {
        ["Slave_SQL_Running", "Relay_Master_Log_File", "Exec_Master_Log_Pos"]
    };
    for _ in 0..1200 {
        let row: Option<Row> = conn.query_first(format!("SHOW {replica} STATUS")).await.unwrap();
        let row = row.unwrap();
        let error = format!("{}{}", text(&row, "Last_SQL_Error"), text(&row, "Last_IO_Error"));
        assert_eq!(error, "", "the reference stopped");
        if text(&row, running) == "No" {
            let stopped = (text(&row, at_file), text(&row, at_position));
            assert_eq!(stopped, (file.to_owned(), position.to_string()), "the reference's end");
            conn.disconnect().await.unwrap();
            return checksums(socket).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the reference did not reach {file}:{position}");
}

fn text(row: &Row, name: &str) -> String {
    match row.get::<Value, _>(name) {
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Some(Value::UInt(number)) => number.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        _ => String::new(),
    }
}
