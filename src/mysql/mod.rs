//! Database servers: connecting, engines, and the formats they speak.

mod binlog_scan;
mod connect;
pub mod engines;
mod error;
mod facts;
mod info;
mod option_file;
pub mod xbstream;

pub use binlog_scan::ExactSet;
pub use connect::{ConnectOptions, Endpoint, Server, Tls, TlsMode};
pub use error::MysqlError;
pub use info::{BinlogInfo, Checkpoints, EngineInfo, parse_backup_my_cnf, parse_innodb_position};
pub use option_file::OptionFile;
