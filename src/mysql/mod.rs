//! Database servers: connecting, engines, and the formats they speak.

mod applier;
mod archiving;
mod binlog_scan;
pub mod checks;
mod clone;
mod connect;
mod dial;
pub mod engines;
mod error;
mod executed;
mod facts;
mod grants;
mod info;
mod inspect;
mod open_xa;
mod option_file;
mod options;
pub mod replication;
mod scheduled;
mod temp_server;
pub mod xbstream;

pub use applier::ApplierState;
pub use archiving::BinaryLog;
pub use binlog_scan::ExactSet;
pub use connect::Server;
pub use error::MysqlError;
pub use grants::Grants;
pub use info::{BinlogInfo, Checkpoints, EngineInfo, parse_backup_my_cnf, parse_innodb_position};
pub use inspect::{Answer, CheckDepth, TableName, TableVerdict};
pub use option_file::OptionFile;
pub use options::{ConnectOptions, Endpoint, Tls, TlsMode};
pub use scheduled::ScheduledEvent;
pub use temp_server::{
    TempBinlog, TempServer, discover_server, parse_server_version, recovered_position,
    temp_server_command,
};
