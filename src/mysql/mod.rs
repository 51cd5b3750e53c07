//! Database servers: connecting, engines, and the formats they speak.

mod binlog_scan;
pub mod checks;
mod clone;
mod connect;
pub mod engines;
mod error;
mod facts;
mod grants;
mod info;
mod option_file;
mod temp_server;
pub mod xbstream;

pub use binlog_scan::ExactSet;
pub use connect::{ConnectOptions, Endpoint, Server, Tls, TlsMode};
pub use error::MysqlError;
pub use grants::Grants;
pub use info::{BinlogInfo, Checkpoints, EngineInfo, parse_backup_my_cnf, parse_innodb_position};
pub use option_file::OptionFile;
pub use temp_server::{
    TempBinlog, TempServer, discover_server, parse_server_version, recovered_position,
    temp_server_command,
};
