//! Backstay: MySQL and MariaDB backup for Kubernetes.
//!
//! The rooms and the arrows between them. An arrow is a `use crate::…`; any
//! other one fails `tests/layers.rs`.
//!
//! ```text
//! cli → jobs → pipeline → { process, format, crypto, store, mysql } → { transport } → model
//! ```
//!
//! The five rooms in braces do not know one another; what they share lives in
//! [`model`], and how they reach anything outside in [`transport`]. Each room has its own small error type, and only [`cli`] turns
//! errors into exit codes.

#![forbid(unsafe_code)]

pub mod cli;
pub mod crypto;
pub mod format;
pub mod jobs;
pub mod model;
pub mod mysql;
pub mod pipeline;
pub mod process;
pub mod store;
pub mod transport;
