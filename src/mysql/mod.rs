//! Database servers: connecting, engines, and the formats they speak.

pub mod xbstream;
