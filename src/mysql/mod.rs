//! Database servers: connecting, engines, and the formats they speak.

mod connect;
pub mod engines;
mod error;
mod facts;
mod option_file;
pub mod xbstream;

pub use connect::{ConnectOptions, Endpoint, Server, Tls, TlsMode};
pub use error::MysqlError;
pub use option_file::OptionFile;
